"""Separators, decimal marks and headers."""

import pytest

from rcf.text.dialect import Dialect, first_line_is_data, separator, sniff


@pytest.mark.parametrize(
    ("lines", "sep", "decimal"),
    [
        (["a,b", "1,2"], ",", "."),
        (["a;b", "1;2"], ";", "."),
        (["a\tb", "1\t2"], "\t", "."),
        (["a|b", "1|2"], "|", "."),
        (["a;b", "1,2;3,4"], ";", ","),
        (["1,5;2,5", "3,5;4,5"], ";", ","),
        (["t,v", '2025-01-01,"124,3135"'], ",", ","),
        (["t;v", "13.01.2025 10:00;0,5"], ";", ","),
        (["v", "1", "2"], ",", "."),
        (["v", "0,5", "1,5"], "\t", ","),  # there is one column, so a comma does not separate cells
        (["a,note", "1,x;y", "2,x;z"], ",", "."),
        (["a;b", "1,234;5", "2,345;6"], ";", "."),  # a comma may mark thousands or decimals, so nothing is assumed
        (["a,b", "", "1,2"], ",", "."),
        (["a,b"], ",", "."),
    ],
)
def test_recognised(lines, sep, decimal):
    assert sniff(lines) == Dialect(sep, decimal)


def test_given():
    assert sniff(["a;b", "1,2;3,4"], ",", ".") == Dialect(",", ".")
    assert sniff(["a;b", "1,2;3,4"], None, ".") == Dialect(";", ".")


@pytest.mark.parametrize(
    ("text", "mark"),
    [(";", ";"), ("tab", "\t"), ("\\t", "\t"), ("\t", "\t"), ("space", " "), ("PIPE", "|"), ("~", "~")],
)
def test_names_of_separators(text, mark):
    assert separator(text) == mark


@pytest.mark.parametrize("text", ["", ";;", "a", '"', "\n", "5"])
def test_invalid_separators(text):
    with pytest.raises(ValueError, match="a separator is one character"):
        separator(text)


@pytest.mark.parametrize(
    ("cells", "is_data"),
    [
        (["time", "value"], False),
        (["time", ""], False),
        (["1", "2.5"], True),
        (["2026-01-01 00:00:00", "1.5"], True),
        (["2026-01-01", "NA"], True),
        (["0,5"], True),
        (["host", "1.5"], None),
        (["country", "2019", "2020"], None),
    ],
)
def test_first_line(cells, is_data):
    assert first_line_is_data(cells) is is_data
