"""HTML for notebooks: small tables, and a sparkline of the scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 480, 48  # of a sparkline, in pixels


def text_of(value: Any) -> str:
    """The text of a cell. Floats have four significant digits, and None is empty."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(text_of, value))
    return str(value)


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(text_of(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def sparkline(values: NDArray[np.float64], marked: NDArray[np.intp]) -> str:
    """An SVG line of at most WIDTH points, with a dot at each marked record. A point is the maximum of several values."""
    n = len(values)
    if n == 0 or not np.isfinite(values).any():
        return ""
    parts = np.array_split(np.nan_to_num(values, nan=0.0), min(n, WIDTH))
    line = np.array([part.max() for part in parts])
    top = max(float(line.max()), 1e-300)
    y = HEIGHT - 2 - (HEIGHT - 6) * np.maximum(line, 0.0) / top
    x = np.linspace(0, WIDTH, len(line)) if len(line) > 1 else np.zeros(1)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    ends = np.cumsum([len(part) for part in parts])
    at = np.unique(np.searchsorted(ends, marked, side="right"))
    dots = "".join(f'<circle cx="{x[i]:.1f}" cy="{y[i]:.1f}" r="3" fill="#D55E00"/>' for i in at)
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="scores">'
        f'<polyline points="{points}" fill="none" stroke="#555555" stroke-width="1"/>{dots}</svg>'
    )


class NotebookView:
    """Adds a summary of the learned records below scikit-learn's diagram. It must precede BaseEstimator in the base classes.

    scikit-learn offers the diagram in two ways: `_repr_mimebundle_` for Jupyter, and `_repr_html_` for other programs.
    """

    def _summary_html(self) -> str:
        """HTML below the diagram; empty before the first record."""
        raise NotImplementedError

    def _repr_html_inner(self) -> str:
        diagram: str = super()._repr_html_inner()  # type: ignore[misc]
        return diagram + self._summary_html()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        bundle: dict[str, str] = super()._repr_mimebundle_(**kwargs)  # type: ignore[misc]
        if "text/html" in bundle:  # absent if scikit-learn's option "display" is "text"
            bundle["text/html"] += self._summary_html()
        return bundle
