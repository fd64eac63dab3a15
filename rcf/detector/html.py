"""What a notebook shows of detections and forecasts: small tables, and a line of the scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 480, 48  # of a sparkline, in pixels


def text_of(value: Any) -> str:
    """A value for a cell: numbers to four digits, None as nothing."""
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
    """The values as a line in at most WIDTH steps, each the highest of its part, with dots where records are marked."""
    n = len(values)
    if n == 0 or not np.isfinite(values).any():
        return ""
    parts = np.array_split(np.nan_to_num(values, nan=0.0), min(n, WIDTH))
    line = np.array([part.max() for part in parts])
    top = max(float(line.max()), 1e-300)
    y = HEIGHT - 2 - (HEIGHT - 6) * np.maximum(line, 0.0) / top
    x = np.linspace(0, WIDTH, len(line)) if len(line) > 1 else np.zeros(1)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    at = np.unique(marked * len(line) // n)
    dots = "".join(f'<circle cx="{x[i]:.1f}" cy="{y[i]:.1f}" r="3" fill="#D55E00"/>' for i in at)
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="scores">'
        f'<polyline points="{points}" fill="none" stroke="#555555" stroke-width="1"/>{dots}</svg>'
    )
