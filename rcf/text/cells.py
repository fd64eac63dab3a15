"""Parse a cell of text as a number or a missing value, or raise an error that names the likely fix."""

from __future__ import annotations

import re
from math import isfinite

# Words for a missing value, in lower case: those of pandas, R, SQL and Excel, and a dash, which people type by hand.
MISSING = frozenset({"", "-", "na", "n/a", "#n/a", "nan", "none", "null"})
NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"

_NUMBER = re.compile(NUMBER)
_INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+(?:[eE][+-]?[0-9]+)?")
# 1,234,567  1,234.5  1.234.567  1.234,5  1 234  1'234: three digits after each mark, at least one mark
_THOUSANDS = re.compile(
    r"[+-]?[0-9]{1,3}(?:(?:,[0-9]{3})+(?:\.[0-9]+)?|(?:\.[0-9]{3})+(?:,[0-9]+)|(?:\.[0-9]{3}){2,}"
    r"|(?:[ '_\u00a0\u202f][0-9]{3})+(?:[.,][0-9]+)?)"
)
_UNIT = re.compile(rf"(?:[^\w\s.,+-]{{1,3}}\s*{NUMBER}|{NUMBER}\s*[^\d\s.,;|][^\d;|]*)")


class CellError(ValueError):
    """A cell that cannot be read. The message says what the cell holds and how to fix it.

    Attributes
    ----------
    row : int
        Position of the cell among the given cells.
    """

    def __init__(self, message: str, row: int = 0) -> None:
        super().__init__(message)
        self.row = row


def is_missing(text: str) -> bool:
    """Whether a cell is empty or one of the words for a missing value.

    Examples
    --------
    >>> is_missing(" N/A "), is_missing("0")
    (True, False)
    """
    return text.strip().lower() in MISSING


def number(text: str, decimal: str = ".") -> float:
    """The number in a cell; NaN if the value is missing.

    Parameters
    ----------
    text : str
    decimal : {".", ","}, default="."
        The decimal mark.

    Raises
    ------
    CellError
        If the cell is neither a finite number nor one of the words for a missing value.

    Examples
    --------
    >>> number(" 1.5e3"), number("N/A"), number("2,5", decimal=",")
    (1500.0, nan, 2.5)
    >>> number("2,5")
    Traceback (most recent call last):
    rcf.text.cells.CellError: '2,5' looks like a number with a decimal comma: --decimal ,
    """
    cell = text.strip()
    plain = cell
    if decimal != ".":
        plain = cell.replace(decimal, ".") if "." not in cell else "?"
    if _NUMBER.fullmatch(plain):
        value = float(plain)
        if isfinite(value):
            return value
    elif cell.lower() in MISSING:
        return float("nan")
    raise CellError(f"{_shown(text)} {problem(text, decimal)}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def problem(text: str, decimal: str = ".") -> str:
    """The reason why a cell is not a number and the likely fix, as the predicate of a sentence.

    Examples
    --------
    >>> problem("12 %")
    'is a percentage: leave the % sign out'
    >>> problem("1,234,567.5")
    'has thousands separators: remove them'
    """
    cell = text.strip()
    if cell.lower() in MISSING:
        return "is a missing value"
    if decimal == "," and "." in cell and _NUMBER.fullmatch(cell):
        return "has a decimal point, but the decimal mark is ',': --decimal ."
    if _INFINITE.fullmatch(cell) or _NUMBER.fullmatch(cell if decimal == "." else cell.replace(decimal, ".")):
        return "is not a finite number"
    for mark, name in ((";", "';'"), ("\t", "tab"), ("|", "'|'")):
        if mark in cell:
            return f"is not a number; the cells look separated by {name}: --sep {name}"
    if cell.endswith("%") and number_like(cell[:-1]):
        return "is a percentage: leave the % sign out"
    if _THOUSANDS.fullmatch(cell) and _DECIMAL_COMMA.fullmatch(cell):
        return "has a decimal comma or a thousands separator: --decimal , if it is the former, remove it otherwise"
    if _THOUSANDS.fullmatch(cell):
        return "has thousands separators: remove them"
    if _DECIMAL_COMMA.fullmatch(cell):
        return "looks like a number with a decimal comma: --decimal ,"
    if _UNIT.fullmatch(cell) and not cell[0].isalpha():
        return "is a number with a unit: leave the unit out"
    return "is not a number"


def number_like(text: str) -> bool:
    """Whether a cell is a number with any decimal mark or thousands separator."""
    cell = text.strip()
    return any(form.fullmatch(cell) for form in (_NUMBER, _DECIMAL_COMMA, _THOUSANDS))


def decimal_of(cells: list[str]) -> str | None:
    """The decimal mark of a column of cells: ``","``, ``"."``, or None if no cell determines it.

    A cell such as ``0,5`` or ``124,3135`` can only have a decimal comma. A cell such as ``1,234`` can be read in two ways.
    """
    known = [cell.strip() for cell in cells if not is_missing(cell)]
    if not known:
        return None
    if all(_NUMBER.fullmatch(cell) for cell in known):
        return "." if any("." in cell for cell in known) else None
    if all(_NUMBER.fullmatch(cell.replace(",", ".")) and "." not in cell for cell in known):
        return "," if any("," in cell and not _THOUSANDS.fullmatch(cell) for cell in known) else None
    return None
