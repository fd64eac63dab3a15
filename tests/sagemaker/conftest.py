"""The folder of a training job, and endpoints as separate processes on free ports."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import servers

ROOT = Path(__file__).parents[2]


def pytest_collection_modifyitems(items):
    """Ignore warnings of other libraries, because pytest converts warnings to errors."""
    for item in items:
        if Path(__file__).parent in Path(item.fspath).parents:
            item.add_marker(pytest.mark.filterwarnings("default::DeprecationWarning"))
            item.add_marker(pytest.mark.filterwarnings("default::PendingDeprecationWarning"))


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """The command sets environment variables for its workers; they are removed after the test."""
    for name in list(os.environ):
        if name.startswith(("SAGEMAKER_", "MODEL_SERVER_", "RCF_SAGEMAKER_")):
            monkeypatch.delenv(name)
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


class Job:
    """A folder in place of /opt/ml."""

    def __init__(self, root):
        self.root = root
        self.channels = {}
        (root / "input" / "config").mkdir(parents=True)

    def hyperparameters(self, **values):
        self._write("hyperparameters", {name: str(value) for name, value in values.items()})
        return self

    def hosts(self, current, hosts):
        self._write("resourceconfig", {"current_host": current, "hosts": hosts, "network_interface_name": "eth0"})
        return self

    def channel(self, name, content_type="text/csv;label_size=0", mode="File", wrapper="None", **files):
        """A channel and its files, by their names without .csv or .pbr."""
        spread = "ShardedByS3Key" if name == "train" else "FullyReplicated"
        self.channels[name] = {
            "ContentType": content_type,
            "TrainingInputMode": mode,
            "S3DistributionType": spread,
            "RecordWrapperType": wrapper,
        }
        folder = self.root / "input" / "data" / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, data in files.items():
            (folder / file).write_bytes(data)
        self._write("inputdataconfig", self.channels)
        return self

    def configure(self, name, **values):
        self.channels[name] |= values
        self._write("inputdataconfig", self.channels)

    def _write(self, name, value):
        (self.root / "input" / "config" / f"{name}.json").write_text(json.dumps(value))

    @property
    def failure(self):
        path = self.root / "output" / "failure"
        return path.read_text() if path.exists() else None


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path / "ml")


@pytest.fixture(scope="session")
def command():
    """Run the command as a process, with the given arguments and no SageMaker variables except the given ones."""

    def start(*arguments, environment=None, **options):
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("SAGEMAKER_", "MODEL_"))}
        clean |= {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "default"}
        return subprocess.Popen(
            [sys.executable, "-m", "rcf.sagemaker", *map(str, arguments)],
            env=clean | {name: str(value) for name, value in (environment or {}).items()},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )

    return start


@pytest.fixture(scope="session")
def sdk(tmp_path_factory):
    """The Python of an environment with version 2 of the SageMaker SDK. RCF_SAGEMAKER_SDK names it; otherwise a new one is created.

    The SDK needs 450 MB and older packages than ours.
    """
    named = os.environ.get("RCF_SAGEMAKER_SDK")
    if named:
        return named
    folder = tmp_path_factory.mktemp("sdk")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(folder / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", "sagemaker>=2.200,<3", "scipy"], check=True)
    return python


@pytest.fixture(name="free_port")
def a_free_port():
    return servers.free_port()


@pytest.fixture(scope="session")
def serving(command):
    """`with serving(model) as (url, process)`: an endpoint that answers /ping. It is stopped at the end of the block."""

    @contextmanager
    def endpoint(model, **environment):
        port = servers.free_port()
        environment = {"MODEL_SERVER_WORKERS": 1, "SAGEMAKER_BIND_TO_PORT": port} | environment
        process = command("serve", "--model", model, "--host", "127.0.0.1", environment=environment)
        url = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    urllib.request.urlopen(f"{url}/ping", timeout=5).close()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        process.kill()
                        raise AssertionError(process.communicate()[0]) from None
                    time.sleep(0.05)
            yield url, process
        finally:
            if process.poll() is None:
                process.terminate()
            process.communicate(timeout=60)

    return endpoint


@pytest.fixture
def served():
    """`with served(application) as url`: a thread of this process serves the application, with the environment of this process."""
    uvicorn = pytest.importorskip("uvicorn")

    @contextmanager
    def endpoint(application):
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            server = uvicorn.Server(uvicorn.Config(application, log_level="warning"))
            thread = threading.Thread(target=server.run, args=([listening],))
            thread.start()
            try:
                deadline = time.monotonic() + 60
                while not server.started and time.monotonic() < deadline:
                    time.sleep(0.01)
                yield "http://{}:{}".format(*listening.getsockname())
            finally:
                server.should_exit = True
                thread.join()

    return endpoint
