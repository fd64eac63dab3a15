"""Merge the samples of two forests, given their states. regrow.pxd then builds the trees.

Each tree keeps those records of its two samples that have the smallest keys. A key depends on the position of
its record in the stream. So the keys are first shifted as if the second stream had followed the first (see sampling/reservoir.py).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .state import HEAD, LIMIT

State = dict[str, Any]


def merged_records(mine: State, theirs: State) -> State:
    """The state of a forest that saw the stream of `mine` and then that of `theirs`, without nodes and random state.

    `key` and `record` hold the samples. The keys of a sample descend, so they are a heap. Two tables become one table.
    """
    n_trees, capacity, decay = mine["n_trees"], mine["capacity"], mine["time_decay"]
    for state, name in ((mine, "this one"), (theirs, "the other")):
        if state["seen"] == 0:
            raise ValueError(f"cannot merge a forest that has seen no records: {name} of the two")
    # how far the keys move in time: those of the other forest by the length of this stream
    before, after = mine["seen"], 0
    if before + theirs["seen"] >= 2**62:
        raise ValueError(f"two streams of {before} and {theirs['seen']} records are too long to count")
    if mine["table"] == before and theirs["table"] == theirs["seen"]:
        after = theirs["seen"]  # all rows of both tables count as the last record, so that none is older than another
    growing, head, origin = _common_origin(mine, theirs)
    points = _points_from(origin, mine, theirs)
    sizes, thresholds = np.empty(n_trees, dtype=np.int32), np.empty(n_trees)
    keys, records = [], []
    at, other_at = 0, 0
    for i in range(n_trees):
        one, two = slice(at, at + mine["size"][i]), slice(other_at, other_at + theirs["size"][i])
        at, other_at = one.stop, two.stop
        _, j, k = np.intersect1d(mine["key"][one], theirs["key"][two], return_indices=True)
        if (mine["arrival"][mine["record"][one][j]] == theirs["arrival"][theirs["record"][two][k]]).any():
            raise ValueError(
                "the two forests drew the same random numbers: one is a copy of the other, or both were grown "
                "from the same random_state; give each its own"
            )
        key = np.concatenate([mine["key"][one] - decay * after, theirs["key"][two] - decay * before])
        record = np.concatenate([mine["record"][one], theirs["record"][two] + len(mine["arrival"])])
        # one of the two samples may have dropped records with larger keys than this
        thresholds[i] = min(mine["threshold"][i] - decay * after, theirs["threshold"][i] - decay * before)
        kept = np.flatnonzero(key <= thresholds[i])
        kept = kept[np.argsort(key[kept], kind="stable")][:capacity][::-1]
        sizes[i] = len(kept)
        keys.append(key[kept])
        records.append(record[kept])
    return {
        **{name: mine[name] for name in ("n_trees", "capacity", "n_features", "time_decay")},
        "seen": before + theirs["seen"],
        "warm_up": min(mine["warm_up"], theirs["warm_up"]),
        "table": before + after if after else 0,
        "growing": growing,
        "origin": origin,
        "head": head,
        "size": sizes,
        "threshold": thresholds,
        "key": np.concatenate(keys),
        "record": np.concatenate(records),
        "arrival": np.concatenate([mine["arrival"], theirs["arrival"] + before]),
        "points": points,
    }


def _common_origin(mine: State, theirs: State) -> tuple[bool, NDArray[np.float64], NDArray[np.float64]]:
    """Whether the forest still collects its first records, these records, and the origin."""
    nothing = np.empty((0, mine["n_features"]))
    if mine["growing"] and theirs["growing"]:
        head = np.concatenate([mine["head"], theirs["head"]])[:HEAD]
        if len(head) < HEAD:
            return True, head, mine["origin"]
        return False, nothing, np.median(head, axis=0)
    return False, nothing, theirs["origin"] if mine["growing"] else mine["origin"]


def _points_from(origin: NDArray[np.float64], mine: State, theirs: State) -> NDArray[np.float32]:
    """The records of both forests, relative to `origin`. A forest with this origin keeps its points, bit for bit."""
    table = np.concatenate(
        [
            state["head"][state["arrival"] - 1] - origin
            if state["growing"]
            else state["points"] + (state["origin"] - origin)
            for state in (mine, theirs)
        ]
    )
    if not (np.abs(table) <= 2.001 * LIMIT).all():
        raise ValueError(f"the records of the two forests are further apart than {2 * LIMIT}, the range of float32")
    points: NDArray[np.float32] = table.astype(np.float32) + np.float32(0)  # no -0.0
    return points
