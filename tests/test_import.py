"""`import rcf` loads only what a stream needs."""

import subprocess
import sys


def loaded(code):
    """Top-level packages in sys.modules after the code, in a fresh interpreter."""
    code += "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return set(output.split())


def test_import_leaves_the_heavy_packages_alone():
    heavy = {"sklearn", "scipy", "pandas", "matplotlib", "joblib", "pyarrow", "typer", "rich"}
    assert not loaded("import rcf, rcf.shingle, rcf.sampling") & heavy


def test_a_public_name_loads_its_own_home():
    modules = loaded("from rcf import RandomCutForest")
    assert "sklearn" in modules
    # scikit-learn may load pandas by itself
    others = modules - loaded("import sklearn.base, sklearn.utils.validation, joblib")
    assert not others & {"pandas", "matplotlib", "pyarrow", "typer", "rich"}


def test_every_public_name_is_there():
    assert "rcf" in loaded("import rcf\nfor name in rcf.__all__: getattr(rcf, name)")


def test_dir_lists_public_names_and_modules():
    import types

    import rcf

    shown = {name for name in dir(rcf) if not name.startswith("_")}
    assert {name for name in rcf.__all__ if not name.startswith("_")} <= shown
    assert all(name in rcf.__all__ or isinstance(getattr(rcf, name), types.ModuleType) for name in shown), shown
    assert "importlib" not in shown


def test_a_checkout_that_is_not_built_says_so(tmp_path):
    """Python that is started in a checkout imports the folder of the checkout, even if the package is installed."""
    import shutil
    from pathlib import Path

    import rcf

    home = Path(rcf.__file__).parent
    (tmp_path / "rcf").mkdir()
    for name in ("__init__.py", "_version.py", "estimator.py", "_validate.py"):
        shutil.copy(home / name, tmp_path / "rcf" / name)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom rcf import RandomCutForest"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"ImportError: rcf in {tmp_path / 'rcf'} is not built: leave the checkout's folder" in done.stderr
