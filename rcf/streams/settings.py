"""Settings of a worker, from a TOML file and ``section.name=value`` pairs, and the objects that they describe."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..detector import KeyedDetector, StreamDetector
from ..estimator import RandomCutForest
from ..persist import load
from .codecs import Codec, Csv, Json
from .labeller import KINESIS
from .schema import Schema
from .worker import BATCH

Settings = dict[str, dict[str, Any]]

# Each section, and the settings that it may have. Other sections are those of the adapters.
SECTIONS: dict[str, tuple[str, ...]] = {
    "records": ("columns", "key", "time", "time_format", "decimal", "format", "names", "header", "delimiter"),
    "output": (),  # result = "COLUMN"
    "model": (),  # parameters of the class, and those in MODEL
    "override": (),  # a table per key
    "worker": ("checkpoint_every", "batch", "metrics"),
}
MODEL = ("kind", "path", "learn", "threshold", "max_keys", "ttl")
KINDS = {"detector": StreamDetector, "forest": RandomCutForest}


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
                f"there is no section [{section}]; there are {', '.join(f'[{name}]' for name in known)}"
            )
        if not isinstance(values, dict):
            raise SettingsError(f"[{section}] must be a table, got {values!r}")
        for name in values:
            if known[section] and name not in known[section]:
                raise SettingsError(f"[{section}] has no setting {name!r}; it has {', '.join(known[section])}")
    return settings


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
    except TypeError as error:
        raise SettingsError(f"[model]: {error}") from error
    if not keyed:
        if "override" in settings:
            raise SettingsError("[override] is for keys, but records.key is not set")
        return model
    if kind == "forest":
        raise SettingsError("a forest has no keys; with records.key the model must be a detector")
    try:
        model = KeyedDetector(model, max_keys=own["max_keys"] or 10_000, ttl=own["ttl"])
        for key, params in settings.get("override", {}).items():
            model.override(key, **params)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"[model] or [override]: {error}") from error
    return model


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
    options = {
        "schema": schema_of(settings),
        "output": settings.get("output") or defaults.get("output", KINESIS),
        "batch": worker.get("batch", BATCH),
        "checkpoint_every": worker.get("checkpoint_every", defaults.get("checkpoint_every", 0.0)),
    }
    if model.get("kind") == "forest" or model.get("path") is not None:
        options |= {name: model.get(name) for name in ("shingle_size", "threshold", "learn")}
    return options
