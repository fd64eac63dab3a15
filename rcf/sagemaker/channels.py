"""The data channels of a training job: files in folders, or named pipes."""

from __future__ import annotations

import gzip
import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from . import formats, recordio
from .recordio import CHUNK, Rows

_PATIENCE = 60.0  # seconds to wait for a pipe, because SageMaker creates it while the container starts


@dataclass(frozen=True)
class Channel:
    """One channel: the location and the encoding of its data.

    Attributes
    ----------
    name : str
        "train" or "test".
    data : Path
        The folder that holds the channels' folders and pipes.
    content_type : str
        "text/csv" or "application/x-recordio-protobuf".
    label_size : int
        Number of label columns, which are the first columns of CSV.
    pipe : bool
        Read the pipe ``<name>_0`` instead of the files in the folder ``<name>``.
    wrapped : bool
        Each file arrives as the payload of one RecordIO frame.
    """

    name: str
    data: Path
    content_type: str
    label_size: int
    pipe: bool
    wrapped: bool

    @classmethod
    def parse(cls, name: str, given: dict[str, Any], data: Path) -> Channel:
        """Parse an entry of inputdataconfig.json."""
        wanted = {"train": "ShardedByS3Key", "test": "FullyReplicated"}[name]
        spread = given.get("S3DistributionType", wanted)
        if spread != wanted:
            raise ValueError(f"the channel {name!r} must have S3DistributionType {wanted}, got {spread!r}")
        mode = given.get("TrainingInputMode", "File")
        if mode not in ("File", "FastFile", "Pipe"):
            raise ValueError(f"the channel {name!r} has TrainingInputMode {mode!r}, expected File, FastFile or Pipe")
        # SageMaker assumes RecordIO if no content type is set
        kind, parameters = formats.media_type(given.get("ContentType") or formats.RECORDIO)
        if kind not in (formats.CSV, formats.RECORDIO):
            raise ValueError(
                f"the channel {name!r} has ContentType {kind!r}, expected {formats.CSV} or {formats.RECORDIO}"
            )
        size = formats.label_size(parameters, 0 if name == "train" else 1)
        # RecordIO data already consist of frames, so SageMaker does not wrap them again
        wrapped = given.get("RecordWrapperType", "None") == "RecordIO" and kind == formats.CSV
        return cls(name, data, kind, size, mode == "Pipe", wrapped)

    def rows(self, n_features: int) -> Iterator[Rows]:
        """All rows in blocks. Files are read in the order of their names. A ValueError names the file and the row."""
        sources = [self.data / f"{self.name}_0"] if self.pipe else self._files()
        for path in sources:
            try:
                with self._open(path) as file:
                    yield from self._rows_of(file, n_features)
            except (ValueError, EOFError, OSError) as error:
                where = path.relative_to(self.data)
                raise ValueError(f"{where}: {error}") from error

    def _files(self) -> list[Path]:
        folder = self.data / self.name
        if not folder.is_dir():
            raise ValueError(f"the channel {self.name!r} has no folder {folder}")
        # names that start with a dot are not data: they are the SDK's manifest, or files of the operating system
        found = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        if not found:
            raise ValueError(f"the channel {self.name!r} has no files in {folder}")
        return found

    @contextmanager
    def _open(self, path: Path) -> Iterator[BinaryIO]:
        deadline = time.monotonic() + _PATIENCE
        while self.pipe and not path.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        with path.open("rb") as file:
            if not self.pipe and file.peek(2)[:2] == b"\x1f\x8b":
                with gzip.open(file) as unpacked:
                    yield io.BufferedReader(unpacked)
            else:
                yield file

    def _rows_of(self, file: BinaryIO, n_features: int) -> Iterator[Rows]:
        if self.content_type == formats.RECORDIO:
            yield from formats.checked(recordio.blocks_of_file(file, n_features), "frame")
        else:
            yield from formats.checked(self._csv_rows_of(file, n_features))

    def _csv_rows_of(self, file: BinaryIO, n_features: int) -> Iterator[Rows]:
        before = 0
        for text in recordio.payloads(file) if self.wrapped else _lines(file):
            for rows in formats.csv_rows(
                text.rstrip(b"\r\n") if self.wrapped else text, self.label_size, n_features, before
            ):
                yield rows
                before += len(rows.X)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Whole lines, in pieces of several megabytes. Only empty lines at the end of the file are dropped."""
    rest = b""
    while chunk := file.read(CHUNK):
        data = rest + chunk
        lines = data[: data.rfind(b"\n") + 1].rstrip(b"\r\n")
        if lines:
            yield lines
            rest = data[len(lines) :].partition(b"\n")[2]
        else:
            rest = data
    yield rest.rstrip(b"\r\n")


def read_json(path: Path, *, default: Any = None) -> Any:
    """The JSON object in a configuration file. A ValueError names the file."""
    if default is not None and not path.exists():
        return default
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"there is no {path}") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold a JSON object")
    return found
