"""Measures the memory of a model as the growth of a process that creates several of them.

Each peer runs in its own process. The first model is not counted, because the libraries are loaded with it.
"""

import ctypes
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from .cases import Setting, stream
from .peers import PEERS, Peer, RcfLowMemory, can

MODELS = {**PEERS, RcfLowMemory.name: RcfLowMemory}
COPIES = 4


def resident() -> int:
    """Resident memory of this process in bytes, after freed memory was returned to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def bytes_per_model(peer: type[Peer], setting: Setting) -> float:
    X = stream(setting, setting.warm_up)
    if peer.fifo:
        X = X[-2 * setting.samples :]
    learn = "learn" if can(peer, "learn") else "fit"
    models, rows, before = [], None, 0
    for copy in range(1 + COPIES):
        model = peer(setting.trees, setting.samples, setting.features, setting.decay, seed=copy + 1)
        if rows is None:
            rows = model.prepare(X)
        getattr(model, learn)(rows)
        models.append(model)
        if copy == 0:
            before = resident()
    return (resident() - before) / COPIES


def measure(settings: list[Setting], names: list[str]) -> Iterator[dict[str, Any]]:
    if not sys.platform.startswith("linux"):
        return  # resident memory is read from /proc
    for setting in settings:
        for name in names:
            arguments = [name, setting.shape, str(setting.trees), str(setting.warm_up)]
            command = [sys.executable, "-m", "bench.memory", *arguments]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            yield {
                "peer": name,
                "shape": setting.shape,
                "trees": setting.trees,
                "bytes": float(output.split()[-1]),
            }


if __name__ == "__main__":
    name, shape, trees, warm_up = sys.argv[1:]
    print(bytes_per_model(MODELS[name], Setting(shape, trees=int(trees), warm_up=int(warm_up))))
