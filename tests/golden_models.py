"""The model files of released versions, which every later version must load: `golden/model_v<version>_<class>.json`.

    python tests/golden_models.py             write the files of this version again (only before its release)
    python tests/golden_models.py --answers   keep the model files and write new answers (only if models are meant to continue
                                              differently after a change of the core)

Each file holds a model file, later records, and the answers of the model to them.
"""

import argparse
import base64
import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import rcf
from rcf import HotSpots, KeyedDetector, RandomCutForest, StreamDetector
from rcf.persist import KINDS, VERSION
from rcf.streams import Checkpoint

FOLDER = Path(__file__).parent / "golden"
SEED = 20


def series(n, d):
    """Waves with noise and a spike now and then, some numbers missing, and times with gaps."""
    rng = np.random.default_rng(SEED)
    X = np.round(10 * np.sin(np.arange(n) / 5)[:, None] + rng.normal(size=(n, d)), 3)
    X[33::37] += 90
    X[rng.random((n, d)) < 0.04] = np.nan
    steps = np.where(rng.random(n) < 0.02, 3, 1)
    steps[rng.random(n) < 0.005] = 50
    return X.tolist(), (np.cumsum(steps) * 60.0).tolist()


def forest():
    rng, center = np.random.default_rng(SEED), np.array([0.0, 1e6, -5.0])
    stream, following = (np.round(rng.normal(size=(n, 3)), 3) + center for n in (900, 40))
    frame = pd.DataFrame(stream, columns=["load", "pressure", "heat"])
    model = RandomCutForest(5, 64, method="codisp", time_decay=0.003, contamination=0.02, random_state=SEED)
    model.partial_fit(frame)
    model.forget(stream[-1])
    assert model.offset_
    return model, following.tolist()


def detector():
    X, times = series(400, 2)
    model = StreamDetector(
        4, n_estimators=5, max_samples=32, fill="forest", weights=[1.0, 2.5], anomaly_rate=0.05,
        ignore_near_expected={"above": [0.5, 0.1]}, random_state=SEED,
    )  # fmt: skip
    for x, time in zip(X[:300], times, strict=False):
        model.update(x, time)
    model.forecast(3, calibrate=True)
    return model, [[x, time] for x, time in zip(X[300:], times[300:], strict=True)]


def keyed():
    X, times = series(400, 1)
    keys = ["a", 7, 2.5, None, ["rack", ["x", 3]]]
    order = np.random.default_rng(SEED).integers(len(keys), size=len(X)).tolist()
    model = KeyedDetector(StreamDetector(3, n_estimators=3, max_samples=16, random_state=SEED), max_keys=4, ttl=3000.0)
    model.override("a", shingle_size=2, anomaly_rate=0.05)
    records = [[keys[which], x, time] for which, x, time in zip(order, X, times, strict=True)]
    for key, x, time in records[:300]:
        model.update(frozen(key), x, time)
    return model, records[300:]


def hot_spots():
    X = np.round(np.random.default_rng(SEED).normal(size=(260, 2)), 2)
    model = HotSpots(100, 0.3, 4)
    model.update_many(X[:200])
    return model, X[200:].tolist()


def checkpoint():
    model, following = detector()
    details = {"judge": {}, "codec": {"names": ["time", "a", "b"]}, "columns": ["a", "b"], "sink": 20_000}
    return Checkpoint("input.csv", [17, 4000, 301], model, False, 300, 2, 1, details), following


def frozen(key):
    """A key, with lists of JSON converted back to tuples."""
    return tuple(map(frozen, key)) if isinstance(key, list) else key


def said(found):
    """All attributes of a detection."""
    told = [
        found.score,
        found.evidence,
        [list(event) for event in found.events],
        found.threshold,
        found.grade,
        found.likelihood,
        found.is_anomaly,
        found.confidence,
    ]
    if found.is_anomaly:
        told += [list(found.cause), found.past.tolist(), found.expected.tolist(), found.attribution.tolist()]
    return [*told, str(found.reason)]


def answers(model, following):
    """The answers of the model for the records that follow, as JSON, bit for bit. The model learns the records."""
    if isinstance(model, Checkpoint):
        told = {name: value for name, value in vars(model).items() if name != "model"}
        told |= answers(model.model, following)
    elif isinstance(model, RandomCutForest):
        frame = pd.DataFrame(following, columns=model.feature_names_in_)
        scores = {kind: model.anomaly_score(frame, kind) for kind in ("depth", "codisp", "displacement", "opensearch")}
        told = {"offset": model.offset_, "n_seen": model.n_seen_, "names": list(model.feature_names_in_)}
        told |= {"scores": scores, "learned": model.update_many(frame)}
    elif isinstance(model, StreamDetector):
        told = {"said": [said(model.update(x, time)) for x, time in following], "forecast": model.forecast(3).upper}
    elif isinstance(model, KeyedDetector):
        told = {"said": [said(model.update(frozen(key), x, time)) for key, x, time in following], "keys": model.keys()}
    else:
        told = {"changes": [[dataclasses.astuple(change) for change in model.follow([x])] for x in following]}
        told |= {"regions": [dataclasses.astuple(spot) for spot in model.hot_spots_], "labels": model.labels_}
    if not isinstance(model, (KeyedDetector, Checkpoint)):
        told["params"] = str(model.get_params())
    return json.loads(json.dumps(told, default=np.ndarray.tolist))


MAKERS = {
    "RandomCutForest": forest,
    "StreamDetector": detector,
    "KeyedDetector": keyed,
    "HotSpots": hot_spots,
    "Checkpoint": checkpoint,
}


def loaded(golden):
    """The model of a golden file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.rcf"
        path.write_bytes(base64.b64decode("".join(golden["file"])))
        return rcf.load(path)


def written(value, indent="\n"):
    """JSON with a line for each entry of a dict and each item of its lists."""
    deeper = indent + " "
    if isinstance(value, dict):
        lines = [f"{json.dumps(key)}: {written(item, deeper)}" for key, item in value.items()]
    elif isinstance(value, list) and value:
        lines = [json.dumps(item) for item in value]
    else:
        return json.dumps(value)
    ends = "{}" if isinstance(value, dict) else "[]"
    return ends[0] + deeper + f",{deeper}".join(lines) + indent + ends[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", action="store_true")
    if parser.parse_args().answers:
        found = {path: json.loads(path.read_text()) for path in FOLDER.glob("model_v*.json")}
        for golden in found.values():
            golden["answers"] = answers(loaded(golden), golden["following"])
    else:
        assert set(MAKERS) == set(KINDS)
        found = {}
        for kind, make in MAKERS.items():
            model, following = make()
            file = model.to_bytes()
            lines = [base64.b64encode(file[at : at + 96]).decode() for at in range(0, len(file), 96)]
            told = answers(model, following)
            found[FOLDER / f"model_v{VERSION}_{kind}.json"] = {"file": lines, "following": following, "answers": told}
    for path, golden in found.items():
        path.write_text(written(golden) + "\n")


if __name__ == "__main__":
    main()
