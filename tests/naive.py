"""The slow oracle: reference implementations in plain Python and NumPy, with which every fast path is compared.

Nothing here shares code, order of summation or data layout with the core. The arrays of a tree come from the core
(``Forest.tree(i)``). Boxes are computed from the points, masses are counted, scores are recursions from the root that follow the
definitions, and distributions are enumerated.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise

import numpy as np

# the methods that have a score per tree and an attribution
KINDS = (
    "depth",
    "codisp",
    "displacement",
    "opensearch",
)
METHODS = (*KINDS, "path")


# ---- trees -------------------------------------------------------------------------------------------------


@dataclass
class Leaf:
    point: np.ndarray
    mass: int

    @property
    def points(self):
        return self.point[None, :]


@dataclass
class Node:
    dim: int
    cut: float
    left: "Node | Leaf"
    right: "Node | Leaf"
    mass: int = field(init=False)
    points: np.ndarray = field(init=False)  # distinct points

    def __post_init__(self):
        self.mass = self.left.mass + self.right.mass
        self.points = np.concatenate([self.left.points, self.right.points])

    @property
    def lower(self):
        return self.points.min(axis=0)

    @property
    def upper(self):
        return self.points.max(axis=0)

    def side(self, x):
        return self.left if x[self.dim] <= self.cut else self.right


def read(arrays):
    """The tree in the arrays of ``Forest.tree``, with points as float64; None for an empty tree."""
    if arrays["mass"] == 0:
        return None

    def grow(v):
        if v < 0:
            return Leaf(arrays["points"][~v].astype(np.float64), int(arrays["leaves"][~v]["mass"]))
        cut = arrays["cuts"][v]
        left, right = (grow(int(c)) for c in cut["child"])
        return Node(int(cut["dim"]), float(cut["value"]), left, right)

    return grow(int(arrays["root"]))


def check(arrays):
    """Assert all invariants of a tree."""
    cuts, nodes, leaves, points, boxes = (arrays[k] for k in ("cuts", "nodes", "leaves", "points", "boxes"))
    slots = arrays["slots"]
    held = Counter(slots["leaf"].tolist())
    assert arrays["mass"] == len(slots)
    used_nodes, used_leaves = set(), set()

    def walk(v, parent):
        """(mass, leaves) below v."""
        if v < 0:
            leaf = ~v
            assert leaf not in used_leaves
            used_leaves.add(leaf)
            assert leaves[leaf]["parent"] == parent
            assert leaves[leaf]["mass"] == held[leaf] > 0
            return held[leaf], [leaf]
        assert v not in used_nodes
        used_nodes.add(v)
        node = nodes[v]
        assert node["parent"] == parent
        left_mass, left = walk(int(cuts[v]["child"][0]), v)
        right_mass, right = walk(int(cuts[v]["child"][1]), v)
        assert node["mass"] == left_mass + right_mass
        below = points[left + right]
        lower, upper = below.min(axis=0), below.max(axis=0)
        assert np.array_equal(boxes[v][0], lower)
        assert np.array_equal(boxes[v][1], upper)
        size = math.fsum(upper.astype(np.float64) - lower.astype(np.float64))
        assert math.isclose(node["range"], size, rel_tol=1e-12)
        dim, cut = cuts[v]["dim"], cuts[v]["value"]
        assert lower[dim] <= cut < upper[dim]
        assert (points[left, dim] <= cut).all()
        assert (points[right, dim] > cut).all()
        return left_mass + right_mass, left + right

    if arrays["mass"]:
        mass, _ = walk(int(arrays["root"]), -1)
        assert mass == arrays["mass"]
    else:
        assert not held
    live = points[sorted(used_leaves)]
    assert len(np.unique(live, axis=0)) == len(live), "equal points share a leaf"
    assert not np.signbit(live[live == 0]).any(), "-0.0 is 0.0"
    # unused nodes are in one list of free nodes
    for items, used, links in ((nodes, used_nodes, cuts["child"][:, 0]), (leaves, used_leaves, leaves["parent"])):
        free = [i for i in range(len(items)) if items[i]["mass"] == 0]
        assert set(free) == set(range(len(items))) - used
        after = [int(links[i]) for i in free]
        if arrays["mass"]:
            assert len(set(after)) == len(after), "two free nodes have the same successor"
            assert set(after) <= {*free, -1}
            assert not free or -1 in after
    # the sample is a heap with the largest key on top
    keys = slots["key"]
    for i in range(1, len(keys)):
        assert keys[(i - 1) // 2] >= keys[i]


def remove(tree, x):
    """The tree without the leaf that equals x, in which the sibling replaces the parent."""
    if isinstance(tree, Leaf):
        return None if np.array_equal(tree.point, x) else tree
    left, right = tree.left, tree.right
    if tree.side(x) is left:
        left = remove(left, x)
    else:
        right = remove(right, x)
    if left is None or right is None:
        return right if left is None else left
    return Node(tree.dim, tree.cut, left, right)


# ---- scores ------------------------------------------------------------------------------------------------


def gaps(tree, x):
    """The distances of x above and below the box in each feature, (d, 2), and the sum of the sides of the box."""
    lower, upper = tree.points.min(axis=0), tree.points.max(axis=0)
    return np.stack([np.maximum(x - upper, 0), np.maximum(lower - x, 0)], axis=1), (upper - lower).sum()


def separated(kind, depth, mass, above):
    """The value of a cut that separates x from a subtree of this mass at this depth."""
    if kind == "displacement":
        return mass
    if kind == "codisp":
        return max(above, mass)
    return 1 / (depth + 1)


def equal(kind, depth, mass, total, above):
    """The value if x equals a leaf of this mass at this depth, in a tree of `total` records."""
    if kind == "displacement":
        return 0.0
    if kind == "codisp":
        return above
    if kind == "opensearch":
        return (1 - mass / (2 * total)) / (depth + math.log2(mass + 1))
    if depth == 0:
        return 1 / (total + 1)
    return 1 / (depth + math.log2(mass))


def scale(kind, total):
    return {"depth": math.log2(total), "opensearch": math.log2(total + 1)}.get(kind, 1.0)


def score(tree, x, kind):
    """The expectation of the score of x over the random cut that would insert it."""
    if tree is None:
        return 0.0

    def walk(node, depth, above):
        if isinstance(node, Leaf):
            if np.array_equal(node.point, x):
                return equal(kind, depth, node.mass, tree.mass, above)
            return separated(kind, depth, node.mass, above)
        gap, size = gaps(node, x)
        q = gap.sum() / (gap.sum() + size)
        child = node.side(x)
        ratio = (node.mass - child.mass) / (child.mass + 1)
        below = walk(child, depth + 1, max(above, ratio))
        return q * separated(kind, depth, node.mass, above) + (1 - q) * below

    return walk(tree, 0, 0.0) * scale(kind, tree.mass)


def mean_length(n):
    """The mean path length of a tree of n records, as defined by Liu, Ting and Zhou and by scikit-learn."""
    if n < 3:
        return max(n - 1, 0)
    return 2 * (math.log(n - 1) + np.euler_gamma) - 2 * (n - 1) / n


def path_length(tree, x):
    """The path length from the root to the leaf of x, divided by the mean.

    Equal records in the leaf count as a tree of that size.
    """
    if tree is None or tree.mass < 2:
        return 1.0
    node, steps = tree, 0
    while isinstance(node, Node):
        node, steps = node.side(x), steps + 1
    return (steps + mean_length(node.mass)) / mean_length(tree.mass)


def forest_score(trees, x, method):
    if method == "path":
        return 2.0 ** -np.mean([path_length(tree, x) for tree in trees])
    return np.mean([score(tree, x, method) for tree in trees])


def attribution(tree, x, kind):
    """The part of each feature in the score of x for lying above and below the boxes, (d, 2)."""
    d = len(x)
    if tree is None:
        return np.zeros((d, 2))

    def walk(node, depth, above, kind):
        gap, size = gaps(node, x)
        share = gap / (gap.sum() + size) if gap.sum() + size > 0 else gap
        here = share * separated(kind, depth, node.mass, above)
        if isinstance(node, Leaf):
            return here
        child = node.side(x)
        ratio = (node.mass - child.mass) / (child.mass + 1)
        return here + (1 - share.sum()) * walk(child, depth + 1, max(above, ratio), kind)

    if not (tree.points == x).all(axis=1).any():
        return walk(tree, 0, 0.0, kind) * scale(kind, tree.mass)
    # x is in the sample, so no box on its path separates it. Its score is divided among the features as in the tree without x.
    rest = remove(tree, x)
    if rest is None:
        return np.full((d, 2), score(tree, x, kind) / (2 * d))
    parts = walk(rest, 0, 0.0, "displacement" if kind == "codisp" else kind)
    return score(tree, x, kind) * parts / parts.sum()


def density(tree, x):
    """Three figures for lying above and below in each feature, (3, d, 2). The first is the expected mass (as a share of all
    records) of the box that a random cut separates from x, times the share of that side. The second is the same for the length of
    the box, and the third is the share itself.
    """
    if tree is None:
        return np.zeros((3, len(x), 2))
    own = path(tree, x)[-1]
    own = own.mass if np.array_equal(own.point, x) else 0
    rest = remove(tree, x)
    if rest is None:
        even = np.full((len(x), 2), 0.5 / len(x))
        return np.stack([even, 0 * even, even])

    def walk(node):
        gap, size = gaps(node, x)
        share = gap / (gap.sum() + size)
        sides = np.ptp(node.points, axis=0)[:, None]
        here = np.stack([share * (node.mass + own), share * (gap + sides), share])
        return here if isinstance(node, Leaf) else here + size / (gap.sum() + size) * walk(node.side(x))

    out = walk(rest)
    out[0] /= tree.mass
    return out


def nearest(tree, x, missing, held):
    """All equally good points to complete x: the nearest in the known features, and of these the heaviest. With `held`, x itself is
    left out.
    """
    if tree is None:
        return []
    leaves = [tree]
    while any(isinstance(node, Node) for node in leaves):
        leaves = [child for node in leaves for child in ([node] if isinstance(node, Leaf) else [node.left, node.right])]
    leaves = [leaf for leaf in leaves if not (held and leaf.mass == 1 and np.array_equal(leaf.point, x))]
    known = [j for j in range(len(x)) if j not in missing]
    ranks = [(sum(abs(x[j] - leaf.point[j]) for j in known), -leaf.mass) for leaf in leaves]
    return [leaf.point for leaf, rank in zip(leaves, ranks, strict=True) if rank == min(ranks)]


def insertions(tree, x):
    """Every tree that can result from inserting x, with its probability. The cut is in the middle of its gap."""
    if isinstance(tree, Leaf) and np.array_equal(tree.point, x):
        return [(1.0, Leaf(tree.point, tree.mass + 1))]
    out = []
    gap, size = gaps(tree, x)
    for dim, high in zip(*np.nonzero(gap), strict=True):
        edge = tree.points.max(axis=0)[dim] if high == 0 else tree.points.min(axis=0)[dim]
        children = (tree, Leaf(x, 1)) if high == 0 else (Leaf(x, 1), tree)
        out.append((gap[dim, high] / (gap.sum() + size), Node(int(dim), (edge + x[dim]) / 2, *children)))
    if isinstance(tree, Leaf):
        return out
    keep = size / (gap.sum() + size)
    child = tree.side(x)
    for p, below in insertions(child, x):
        both = (below, tree.right) if child is tree.left else (tree.left, below)
        out.append((keep * p, Node(tree.dim, tree.cut, *both)))
    return out


def path(tree, x):
    """The nodes from the root to the leaf of x."""
    out = [tree]
    while isinstance(out[-1], Node):
        out.append(out[-1].side(x))
    return out


def displacement_of(tree, x):
    """The paper's displacement of a record in the tree: the number of records that move up if its leaf is removed."""
    way = path(tree, x)
    return 0 if len(way) < 2 or way[-1].mass > 1 else way[-2].mass - 1


def codisp_of(tree, x):
    """The paper's collusive displacement of a record in the tree: the largest displacement per record of a set that contains it."""
    way = path(tree, x)
    return max(((a.mass - b.mass) / b.mass for a, b in pairwise(way)), default=0.0)


# ---- the distribution of the tree -----------------------------------------------------------------------------------


def shapes(points):
    """{splits: probability} of a random cut tree over distinct points.

    `splits` is the sorted tuple of (points below, dimension, points to the left) over the inner nodes, sets
    of points as bit masks. It describes a tree completely except for the exact cuts.
    """
    points = np.asarray(points, dtype=np.float64)

    @cache
    def grow(mask):
        rows = [i for i in range(len(points)) if mask >> i & 1]
        if len(rows) == 1:
            return {(): 1.0}
        out = {}
        total = np.ptp(points[rows], axis=0).sum()
        for dim in range(points.shape[1]):
            values = np.unique(points[rows, dim])
            for low, high in pairwise(values):
                left = sum(1 << i for i in rows if points[i, dim] <= low)
                for a, p in grow(left).items():
                    for b, q in grow(mask ^ left).items():
                        key = tuple(sorted([(mask, dim, left), *a, *b]))
                        out[key] = out.get(key, 0.0) + p * q * (high - low) / total
        return out

    return grow((1 << len(points)) - 1)


def depths(splits, n):
    """The depth of each of n points in a tree with these splits."""
    return [sum(mask >> i & 1 for mask, _, _ in splits) for i in range(n)]


# ---- the distribution of the sample ---------------------------------------------------------------------------------


def reservoir(rng, n, capacity, decay=0.0, weights=None):
    """The numbers (from 1) of the records that stay: those with the smallest keys ln(E / w) - decay * number."""
    numbers = np.arange(1, n + 1)
    keys = np.log(rng.exponential(size=n) / (1.0 if weights is None else weights)) - decay * numbers
    return numbers[np.argsort(keys)[:capacity]]


def inclusion(weights, capacity, decay=0.0):
    """The exact probability of each possible sample: {sorted numbers of records (from 1): probability}.

    The keys are a race of exponential variables: the next record is drawn by weight among the remaining ones.
    """
    strength = np.asarray(weights, dtype=np.float64) * np.exp(decay * np.arange(len(weights)))
    out = {}

    def draw(taken, p):
        if len(taken) == capacity:
            key = tuple(sorted(i + 1 for i in taken))
            out[key] = out.get(key, 0.0) + p
            return
        left = [i for i in range(len(strength)) if i not in taken]
        for i in left:
            draw((*taken, i), p * strength[i] / strength[left].sum())

    draw((), 1.0)
    return out


def mean_age(n, capacity, decay):
    """The expected age of the held records after n records of weight 1, and the probability that the newest record is held.

    Both are computed for the threshold that keeps `capacity` records. Given the threshold, the records are independent. For a
    capacity in the hundreds, the mean over all thresholds differs from this by far less than a percent.
    """
    age = np.arange(n)
    low, high = 1e-18, 1e18
    for _ in range(200):
        middle = math.sqrt(low * high)
        kept = -np.expm1(-middle * np.exp(-decay * age))
        low, high = (middle, high) if kept.sum() < capacity else (low, middle)
    return float((age * kept).sum() / kept.sum()), float(kept[0])


# ---- shingles ----------------------------------------------------------------------------------------------


def shingle(X, size, step=1):
    """Windows of `size` records, the oldest first, each flattened record by record."""
    X = np.asarray(X, dtype=np.float64)
    X = X[:, None] if X.ndim == 1 else X
    return np.array([X[i : i + size].ravel() for i in range(0, len(X) - size + 1, step)])


# ---- alarms --------------------------------------------------------------------------------------------------


class KnownValues:
    """The known values of a stream: a list of [place, weight, last block], sorted by place."""

    def __init__(self, block=128, horizon=5000, most=64, share=0.03):
        self.block, self.horizon, self.most, self.share = block, horizon, most, share
        self.points, self.blocks, self.t = [], 0.0, 0

    def usual(self, most=None):
        """The points without the rare groups at both ends; a group has at most `most` points."""
        low, high = 0, len(self.points) - 1
        for _ in range(8):
            new_high = self._without(low, high, True, most)
            new_low = self._without(low, new_high, False, most)
            if (new_low, new_high) == (low, high):
                break
            low, high = new_low, new_high
        return self.points[low : high + 1]

    def _without(self, low, high, upper, most):
        for many in range(1, min(high - low, len(self.points) if most is None else most + 1)):
            # `many` points at this end, and the other points
            group = range(high - many + 1, high + 1) if upper else range(low, low + many)
            rest = range(low, high - many + 1) if upper else range(low + many, high + 1)
            width = self.points[rest[-1]][0] - self.points[rest[0]][0]
            inner, outer = (rest[-1], group[0]) if upper else (rest[0], group[-1])
            gap = abs(self.points[outer][0] - self.points[inner][0])
            if width <= 0 or gap <= 2 * width:
                continue
            weights, last = [self.points[i][1] for i in group], [self.points[i][2] for i in group]
            seldom = max(weights) <= 2.01 and max(last) - min(last) < 2
            if seldom or sum(weights) <= 0.4 * self.blocks:
                return inner
        return high if upper else low

    def take(self, x, least=0.0):
        """(novelty, range) of a value, which is then learned."""
        t, now = self.t, self.t // self.block
        self.t += 1
        if not self.points:
            self.points, self.blocks = [[x, 1.0, 0]], 1.0
            return 0.0, 0.0
        if t % self.block == 0:
            fade = math.exp(-self.block / self.horizon)
            self.blocks = self.blocks * fade + 1
            kept = [[v, c * fade, s] for v, c, s in self.points if c * fade >= 0.02]
            self.points = kept or self.points[:1]
        need = self.share * self.blocks if self.share * self.blocks > 1 else 0.02
        gaps = [abs(x - v) for v, _, _ in self.points]
        nearest = min(gaps)
        known = min((g for g, (_, c, _) in zip(gaps, self.points, strict=True) if c >= need), default=nearest)
        usual = self.usual()
        width = usual[-1][0] - usual[0][0]
        learned_by = max(width, least)
        novelty = 0.0
        if t >= 64:
            if t < 3 * self.block:
                # Before the third block, no value can have occurred in three blocks, so all groups are rare. Without this limit
                # nearly all points could be excluded, and ordinary records would be novel relative to the few that remain.
                usual = self.usual(len(self.points) // 8)
                width = usual[-1][0] - usual[0][0]
            scale = max(width, least)
            novelty = min(1.0, known / scale) if scale > 0 else float(known > 0)
        self._learn(x, now, nearest, learned_by)
        return novelty, width

    def _learn(self, x, now, nearest, scale):
        if nearest <= scale / (2 * self.most):
            # if two points are equally near, the upper one is taken
            i = max(i for i, (v, _, _) in enumerate(self.points) if abs(x - v) == nearest)
            if self.points[i][2] != now:
                self.points[i][1] += 1
                self.points[i][2] = now
            self.points[0][0] = min(self.points[0][0], x)
            self.points[-1][0] = max(self.points[-1][0], x)
            return
        self.points = sorted([*self.points, [x, 1.0, now]])
        if len(self.points) <= self.most:
            return
        spans = [self.points[i + 1][0] - self.points[i - 1][0] for i in range(1, len(self.points) - 1)]
        narrow, kept = sorted(spans)[len(spans) // 3], [self.points[0]]
        joined = False
        for point, span in zip(self.points[1:-1], spans, strict=True):
            joined = span <= narrow and not joined
            if joined:
                kept[-1] = [kept[-1][0], max(kept[-1][1], point[1]), max(kept[-1][2], point[2])]
            else:
                kept.append(point)
        self.points = [*kept, self.points[-1]]


def log_unit(x):
    """The value at which the logarithm of a feature becomes linear, computed from the first 64 values."""
    sizes = np.abs(x[:64])
    unit = 0.1 * sizes.mean()
    if np.median(sizes) > 0:
        unit = min(unit, 0.3 * np.median(sizes))
    other = np.abs(x[x != 0])
    return unit if unit > 0 else other[0] if len(other) else 1.0


def logarithm(x):
    return np.sign(x) * np.log1p(np.abs(x) / log_unit(x))


def novelty_of(x, block=128):
    """The novelty of each value of a feature, and the view that has this novelty (value, logarithm, change, move)."""
    y, nets = logarithm(x), [KnownValues(block) for _ in range(4)]
    found, views = np.zeros(len(x)), np.zeros(len(x), dtype=int)
    mean = mass = 0.0
    for t in range(len(x)):
        change = x[t] - x[t - 1] if t else 0.0
        move = y[t] - mean / mass if mass else 0.0
        mean, mass = mean * 15 / 16 + y[t], mass * 15 / 16 + 1
        seen = [net.take(v)[0] for net, v in zip(nets, (x[t], y[t], change, move), strict=True)]
        seen[0] *= t / (t + 150)
        seen[1] *= t / (t + 150)
        found[t] = max(seen)
        views[t] = np.argmax(seen) + 1 if found[t] else 0
    return found, views


def stuck_records(x):
    """The records whose run of equal values is at least 15 longer than three times the longest run in the last 39 blocks of 128
    records.
    """
    out, run, longest = np.zeros(len(x), dtype=bool), 0, {}
    for t in range(1, len(x)):
        block = t // 128
        if x[t] == x[t - 1]:
            run += 1
        else:
            longest[block], run = max(longest.get(block, 0), run), 0
        most = max((many for b, many in longest.items() if b > block - 39), default=0)
        out[t] = t >= 256 and run >= 3 * most + 15
    return out


def season_left(y, period, bins):
    """The residual of a logarithm from the usual value at this place of the period; NaN if no profile is used."""
    left, level, visits = np.full(len(y), np.nan), np.zeros(bins), np.zeros(bins)
    rate, told, inside, around, slow = 1 - 0.75 ** (bins / period), 0, 0.0, 0.0, y[0]
    place = [int(t % period * bins / period) for t in range(len(y) + 1)]
    for t, i in enumerate(place[:-1]):
        slow += (y[t] - slow) * max(1 / (2 * period), 1 / (t + 1))
        if visits[i]:
            near = [(j % bins, weight) for j, weight in ((i - 1, 1), (i, 2), (i + 1, 1)) if visits[j % bins]]
            off = y[t] - sum(level[j] * w for j, w in near) / sum(w for _, w in near)
            told += 1
            if told > period and inside < 0.6 * around and t >= 2 * period:
                left[t] = off
            step, wild = max(1 / (2 * period), 1 / told), told > 20
            inside += ((min(abs(off), 5 * inside) if wild else abs(off)) - inside) * step
            around += ((min(abs(y[t] - slow), 5 * around) if wild else abs(y[t] - slow)) - around) * step
        level[i] += (y[t] - level[i]) * max(rate, 1 / (visits[i] + 1))
        visits[i] += place[t + 1] != i
    return left


def seasonal_novelty(x, period):
    """The novelty of the median of the last 9 residuals from the daily profile. It is relative to at least half of the range of the
    logarithm.
    """
    y, out = logarithm(x), np.zeros(len(x))
    levels, nets, last = [], (KnownValues(), KnownValues()), []
    left = season_left(y, period, min(period, 288))
    for t in range(len(x)):
        levels = [*levels, y[t]][-9:]
        width = nets[0].take(float(np.median(levels)))[1]
        if not np.isnan(left[t]):
            last = [*last, left[t]][-9:]
            out[t] = nets[1].take(float(np.median(last)), 0.5 * width)[0]
    return out


def evidence_of(forest, novelty, floor, begin=64):
    """The product of the forest's score and the novelty, times the fourth root of the number of records since the product was as
    high.
    """
    q, out = np.maximum(forest * (0.02 + novelty), floor), np.zeros(len(forest))
    for t in range(begin, len(q)):
        since = 1
        while since < 1000 and t - since >= begin and q[t - since] < q[t]:
            since += 1
        out[t] = q[t] * since**0.25
    return out


def alarms_of(evidence, threshold=2.0):
    """The records whose evidence reaches the threshold and exceeds that of the last 30 records."""
    return np.array(
        [e >= threshold and e > evidence[max(0, t - 30) : t].max(initial=0) for t, e in enumerate(evidence)]
    )


# ---- places on the earth ---------------------------------------------------------------------------------------


def great_circle(a, b):
    """Metres between two places (latitude, longitude) in degrees, by the haversine formula, on a sphere of 6371.0088 km."""
    (lat, lon), (other, east) = (map(math.radians, place) for place in (a, b))
    half = math.sin((lat - other) / 2) ** 2 + math.cos(lat) * math.cos(other) * math.sin((lon - east) / 2) ** 2
    return 2 * 6_371_008.8 * math.asin(math.sqrt(min(half, 1.0)))


def place_box(places):
    """The corners of the smallest box of latitudes and longitudes around places; those at the poles have every longitude."""
    latitudes = [lat for lat, _ in places]
    east = [lon - 360.0 if lon >= 180.0 else lon for lat, lon in places if abs(lat) < 90.0]
    boxes = [(max(lon if lon >= west else lon + 360.0 for lon in east), west) for west in sorted(east)]
    _, _, west, top = min([(top - west, top >= 180.0, west, top) for top, west in boxes], default=(0, 0, 0.0, 0.0))
    return (min(latitudes), west), (max(latitudes), top)
