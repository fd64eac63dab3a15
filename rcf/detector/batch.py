"""The results for the records of many keys."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .detections import Detection, Detections, Source, grades

Floats = NDArray[np.float64]
COLUMNS = ("score", "evidence", "threshold", "likelihood", "confidence")


class Outcome(NamedTuple):
    """Arrays for the attributes of Detections; a Pass writes the results of ordinary records into them."""

    score: Floats
    evidence: Floats
    threshold: Floats
    likelihood: Floats
    confidence: Floats
    seen: NDArray[np.int64]  # number of records of the key, including this one

    @classmethod
    def of(cls, n: int) -> Outcome:
        score, evidence, threshold, likelihood, confidence = (np.empty(n) for _ in COLUMNS)
        return cls(score, evidence, threshold, likelihood, confidence, np.empty(n, dtype=np.int64))

    def at(self, i: int, alarm: bool, from_floor: bool) -> tuple[float, float, float, float, float, bool, bool]:
        """The results of record i, in the form that `Pipeline.take` returns."""
        return (
            float(self.score[i]), float(self.evidence[i]), float(self.threshold[i]), float(self.likelihood[i]),
            float(self.confidence[i]), alarm, from_floor,
        )  # fmt: skip


class Batch:
    """Records of many keys.

    A Detection is made on access, because making one takes a tenth of the time of judging a record.

    Parameters
    ----------
    outcome : Outcome
        The results of ordinary records. Those in `made` and `parts` are added to its arrays.
    keys, stamps : sequences of length n
        `stamps` is None without time stamps.
    sources : dict
        The detector of each key.
    made : dict
        The numbers of some records, and their Detections.
    parts : list of (int array, Detections)
        The numbers of some records, and their results.
    """

    def __init__(
        self, outcome: Outcome, keys: Sequence[Hashable], stamps: Any, sources: Mapping[Hashable, Source],
        made: dict[int, Detection], parts: list[tuple[NDArray[np.int64], Detections]],
    ) -> None:  # fmt: skip
        n = len(keys)
        self.score, self.evidence, self.threshold, self.likelihood, self.confidence, self._seen = outcome
        self.is_anomaly = np.zeros(n, dtype=np.bool_)
        self._keys, self._stamps, self._sources, self._made, self._parts = keys, stamps, sources, made, parts
        self._part = np.full(n, -1)  # the part that a record belongs to, and its place there
        self._place = np.zeros(n, dtype=np.int64)
        for number, (rows, found) in enumerate(parts):
            self._part[rows], self._place[rows] = number, np.arange(len(rows))
            for name in (*COLUMNS, "is_anomaly"):
                getattr(self, name)[rows] = getattr(found, name)
        for i, one in made.items():
            for name in (*COLUMNS, "is_anomaly"):
                getattr(self, name)[i] = getattr(one, name)

    @property
    def grade(self) -> Floats:
        return grades(self.evidence, self.threshold, self.is_anomaly)

    @property
    def reason(self) -> NDArray[np.object_]:
        return self._objects("reason", None)

    @property
    def events(self) -> NDArray[np.object_]:
        return self._objects("events", ())

    def _objects(self, name: str, usual: Any) -> NDArray[np.object_]:
        """An attribute of each record. It is `usual` for records that are neither in `made` nor in a part."""
        found = np.empty(len(self), dtype=object)
        for i in range(len(self)):
            found[i] = usual
        for rows, part in self._parts:
            for i, value in zip(rows.tolist(), getattr(part, name), strict=True):
                found[i] = value
        for i, one in self._made.items():
            found[i] = getattr(one, name)
        return found

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, i: int) -> Detection:
        key = self._keys[i]
        if i in self._made:
            one = self._made[i]
        elif self._part[i] >= 0:
            one = self._parts[self._part[i]][1][int(self._place[i])]
        else:
            one = Detection(
                float(self.score[i]), float(self.evidence[i]), float(self.threshold[i]), float(self.likelihood[i]), False,
                float(self.confidence[i]), None, self._sources[key], int(self._seen[i]), None, None, (),
                None if self._stamps is None else self._stamps[i],
            )  # fmt: skip
        one.key = key
        return one
