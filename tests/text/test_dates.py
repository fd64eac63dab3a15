"""Formats of time stamps and their values."""

from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcf.detector.records import seconds
from rcf.text.cells import CellError
from rcf.text.dates import AmbiguousDates, Dates, forms_of

pytest.importorskip("pandas")


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2026-01-31", "2026-01-31"),
        ("2026-01-31T12:30:00Z", "2026-01-31T12:30:00Z"),
        ("2026-01-31 12:30:00.25", "2026-01-31T12:30:00.250"),
        ("2026-01-31 12:30:00,250", "2026-01-31T12:30:00.250"),  # as Python logs it
        ("2026-01-31 12:30:00+01:00", "2026-01-31T12:30:00+01:00"),
        ("2021-Feb-21", "2021-02-21"),
        ("2021/2/3 4:05", "2021-02-03T04:05"),
        ("13.01.2025", "2025-01-13"),
        ("13.1.25 9:07", "2025-01-13T09:07"),
        ("1/13/2025 1:05 PM", "2025-01-13T13:05"),
        ("31 Dec 2025 12:00", "2025-12-31T12:00"),
        ("21-Feb-2021 13:00:01", "2021-02-21T13:00:01"),
        ("5 January 2026", "2026-01-05"),
        ("Jan 5, 2026", "2026-01-05"),
        ("Mon 5 Jan 2026", "2026-01-05"),
        ("Thu, 01 Jan 2026 00:00:00 GMT", "2026-01-01"),
        ("20260131", "2026-01-31"),
    ],
)
def test_dates_in_every_form(text, iso):
    assert Dates().seconds_of(text) == seconds(iso)


def test_numbers_are_seconds_unless_they_are_too_large_for_that():
    assert Dates().seconds(["1.5", "2"]).tolist() == [1.5, 2.0]
    now = 1_768_000_000
    for unit, scale in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        dates = Dates()
        np.testing.assert_allclose(dates.seconds([str(now * scale), str((now + 1) * scale)]), [now, now + 1])
        assert dates.unit == unit
    assert Dates("ms").seconds(["1500"]).tolist() == [1.5]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1-Jan", "'1-Jan' is not a time: it has no year"),
        ("31.12.", "'31.12.' is not a time: it has no year"),
        ("12:30", "'12:30' is not a time: it has no date"),
        ("noon-ish", "'noon-ish' is not a time (--time-format sets the format of times)"),
        ("2025-02-30", "'2025-02-30' is not a time (--time-format sets the format of times)"),
        ("2025-01", "'2025-01' is not a time (--time-format sets the format of times)"),
        ("", "'' is not a time"),
    ],
)
def test_invalid_dates_are_named(text, told):
    with pytest.raises(CellError) as error:
        Dates().seconds(["2026-01-01", text, "x"])
    assert (str(error.value), error.value.row) == (told, 1)


def test_day_and_month_are_told_apart_by_the_whole_column():
    days = ["01.02.2025", "02.02.2025", "13.02.2025"]
    dates = Dates()
    assert not dates.look(days[:2])
    assert dates.look(days[2:])
    assert dates.seconds(days[:1]).tolist() == [seconds("2025-02-01")]
    dates = Dates()
    assert dates.look(["1/2/2025", "1/13/2025"])
    assert dates.seconds_of("1/2/2025") == seconds("2025-01-02")


def test_day_and_month_are_told_apart_by_the_order_of_the_rows():
    """Times ascend, so these dates have the day first."""
    dates = Dates()
    assert not dates.look(["02/01/2025", "01/03/2025"])  # with the month first, the time would go back to 3 January
    dates.settle("02/01/2025")
    assert dates.order == "day first"


def test_ambiguous_dates_are_refused():
    dates = Dates()
    assert not dates.look(["01.02.2025", "02.02.2025"])
    with pytest.raises(AmbiguousDates, match=r"give --time-format '%d\.%m\.%Y' or --time-format '%m\.%d\.%Y'"):
        dates.settle("01.02.2025")
    with pytest.raises(AmbiguousDates):
        Dates().seconds_of("01.02.2025")
    assert Dates("%d.%m.%Y").seconds_of("01.02.2025") == seconds("2025-02-01")
    assert Dates().look(["2025-02-01", "x"])  # nothing is ambiguous


def test_a_column_may_mix_forms_but_not_with_a_given_one():
    assert Dates().seconds(["2026-01-01", "2 Jan 2026", "2026-01-03 00:00:00.5"]).tolist() == [
        seconds("2026-01-01"), seconds("2026-01-02"), seconds("2026-01-03") + 0.5,
    ]  # fmt: skip
    with pytest.raises(CellError, match="is not written as --time-format %d") as error:
        Dates("%d.%m.%Y").seconds(["01.02.2025", "2025-02-02"])
    assert error.value.row == 1
    with pytest.raises(CellError, match="'x' is not a number of ms since 1970"):
        Dates("ms").seconds(["1", "x"])


def test_invalid_formats():
    with pytest.raises(ValueError, match=r"directives such as %Y-%m-%d, or is one of s, ms, us, ns, got 'd\.m\.y'"):
        Dates("d.m.y")


MARKED = [
    "%d.%m.%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%d %b %Y %H:%M",
    "%b %d, %Y",
    "%Y-%b-%d",
    "%d/%m/%y",
    "%m/%d/%Y %I:%M %p",
]


@given(st.sampled_from(MARKED), st.datetimes(datetime(1970, 1, 1), datetime(2068, 1, 1)))
def test_dates_that_strftime_writes_are_read(form, first):
    """A column that contains a day after the twelfth is read correctly."""
    first = first.replace(second=0, microsecond=0)
    cells = [(first + timedelta(days=i)).strftime(form) for i in range(40)]
    dates = Dates()
    assert dates.look(cells)
    expected = [(datetime.strptime(cell, form) - datetime(1970, 1, 1)).total_seconds() for cell in cells]
    assert dates.seconds(cells).tolist() == expected
    assert form in [known.format for known in forms_of(cells[0])]
