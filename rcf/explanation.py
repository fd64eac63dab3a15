"""An attribution as text: the ANOMALY_EXPLANATION of Amazon Kinesis Data Analytics for SQL."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def explanation_json(attribution: ArrayLike, names: Sequence[str], *, directionality: bool = True) -> str:
    """The attribution of one record, in the JSON that RANDOM_CUT_FOREST_WITH_EXPLANATION writes.

    Parameters
    ----------
    attribution : array-like of shape (d, 2) or (size, d, 2)
        Parts of the score: ``[..., 0]`` holds the parts for high values, and ``[..., 1]`` those for low values. The parts of the
        `size` records of a window are added up, because the function explains columns, not lags.
    names : sequence of str
        Names of the d columns. The keys of the JSON object have this order.
    directionality : bool, default=True
        Write DIRECTION and STRENGTH too, as Kinesis does if its argument withDirectionality is true.

    Returns
    -------
    str
        A JSON object with one entry per column. DIRECTION is "HIGH" if the high part is the larger one, otherwise
        "LOW". ATTRIBUTION_SCORE is the sum of the high and the low part; its sum over all columns is the score.
        STRENGTH is the difference between the two parts. ATTRIBUTION_SCORE and STRENGTH are strings with four
        decimals.

    Raises
    ------
    ValueError
        If the shape of `attribution` does not fit the names.

    Notes
    -----
    The format is that of the Amazon Kinesis Data Analytics SQL Reference. There, STRENGTH is a number in the units of the data,
    and AWS has not published the formula. Here, STRENGTH is in the units of the score. It is 0 if the high and the low part are
    equal, and equal to ATTRIBUTION_SCORE if all trees agree on the direction.

    Examples
    --------
    >>> from rcf.explanation import explanation_json
    >>> explanation_json([[1.5, 0.25], [0.0, 2.0]], ["Systolic", "Diastolic"])  # doctest: +NORMALIZE_WHITESPACE
    '{"Systolic":{"DIRECTION":"HIGH","STRENGTH":"1.2500","ATTRIBUTION_SCORE":"1.7500"},"Diastolic":{"DIRECTION":"LOW","STRENGTH":"2.0000","ATTRIBUTION_SCORE":"2.0000"}}'
    """
    parts = np.asarray(attribution, dtype=np.float64)
    if parts.ndim not in (2, 3) or parts.shape[-2:] != (len(names), 2):
        raise ValueError(
            f"attribution has shape {parts.shape}, but ({len(names)}, 2) is expected for {len(names)} names"
        )
    if parts.ndim == 3:
        parts = parts.sum(axis=0)
    columns = {}
    for name, (high, low) in zip(names, parts.tolist(), strict=True):
        column = {"ATTRIBUTION_SCORE": f"{high + low:.4f}"}
        if directionality:
            direction = "HIGH" if high > low else "LOW"
            column = {"DIRECTION": direction, "STRENGTH": f"{abs(high - low):.4f}", **column}
        columns[str(name)] = column
    if len(columns) != len(names):
        raise ValueError(f"two of the names are equal: {list(names)}")
    return json.dumps(columns, separators=(",", ":"), ensure_ascii=False)
