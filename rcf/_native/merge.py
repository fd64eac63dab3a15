"""Two forests made one, by their states: what stays in which sample, before trees are grown on it.

Tree by tree the smallest keys of the union stay, on the clock of the stream that followed (sampling/reservoir.py has the rule).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .state import HEAD, LIMIT

State = dict[str, Any]


def merged_records(mine: State, theirs: State) -> State:
    """The state of a forest whose stream was that of `mine` and then that of `theirs`, without nodes and random words.

    `key` and `record` hold the samples, each with its keys descending, which is a heap. Two tables become one table.
    """
    n_trees, capacity, decay = mine["n_trees"], mine["capacity"], mine["time_decay"]
    for state, name in ((mine, "this one"), (theirs, "the other")):
        if state["seen"] == 0:
            raise ValueError(f"cannot merge a forest that has seen nothing: {name} of the two")
    # shift of the keys in time: the keys of the other forest move by the length of this stream
    before, after = mine["seen"], 0
    if before + theirs["seen"] >= 2**62:
        raise ValueError(f"two streams of {before} and {theirs['seen']} records are too long to count")
    if mine["table"] == before and theirs["table"] == theirs["seen"]:
        after = theirs["seen"]  # all rows of both count as the last record, so none is older
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
        # above this key, one of the two has dropped records
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
    """Whether the origin is still to be settled, the first records if it is, and the origin."""
    nothing = np.empty((0, mine["n_features"]))
    if mine["growing"] and theirs["growing"]:
        head = np.concatenate([mine["head"], theirs["head"]])[:HEAD]
        if len(head) < HEAD:
            return True, head, mine["origin"]
        return False, nothing, np.median(head, axis=0)
    return False, nothing, theirs["origin"] if mine["growing"] else mine["origin"]


def _points_from(origin: NDArray[np.float64], mine: State, theirs: State) -> NDArray[np.float32]:
    """The records of both, seen from there. Equal origins leave the points as they are, bit for bit."""
    table = np.concatenate(
        [
            state["head"][state["arrival"] - 1] - origin
            if state["growing"]
            else state["points"] + (state["origin"] - origin)
            for state in (mine, theirs)
        ]
    )
    if not (np.abs(table) <= 2.001 * LIMIT).all():
        raise ValueError(f"the two forests lie further apart than {2 * LIMIT}, the range of float32")
    points: NDArray[np.float32] = table.astype(np.float32) + np.float32(0)  # no -0.0
    return points
