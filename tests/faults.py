"""Put faults into the code, one at a time, and see whether the tests find them.

    python tests/faults.py              # all of them, on a copy of the checkout; about twenty minutes
    python tests/faults.py decay heap   # only the faults whose description has one of the words
    python tests/faults.py --check      # only check that the lines to be changed exist; takes a second

Each fault is a change of text in one file. The extension is rebuilt if necessary, and the named tests run until the first failure.
A fault that no test finds is an error. So is a fault whose text does not exist or exists twice, because the list must follow the
code. The copy is in the folder for temporary files and is removed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 400  # seconds for each test file of a fault; a fault that makes a test run for ever counts as found


class Fault(NamedTuple):
    what: str
    file: str
    tests: str  # test files below tests/, without "test_" and ".py": core/forest_machine
    old: str
    new: str


FAULTS = [
    # ---- a tree: where a record goes, cuts, boxes, masses
    Fault("a record that equals a cut goes to the other side", "rcf/_native/tree.h", "core/forest_edges core/forest_machine",
          "x[cut->dim] > cut->value", "x[cut->dim] >= cut->value"),
    Fault("a compact tree keeps the range of a box as it was", "rcf/_native/tree.h", "core/low_memory",
          "    else if (rcf_short(t, v)->box > 0) ((double *)(void *)rcf_box(t, v))[-1] = range;\n",
          "    else if (rcf_short(t, v)->mass == 17) ((double *)(void *)rcf_box(t, v))[-1] = range;\n"),
    Fault("trees too large for numbers of 16 bits are compact", "rcf/_native/tree.h", "core/low_memory",
          "RCF_SHORT = 32766", "RCF_SHORT = 40000"),
    Fault("the last feature of a compact tree is left out", "rcf/_native/simd.h", "core/low_memory",
          "load_part)(const float *p, int n) { return _mm_maskz_loadu_ps((__mmask8)((1 << n) - 1), p); }",
          "load_part)(const float *p, int n) { return _mm_maskz_loadu_ps((__mmask8)((1 << (n - 1)) - 1), p); }"),
    Fault("at the top of a tree a record that equals a cut goes to the other side",
          "rcf/_native/simd.h", "core/forest_edges core/forest_machine",
          "_mm512_loadu_ps(top->value), _CMP_GT_OQ", "_mm512_loadu_ps(top->value), _CMP_GE_OQ"),
    Fault("the top of a tree is not updated by an insertion", "rcf/_native/tree.pxd", "core/forest_machine",
          "    rcf_renew_top(t, node)\n", "    pass\n"),
    Fault("the top of a tree is not updated by a deletion", "rcf/_native/tree.pxd", "core/forest_machine",
          "    rcf_renew_top(t, sibling)\n", "    pass\n"),
    Fault("the top of a tree is renewed one level too few", "rcf/_native/tree.h", "core/forest_machine core/determinism",
          "level <= RCF_TOP_LEVELS; level++) {\n        v = ", "level < RCF_TOP_LEVELS; level++) {\n        v = "),
    Fault("the seeds of all trees are equal", "rcf/_native/rng.pxd", "core/hooks core/determinism",
          "entropy[i] if i < n else child", "entropy[i] if i < n else 0"),
    Fault("logarithms of many numbers are too large", "rcf/_native/numbers.h", "core/determinism",
          "rcf_log_normal(x[i], 0)", "rcf_log_normal(x[i], 1)"),
    Fault("numbers beyond the range of a float are accepted", "rcf/_native/numbers.h", "bad_input core/forest_machine",
          "fabs(x[i]) <= limit ? 0 : -1", "(x[i] >= -limit) & (x[i] <= 1e300) ? 0 : -1"),
    Fault("a cut may lie on the upper side of its box", "rcf/_native/tree.h", "core/hooks core/forest_machine",
          "if (c >= top) c = rcf_float_before(top);", "if (c > top) c = rcf_float_before(top);"),
    Fault("-0.0 is kept apart from 0.0", "rcf/_native/tree.h", "core/forest_machine",
          "row[i] = (float)(x[i] - origin[i]) + 0.0f;", "row[i] = (float)(x[i] - origin[i]);"),
    Fault("the masses above an insertion are not increased", "rcf/_native/paths.h", "core/forest_machine",
          "        rcf_set_mass_in(compact, t, v, rcf_mass_in(compact, t, v) + 1);\n    }\n}",
          "        rcf_set_mass_in(compact, t, v, rcf_mass_in(compact, t, v) + (n >= 0));\n    }\n}"),
    Fault("the masses above a deletion are not decreased", "rcf/_native/paths.h", "core/forest_machine",
          "int32_t mass = rcf_mass_in(compact, t, v) - 1;", "int32_t mass = rcf_mass_in(compact, t, v) - changed;"),
    Fault("a box is not shrunk when a record leaves", "rcf/_native/paths.h", "core/forest_machine",
          "if (!changed) continue;", "continue;"),
    Fault("an insertion keeps the lowest separation", "rcf/_native/tree.pxd", "core/tree_law",
          "            n -= k + 1\n            break\n", "            n -= k + 1\n"),
    Fault("the gaps passed are not subtracted when a record is cut off a box", "rcf/_native/boxes.h", "core/tree_law",
          "u -= gaps[i];", "u -= 0.5 * gaps[i];"),
    Fault("a build cuts the later features too seldom", "rcf/_native/tree.pxd", "core/tree_law",
          "            u -= side\n", "            u -= 0.5 * side\n"),
    Fault("a node that was freed is not used again", "rcf/_native/tree.pxd", "core/forest_machine core/forest_edges core/memory",
          "    t.free_node = v\n", "    pass\n"),
    Fault("an empty leaf's sibling hangs below the wrong parent", "rcf/_native/tree.pxd", "core/forest_machine",
          "    replace_child(t, v, parent, sibling)\n", "    replace_child(t, parent, parent, sibling)\n"),
    Fault("the trees are not rebuilt when the origin is determined", "rcf/_core.pyx", "core/forest_machine",
          "        self._grow(0, self.trees.n_trees, <uintptr_t>self.trees.head, self.trees.n_features)\n", ""),
    # ---- scores
    Fault("log2(m + 1) instead of log2(m) if a record equals a leaf", "rcf/_native/scores.h", "core/forest_machine",
          "return 1.0 / (h + rcf_log2_count(m));", "return 1.0 / (h + rcf_log2_count(m + 1));"),
    Fault("the length of a path does not depend on the records in its leaf",
          "rcf/_native/scores.h", "core/path core/forest_machine",
          "(h + rcf_length(m)) / rcf_length(n)", "h / rcf_length(n)"),
    Fault("learning with the method path does not look for open boxes", "rcf/_native/climb.h", "core/path core/forest_machine",
          "if (n_kept > 0) RCF_ISA(rcf_climb_displacement)", "if (n_kept > n) RCF_ISA(rcf_climb_displacement)"),
    Fault("opensearch is scaled by log2(N)", "rcf/_native/scores.h", "core/forest_machine",
          "return rcf_log2_count(n + 1);", "return rcf_log2_count(n);"),
    Fault("codisp divides by a mass without the record itself",
          "rcf/_native/scores.h", "core/forest_machine core/oracle_rrcf",
          "(double)(rcf_mass(t, v) - mass) / (mass + 1.0)", "(double)(rcf_mass(t, v) - mass) / (double)mass"),
    Fault("a climb begins one level too deep", "rcf/_native/climb.h", "core/forest_machine",
          "c->level[on] = level;", "c->level[on] = level + 1;"),
    Fault("a sweep of many records takes the depth of the parent",
          "rcf/_native/sweep.h", "core/forest_machine core/determinism estimator",
          "span.depth + 1, 0,", "span.depth, 0,"),
    Fault("a sweep ignores what lies above a box", "rcf/_native/boxes.h", "core/determinism",
          "_mm512_max_epi64(below, above)", "_mm512_max_epi64(below, below)"),
    Fault("a partition leaves the rows above a cut in the wrong order", "rcf/_native/partition.h", "core/determinism",
          "RCF_ISA(put_rows)(order + left + k, right - k, _mm512_loadu_si512(spare + k));",
          "RCF_ISA(put_rows)(order + left + k, right - k, _mm512_loadu_si512(spare));"),
    Fault("the portable code adds in another order", "rcf/_native/tree.h", "core/determinism",
          "return ((s[0] + s[4]) + (s[2] + s[6]))", "return ((s[0] + s[2]) + (s[4] + s[6]))"),
    Fault("attribution: high and low are exchanged", "rcf/_native/attribution.pxd", "core/attribution core/forest_machine",
          "gap[2 * i] = high if high > 0.0 else 0.0\n        gap[2 * i + 1] = low if low > 0.0 else 0.0",
          "gap[2 * i] = low if low > 0.0 else 0.0\n        gap[2 * i + 1] = high if high > 0.0 else 0.0"),
    Fault("density: a record's own mass does not count", "rcf/_native/attribution.pxd", "core/forest_machine",
          "share * (climb.mass + climb.own)", "share * climb.mass"),
    Fault("density: the length of a box lacks the gap to the record", "rcf/_native/attribution.pxd", "core/forest_machine",
          "share * (gap[k] + <double>climb.upper", "share * (<double>climb.upper"),
    Fault("completion: a feature that is missing counts", "rcf/_native/complete.pxd", "core/forest_machine",
          "        if missing[i]:\n            continue\n", ""),
    Fault("completion may return the record itself", "rcf/_native/complete.pxd", "core/forest_machine",
          "if held and is_itself(t, ~v, x):", "if False:"),
    Fault("scores of the previous batch are not cleared", "rcf/_core.pyx", "core/forest_machine core/determinism",
          "memset(<void*>out_at, 0, n_blocks(f) * part * sizeof(double))", "pass"),
    Fault("a record that enters a tree is not scored", "rcf/_native/learn.pxd", "core/forest_machine core/determinism",
          "if enters[g] >= silent else &unused", "if enters[g] > n_rows else &unused"),
    Fault("no scores after fit until the sample is full again", "rcf/_core.pyx", "core/forest_machine estimator",
          "            self.trees.warm_up = 0\n", "            self.trees.warm_up = self.trees.capacity\n"),
    Fault("forget takes the newest of equal records", "rcf/_native/learn.pxd", "core/forest_machine",
          "arrival_of(s, j) < arrival_of(s, oldest)", "arrival_of(s, j) > arrival_of(s, oldest)"),
    Fault("readers do not wait for a writer", "rcf/_native/gate.pxd", "core/threads",
          "        take(g.writing)\n    g.readers += 1\n",
          "        PyThread_acquire_lock(g.writing, NOWAIT_LOCK)\n    g.readers += 1\n"),
    # ---- the sampler
    Fault("time decay has the wrong sign", "sampling/_reservoir.pxd", "sampling/sampling_law",
          "rcf_log(e / weight) - s.decay", "rcf_log(e / weight) + s.decay"),
    Fault("the weight is left out of the key", "sampling/_reservoir.pxd", "sampling/sampling_law",
          "rcf_log(e / weight)", "rcf_log(e)"),
    Fault("skip-ahead goes one record too far", "sampling/_reservoir.pxd", "sampling/sampling_law sampling/reservoir_machine",
          "    s.next += s.settled\n", "    s.next += s.settled + 1\n"),
    Fault("a key that moved in the heap sinks but never rises", "sampling/_reservoir.pxd", "core/forest_edges core/forest_machine",
          "if i > 0 and s.slots[(i - 1) >> 1].key < last.key:", "if False:"),
    Fault("the sampler's budget is not restored with the forest", "rcf/_native/packed.pxd", "core/determinism persist",
          "s.threshold, s.budget = rcf_get_double(r), rcf_get_double(r)",
          "s.threshold, s.budget = rcf_get_double(r), 0.5 * rcf_get_double(r)"),
    Fault("a restored record may be in any leaf", "rcf/_native/packed.pxd", "persist",
          "elif not same_point(t, leaf, x):", "elif False:"),
    Fault("numbers that windows share are restored one float off", "rcf/_native/records.pxd", "persist detector/persist",
          "(off if off < 2 else -1)", "(off if off < 2 else 1)"),
    Fault("a record may be held twice", "rcf/_native/packed.pxd", "persist",
          "if holder[record] == b + 1:", "if False:"),
    Fault("a saved net does not know when its points last occurred", "rcf/detector/packed.pxd", "detector/persist persist",
          "net.last[i] = <int32_t>last", "net.last[i] = 0"),
    Fault("a merge of forests does not shift the keys to the same time", "rcf/_native/merge.py", "core/merge sampling/sampling_law",
          'theirs["key"][two] - decay * before', 'theirs["key"][two]'),
    Fault("a merge of reservoirs does not shift the keys to the same time",
          "sampling/reservoir.py", "sampling/reservoir_machine sampling/sampling_law",
          'theirs["key"] -= self.time_decay * self.n_seen', 'theirs["key"] -= self.time_decay'),
    # ---- shingles
    Fault("the window of a stream is off by one", "shingle/_ring.pxd", "shingle/shingle shingle/shingler",
          "return r.values + (r.seen % r.size) * r.width", "return r.values + ((r.seen + 1) % r.size) * r.width"),
    Fault("scores of windows come one time stamp late", "shingle/shingler.py", "shingle/shingle shingle/shingler",
          "ends = np.arange(values.size) * step + size - 1", "ends = np.arange(values.size) * step + size"),
    # ---- detectors
    Fault("a value counts as known in the first block in which it occurs", "rcf/detector/net.pxd", "detector/alarms",
          "need = SHARE * net.blocks\n", "need = 0.0\n"),
    Fault("an outlier extends the range of usual values", "rcf/detector/net.pxd", "detector/alarms",
          "(few and last - first < SEEN) or total <= visits", "False"),
    Fault("new levels count fully on the first day", "rcf/detector/feature.pxd", "detector/alarms",
          "look.novelty *= young", "look.novelty *= 1.0"),
    Fault("evidence as high as before counts as new", "rcf/detector/evidence.pyx", "detector/alarms",
          "if self.high[middle] >= q:", "if self.high[middle] > q:"),
    Fault("an alarm may be lower than the last ones", "rcf/detector/evidence.pyx", "detector/alarms",
          "counted[0] = e if e > best else 0.0", "counted[0] = e"),
    Fault("one outlier among the first records sets the scale", "rcf/detector/feature.pxd", "detector/outliers",
          "if robust > 0.0 and robust < scale.size:", "if False:"),
    Fault("a drift that has changed is continued", "rcf/detector/trend.py", "detector/trend",
          "if agree and 0.5 <= newer / older <= 2.0:", "if agree:"),
    Fault("a drift needs the agreement of only half of the pairs",
          "rcf/detector/trend.py", "detector/trend", "AGREE = 0.75", "AGREE = 0.5"),
    Fault("windows are moved against the drift", "rcf/detector/analogues.py", "detector/trend",
          "(forest.n_seen - times)", "(times - forest.n_seen)"),
    Fault("the drift stops where the forecast begins",
          "rcf/detector/analogues.py", "detector/trend", "ahead * self.drift", "0 * self.drift"),
    Fault("a gap is filled with one record too many", "rcf/detector/clock.py", "detector/stream",
          "round(step / self.interval) - 1", "round(step / self.interval)"),
    Fault("the lag is counted from the oldest record", "rcf/detector/explain.py", "detector/stream detector/long_streams",
          "else size - 1 - int(parts.sum(axis=(1, 2)).argmax())", "else int(parts.sum(axis=(1, 2)).argmax())"),
    Fault("the expected value is not converted back to its scale", "rcf/detector/explain.py", "detector/stream",
          "z * self.scale[j] + self.centre[j]", "z + self.centre[j]"),
    Fault("runs skip records that may be alarms", "rcf/detector/evidence.pyx", "detector/stream",
          "longest = sqrt(sqrt(<double>LONGEST)) * (1.0 + 1e-9)", "longest = sqrt(sqrt(<double>LONGEST)) * 0.7"),
    Fault("a copy of the trees explains a record before it has learned it", "rcf/detector/stream.py", "detector/stream",
          "follower.follow(P[followed : k + 1], windows[followed : k + 1])", "follower.follow(P[followed:k], windows[followed:k])"),
    Fault("records that continue an event are explained by trees that have learned more",
          "rcf/detector/stream.py", "detector/stream",
          "if beyond - at > MANY or (self._events.running and not self._alert_once):", "if beyond - at > MANY:"),
    Fault("update_many forgets the last records of a run", "rcf/detector/stream.py", "detector/stream detector/long_streams",
          "        window.push(Z[-size:])\n", "        window.push(Z[-size:-1])\n"),
    Fault("the oldest key is evicted, not the least recently used one", "rcf/detector/keyed.py", "detector/stream detector/keyed",
          "            self._held[key] = detector\n            self._held.move_to_end(key)\n",
          "            self._held[key] = detector\n"),
    # ---- hot spots
    Fault("a neighbour in the grid at the radius itself does not count",
          "rcf/hotspots/grid.h", "hotspots/exact hotspots/hotspots",
          "n += d2 <= x->radius2;", "n += d2 < x->radius2;"),
    Fault("a neighbour in the tree at the radius itself does not count",
          "rcf/hotspots/boxtree.h", "hotspots/exact hotspots/hotspots",
          "if (d2 <= x->radius2) {", "if (d2 < x->radius2) {"),
    Fault("a record becomes a core one neighbour too late", "rcf/hotspots/dbscan.h", "hotspots/exact",
          "if (entry->count >= (uint32_t)w->min_points) w->turned", "if (entry->count > (uint32_t)w->min_points) w->turned"),
    Fault("a region that splits remains one region", "rcf/hotspots/dbscan.h", "hotspots/exact",
          "if (k > 1) rcf_part(w, w->near_b, k);", "if (k > 2) rcf_part(w, w->near_b, k);"),
    Fault("a region's box is not shrunk when a record leaves", "rcf/hotspots/regions.h", "hotspots/exact hotspots/hotspots",
          "if (value == lower[j] || value == upper[j]) w->regions[r].loose = 1;",
          "if (value == lower[j]) w->regions[r].loose = 1;"),
    Fault("a border record belongs to the youngest of equally near cores",
          "rcf/hotspots/regions.h", "hotspots/hotspots hotspots/exact",
          "rcf_age_rank(w, found[i]->slot) < rcf_age_rank(w, found[best]->slot)",
          "rcf_age_rank(w, found[i]->slot) > rcf_age_rank(w, found[best]->slot)"),
    Fault("the chord of a distance on the earth is as long as its arc", "rcf/hotspots/sphere.h", "hotspots/sphere",
          "    return 2.0 * sine;", "    return 2.0 * half * RCF_DEGREE;"),
    Fault("a box never crosses the date line", "rcf/hotspots/sphere.h", "hotspots/sphere",
          "for (int32_t i = 1; i < n; i++)\n        if (longitudes", "for (int32_t i = 1; i < 1; i++)\n        if (longitudes"),
    Fault("a record at a pole widens the box", "rcf/hotspots/regions.h", "hotspots/sphere",
          "fabs(x[0]) < 90.0) w->far_a", "fabs(x[0]) <= 90.0) w->far_a"),
    Fault("an arc of more than half a circle stays when a record in it leaves", "rcf/hotspots/regions.h", "hotspots/sphere",
          "&& upper[1] - lower[1] > 180.0)", "&& upper[1] - lower[1] > 360.0)"),
    Fault("a latitude beyond a pole is accepted", "rcf/hotspots/window.pyx", "hotspots/sphere",
          "if not -90.0 <= X[i, 0] <= 90.0:", "if not -180.0 <= X[i, 0] <= 180.0:"),
    Fault("a lookup is prefetched for another record", "rcf/hotspots/dbscan.h", "hotspots/exact",
          "record + 3 * w->columns", "record + 2 * w->columns"),
    # ---- model files
    Fault("the checksum of a model file is not checked", "rcf/persist.py", "persist",
          "[0] != zlib.crc32(view[:-4])", "[0] == -1"),
    Fault("a model file of another class is accepted", "rcf/persist.py", "persist detector/persist",
          "if not issubclass(_class_of(kind), due):", "if False:"),
    Fault("numbers saved as differences lose their first value", "rcf/persist.py", "persist",
          "np.diff(flat, prepend=kind.type(0))", "np.diff(flat, prepend=flat[:1])"),
    Fault("a refused time stamp is in no increment of a checkpoint", "rcf/detector/keyed.py", "streams/increments",
          "held.n_seen_, clock.refused, clock.refusals, len(", "held.n_seen_, len("),
    Fault("a checkpoint that could not be stored counts as stored", "rcf/streams/checkpoint.py", "streams/increments",
          "marks, self._marks, model = self._marks, None, ", "marks, model = self._marks, "),
    Fault("an increment loses the order of the keys", "rcf/detector/keyed.py", "streams/increments",
          "if part._held or key not in marks", "if key not in marks"),
    Fault("an increment of an earlier checkpoint is taken for a new one", "rcf/streams/files.py", "streams/increments",
          "or following.chain != found.chain:", "or following.chain == '':"),
    Fault("a saved detector loses its earlier evidence", "rcf/detector/stream.py", "detector/persist",
          '        self._evidence.restore(stream["evidence"])\n', ""),
    # ---- the C runtime of frozen models, parameter search
    Fault("in the C runtime a record that equals a cut goes to the other side", "rcf/export/rcf_frozen.c", "export/frozen",
          "row[rcf_dim(&m, at.v)] > m.cut[at.v]", "row[rcf_dim(&m, at.v)] >= m.cut[at.v]"),
    Fault("a box that the C runtime keeps is that of one child", "rcf/export/rcf_frozen.c", "export/frozen",
          "            rcf_join(m, box, lower, child", "            if (!second) rcf_join(m, box, lower, child"),
    Fault("the C runtime explains a held record with its own leaf", "rcf/export/rcf_frozen.c", "export/frozen",
          "        if (around && k + 1 == beside) hull = parent;", "        if (around && k + 1 == beside) hull.n = 0;"),
    Fault("the C runtime does not check the leaves below a child", "rcf/export/rcf_frozen.c", "export/frozen",
          "left < 1 || left >= at.n || ", "left < 1 || "),
    Fault("the C runtime does not check the feature of a cut", "rcf/export/rcf_frozen.c", "export/frozen",
          " || rcf_dim(m, at.v) >= m->features)", ")"),
    Fault("the C runtime does not check the point of a leaf", "rcf/export/rcf_frozen.c", "export/frozen",
          "if ((shared && rcf_at(m->point, m->point_width, i) >= points) || (", "if (("),
    Fault("the labels that are held out choose the parameters", "rcf/tune/_search.py", "tune/tune",
          "scores = values(params, choose)", "scores = values(params, judge)"),
    # ---- the estimator
    Fault("decision_function has the wrong sign", "rcf/estimator.py", "estimator estimator_checks",
          "return scores - offset\n", "return offset - scores\n"),
    Fault("a call that fails leaves changes behind", "rcf/_validate.py", "estimator bad_input",
          "        model.__dict__.update(before)\n        raise", "        raise"),
]  # fmt: skip


def pytest_configure() -> None:
    """This file is also a pytest plugin that does not minimise failing histories, because that takes minutes."""
    from hypothesis import Phase, settings

    settings.register_profile("faults", phases=[Phase.explicit, Phase.generate], report_multiple_bugs=False)
    settings.load_profile("faults")


def problem(fault: Fault) -> str | None:
    """The reason why a fault cannot be applied; None if it can."""
    path = ROOT / fault.file
    if not path.exists():
        return f"{fault.file} IS GONE"
    n = path.read_text().count(fault.old)
    if n != 1:
        return f"TEXT {'NOT FOUND' if n == 0 else f'FOUND {n} TIMES'} in {fault.file}: {fault.old.strip()!r}"
    if not test_files(fault):
        return f"NO TESTS of the names {fault.tests}"
    return None


def test_files(fault: Fault) -> list[str]:
    """The test files of a fault that exist."""
    named = (Path("tests", name).with_name(f"test_{Path(name).name}.py") for name in fault.tests.split())
    return [str(path) for path in named if (ROOT / path).exists()]


def build(at: Path) -> str | None:
    """Build extensions that are older than their sources. Returns the error, or None."""
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=at,
        env={**os.environ, "RCF_CFLAGS": "-O1 -g0"},
        capture_output=True,
        text=True,
    )
    return None if done.returncode == 0 else (done.stdout + done.stderr)[-2000:]


def run(at: Path, *files: str) -> str | None:
    """The first test that fails; None if all pass."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "--tb=no", "-p", "no:cacheprovider", "-p", "faults"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(at), str(at / "tests")]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment.setdefault("RCF_DATA", str(ROOT / "../shared/data"))
    try:
        done = subprocess.run(
            [*command, "-o", "addopts=--import-mode=importlib", "-m", "not slow", *files],
            cwd=at,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE * len(files),
        )
    except subprocess.TimeoutExpired:
        return f"{files[0]} (does not end)"
    if done.returncode == 0:
        return None
    if done.returncode in (3, 4, 5):  # pytest could not run a test, so no test found the fault
        sys.exit(f"pytest could not run {' '.join(files)}:\n{(done.stdout + done.stderr)[-2000:]}")
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return lines[0].split(" - ")[0].split(" ", 1)[1] if lines else f"{' '.join(files)} (exit {done.returncode})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="run only the faults whose description has one of these words")
    parser.add_argument("--check", action="store_true", help="only check that the text to be changed exists")
    parser.add_argument(
        "--trust", action="store_true", help="skip the first run of the tests, which is without any fault"
    )
    arguments = parser.parse_args()
    faults = [f for f in FAULTS if not arguments.words or any(word in f"{f.what} {f.file}" for word in arguments.words)]
    wrong = {fault.what: why for fault in faults if (why := problem(fault)) is not None}
    if arguments.check or not faults:
        for what, why in wrong.items():
            print(f"{what}: {why}")
        print(f"{len(faults) - len(wrong)} of {len(faults)} faults can be put in")
        return bool(wrong) or not faults
    with tempfile.TemporaryDirectory(prefix="rcf-faults.") as name:
        at = Path(name)
        known = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
        ).stdout  # fmt: skip
        built = [
            path.relative_to(ROOT) for ending in ("so", "pyd", "c") for path in (ROOT / "rcf").rglob(f"*.{ending}")
        ]
        # the built extensions are used if they are not older than their sources
        for file in [
            *filter(None, known.decode().split("\0")),
            *built,
        ]:
            if (ROOT / file).exists():
                (at / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / file, at / file)
        failure = build(at)
        if not failure and not arguments.trust:
            failure = run(at, *sorted({file for fault in faults for file in test_files(fault)}))
        if failure:
            sys.exit(f"without any fault: {failure}")
        missed = 0
        for fault in faults:
            begun = time.monotonic()
            if fault.what in wrong:
                print(f"{'-':>5}    {fault.what}: {wrong[fault.what]}", flush=True)
                continue
            path = at / fault.file
            right = path.read_text()
            path.write_text(right.replace(fault.old, fault.new))
            failure = build(at)  # also removes the last fault
            found = "does not build" if failure else run(at, *test_files(fault))
            path.write_text(right)
            missed += found is None or failure is not None
            print(f"{time.monotonic() - begun:5.0f} s  {fault.what}: {found or 'MISSED'}", flush=True)
            if failure:
                print(failure, flush=True)
    print(
        f"{len(faults) - len(wrong) - missed} of {len(faults)} faults found, {missed} missed, {len(wrong)} not put in"
    )
    return bool(missed or wrong)


if __name__ == "__main__":
    sys.exit(main())
