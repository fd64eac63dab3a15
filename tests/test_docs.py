"""The examples in docstrings, in the README and on the pages run and give the results that they show."""

import ast
import doctest
import importlib
import os
import pkgutil
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import rcf
from rcf.datasets import make_series

README = Path(__file__).parents[1] / "README.md"
MODULES = [
    module.name
    for module in pkgutil.walk_packages(rcf.__path__, "rcf.")
    if not module.name.split(".")[-1].startswith("_")
]
MODULES += sorted({f"rcf.{home}" for home in rcf._HOMES.values()} - set(MODULES))  # the modules of public names


@pytest.mark.parametrize("name", MODULES)
def test_doctests(name):
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        if "pip install" not in str(error):  # the message names the extra to install
            raise
        pytest.skip(str(error))
    assert doctest.testmod(module).failed == 0


def test_every_public_name_has_an_example():
    for name in rcf.__all__:
        value = getattr(rcf, name)
        if callable(value):
            assert ">>>" in (value.__doc__ or ""), name
            assert value.__module__ in MODULES, name


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


PAGES = [README, *sorted((README.parent / "docs").rglob("*.md"))]
# pages with their own tests, or without code
ELSEWHERE = (
    "_build",
    "coming_from_sagemaker",
    "coming_from_kinesis",
    "index.md",
)


@pytest.mark.parametrize(
    "page",
    [p for p in PAGES if not any(part in str(p) for part in ELSEWHERE)],
    ids=lambda p: str(p.relative_to(README.parent)),
)
def test_python_of_the_pages(page, tmp_path, monkeypatch):
    """Run all blocks of a page in order, as a reader would."""
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "page"}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        exec(compile(block, page.name, "exec"), namespace)


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
def test_shell_of_the_readme(tmp_path):
    """All blocks except the first, which installs the package; .ci/run runs that one in new environments."""
    values, _ = make_series()
    times = pd.date_range("2026-01-01", periods=len(values), freq="30min")
    pd.DataFrame({"timestamp": times, "value": values}).to_csv(tmp_path / "series.csv", index=False)
    set_up, *others = blocks("bash")
    assert [line.split("&&")[-1].strip() for line in set_up.splitlines()] == ["rcf detect", "python -m pytest"]
    main = f"{shlex.quote(sys.executable)} -c 'from rcf.cli import main; main()'"
    script = f'set -euo pipefail\nrcf() {{ {main} "$@"; }}\n' + "\n".join(others)
    environment = {**os.environ, "COLUMNS": "120", "TERM": "dumb"}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    assert others
    assert b'"record": 4800' in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"series.csv", "series.png", "scores.parquet", "scores.csv"}
    assert len(pd.read_csv(tmp_path / "scores.csv")) == len(pd.read_parquet(tmp_path / "scores.parquet")) == len(values)


EXAMPLES = sorted((README.parent / "docs" / "examples").glob("plot_*.py"))  # the gallery; wings test their own examples


@pytest.mark.filterwarnings("ignore:Animation was deleted")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples(path, tmp_path, monkeypatch, capsys):
    """Each example asserts what it shows. It must run in any folder, print something and draw a plot, but write no file and give no
    warning.
    """
    pyplot = pytest.importorskip("matplotlib.pyplot")
    if path.stem == "plot_own_score":
        pytest.importorskip("numba")
    monkeypatch.chdir(tmp_path)
    pyplot.close("all")
    try:
        runpy.run_path(str(path), run_name="__main__")
        assert pyplot.get_fignums()
    finally:
        pyplot.close("all")
    assert capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def public_names(module):
    """`__all__` of a module, read without importing it, because its library may be missing."""
    file = README.parent / "rcf" / module
    file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "__all__":
            return ast.literal_eval(node.value)
    raise AssertionError(f"{file} has no __all__")


REFERENCE = README.parent / "docs" / "api"


@pytest.mark.parametrize("page", ["index", *sorted({p.stem for p in REFERENCE.glob("*.md")} - {"index", "adapters"})])
def test_the_reference_lists_every_public_name(page):
    listed = re.findall(r"^   ([\w.]+)$", (REFERENCE / f"{page}.md").read_text(encoding="utf-8"), re.MULTILINE)
    modules = {name.partition(".")[0] for name in listed if "." in name}
    missing = set(public_names("" if page == "index" else page)) - set(listed) - modules - {"__version__"}
    assert not missing


def test_the_reference_lists_every_adapter():
    text = (REFERENCE / "adapters.md").read_text(encoding="utf-8")
    for path in (README.parent / "rcf" / "adapters").glob("[a-z]*.py"):
        assert f"   {path.stem}." in text, path.stem


def test_contributing_has_a_line_for_every_place():
    """There is a line for each folder of rcf/ and for each file in rcf/ itself, except __init__, _version and __main__."""
    text = README.with_name("CONTRIBUTING.md").read_text(encoding="utf-8")
    inside = README.parent / "rcf"
    places = {path for path in inside.iterdir() if path.suffix in {".py", ".pyx"} and not path.stem.startswith("__")}
    places |= {path.parent for path in inside.glob("*/__init__.py") if not path.parent.is_symlink()}
    for place in places - {inside / "_version.py"}:
        name = f"rcf/{place.name}/" if place.is_dir() else f"rcf/{place.name}"
        assert f"`{name}`" in text, f"{name} has no line in CONTRIBUTING.md"
    for file in re.findall(r"`((?:rcf|sampling|shingle|tests|bench)/[\w./]+)`", text):
        assert (README.parent / file).exists(), file


def test_links_of_the_readme():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).exists(), target
    languages = re.findall(r"^```(\w*)\n", README.read_text(encoding="utf-8"), re.MULTILINE)[::2]
    assert set(languages) <= {"python", "bash"}, "a block in another language would not run as a test"
