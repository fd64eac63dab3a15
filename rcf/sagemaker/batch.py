"""``rcf-sagemaker batch``: a batch transform job that runs without the service."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from . import artifact, recordio
from .invocations import RequestError, answer

SPLITS = ("None", "Line", "RecordIO")
STRATEGIES = ("MultiRecord", "SingleRecord")


def transform(
    model: str | os.PathLike[str],
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    content_type: str = "text/csv",
    accept: str = "application/jsonlines",
    split_type: str = "Line",
    batch_strategy: str = "MultiRecord",
    assemble_with: str = "Line",
    max_payload_in_mb: int = 6,
) -> list[Path]:
    """Score files of any length. The answers for the file ``name`` are written to ``name.out``.

    The parameters have the names and values of CreateTransformJob. An output file appears only after its whole input is scored.

    Parameters
    ----------
    model : path-like
        A model that :func:`rcf.sagemaker.unpack` can read.
    source : path-like
        A file, or a folder with files.
    output : path-like
        A folder; it is created if necessary.
    content_type, accept : str
        As in a request to the endpoint.
    split_type : {"None", "Line", "RecordIO"}
        What counts as one record: the whole file, a line, or a RecordIO frame.
    batch_strategy : {"MultiRecord", "SingleRecord"}
        Whether a request holds as many records as possible, or one record.
    assemble_with : {"None", "Line"}
        Whether a newline follows each answer.
    max_payload_in_mb : int
        The largest size of a request, at most 100; 0 means no limit.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    ValueError
        If a file cannot be scored. The message names the file and the place; the outputs of earlier files are complete.
    """
    if split_type not in SPLITS or batch_strategy not in STRATEGIES or assemble_with not in ("None", "Line"):
        raise ValueError(
            f"no split_type {split_type!r}, batch_strategy {batch_strategy!r}, assemble_with {assemble_with!r}"
        )
    if not 0 <= max_payload_in_mb <= 100:
        raise ValueError(f"max_payload_in_mb must be from 0 to 100, got {max_payload_in_mb}")
    forest = artifact.unpack(Path(model))
    source, output = Path(source), Path(output)
    files = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
    if not files:
        raise ValueError(f"there are no files in {source}")
    limit = max_payload_in_mb * 2**20 or None
    written = []
    for path in files:
        target = output / f"{path.relative_to(source) if source.is_dir() else path.name}.out"
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.part")
        done = 0
        try:
            with path.open("rb") as file, beside.open("wb") as out:
                for payload, records in _payloads(_records(file, split_type), limit, batch_strategy == "SingleRecord"):
                    out.write(answer(forest, payload, content_type, accept)[0])
                    if assemble_with == "Line":
                        out.write(b"\n")
                    done += records
            os.replace(beside, target)
        except RequestError as error:
            where = f" after {done} records" if done else ""
            raise ValueError(f"{path}{where}: {error}") from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        finally:
            beside.unlink(missing_ok=True)
        written.append(target)
    return written


def _records(file: BinaryIO, split_type: str) -> Iterator[bytes]:
    if split_type == "Line":
        yield from file  # the last line may have no newline
    elif split_type == "RecordIO":
        for payload in recordio.payloads(file):
            yield recordio.frame(payload)
    else:
        yield file.read()


def _payloads(records: Iterable[bytes], limit: int | None, single: bool) -> Iterator[tuple[bytes, int]]:
    """The body of each request, and the number of its records."""
    held: list[bytes] = []
    size = 0
    for number, record in enumerate(records, 1):
        if limit is not None and len(record) > limit:
            raise ValueError(f"record {number} has {len(record)} bytes, more than the {limit} of a request")
        if held and (single or (limit is not None and size + len(record) > limit)):
            yield b"".join(held), len(held)
            held, size = [], 0
        held.append(record)
        size += len(record)
    if held:
        yield b"".join(held), len(held)
