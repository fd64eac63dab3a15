"""Parsing of text cells."""

import math

import pytest

from rcf.text.cells import CellError, decimal_of, is_missing, number


@pytest.mark.parametrize(
    "text", ["", " ", "NA", "N/A", "n/a", "#N/A", "nan", "NaN", "None", "NULL", "null", "-", " - "]
)
def test_words_for_a_missing_value(text):
    assert is_missing(text)
    assert math.isnan(number(text))


@pytest.mark.parametrize("text", ["0", "-1.5", "+2", " 3 ", "1.", ".5", "1e5", "1E-3", "-0.0", "123456789012345678"])
def test_numbers_are_those_of_python(text):
    assert number(text) == float(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("5%", "is a percentage: leave the % sign out"),
        ("5,5 %", "is a percentage: leave the % sign out"),
        ("1,234", "has a decimal comma or a thousands separator: --decimal , if it is the former, remove it otherwise"),
        ("1,234,567", "has thousands separators: remove them"),
        ("1,234.5", "has thousands separators: remove them"),
        ("1.234,5", "has thousands separators: remove them"),
        ("1 234", "has thousands separators: remove them"),
        ("1'234", "has thousands separators: remove them"),
        ("1_000", "has thousands separators: remove them"),
        ("124,3135", "looks like a number with a decimal comma: --decimal ,"),
        ("1;2", "is not a number; the cells look separated by ';': --sep ';'"),
        ("1\t2", "is not a number; the cells look separated by tab: --sep tab"),
        ("12 ms", "is a number with a unit: leave the unit out"),
        ("$5", "is a number with a unit: leave the unit out"),
        ("inf", "is not a finite number"),
        ("1e999", "is not a finite number"),
        ("0x10", "is not a number"),
        ("1.2.3", "is not a number"),
        ("host", "is not a number"),
    ],
)
def test_errors_for_numbers_name_the_likely_fix(text, told):
    with pytest.raises(CellError) as error:
        number(text)
    assert str(error.value) == f"{text!r} {told}"


def test_decimal_commas():
    assert number("-2,5e1", ",") == -25.0
    assert number("3", ",") == 3.0
    for text, told in (
        ("2.5", "has a decimal point, but the decimal mark is ','"),
        ("1.234,5", "has thousands separators"),
    ):
        with pytest.raises(CellError, match=told):
            number(text, ",")


@pytest.mark.parametrize(
    ("cells", "mark"),
    [
        (["0,5", "1"], ","),
        (["124,3135"], ","),
        (["1,234", "2,5"], ","),
        (["1,234", "5,678"], None),  # thousands or decimals
        (["1,234,567"], None),
        (["1", "2"], None),
        (["1.5", "NA"], "."),
        (["1.5", "2,5"], None),
        (["a", "0,5"], None),
        (["", "-"], None),
    ],
)
def test_the_decimal_mark_that_a_column_shows(cells, mark):
    assert decimal_of(cells) == mark
