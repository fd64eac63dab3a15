"""Imports point down only, folder by folder, in Python, Cython and C; CONTRIBUTING.md lists the same folders."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rcf"
# rcf/ contains links to these folders; their files are read at the top level
IGNORED = {"shingle", "sampling"}

# A place is a folder of rcf/, or a file that lies in rcf/ itself. It may import from itself and from the lines above its own.
LAYERS = [
    ["_version", "_validate", "_pool", "_html", "_native", "text"],
    ["_core"],
    ["sampling", "shingle", "persist", "trees", "walk", "explanation", "_threshold"],
    ["estimator", "hotspots", "datasets"],
    ["detector", "kinesis_sql"],
    ["plot", "export"],
    ["tune"],
    ["adapters", "spark", "sql", "streams", "sagemaker"],
    ["cli"],
    ["__init__", "__main__"],
]
RANK = {place: rank for rank, places in enumerate(LAYERS) for place in places}
# The .pxd files of the sampler and the ring are compiled into the core and use its random numbers, so they count as parts of
# rcf/_native.
NATIVE = {"sampling": "_native", "shingle": "_native"}


def sources():
    """The project's sources, unless the tests run without them (from an installed wheel)."""
    if not (ROOT / "sampling").is_dir():
        return []
    found = []
    for folder in (PACKAGE, ROOT / "sampling", ROOT / "shingle"):
        files = (path for path in sorted(folder.rglob("*")) if path.suffix in (".py", ".pyx", ".pxd", ".h"))
        found += [path for path in files if path.relative_to(folder).parts[0] not in IGNORED]
    return found


def place_of(path):
    if not path.is_relative_to(PACKAGE):
        folder = path.relative_to(ROOT).parts[0]
        return NATIVE[folder] if path.suffix == ".pxd" else folder
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def file_named(module, cimported=False):
    """The file of a dotted name such as rcf.detector.stream or sampling._reservoir; None if the project has none."""
    first, *rest = module.split(".")
    if first != "rcf" and first not in NATIVE:
        return None
    path = ROOT.joinpath(first, *rest)
    endings = (".pxd",) if cimported else (".py", ".pyx")
    for file in (*(path.with_suffix(ending) for ending in endings), path / "__init__.py"):
        if file.is_file():
            return file
    return None


def python_imports(path):
    """The files that a file imports. Imports within functions and for types count too."""
    if path.is_relative_to(PACKAGE):
        package = ["rcf", *path.relative_to(PACKAGE).parent.parts]
    else:
        package = ["rcf", path.parent.name]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield file_named(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:  # a name in a module, or a file in a folder (from . import plot)
                yield file_named(f"{module}.{alias.name}") or file_named(module)


def cython_imports(path):
    text = path.read_text(encoding="utf-8")
    for from_, kind, import_ in re.findall(r"^\s*(?:from ([\w.]+) (c?import) |c?import ([\w.]+))", text, re.MULTILINE):
        yield file_named(from_ or import_, kind == "cimport")
    for name in re.findall(r'extern from "([\w./]+)"', text):
        yield from header(path, name)


def c_includes(path):
    for name in re.findall(r'^\s*#\s*include "([\w./]+)"', path.read_text(encoding="utf-8"), re.MULTILINE):
        yield from header(path, name)


def header(path, name):
    """A header, which is beside the file that includes it or below rcf/."""
    for folder in (path.parent, PACKAGE):
        if (folder / name).is_file():
            yield folder / name
            return
    raise AssertionError(f"{path}: where is {name}?")


def files_imported(path):
    read = {".py": python_imports, ".h": c_includes}.get(path.suffix, cython_imports)
    return {file for file in read(path) if file is not None}


def imports_of(path):
    return {place_of(file) for file in files_imported(path)}


def test_the_files_are_where_the_test_looks():
    places = {place_of(path) for path in sources()}
    assert {"_core", "_native", "estimator", "detector", "hotspots", "cli", "adapters", "sampling", "shingle"} <= places
    assert imports_of(PACKAGE / "_core.pyx") == {"_native", "_pool", "_validate"}
    assert "detector" in imports_of(PACKAGE / "cli" / "stream.py")


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    place = place_of(path)
    assert place in RANK, f"{place} has no layer yet: give it one here and a line in CONTRIBUTING.md"
    if place in IGNORED:  # `import rcf.sampling` in the branch that returns the real package
        return
    for below in imports_of(path) - {place}:
        assert RANK.get(below, len(LAYERS)) < RANK[place], f"{place} imports {below}, which is not below it"


def test_no_two_files_of_a_folder_import_each_other():
    """There are no circles of imports, even through other files, within functions or for types."""
    below = {}
    for path in (path.resolve() for path in sources()):
        files = {file.resolve() for file in files_imported(path)} - {path}
        below[path] = {file for file in files if file.parent == path.parent}
    try:
        TopologicalSorter(below).prepare()
    except CycleError as error:
        pytest.fail("circular imports: " + " <- ".join(str(path.relative_to(ROOT)) for path in error.args[1]))


def test_the_public_names_load_on_first_use():
    """When rcf/__init__.py is imported, it imports nothing of the project except the version."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    at_once = [node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.level]
    assert at_once == ["_version"]


def test_nothing_heavy_is_imported_by_import_rcf():
    script = (
        "import sys, rcf; print([m for m in ('scipy', 'sklearn', 'pandas', 'matplotlib', 'typer') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"
