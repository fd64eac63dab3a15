"""The interface of a multi-model endpoint. SageMaker loads and unloads models, and each scoring request names a model."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..estimator import RandomCutForest
from . import artifact
from .invocations import gone, ping, respond


def application() -> Starlette:
    """An endpoint without models, as an ASGI application; requests to ``/models`` load and unload them.

    A single process holds all models, because a model is loaded once and all later requests must find it.
    """
    models: dict[str, tuple[str, RandomCutForest]] = {}

    def described(name: str) -> dict[str, str]:
        return {"modelName": name, "modelUrl": models[name][0]}

    def unknown(name: str) -> Response:
        return _refused(HTTPStatus.NOT_FOUND, f"no model {name!r} is loaded")

    async def load(request: Request) -> Response:
        try:
            given = await request.json()
            name, url = given["model_name"], given["url"]
            if not (isinstance(name, str) and isinstance(url, str)):
                raise TypeError
        except (ValueError, KeyError, TypeError):
            return _refused(HTTPStatus.BAD_REQUEST, 'the body must be {"model_name": "...", "url": "..."}')
        if name in models:
            return _refused(HTTPStatus.CONFLICT, f"the model {name!r} is loaded already")
        try:
            forest = await run_in_threadpool(artifact.unpack, Path(url))
        except ValueError as error:
            return _refused(HTTPStatus.BAD_REQUEST, str(error))
        except MemoryError:  # SageMaker then unloads other models
            return _refused(HTTPStatus.INSUFFICIENT_STORAGE, f"no memory for the model {name!r}")
        if models.setdefault(name, (url, forest))[1] is not forest:  # another request loaded it meanwhile
            return _refused(HTTPStatus.CONFLICT, f"the model {name!r} is loaded already")
        return JSONResponse(described(name))

    async def listed(request: Request) -> Response:
        return JSONResponse({"models": [described(name) for name in models]})

    async def model(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in models:
            return unknown(name)
        found = described(name)
        if request.method == "DELETE":
            del models[name]
        return JSONResponse(found)

    async def invoke(request: Request) -> Response:
        name = request.path_params["name"]
        return await respond(request, models[name][1]) if name in models else unknown(name)

    routes = [
        Route("/ping", ping),
        Route("/models", load, methods=["POST"]),
        Route("/models", listed),
        Route("/models/{name}", model, methods=["GET", "DELETE"]),
        Route("/models/{name}/invoke", invoke, methods=["POST"]),
    ]
    return Starlette(routes=routes, exception_handlers={ClientDisconnect: gone})


def _refused(status: HTTPStatus, text: str) -> Response:
    return Response(text, status, media_type="text/plain")
