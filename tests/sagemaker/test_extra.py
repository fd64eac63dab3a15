"""Without its libraries, the package raises an error that says what to install."""

import importlib
import sys

import pytest


@pytest.mark.parametrize("library", ["orjson", "pyarrow", "starlette", "uvicorn"])
def test_the_extra_is_named(monkeypatch, library):
    for name in [name for name in sys.modules if name.startswith("rcf.sagemaker")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("orjson", "pyarrow", "starlette", "uvicorn"):
        if name == library:
            monkeypatch.setitem(sys.modules, name, None)
        else:
            pytest.importorskip(name)
    with pytest.raises(ImportError, match=rf'rcf.sagemaker needs {library}: .*"rcf\[sagemaker\]"'):
        importlib.import_module("rcf.sagemaker")
