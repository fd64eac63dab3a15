"""What `import rcf` loads: nothing that a stream does not need."""

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
    # scikit-learn may load pandas for its own ends
    others = modules - loaded("import sklearn.base, sklearn.utils.validation, joblib")
    assert not others & {"pandas", "matplotlib", "pyarrow", "typer", "rich"}


def test_every_public_name_is_there():
    assert "rcf" in loaded("import rcf\nfor name in rcf.__all__: getattr(rcf, name)")
