"""Trained models in SageMaker's format: a folder of files, or ``model.tar.gz`` with the same files."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path

from ..estimator import RandomCutForest
from .sample import Sample, union

MODEL = "model.rcf"
ARCHIVE = "model.tar.gz"
# If a job runs on several hosts, each host writes one such file. SageMaker collects the files of all hosts in one
# archive.
_PART = re.compile(r"host-(\d+)-of-(\d+)\.sample")


def part_name(host: int, n_hosts: int) -> str:
    """The name of the file that a host writes; hosts are numbered from 0."""
    return f"host-{host + 1}-of-{n_hosts}.sample"


def pack(forest: RandomCutForest, path: Path) -> None:
    """Write a forest to a ``model.tar.gz``, which `unpack` and the endpoint can read.

    Parameters
    ----------
    forest : rcf.RandomCutForest
        A fitted forest. The endpoint returns scores of its `method`.
    path : path-like

    Examples
    --------
    >>> import tempfile, numpy as np, rcf, rcf.sagemaker
    >>> forest = rcf.RandomCutForest(random_state=0).fit(np.random.default_rng(0).normal(size=(500, 2)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rcf.sagemaker.pack(forest, f"{folder}/model.tar.gz")
    ...     again = rcf.sagemaker.unpack(folder)
    >>> bool(again.anomaly_score([[3.0, 0.0]]) == forest.anomaly_score([[3.0, 0.0]]))
    True
    """
    data = forest.to_bytes()
    member = tarfile.TarInfo(MODEL)
    member.size = len(data)
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(member, io.BytesIO(data))


def unpack(path: Path) -> RandomCutForest:
    """Read the forest from a model folder, a ``model.tar.gz`` or a ``.rcf`` file. Archives are read in memory.

    Parameters
    ----------
    path : path-like
        A ``model.tar.gz``, a ``.rcf`` file, or a folder that holds ``model.rcf``, ``model.tar.gz``, or the files of several hosts.

    Returns
    -------
    rcf.RandomCutForest

    Raises
    ------
    ValueError
        If there is no model or it is damaged. The message names the path.
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
            f"the files of {expected} hosts are needed, but there are {', '.join(sorted(name for _, name in parts.values()))}"
        )
    return union([Sample.from_bytes(files[parts[i][1]]) for i in sorted(parts)]).forest()
