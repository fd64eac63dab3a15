"""The dialect of a CSV table: separator, decimal mark, and whether the first line names the columns."""

from __future__ import annotations

import csv
from typing import NamedTuple

from .cells import decimal_of, is_missing, number_like
from .dates import forms_of

SEPARATORS = (",", ";", "\t", "|")
WORDS = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "space": " ", "pipe": "|"}
LINES = 200  # number of lines that are examined


class Dialect(NamedTuple):
    """A separator and a decimal mark."""

    sep: str
    decimal: str


def separator(text: str) -> str:
    """The separator given by an option: one character, or one of the words comma, semicolon, tab, space and pipe."""
    found = WORDS.get(text.lower(), text)
    if len(found) != 1 or found in '"\r\n' or found.isalnum():
        raise ValueError(f"a separator is one character, or one of {', '.join(WORDS)}, got {text!r}")
    return found


def rows_of(lines: list[str], sep: str) -> list[list[str]]:
    """The cells of lines, without surrounding spaces. Blank lines are skipped."""
    rows = csv.reader((line for line in lines if line.strip()), delimiter=sep, skipinitialspace=sep != " ")
    return [[cell.strip() for cell in row] for row in rows]


def sniff(lines: list[str], sep: str | None = None, decimal: str | None = None) -> Dialect:
    """Recognise separator and decimal mark from the first lines of a table.

    The separator must divide all lines into the same number of cells, at least two. If several separators do, the one with
    the most columns of numbers is taken, and among equals the one with the fewest columns. A table with one column has no
    separator; a comma is then returned. The decimal mark is a comma if a column has one where a thousands separator is
    impossible, as in ``0,5`` or ``124,3135``.

    Parameters
    ----------
    lines : list of str
        The first line may name the columns.
    sep, decimal : str or None
        Values that are known. None recognises the value.

    Examples
    --------
    >>> sniff(["zeit;wert", "1;2,5", "2;3,25"])
    Dialect(sep=';', decimal=',')
    >>> sniff(["a,b", "1,2", "3,4"])
    Dialect(sep=',', decimal='.')
    """
    lines = [line for line in lines[:LINES] if line.strip()]
    best, most = Dialect(sep or ",", decimal or "."), (-1, 0)
    for mark in (sep,) if sep else SEPARATORS:
        try:
            rows = rows_of(lines, mark)
        except csv.Error:
            continue
        widths = {len(row) for row in rows}
        if len(widths) != 1 or (widths == {1} and sep is None):
            continue
        body = rows[1:] or rows
        columns = list(zip(*body, strict=True))
        shown = [decimal_of(list(column)) for column in columns]
        point = decimal or ("," if "," in shown and "." not in shown else ".")
        numeric = sum(all(is_missing(c) or number_like(c) for c in column) for column in columns)
        if (numeric, -len(columns)) > most:
            best, most = Dialect(mark, point), (numeric, -len(columns))
    if most[0] < 0 and sep is None:  # one column, or lines of unequal length, for which the reader raises an error
        only = decimal_of([line.strip().strip('"') for line in lines[1:]])
        others = any(mark in line for line in lines for mark in SEPARATORS[1:])
        if decimal is None and only == "," and not others and ("," not in lines[0] or decimal_of(lines[:1])):
            return Dialect("\t", ",")  # a comma would split the numbers
    return best


def first_line_is_data(cells: list[str]) -> bool | None:
    """Whether the first line of a table is a record; None if this is ambiguous.

    The line is a record if each of its cells is a number, a date or missing. It names the columns if none of its cells is a
    number or a date. Anything else, such as ``host,5.1`` or ``country,2019,2020``, is ambiguous.

    Examples
    --------
    >>> first_line_is_data(["time", "value"]), first_line_is_data(["2026-01-31", "5.1"])
    (False, True)
    >>> first_line_is_data(["country", "2019"])
    """
    kinds = [number_like(cell) or bool(forms_of(cell)) for cell in cells]
    if not any(kinds):
        return False
    if all(kind or is_missing(cell) for kind, cell in zip(kinds, cells, strict=True)):
        return True
    return None
