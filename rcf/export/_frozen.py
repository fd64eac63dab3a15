"""Frozen models: the file format of the C runtime.

Version 1
---------
All numbers are little-endian. A file consists of a header and tables. Each table begins at a multiple of 8 bytes::

    0   8 bytes  magic  "rcffrz" 0x1a, version
    8   uint32   checksum: CRC-32 of the bytes from 12 on
    12  uint32   method
    16  uint64   size of the file
    24  float64  threshold
    32  uint32   features d, trees T, points P, leaves L, inner nodes N
    52  uint8    bytes of a number in `node`
    53  uint8    bytes of a number in `point`; 0 if leaf i has point i, so that `point` is left out
    54  uint8    1 if a leaf holds several records, otherwise 0
    55  uint8    0

    float64  origin (d)
    uint32   sizes (T)          leaves of each tree
    uint32   before (L + 1)     if some mass is not 1: records in the leaves before each leaf
    float32  cut (N)
    float32  points (P, d)      the distinct records of all trees
    node     (N, 2)             leaves below the first child, and the feature of the cut
    point    (L)                the point of each leaf, if leaves share points

The inner nodes of a tree are stored in preorder, and its leaves from left to right (see `_tables.Tables`). Boxes are not stored,
because they can be computed from the points and would make the file two to four times as long.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core import Forest, ModelStateError
from ..persist import ModelFileError
from ._tables import Ints, Tables

MAGIC = b"rcffrz\x1a\x01"
METHODS = ("depth", "codisp", "displacement", "opensearch", "path")  # the same order as in rcf_frozen.h
MOST = 1 << 27  # records in all trees
HEADER = struct.Struct("<8sIIQd5I4B")


def frozen(tables: Tables) -> bytes:
    """The bytes of the file."""
    d, n_trees = tables.n_features, len(tables.sizes)
    before = np.append(0, np.cumsum(tables.mass))
    if before[-1] > MOST:
        raise ValueError(f"the trees hold {before[-1]} records together; a frozen model holds at most {MOST}")
    masses = bool((tables.mass != 1).any())
    points, point, by_point = _points(tables)
    by_node = max(_width(int(tables.sizes.max())), _width(d))
    parts = [
        tables.origin.astype("<f8"),
        tables.sizes.astype("<u4"),
        before.astype("<u4") if masses else np.empty(0),
        tables.cut.astype("<f4"),
        points.astype("<f4"),
        np.stack([tables.left, tables.dim], axis=1).astype(f"<u{by_node}"),
        point.astype(f"<u{by_point}") if by_point else np.empty(0),
    ]
    body = b"".join(part.tobytes() + bytes(-part.nbytes % 8) for part in parts)
    counts = d, n_trees, len(points), len(tables.mass), len(tables.cut)
    size, method = HEADER.size + len(body), METHODS.index(tables.method)
    file = bytearray(HEADER.pack(MAGIC, 0, method, size, tables.threshold, *counts, by_node, by_point, masses, 0))
    file += body
    file[8:12] = struct.pack("<I", zlib.crc32(file[12:]))
    return bytes(file)


def _width(n: int) -> int:
    """The width in bytes of a number from 0 to n - 1."""
    return 1 if n <= 1 << 8 else 2 if n <= 1 << 16 else 4


def _points(tables: Tables) -> tuple[NDArray[np.float32], Ints, int]:
    """The points, the point of each leaf, and the width in bytes of a point number, which is 0 if no leaves share a point."""
    n, d = tables.points.shape
    leaves, width = len(tables.point), _width(n)
    if 4 * n * d + leaves * width < 4 * leaves * d:
        return tables.points, tables.point, width
    return tables.points[tables.point], np.arange(leaves), 0


def thawed(data: bytes) -> tuple[Tables, Forest]:
    """The tables of a file, and a forest of the core with the same scores. Everything in the file is validated."""
    if len(data) < HEADER.size or data[:8] != MAGIC:
        raise ModelFileError("not a frozen model of version 1")
    _, crc, method, size, threshold, d, n_trees, n_points, n_leaves, n_nodes, *widths = HEADER.unpack_from(data)
    if size != len(data):
        raise ModelFileError(f"cut off or too long: it has {len(data)} bytes, but its header says {size}")
    if zlib.crc32(data[12:]) != crc:
        raise ModelFileError("damaged: the checksum differs")
    by_node, by_point, masses, nothing = widths
    if not (
        method < len(METHODS)
        and by_node in (1, 2, 4)
        and by_point in (0, 1, 2, 4)
        and masses < 2
        and nothing == 0
        and 1 <= d < 1 << 28
        and n_trees > 0
        and (by_point or n_points == n_leaves)
        and n_leaves <= n_nodes + n_trees
    ):
        raise ModelFileError("damaged: a number in its header is out of range")
    at = HEADER.size

    def take(kind: str, *shape: int) -> NDArray[Any]:
        nonlocal at
        many = int(np.prod(shape, dtype=object))
        begin, at = at, at + (many * np.dtype(kind).itemsize + 7) // 8 * 8
        if at > len(data):
            raise ModelFileError("damaged: its tables do not match its size")
        return np.frombuffer(data, kind, many, begin).reshape(shape)

    origin, leaves = take("<f8", d), take("<u4", n_trees).astype(np.int64)
    before = take("<u4", n_leaves + 1).astype(np.int64) if masses else np.arange(n_leaves + 1)
    cut, points = take("<f4", n_nodes), take("<f4", n_points, d)
    left, dim = take(f"<u{by_node}", n_nodes, 2).astype(np.int64).T
    point = take(f"<u{by_point}", n_leaves).astype(np.int64) if by_point else np.arange(n_leaves)
    if at != len(data) or leaves.sum() != n_leaves or np.maximum(leaves - 1, 0).sum() != n_nodes:
        raise ModelFileError("damaged: its tables do not match its size")
    if (point >= n_points).any() or (np.diff(before) < 1).any() or before[-1] > MOST:
        raise ModelFileError("damaged: its tables do not describe trees")
    mass = np.diff(before)
    tables = Tables(METHODS[method], threshold, origin, leaves, cut, dim, left, points, point, mass)
    try:
        return tables, Forest.from_state(_state(tables))
    except (ModelStateError, IndexError) as error:
        raise ModelFileError(f"damaged: its tables do not describe trees ({error})") from error


def _state(tables: Tables) -> dict[str, Any]:
    """The state of a forest of the core with these trees. The forest must not learn, because its reservoir is made up."""
    n_trees, n_leaves = len(tables.sizes), len(tables.mass)
    inner = np.zeros(n_leaves + len(tables.cut), dtype=bool)
    if len(tables.cut):
        # before an inner node, preorder has all earlier inner nodes, and all leaves to the left of its own leaves
        inner[np.arange(len(tables.cut)) + tables.nodes.first] = True
    # a tree holds each row only once, so equal records need as many rows as the tree with most of them has
    copies = np.zeros(len(tables.points), dtype=np.int64)
    np.maximum.at(copies, tables.point, tables.mass)
    row = np.cumsum(copies) - copies
    nth = np.arange(tables.mass.sum()) - np.repeat(np.cumsum(tables.mass) - tables.mass, tables.mass)
    record = np.repeat(row[tables.point], tables.mass) + nth
    size = np.bincount(np.repeat(np.arange(n_trees), tables.sizes), tables.mass, n_trees).astype(np.int32)
    seen = int(copies.sum())
    return {
        "n_trees": n_trees, "capacity": max(1, int(size.max())), "n_features": tables.n_features, "time_decay": 0.0,
        "seen": seen, "warm_up": 0, "table": 0, "growing": False,
        "origin": tables.origin.astype(np.float64), "head": np.empty((0, tables.n_features)),
        "rng": np.ones((n_trees, 4), dtype=np.uint64), "size": size, "leaves": tables.sizes.astype(np.int32),
        "threshold": np.zeros(n_trees), "budget": np.zeros(n_trees),
        "next": np.full(n_trees, seen + 1), "settled": np.zeros(n_trees, dtype=np.int64),
        "key": np.zeros(len(record)), "record": record.astype(np.int32), "arrival": np.arange(1, seen + 1),
        "points": np.repeat(tables.points, copies, axis=0).astype(np.float32),
        "inner": inner, "cut": tables.cut.astype(np.float32), "dim": tables.dim.astype(np.int32),
    }  # fmt: skip
