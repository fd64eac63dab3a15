"""Lock: only one process at a time may use a state file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class Lock:
    """A lock that is held from construction until `release` or until the process ends, even if it is killed.

    A separate file in the folder of `path` is locked, because each checkpoint replaces `path` by a new file.

    Raises
    ------
    OSError
        If another process holds the lock; the message names its process id.
    """

    def __init__(self, path: Path) -> None:
        real = Path(os.path.realpath(path))
        self.path = real.with_name(f".{real.name}.lock")
        self._descriptor: int | None = None
        while self._descriptor is None:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                _lock(descriptor)
            except OSError as error:
                holder = os.read(descriptor, 32).decode(errors="replace").strip()
                os.close(descriptor)
                raise OSError(f"{path} is in use by process {holder or 'unknown'}") from error
            # the previous holder may have removed the file after we opened it and before we locked it
            if _same(descriptor, self.path):
                self._descriptor = descriptor
            else:
                os.close(descriptor)
        os.truncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        if self._descriptor is not None:
            self.path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None


def _same(descriptor: int, path: Path) -> bool:
    try:
        here, there = os.fstat(descriptor), os.stat(path)
    except FileNotFoundError:
        return False
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _lock(descriptor: int) -> None:
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    import msvcrt

    windows: Any = msvcrt
    windows.locking(descriptor, windows.LK_NBLCK, 1)
