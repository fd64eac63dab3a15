"""The native core: forests of random cut trees.

State is private C memory; Python sees numbers, arrays and copies. Everything that is passed in is
checked before anything is changed, so a call that is refused leaves no trace. If memory runs out while `update` learns in low-memory
mode, a part of the records stays learned, and the MemoryError says how many.
"""

import numpy as np

from rcf._native.merge import merged_records
from rcf._pool import in_threads
from rcf._validate import wrong_width
from rcf._native.state import HEAD as _HEAD, LIMIT, ModelStateError, check_state

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memmove, memset

from rcf._native.complete cimport tree_complete
from rcf._native.gate cimport Gate, gate_free, gate_open, gate_read, gate_read_done, gate_write, gate_write_done
from rcf._native.preorder cimport count_leaves, read_nodes, read_slots, write_nodes
from rcf._native.rng cimport Rng, below, exponential, next_word, uniform
from rcf._native.attribution cimport tree_attribute, tree_density
from rcf._native.tree cimport *
from sampling._reservoir cimport *

rcf_fill_tables()
for _isa in (2, 1, 0):
    if rcf_use_isa(_isa):
        break

METHODS = {"depth": RCF_DEPTH, "codisp": RCF_CODISP, "displacement": RCF_DISPLACEMENT, "opensearch": RCF_OPENSEARCH, "path": RCF_PATH}
ATTRIBUTED = [method for method in METHODS if method != "path"]  # those that measure boxes

cdef enum:
    BLOCK = 4       # trees whose scores are added up together; part of the result, so never to be changed
    GROUP = 8       # trees that score and learn together
    AHEAD = 900000  # bytes: two groups and some rows that a second-level cache of a megabyte holds
    CHUNK = 1024    # rows that a tree scores at a time: with the tree they fit in the second-level cache
    FEW = 16        # rows that are scored by all trees together
    SWEEP = 8192    # rows that go through a frozen tree at a time: the more come to a leaf the better; a few MB
    BATCH = 16384   # rows held as floats, and as scores by block, at a time

cdef int HEAD = _HEAD


def use_instructions(str name):
    """Compute with "portable", "avx2" or "avx512" code from now on, everywhere; False where the machine lacks it.

    The widest is chosen at import. All give the same bits: this is for the tests that hold them to it.
    """
    return bool(rcf_use_isa(["portable", "avx2", "avx512"].index(name)))


cdef class Memory:
    """A piece of zeroed memory, freed when the last array on it is gone."""
    cdef void* at
    cdef Py_ssize_t size

    def __cinit__(self, Py_ssize_t size):
        self.at = calloc(1, max(size, 1))
        if self.at == NULL:
            raise MemoryError(f"cannot allocate {size} bytes for a tree")
        self.size = size

    def __dealloc__(self):
        free(self.at)

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, self.at, self.size, 1, flags)


cdef struct Work:
    # what walks need: room for each level of a tree, and for a batch of rows
    int64_t levels
    double* ratios    # for RCF_CODISP_PAIRS pairs
    rcf_step* open
    float* rows
    double* scores


cdef Memory room_to_work(Work* work, int64_t levels, int64_t n_rows, int stride, int n_scores):
    """Memory that the pointers of `work` are set into."""
    cdef int64_t[4] sizes = [(levels + 1) * RCF_CODISP_PAIRS * sizeof(double), (levels + 1) * sizeof(rcf_step),
                             n_rows * stride * sizeof(float), n_rows * n_scores * sizeof(double)]
    cdef int64_t[4] starts
    cdef int64_t at = 0, k
    cdef Memory memory
    for k in range(4):
        starts[k] = at
        at += (sizes[k] + 63) // 64 * 64
    memory = Memory(at)
    work.levels = levels + 1
    work.ratios = <double*>(<char*>memory.at + starts[0])
    work.open = <rcf_step*>(<char*>memory.at + starts[1])
    work.rows = <float*>(<char*>memory.at + starts[2])
    work.scores = <double*>(<char*>memory.at + starts[3])
    return memory


cdef inline int pairs_at_once(int kind) noexcept nogil:
    return RCF_CODISP_PAIRS if kind == RCF_CODISP else RCF_PAIRS


cdef void score_rows(int kind, const rcf_tree* tree, const float* rows, int64_t n, Work* work) noexcept nogil:
    """work.scores[r] += the score of each of n rows by the tree."""
    cdef rcf_walk walk
    cdef int64_t r = 0
    cdef int count, p
    while r < n:
        count = min(<int64_t>pairs_at_once(kind), n - r)
        for p in range(count):
            walk.pair[p].tree = tree
            walk.pair[p].x = rows + (r + p) * tree.stride
        rcf_walks.score_pairs(kind, RCF_ONE_TREE, &walk, count, 0, work.ratios, work.levels)
        for p in range(count):
            work.scores[r + p] += walk.score[p]
        r += count


cdef Memory room_to_sweep(rcf_sweep* sweep, int64_t n_rows, int stride):
    """Memory that the pointers of `sweep` are set into."""
    cdef int64_t places = n_rows + 8
    cdef Memory memory = Memory(places * (4 * sizeof(rcf_span) + 2 * sizeof(double) + 3 * sizeof(int32_t))
                                + 2 * stride * sizeof(float))
    sweep.spans = <rcf_span*>memory.at
    sweep.waiting = sweep.spans + 2 * places
    sweep.value = <double*>(sweep.waiting + 2 * places)
    sweep.done_value = sweep.value + places
    sweep.order = <int32_t*>(sweep.done_value + places)
    sweep.spare = sweep.order + places
    sweep.done_row = sweep.spare + places
    sweep.box = <float*>(sweep.done_row + places)
    return memory


# Scratch space shared by all forests. Safe because update_record() keeps the GIL; a buffer per forest would dominate memory when there
# are thousands of small ones.
cdef Work shared
cdef Memory shared_memory


cdef inline int share_room(int64_t levels) except -1:
    global shared_memory
    if shared.levels <= levels:
        shared_memory = room_to_work(&shared, levels, 0, 0, 0)
    return 0


cdef int kind_of(method) except -1:
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
    return METHODS[method]


cdef int kind_with_parts(method) except -1:
    """The kind of a method that has an attribution."""
    cdef int kind = kind_of(method)
    if method not in ATTRIBUTED:
        raise ValueError("method='path' has no attribution, because it measures no boxes; pass another method, such as 'depth'")
    return kind


cdef ptrdiff_t first_bad(const double* x, ptrdiff_t n) noexcept nogil:
    """The place of the first number that is not finite or beyond LIMIT, or -1."""
    cdef ptrdiff_t i
    if rcf_walks.all_within(x, n, 1.7e38):
        return -1
    for i in range(n):
        if not (-1.7e38 <= x[i] <= 1.7e38):
            return i
    return -1


cdef int refuse(double value, ptrdiff_t row, ptrdiff_t feature) except -1:
    if value != value:
        what = "NaN"
    elif value in (float("inf"), float("-inf")):
        what = "infinity"
    else:
        what = f"{value!r}, beyond the range of float32 that the forest computes in (+-{LIMIT})"
    raise ValueError(f"Input X contains {what} (row {row}, feature {feature}).")


def check_weights(const double[::1] weights, int64_t n):
    """Refuse weights that are not `n` positive numbers."""
    cdef int64_t i
    if weights.shape[0] != n:
        raise ValueError(f"sample_weight has {weights.shape[0]} entries for {n} rows of X.")
    for i in range(n):
        if not 1e-150 <= weights[i] <= 1e150:
            raise ValueError(f"sample_weight must be finite and above zero, got {weights[i]} (row {i}).")


cdef class Forest:
    """Random cut trees, each with the sample that it holds.

    Parameters
    ----------
    n_trees, capacity, n_features : int
    time_decay : float
        Decay of a record's chance to be kept, per record that follows.
    seed : sequence of int, or None
        Entropy for :class:`numpy.random.SeedSequence`; None where the words of a saved forest follow.
    low_memory : bool
        Keep no boxes of small nodes.
    """
    cdef rcf_tree* trees
    cdef Sample* samples
    cdef Rng* rngs
    cdef double* origin
    cdef double* head      # the first records as they came, until the origin is settled; then NULL
    cdef double* row_scores
    cdef float* row
    cdef int* order        # the trees, those that a record enters first
    cdef list memory       # per tree: its Memory
    cdef list slot_memory
    cdef Gate gate
    cdef readonly int n_trees, capacity, n_features
    cdef readonly double time_decay
    cdef readonly bint low_memory
    cdef bint starved      # a record was left out of a tree, for want of memory
    cdef int stride
    cdef int64_t seen
    cdef public int64_t warm_up  # update() scores the records before this one as 0
    cdef int64_t table     # so many records of a table came together, without an order, and nothing before them
    cdef int32_t depth_room

    def __cinit__(self, int n_trees, int capacity, int n_features, double time_decay, seed, bint low_memory=False):
        cdef int i, j
        if n_trees < 1 or capacity < 1 or n_features < 1:
            raise ValueError("n_trees, capacity and n_features must be at least 1")
        if not 0.0 <= time_decay < float("inf"):
            raise ValueError(f"time_decay must be finite and not negative, got {time_decay}")
        self.n_trees, self.capacity, self.n_features = n_trees, capacity, n_features
        self.time_decay, self.low_memory = time_decay, low_memory
        self.stride = 4 if n_features <= 4 else (n_features + 7) // 8 * 8
        if not gate_open(&self.gate):
            raise MemoryError
        self.trees = <rcf_tree*>calloc(n_trees, sizeof(rcf_tree))
        self.samples = <Sample*>calloc(n_trees, sizeof(Sample))
        self.rngs = <Rng*>calloc(n_trees, sizeof(Rng))
        self.origin = <double*>calloc(n_features, sizeof(double))
        self.row_scores = <double*>calloc(n_trees, sizeof(double))
        self.row = <float*>calloc(self.stride, sizeof(float))
        self.order = <int*>calloc(n_trees, sizeof(int))
        self.head = NULL
        if (self.trees == NULL or self.samples == NULL or self.rngs == NULL or self.origin == NULL
                or self.row_scores == NULL or self.row == NULL or self.order == NULL):
            raise MemoryError
        for i, child in enumerate(np.random.SeedSequence(seed).spawn(n_trees) if seed is not None else ()):
            words = child.generate_state(4, np.uint64)
            for j in range(4):
                self.rngs[i].s[j] = words[j]
        self.memory = [None] * n_trees
        self.slot_memory = [None] * n_trees
        for i in range(n_trees):
            self.trees[i].dims = n_features
            self.trees[i].stride = self.stride
            self.trees[i].small = RCF_SMALL if low_memory else 0
            tree_clear(&self.trees[i])
            self.samples[i].capacity = capacity
            self.samples[i].decay = time_decay
            sample_clear(&self.samples[i])
            sample_foresee(&self.samples[i])
            self.reserve(i, 2)
        self.head = <double*>calloc(HEAD * n_features, sizeof(double))
        if self.head == NULL:
            raise MemoryError
        self.seen = 0
        self.warm_up = capacity

    def __dealloc__(self):
        cdef int i
        gate_free(&self.gate)
        for i in range(self.n_trees if self.trees != NULL else 0):
            free(self.trees[i].box_memory)
        free(self.trees)
        free(self.samples)
        free(self.rngs)
        free(self.origin)
        free(self.head)
        free(self.row_scores)
        free(self.row)
        free(self.order)

    # ---- memory ------------------------------------------------------------------------------------------------

    cdef int reserve(self, int i, int64_t leaves) except -1:
        """Room in tree i for that many leaves (a full tree takes the new record in before the old one goes) and slots."""
        cdef rcf_tree* t = &self.trees[i]
        cdef int64_t most = <int64_t>self.capacity + 1
        cdef int32_t room
        cdef Memory memory, slots
        if leaves > most:
            leaves = most
        if leaves <= t.capacity:
            return 0
        room = <int32_t>min(most, max(leaves, 2 * <int64_t>t.capacity))
        memory = Memory(tree_bytes(room, self.stride, self.low_memory))
        slots = Memory(<Py_ssize_t>room * sizeof(Slot))
        self.depth_room = max(self.depth_room, room)
        tree_move(t, memory.at, room)
        if self.samples[i].size:
            memcpy(slots.at, self.samples[i].slots, self.samples[i].size * sizeof(Slot))
        self.samples[i].slots = <Slot*>slots.at
        self.memory[i] = memory
        self.slot_memory[i] = slots
        return self.reserve_boxes(i, 2)

    cdef int reserve_boxes(self, int i, int32_t boxes) except -1:
        """Room for that many boxes in a tree that keeps few."""
        if self.low_memory and not rcf_box_reserve(&self.trees[i], boxes):
            raise MemoryError("no memory for the boxes of a tree")
        return 0

    cdef int reserve_all(self, int64_t more) except -1:
        """Room for that many more records: the same in every tree, so that update_record() need ask only one."""
        cdef int i
        cdef int64_t most = 0
        for i in range(self.n_trees):
            # slots and leaves are never more than the records held
            most = max(most, <int64_t>self.samples[i].size)
        for i in range(self.n_trees):
            self.reserve(i, most + more + 1)
        return 0

    cdef const double[:, :] checked(self, const double[:, :] X):
        """X, with the numbers of a row side by side; refused if one is not finite."""
        cdef ptrdiff_t r, bad
        if X.shape[1] != self.n_features:
            raise wrong_width(X.shape[1], self.n_features, "RandomCutForest")
        if X.strides[1] != sizeof(double) or X.strides[0] % <Py_ssize_t>sizeof(double):
            X = np.ascontiguousarray(X)
        if X.shape[0] > 0 and X.strides[0] == self.n_features * <Py_ssize_t>sizeof(double):
            bad = first_bad(&X[0, 0], X.shape[0] * self.n_features)
            if bad >= 0:
                refuse(X[bad // self.n_features, bad % self.n_features], bad // self.n_features, bad % self.n_features)
            return X
        for r in range(X.shape[0]):
            bad = first_bad(&X[r, 0], self.n_features)
            if bad >= 0:
                refuse(X[r, bad], r, bad)
        return X

    cdef int check_record(self, const double[::1] record) except -1:
        """Refuse a record of another width, or with a number that is not finite."""
        cdef ptrdiff_t bad
        if record.shape[0] != self.n_features:
            raise wrong_width(record.shape[0], self.n_features, "RandomCutForest")
        bad = first_bad(&record[0], self.n_features)
        if bad >= 0:
            refuse(record[bad], 0, bad)
        return 0

    # ---- learning ----------------------------------------------------------------------------------------------

    cdef inline void learn(self, const rcf_walk* walk, int p, int64_t n, double weight, rcf_step* scratch) noexcept nogil:
        """The record of pair p of the walk, number n, enters the tree of the pair."""
        cdef int i = walk.pair[p].tree - self.trees
        cdef int32_t leaf = tree_insert(&self.trees[i], walk.pair[p].x, &self.rngs[i], walk.leaf[p], walk.n_open[p],
                                        <rcf_step*>walk.open[p], scratch)
        cdef int32_t evicted = sample_enter(&self.samples[i], n, weight, leaf, &self.rngs[i])
        cdef int32_t j = 0
        if leaf < 0:
            # no memory for a box: the tree forgets the record again
            self.starved = True
            while self.samples[i].slots[j].item >= 0:
                j += 1
            sample_remove(&self.samples[i], j)
        if evicted >= 0:
            tree_forget(&self.trees[i], evicted)

    cdef inline int64_t next_entering(self, int i, int64_t row, int64_t n_rows, int64_t seen, const double* weights) noexcept nogil:
        """The next row, from `row` on, that enters tree i; n_rows if none does."""
        cdef Sample* sample = &self.samples[i]
        if weights == NULL:
            return min(sample.next - seen - 1, n_rows)
        while row < n_rows and not sample_admits(sample, seen + row + 1, weights[row]):
            row += 1
        return row

    cdef inline void fetch_ahead(self, int* tree, int last, size_t* at) noexcept nogil:
        """Bring the next kilobytes of the trees up to `last`, which learn next, and their samples into the second-level cache."""
        cdef int lines = 96  # of 64 bytes; in a round of some 80 pairs this is a hundredth of the time
        cdef size_t of_tree = tree_bytes(self.trees[0].capacity, self.stride, False)
        cdef size_t of_both = of_tree + self.trees[0].capacity * sizeof(Slot)
        if tree[0] >= last or self.low_memory or 2 * GROUP * of_both > AHEAD:
            return
        while lines > 0 and tree[0] < last:
            if at[0] < of_tree:
                rcf_prefetch_l2(<const char*>self.trees[tree[0]].boxes + at[0])
            else:
                rcf_prefetch_l2(<const char*>self.samples[tree[0]].slots + (at[0] - of_tree))
            at[0] += 64
            lines -= 1
            if at[0] >= of_both:
                at[0] = 0
                tree[0] += 1

    cdef void learn_rows(self, int first, int last, int next_last, const float* rows, int64_t n_rows, int64_t seen,
                         const double* weights, int kind, Work* work) noexcept nogil:
        """Trees first .. last - 1, at most GROUP, learn the rows in turn; `seen` came before them. Up to next_last they are next.

        With kind >= 0, work.scores[(i - first) * n_rows + r] becomes the score of row r by tree i. The rows up to the
        next one that enters a tree meet the same tree; those of all trees are walked together.
        """
        cdef int n_trees = last - first, g, p, n, entering, share = pairs_at_once(kind) // n_trees
        cdef int64_t silent = n_rows if kind < 0 else min(max(self.warm_up - seen, <int64_t>0), n_rows), r
        cdef int64_t[GROUP] at, end, enters
        cdef int[GROUP] learner
        cdef double* place[RCF_PAIRS]
        cdef double unused
        cdef int ahead = last
        cdef size_t ahead_at = 0
        cdef rcf_walk walk
        for g in range(n_trees):
            at[g] = 0
            enters[g] = self.next_entering(first + g, 0, n_rows, seen, weights)
            if kind >= 0:
                memset(work.scores + g * n_rows, 0, silent * sizeof(double))
        while True:
            n = 0
            for g in range(n_trees):
                # rows that are not to be scored are passed over
                at[g] = max(at[g], min(silent, enters[g]))
                end[g] = min(min(at[g] + share, enters[g] + 1), n_rows)
                if end[g] > enters[g]:
                    learner[n] = g
                    walk.pair[n].tree = &self.trees[first + g]
                    walk.pair[n].x = rows + enters[g] * self.stride
                    place[n] = work.scores + g * n_rows + enters[g] if enters[g] >= silent else &unused
                    n += 1
            entering = n
            for g in range(n_trees):
                for r in range(at[g], min(end[g], enters[g])):
                    walk.pair[n].tree = &self.trees[first + g]
                    walk.pair[n].x = rows + r * self.stride
                    place[n] = work.scores + g * n_rows + r
                    n += 1
            if n == 0:
                return
            rcf_walks.score_pairs(max(kind, 0), RCF_NEAR_TREES, &walk, n, entering, work.ratios, work.levels)
            self.fetch_ahead(&ahead, next_last, &ahead_at)
            for p in range(n):
                place[p][0] = walk.score[p]
            for p in range(entering):
                g = learner[p]
                self.learn(&walk, p, seen + enters[g] + 1, 1.0 if weights == NULL else weights[enters[g]], work.open)
                enters[g] = self.next_entering(first + g, enters[g] + 1, n_rows, seen, weights)
            for g in range(n_trees):
                at[g] = end[g]

    def _learn_blocks(self, int first, int last, uintptr_t rows, int64_t n_rows, uintptr_t weights, int kind, uintptr_t out):
        cdef int i, begin_tree = first * BLOCK, end_tree = min(last * BLOCK, self.n_trees), after
        cdef int64_t begin = 0, n, r
        cdef double* target
        cdef double* scores
        cdef Work work
        cdef Memory memory = room_to_work(&work, self.depth_room, min(<int64_t>CHUNK, n_rows), 0, GROUP)
        with nogil:
            while begin < n_rows:
                n = min(<int64_t>CHUNK, n_rows - begin)
                while begin_tree < end_tree:
                    after = min(begin_tree + GROUP, end_tree)
                    self.learn_rows(begin_tree, after, min(after + GROUP, end_tree),
                                    (<const float*>rows) + begin * self.stride, n, self.seen + begin,
                                    NULL if weights == 0 else (<double*>weights) + begin, kind, &work)
                    if kind >= 0:
                        for i in range(begin_tree, after):
                            target = (<double*>out) + (i // BLOCK) * n_rows + begin
                            scores = work.scores + (i - begin_tree) * n
                            for r in range(n):
                                target[r] += scores[r]
                    begin_tree = after
                begin_tree = first * BLOCK
                begin += n

    cdef of_means(self, int kind, double[::1] means):
        """The scores of records for which the trees give these values in the mean."""
        cdef ptrdiff_t r
        for r in range(means.shape[0]):
            means[r] = rcf_score_of_mean(kind, means[r])
        return np.asarray(means)

    cdef inline int _blocks(self) noexcept:
        return (self.n_trees + BLOCK - 1) // BLOCK

    def update(self, const double[:, :] X, weights, str method, int n_jobs=1):
        """Score (by `method`; None: do not) and learn the rows in turn; returns the scores, or None."""
        cdef int kind = -1 if method is None else kind_of(method)
        cdef const double[::1] w
        cdef int64_t n = X.shape[0], done = 0, part, i, silent
        cdef float[:, ::1] rows
        cdef double[:, ::1] blocks
        cdef uintptr_t w_at = 0, out_at = 0
        X = self.checked(X)
        if weights is not None:
            w = weights
            check_weights(w, n)
        scores = np.zeros(n) if kind >= 0 else None
        if n == 0:
            return scores
        held = np.empty((min(n, BATCH), self.stride), dtype=np.float32)
        rows = held
        if kind >= 0:
            sums = np.empty((self._blocks(), min(n, BATCH)))
            blocks = sums
        gate_write(&self.gate)
        try:
            self.reserve_all(n)
            silent = min(max(self.warm_up - self.seen, <int64_t>0), n)  # records that score 0
            while done < n:
                part = min(<int64_t>BATCH, n - done)
                if self.seen == 0 and self.head != NULL:
                    memcpy(self.origin, &X[done, 0], self.n_features * sizeof(double))
                if self.head != NULL:
                    part = min(part, HEAD - self.seen)
                    for i in range(part):
                        memcpy(self.head + (self.seen + i) * self.n_features, &X[done + i, 0],
                               self.n_features * sizeof(double))
                for i in range(part):
                    rcf_narrow(&rows[i, 0], &X[done + i, 0], self.origin, self.n_features, self.stride)
                if weights is not None:
                    w_at = <uintptr_t>&w[done]
                if kind >= 0:
                    out_at = <uintptr_t>&blocks[0, 0]
                    memset(<void*>out_at, 0, self._blocks() * part * sizeof(double))
                at = <uintptr_t>&rows[0, 0]
                in_threads(lambda a, b: self._learn_blocks(a, b, at, part, w_at, kind, out_at), 0, self._blocks(), n_jobs)
                if kind >= 0:
                    total = sums.reshape(-1)[: self._blocks() * part].reshape(-1, part)
                    target = scores[done:done + part]
                    for block in total:
                        target += block
                self.seen += part
                done += part
                if self.head != NULL and self.seen == HEAD:
                    self.settle_origin()
                if self.starved:
                    self.starved = False
                    raise MemoryError(f"no memory for all boxes: of {n} records {done} were learned, "
                                      "some of them not by every tree")
        finally:
            gate_write_done(&self.gate)
        if kind >= 0:
            scores[silent:] = self.of_means(kind, scores[silent:] / self.n_trees)
        return scores

    cdef int settle_origin(self) except -1:
        """Move the origin from the first record to the median of the first few, and grow the trees again from these."""
        cdef int i, j
        cdef Sample* s
        cdef double[:, ::1] first = <double[:HEAD, :self.n_features]>self.head
        cdef double[::1] middle = np.median(first, axis=0)
        cdef float[:, ::1] rows = np.empty((HEAD, self.stride), dtype=np.float32)
        cdef int32_t[::1] items = np.empty(HEAD, dtype=np.int32)
        for j in range(self.n_features):
            self.origin[j] = middle[j]
        for i in range(self.n_trees):
            self.reserve_boxes(i, HEAD)  # as many as they may come to
        for i in range(self.n_trees):
            s = &self.samples[i]
            if s.size == 0:
                continue
            for j in range(s.size):
                rcf_narrow(&rows[j, 0], self.head + (s.slots[j].arrival - 1) * self.n_features, self.origin,
                           self.n_features, self.stride)
            if not tree_build(&self.trees[i], &rows[0, 0], s.size, &items[0], &self.rngs[i]):
                raise MemoryError
            for j in range(s.size):
                s.slots[j].item = items[j]
        free(self.head)
        self.head = NULL
        return 0

    def update_record(self, record, str method not None):
        """The score of one record (n_features,), which is then learned."""
        cdef int kind = kind_of(method)
        cdef double mean
        if self.head != NULL or self.trees[0].capacity <= self.capacity:
            # still growing
            return float(self.update(np.ascontiguousarray(record, dtype=np.float64).reshape(1, -1), None, method)[0])
        share_room(self.capacity + 1)  # before the gate: it may fail
        self.take_record(record)
        mean = self.walk_record(kind)
        gate_write_done(&self.gate)
        return rcf_score_of_mean(kind, mean) if self.seen > self.warm_up else 0.0

    cdef int take_record(self, record) except -1:
        """Check a record and put it into self.row; the gate is closed behind it, and memory for the boxes is there."""
        cdef Py_buffer view
        cdef ptrdiff_t bad
        cdef int i
        PyObject_GetBuffer(record, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        try:
            if view.format == NULL or view.format[0] != b"d" or view.format[1] != 0 or view.ndim != 1:
                raise TypeError("a record must be a one-dimensional array of float64")
            if view.shape[0] != self.n_features:
                raise wrong_width(view.shape[0], self.n_features, "RandomCutForest")
            bad = first_bad(<double*>view.buf, self.n_features)
            if bad >= 0:
                refuse((<double*>view.buf)[bad], 0, bad)
            gate_write(&self.gate)
            for i in range(self.n_trees if self.low_memory else 0):
                if self.samples[i].next == self.seen + 1 and not rcf_box_ready(&self.trees[i]):
                    gate_write_done(&self.gate)
                    raise MemoryError("no memory for the boxes of a tree")
            rcf_narrow(self.row, <double*>view.buf, self.origin, self.n_features, self.stride)
        finally:
            PyBuffer_Release(&view)
        return 0

    cdef double walk_record(self, int kind) noexcept:
        """Score the record in self.row, learn it, and return the mean over the trees."""
        cdef int i, p, block, begin = 0, end, count, entering = 0, learning
        cdef int64_t n = self.seen + 1
        cdef double total = 0.0, sum_of_block
        cdef Sample* sample
        cdef Sample* heaps[RCF_PAIRS]
        cdef rcf_path paths[RCF_PAIRS]
        cdef rcf_walk walk
        # the trees that take the record in (a tenth) come first, because the walk keeps of these what the insertion needs
        for i in range(self.n_trees):
            # without a branch: it could not be guessed
            self.order[entering] = i
            self.order[self.n_trees - 1 - i + entering] = i
            entering += <int>(self.samples[i].next == n)
        end = self.n_trees if n > self.warm_up else entering
        while begin < end:
            count = min(pairs_at_once(kind), end - begin)
            learning = max(min(count, entering - begin), 0)
            for p in range(count):
                walk.pair[p].tree = &self.trees[self.order[begin + p]]
                walk.pair[p].x = self.row
            rcf_walks.score_pairs(kind, RCF_FAR_TREES, &walk, count, learning, shared.ratios, shared.levels)
            for p in range(count):
                self.row_scores[self.order[begin + p]] = walk.score[p]
            # what the insertions and deletions touch lies in the outer caches
            for p in range(learning):
                sample = &self.samples[self.order[begin + p]]
                heaps[p] = sample
                paths[p].tree = walk.pair[p].tree
                paths[p].at = sample.slots[0].item if sample.size == self.capacity else -1
            rcf_prefetch_paths(paths, learning)
            prefetch_heaps(heaps, learning)
            for p in range(learning):
                self.learn(&walk, p, n, 1.0, shared.open)
            begin += count
        if n > self.warm_up:
            for block in range(self._blocks()):
                sum_of_block = 0.0
                for i in range(block * BLOCK, min((block + 1) * BLOCK, self.n_trees)):
                    sum_of_block += self.row_scores[i]
                total += sum_of_block
        self.seen = n
        return total / self.n_trees

    # ---- fitting -----------------------------------------------------------------------------------------------

    def fit(self, const double[:, :] X, weights, bint as_stream, bint disjoint, int n_jobs=1):
        """Forget everything and take a fresh sample of the rows into each tree.

        With `as_stream` the rows are sampled as records that came in turn, by the forest's time decay; else as having come
        together. With `disjoint`, tree i takes rows [i k, (i + 1) k), k = n // n_trees, as SageMaker does.
        """
        cdef int64_t n = X.shape[0], i, size
        cdef int j
        cdef ptrdiff_t step
        cdef const double[::1] w, cumulative
        cdef uintptr_t w_at = 0, cumulative_at = 0
        cdef double decay = self.time_decay if as_stream else 0.0
        X = self.checked(X)
        if n == 0:
            raise ValueError("cannot fit on no rows")
        if disjoint and n < self.n_trees:
            raise ValueError(f"{n} rows cannot be shared out among {self.n_trees} trees")
        if weights is not None:
            w = weights
            check_weights(w, n)
            cumulative = np.cumsum(weights)
            w_at, cumulative_at = <uintptr_t>&w[0], <uintptr_t>&cumulative[0]
        size = min(n, <int64_t>self.capacity)
        gate_write(&self.gate)
        try:
            for j in range(self.n_trees):
                self.reserve(j, size + 1)
            free(self.head)
            self.head = NULL
            self.seen = n
            self.warm_up = 0
            self.table = n if decay == 0.0 else 0
            at, step = <uintptr_t>&X[0, 0], X.strides[0] // <Py_ssize_t>sizeof(double)
            # the first sample tells where the data lie
            self._sample_rows(0, 1, n, w_at, cumulative_at, decay, disjoint)
            taken = [self.samples[0].slots[i].arrival - 1 for i in range(self.samples[0].size)]
            middle = np.median(np.asarray(X)[np.sort(taken)], axis=0)
            for j in range(self.n_features):
                self.origin[j] = middle[j]
            self._grow(0, 1, at, step)

            def work(a, b):
                self._sample_rows(a, b, n, w_at, cumulative_at, decay, disjoint)
                self._grow(a, b, at, step)

            in_threads(work, 1, self.n_trees, n_jobs)
        finally:
            gate_write_done(&self.gate)

    def _sample_rows(self, int first, int last, int64_t n, uintptr_t weights, uintptr_t cumulative, double decay, bint disjoint):
        """Fill the samples of the trees with numbers of rows (slot.arrival, from 1)."""
        cdef int i
        cdef bint fine = True
        with nogil:
            for i in range(first, last):
                sample_clear(&self.samples[i])
                if weights != 0:
                    sample_weighted(&self.samples[i], <const double*>weights, <const double*>cumulative, n, decay,
                                    &self.rngs[i])
                elif disjoint:
                    fine = fine and sample_uniform(&self.samples[i], n // self.n_trees, n // self.n_trees * i, n, &self.rngs[i])
                elif decay > 0.0:
                    sample_stream(&self.samples[i], n, &self.rngs[i])
                else:
                    fine = fine and sample_uniform(&self.samples[i], n, 0, n, &self.rngs[i])
        if not fine:
            raise MemoryError

    def _grow(self, int first, int last, uintptr_t X, ptrdiff_t step):
        """Build the trees on the rows that their samples name."""
        cdef int i
        cdef int64_t j
        cdef Sample* s
        cdef bint fine = True
        cdef Memory row_memory = Memory(self.capacity_used() * self.stride * sizeof(float))
        cdef Memory item_memory = Memory(self.capacity_used() * sizeof(int32_t))
        cdef float* rows = <float*>row_memory.at
        cdef int32_t* items = <int32_t*>item_memory.at
        with nogil:
            for i in range(first, last):
                s = &self.samples[i]
                for j in range(s.size):
                    rcf_narrow(rows + j * self.stride, (<const double*>X) + (s.slots[j].arrival - 1) * step,
                               self.origin, self.n_features, self.stride)
                fine = fine and tree_build(&self.trees[i], rows, s.size, items, &self.rngs[i])
                for j in range(s.size):
                    s.slots[j].item = items[j]
        if not fine:
            raise MemoryError

    cdef int64_t capacity_used(self) noexcept:
        cdef int64_t most = 1
        cdef int i
        for i in range(self.n_trees):
            most = max(most, <int64_t>self.samples[i].size, <int64_t>min(self.capacity, self.trees[i].capacity))
        return most

    # ---- reading -----------------------------------------------------------------------------------------------

    def _by_rows(self, const double[:, :] X, shape, int n_jobs, work):
        """Zeros (n, *shape) for n rows, into which work(X, step, first, last, out) puts what it finds for rows first .. last - 1.

        `X` and `out` are addresses, and `step` numbers lie from row to row.
        """
        cdef int64_t n = X.shape[0]
        cdef uintptr_t at, out_at
        cdef ptrdiff_t step
        cdef double[::1] flat
        out = np.zeros((n, *shape))
        X = self.checked(X)
        if n == 0:
            return out
        flat = out.reshape(-1)
        at, out_at, step = <uintptr_t>&X[0, 0], <uintptr_t>&flat[0], X.strides[0] // <Py_ssize_t>sizeof(double)
        gate_read(&self.gate)
        try:
            in_threads(lambda a, b: work(at, step, a, b, out_at), 0, n, n_jobs)
        finally:
            gate_read_done(&self.gate)
        return out

    def score(self, X, str method not None, int n_jobs=1):
        """The mean score over the trees of each row; learns nothing."""
        cdef int kind = kind_of(method)
        return self._by_rows(X, (), n_jobs, lambda at, step, a, b, out: self._score_rows(at, step, a, b, kind, out))

    def _score_rows(self, uintptr_t X, ptrdiff_t step, int64_t first, int64_t last, int kind, uintptr_t out):
        cdef int i, block
        cdef int64_t r, n, begin = first, most = min(<int64_t>SWEEP if self.stride <= 16 else SWEEP // 2, last - first)
        cdef double* target = <double*>out
        cdef rcf_sweep sweep
        cdef Work work
        if last - first <= FEW:
            self._score_few_rows(X, step, first, last, kind, out)
            return
        cdef Memory memory = room_to_work(&work, self.depth_room, most, self.stride, 1)
        cdef Memory sweep_memory = room_to_sweep(&sweep, most, self.stride)
        with nogil:
            while begin < last:
                n = min(most, last - begin)
                for r in range(n):
                    rcf_narrow(work.rows + r * self.stride, (<const double*>X) + (begin + r) * step,
                               self.origin, self.n_features, self.stride)
                for block in range((self.n_trees + BLOCK - 1) // BLOCK):
                    memset(work.scores, 0, n * sizeof(double))
                    for i in range(block * BLOCK, min((block + 1) * BLOCK, self.n_trees)):
                        if kind != RCF_PATH and self.trees[i].root >= 0 and n >= 4 * self.trees[i].n_leaves:
                            rcf_walks.sweep_rows(kind, &self.trees[i], work.rows, n, &sweep, work.scores)
                        else:
                            score_rows(kind, &self.trees[i], work.rows, n, &work)
                    for r in range(n):
                        target[begin + r] += work.scores[r]
                for r in range(n):
                    target[begin + r] = rcf_score_of_mean(kind, target[begin + r] / self.n_trees)
                begin += n

    def _score_few_rows(self, uintptr_t X, ptrdiff_t step, int64_t first, int64_t last, int kind, uintptr_t out):
        """The same for so few rows that pairs are gathered across the trees."""
        cdef int i, block, at_once = pairs_at_once(kind), p = 0
        cdef int64_t r, n = last - first, done = 0
        cdef double* target = <double*>out
        cdef double sum_of_block
        cdef rcf_walk walk
        cdef Work work
        cdef Memory memory = room_to_work(&work, self.depth_room, n, self.stride, self.n_trees)
        with nogil:
            for r in range(n):
                rcf_narrow(work.rows + r * self.stride, (<const double*>X) + (first + r) * step,
                           self.origin, self.n_features, self.stride)
            for i in range(self.n_trees):
                for r in range(n):
                    walk.pair[p].tree = &self.trees[i]
                    walk.pair[p].x = work.rows + r * self.stride
                    p += 1
                    if p == at_once or (i == self.n_trees - 1 and r == n - 1):
                        rcf_walks.score_pairs(kind, RCF_FAR_TREES, &walk, p, 0, work.ratios, work.levels)
                        memcpy(work.scores + done, walk.score, p * sizeof(double))
                        done += p
                        p = 0
            for block in range((self.n_trees + BLOCK - 1) // BLOCK):
                for r in range(n):
                    sum_of_block = 0.0
                    for i in range(block * BLOCK, min((block + 1) * BLOCK, self.n_trees)):
                        sum_of_block += work.scores[i * n + r]
                    target[first + r] += sum_of_block
            for r in range(n):
                target[first + r] = rcf_score_of_mean(kind, target[first + r] / self.n_trees)

    def attribution(self, X, str method not None, int n_jobs=1):
        """(n, n_features, 2): what each feature adds to the score, [..., 0] by lying high and [..., 1] by lying low."""
        cdef int kind = kind_with_parts(method)
        return self._by_rows(X, (self.n_features, 2), n_jobs,
                            lambda at, step, a, b, out: self._attribute_rows(at, step, a, b, kind, out))

    def _attribute_rows(self, uintptr_t X, ptrdiff_t step, int64_t first, int64_t last, int kind, uintptr_t out):
        cdef int i
        cdef int64_t r, k
        cdef int width = 2 * self.n_features
        cdef double* target
        cdef Work work
        cdef Memory memory = room_to_work(&work, self.depth_room, 1, self.stride, 0)
        cdef Memory parts = Memory(2 * width * sizeof(double) + 6 * self.stride * sizeof(float))
        with nogil:
            for r in range(first, last):
                target = (<double*>out) + r * width
                rcf_narrow(work.rows, (<const double*>X) + r * step, self.origin, self.n_features, self.stride)
                for i in range(self.n_trees):
                    tree_attribute(kind, &self.trees[i], work.rows, <double*>parts.at, work.ratios, target)
                for k in range(width):
                    target[k] /= self.n_trees

    def density(self, X, int n_jobs=1):
        """(n, 3, n_features, 2): mass, length and share of `tree_density`, means over the trees."""
        return self._by_rows(X, (3, self.n_features, 2), n_jobs, self._density_rows)

    def _density_rows(self, uintptr_t X, ptrdiff_t step, int64_t first, int64_t last, uintptr_t out):
        cdef int i
        cdef int64_t r, k
        cdef int width = 6 * self.n_features
        cdef double* target
        cdef Memory row_memory = Memory(self.stride * sizeof(float))
        cdef Memory parts = Memory(8 * self.n_features * sizeof(double) + 6 * self.stride * sizeof(float))
        cdef float* row = <float*>row_memory.at
        with nogil:
            for r in range(first, last):
                target = (<double*>out) + r * width
                rcf_narrow(row, (<const double*>X) + r * step, self.origin, self.n_features, self.stride)
                for i in range(self.n_trees):
                    tree_density(&self.trees[i], row, <double*>parts.at, target)
                for k in range(width):
                    target[k] /= self.n_trees

    def leaves_of(self, const double[::1] record):
        """The point in the leaf of each tree that holds something, where the record falls: (trees, n_features), from the origin."""
        cdef int i, k, n = 0
        cdef int32_t leaf
        self.check_record(record)
        cdef float[::1] row = np.empty(self.stride, dtype=np.float32)
        found = np.empty((self.n_trees, self.n_features), dtype=np.float32)
        cdef float[:, ::1] points = found
        gate_read(&self.gate)
        rcf_narrow(&row[0], &record[0], self.origin, self.n_features, self.stride)
        for i in range(self.n_trees):
            if self.trees[i].mass > 0:
                leaf = rcf_descend(&self.trees[i], &row[0])
                memcpy(&points[n, 0], self.trees[i].points + <size_t>leaf * self.stride, self.n_features * sizeof(float))
                n += 1
        gate_read_done(&self.gate)
        return found[:n]

    # ---- forgetting --------------------------------------------------------------------------------------------

    def forget(self, const double[::1] record):
        """Take one record equal to this one, the oldest held, out of each tree; returns how many trees held it."""
        cdef int i, found = 0
        cdef int32_t leaf, j, oldest
        cdef Sample* s
        self.check_record(record)
        gate_write(&self.gate)
        rcf_narrow(self.row, &record[0], self.origin, self.n_features, self.stride)
        for i in range(self.n_trees):
            if self.trees[i].mass == 0:
                continue
            leaf = rcf_descend(&self.trees[i], self.row)
            if not same_point(&self.trees[i], leaf, self.row):
                continue
            s = &self.samples[i]
            oldest = -1
            for j in range(s.size):
                if s.slots[j].item == leaf and (oldest < 0 or s.slots[j].arrival < s.slots[oldest].arrival):
                    oldest = j
            sample_remove(s, oldest)
            tree_forget(&self.trees[i], leaf)
            found += 1
        gate_write_done(&self.gate)
        return found

    # ---- merging -----------------------------------------------------------------------------------------------

    def merge(self, Forest other not None):
        """Take in a forest whose stream followed this one's; the other is left as it is.

        Its record k counts as record n_seen + k of this one; two tables become one table. Tree by tree a sample of both is drawn
        from the two samples, and a tree is built on it: in distribution, the forest of the whole stream.
        """
        cdef Forest grown
        if other is self:
            raise ValueError("cannot merge a forest with itself: its records would count twice")
        for name in ("n_features", "n_trees", "capacity", "time_decay"):
            if getattr(self, name) != getattr(other, name):
                raise ValueError(f"{name} differs: {getattr(self, name)} and {getattr(other, name)}")
        theirs = other.state()  # before the gate closes: two threads may merge two forests crosswise
        gate_write(&self.gate)
        try:
            grown = self.merged(self.snapshot(), theirs)
            # nothing can fail from here on
            self.trees, grown.trees = grown.trees, self.trees
            self.samples, grown.samples = grown.samples, self.samples
            self.rngs, grown.rngs = grown.rngs, self.rngs
            self.origin, grown.origin = grown.origin, self.origin
            self.head, grown.head = grown.head, self.head
            self.depth_room = grown.depth_room
            self.memory, self.slot_memory = grown.memory, grown.slot_memory
            self.seen, self.warm_up, self.table = grown.seen, grown.warm_up, grown.table
        finally:
            gate_write_done(&self.gate)

    cdef Forest merged(self, dict mine, dict theirs):
        """The forest of both streams."""
        cdef dict state = merged_records(mine, theirs)
        cdef Forest grown = bare(state, self.low_memory)
        cdef int i, n
        cdef int64_t at = 0, k
        cdef Sample* s
        cdef float[:, ::1] rows
        cdef const int32_t[::1] record = state["record"]
        cdef const double[::1] key = state["key"]
        cdef const int64_t[::1] arrivals = state["arrival"]
        cdef int32_t[::1] items = np.empty(self.capacity, dtype=np.int32)
        table = np.pad(state["points"], ((0, 0), (0, self.stride - self.n_features)))
        for i in range(self.n_trees):
            s = &grown.samples[i]
            grown.rngs[i] = self.rngs[i]
            n = state["size"][i]
            grown.reserve(i, n + 1)
            s.threshold = state["threshold"][i]
            if n > 0:
                rows = table[state["record"][at:at + n]]
                if not tree_build(&grown.trees[i], &rows[0, 0], n, &items[0], &grown.rngs[i]):
                    raise MemoryError
                for k in range(n):
                    s.slots[k].key, s.slots[k].arrival = key[at + k], arrivals[record[at + k]]
                    s.slots[k].item, s.slots[k].spare = items[k], 0
                s.size = n
                at += n
            sample_next(s, grown.seen, &grown.rngs[i])
        grown.reserve_all(0)
        return grown

    # ---- completion and copies ---------------------------------------------------------------------------------

    def complete(self, const double[::1] record, missing, bint held=False):
        """(n, k): for each tree that knows one, the k missing features of the point nearest in the others.

        `missing` names the k features. With `held`, `record` is whole and has just been learned: a tree's only copy of it is
        passed over.
        """
        cdef int i
        cdef ptrdiff_t j
        cdef int32_t leaf, k = 0
        cdef int64_t[::1] places = np.ascontiguousarray(missing, dtype=np.int64)
        cdef uint8_t[::1] mask = np.zeros(self.n_features, dtype=np.uint8)
        cdef int32_t[::1] stack = np.empty(2 * <Py_ssize_t>self.capacity + 3, dtype=np.int32)
        cdef float[::1] row = np.zeros(self.stride, dtype=np.float32), box = np.empty(2 * self.stride, dtype=np.float32)
        cdef double[:, ::1] out = np.empty((self.n_trees, places.shape[0]))
        self.check_record(record)
        for j in range(places.shape[0]):
            if not 0 <= places[j] < self.n_features:
                raise ValueError(f"feature {places[j]} of {self.n_features} cannot be missing")
            mask[places[j]] = 1
        gate_read(&self.gate)
        try:
            rcf_narrow(&row[0], &record[0], self.origin, self.n_features, self.stride)
            with nogil:
                for i in range(self.n_trees):
                    leaf = tree_complete(&self.trees[i], &row[0], &mask[0], held, &stack[0], &box[0])
                    if leaf < 0:
                        continue
                    for j in range(places.shape[0]):
                        out[k, j] = (<double>self.trees[i].points[<size_t>leaf * self.stride + places[j]]
                                     + self.origin[places[j]])
                    k += 1
        finally:
            gate_read_done(&self.gate)
        return np.asarray(out)[:k]

    def copy(self):
        """The same forest in memory of its own, by plain copying (a hundredth of the time of `state`)."""
        cdef Forest other = Forest(self.n_trees, self.capacity, self.n_features, self.time_decay, None, self.low_memory)
        cdef int i
        cdef rcf_tree* t
        gate_read(&self.gate)
        try:
            other.seen, other.warm_up, other.table = self.seen, self.warm_up, self.table
            memcpy(other.origin, self.origin, self.n_features * sizeof(double))
            if self.head == NULL:
                free(other.head)
                other.head = NULL
            else:
                memcpy(other.head, self.head, HEAD * self.n_features * sizeof(double))
            for i in range(self.n_trees):
                other.reserve(i, self.trees[i].capacity)
                t = &self.trees[i]
                other.reserve_boxes(i, t.box_room)
                other.rngs[i] = self.rngs[i]
                sample_copy(&other.samples[i], &self.samples[i])
                tree_copy(&other.trees[i], t)
        finally:
            gate_read_done(&self.gate)
        return other

    # ---- state -------------------------------------------------------------------------------------------------

    def state(self):
        """Everything that the future depends on, as arrays; `from_state` gives the same forest, bit for bit.

        The records that any tree holds stand once: `arrival` (ascending) and `points`. A tree is its slots (`key`, and `record`,
        a row of that table), in the order of the heap, and its nodes (`inner`, `cut`, `dim`) as _preorder.pxd writes them.
        """
        gate_read(&self.gate)
        try:
            return self.snapshot()
        finally:
            gate_read_done(&self.gate)

    cdef dict snapshot(self):
        cdef int i, n
        cdef int32_t most = 0
        cdef int64_t slots = 0, inner_nodes = 0, nodes = 0, k
        cdef const Sample* s
        cdef const rcf_tree* t
        sizes = np.empty(self.n_trees, dtype=np.int32)
        leaves = np.empty(self.n_trees, dtype=np.int32)
        cdef int32_t[::1] size_of = sizes, leaves_of = leaves
        for i in range(self.n_trees):
            size_of[i], leaves_of[i] = self.samples[i].size, count_leaves(&self.trees[i])
            slots += size_of[i]
            nodes += max(2 * leaves_of[i] - 1, 0)
            inner_nodes += max(leaves_of[i] - 1, 0)
            most = max(most, leaves_of[i])
        # one spare entry each, so that the address of the first is good in an empty forest
        inner = np.empty(nodes + 1, dtype=bool)
        cut, dim = np.empty(inner_nodes + 1, dtype=np.float32), np.empty(inner_nodes + 1, dtype=np.int32)
        key, arrivals = np.empty(slots + 1), np.empty(slots + 1, dtype=np.int64)
        cdef uint8_t[::1] inner_of = inner.view(np.uint8)
        cdef float[::1] cut_of = cut
        cdef int32_t[::1] dim_of = dim, stack = np.empty(most + 1, dtype=np.int32)
        cdef double[::1] key_of = key
        cdef int64_t[::1] arrival_of = arrivals
        with nogil:
            slots = nodes = inner_nodes = 0
            for i in range(self.n_trees):
                s, t = &self.samples[i], &self.trees[i]
                for n in range(s.size):
                    key_of[slots + n], arrival_of[slots + n] = s.slots[n].key, s.slots[n].arrival
                slots += s.size
                write_nodes(t, &inner_of[nodes], &cut_of[inner_nodes], &dim_of[inner_nodes], &stack[0])
                nodes += max(2 * leaves_of[i] - 1, 0)
                inner_nodes += max(leaves_of[i] - 1, 0)
        arrival, record = np.unique(arrivals[:slots], return_inverse=True)
        record = record.astype(np.int32)
        points = np.empty((len(arrival) + 1, self.n_features), dtype=np.float32)
        cdef const int32_t[::1] record_of = record
        cdef float[:, ::1] point_of = points
        with nogil:
            slots = 0
            for i in range(self.n_trees):
                s, t = &self.samples[i], &self.trees[i]
                for n in range(s.size):
                    memcpy(&point_of[record_of[slots + n], 0], t.points + <size_t>s.slots[n].item * t.stride,
                           self.n_features * sizeof(float))
                slots += s.size
        head = np.empty((0, self.n_features))
        if self.head != NULL and self.seen > 0:
            head = np.array(<double[:HEAD, :self.n_features]>self.head)[:self.seen]
        return {
            "n_trees": self.n_trees, "capacity": self.capacity, "n_features": self.n_features,
            "time_decay": self.time_decay, "seen": self.seen, "warm_up": self.warm_up, "table": self.table,
            "growing": self.head != NULL, "origin": self.origin_, "head": head,
            "rng": np.array([[self.rngs[i].s[n] for n in range(4)] for i in range(self.n_trees)], dtype=np.uint64),
            "size": sizes, "leaves": leaves,
            "threshold": np.array([self.samples[i].threshold for i in range(self.n_trees)]),
            "budget": np.array([self.samples[i].budget for i in range(self.n_trees)]),
            "next": np.array([self.samples[i].next for i in range(self.n_trees)], dtype=np.int64),
            "settled": np.array([self.samples[i].settled for i in range(self.n_trees)], dtype=np.int64),
            "key": key[:slots], "record": record[:slots], "arrival": arrival, "points": points[:len(arrival)],
            "inner": inner[:nodes], "cut": cut[:inner_nodes], "dim": dim[:inner_nodes],
        }

    @staticmethod
    def from_state(state, bint low_memory=False):
        """The forest of a `state()`; ModelStateError where the arrays do not describe one. Trusts nothing.

        There are no boxes in a state, so the forest may come to keep few of them.
        """
        cdef Forest self
        cdef int i
        cdef int32_t n, k
        cdef int64_t slots = 0, nodes = 0, inner_nodes = 0, n_records, room
        cdef const char* wrong
        check_state(state)
        self = bare(state, low_memory)
        n_records, room = len(state["arrival"]), int(state["size"].max()) + 1

        def flat(name, kind):
            """One piece, with an entry to spare: the address of the first is good in an empty forest."""
            return np.append(state[name].reshape(-1).view(kind), np.zeros(1, dtype=kind))

        cdef const uint8_t[::1] inner = flat("inner", np.uint8)
        cdef const float[::1] cut = flat("cut", np.float32), points = flat("points", np.float32)
        cdef const int32_t[::1] dim = flat("dim", np.int32), record = flat("record", np.int32)
        cdef const double[::1] key = flat("key", np.float64)
        cdef const int64_t[::1] arrivals = flat("arrival", np.int64)
        cdef int32_t[::1] holder = np.full(n_records + 1, -1, dtype=np.int32)
        for i in range(self.n_trees):
            n, k = state["size"][i], state["leaves"][i]
            self.reserve(i, room)  # in every tree the same, as learning leaves it
            if n > 0:
                with nogil:
                    wrong = read_nodes(&self.trees[i], k, &inner[nodes], &cut[inner_nodes], &dim[inner_nodes])
                    if wrong == NULL:
                        wrong = read_slots(&self.trees[i], &self.samples[i], n, &key[slots], &record[slots], n_records,
                                           &arrivals[0], &points[0], &holder[0], i)
                if wrong != NULL:
                    raise ModelStateError(f"tree {i}: {wrong.decode()}")
                slots += n
                nodes += 2 * k - 1
                inner_nodes += k - 1
            words = state["rng"][i]
            self.rngs[i].s[0], self.rngs[i].s[1], self.rngs[i].s[2], self.rngs[i].s[3] = words[0], words[1], words[2], words[3]
            self.samples[i].threshold, self.samples[i].budget = state["threshold"][i], state["budget"][i]
            self.samples[i].next, self.samples[i].settled = state["next"][i], state["settled"][i]
        return self

    def __reduce__(self):
        return Forest.from_state, (self.state(), self.low_memory)

    # ---- looking inside ----------------------------------------------------------------------------------------

    @property
    def n_seen(self):
        return self.seen

    @property
    def origin_(self):
        """What is subtracted from each feature before it is narrowed to a float."""
        return np.array(<double[:self.n_features]>self.origin)

    def masses(self):
        """Records held by each tree."""
        return np.array([self.trees[i].mass for i in range(self.n_trees)], dtype=np.int64)

    def nbytes(self):
        """Bytes of memory that the trees and their samples take."""
        return (self.n_trees * (sizeof(rcf_tree) + sizeof(Sample) + sizeof(Rng))
                + sum(len(memoryview(m)) for m in self.memory + self.slot_memory)
                + sum(box_bytes(&self.trees[i]) for i in range(self.n_trees)))

    def points(self, int i):
        """The distinct records that tree i holds, as they came but for the rounding to float32: (leaves, n_features)."""
        tree = self.tree(i)
        return tree["points"][tree["leaves"]["mass"] > 0] + self.origin_

    def reading(self, work):
        """work(), while nobody writes."""
        gate_read(&self.gate)
        try:
            return work()
        finally:
            gate_read_done(&self.gate)

    def tree(self, int i):
        """Read-only arrays over the memory of tree i; they change as it learns. Where few boxes are kept, `boxes` is a copy."""
        cdef rcf_tree* t
        cdef uintptr_t start
        cdef float[:, :, ::1] box_of
        cdef const float* lower
        cdef const float* upper
        cdef int32_t v
        if not 0 <= i < self.n_trees:
            raise IndexError(f"tree {i} of {self.n_trees}")
        t = &self.trees[i]
        memory, slots = self.memory[i], self.slot_memory[i]
        start = <uintptr_t>(<Memory>memory).at

        def view(kind, uintptr_t at, *shape):
            return np.ndarray(shape, kind, memory, at - start)

        if t.small:
            boxes = np.zeros((t.n_nodes, 2, self.stride), dtype=np.float32)
            box_of = boxes
            for v in range(t.n_nodes):
                if t.nodes[v].mass > 0:
                    corners_of(t, v, &box_of[v, 0, 0], &lower, &upper)
                    memmove(&box_of[v, 0, 0], lower, 2 * self.stride * sizeof(float))
            boxes.flags.writeable = False
        else:
            boxes = view(np.float32, <uintptr_t>t.boxes, t.n_nodes, 2, self.stride)
        cuts = np.dtype([("child", np.int32, 2), ("value", np.float32), ("dim", np.int32)])
        nodes = np.dtype([("range", np.float64), ("mass", np.int32), ("parent", np.int32)])
        leaves = np.dtype([("mass", np.int32), ("parent", np.int32)])
        slot = np.dtype([("key", np.float64), ("arrival", np.int64), ("leaf", np.int32), ("spare", np.int32)])
        return {
            "root": t.root,
            "mass": t.mass,
            "cuts": view(cuts, <uintptr_t>t.cuts, t.n_nodes),
            "nodes": view(nodes, <uintptr_t>t.nodes, t.n_nodes),
            "boxes": boxes[:, :, :self.n_features],
            "points": view(np.float32, <uintptr_t>t.points, t.n_leaves, self.stride)[:, :self.n_features],
            # with the zeros that fill up a row
            "wide_boxes": boxes,
            "wide_points": view(np.float32, <uintptr_t>t.points, t.n_leaves, self.stride),
            "leaves": view(leaves, <uintptr_t>t.leaves, t.n_leaves),
            "slots": np.ndarray((self.samples[i].size,), slot, slots),
        }


cdef Forest bare(state, bint low_memory):
    """A forest that has seen what that of the state has, and holds nothing."""
    cdef Forest forest = Forest(state["n_trees"], state["capacity"], state["n_features"], state["time_decay"], None, low_memory)
    forest.seen, forest.warm_up, forest.table = state["seen"], state["warm_up"], state["table"]
    if state["growing"]:
        (<object>np.asarray(<double[:HEAD, :forest.n_features]>forest.head))[:forest.seen] = state["head"]
    else:
        free(forest.head)
        forest.head = NULL
    (<object>np.asarray(<double[:forest.n_features]>forest.origin))[:] = state["origin"]
    return forest


# ---- for the tests -----------------------------------------------------------------------------------------------
# Helpers that are inline and have no other way out, one call each.

cdef extern from "_native/portable_math.h" nogil:
    double _log "rcf_log"(double x)
    double _log1p "rcf_log1p"(double x)
    double _log2 "rcf_log2"(double x)
    double _exp "rcf_exp"(double x)
    double _exp2 "rcf_exp2"(double x)
    double _expm1 "rcf_expm1"(double x)


def _py_math(str name, double x):
    if name == "log":
        return _log(x)
    if name == "log1p":
        return _log1p(x)
    if name == "log2":
        return _log2(x)
    if name == "exp":
        return _exp(x)
    if name == "exp2":
        return _exp2(x)
    if name == "mean_length":
        return rcf_mean_length(<int32_t>x)
    return _expm1(x)


def _py_random(str name, words, int n, uint64_t bound=0):
    """n draws of a generator in that state."""
    cdef Rng rng
    for k in range(4):
        rng.s[k] = words[k]
    if name == "next_word":
        return [next_word(&rng) for _ in range(n)]
    if name == "uniform":
        return [uniform(&rng) for _ in range(n)]
    if name == "exponential":
        return [exponential(&rng) for _ in range(n)]
    return [below(&rng, bound) for _ in range(n)]


def _py_cut_between(double v, float base, float top):
    return rcf_cut_between(v, base, top)


def _py_starve(bint starved):
    """From now on there is no memory for another box of a tree that keeps few, or there is again."""
    global rcf_starved
    rcf_starved = starved
