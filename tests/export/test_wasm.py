"""The C runtime compiled to WebAssembly gives the bits of the core, in node and in a browser."""

import functools
import html
import http.server
import json
import re
import runpy
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from rcf import RandomCutForest
from rcf.export import RUNTIME, freeze

NODE = """
import { FrozenForest } from "./rcf_frozen.mjs"
import fs from "node:fs"
import { answer } from "./answer.mjs"
const [wasm, model] = ["rcf_frozen.wasm", "model.frz"].map(name => fs.readFileSync(name))
console.log(await answer(wasm, model, JSON.parse(fs.readFileSync("queries.json"))))
"""
ANSWER = """
import { FrozenForest } from "./rcf_frozen.mjs"
const bits = numbers => Array.from(new BigUint64Array(Float64Array.from(numbers).buffer), word => word.toString(16))
export async function answer(wasm, model, queries) {
  const module = await WebAssembly.compile(wasm)
  const forest = new FrozenForest(module, model)
  const bare = new FrozenForest(module, model, { boxes: false })
  let refused = ""
  try { new FrozenForest(module, model.slice(0, model.byteLength - 8)) } catch (error) { refused = error.message }
  let narrow = ""
  try { forest.score([1]) } catch (error) { narrow = error.message }
  return JSON.stringify({
    scores: bits(queries.map(x => forest.score(x))),
    bare: bits(queries.map(x => bare.score(x))),
    parts: queries.map(x => bits(forest.attribution(x))),
    features: forest.features, threshold: forest.threshold, refused, narrow,
    nan: Number.isNaN(forest.score([NaN, 0, 0])),
  })
}
"""
PAGE = """<!doctype html><meta charset="utf-8"><pre id="out"></pre><script type="module">
import { answer } from "./answer.mjs"
const read = async name => await (await fetch(name)).arrayBuffer()
const queries = await (await fetch("queries.json")).json()
try { out.textContent = await answer(await read("rcf_frozen.wasm"), await read("model.frz"), queries) }
catch (error) { out.textContent = "failed: " + error }
</script>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a model, queries, and the runtime, compiled by the command in its JavaScript file."""
    if shutil.which("clang") is None or shutil.which("wasm-ld") is None:
        pytest.skip("no clang with wasm-ld")
    folder = tmp_path_factory.mktemp("wasm")
    for path in RUNTIME:
        shutil.copy(path, folder)
    command = re.search(r"clang [^\\]*\\\n[^\\]*\\\n[^\n]*", RUNTIME[2].read_text(encoding="utf-8"))[0]
    command = command.replace("\n *", "\n").replace("clang ", "clang -Wall -Wextra -Werror ", 1)
    subprocess.run(["bash", "-c", command], cwd=folder, check=True)
    for name, text in (("node.mjs", NODE), ("answer.mjs", ANSWER), ("page.html", PAGE)):
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(params=["depth", "codisp"])
def forest_and_queries(request, folder):
    X = np.round(np.random.default_rng(0).normal(size=(3000, 3)), 1)
    forest = RandomCutForest(20, method=request.param, random_state=0).fit(X)
    queries = np.concatenate([X[:40], np.random.default_rng(1).normal(size=(40, 3)) * 3])
    (folder / "model.frz").write_bytes(freeze(forest))
    (folder / "queries.json").write_text(json.dumps(queries.tolist()))
    return forest, queries


def check(text, forest, queries):
    found = json.loads(text)

    def numbers(words):
        return np.array([int(word, 16) for word in words], dtype=np.uint64).view(np.float64)

    np.testing.assert_array_equal(numbers(found["scores"]), forest.anomaly_score(queries))
    assert found["bare"] == found["scores"], "the same without boxes in memory"
    parts = np.array([numbers(words) for words in found["parts"]]).reshape(len(queries), 3, 2)
    np.testing.assert_array_equal(parts, forest.attribution(queries))
    assert (found["features"], found["threshold"], found["nan"]) == (3, -forest.offset_, True)
    assert "cut off" in found["refused"]
    assert found["narrow"] == "the record has 1 features, not 3"


def test_node(folder, forest_and_queries):
    if shutil.which("node") is None:
        pytest.skip("no node")
    found = subprocess.run(["node", "node.mjs"], cwd=folder, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    check(found.stdout, *forest_and_queries)


class Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = {".mjs": "text/javascript", ".html": "text/html", "": "application/octet-stream"}  # noqa: RUF012

    def log_message(self, *_):
        pass


def chromium():
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium")
    return browser


def dumped(browser, page, folder):
    """The process that prints the page after its scripts have run."""
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={folder}"]
    command = [browser, *flags, "--virtual-time-budget=20000", "--dump-dom", page]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_browser(folder, forest_and_queries, tmp_path):
    browser = chromium()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = f"http://127.0.0.1:{server.server_port}/page.html"
        found = dumped(browser, page, tmp_path)
        server.shutdown()
    text = re.search(r'<pre id="out">(.*?)</pre>', found.stdout, re.DOTALL)
    assert text, found.stdout + found.stderr
    check(html.unescape(text[1]), *forest_and_queries)


def test_the_page_of_the_gallery(folder, tmp_path, monkeypatch):
    """The page of docs/examples/plot_frozen_page.py shows the score and the attribution of the core."""
    browser = chromium()
    pyplot = pytest.importorskip("matplotlib.pyplot")
    example = Path(__file__).parents[2] / "docs" / "examples" / "plot_frozen_page.py"
    monkeypatch.setenv("MPLBACKEND", "agg")
    made = runpy.run_path(str(example))
    pyplot.close("all")
    page = tmp_path / "page.html"
    page.write_text(made["page"].text, encoding="utf-8")
    found = dumped(browser, page.as_uri(), tmp_path / "profile")
    place = [[-4.0, -4.0]]
    score, parts = made["forest"].anomaly_score(place)[0], made["forest"].attribution(place)[0].sum(axis=1)
    expected = f"scores {score:.3f}: an outlier. x adds {parts[0]:.2f}, y adds {parts[1]:.2f}."
    assert expected in html.unescape(found.stdout), found.stdout[-500:] + found.stderr
