"""Files, standard input and standard output as sources and sinks of lines, and a file as the store of a checkpoint."""

from __future__ import annotations

import io
import os
import select
import stat
import sys
import time
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

from ..detector import KeyedDetector, StreamDetector
from ..estimator import RandomCutForest
from ..persist import load
from .checkpoint import Chain, Checkpoint
from .codecs import Codec, Csv, Json, dead_letter
from .columns import Lines
from .group import Group
from .locks import Lock
from .records import Message, Position, Record, Rejected, StreamError
from .settings import Settings, codec_of, model_of, options_of
from .worker import Worker

CHUNK = 1 << 16  # bytes per read
LONGEST = 1 << 24  # bytes of a line; longer lines are rejected
SHOWN = 1 << 10  # bytes of a rejected line that are kept


class LineSource:
    """Reads the lines of a file or a pipe.

    Parameters
    ----------
    path : str, path-like or binary file
        ``-`` is standard input.
    follow : bool, default=False
        At the end of a file, wait for more lines. If another file appears under the same name, as after a rotation, it is read
        next.

    Notes
    -----
    Blank lines are counted but skipped. A position in a file is ``[inode, offset, line]``. If the file was replaced between two
    runs, the new file is read from its beginning. A pipe has no positions; its records have only line numbers.
    """

    def __init__(self, path: Any, *, follow: bool = False) -> None:
        self.follow = follow
        self.name = "standard input" if path == "-" else str(path)
        self.partition = self.name
        self._path: Path | None = None
        if path == "-":
            if sys.stdin is None:
                raise OSError("standard input is closed")
            self._file: BinaryIO = sys.stdin.buffer
        elif hasattr(path, "read"):
            self._file, self.name, self.partition = path, "a file", "a file"
        else:
            self._path = Path(path)
            self._file = open(self._path, "rb")  # noqa: SIM115 - closed in close()
            if stat.S_ISDIR(os.fstat(self._file.fileno()).st_mode):
                raise IsADirectoryError(f"{path} is a folder")
        self.replayable = self._path is not None and stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
        self._lines: list[bytes] = []  # lines that are too long are truncated
        self._lengths: list[int] = []  # their lengths in the source
        self._next = 0  # index of the first line that was not returned yet
        self._rest: list[bytes] = []  # the beginning of a line whose end was not read yet
        self._length = 0
        self._inode = 0 if self._path is None else os.fstat(self._file.fileno()).st_ino
        self._line = self._offset = 0
        self._ended = False

    def seek(self, position: Position | None) -> Position | None:
        if position is None:
            return None
        if not self.replayable:
            self._line = position if isinstance(position, int) else 0
            return position
        assert isinstance(position, list)
        inode, offset, line = position
        if self._inode == inode and os.fstat(self._file.fileno()).st_size >= offset:
            self._file.seek(offset)
            self._offset, self._line = offset, line
        return position

    def read(self, limit: int, wait: float | None) -> Sequence[Message] | None:
        if self._next == len(self._lines) and wait is not None:
            self._lines, self._lengths, self._next = [], [], 0
            self._fill(wait)
            if not self._lines:
                return None if self._ended else []
        part = slice(self._next, self._next + limit)
        data, lengths = [line.rstrip(b"\r\n") for line in self._lines[part]], self._lengths[part]
        if not data:
            return []
        self._next += len(data)
        numbers: Sequence[int] = range(self._line + 1, self._line + len(data) + 1)
        ends = list(accumulate(lengths, initial=self._offset))[1:]
        self._line, self._offset = numbers[-1], ends[-1]
        longest = max(lengths)
        if longest > LONGEST or not all(map(bytes.strip, data)):
            kept = [i for i, line in enumerate(data) if line.strip() or lengths[i] > LONGEST]
            data, lengths = [data[i] for i in kept], [lengths[i] for i in kept]
            numbers, ends = [numbers[i] for i in kept], [ends[i] for i in kept]
        lines = Lines(data, numbers, ends if self.replayable else None, self._inode)
        if longest <= LONGEST:
            return lines
        messages = list(lines)
        for message, length in zip(messages, lengths, strict=True):
            if length > LONGEST:
                message.fault = f"the line has {length} bytes, more than {LONGEST}"
        return messages

    def _fill(self, wait: float) -> None:
        chunk = self._chunk(wait)
        if chunk is None:
            return
        *ended, rest = chunk.split(b"\n")
        if ended:
            self._extend(ended[0] + b"\n")
            self._end_line()
            self._lines += ended[1:]
            self._lengths += [len(line) + 1 for line in ended[1:]]
        self._extend(rest)
        if self._ended:
            self._end_line()

    def _extend(self, part: bytes) -> None:
        """Add a part of a line whose end was not read yet."""
        self._length += len(part)
        if part and self._length <= LONGEST:
            self._rest.append(part)

    def _end_line(self) -> None:
        """Append the bytes that were read since the last line as a new line."""
        if self._length:
            whole = b"".join(self._rest)
            self._lines.append(whole if self._length <= LONGEST else whole[:SHOWN])
            self._lengths.append(self._length)
            self._rest, self._length = [], 0

    def _chunk(self, wait: float) -> bytes | None:
        """Read more bytes; None if there are none yet."""
        if isinstance(self._file, io.BytesIO):
            chunk = self._file.read(CHUNK)
        elif self.replayable or sys.platform == "win32":  # a file never blocks, and Windows cannot wait for a pipe
            chunk = self._file.read1(CHUNK) if hasattr(self._file, "read1") else self._file.read(CHUNK)
        else:
            descriptor = self._file.fileno()
            if not select.select([descriptor], [], [], wait)[0]:
                return None
            chunk = os.read(descriptor, CHUNK)
        if chunk:
            return chunk
        if not self.follow:
            self._ended = True
            return b""
        if not self._rotated():
            time.sleep(wait)
        return None

    def _rotated(self) -> bool:
        """Continue with the new file if another file has the name now, or from the beginning if the file was truncated."""
        assert self._path is not None
        try:
            new = os.stat(self._path)
        except FileNotFoundError:
            return False
        replaced, cut = new.st_ino != self._inode, new.st_size < self._offset
        if not (replaced or cut):
            return False
        if self._length:  # the incomplete last line of the old file comes first
            self._end_line()
            return True
        if replaced:
            file = open(self._path, "rb")  # noqa: SIM115 - closed in close()
            self._file.close()
            self._file, self._inode = file, os.fstat(file.fileno()).st_ino
        else:
            self._file.seek(0)
        self._offset = self._line = 0
        return True

    def lag(self) -> float | None:
        return None

    def close(self) -> None:
        if self._path is not None:
            self._file.close()


class LineSink:
    """Writes a line for each record, flushed after each batch.

    If a path is given, lines are appended to the file. A restarted worker first truncates the file to the position of its
    checkpoint, so that the file contains each record once.

    Parameters
    ----------
    path : str, path-like or binary file
        ``-`` is standard output.
    codec : Codec, default=Json()
    """

    def __init__(self, path: Any, codec: Codec | None = None) -> None:
        self.codec = codec or Json()
        self._header = isinstance(codec, Csv)
        self.name = "standard output" if path == "-" else str(path)
        self._descriptor: int | None = None
        self._own = False
        if path == "-":
            if sys.stdout is None:
                raise OSError("standard output is closed")
            sys.stdout.flush()
            try:
                self._descriptor = sys.stdout.fileno()
            except OSError:  # not a real file, for example because the caller replaced sys.stdout
                self._file = sys.stdout.buffer
        elif hasattr(path, "write"):
            self._file = path
        else:
            self._descriptor, self._own = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o666), True
            self._header = self._header and os.fstat(self._descriptor).st_size == 0

    def write(self, records: Sequence[Record]) -> None:
        if not records:
            return
        lines = self.codec.encode_many(records)
        if self._header:
            assert isinstance(self.codec, Csv)
            lines = self.codec.header_of(records[0]) + lines
            self._header = False
        self._write(lines)

    def _write(self, data: bytes) -> None:
        if self._descriptor is None:
            self._file.write(data)
            return
        begin = os.fstat(self._descriptor).st_size if self._own else 0
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            if self._own:
                error.filename = self.name
                if stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                    os.ftruncate(self._descriptor, begin)  # so that the next line is not appended to an incomplete one
            raise

    def mark(self) -> int | None:
        """Flush the file to the disk and return its end; None for a pipe."""
        if not self._own or not stat.S_ISREG(os.fstat(self._descriptor or 0).st_mode):
            return None
        assert self._descriptor is not None
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            error.filename = self.name
            raise
        return os.fstat(self._descriptor).st_size

    def rewind(self, mark: int | None) -> None:
        """Remove everything that was written after the mark."""
        if mark is None or not self._own or self._descriptor is None:
            return
        size = os.fstat(self._descriptor).st_size
        if size < mark:
            raise StreamError(
                f"{self.name} has {size} bytes, but the checkpoint was saved at {mark}: the file was truncated or replaced"
            )
        os.ftruncate(self._descriptor, mark)
        self._header = self._header or (isinstance(self.codec, Csv) and mark == 0)

    def close(self) -> None:
        if self._own and self._descriptor is not None:
            os.close(self._descriptor)
            self._own, self._descriptor = False, None


class DeadLetterFile(LineSink):
    """Writes a JSON object for each message that could not be used, with its position, the reason and the data."""

    def reject(self, rejected: Sequence[Rejected]) -> None:
        self._write(b"".join(map(dead_letter, rejected)))


class FileStore:
    """Stores the checkpoint of one partition in a model file, which is replaced atomically.

    If the model has many keys, further files, whose names end in ``.1``, ``.2`` and so on, hold the keys that have changed
    since then (see :class:`rcf.streams.checkpoint.Chain`). When a worker ends normally, it leaves a single file. After a crash,
    only `load` and `peek` return the newest checkpoint, whereas `rcf.load` of the file returns an older one.

    Parameters
    ----------
    path : str or path-like
        The path of the file. An error is raised if it is a device or a folder, or if another process uses the file. If the file
        holds a model without a position, a worker starts with this model.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_file():
            kind = "a folder" if self.path.is_dir() else "a device or pipe"
            raise OSError(f"{self.path} is {kind}; the state needs a file")
        folder = self.path.absolute().parent
        if not folder.is_dir():
            raise OSError(f"{self.path} cannot be written: there is no folder {folder}")
        if not os.access(folder, os.W_OK):
            raise OSError(f"{self.path} cannot be written: no permission to write in {folder}")
        self._lock: Lock | None = None
        self._chain = Chain()
        self._alone = False  # whether it is certain that no increments exist

    def load(self, partition: str) -> Checkpoint | None:
        if self._lock is None:
            self._lock = Lock(self.path)
        return self.peek(partition)

    def peek(self, partition: str) -> Checkpoint | None:
        if not self.path.exists():
            return None
        found = load(self.path)
        if isinstance(found, (StreamDetector, KeyedDetector, RandomCutForest)):
            return Checkpoint(partition, None, found)
        if not isinstance(found, Checkpoint):
            raise ValueError(f"{self.path} holds a {type(found).__name__}, not the state of a worker")
        increments: list[Checkpoint] = []
        while found.chain and (path := self._increment(len(increments) + 1)).exists():
            following = load(path)
            if not isinstance(following, Checkpoint) or following.chain != found.chain:
                break  # a file that is left from an earlier whole checkpoint
            increments.append(following)
        return found.followed_by(increments)

    def _increment(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def save(self, checkpoint: Checkpoint) -> None:
        due = self._chain.next(checkpoint)
        path = self._increment(due.number) if due.number else self.path
        try:
            due.save(path)
            size = path.stat().st_size
        except OSError as error:
            error.filename = error.filename or str(self.path)
            raise
        self._chain.stored(due, size)
        if due.number:
            self._alone = False
        elif not self._alone:
            # the highest number first; a file that is left after a crash is ignored, because it belongs to another chain
            number = 1
            while self._increment(number).exists():
                number += 1
            for left in range(number - 1, 0, -1):
                self._increment(left).unlink()
            self._alone = True

    def compact(self) -> bool:
        """Write the next checkpoint as a single file. Returns whether the last checkpoint has increments."""
        self._chain.compact()
        return self._increment(1).exists()

    def close(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def group(settings: Settings) -> Group:
    """The worker for the settings. The section ``[files]`` may have input, output, state, dead (letters) and follow."""
    own = settings["files"]
    codec = codec_of(settings)
    source = LineSource(own["input"], follow=own.get("follow", False))
    sink = LineSink(own["output"], codec)
    store = None if own.get("state") is None else FileStore(own["state"])
    dead = None if own.get("dead") is None else DeadLetterFile(own["dead"])
    options = options_of(settings, checkpoint_every=10.0)
    return Group([Worker(model_of(settings), source, sink, store, codec=codec, dead_letters=dead, **options)])
