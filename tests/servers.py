"""Processes, ports and streams for tests of services."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np

WORKER = [sys.executable, "-m", "rcf", "worker"]


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_until(condition, seconds=20.0, step=0.02):
    """Wait until `condition` returns a true value, and return it; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"the condition did not hold within {seconds} s"
        time.sleep(step)
    return found


@contextlib.contextmanager
def process(command, **options):
    """A process that is stopped at the end of the block."""
    run = subprocess.Popen(command, **options)
    try:
        yield run
    finally:
        if run.poll() is None:
            run.kill()
        run.wait()
        for pipe in (run.stdin, run.stdout, run.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def killed_at_random(command, progress, n, times, rng, seconds=120.0, step=0.002):
    """Kill a command with SIGKILL at `times` random points while `progress()` goes from 0 to `n`; then let it finish."""
    for place in sorted(rng.integers(1, n, size=times).tolist()):
        with process(command, stderr=subprocess.PIPE, text=True) as run:
            wait_until(lambda: progress() >= place or run.poll() is not None, seconds, step)  # noqa: B023
            assert run.poll() is None, run.stderr.read()
            os.kill(run.pid, signal.SIGKILL)
    with process(command, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr.readline()  # the process has started and handles signals
        wait_until(lambda: progress() >= n or run.poll() is not None, seconds, step)
        assert run.poll() is None, run.stderr.read()
        run.send_signal(signal.SIGTERM)
        status = run.wait(20)
        assert status == 0, (status, run.stderr.read())


def waves(n, seed=0, spikes=()):
    """A noisy wave of `n` values with three decimals, and a spike at each of the places `spikes`."""
    rng = np.random.default_rng(seed)
    values = 10 * np.sin(np.arange(n) / 8) + rng.normal(size=n)
    values[list(spikes)] += 60
    return values.round(3).tolist()


def parameters(**params):
    """The parameters of a small detector in two forms: as keyword arguments, and as arguments of `rcf worker`."""
    params = {"shingle_size": 4, "n_estimators": 10, "max_samples": 64, "random_state": 3, **params}
    return params, [part for name, value in params.items() for part in ("--set", f"model.{name}={json.dumps(value)}")]
