"""Requests of version 2 of the SageMaker SDK to an endpoint; test_sdk.py runs this file with the SDK's Python.

Arguments: the endpoint's address, and a folder with X.npy, for the answers.
"""

import io
import json
import sys
from pathlib import Path

import boto3
import numpy as np
from sagemaker import Session
from sagemaker.amazon.common import read_records, write_numpy_to_dense_tensor, write_spmatrix_to_sparse_tensor
from sagemaker.amazon.randomcutforest import RandomCutForestPredictor
from sagemaker.deserializers import JSONDeserializer, JSONLinesDeserializer
from sagemaker.local.local_session import LocalSagemakerRuntimeClient
from sagemaker.serializers import CSVSerializer, IdentitySerializer
from scipy import sparse

url, folder = sys.argv[1], Path(sys.argv[2])
X = np.load(folder / "X.npy")
boto = boto3.Session(aws_access_key_id="none", aws_secret_access_key="none", region_name="us-east-1")
runtime = boto.client("sagemaker-runtime", endpoint_url=url)
session = Session(boto, sagemaker_runtime_client=runtime)
found = {}


def scores_of(records):
    return [record.label["score"].float32_tensor.values[0] for record in records]


predictor = RandomCutForestPredictor("rcf", session)
for dtype in ("float32", "float64", "int"):
    found[f"RecordIO {dtype}"] = scores_of(predictor.predict((X * 4).astype(dtype)))

# the notebook's way
predictor.serializer, predictor.deserializer = CSVSerializer(), JSONDeserializer()
found["CSV"] = [d["score"] for d in predictor.predict(X)["scores"]]
predictor.deserializer = JSONLinesDeserializer()
found["CSV, JSON Lines"] = [d["score"] for d in predictor.predict(X)]

# the client of local mode, which posts to /invocations itself
local = LocalSagemakerRuntimeClient({"local": {"serving_port": int(url.rpartition(":")[2])}})
answer = local.invoke_endpoint(CSVSerializer().serialize(X), "rcf", "text/csv", "application/json")
found["local mode"] = [d["score"] for d in json.load(answer["Body"])["scores"]]

rows = sparse.csr_matrix(np.where(abs(X) > 1, X, 0))
body = io.BytesIO()
write_spmatrix_to_sparse_tensor(body, rows)
predictor = RandomCutForestPredictor("rcf", session)
predictor.serializer = IdentitySerializer("application/x-recordio-protobuf")
found["sparse"] = scores_of(predictor.predict(body.getvalue()))

(folder / "found.json").write_text(json.dumps(found))

# the bytes of the SDK for 2000 rows are compared with ours, and the SDK reads ours
table = np.load(folder / "table.npy")
labels = np.arange(len(table)) % 2
for dtype in ("float32", "float64", "int"):
    with (folder / f"dense-{dtype}.pbr").open("wb") as file:
        write_numpy_to_dense_tensor(file, table.astype(dtype), labels.astype(dtype))
    with (folder / f"sparse-{dtype}.pbr").open("wb") as file:
        write_spmatrix_to_sparse_tensor(file, sparse.csr_matrix(table.astype(dtype)), labels.astype(dtype))
with (folder / "ours.pbr").open("rb") as file:
    values = [list(record.features["values"].float64_tensor.values) for record in read_records(file)]
assert np.array_equal(values, table)
print("sagemaker", __import__("sagemaker").__version__)
