"""
A frozen forest in a web page
=============================

``rcf.export.freeze`` converts a fitted forest to a flat file. A small C program uses the file to score records. If this program
is compiled to WebAssembly, it runs in a browser. A web page can then score records without a server, and the scores equal those
of Python, bit for bit.
"""

import base64
import html
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import rcf
from rcf import RandomCutForest
from rcf.export import to_c

rng = np.random.default_rng(0)
clouds = np.r_[rng.normal((-1.5, 1.0), 0.6, size=(400, 2)), rng.normal((1.5, -1.0), 0.9, size=(600, 2))]
forest = RandomCutForest(50, 64, random_state=0).fit(clouds)

# %%
# ``to_c`` writes the model and the sources of its runtime into one folder. :func:`rcf.load_frozen` reads the model in
# Python.

folder = tempfile.TemporaryDirectory()
place = Path(folder.name)
for file in to_c(forest, place):
    print(f"{file.name:15} {file.stat().st_size:7} bytes")
frozen = rcf.load_frozen(place / "model.frz")
assert (frozen.anomaly_score(clouds) == forest.anomaly_score(clouds)).all()

# %%
# The picture shows the scores in the plane. Points outside the line are outliers. The web page below draws the same picture.

SIDE = 96
at = (np.arange(SIDE) + 0.5) / SIDE * 10 - 5
plane = np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)
scores = frozen.anomaly_score(plane).reshape(SIDE, SIDE)
figure, ax = plt.subplots(figsize=(6, 4.6), layout="constrained")
shown = ax.imshow(scores, origin="lower", extent=(-5, 5, -5, 5), cmap="Oranges")
ax.contour(at, at, scores, [frozen.threshold], colors="black")
ax.plot(*clouds[::5].T, ".", color="0.3", markersize=2)
figure.colorbar(shown, ax=ax, label="score; the line is the threshold")
ax.set(xlabel="x", ylabel="y")

# %%
# Compile the runtime once; it then works for all models. This needs clang with wasm-ld, from Debian's packages ``clang`` and
# ``lld``.

source = (place / "rcf_frozen.mjs").read_text(encoding="utf-8")
command = re.search(r"clang .*?rcf_frozen\.c", source, re.DOTALL)[0].replace("\\\n *", "")  # the file names its command
print(" ".join(command.split()))
wasm = b""
if shutil.which("clang") and shutil.which("wasm-ld"):
    subprocess.run(command.split(), cwd=place, check=True)
    wasm = (place / "rcf_frozen.wasm").read_bytes()
    print(f"rcf_frozen.wasm {len(wasm)} bytes")
else:
    print("clang or wasm-ld is missing, so the page below is not live")

# %%
# This is the web page. A real site would serve ``rcf_frozen.wasm`` and ``model.frz`` as files, fetch them, and import the class
# ``FrozenForest`` from ``rcf_frozen.mjs``. Here all three are part of the page, so that it works without a server. The text of
# ``rcf_frozen.mjs`` replaces ``RUNTIME``, and the other two files are written as base64.

PAGE = """<!doctype html>
<meta charset="utf-8">
<canvas id="plane" width="384" height="384" style="max-width: 100%"></canvas>
<p id="out" style="font: 15px sans-serif; min-height: 3em">Point at a place.</p>
<script type="module">
RUNTIME

const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0))
const forest = new FrozenForest(await WebAssembly.compile(bytes("WASM")), bytes("MODEL"))

const side = 96, place = i => (i + 0.5) / side * 10 - 5
const scores = Array.from({length: side * side}, (_, k) => forest.score([place(k % side), place(side - 1 - Math.floor(k / side))]))
const lowest = Math.min(...scores), highest = Math.max(...scores)

const canvas = document.getElementById("plane"), brush = canvas.getContext("2d"), size = canvas.width / side
scores.forEach((score, k) => {
  brush.fillStyle = score > forest.threshold ? "#d55e00" : "#56b4e9"
  brush.globalAlpha = 0.15 + 0.85 * (score - lowest) / (highest - lowest)
  brush.fillRect(k % side * size, Math.floor(k / side) * size, size, size)
})

function tell(x, y) {
  const score = forest.score([x, y]), [right, left, up, down] = forest.attribution([x, y])
  document.getElementById("out").textContent =
    `(${x.toFixed(1)}, ${y.toFixed(1)}) scores ${score.toFixed(3)}: an ${score > forest.threshold ? "outlier" : "inlier"}. ` +
    `x adds ${(right + left).toFixed(2)}, y adds ${(up + down).toFixed(2)}.`
}
canvas.onpointermove = event => {
  const box = canvas.getBoundingClientRect()
  tell((event.clientX - box.left) / box.width * 10 - 5, 5 - (event.clientY - box.top) / box.height * 10)
}
tell(-4, -4)
</script>
"""


class Page:
    """The web page, which notebooks and this site show in a frame."""

    def __init__(self):
        runtime = source.replace("export class", "class")
        model = (place / "model.frz").read_bytes()
        self.text = PAGE.replace("RUNTIME", runtime)
        for name, data in (("WASM", wasm), ("MODEL", model)):
            self.text = self.text.replace(f'"{name}"', f'"{base64.b64encode(data).decode()}"')

    def _repr_html_(self):
        if not wasm:
            return "<p>The page needs rcf_frozen.wasm, which was not compiled here.</p>"
        return f'<iframe srcdoc="{html.escape(self.text)}" style="width: 100%; height: 480px; border: 0"></iframe>'


page = Page()
folder.cleanup()
page  # noqa: B018
