"""The settings of a worker from a TOML file and ``section.name=value`` pairs, and the objects that they describe."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sklearn.base import clone

from .._validate import not_negative, seed_entropy, whole_number
from ..detector import KeyedDetector, StreamDetector
from ..detector.settings import checked_settings
from ..estimator import RandomCutForest
from ..persist import load
from .codecs import Codec, Csv, Json
from .labeller import KINESIS
from .schema import Schema
from .worker import BATCH

Settings = dict[str, dict[str, Any]]

# Each section, and the settings that it may have. The services add their own sections.
SECTIONS: dict[str, tuple[str, ...]] = {
    "records": ("columns", "key", "time", "time_format", "decimal", "format", "names", "header", "delimiter"),
    "output": (),  # result = "COLUMN"
    "model": (),  # parameters of the class, and those in MODEL
    "override": (),  # a table for each key
    "worker": ("checkpoint_every", "batch", "metrics"),
}
MODEL = ("kind", "path", "learn", "threshold", "max_keys", "ttl")
KINDS = {"detector": StreamDetector, "forest": RandomCutForest}
# Types of the settings in all sections. A setting that is not listed is a string.
TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("columns", "names", "shards", "partitions"), (list,)),
    **dict.fromkeys(("header", "follow", "learn"), (bool,)),
    **dict.fromkeys(("batch", "maxlen", "max_keys"), (int,)),
    **dict.fromkeys(("checkpoint_every", "discover_every", "ttl", "threshold"), (int, float)),
    "config": (dict,),
    "start": (str, int, float, datetime),
}
CALLED = {
    list: "a list",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    dict: "a table",
    str: "a text",
}


class SettingsError(ValueError):
    """Invalid settings of a worker; the message names the setting."""


def read(path: str | Path | None, pairs: Iterable[str] = (), *, own: Mapping[str, tuple[str, ...]]) -> Settings:
    """The settings of a file, overridden by the pairs.

    Parameters
    ----------
    path : str, path-like or None
    pairs : iterable of str
        ``section.name=value`` with a value in TOML; a value that is not valid TOML is a string.
    own : mapping of str to tuple of str
        Sections of the service, and the settings of each.

    Raises
    ------
    SettingsError
        If the file is not TOML, or a section or setting does not exist.
    """
    settings: Settings = {}
    if path is not None:
        try:
            settings = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} is not TOML: {error}") from error
        except OSError as error:
            raise SettingsError(f"{path}: {error.strerror}") from error
        checked(settings, own)
    for pair in pairs:
        name, equals, text = pair.partition("=")
        section, dot, setting = name.partition(".")
        if not (equals and dot and setting):
            raise SettingsError(f"{pair!r} is not section.name=value")
        settings.setdefault(section, {})[setting] = _value(text)
    return checked(settings, own)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def checked(settings: Settings, own: Mapping[str, tuple[str, ...]]) -> Settings:
    known = {**SECTIONS, **own}
    for section, values in settings.items():
        if section not in known:
            raise SettingsError(
                f"there is no section [{section}]; the sections are {', '.join(f'[{name}]' for name in known)}"
            )
        if not isinstance(values, dict):
            raise SettingsError(f"[{section}] must be a table, got {values!r}")
        for name, value in values.items():
            if known[section] and name not in known[section]:
                raise SettingsError(
                    f"[{section}] has no setting {name!r}; its settings are {', '.join(known[section])}"
                )
            if section == "override":
                if not isinstance(value, dict):
                    raise SettingsError(f"[override] {name} must be a table of parameters, got {value!r}")
            elif section != "model" or name in MODEL:
                _check_type(section, name, value)
    return settings


def _check_type(section: str, name: str, value: Any) -> None:
    types: tuple[type, ...] = (str,) if section == "output" else TYPES.get(name, (str,))
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise SettingsError(
            f"[{section}] {name} must be {CALLED.get(types[-1], 'a text, a number or a date')}, got {value!r}"
        )
    if isinstance(value, list) and name != "partitions" and not all(isinstance(item, str) for item in value):
        raise SettingsError(f"[{section}] {name} must be a list of texts, got {value!r}")


def model_of(settings: Settings) -> Any:
    """The model, loaded from ``model.path`` or created from its parameters; one detector per key if there is a key."""
    given = dict(settings.get("model", {}))
    own = {name: given.pop(name, None) for name in MODEL}
    keyed = settings.get("records", {}).get("key") is not None
    if own["path"] is not None:
        if given:
            raise SettingsError(f"[model] has a path, so it cannot have {next(iter(given))!r} too")
        return load(own["path"])
    kind = own["kind"] or "detector"
    if kind not in KINDS:
        raise SettingsError(f"model.kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if kind == "forest":
        given.pop("shingle_size", None)
    try:
        model: Any = KINDS[kind](**{"random_state": 0, **given})
        _check_model(model)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"[model]: {error}") from error
    if not keyed:
        if "override" in settings:
            raise SettingsError("[override] is for keys, but records.key is not set")
        return model
    if kind == "forest":
        raise SettingsError("a forest has no keys; with records.key the model must be a detector")
    try:
        model = KeyedDetector(model, max_keys=10_000 if own["max_keys"] is None else own["max_keys"], ttl=own["ttl"])
        for key, params in settings.get("override", {}).items():
            model.override(key, **params)
            _check_model(clone(model.template).set_params(**params))
    except (TypeError, ValueError) as error:
        raise SettingsError(f"[model] or [override]: {error}") from error
    return model


def _check_model(model: Any) -> None:
    """Check the parameters now. Otherwise invalid parameters would be noticed only when the first records are rejected."""
    seed_entropy(model.random_state)
    if isinstance(model, StreamDetector):
        checked_settings(model.get_params(deep=False))
    else:
        model._validate_params()


def schema_of(settings: Settings) -> Schema:
    records = settings.get("records", {})
    try:
        return Schema(
            records.get("columns"), key=records.get("key"), time=records.get("time"), time_format=records.get("time_format"),
            decimal=records.get("decimal", "."),
        )  # fmt: skip
    except ValueError as error:
        raise SettingsError(f"[records]: {error}") from error


def codec_of(settings: Settings) -> Codec:
    records = settings.get("records", {})
    form = records.get("format", "json")
    if form == "json":
        return Json()
    if form == "csv":
        return Csv(records.get("names"), header=records.get("header", False), delimiter=records.get("delimiter", ","))
    raise SettingsError(f"records.format must be json or csv, got {form!r}")


def options_of(settings: Settings, **defaults: Any) -> dict[str, Any]:
    """Keyword arguments of :class:`Worker`: the schema, the output and the checkpoints."""
    worker, model = settings.get("worker", {}), settings.get("model", {})
    try:
        batch = whole_number("batch", worker.get("batch", BATCH))
        every = not_negative("checkpoint_every", worker.get("checkpoint_every", defaults.get("checkpoint_every", 0.0)))
    except ValueError as error:
        raise SettingsError(f"[worker] {error}") from error
    options = {
        "schema": schema_of(settings),
        "output": settings.get("output") or defaults.get("output", KINESIS),
        "batch": batch,
        "checkpoint_every": every,
    }
    if model.get("kind") == "forest" or model.get("path") is not None:
        options |= {name: model.get(name) for name in ("shingle_size", "threshold", "learn")}
    return options
