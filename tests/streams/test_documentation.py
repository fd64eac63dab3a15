"""Follows docs/coming_from_kinesis.md word for word: all blocks in order, in one folder; and checks the files beside it."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("boto3", reason="needs rcf[kinesis]")
pytest.importorskip("moto.server", reason='needs "moto[server]"')
pytest.importorskip("prometheus_client", reason="needs rcf[metrics]")
pytest.importorskip("typer", reason="the command line needs rcf[cli]")

from servers import free_port, process, wait_until

from rcf import RandomCutForest

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_as_it_stands(aws, tmp_path, monkeypatch, capsys):
    from accounts import Service

    service = Service(aws)
    monkeypatch.chdir(tmp_path)
    port = free_port()
    page = (DOCS / "coming_from_kinesis.md").read_text(encoding="utf-8").replace("127.0.0.1:9101", f"127.0.0.1:{port}")
    environment = {**os.environ, "PYTHONPATH": str(DOCS.parent)}
    shell = f'set -euo pipefail\nrcf() {{ {shlex.quote(sys.executable)} -m rcf "$@"; }}\n'
    namespace, ran = {"__name__": "page"}, []
    for language, body in re.findall(r"^```(\w+)\n(.*?)^```", page, re.M | re.S):
        if language == "python":
            exec(compile(body, "coming_from_kinesis.md", "exec"), namespace)
        elif language == "bash" and "--metrics" in body:
            command = [sys.executable, "-m", *shlex.split(body)]
            with process(command, env=environment, stderr=subprocess.PIPE, text=True) as run:
                wait_until(
                    lambda: len(service.written("ExampleOutputStream")) >= 1000 or run.poll() is not None, 120, 0.2
                )
                assert run.poll() is None, run.stderr.read()
                run.terminate()
                assert run.wait(30) == 0
        elif language == "bash" and "pip install" not in body:
            done = subprocess.run(["bash", "-c", shell + body], env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            ran.append(done.stdout)
    assert json.loads(ran[-1])["reads"][0]["after"] == "TRIM_HORIZON"
    sent = [json.loads(record["Data"]) for record in namespace["records"]]
    X = np.array([[record["Systolic"], record["Diastolic"]] for record in sent], dtype=float)
    forest = RandomCutForest(100, 256, time_decay=0.00001, random_state=0)
    labelled = sorted(namespace["labelled"], key=lambda record: int(record["SEQUENCE_NUMBER"]))
    assert [record["ANOMALY_SCORE"] for record in labelled] == forest.update_many(X).tolist()
    worst = namespace["labelled"][0]
    assert worst["BloodPressureLevel"] != "NORMAL"
    assert worst["IS_ANOMALY"] is True
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_the_unit_is_one_that_systemd_takes(tmp_path):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    unit = (DOCS / "rcf-worker.service").read_text()
    command = re.search(r"^ExecStart=(\S+) (.*)$", unit, re.M)
    (tmp_path / "rcf-worker.service").write_text(unit.replace(command[1], "/bin/true"))
    done = subprocess.run([analyze, "verify", tmp_path / "rcf-worker.service"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, [line for line in done.stderr.splitlines() if "rcf-worker" in line]) == (
        0,
        "",
        [],
    )
    arguments = shlex.split(command[2])
    done = subprocess.run([sys.executable, "-m", "rcf", *arguments[:2], "--help"], capture_output=True, text=True)
    for option in (part for part in arguments if part.startswith("--")):
        assert option in done.stdout


def test_the_entry_point_of_the_image_is_in_exec_form():
    """Only in this form does SIGTERM reach the worker and not a shell."""
    text = (DOCS / "Dockerfile.worker").read_text()
    entry = json.loads(re.search(r"^ENTRYPOINT (.*)$", text, re.M)[1])
    assert [Path(entry[0]).name, *entry[1:]] == ["rcf", "worker"]
