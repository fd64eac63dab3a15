"""Imports point down only, as CONTRIBUTING.md draws it, in Python and in Cython alike."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rcf"

# A file may import from the lines above its own, and from nothing else of the project.
LAYERS = [
    ["_version", "_rng", "_gate", "_pool", "_state"],
    ["sampling._reservoir", "shingle._ring", "_tree", "_merge"],
    ["_score", "_complete", "_preorder"],
    ["_core", "_hotspots", "_running"],
    ["_validate", "persist", "trees", "walk"],
    ["sampling.reservoir", "shingle.shingler"],
    ["sampling", "shingle"],
    [
        "estimator",
        "hotspots",
        "datasets",
        "_events",
        "_transform",
        "_threshold",
        "_records",
        "_clock",
        "_ensemble",
        "_trend",
    ],
    ["_settings", "_window", "_explain", "_analogues"],
    ["_detections", "_forecast", "_missing"],
    ["detector"],
    ["plot", "river", "pysad", "_tables", "_cli_options", "keyed"],
    ["_cli_detect", "_cli_stream", "_cli_hotspots"],
    ["cli"],
    ["__init__"],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def sources():
    if not (ROOT / "sampling").is_dir() or not PACKAGE.is_dir():
        return []
    files = [f for ending in ("py", "pyx", "pxd") for f in sorted(PACKAGE.glob(f"*.{ending}"))]
    for folder in ("sampling", "shingle"):
        files += [f for ending in ("py", "pxd") for f in sorted((ROOT / folder).glob(f"*.{ending}"))]
    return files


def name_of(path):
    inside = path.relative_to(PACKAGE if path.is_relative_to(PACKAGE) else ROOT).with_suffix("")
    parts = list(inside.parts)
    if len(parts) == 2 and parts[1] == "__init__":
        parts.pop()
    return ".".join(parts)


def resolve(module):
    """The name in LAYERS of a module path such as rcf.sampling, sampling._reservoir, or None if not ours."""
    name = module.removeprefix("rcf.") if module.startswith("rcf.") else module
    while name:
        if name in RANK and (module.startswith("rcf.") or name.split(".")[0] in ("sampling", "shingle")):
            return name
        name = name.rpartition(".")[0]
    return None


def python_imports(path):
    """Modules of the project that a file imports, relative ones resolved; also those in functions."""
    package = ["rcf"] if path.parent == PACKAGE else ["rcf", path.parent.name]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            if node.level and not node.module:  # from . import plot
                yield from (f"{module}.{alias.name}" for alias in node.names)
            elif module == "rcf":
                yield from (f"rcf.{alias.name}" for alias in node.names)
            else:
                yield module


def cython_imports(path):
    for line in path.read_text().splitlines():
        found = re.match(r"\s*from ([\w.]+) (?:cimport|import) |\s*c?import ([\w.]+)", line)
        if found:
            yield found[1] or found[2]


def test_the_files_are_where_the_test_looks():
    assert len(sources()) > 12
    assert {"_core", "estimator", "sampling.reservoir", "shingle._ring"} <= {name_of(path) for path in sources()}


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    name = name_of(path)
    assert name in RANK, f"{path.name} has no layer yet: give it one in {Path(__file__).name} and in CONTRIBUTING.md"
    if name in (
        "sampling",
        "shingle",
    ):  # `import rcf.sampling` in the branch that hands the package back under its bare name
        imports = {module for module in python_imports(path) if module != f"rcf.{name}"}
    else:
        imports = set(python_imports(path) if path.suffix == ".py" else cython_imports(path))
    for module in imports:
        below = resolve(module)
        if below is not None and below != name:
            assert RANK[below] < RANK[name], f"{name} imports {below}, which is not below it"


def test_the_public_names_load_on_first_use():
    """rcf/__init__.py imports nothing of the project but the version when it is imported."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    at_once = [node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.level]
    assert at_once == ["_version"]


def test_nothing_heavy_is_imported_by_import_rcf():
    import subprocess
    import sys

    script = (
        "import sys, rcf; print([m for m in ('scipy', 'sklearn', 'pandas', 'matplotlib', 'typer') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"
