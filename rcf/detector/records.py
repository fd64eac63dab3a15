"""Parse and validate records, tables, time stamps and the rules of `ignore_near_expected`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from math import isfinite
from numbers import Real
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._core import LIMIT
from .._validate import check_columns, many_for_one

Floats = NDArray[np.float64]
UNNAMED = "x0"  # the name of the first feature in a cause
_TIMES = "a number of seconds or a date (as text in ISO form, such as 2026-01-31T12:00:00Z)"
# for above and below: (amount, ratio) of each feature
Nearness = tuple[list[tuple[float, float]], list[tuple[float, float]]]


def values_of(record: Any) -> list[float]:
    """A record as a list of floats; NaN is allowed."""
    if type(record) is float:
        values = [record]
    elif isinstance(record, np.ndarray) and record.ndim <= 1 and record.dtype == np.float64:
        values = record.tolist() if record.ndim else [float(record)]
    elif record is None:  # numpy would convert it to NaN
        raise ValueError("a record must be a number or a vector of numbers, got None; NaN marks a missing value")
    else:
        try:
            array: ArrayLike = np.array(record, dtype=np.float64, ndmin=1)
        except (TypeError, ValueError) as error:
            raise ValueError(f"a record must be a number or a vector of numbers, got {record!r}") from error
        if np.ndim(array) != 1:
            raise many_for_one(np.shape(array))
        values = np.asarray(array).tolist()
    if not values:
        raise ValueError("a record must have at least one feature, got an empty one")
    for j, v in enumerate(values):
        if not -LIMIT <= v <= LIMIT and v == v:
            raise ValueError(f"Input X contains {v}, infinite or beyond float32 (feature {j}).")
    return values


def values_by_name(record: Mapping[str, Any], names: Any) -> tuple[list[float], list[str] | None]:
    """The values of a mapping in the order of the names, and the names if they are new."""
    if names is None:
        known = list(record)
        if not all(isinstance(name, str) for name in known):
            raise ValueError(f"the names of a mapping must be text, got {known!r}")
        return values_of([record[name] for name in known]), known
    try:
        values = [record[name] for name in names]
    except KeyError as error:
        raise ValueError(f"the record has no {error.args[0]!r}: NaN marks a missing value") from None
    if len(record) != len(names):
        unknown = [name for name in record if name not in set(names)]
        raise ValueError(f"the record has unknown features: {', '.join(map(repr, unknown))}")
    return values_of(values), None


def plain_time(timestamp: Any) -> float | str | None:
    """A time stamp as a number or, for a date, as a string in ISO format."""
    if timestamp is None or isinstance(timestamp, str):
        return timestamp
    if isinstance(timestamp, Real):
        return float(timestamp)
    return timestamp.isoformat() if isinstance(timestamp, datetime) else str(timestamp)


class Moment(NamedTuple):
    """A time stamp as numbers."""

    time: float  # seconds since 1970 UTC; a date without a zone counts as UTC
    offset: float  # seconds by which the local time is ahead of it
    local: bool  # whether it is a date without a zone, which is local time


def seconds(timestamp: Any) -> float:
    """Seconds since 1970 of a number, a date or a date string. A date without a zone is UTC."""
    if type(timestamp) is float and isfinite(timestamp):
        return timestamp
    return moment_of(timestamp, None).time


def moment_of(timestamp: Any, zone: ZoneInfo | None) -> Moment:
    """A time stamp as numbers.

    The local time is that of `zone`. If `zone` is None, a number is UTC, and a date is its own local time.
    """
    if isinstance(timestamp, str):
        try:
            timestamp = datetime.fromisoformat(timestamp.strip())
        except ValueError:
            raise ValueError(f"timestamp must be {_TIMES}, got {timestamp!r}") from None
    if isinstance(timestamp, np.datetime64):
        time = float(timestamp.astype("datetime64[us]").astype(np.int64)) / 1e6 if not np.isnat(timestamp) else np.nan
        moment = Moment(time, 0.0, True)
    elif isinstance(timestamp, datetime) and timestamp.tzinfo is None:
        moment = Moment((timestamp - datetime(1970, 1, 1)).total_seconds(), 0.0, True)
    elif isinstance(timestamp, datetime):
        time = timestamp.timestamp()
        if zone is None:
            moment = Moment(time, (timestamp.utcoffset() or timedelta()).total_seconds(), False)
        else:
            moment = Moment(time, _ahead(zone, time), False)
    elif isinstance(timestamp, Real) and not isinstance(timestamp, bool):
        time = float(timestamp)
        moment = Moment(time, 0.0 if zone is None or not isfinite(time) else _ahead(zone, time), False)
    else:
        raise ValueError(f"timestamp must be {_TIMES}, got {timestamp!r}")
    if not isfinite(moment.time):
        raise ValueError(f"timestamp must be finite, got {timestamp!r}")
    return moment


def moments_of(stamps: Any, zone: ZoneInfo | None) -> tuple[Floats, Floats, NDArray[np.uint8]] | None:
    """The Moments of many time stamps, as three arrays. None if `moment_of` refuses one of the stamps."""
    n = len(stamps)
    numbers = isinstance(stamps, list) and set(map(type, stamps)) <= {float, int}
    if zone is None and (numbers or getattr(stamps, "dtype", None) == np.float64):
        times = np.array(stamps, dtype=np.float64)
        return (times, np.zeros(n), np.zeros(n, dtype=np.uint8)) if np.isfinite(times).all() else None
    if isinstance(stamps, np.ndarray) and stamps.dtype.kind == "M":
        times = stamps.astype("datetime64[us]").astype(np.int64) / 1e6
        return None if np.isnat(stamps).any() else (times, np.zeros(n), np.ones(n, dtype=np.uint8))
    try:
        moments = [moment_of(stamp, zone) for stamp in stamps]
    except (TypeError, ValueError):
        return None
    found = np.array(moments, dtype=np.float64).reshape(n, 3)
    return found[:, 0].copy(), found[:, 1].copy(), found[:, 2].astype(np.uint8)


def _ahead(zone: ZoneInfo, time: float) -> float:
    """Seconds by which the clocks of a zone are ahead of UTC. Zones change their clocks at full quarters of an hour only."""
    return _ahead_at(zone, time // 900)


@lru_cache(maxsize=4096)
def _ahead_at(zone: ZoneInfo, quarter: float) -> float:
    try:
        offset = datetime.fromtimestamp(quarter * 900, zone).utcoffset()
    except (OverflowError, OSError, ValueError) as error:
        raise ValueError(
            f"timestamp {quarter * 900:.15g} is no date: the time zone needs seconds since 1970"
        ) from error
    return 0.0 if offset is None else offset.total_seconds()


def written(time: float, like: Any) -> str:
    """Seconds since 1970 in the type of another stamp: a number, or a date, which is in UTC if the other has a zone."""
    if isinstance(like, Real):
        return f"{time:.15g}"
    if isinstance(like, str):
        like = datetime.fromisoformat(like.strip())
    date = np.datetime64(int(time), "s") if time.is_integer() else np.datetime64(round(time * 1e6), "us")
    return f"{date}+00:00" if getattr(like, "tzinfo", None) else str(date)


def index_note(timestamps: Any) -> str:
    """Advice for an error message, in case the time stamps are an index that is not the time."""
    return "; reset_index(drop=True) if the index is not the time" if _are_dates(timestamps) else ""


def _are_dates(index: Any) -> bool:
    return type(index).__name__ == "DatetimeIndex"  # without importing pandas


def as_frame(records: Any) -> Any:
    """Convert a pandas or polars Series to a frame with one column, named `UNNAMED` if it has no name. Others stay unchanged."""
    if not hasattr(records, "to_frame") or np.ndim(records) != 1:
        return records
    return records.to_frame(UNNAMED if records.name in (None, "") else records.name)


def table(records: Any, timestamps: Any) -> tuple[list[str] | None, Floats, Any]:
    """The column names of a frame, the records as (n, d), and the time stamps, which may be a column of the frame."""
    names = None
    if hasattr(records, "columns"):
        columns = list(records.columns)
        index = getattr(records, "index", None)
        if isinstance(timestamps, str):
            if timestamps in columns:
                columns.remove(timestamps)
                timestamps = records[timestamps]
            elif timestamps in getattr(index, "names", ()):
                timestamps = index.get_level_values(timestamps)  # type: ignore[union-attr]
            else:
                raise ValueError(
                    f"no column {timestamps!r} among {', '.join(map(repr, columns))}, and no index of this name"
                )
        elif timestamps is None and _are_dates(index):
            timestamps = index
        records = records[columns]
        check_columns(
            records, "leave it out, give timestamps={column!r} if it is the time, or make it the key of a KeyedDetector"
        )
        names, records = [str(column) for column in columns], records.to_numpy()
    elif isinstance(timestamps, str):
        raise ValueError(f"timestamps={timestamps!r} names a column, but the records are a {type(records).__name__}")
    if records is None:
        raise ValueError("records must be numbers, got None")
    try:
        X = np.array(records, dtype=np.float64, ndmin=1)
    except (TypeError, ValueError) as error:
        raise ValueError(f"records must be numbers: {error}") from error
    if X.ndim == 1:
        X = X.reshape(-1, 1)
    if X.ndim != 2 or X.shape[1] == 0:
        raise ValueError(f"records must have shape (n,) or (n, d), got {X.shape}")
    bad = np.argwhere(~(np.abs(X) <= LIMIT) & ~np.isnan(X))
    if len(bad):
        row, j = bad[0]
        raise ValueError(f"Input X contains {X[row, j]}, infinite or beyond float32 (row {row}, feature {j}).")
    return names, np.ascontiguousarray(X), timestamps


def nearness(rules: Any, d: int) -> Nearness | None:
    """(amount, ratio) of each feature, above and below the expected value."""
    if rules is None:
        return None
    if not isinstance(rules, dict) or not rules or set(rules) - {"above", "below"}:
        raise ValueError(f"ignore_near_expected must map 'above' and 'below' to (amount, ratio), got {rules!r}")
    sides = []
    for side in ("above", "below"):
        try:
            amount, ratio = rules.get(side, (0.0, 0.0))
            amounts = np.broadcast_to(np.asarray(amount, dtype=np.float64), (d,))
            ratios = np.broadcast_to(np.asarray(ratio, dtype=np.float64), (d,))
        except (TypeError, ValueError) as error:
            raise ValueError(f"ignore_near_expected[{side!r}] must be (amount, ratio), got {rules[side]!r}") from error
        if not (amounts >= 0).all() or not (ratios >= 0).all():
            raise ValueError(f"ignore_near_expected[{side!r}] must not be negative, got {rules[side]!r}")
        sides.append(list(zip(amounts.tolist(), ratios.tolist(), strict=True)))
    return sides[0], sides[1]


def near_enough(near: Nearness, past: Floats, expected: Floats) -> bool:
    """Whether each feature is as close to the expected value as the rules allow."""
    above, below = near
    for value, middle, high, low in zip(past.tolist(), expected.tolist(), above, below, strict=True):
        off = value - middle
        amount, ratio = high if off > 0 else low
        if off and abs(off) > max(amount, ratio * abs(middle)):
            return False
    return True
