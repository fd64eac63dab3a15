"""Check that the arrays of a state, such as `Forest.state` returns, describe a forest.

A model file may come from anywhere, so nothing in it is trusted. The consistency of a tree (its nodes, and the leaves
that its records fall into) is checked in preorder.pxd while the tree is built. All other checks are here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

LIMIT = 1.7e38  # half of the largest float: the difference of two such numbers is still a float
HEAD = 16  # number of records after which the origin is determined

SCALARS: tuple[tuple[str, type | tuple[type, ...]], ...] = (
    ("n_trees", int),
    ("capacity", int),
    ("n_features", int),
    ("seen", int),
    ("warm_up", int),
    ("table", int),
    ("growing", bool),
    ("time_decay", (int, float)),
)
ARRAYS: tuple[tuple[str, type[np.generic], int], ...] = (  # name, dtype, dimensions
    ("origin", np.float64, 1),
    ("head", np.float64, 2),
    ("rng", np.uint64, 2),
    ("size", np.int32, 1),
    ("leaves", np.int32, 1),
    ("threshold", np.float64, 1),
    ("budget", np.float64, 1),
    ("next", np.int64, 1),
    ("settled", np.int64, 1),
    ("key", np.float64, 1),
    ("record", np.int32, 1),
    ("arrival", np.int64, 1),
    ("points", np.float32, 2),
    ("inner", np.bool_, 1),
    ("cut", np.float32, 1),
    ("dim", np.int32, 1),
)
BY_TREE = ("rng", "size", "leaves", "threshold", "budget", "next", "settled")


class ModelStateError(ValueError):
    """A saved state that does not describe a forest."""


def check_state(state: Mapping[str, Any]) -> None:
    """Raise ModelStateError if this is not the state of a forest."""
    _check_types(state)
    _check_numbers(state)
    _check_lengths(state)
    _check_values(state)


def _check_types(state: Mapping[str, Any]) -> None:
    for name, kinds in SCALARS:
        if name not in state:
            raise ModelStateError(f"{name} is missing")
        if not isinstance(state[name], kinds) or (kinds is not bool and isinstance(state[name], bool)):
            raise ModelStateError(f"{name} is {str(state[name])[:40]!r}")
    for name, kind, ndim in ARRAYS:
        if name not in state:
            raise ModelStateError(f"{name} is missing")
        if not isinstance(state[name], np.ndarray) or state[name].dtype != kind or state[name].ndim != ndim:
            raise ModelStateError(f"{name} is not an array of {np.dtype(kind)} in {ndim} dimensions")


def _check_numbers(state: Mapping[str, Any]) -> None:
    n_trees, capacity, n_features = state["n_trees"], state["capacity"], state["n_features"]
    seen, warm_up, table, decay = state["seen"], state["warm_up"], state["table"], state["time_decay"]
    if not (1 <= n_trees < 2**31 and 1 <= capacity < 2**30 and 1 <= n_features < 2**31):
        raise ModelStateError(f"impossible sizes: {n_trees} trees of {capacity} records of {n_features} features")
    if not 0 <= decay <= 1e300:
        raise ModelStateError(f"time_decay is {decay}")
    if not (0 <= seen < 2**62 and 0 <= warm_up <= capacity and 0 <= table <= seen):
        raise ModelStateError(f"impossible counts: seen {str(seen)[:40]}, warm-up {warm_up}, table {table}")
    if state["growing"] and seen >= HEAD:
        raise ModelStateError(f"'growing' is set, but {seen} records were seen (limit {HEAD})")


def _check_lengths(state: Mapping[str, Any]) -> None:
    n_trees, n_features, seen = state["n_trees"], state["n_features"], state["seen"]
    for name in BY_TREE:
        if len(state[name]) != n_trees:
            raise ModelStateError(f"{name} has {len(state[name])} entries for {n_trees} trees")
    if state["rng"].shape[1] != 4 or not state["rng"].any(axis=1).all():
        raise ModelStateError("rng must hold four words per tree that are not all zero")
    sizes, leaves = state["size"].astype(np.int64), state["leaves"].astype(np.int64)
    if (sizes < 0).any() or (sizes > min(state["capacity"], seen)).any():
        raise ModelStateError("a sample is larger than its capacity or the stream")
    if (leaves < 0).any() or (leaves > sizes).any() or ((leaves == 0) != (sizes == 0)).any():
        raise ModelStateError("a tree has more leaves than records, or records but no leaf")
    n_slots, n_leaves, n_records = sizes.sum(), leaves.sum(), len(state["arrival"])
    n_cuts = n_leaves - int((leaves > 0).sum())
    for name, many in (
        ("key", n_slots),
        ("record", n_slots),
        ("points", n_records),
        ("cut", n_cuts),
        ("dim", n_cuts),
        ("inner", n_leaves + n_cuts),
    ):
        if len(state[name]) != many:
            raise ModelStateError(f"{name} has {len(state[name])} entries where the trees have {many}")
    if (
        state["points"].shape[1] != n_features
        or len(state["origin"]) != n_features
        or state["head"].shape[1] != n_features
    ):
        raise ModelStateError(f"points, origin or head does not have {n_features} columns")
    if len(state["head"]) != (seen if state["growing"] else 0):
        raise ModelStateError("head does not hold the first records")


def _check_values(state: Mapping[str, Any]) -> None:
    seen, arrival = state["seen"], state["arrival"]
    # inputs are at most LIMIT, so two numbers differ by at most twice that
    for name, most in (
        ("origin", LIMIT),
        ("head", LIMIT),
        ("points", 2.001 * LIMIT),
        ("cut", 2.001 * LIMIT),
        ("key", 1e300),
    ):
        if not (np.abs(state[name]) <= most).all():
            raise ModelStateError(f"{name} is not finite")
    if np.isnan(state["threshold"]).any() or not (state["budget"] >= 0).all():
        raise ModelStateError("thresholds or budgets are not numbers")
    if len(arrival) and not (arrival.min() >= 1 and arrival.max() <= seen and (np.diff(arrival) > 0).all()):
        raise ModelStateError("the arrivals of the records do not ascend within the stream")
    if ((state["next"] <= seen) | (state["settled"] > seen) | (state["settled"] < 0)).any():
        raise ModelStateError("the next record that a tree learns lies in the past")
