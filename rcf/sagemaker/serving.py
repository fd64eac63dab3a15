"""``rcf-sagemaker serve``: the endpoint, with the paths that SageMaker, batch transform and boto3 request."""

from __future__ import annotations

import os
import re
from http import HTTPStatus
from pathlib import Path

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..estimator import RandomCutForest
from . import artifact, formats
from .training import root_folder

LIMIT = 6_291_456  # bytes of a body, InvokeEndpoint's limit
# Bodies up to this size are scored in the event loop, in about 0.1 ms; larger ones in a thread, so that /ping need not wait.
_AT_ONCE = 8192
_PORT, _GRACE = 8080, 25  # SageMaker kills the container 30 s after SIGTERM
_KEEP_ALIVE = 75  # longer than the 60 s after which proxies close idle connections
MODEL_PATH = "RCF_SAGEMAKER_MODEL"  # the variable in which `serve --model` passes the path to the workers


class RequestError(Exception):
    """A request that is refused, and the HTTP status to send."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


def answer(
    forest: RandomCutForest, body: bytes, content_type: str | None, accept: str | None = None
) -> tuple[bytes, str]:
    """Score the rows of a request.

    Parameters
    ----------
    forest : rcf.RandomCutForest
    body : bytes
    content_type : str or None
        One of `formats.INPUTS`, with parameters.
    accept : str or None
        The Accept header; None or ``*/*`` gives JSON.

    Returns
    -------
    body : bytes
    content_type : str

    Raises
    ------
    RequestError
        With status 415 or 406 for other types, or 400 for a body that cannot be read as its type. The text names the row.

    Examples
    --------
    >>> import numpy as np, rcf, rcf.sagemaker
    >>> forest = rcf.RandomCutForest(random_state=0).fit(np.random.default_rng(0).normal(size=(500, 2)))
    >>> body, kind = rcf.sagemaker.answer(forest, b"0.1,0.2\\n5.0,5.0", "text/csv", "application/jsonlines")
    >>> [line[:12] for line in body.split()]
    [b'{"score":0.6', b'{"score":4.4']
    """
    kind = formats.media_type(content_type or "")[0]
    if kind not in formats.INPUTS:
        what = f"the Content-Type {kind!r} is not supported" if kind else "there is no Content-Type"
        raise RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"{what}; send {', '.join(formats.INPUTS)}")
    chosen = _accepted(accept)
    try:
        blocks = formats.decode(body, content_type or "", forest.n_features_in_)
        # Calls the core directly: the rows are already checked, and the checks in anomaly_score take 50 of 85 us of a request.
        scores = [forest._forest.score(rows.X, forest.method, 1) for rows in blocks]
    except ValueError as error:
        raise RequestError(HTTPStatus.BAD_REQUEST, str(error)) from error
    if not scores:
        raise RequestError(HTTPStatus.BAD_REQUEST, "there are no rows")
    return formats.encode(np.concatenate(scores), chosen), chosen


def _accepted(accept: str | None) -> str:
    """The type of the response: the supported type that the Accept header prefers."""
    default = _default_accept()
    wanted: list[tuple[float, str]] = []
    for part in (accept or "*/*").split(","):
        kind, parameters = formats.media_type(part)
        quality = parameters.get("q", "1")
        wanted.append((float(quality) if re.fullmatch(r"[01](\.\d{0,3})?", quality, re.ASCII) else 1.0, kind))
    for weight, kind in sorted(wanted, key=lambda pair: -pair[0]):
        kind = default if kind in ("*/*", "") else formats.JSON if kind == "application/*" else kind
        if weight and kind in formats.OUTPUTS:
            return kind
    raise RequestError(
        HTTPStatus.NOT_ACCEPTABLE, f"the Accept {accept!r} is not supported; take {', '.join(formats.OUTPUTS)}"
    )


def app(root: str | os.PathLike[str] | None = None) -> Starlette:
    """The endpoint as an ASGI application, with the model that is in ``model`` below `root`.

    If the environment has SAGEMAKER_MULTI_MODEL=true, it starts without a model, and requests to ``/models`` load and unload
    models.

    Parameters
    ----------
    root : path-like, default=None
        None is the environment variable SAGEMAKER_DATA_PATH, else ``/opt/ml``.

    Returns
    -------
    starlette.applications.Starlette

    Raises
    ------
    ValueError
        If there is no model.
    """
    if multi_model():
        from . import multimodel

        return multimodel.application()
    return application(artifact.unpack(model_path(root)))


def multi_model() -> bool:
    """Whether SageMaker wants an endpoint of many models."""
    return os.environ.get("SAGEMAKER_MULTI_MODEL", "").lower() == "true"


def model_path(root: str | os.PathLike[str] | None = None) -> Path:
    """The path of the model: below `root`, or the path given to ``serve --model``."""
    if root is None and os.environ.get(MODEL_PATH):
        return Path(os.environ[MODEL_PATH])
    return root_folder(root) / "model"


def application(forest: RandomCutForest) -> Starlette:
    """The endpoint of one fitted forest, as an ASGI application."""

    async def invocations(request: Request) -> Response:
        return await respond(request, forest)

    async def runtime(request: Request) -> Response:
        """The path that boto3's sagemaker-runtime calls. SageMaker wraps an error of the container in a ModelError."""
        response = await respond(request, forest)
        if response.status_code == HTTPStatus.OK:
            response.headers["x-Amzn-Invoked-Production-Variant"] = "AllTraffic"
            return response
        status, message = response.status_code, bytes(response.body).decode()
        text = f'Received client error ({status}) from primary with message "{message}".'
        fault = {"Message": text, "OriginalStatusCode": status, "OriginalMessage": message}
        return JSONResponse(fault, HTTPStatus.FAILED_DEPENDENCY, {"x-amzn-ErrorType": "ModelError"})

    async def execution_parameters(request: Request) -> Response:
        payload = _payload_in_mb() or 6
        at_once = max(1, min(workers(), 100 // payload))
        return JSONResponse(
            {"MaxConcurrentTransforms": at_once, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": payload}
        )

    routes = [
        Route("/ping", ping),
        Route("/invocations", invocations, methods=["POST"]),
        Route("/execution-parameters", execution_parameters),
        Route("/endpoints/{name}/invocations", runtime, methods=["POST"]),
    ]
    return Starlette(routes=routes, exception_handlers={ClientDisconnect: gone})


async def ping(request: Request) -> Response:
    """The health check: status 200 with an empty body."""
    return Response()


async def gone(request: Request, error: Exception) -> Response:
    """The client disconnected while it sent the body. Without this handler the log would show a traceback."""
    return Response(status_code=HTTPStatus.BAD_REQUEST)


async def respond(request: Request, forest: RandomCutForest) -> Response:
    """The scores of the rows in a request, or the error."""
    headers = request.headers
    try:
        body = await _body(request)
        arguments = forest, body, headers.get("content-type"), headers.get("accept")
        if len(body) <= _AT_ONCE:
            content, kind = answer(*arguments)
        else:
            content, kind = await run_in_threadpool(answer, *arguments)
    except RequestError as error:
        return Response(str(error), error.status, media_type="text/plain")
    return Response(content, media_type=kind)


def _number(name: str, default: int, low: int, high: int, what: str) -> int:
    """An environment variable as a whole number."""
    text = os.environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise ValueError(f"{name} must be {what}, got {text[:80]!r}")
    return int(text)


def _payload_in_mb() -> int:
    """The largest request of batch transform; 0 means no limit, and 6 is the default."""
    return _number("SAGEMAKER_MAX_PAYLOAD_IN_MB", 6, 0, 100, "a whole number from 0 to 100")


def workers() -> int:
    """The number of worker processes: MODEL_SERVER_WORKERS, else one per core; one for a multi-model endpoint."""
    if multi_model():
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return _number("MODEL_SERVER_WORKERS", cores, 1, 1000, "a whole number from 1")


def _default_accept() -> str:
    kind = os.environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT") or formats.JSON
    if kind not in formats.OUTPUTS:
        raise ValueError(
            f"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT must be one of {', '.join(formats.OUTPUTS)}, got {kind!r}"
        )
    return kind


def _limit() -> int | None:
    """The largest body in bytes: the limit of InvokeEndpoint, or that of the batch transform job."""
    megabytes = _payload_in_mb()
    if "SAGEMAKER_MAX_PAYLOAD_IN_MB" not in os.environ:
        return LIMIT
    return megabytes * 2**20 or None


async def _body(request: Request) -> bytes:
    """The body. One that is too long is refused as soon as that is known."""
    limit = _limit()
    parts, size = [], 0
    length = request.headers.get("content-length", "0")
    size_said = int(length) if length.isdigit() else 0
    if limit is None or size_said <= limit:
        async for part in request.stream():
            parts.append(part)
            size += len(part)
            if limit is not None and size > limit:
                break
    if limit is not None and max(size, size_said) > limit:
        raise RequestError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has more than {limit} bytes; send fewer rows at a time"
        )
    return b"".join(parts)


def serve(host: str = "0.0.0.0", port: int | None = None) -> None:
    """Answer requests until SIGTERM. Requests in progress are then completed, within at most 25 s.

    The port is `port`, else SAGEMAKER_BIND_TO_PORT, else 8080. ValueError if there is no model.
    """
    import uvicorn

    if port is None:
        port = _number("SAGEMAKER_BIND_TO_PORT", _PORT, 1, 65535, "a port")
    _payload_in_mb(), _default_accept(), workers()  # raise here rather than in every worker or request
    if not multi_model():
        artifact.unpack(model_path())  # raise here, because uvicorn would restart failing workers for ever
    uvicorn.run(
        "rcf.sagemaker.serving:app",
        factory=True,
        host=host,
        port=port,
        workers=workers(),
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
        access_log=False,
        server_header=False,
    )
