"""A container for your own machines with the interface of SageMaker's Random Cut Forest, from training job to endpoint.

`train` runs a training job on the files in ``/opt/ml``, `app` is the endpoint, and `rcf.sagemaker.recordio` reads and writes
RecordIO-protobuf. The command ``rcf-sagemaker`` has the subcommands ``train``, ``serve`` and ``batch``. The package needs the extra
``sagemaker``.
"""

from __future__ import annotations

try:
    import orjson as _orjson  # noqa: F401
    import pyarrow as _pyarrow  # noqa: F401
    import starlette as _starlette  # noqa: F401
    import uvicorn as _uvicorn  # noqa: F401
except ImportError as error:
    raise ImportError(f'rcf.sagemaker needs {error.name}: python -m pip install "rcf[sagemaker]"') from error

from . import recordio
from .artifact import pack, unpack
from .invocations import answer
from .serving import app, application
from .training import train

__all__ = ["answer", "app", "application", "pack", "recordio", "train", "unpack"]
