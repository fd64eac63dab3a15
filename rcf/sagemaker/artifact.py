"""A trained model as SageMaker hands it on: a folder of files, or the same in ``model.tar.gz``."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path

from ..estimator import RandomCutForest
from .sample import Sample, union

MODEL = "model.rcf"
ARCHIVE = "model.tar.gz"
# What one of several hosts leaves. SageMaker puts the files of all hosts into one archive.
_PART = re.compile(r"host-(\d+)-of-(\d+)\.sample")


def part_name(host: int, n_hosts: int) -> str:
    """The file of the host with that number, from 0."""
    return f"host-{host + 1}-of-{n_hosts}.sample"


def pack(forest: RandomCutForest, path: Path) -> None:
    """Write a forest as a ``model.tar.gz`` that `unpack` and the endpoint read.

    Parameters
    ----------
    forest : rcf.RandomCutForest
        Fitted; scored by its own `method`.
    path : path-like
    """
    data = forest.to_bytes()
    member = tarfile.TarInfo(MODEL)
    member.size = len(data)
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(member, io.BytesIO(data))


def unpack(path: Path) -> RandomCutForest:
    """The forest in a model's folder, in its ``model.tar.gz`` or in a ``.rcf`` file; nothing is unpacked to the disk.

    Parameters
    ----------
    path : path-like
        A folder with ``model.rcf``, ``model.tar.gz``, or what each of several hosts left; or one of these files.

    Returns
    -------
    rcf.RandomCutForest

    Raises
    ------
    ValueError
        If there is no model, or it is damaged; it is named.
    """
    path = Path(path)
    try:
        if path.is_dir():
            files = {file.name: file.read_bytes() for file in path.iterdir() if file.is_file() and _wanted(file.name)}
            if ARCHIVE in files and MODEL not in files:
                files = _members(files[ARCHIVE])
        else:
            data = path.read_bytes()
            files = _members(data) if data[:2] == b"\x1f\x8b" else {MODEL: data}
        return _forest(files)
    except (ValueError, OSError, EOFError, tarfile.TarError) as error:
        raise ValueError(f"no model in {path}: {error}") from error


def _wanted(name: str) -> bool:
    return name in (MODEL, ARCHIVE) or bool(_PART.fullmatch(name))


def _members(data: bytes) -> dict[str, bytes]:
    files = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            if member.isfile() and _wanted(name) and (file := archive.extractfile(member)) is not None:
                files[name] = file.read()
    return files


def _forest(files: dict[str, bytes]) -> RandomCutForest:
    if MODEL in files:
        return RandomCutForest.from_bytes(files[MODEL])
    parts = {int(found[1]): (int(found[2]), name) for name in files if (found := _PART.fullmatch(name))}
    if not parts:
        raise ValueError(f"there is neither {MODEL} nor {ARCHIVE}")
    expected = max(of for of, _ in parts.values())
    if sorted(parts) != list(range(1, expected + 1)) or any(of != expected for of, _ in parts.values()):
        raise ValueError(
            f"of the files of {expected} hosts there are {', '.join(sorted(name for _, name in parts.values()))}"
        )
    return union([Sample.from_bytes(files[parts[i][1]]) for i in sorted(parts)]).forest()
