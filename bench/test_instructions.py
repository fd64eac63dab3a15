"""Tests of the check of instruction counts: what it accepts and what it refuses."""

import tomllib

import pytest

from . import instructions
from .instructions import FILE

KEPT = {"made_with": {"compiler": "GCC 12"}, "instructions": {"a": 1_000, "b": 2_000}}


@pytest.mark.parametrize(
    ("counts", "made_with", "code"),
    [
        ({"a": 1_040, "b": 1_910}, {"compiler": "GCC 12"}, 0),
        ({"a": 1_060, "b": 2_000}, {"compiler": "GCC 12"}, 1),
        ({"a": 1_000, "b": 1_890}, {"compiler": "GCC 12"}, 1),
        ({"a": 1_000}, {"compiler": "GCC 12"}, 1),
        ({"a": 1_000, "b": 2_000, "c": 1}, {"compiler": "GCC 12"}, 1),
        ({"a": 9_000, "b": 2_000}, {"compiler": "GCC 14"}, 0),
    ],
)
def test_five_percent_either_way_with_the_same_compiler(
    counts: dict[str, int], made_with: dict[str, str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert instructions.judge(KEPT, counts, made_with) == code
    assert ("only shown" in capsys.readouterr().out) == (made_with != KEPT["made_with"])


def test_without_valgrind_the_check_says_so_and_passes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert instructions.main(["--check"]) == 0
    assert "not installed" in capsys.readouterr().out


def test_every_kept_case_exists() -> None:
    kept = tomllib.loads(FILE.read_text())["instructions"]
    assert set(kept) == set(instructions.cases())
