"""Plots of one tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .style import axes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..trees import Tree


def tree(tree: Tree, ax: Axes | None = None, *, max_depth: int | None = None, **lines: Any) -> Axes:
    """Draw the shape of a tree. Depth grows downwards, and the width of a leaf is the number of its records.

    Parameters
    ----------
    tree : Tree
        One of ``forest.trees_``.
    ax : matplotlib Axes, default=None
        None makes a figure, ``ax.figure``, that is not registered with pyplot.
    max_depth : int, default=None
        Nodes below this depth are left out; None draws all of them.
    **lines
        Arguments of :class:`matplotlib.collections.LineCollection`, such as ``color`` or ``linewidths``.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the tree is empty.
    """
    from matplotlib.collections import LineCollection

    if not tree.n_records:
        raise ValueError("cannot draw a tree that holds no records")
    ax = axes_of(ax)
    start = {tree.root: 0}  # position of the first record below each node, counted from the left
    strokes, depth = [], 0

    def middle(v: int) -> float:
        return start[v] + 0.5 * int(tree.mass[v] if v >= 0 else tree.leaf_mass[~v])

    for v, h in tree.walk():
        if v < 0:
            continue
        left, right = tree.children[v].tolist()
        start[left] = start[v]
        start[right] = start[v] + int(tree.mass[left] if left >= 0 else tree.leaf_mass[~left])
        if max_depth is not None and h >= max_depth:
            continue
        depth = max(depth, h + 1)
        strokes.append([(middle(left), h + 1), (middle(left), h), (middle(right), h), (middle(right), h + 1)])
    ax.add_collection(LineCollection(strokes, **({"linewidths": 0.8} | lines)))
    ax.set(xlim=(0, tree.n_records), ylim=(depth + 0.5, -0.5), xlabel="records", ylabel="depth")
    return ax


def cuts(
    tree: Tree, ax: Axes | None = None, *, features: tuple[int, int] = (0, 1), points: bool = True, **lines: Any
) -> Axes:
    """Draw how a tree cuts the plane of two features. Each cut crosses the region that it divides; deeper cuts are thinner.

    Parameters
    ----------
    tree : Tree
        One of ``forest.trees_``, of a forest of at least two features.
    ax : matplotlib Axes, default=None
        None makes a figure, ``ax.figure``, that is not registered with pyplot.
    features : tuple of two ints, default=(0, 1)
        The features on the x and the y axis. Cuts in other features are not drawn, so regions may overlap.
    points : bool, default=True
        Draw the records too.
    **lines
        Arguments of :class:`matplotlib.collections.LineCollection`, such as ``color``.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the tree is empty or has no such features.
    """
    from matplotlib.collections import LineCollection

    if not tree.n_records:
        raise ValueError("cannot draw a tree that holds no records")
    chosen = list(features)
    if len(set(chosen)) != 2 or not all(0 <= f < len(tree.origin) for f in chosen):
        raise ValueError(f"features must be two different ones of {len(tree.origin)}, got {features}")
    ax = axes_of(ax)
    used = tree.leaf_mass > 0
    held = tree.points[used][:, chosen] + tree.origin[chosen]
    lower, upper = held.min(axis=0), held.max(axis=0)
    margin = 0.05 * np.where(upper > lower, upper - lower, 1.0)
    regions = {tree.root: np.array([lower - margin, upper + margin])}
    strokes, widths = [], []
    for v, depth in tree.walk():
        region = regions.pop(v)
        if v < 0:
            continue
        left, right = tree.children[v].tolist()
        regions[left], regions[right] = region.copy(), region.copy()
        dim = int(tree.cut_dimension[v])
        if dim not in chosen:
            continue
        axis, at = chosen.index(dim), float(tree.cut_value[v] + tree.origin[dim])
        regions[left][1, axis] = regions[right][0, axis] = at
        ends = region.copy()
        ends[:, axis] = at
        strokes.append(ends)
        widths.append(max(0.3, 2.0 * 0.8**depth))
    ax.add_collection(LineCollection(strokes, **({"linewidths": widths, "color": "0.4"} | lines)))
    if points:
        ax.scatter(held[:, 0], held[:, 1], s=4 + 8 * np.log2(tree.leaf_mass[used]), zorder=2)
    ax.set(xlim=(lower[0] - margin[0], upper[0] + margin[0]), ylim=(lower[1] - margin[1], upper[1] + margin[1]))
    return ax
