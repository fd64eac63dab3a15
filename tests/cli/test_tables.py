"""Real-world files: separators, decimal marks, headers, missing cells and dates. Each small input once gave a wrong result."""

import io
import math
import sys
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("typer", reason="the command line needs rcf[cli]")
import pyarrow as pa
import pyarrow.parquet as pq

from rcf.cli import csvfile
from rcf.cli.csvfile import TableError
from rcf.cli.outputs import TableWriter
from rcf.cli.tables import TableReader, _numbers_in
from rcf.text.cells import CellError, number


@pytest.fixture
def read(tmp_path):
    """A function that reads a text and returns the values, the reader and its pieces."""

    def read(text, *columns, name="t.csv", **options):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with TableReader(str(path), list(columns), **options) as reader:
            pieces = list(reader)
        return np.concatenate([piece.values for piece in pieces]).tolist(), reader, pieces

    return read


@pytest.fixture
def wrong(read):
    """The message of the error with which a reader refuses a text."""

    def wrong(text, *columns, **options):
        with pytest.raises(TableError) as error:
            read(text, *columns, **options)
        return str(error.value).rpartition("t.csv: ")[2]

    return wrong


# ---- separators and decimal marks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
def test_the_separator_is_recognised(read, sep):
    assert read(f"a{sep}b\n1{sep}2\n3{sep}4\n")[0] == [[1, 2], [3, 4]]


def test_quoted_decimal_commas_are_numbers_and_a_row_counter_is_none(read):
    """Once, the value column was dropped and the row counter was scored."""
    rows = "".join(f'{i},"{124.3135 + i:.4f}"\n'.replace(".", ",") for i in range(20))
    values, reader, _ = read("row,value\n" + rows)
    assert reader.columns == ["value"]
    assert reader.notes == ["left out: 'row' counts the rows"]
    assert values[0] == [124.3135]


def test_a_counter_alone_is_scored(read):
    assert read("row\n" + "".join(f"{i}\n" for i in range(20)))[1].columns == ["row"]


def test_german_exports(read):
    values, reader, pieces = read("Zeit;Wert\n13.01.2025 10:00;1,5\n13.01.2025 10:05;-\n", time="Zeit")
    assert values[0] == [1.5]
    assert math.isnan(values[1][0])
    assert np.diff(pieces[0].times).tolist() == [300]
    assert reader.notes == []


def test_options_override_what_is_recognised(read, wrong):
    assert read("a b\n1 2\n", sep="space")[0] == [[1, 2]]
    assert read("a~b\n1,5~2\n", sep="~", decimal=",")[0] == [[1.5, 2]]
    assert (
        wrong("a;b\n1,5;2\n", "a", decimal=".")
        == "row 1, column 'a': '1,5' looks like a number with a decimal comma: --decimal ,"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a\n5\n1,234,567.5\n", "row 2 has 3 cells where 1 column is named: '1,234,567.5'"),
        ('a\n5\n"1,234.5"\n', "row 2, column 'a': '1,234.5' has thousands separators: remove them"),
        ("a\n5\n6\n7%\n", "row 3, column 'a': '7%' is a percentage: leave the % sign out"),
        ("a\n7%\n8%\n", "no column of numbers: 'a' holds '7%', which is a percentage: leave the % sign out"),
        ("a\nx\ny\n", "no column of numbers: 'a' holds text such as 'x'"),
        ("a b\n1 2\n", "no column of numbers: 'a b' holds text such as '1 2'"),
        ("a\n1\n2\nx\n", "row 3, column 'a': 'x' is not a number"),
        ("a\n1\ninf\n3\n", "row 2, column 'a': 'inf' is not a finite number"),
        ("a\n1\n1e200\n3\n", "row 2, column 'a': '1e200' is not a finite number, or beyond float32 (3.4e38)"),
        ("a,b\n1,2\n1,2,3\n", "row 2 has 3 cells where 2 columns are named: '1,2,3'"),
        ("a,b\n1,2\n3\n", "row 2 has 1 cell where 2 columns are named: '3'"),
        ("a,a\n1,2\n", "the first line names column 'a' twice: rename one"),
        ("", "empty"),
        ("\n\n", "empty"),
        ("a,b\n", "no rows"),
        ("a\n1\n\0\n", "not a CSV table (it has NUL bytes); turn it into CSV or Parquet"),
    ],
)
def test_what_cannot_be_read_is_named_by_row_and_column(wrong, text, told):
    assert wrong(text) == told


# ---- headers ----------------------------------------------------------------------------------------------------------


def test_a_file_without_header_loses_no_record(read):
    values, reader, _ = read("2026-01-01 00:00,1.5\n2026-01-01 00:05,2.5\n", time="1")
    assert values == [[1.5], [2.5]]
    assert reader.columns == ["2"]
    assert reader.remarks() == [
        "the first line, '2026-01-01 00:00,1.5', holds no names, so it is taken as a record and the columns are called 1, 2 "
        "(--header if it names them)"
    ]


def test_an_ambiguous_header_is_an_error(read, wrong):
    text = "host1,5.1\nhost1,5.2\n"
    assert wrong(text) == (
        "the first line, 'host1,5.1', has '5.1' in it: --header if it names the columns or --no-header if it is a record"
    )
    assert read(text, header=False)[0] == [[5.1], [5.2]]
    assert read("country,2019\nDE,5.2\n", header=True)[0] == [[5.2]]
    assert read("1,2\n5,6\n", header=True)[1].columns == ["1", "2"]


def test_columns_without_a_name_are_called_by_their_number(read):
    assert read(",a\n1,2\n5,6\n")[1].columns == ["1", "a"]


# ---- missing cells and blank lines ----------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["", '""', "NA", "None", "N/A", "#N/A", "-", "nan", "null"])
def test_words_for_a_missing_value(read, word):
    values, reader, _ = read(f"a,b\n1,2\n3,{word}\n5,6\n")
    assert reader.columns == ["a", "b"]
    np.testing.assert_array_equal(values, [[1, 2], [3, np.nan], [5, 6]])


def test_missing_values_are_refused_where_they_cannot_be_filled(wrong):
    assert (
        wrong("a,b\n1,2\n3,\n", missing=False)
        == "row 2, column 'b': a missing value: replace it with --fill, or leave the row out"
    )


def test_a_column_that_is_empty_at_first_is_left_out_unless_it_is_named(read):
    _, reader, _ = read("a,b,\n1,,\n2,NA,\n")
    assert reader.columns == ["a"]
    assert reader.notes == ["left out: 'b' has no value in the first 2 rows, '3' has no value in the first 2 rows"]
    assert read("a,b\n1,\n2,NA\n", "a", "b")[1].columns == ["a", "b"]


@pytest.mark.parametrize("block", [3, 16, 1 << 20])
def test_blank_lines_are_left_out_and_counted(read, monkeypatch, block):
    monkeypatch.setattr(csvfile, "BLOCK", block)
    values, reader, pieces = read("\na,b\n1,2\n\n  \n3,4\r\n\r\n5,6\n\n", "a", "b")
    assert values == [[1, 2], [3, 4], [5, 6]]
    assert np.concatenate([piece.rows for piece in pieces]).tolist() == [1, 4, 6]
    assert reader.remarks()[-1] == "5 blank lines were left out"


def test_a_blank_line_in_a_quoted_cell_is_part_of_it(read):
    values, reader, pieces = read('a,note\n1,"x\n\ny"\n\n2,z\n')
    assert values == [[1], [2]]
    assert pieces[0].rows.tolist() == [1, 3]
    assert reader.remarks()[-1] == "1 blank line was left out"


# ---- encodings --------------------------------------------------------------------------------------------------------


def test_a_byte_order_mark_is_not_part_of_a_name(read):
    assert read(b"\xef\xbb\xbfa,b\n1,2\n")[1].columns == ["a", "b"]


def test_other_encodings(read, wrong):
    text = "größe\n1\n2\n"
    assert read(text.encode("latin-1"), encoding="latin-1")[1].columns == ["größe"]
    assert read(text.encode("utf-16"), encoding="utf-16")[0] == [[1], [2]]
    assert wrong(text.encode("utf-16")).endswith("it looks like UTF-16: give --encoding utf-16")
    assert "not utf-8" in wrong(text.encode("latin-1"))


# ---- time -------------------------------------------------------------------------------------------------------------


def test_day_first_dates_are_recognised_over_the_whole_file(read, monkeypatch):
    """The first day above 12 comes several pieces after the first one."""
    monkeypatch.setattr(csvfile, "BLOCK", 64)
    days = [f"{day:02d}.02.2025,{day}\n" for day in range(1, 20)]
    _, _, pieces = read("day,v\n" + "".join(days), time="day")
    assert len(pieces) > 3
    times = np.concatenate([piece.times for piece in pieces])
    assert times[0] == 1738368000
    assert set(np.diff(times)) == {86400}


def test_ambiguous_dates_are_refused(read, wrong):
    text = "day,v\n01.02.2025,1\n02.02.2025,2\n"
    assert wrong(text, time="day") == (
        "column 'day': '01.02.2025' may have the day or the month first, and no cell decides: give --time-format '%d.%m.%Y' or "
        "--time-format '%m.%d.%Y'"
    )
    assert read(text, time="day", time_format="%d.%m.%Y")[2][0].times.tolist() == [1738368000, 1738454400]


def test_invalid_times_are_named(read, wrong):
    assert wrong("t,v\n2026-01-01,1\n1-Jan,2\n", time="t") == "row 2, column 't': '1-Jan' is not a time: it has no year"
    assert wrong("t,v\n2026-01-01,1\n,2\n", time="t") == "row 2, column 't': '' is not a time"
    assert read("t,v\n2021-Feb-21,1\n2021-Feb-22,2\n", time="t")[2][0].times.tolist() == [1613865600, 1613952000]


def test_dates_with_and_without_a_zone_and_numbers_are_told_apart(read):
    """Only dates without a zone may go back in a detector (by an hour, because clocks are set back), so their type must be kept."""
    for text, kind in (
        ("2026-01-31 12:00:00", np.datetime64("2026-01-31T12:00:00", "us")),
        ("31 Jan 2026 12:00", np.datetime64("2026-01-31T12:00:00", "us")),
        ("2026-01-31T12:00:00+01:00", datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=1)))),
        ("1769860800", 1769860800.0),
    ):
        stamp = read(f"t,v\n{text},1\n", time="t")[2][0].stamps[0]
        assert (stamp, type(stamp)) == (kind, type(np.float64(0)) if isinstance(kind, float) else type(kind))


def test_milliseconds_are_reported(read):
    _, reader, pieces = read("t,v\n1768000000000,1\n1768000060000,2\n", time="t")
    assert pieces[0].times.tolist() == [1768000000, 1768000060]
    assert reader.remarks() == ["column 't' is read as milliseconds since 1970 (--time-format s for seconds)"]


def test_columns_left_out_are_named_with_the_reason(read):
    _, reader, _ = read("when,host,up,v\n2026-01-01,a,true,1\n2026-01-02,b,false,2\n")
    assert reader.columns == ["v"]
    assert reader.notes == [
        "left out: 'when' holds times such as '2026-01-01' (--time takes them), 'host' holds text such as 'a', "
        "'up' holds text such as 'true'"
    ]


def test_parquet_of_other_types(tmp_path):
    path = tmp_path / "t.parquet"
    table = pa.table({
        "at": pa.array(np.array(["2026-01-01", "2026-01-02"], "datetime64[ms]")),
        "v": pa.array([1, None], pa.int32()),
        "text": pa.array(["1.5", "N/A"]),
        "up": pa.array([True, False]),
        "host": pa.array(["a", "b"]).dictionary_encode(),
    })  # fmt: skip
    pq.write_table(table, path)
    with TableReader(str(path), [], time="at") as reader:
        (piece,) = reader
    assert reader.columns == ["v", "text"]
    np.testing.assert_array_equal(piece.values, [[1, 1.5], [np.nan, np.nan]])
    assert np.diff(piece.times).tolist() == [86400]
    assert reader.notes == ["left out: 'up' holds true and false, 'host' holds text such as 'a'"]


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a;b\n1,5;2\n")))
    with TableReader("-", []) as reader:
        assert [piece.values.tolist() for piece in reader] == [[[1.5, 2]]]


# ---- the parts --------------------------------------------------------------------------------------------------------

CELLS = st.one_of(
    st.floats().map(repr),
    st.from_regex(r"[+-]?[0-9]{0,4}[.,]?[0-9]{0,4}(e[+-]?[0-9]{1,3})?", fullmatch=True),
    st.sampled_from(["", " ", "NA", "-", "None", "#N/A", "x", "1_0", "0x1", "infinity", "1e400", "+.5", "5%", " 7 "]),
)


@settings(deadline=None)
@given(st.lists(CELLS, min_size=1, max_size=8), st.sampled_from(".,"))
def test_a_column_is_read_like_its_single_cells(cells, decimal):
    """The vectorised parser gives the result of `number` for each cell."""
    values, bad = _numbers_in(pa.chunked_array([pa.array(cells, pa.string())]), decimal)
    for cell, value, is_bad in zip(cells, values.tolist(), bad.tolist(), strict=True):
        try:
            expected = number(cell, decimal)
        except CellError:
            assert is_bad, cell
        else:
            assert not is_bad, cell
            np.testing.assert_equal(value, expected)


@pytest.mark.parametrize("block", [1, 7, 50, 1000])
def test_pieces_do_not_change_what_is_read(read, monkeypatch, block):
    text = "a,b,note\n" + "".join(f'{i},{i * 0.1},"{"x" * (i % 9)}""\n, {i}"\n' for i in range(60))
    expected = [[float(i), i * 0.1] for i in range(60)]
    monkeypatch.setattr(csvfile, "BLOCK", block)
    values, _, pieces = read(text, "a", "b")
    np.testing.assert_allclose(values, expected, rtol=1e-15)
    assert np.concatenate([piece.rows for piece in pieces]).tolist() == list(range(1, 61))


def test_what_is_written_is_what_was_read(read, tmp_path):
    """Cells are written unchanged."""
    text = 'at,v,"a ""b"", c"\n2026-01-01,23.60,007\n2026-01-02,1e3,8.0\n2026-01-03,,-\n'
    _, _, pieces = read(text, "v", 'a "b", c', time="at")
    with TableWriter(str(tmp_path / "o.csv")) as writer:
        for piece in pieces:
            writer.write(piece.cells)
    assert (tmp_path / "o.csv").read_text() == text
