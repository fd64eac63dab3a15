"""The settings that SageMaker passes to an endpoint in environment variables."""

from __future__ import annotations

import os
from pathlib import Path

from . import formats
from .training import root_folder

LIMIT = 6_291_456  # bytes of a body; the limit of InvokeEndpoint
MODEL_PATH = "RCF_SAGEMAKER_MODEL"  # the variable in which `serve --model` passes the path to the workers


def multi_model() -> bool:
    """Whether SageMaker requests a multi-model endpoint."""
    return os.environ.get("SAGEMAKER_MULTI_MODEL", "").lower() == "true"


def model_path(root: str | os.PathLike[str] | None = None) -> Path:
    """The path of the model: below `root`, or the path given to ``serve --model``."""
    if root is None and os.environ.get(MODEL_PATH):
        return Path(os.environ[MODEL_PATH])
    return root_folder(root) / "model"


def workers() -> int:
    """The number of worker processes: MODEL_SERVER_WORKERS, else one per core. A multi-model endpoint has one."""
    if multi_model():
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return number("MODEL_SERVER_WORKERS", cores, 1, 1000, "a whole number from 1")


def payload_in_mb() -> int:
    """The largest request of batch transform; 0 means no limit, and 6 is the default."""
    return number("SAGEMAKER_MAX_PAYLOAD_IN_MB", 6, 0, 100, "a whole number from 0 to 100")


def body_limit() -> int | None:
    """The largest body in bytes: the limit of InvokeEndpoint, or that of the batch transform job."""
    megabytes = payload_in_mb()
    if "SAGEMAKER_MAX_PAYLOAD_IN_MB" not in os.environ:
        return LIMIT
    return megabytes * 2**20 or None


def default_accept() -> str:
    kind = os.environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT") or formats.JSON
    if kind not in formats.OUTPUTS:
        raise ValueError(
            f"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT must be one of {', '.join(formats.OUTPUTS)}, got {kind!r}"
        )
    return kind


def number(name: str, default: int, low: int, high: int, what: str) -> int:
    """An environment variable as a whole number."""
    text = os.environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise ValueError(f"{name} must be {what}, got {text[:80]!r}")
    return int(text)
