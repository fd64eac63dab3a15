"""Two endpoints over HTTP, as SageMaker's notebooks chain them: the first projects an image, the second judges the projection.

A client calls one after the other. Endpoint 1 returns principal components, as SageMaker's PCA does. Endpoint 2 is K-Means, or a
forest served by `rcf.sagemaker`. For the forest, endpoint 1 also returns the distance of the image from the plane of the
components. A second forest shows the trap: it gets only the first five components, and finds shuffled images ordinary.

The script needs the extra ``sagemaker``.
"""

import json
import socket
import threading
import time
import urllib.request
from contextlib import ExitStack, contextmanager

import numpy as np
import uvicorn
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import rcf.sagemaker
from rcf import RandomCutForest


def application(answer):
    """An endpoint like those of SageMaker. `answer` converts an array of rows to the JSON value of the response."""

    async def invocations(request):
        instances = (await request.json())["instances"]
        return JSONResponse(answer(np.array([instance["features"] for instance in instances], dtype=float)))

    async def ping(request):
        return Response()

    return Starlette(routes=[Route("/ping", ping), Route("/invocations", invocations, methods=["POST"])])


@contextmanager
def served(app):
    """Serve an application in a thread until the block ends, and yield its address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            yield "http://{}:{}/invocations".format(*listening.getsockname())
        finally:
            server.should_exit = True
            thread.join()


def invoke(url, rows):
    body = json.dumps({"instances": [{"features": row} for row in rows.tolist()]}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", "Accept": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


# ---- training ------------------------------------------------------------------------------------------------------

X, digits = load_digits(return_X_y=True)
known, new = X[:1500], X[1500:]
strange = np.random.default_rng(0).permuted(new, axis=1)
pca = PCA(20, random_state=0).fit(known)


def project(images):
    """Twenty components and twice the distance from their plane."""
    plane = pca.transform(images)
    return np.c_[plane, 2 * np.linalg.norm(images - pca.inverse_transform(plane), axis=1)]


clusters = KMeans(10, n_init=10, random_state=0).fit(pca.transform(known))
forest = RandomCutForest(random_state=0).fit(project(known))
trapped = RandomCutForest(random_state=0).fit(project(known)[:, :5])


# ---- serving -------------------------------------------------------------------------------------------------------


def projections(images):
    return {"projections": [{"projection": row} for row in project(images).tolist()]}


def predictions(rows):
    distances = clusters.transform(rows)
    nearest = distances.argmin(axis=1)
    pairs = zip(nearest.tolist(), distances.min(axis=1).tolist(), strict=True)
    return {"predictions": [{"closest_cluster": float(k), "distance_to_cluster": d} for k, d in pairs]}


with ExitStack() as stack:
    first = stack.enter_context(served(application(projections)))
    cluster = stack.enter_context(served(application(predictions)))
    score = stack.enter_context(served(rcf.sagemaker.application(forest)))
    trap = stack.enter_context(served(rcf.sagemaker.application(trapped)))

    # ---- the client: endpoint 1, then endpoint 2 ------------------------------------------------------------------
    images = np.r_[new, strange]
    rows = np.array([d["projection"] for d in invoke(first, images)["projections"]])
    found = invoke(cluster, rows[:, :20])["predictions"]
    scores = np.array([d["score"] for d in invoke(score, rows)["scores"]])
    components_alone = np.array([d["score"] for d in invoke(trap, rows[:, :5])["scores"]])

assert [d["closest_cluster"] for d in found] == clusters.predict(pca.transform(images)).tolist()
assert np.abs(scores - forest.anomaly_score(project(images))).max() < 1e-9
print("clusters of the first images:", [int(d["closest_cluster"]) for d in found[:10]], "digits", digits[1500:1510])
is_strange = np.r_[np.zeros(len(new)), np.ones(len(strange))]
quality, of_the_trap = roc_auc_score(is_strange, scores), roc_auc_score(is_strange, components_alone)
print(f"shuffled images among {len(new)} digits: ROC-AUC {quality:.3f}; by five components alone {of_the_trap:.3f}")
assert quality > 0.98
assert of_the_trap < 0.25
