"""Colours and axes that all plots share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Four colours of the palette of Okabe and Ito (2008), which colour-blind readers can distinguish. Printed in grey they
# differ too.
SERIES, SCORE, FLAGGED, EXPECTED = "#0072B2", "#555555", "#D55E00", "#56B4E9"


def axes_of(ax: Axes | None, **figure: Any) -> Axes:
    """The given Axes, or those of a new figure that is not registered with pyplot."""
    from matplotlib.figure import Figure

    return Figure(layout="constrained", **figure).subplots() if ax is None else ax


def panels_of(ax: Any, n: int, **figure: Any) -> list[Axes]:
    """`n` Axes one below the other: the given ones, or those of a new figure that is not registered with pyplot."""
    from matplotlib.figure import Figure

    if ax is None:
        heights = {"height_ratios": figure.pop("height_ratios", None)}
        return list(Figure(layout="constrained", **figure).subplots(n, 1, sharex=True, squeeze=False, **heights)[:, 0])
    given = list(ax) if hasattr(ax, "__len__") else [ax]
    if len(given) != n:
        raise ValueError(f"ax must be {n} Axes, one for each panel, got {len(given)}")
    return given


def plain(ax: Axes) -> Axes:
    """Remove the frame at the top and on the right."""
    ax.spines[["top", "right"]].set_visible(False)
    return ax
