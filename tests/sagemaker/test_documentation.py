"""Follows docs/coming_from_sagemaker.md word for word: all blocks in order, in one folder. Only the port differs."""

import os
import re
import runpy
import shlex
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

for library in ("orjson", "pyarrow", "starlette", "uvicorn", "boto3"):
    pytest.importorskip(library)

PAGE = Path(__file__).parents[2] / "docs" / "coming_from_sagemaker.md"
SDK = "<!-- runs with the SDK -->\n"


def blocks(port):
    """The language and text of each block, and whether it needs the SDK."""
    text = PAGE.read_text(encoding="utf-8").replace("8080", str(port))
    found = re.findall(rf"^({re.escape(SDK)})?```(\w+)\n(.*?)^```", text, re.M | re.S)
    return [(language, body, bool(sdk)) for sdk, language, body in found]


@pytest.fixture
def follow(tmp_path, monkeypatch, capsys, request):
    """Runs the page, including the SDK's block if its Python is given.

    Returns the variables of the Python blocks and the output.
    """

    def run(port, sdk=None):
        monkeypatch.chdir(tmp_path)
        root = str(PAGE.parents[1])
        environment = {**os.environ, "PYTHONPATH": root, "MODEL_SERVER_WORKERS": "1"}
        shell = f'set -euo pipefail\nrcf-sagemaker() {{ {shlex.quote(sys.executable)} -m rcf.sagemaker "$@"; }}\n'
        namespace, printed = {"__name__": "page"}, []
        for language, body, of_sdk in blocks(port):
            if body.startswith("rcf-sagemaker serve"):
                arguments = shlex.split(body)[1:]
                command = [sys.executable, "-m", "rcf.sagemaker", *arguments]
                server = subprocess.Popen(
                    command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
                request.addfinalizer(server.wait)
                request.addfinalizer(server.terminate)
                wait_for(f"http://127.0.0.1:{port}/ping", server)
            elif of_sdk:
                compile(body, PAGE.name, "exec")
                if sdk is not None:
                    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
                    done = subprocess.run([sdk, "-c", body], env=clean, capture_output=True, text=True)
                    assert done.returncode == 0, done.stderr
                    printed.append(done.stdout)
            elif language == "python":
                exec(compile(body, PAGE.name, "exec"), namespace)
                printed.append(capsys.readouterr().out)
            elif language == "bash" and "pip install" not in body:
                done = subprocess.run(["bash", "-c", shell + body], env=environment, capture_output=True, text=True)
                assert done.returncode == 0, done.stderr
                printed.append(done.stdout)
        return namespace, "".join(printed)

    return run


def wait_for(url, server):
    deadline = time.monotonic() + 100
    while True:
        try:
            urllib.request.urlopen(url, timeout=10).close()
            return
        except OSError:
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)


def check(namespace, printed):
    assert "ForestInfo{num_trees: 50, num_samples_in_forest: 4800, num_samples_per_tree: 96" in printed
    assert re.search(r"\{'scores': \[\{'score': 0\.\d+\}, \{'score': [4-6]\.\d+\}\]\}", printed)
    assert "400 row 2, column 1: 'fifty' is not a finite number" in printed
    scores = namespace["scores"]
    assert "\n".join(f'{{"score":{score!r}}}' for score in scores[:2].tolist()) in printed
    called = np.flatnonzero(scores > namespace["cutoff"])
    first, last = namespace["anomalies"][2]  # the outage has values that occur nowhere else
    assert set(called) & set(range(first, last))
    namespace["runtime"].close()


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
def test_the_page(follow, free_port):
    check(*follow(free_port))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
def test_the_page_with_the_sdk(follow, free_port, sdk):
    namespace, printed = follow(free_port, sdk)
    check(namespace, printed)
    assert re.search(r"^\[0\.\d+, [4-6]\.\d+\]$", printed, re.M)


def test_the_example_of_two_endpoints(capsys):
    """It asserts what it shows."""
    runpy.run_path(str(PAGE.with_name("examples") / "sagemaker" / "two_endpoints.py"), run_name="__main__")
    assert "shuffled images among 297 digits: ROC-AUC 1.000" in capsys.readouterr().out


def test_the_table_of_the_page_agrees_with_the_code():
    """The table of the page names the same hyperparameters, types, paths and variables as the code."""
    from rcf.sagemaker import formats
    from rcf.sagemaker.hyperparameters import METRICS, Hyperparameters

    text = PAGE.read_text(encoding="utf-8")
    for name in [*Hyperparameters.__dataclass_fields__, *formats.INPUTS, *formats.OUTPUTS]:
        assert f"`{name}`" in text, name
    assert len(METRICS) == 2
    source = "".join(path.read_text(encoding="utf-8") for path in PAGE.parents[1].glob("rcf/sagemaker/*.py"))
    for name in re.findall(r"`(SAGEMAKER_\w+|MODEL_SERVER_\w+)`", text):
        assert name in source, name
    for name in set(re.findall(r'"(SAGEMAKER_\w+|MODEL_SERVER_\w+)"', source)):
        assert f"`{name}`" in text, name
    dockerfile = (PAGE.parents[1] / "rcf" / "sagemaker" / "Dockerfile").read_text(encoding="utf-8")
    assert 'ENTRYPOINT ["rcf-sagemaker"]' in dockerfile
