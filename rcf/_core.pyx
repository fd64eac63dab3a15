"""The native core: forests of random cut trees, reservoirs, rings.

State is private C memory; Python sees numbers, arrays and copies. Everything that is passed in is
checked before anything is changed, so a call either happens whole or leaves no trace.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from rcf._rng cimport Rng, below, exponential, next_word, uniform
from rcf._score cimport tree_attribute
from rcf._tree cimport *
from sampling._reservoir cimport *
from shingle._ring cimport Ring, ring_push, ring_window

rcf_fill_tables()

SCORES = {"depth": RCF_DEPTH, "codisp": RCF_CODISP, "displacement": RCF_DISPLACEMENT, "opensearch": RCF_OPENSEARCH}
LIMIT = 1.7e38  # half of the largest float: the difference of two such numbers is still a float

cdef enum:
    BLOCK = 4       # trees whose scores are added up together; part of the result, so never to be changed
    CHUNK = 1024    # rows that go through a tree at a time: with the tree they fit in the first-level cache
    BATCH = 16384   # rows held as floats, and as scores by block, at a time
    HEAD = 16       # records after which the origin is settled


class ModelStateError(ValueError):
    """A saved state that does not describe a forest."""


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


cdef class Gate:
    """Many readers or one writer. A writer who waits keeps new readers out."""
    cdef object turn, writing, counting
    cdef int readers

    def __init__(self):
        self.turn, self.writing, self.counting = threading.Lock(), threading.Lock(), threading.Lock()
        self.readers = 0

    cdef int read(self) except -1:
        with self.turn:
            pass
        with self.counting:
            if self.readers == 0:
                self.writing.acquire()
            self.readers += 1
        return 0

    cdef int read_done(self) except -1:
        with self.counting:
            self.readers -= 1
            if self.readers == 0:
                self.writing.release()
        return 0

    cdef int write(self) except -1:
        self.turn.acquire()
        try:
            self.writing.acquire()
        finally:
            self.turn.release()
        return 0

    cdef int write_done(self) except -1:
        self.writing.release()
        return 0


def _in_threads(work, bounds, int n_jobs):
    """work(begin, end) for the ranges between the bounds, each in a thread; the pool lives for one call, so a fork is safe."""
    ranges = [(a, b) for a, b in zip(bounds[:-1], bounds[1:]) if a < b]
    if n_jobs <= 1 or len(ranges) <= 1:
        for a, b in ranges:
            work(a, b)
        return
    with ThreadPoolExecutor(len(ranges)) as pool:
        for done in [pool.submit(work, a, b) for a, b in ranges]:
            done.result()


def _split(n, n_jobs):
    parts = max(1, min(n, n_jobs))
    return [n * i // parts for i in range(parts + 1)]


cdef ptrdiff_t first_bad(const double* x, ptrdiff_t n) noexcept nogil:
    """The place of the first number that is not finite or beyond LIMIT, or -1."""
    cdef ptrdiff_t i
    cdef int bad = 0
    for i in range(n):
        bad |= not (-1.7e38 <= x[i] <= 1.7e38)
    if not bad:
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


cdef int check_weights(const double[::1] weights, int64_t n) except -1:
    cdef int64_t i
    if weights.shape[0] != n:
        raise ValueError(f"sample_weight has {weights.shape[0]} entries for {n} rows of X.")
    for i in range(n):
        if not 1e-150 <= weights[i] <= 1e150:
            raise ValueError(f"sample_weight must be positive and finite, got {weights[i]} (row {i}).")
    return 0


cdef class Forest:
    """Random cut trees, each with the sample that it holds.

    Parameters
    ----------
    n_trees, capacity, n_features : int
    time_decay : float
        Decay of a record's chance to be kept, per record that follows.
    seed : sequence of int
        Entropy for :class:`numpy.random.SeedSequence`.
    """
    cdef rcf_tree* trees
    cdef Sample* samples
    cdef Rng* rngs
    cdef double* origin
    cdef double* head      # the first records as they came, until the origin is settled; then NULL
    cdef double* row_scores
    cdef double* row_ratios
    cdef float* row
    cdef list memory       # per tree: its Memory
    cdef list slot_memory
    cdef Gate gate
    cdef readonly int n_trees, capacity, n_features
    cdef readonly double time_decay
    cdef int stride
    cdef int64_t seen
    cdef int64_t warm_up   # update() scores the records before this one as 0
    cdef int32_t ratios_room

    def __cinit__(self, int n_trees, int capacity, int n_features, double time_decay, seed, **_):
        cdef int i, j
        if n_trees < 1 or capacity < 1 or n_features < 1:
            raise ValueError("n_trees, capacity and n_features must be at least 1")
        if not 0.0 <= time_decay < float("inf"):
            raise ValueError(f"time_decay must be finite and not negative, got {time_decay}")
        self.n_trees, self.capacity, self.n_features = n_trees, capacity, n_features
        self.time_decay = time_decay
        self.stride = 4 if n_features <= 4 else (n_features + 7) // 8 * 8
        self.gate = Gate()
        self.trees = <rcf_tree*>calloc(n_trees, sizeof(rcf_tree))
        self.samples = <Sample*>calloc(n_trees, sizeof(Sample))
        self.rngs = <Rng*>calloc(n_trees, sizeof(Rng))
        self.origin = <double*>calloc(n_features, sizeof(double))
        self.row_scores = <double*>calloc(n_trees, sizeof(double))
        self.row = <float*>calloc(self.stride, sizeof(float))
        self.row_ratios = NULL
        self.head = NULL
        if (self.trees == NULL or self.samples == NULL or self.rngs == NULL or self.origin == NULL
                or self.row_scores == NULL or self.row == NULL):
            raise MemoryError
        for i, child in enumerate(np.random.SeedSequence(seed).spawn(n_trees)):
            words = child.generate_state(4, np.uint64)
            for j in range(4):
                self.rngs[i].s[j] = words[j]
        self.memory = [None] * n_trees
        self.slot_memory = [None] * n_trees
        for i in range(n_trees):
            self.trees[i].dims = n_features
            self.trees[i].stride = self.stride
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
        free(self.trees)
        free(self.samples)
        free(self.rngs)
        free(self.origin)
        free(self.head)
        free(self.row_scores)
        free(self.row_ratios)
        free(self.row)

    # ---- memory ------------------------------------------------------------------------------------------------

    cdef int reserve(self, int i, int64_t leaves) except -1:
        """Room in tree i for that many leaves (a full tree takes the new record in before the old one goes) and slots."""
        cdef rcf_tree* t = &self.trees[i]
        cdef int64_t most = <int64_t>self.capacity + 1
        cdef int32_t room
        cdef Memory memory, slots
        cdef double* ratios
        if leaves > most:
            leaves = most
        if leaves <= t.capacity:
            return 0
        room = <int32_t>min(most, max(leaves, 2 * <int64_t>t.capacity))
        memory = Memory(tree_bytes(room, self.stride))
        slots = Memory(<Py_ssize_t>room * sizeof(Slot))
        if room > self.ratios_room:
            ratios = <double*>malloc((<size_t>room + 1) * sizeof(double))
            if ratios == NULL:
                raise MemoryError
            free(self.row_ratios)
            self.row_ratios = ratios
            self.ratios_room = room
        tree_move(t, memory.at, room)
        if self.samples[i].size:
            memcpy(slots.at, self.samples[i].slots, self.samples[i].size * sizeof(Slot))
        self.samples[i].slots = <Slot*>slots.at
        self.memory[i] = memory
        self.slot_memory[i] = slots
        return 0

    cdef int reserve_all(self, int64_t more) except -1:
        cdef int i
        for i in range(self.n_trees):
            # slots and leaves are never more than the records held
            self.reserve(i, self.samples[i].size + more + 1)
        return 0

    # ---- learning ----------------------------------------------------------------------------------------------

    cdef inline void learn(self, int i, const float* x, int64_t n, double weight) noexcept nogil:
        """Record n enters tree i."""
        cdef int32_t leaf = tree_insert(&self.trees[i], x, &self.rngs[i])
        cdef int32_t evicted = sample_enter(&self.samples[i], n, weight, leaf, &self.rngs[i])
        if evicted >= 0:
            tree_forget(&self.trees[i], evicted)

    cdef void learn_rows(self, int i, const float* rows, int64_t n_rows, int64_t seen, const double* weights,
                         int kind, double* ratios, double* out) noexcept nogil:
        """Tree i scores (kind >= 0: out[r] += its score) and learns the rows in turn; `seen` came before them."""
        cdef Sample* sample = &self.samples[i]
        cdef int64_t r = 0, enters, begin, silent = self.warm_up - seen
        while r < n_rows:
            # the next row that enters; the rows up to it meet the same tree and are scored together
            if weights == NULL:
                enters = sample.next - seen - 1
            else:
                enters = r
                while enters < n_rows and not sample_admits(sample, seen + enters + 1, weights[enters]):
                    enters += 1
            if enters > n_rows:
                enters = n_rows
            if kind >= 0:
                begin = r if r > silent else silent
                if begin <= enters and begin < n_rows:
                    rcf_score_pairs(kind, &self.trees[i], 0, rows + begin * self.stride, self.stride,
                                    (enters + 1 if enters < n_rows else n_rows) - begin, ratios, out + begin)
            if enters < n_rows:
                self.learn(i, rows + enters * self.stride, seen + enters + 1, 1.0 if weights == NULL else weights[enters])
            r = enters + 1

    def _learn_blocks(self, int first, int last, uintptr_t rows, int64_t n_rows, uintptr_t weights, int kind, uintptr_t out):
        cdef int block, i
        cdef int64_t begin, n
        cdef double* ratios = <double*>malloc((<size_t>self.ratios_room + 1) * sizeof(double))
        if ratios == NULL:
            raise MemoryError
        with nogil:
            begin = 0
            while begin < n_rows:
                n = min(<int64_t>CHUNK, n_rows - begin)
                for block in range(first, last):
                    for i in range(block * BLOCK, min((block + 1) * BLOCK, self.n_trees)):
                        self.learn_rows(i, (<const float*>rows) + begin * self.stride, n, self.seen + begin,
                                        NULL if weights == 0 else (<const double*>weights) + begin, kind, ratios,
                                        NULL if out == 0 else (<double*>out) + block * n_rows + begin)
                begin += n
        free(ratios)

    def _blocks(self):
        return (self.n_trees + BLOCK - 1) // BLOCK

    def update(self, const double[:, ::1] X, weights, str score, int n_jobs=1):
        """Score (`score` a kind, or None: do not) and learn the rows in turn; returns the scores, or None."""
        cdef int kind = -1 if score is None else SCORES[score]
        cdef const double[::1] w
        cdef int64_t n = X.shape[0], done = 0, part, i
        cdef ptrdiff_t bad
        cdef float[:, ::1] rows
        cdef double[:, ::1] blocks
        cdef uintptr_t w_at = 0, out_at = 0
        if X.shape[1] != self.n_features:
            raise ValueError(f"X has {X.shape[1]} features, but the forest has {self.n_features}.")
        bad = first_bad(&X[0, 0], n * self.n_features) if n else -1
        if bad >= 0:
            refuse(X[bad // self.n_features, bad % self.n_features], bad // self.n_features, bad % self.n_features)
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
        bounds = _split(self._blocks(), n_jobs)
        self.gate.write()
        try:
            self.reserve_all(n)
            while done < n:
                part = min(<int64_t>BATCH, n - done)
                if self.seen == 0 and self.head != NULL:
                    memcpy(self.origin, &X[done, 0], self.n_features * sizeof(double))
                if self.head != NULL:
                    part = min(part, HEAD - self.seen)
                    memcpy(self.head + self.seen * self.n_features, &X[done, 0], part * self.n_features * sizeof(double))
                for i in range(part):
                    rcf_narrow(&rows[i, 0], &X[done + i, 0], self.origin, self.n_features, self.stride)
                if weights is not None:
                    w_at = <uintptr_t>&w[done]
                if kind >= 0:
                    out_at = <uintptr_t>&blocks[0, 0]
                    memset(<void*>out_at, 0, self._blocks() * part * sizeof(double))
                at = <uintptr_t>&rows[0, 0]
                _in_threads(lambda a, b: self._learn_blocks(a, b, at, part, w_at, kind, out_at), bounds, n_jobs)
                if kind >= 0:
                    total = sums.reshape(-1)[: self._blocks() * part].reshape(-1, part)
                    target = scores[done:done + part]
                    for block in total:
                        target += block
                self.seen += part
                done += part
                if self.head != NULL and self.seen == HEAD:
                    self.settle_origin()
        finally:
            self.gate.write_done()
        if kind >= 0:
            scores /= self.n_trees
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

    def update_record(self, record, str score not None):
        """The score of one record (n_features,), which is then learned."""
        cdef Py_buffer view
        cdef int kind = SCORES[score], i, block
        cdef int64_t n
        cdef double total = 0.0, sum_of_block
        cdef double* scores = self.row_scores
        cdef ptrdiff_t bad
        if self.head != NULL or self.trees[0].capacity <= self.capacity:
            # still growing
            return float(self.update(np.ascontiguousarray(record, dtype=np.float64).reshape(1, -1), None, score)[0])
        PyObject_GetBuffer(record, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        try:
            if view.format == NULL or view.format[0] != b"d" or view.format[1] != 0 or view.ndim != 1:
                raise TypeError("a record must be a one-dimensional array of float64")
            if view.shape[0] != self.n_features:
                raise ValueError(f"X has {view.shape[0]} features, but the forest has {self.n_features}.")
            bad = first_bad(<double*>view.buf, self.n_features)
            if bad >= 0:
                refuse((<double*>view.buf)[bad], 0, bad)
            self.gate.write()
            rcf_narrow(self.row, <double*>view.buf, self.origin, self.n_features, self.stride)
        finally:
            PyBuffer_Release(&view)
        n = self.seen + 1
        if n > self.warm_up:
            memset(scores, 0, self.n_trees * sizeof(double))
            rcf_score_pairs(kind, self.trees, 1, self.row, 0, self.n_trees, self.row_ratios, scores)
            for block in range((self.n_trees + BLOCK - 1) // BLOCK):
                sum_of_block = 0.0
                for i in range(block * BLOCK, min((block + 1) * BLOCK, self.n_trees)):
                    sum_of_block += scores[i]
                total += sum_of_block
        for i in range(self.n_trees):
            if self.samples[i].next == n:
                self.learn(i, self.row, n, 1.0)
        self.seen = n
        self.gate.write_done()
        return total / self.n_trees

    # ---- fitting -----------------------------------------------------------------------------------------------

    def fit(self, const double[:, ::1] X, weights, double decay, bint disjoint, int n_jobs=1):
        """Forget everything and take a fresh sample of the rows into each tree.

        `decay` is that of the sampling among the rows; 0 takes them as having come together. With `disjoint`, tree i
        takes rows [i k, (i + 1) k), k = n // n_trees, as SageMaker does.
        """
        cdef int64_t n = X.shape[0], i, size
        cdef int j
        cdef ptrdiff_t bad
        cdef const double[::1] w, cumulative
        cdef uintptr_t w_at = 0, cumulative_at = 0
        if X.shape[1] != self.n_features:
            raise ValueError(f"X has {X.shape[1]} features, but the forest has {self.n_features}.")
        if n == 0:
            raise ValueError("cannot fit on no rows")
        if disjoint and n < self.n_trees:
            raise ValueError(f"{n} rows cannot be shared out among {self.n_trees} trees")
        bad = first_bad(&X[0, 0], n * self.n_features)
        if bad >= 0:
            refuse(X[bad // self.n_features, bad % self.n_features], bad // self.n_features, bad % self.n_features)
        if weights is not None:
            w = weights
            check_weights(w, n)
            cumulative = np.cumsum(weights)
            w_at, cumulative_at = <uintptr_t>&w[0], <uintptr_t>&cumulative[0]
        size = min(n, <int64_t>self.capacity)
        self.gate.write()
        try:
            for j in range(self.n_trees):
                self.reserve(j, size + 1)
            free(self.head)
            self.head = NULL
            self.seen = n
            self.warm_up = 0
            at = <uintptr_t>&X[0, 0]
            # the first sample tells where the data lie
            self._sample_rows(0, 1, n, w_at, cumulative_at, decay, disjoint)
            taken = [self.samples[0].slots[i].arrival - 1 for i in range(self.samples[0].size)]
            middle = np.median(np.asarray(X)[np.sort(taken)], axis=0)
            for j in range(self.n_features):
                self.origin[j] = middle[j]
            self._grow(0, 1, at)

            def work(a, b):
                self._sample_rows(a, b, n, w_at, cumulative_at, decay, disjoint)
                self._grow(a, b, at)

            _in_threads(work, [1 + b for b in _split(self.n_trees - 1, n_jobs)], n_jobs)
        finally:
            self.gate.write_done()

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

    def _grow(self, int first, int last, uintptr_t X):
        """Build the trees on the rows that their samples name."""
        cdef int i
        cdef int64_t j
        cdef Sample* s
        cdef bint fine = True
        cdef float* rows = <float*>malloc(<size_t>self.capacity_used() * self.stride * sizeof(float))
        cdef int32_t* items = <int32_t*>malloc(<size_t>self.capacity_used() * sizeof(int32_t))
        if rows == NULL or items == NULL:
            free(rows)
            free(items)
            raise MemoryError
        with nogil:
            for i in range(first, last):
                s = &self.samples[i]
                for j in range(s.size):
                    rcf_narrow(rows + j * self.stride, (<const double*>X) + (s.slots[j].arrival - 1) * self.n_features,
                               self.origin, self.n_features, self.stride)
                fine = fine and tree_build(&self.trees[i], rows, s.size, items, &self.rngs[i])
                for j in range(s.size):
                    s.slots[j].item = items[j]
        free(rows)
        free(items)
        if not fine:
            raise MemoryError

    cdef int64_t capacity_used(self) noexcept:
        cdef int64_t most = 1
        cdef int i
        for i in range(self.n_trees):
            most = max(most, <int64_t>self.samples[i].size, <int64_t>min(self.capacity, self.trees[i].capacity))
        return most

    # ---- reading -----------------------------------------------------------------------------------------------

    def score(self, const double[:, ::1] X, str score not None, int n_jobs=1):
        """The mean score over the trees of each row; learns nothing."""
        cdef int64_t n = X.shape[0]
        cdef ptrdiff_t bad
        cdef double[::1] out = np.zeros(n)
        cdef int kind = SCORES[score]
        if X.shape[1] != self.n_features:
            raise ValueError(f"X has {X.shape[1]} features, but the forest has {self.n_features}.")
        if n == 0:
            return np.asarray(out)
        bad = first_bad(&X[0, 0], n * self.n_features)
        if bad >= 0:
            refuse(X[bad // self.n_features, bad % self.n_features], bad // self.n_features, bad % self.n_features)
        at, out_at = <uintptr_t>&X[0, 0], <uintptr_t>&out[0]
        self.gate.read()
        try:
            _in_threads(lambda a, b: self._score_rows(at, a, b, kind, out_at), _split(n, n_jobs), n_jobs)
        finally:
            self.gate.read_done()
        return np.asarray(out)

    def _score_rows(self, uintptr_t X, int64_t first, int64_t last, int kind, uintptr_t out):
        cdef int i, block
        cdef int64_t r, n, begin = first
        cdef float* rows = <float*>malloc(CHUNK * self.stride * sizeof(float))
        cdef double* sums = <double*>malloc(CHUNK * sizeof(double))
        cdef double* ratios = <double*>malloc((<size_t>self.ratios_room + 1) * sizeof(double))
        cdef double* target = <double*>out
        if rows == NULL or sums == NULL or ratios == NULL:
            free(rows)
            free(sums)
            free(ratios)
            raise MemoryError
        with nogil:
            while begin < last:
                n = min(<int64_t>CHUNK, last - begin)
                for r in range(n):
                    rcf_narrow(rows + r * self.stride, (<const double*>X) + (begin + r) * self.n_features,
                               self.origin, self.n_features, self.stride)
                for block in range((self.n_trees + BLOCK - 1) // BLOCK):
                    memset(sums, 0, n * sizeof(double))
                    for i in range(block * BLOCK, min((block + 1) * BLOCK, self.n_trees)):
                        rcf_score_pairs(kind, &self.trees[i], 0, rows, self.stride, n, ratios, sums)
                    for r in range(n):
                        target[begin + r] += sums[r]
                for r in range(n):
                    target[begin + r] /= self.n_trees
                begin += n
        free(rows)
        free(sums)
        free(ratios)

    def attribution(self, const double[:, ::1] X, str score not None, int n_jobs=1):
        """(n, n_features, 2): what each feature adds to the score, [..., 0] by lying high and [..., 1] by lying low."""
        cdef int64_t n = X.shape[0]
        cdef ptrdiff_t bad
        cdef int kind = SCORES[score]
        cdef double[:, :, ::1] out = np.zeros((n, self.n_features, 2))
        if X.shape[1] != self.n_features:
            raise ValueError(f"X has {X.shape[1]} features, but the forest has {self.n_features}.")
        if n == 0:
            return np.asarray(out)
        bad = first_bad(&X[0, 0], n * self.n_features)
        if bad >= 0:
            refuse(X[bad // self.n_features, bad % self.n_features], bad // self.n_features, bad % self.n_features)
        at, out_at = <uintptr_t>&X[0, 0], <uintptr_t>&out[0, 0, 0]
        self.gate.read()
        try:
            _in_threads(lambda a, b: self._attribute_rows(at, a, b, kind, out_at), _split(n, n_jobs), n_jobs)
        finally:
            self.gate.read_done()
        return np.asarray(out)

    def _attribute_rows(self, uintptr_t X, int64_t first, int64_t last, int kind, uintptr_t out):
        cdef int i
        cdef int64_t r, k
        cdef int width = 2 * self.n_features
        cdef float* row = <float*>malloc(self.stride * sizeof(float))
        cdef double* work = <double*>malloc(2 * width * sizeof(double) + 4 * self.stride * sizeof(float))
        cdef double* ratios = <double*>malloc((<size_t>self.ratios_room + 1) * sizeof(double))
        cdef double* target
        if row == NULL or work == NULL or ratios == NULL:
            free(row)
            free(work)
            free(ratios)
            raise MemoryError
        with nogil:
            for r in range(first, last):
                target = (<double*>out) + r * width
                rcf_narrow(row, (<const double*>X) + r * self.n_features, self.origin, self.n_features, self.stride)
                for i in range(self.n_trees):
                    tree_attribute(kind, &self.trees[i], row, work, ratios, target)
                for k in range(width):
                    target[k] /= self.n_trees
        free(row)
        free(work)
        free(ratios)

    # ---- forgetting --------------------------------------------------------------------------------------------

    def forget(self, const double[::1] record):
        """Take one record equal to this one, the oldest held, out of each tree; returns how many trees held it."""
        cdef int i, found = 0
        cdef int32_t leaf, j, oldest
        cdef Sample* s
        cdef ptrdiff_t bad
        if record.shape[0] != self.n_features:
            raise ValueError(f"X has {record.shape[0]} features, but the forest has {self.n_features}.")
        bad = first_bad(&record[0], self.n_features)
        if bad >= 0:
            refuse(record[bad], 0, bad)
        self.gate.write()
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
        self.gate.write_done()
        return found

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
        return sum(len(memoryview(m)) for m in self.memory + self.slot_memory)

    def tree(self, int i):
        """Read-only arrays over the memory of tree i; they change as the tree learns."""
        cdef rcf_tree* t
        cdef uintptr_t start
        if not 0 <= i < self.n_trees:
            raise IndexError(f"tree {i} of {self.n_trees}")
        t = &self.trees[i]
        memory, slots = self.memory[i], self.slot_memory[i]
        start = <uintptr_t>(<Memory>memory).at

        def view(kind, uintptr_t at, *shape):
            return np.ndarray(shape, kind, memory, at - start)

        nodes = np.dtype([("child", np.int32, 2), ("cut", np.float32), ("dim", np.int32), ("range", np.float64),
                          ("mass", np.int32), ("parent", np.int32)])
        leaves = np.dtype([("mass", np.int32), ("parent", np.int32)])
        slot = np.dtype([("key", np.float64), ("arrival", np.int64), ("leaf", np.int32), ("spare", np.int32)])
        return {
            "root": t.root,
            "mass": t.mass,
            "nodes": view(nodes, <uintptr_t>t.nodes, t.n_nodes),
            "boxes": view(np.float32, <uintptr_t>t.boxes, t.n_nodes, 2, self.stride)[:, :, :self.n_features],
            "points": view(np.float32, <uintptr_t>t.points, t.n_leaves, self.stride)[:, :self.n_features],
            "leaves": view(leaves, <uintptr_t>t.leaves, t.n_leaves),
            "slots": np.ndarray((self.samples[i].size,), slot, slots),
        }
