"""``rcf-sagemaker train``: a training job, from the files in /opt/ml/input to a model in /opt/ml/model."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..estimator import RandomCutForest
from ..persist import _write
from . import artifact
from .channels import Channel, read_json
from .hyperparameters import Hyperparameters
from .sample import Sample

FAILURE = 1024  # SageMaker shows this many characters of output/failure


def root_folder(root: str | os.PathLike[str] | None = None) -> Path:
    """The folder that stands for /opt/ml: `root`, else SAGEMAKER_DATA_PATH, else /opt/ml."""
    return Path(root or os.environ.get("SAGEMAKER_DATA_PATH") or "/opt/ml")


def train(root: str | os.PathLike[str] | None = None) -> int:
    """Run a training job as SageMaker's container does.

    It reads ``input/config`` and ``input/data`` below `root`, writes the model to ``model``, and prints the log lines that
    SageMaker parses. If the job fails, it writes the reason to ``output/failure``.

    Parameters
    ----------
    root : path-like, default=None
        None is the environment variable SAGEMAKER_DATA_PATH, else ``/opt/ml``.

    Returns
    -------
    int
        The exit code: 0, or 1 after a failure.
    """
    folder = root_folder(root)
    failure = folder / "output" / "failure"
    try:
        failure.unlink(missing_ok=True)  # of an earlier run
        _train(folder)
    except Exception as error:
        if not isinstance(error, ValueError):
            traceback.print_exc()
        text = str(error) or type(error).__name__
        print(f"[ERROR] training failed: {text}", file=sys.stderr, flush=True)
        failure.parent.mkdir(parents=True, exist_ok=True)
        failure.write_text(text[:FAILURE], encoding="utf-8")
        return 1
    return 0


def _train(folder: Path) -> None:
    config = folder / "input" / "config"
    parameters = Hyperparameters.parse(read_json(config / "hyperparameters.json"))
    resources = read_json(config / "resourceconfig.json", default={"current_host": "algo-1", "hosts": ["algo-1"]})
    host, hosts = _place(resources)
    data = folder / "input" / "data"
    channels = {}
    for name, given in read_json(config / "inputdataconfig.json").items():
        if name not in ("train", "test"):
            raise ValueError(f"no channel {name!r}; there are 'train' and 'test'")
        channels[name] = Channel.parse(name, given, data)
    if "train" not in channels:
        raise ValueError("the channel 'train' is required")

    log = _Log(str(resources.get("current_host", "algo-1")))
    sample = Sample(parameters, host)
    for rows in channels["train"].rows(parameters.feature_dim):
        sample.add(rows.X)
    log.sampled(sample)
    forest = sample.forest() if len(hosts) == 1 or (host == 0 and "test" in channels) else None
    if forest is not None:
        log.grown(forest)
    if "test" not in channels:
        print("Test data is not provided.")
    elif forest is not None:
        if len(hosts) > 1:
            print(f"The metrics are those of this host's part of the data, one of {len(hosts)}.")
        log.tested(_metrics(forest, channels["test"], parameters))
    (folder / "model").mkdir(parents=True, exist_ok=True)
    if len(hosts) == 1:
        assert forest is not None
        forest.save(folder / "model" / artifact.MODEL)
    else:
        _write(folder / "model" / artifact.part_name(host, len(hosts)), [sample.to_bytes()])


def _place(resources: dict[str, Any]) -> tuple[int, list[str]]:
    """The index of this host in the list of all hosts, and that list. It has the same order on every host."""
    hosts = sorted(resources.get("hosts") or ["algo-1"], key=lambda name: (len(name), name))
    current = resources.get("current_host", hosts[0])
    if current not in hosts:
        raise ValueError(f"resourceconfig.json: current_host {current!r} is not among the hosts {hosts}")
    return hosts.index(current), hosts


def _metrics(forest: RandomCutForest, test: Channel, parameters: Hyperparameters) -> dict[str, float]:
    """Compare the labels of the channel with the three-sigma rule: scores above mean + 3 standard deviations are anomalies."""
    scores, labels = [], []
    n = 0
    for rows in test.rows(parameters.feature_dim):
        known = np.full(len(rows.X), np.nan) if rows.labels is None else rows.labels
        bad = np.flatnonzero((known != 0) & (known != 1))
        if len(bad):
            found = "no label" if np.isnan(known[bad[0]]) else f"the label {known[bad[0]]:g}"
            raise ValueError(
                f"channel 'test': row {n + bad[0] + 1} has {found}, expected 1 for an anomaly and 0 for others"
            )
        scores.append(forest.anomaly_score(rows.X))
        labels.append(known == 1)
        n += len(known)
    if not n:
        raise ValueError("channel 'test': there are no rows")
    return three_sigma(np.concatenate(scores), np.concatenate(labels), parameters.eval_metrics)


def three_sigma(scores: NDArray[np.float64], labels: NDArray[np.bool_], names: tuple[str, ...]) -> dict[str, float]:
    """The requested metrics; 0/0 counts as 0."""
    called = scores > scores.mean() + 3 * scores.std()
    hits = int((called & labels).sum())
    precision, recall = hits / max(1, int(called.sum())), hits / max(1, int(labels.sum()))
    found = {}
    if "accuracy" in names:
        found["accuracy"] = float((called == labels).mean())
    if "precision_recall_fscore" in names:
        f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
        found |= {"precision": precision, "recall": recall, "f1": f1}
    return found


class _Log:
    """The log lines of AWS's container, which SageMaker and metric definitions parse."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.begin = time.time()

    def sampled(self, sample: Sample) -> None:
        rate = sample.n_seen / max(time.time() - self.begin, 1e-9)
        print(f"#progress_metric: host={self.host}, completed 100 % epochs")
        self._metrics({"Total Records Seen": sample.n_seen})
        print(f"#throughput_metric: host={self.host}, train throughput={rate:.6f} records/second")
        print(f"{len(sample.rows)} samples gathered", flush=True)

    def grown(self, forest: RandomCutForest) -> None:
        nodes, depths = [], []
        for tree in forest.trees_:
            found = [depth for _, depth in tree.walk()]
            nodes.append(len(found))
            depths.append(max(found) + 1)  # the service counts the root as 1
        facts = {
            "num_trees": len(nodes),
            "num_samples_in_forest": len(nodes) * forest.max_samples_,
            "num_samples_per_tree": forest.max_samples_,
            "sample_dim": forest.n_features_in_,
            "shingle_size": 1,
            "trees_num_nodes": "[" + "".join(f"{count}, " for count in nodes) + "]",
            "trees_depth": "[" + "".join(f"{depth}, " for depth in depths) + "]",
            "max_num_nodes": max(nodes),
            "min_num_nodes": min(nodes),
            "avg_num_nodes": sum(nodes) // len(nodes),
            "max_tree_depth": max(depths),
            "min_tree_depth": min(depths),
            "avg_tree_depth": sum(depths) // len(depths),
        }
        print("Random Cut Forest built:\n")
        print("ForestInfo{" + ", ".join(f"{name}: {value}" for name, value in facts.items()) + "}", flush=True)

    def tested(self, found: dict[str, float]) -> None:
        for name, value in found.items():
            print(f"test:{name}={value:.6f}")
        self._metrics({f"test:{name}": value for name, value in found.items()})

    def _metrics(self, values: dict[str, float]) -> None:
        record = {
            "Metrics": {name: {"sum": v, "count": 1, "min": v, "max": v} for name, v in values.items()},
            "EndTime": time.time(),
            "Dimensions": {"Host": self.host, "Operation": "training", "Algorithm": "RandomCutForest"},
            "StartTime": self.begin,
        }
        print(f"#metrics {json.dumps(record)}", flush=True)
