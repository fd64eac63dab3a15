"""Judges score and learn batches. There is one for each kind of model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .._validate import whole_number
from ..detector import KeyedDetector, StreamDetector
from ..detector.detections import Detection, Detections
from ..estimator import RandomCutForest
from ..explanation import explanation_json
from .columns import Column, Rows
from .records import StreamError
from .schema import Row

Result = dict[str, Any]
OF_ANOMALIES: dict[str, Callable[[Detection], Any]] = {
    "feature": lambda found: str(found.cause.feature),
    "lag": lambda found: int(found.cause.lag),
    "side": lambda found: found.cause.side,
    "severity": lambda found: float(found.severity),
    "expected": lambda found: found.expected.tolist(),
    "past": lambda found: found.past.tolist(),
}
FOREST_RESULTS = ("score", "is_anomaly", "explanation")
PAYS = 8  # from this average number of records per key on, `update_many` is faster than `update`
OPERATIONAL = ("record", "line", "position", "partition")  # results that do not depend on the model


class Judge(Protocol):
    """Scores and learns records in order. The results do not depend on how the stream is divided into batches."""

    model: Any

    def judge(self, rows: Sequence[Row], names: list[str]) -> list[Result | ValueError]:
        """Return for each row its results by name, or the error if the model refused it. A refused row changes nothing."""

    def columns(self, rows: Rows, names: list[str]) -> dict[str, Column] | None:
        """Score and learn a batch, and return the results in columns. None, without learning, if `judge` must do it instead."""

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: dict[str, Any]) -> None: ...


def judge_of(model: Any, wanted: Iterable[str], **forest: Any) -> Judge:
    """The judge of a model.

    Parameters
    ----------
    model : StreamDetector, KeyedDetector or RandomCutForest
    wanted : iterable of str
        Names of the results.
    **forest
        Keyword arguments of :class:`ForestJudge`; a detector takes none.
    """
    wanted = [name for name in wanted if name not in OPERATIONAL]
    if isinstance(model, RandomCutForest):
        return ForestJudge(model, wanted, **forest)
    if any(value is not None for value in forest.values()):
        raise TypeError(f"{', '.join(forest)} are for a RandomCutForest, not for a {type(model).__name__}")
    if isinstance(model, (StreamDetector, KeyedDetector)):
        return DetectorJudge(model, wanted)
    raise TypeError(f"model must be a StreamDetector, KeyedDetector or RandomCutForest, got {type(model).__name__}")


def _state_of(events: Sequence[Any]) -> str | None:
    return str(events[0].state) if len(events) else None


def _in_one(stamps: Sequence[Any]) -> Any:
    """The time stamps. If all are of one kind, they are an array, which a detector checks as a whole. None if there are none."""
    if stamps[0] is None:
        return None
    if all(isinstance(stamp, float) for stamp in stamps):
        return np.array(stamps)
    if all(isinstance(stamp, datetime) and stamp.tzinfo is None for stamp in stamps):
        return np.array(stamps, dtype="datetime64[us]")
    return stamps


class DetectorJudge:
    """A StreamDetector, or a KeyedDetector with a detector per key.

    Parameters
    ----------
    model : StreamDetector or KeyedDetector
    wanted : sequence of str
        Attributes of a Detection. "feature", "lag", "side", "severity", "expected" and "past" are available for anomalies only.
        "event" is the state of the event that the record belongs to. "explanation" is the ANOMALY_EXPLANATION of an anomaly.
        "explanations" is the ANOMALY_EXPLANATION of every record, which takes ten times as long as scoring.
    """

    def __init__(self, model: StreamDetector | KeyedDetector, wanted: Sequence[str]) -> None:
        self.model: Any = model
        self._keyed = isinstance(model, KeyedDetector)
        self._named = False
        self._plain = [name for name in wanted if name not in OF_ANOMALIES and not name.startswith("explanation")]
        self._explain = next((name for name in wanted if name.startswith("explanation")), None)
        self._order = list(wanted)
        known = {"explanation", "explanations"}
        unknown = [
            name
            for name in self._plain
            if name != "event" and not (hasattr(Detection, name) or name in Detection.__slots__)
        ]
        unknown += [name for name in wanted if name.startswith("explanation") and name not in known]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not a result of a detector")

    def judge(self, rows: Sequence[Row], names: list[str]) -> list[Result | ValueError]:
        if not rows:
            return []
        self._name(names)
        results: list[Result | ValueError] = []
        for run in self._runs(rows):
            found = None
            if len(run) > 1:
                keys = [row.key for row in run] if self._keyed else None
                found = self._together(np.array([row.values for row in run]), keys, [row.stamp for row in run])
            results += [self._alone(row, names) for row in run] if found is None else self._results(found, names)
        return results

    def columns(self, rows: Rows, names: list[str]) -> dict[str, Column] | None:
        if self._explain == "explanations" or (
            self._keyed and not all(key in self.model for key in set(rows.keys or ()))
        ):
            return None
        self._name(names)
        found = self._together(rows.values, rows.keys, rows.stamps)
        return None if found is None else self._columns(found, names)

    def _name(self, names: list[str]) -> None:
        """Set the names of the features in the detectors. Names in a saved model are kept."""
        if self._named:
            return
        for detector in map(self.model.detector, self.model.keys()) if self._keyed else [self.model]:
            if not hasattr(detector, "feature_names_in_"):
                detector.feature_names_in_ = np.array(names, dtype=object)
        self._named = True

    def _runs(self, rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
        """Split the rows into parts that may be scored together.

        The first record of a new key is a separate part, because it may evict another key, and because it sets the names of
        its features.
        """
        if self._explain == "explanations":  # an attribution is available only until the next record
            yield from ([row] for row in rows)
            return
        begin = 0
        if self._keyed:
            for i, row in enumerate(rows):
                if row.key not in self.model:
                    yield rows[begin:i]
                    yield rows[i : i + 1]
                    begin = i + 1
        yield rows[begin:]

    def _together(
        self, X: NDArray[np.float64], keys: Sequence[Any] | None, stamps: Sequence[Any] | None
    ) -> Detections | None:
        """Score and learn all records at once. None if this is not faster, or if the model refused a record and so learned none."""
        if keys is not None and (self.model.ttl is not None or len(X) < PAYS * len(set(keys))):
            return None
        try:
            found: Detections = self.model.update_many(
                *([] if keys is None else [keys]), X, None if stamps is None else _in_one(stamps)
            )
            return found
        except ValueError:
            return None

    def _alone(self, row: Row, names: list[str]) -> Result | ValueError:
        record: Any = row.values if len(row.values) > 1 else row.values[0]
        try:
            if not self._keyed:
                found = self.model.update(record, row.stamp)
            elif row.key in self.model:
                found = self.model.update(row.key, record, row.stamp)
            else:  # a mapping sets the names of the features
                found = self.model.update(row.key, dict(zip(names, row.values, strict=True)), row.stamp)
        except ValueError as error:
            return error
        return self._result(found, names)

    def _result(self, found: Detection, names: list[str]) -> Result:
        """The results of one record, which must be an anomaly or the last record that its detector has learned."""
        flagged = bool(found.is_anomaly)
        result: Result = {}
        for name in self._order:
            if name in OF_ANOMALIES:
                result[name] = OF_ANOMALIES[name](found) if flagged else None
            elif name == self._explain:
                result[name] = found.explanation_json(names) if flagged or name == "explanations" else None
            elif name == "event":
                result[name] = _state_of(found.events)
            else:
                result[name] = getattr(found, name)
        return result

    def _columns(self, found: Detections, names: list[str]) -> dict[str, Column]:
        """The results of many records: columns for all records, with details for the anomalies."""
        columns: dict[str, Any] = {}
        for name in self._order:
            if name == "event":
                columns[name] = [_state_of(events) if events else None for events in found.events.tolist()]
            elif name in self._plain:
                values: Any = getattr(found, name, None)
                if values is None:
                    values = [getattr(one, name) for one in found]
                columns[name] = values.tolist() if name == "reason" else values
            else:
                columns[name] = [None] * len(found)
        if len(columns) > len(self._plain):
            for i in found.anomalies.tolist():
                details = self._result(found[i], names)
                for name in columns.keys() - set(self._plain):
                    columns[name][i] = details[name]
        return columns

    def _results(self, found: Detections, names: list[str]) -> list[Result | ValueError]:
        """The results of many records, one by one."""
        columns = self._columns(found, names)
        lists = [column.tolist() if isinstance(column, np.ndarray) else column for column in columns.values()]
        return [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        pass


class ForestJudge:
    """A RandomCutForest that works like Kinesis's RANDOM_CUT_FOREST: each record is scored, then learned.

    Parameters
    ----------
    model : RandomCutForest
    wanted : sequence of str
        Some of "score", "is_anomaly", "explanation" and "explanations". The last two are the same for a forest.
    shingle_size : int, default=1
        Number of records in a window. The score is 0 for the first ``shingle_size - 1`` records, and for the records that fill the
        trees.
    threshold : float or None, default=None
        A record with a higher score is an anomaly. If it is None and `learn` is False, the forest's `offset_` is used.
        If it is None and `learn` is True, ``is_anomaly`` is None, because Kinesis's function has no threshold.
    learn : bool, default=True
        Whether the forest learns the records.
    """

    def __init__(
        self, model: RandomCutForest, wanted: Sequence[str], *, shingle_size: int | None = None,
        threshold: float | None = None, learn: bool | None = None,
    ) -> None:  # fmt: skip
        self.model = model
        self._order = list(wanted)
        unknown = [name for name in wanted if name not in (*FOREST_RESULTS, "explanations")]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not a result of a forest; these are: {', '.join(FOREST_RESULTS)}")
        self._size = 1 if shingle_size is None else whole_number("shingle_size", shingle_size)
        self._learn = learn is None or learn
        if not self._learn and not model.__sklearn_is_fitted__():
            raise ValueError("a forest that does not learn must be fitted")
        self._features = [str(name) for name in getattr(model, "feature_names_in_", ())]
        if self._features:
            # the names are checked in `judge`, because scikit-learn would warn about every array without names
            self.model = copy.copy(model)
            del self.model.feature_names_in_
        self._threshold = -model.offset_ if threshold is None and not self._learn else threshold
        self._recent: list[list[float]] = []

    def judge(self, rows: Sequence[Row], names: list[str]) -> list[Result | ValueError]:
        if self._features and self._size == 1 and names != self._features:
            raise StreamError(f"the columns are {names}, but the forest was fitted to {self._features}, in this order")
        results: list[Result | ValueError] = []
        windows: list[list[float]] = []
        places: list[int] = []
        width = self._width()
        for row in rows:
            width = width or len(row.values)
            values = np.array(row.values)
            if len(values) != width:
                results.append(ValueError(f"X has {len(values)} features, but {width} are expected."))
                continue
            if not (np.abs(values) <= np.finfo(np.float32).max).all():
                name = names[int(np.argmin(np.abs(values) <= np.finfo(np.float32).max))]
                results.append(
                    ValueError(f"{name!r} is missing, infinite or beyond float32; a forest needs each value")
                )
                continue
            self._recent.append(row.values)
            if len(self._recent) >= self._size:
                del self._recent[: -self._size]
                windows.append([value for record in self._recent for value in record])
                places.append(len(results))
            results.append(self._result(0.0, None, names))
        if windows:
            for place, (score, parts) in zip(places, self._scores(np.array(windows), names), strict=True):
                results[place] = self._result(score, parts, names)
        return results

    def columns(self, rows: Rows, names: list[str]) -> dict[str, Column] | None:
        return None

    def _width(self) -> int | None:
        if self._recent:
            return len(self._recent[-1])
        return self.model.n_features_in_ // self._size if self.model.__sklearn_is_fitted__() else None

    def _scores(self, windows: Any, names: list[str]) -> Iterable[tuple[float, Any]]:
        forest, explain = self.model, any(name.startswith("explanation") for name in self._order)
        shape = self._size, len(names), 2
        parts: Any
        if not self._learn:
            parts = forest.attribution(windows).reshape(-1, *shape) if explain else [None] * len(windows)
            return zip(forest.anomaly_score(windows).tolist(), parts, strict=True)
        if not explain:
            return [(score, None) for score in forest.update_many(windows).tolist()]
        found = []
        for window in windows:  # the explanation must come before the forest learns the record
            parts = forest.attribution(window.reshape(1, -1)).reshape(shape) if forest.__sklearn_is_fitted__() else None
            score = float(forest.update(window))
            found.append((score, parts if score > 0.0 else None))
        return found

    def _result(self, score: float, parts: Any, names: list[str]) -> Result:
        result: Result = {}
        for name in self._order:
            if name == "score":
                result[name] = score
            elif name == "is_anomaly":
                result[name] = None if self._threshold is None else score > self._threshold
            else:
                result[name] = explanation_json(np.zeros((len(names), 2)) if parts is None else parts, names)
        return result

    def state(self) -> dict[str, Any]:
        return {"recent": self._recent[len(self._recent) - self._size + 1 :] if self._size > 1 else []}

    def restore(self, state: dict[str, Any]) -> None:
        self._recent = [list(map(float, record)) for record in state.get("recent", [])]
