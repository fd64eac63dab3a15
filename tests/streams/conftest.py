"""Servers that the tests of the streams start and stop themselves."""

import contextlib
import shutil
import subprocess

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
