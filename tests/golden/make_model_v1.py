"""Writes model_v1.json, the file that every later version loads. Run once, when version 1 was fixed; kept to say what is in it."""

import base64
import json
from pathlib import Path

import numpy as np
import pandas as pd

from rcf import RandomCutForest

SEED = 20
rng = np.random.default_rng(SEED)
stream = pd.DataFrame(
    np.round(rng.normal(size=(900, 3)), 3) + np.array([0.0, 1e6, -5.0]), columns=["load", "pressure", "heat"]
)
following = np.round(rng.normal(size=(40, 3)), 3) + np.array([0.0, 1e6, -5.0])
forest = RandomCutForest(5, 64, score="codisp", time_decay=0.003, contamination=0.02, random_state=SEED).partial_fit(
    stream
)
forest.forget(stream.to_numpy()[-1])
offset = forest.offset_
file = forest.to_bytes()
golden = {
    "seed": SEED,
    "made_by": "make_model_v1.py",
    "file": [base64.b64encode(file[at : at + 96]).decode() for at in range(0, len(file), 96)],
    "params": forest.get_params(),
    "feature_names": list(forest.feature_names_in_),
    "n_seen": forest.n_seen_,
    "offset": float(offset).hex(),
    "following": following.tolist(),
    "scores": {
        kind: [
            float(score).hex() for score in forest.anomaly_score(pd.DataFrame(following, columns=stream.columns), kind)
        ]
        for kind in ("depth", "codisp", "displacement", "opensearch")
    },
}
Path(__file__).with_name("model_v1.json").write_text(json.dumps(golden, indent=1) + "\n")
