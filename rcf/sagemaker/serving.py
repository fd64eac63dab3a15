"""``rcf-sagemaker serve``: the endpoint, which has the paths that SageMaker, batch transform and boto3 request."""

from __future__ import annotations

import os
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..estimator import RandomCutForest
from . import artifact, multimodel
from .environment import default_accept, model_path, multi_model, number, payload_in_mb, workers
from .invocations import gone, ping, respond

_PORT, _GRACE = 8080, 25  # SageMaker kills the container 30 s after SIGTERM
_KEEP_ALIVE = 75  # longer than the 60 s after which proxies close idle connections


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
        return multimodel.application()
    return application(artifact.unpack(model_path(root)))


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
        payload = payload_in_mb() or 6
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


def serve(host: str = "0.0.0.0", port: int | None = None) -> None:
    """Answer requests until SIGTERM. The requests in progress are then completed, within at most 25 s.

    The port is `port`, else SAGEMAKER_BIND_TO_PORT, else 8080. ValueError if there is no model.
    """
    import uvicorn

    if port is None:
        port = number("SAGEMAKER_BIND_TO_PORT", _PORT, 1, 65535, "a port")
    payload_in_mb(), default_accept(), workers()  # raise here rather than in every worker or request
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
