"""The native core: forests of random cut trees.

A `Forest` owns the memory of its trees, splits work over threads, and guards the trees with a readers-writer lock. The algorithms are
in `_native/` and work on the C struct Trees. All arguments are checked before anything changes, so a call that raises an error changes
nothing. There is one exception: if memory runs out while `update` learns in low-memory mode, some records stay learned, and the
MemoryError says how many.
"""

import numpy as np

from rcf._native.merge import merged_records
from rcf._pool import in_threads
from rcf._validate import check_weights, entropy_words, not_finite, wrong_width
from rcf._native.state import HEAD as _HEAD, LIMIT, ModelStateError, check_state

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from rcf._native.arrays cimport set_counts, set_trees, state_of
from rcf._native.bits cimport rcf_reader, rcf_writer, rcf_written
from rcf._native.complete cimport complete_record
from rcf._native.finite cimport find_bad
from rcf._native.fit cimport grow_trees, largest_sample, sample_rows
from rcf._native.gate cimport (
    gate_free, gate_open, gate_read, gate_read_done, gate_write, gate_write_done, gate_write_done_nogil, gate_write_nogil,
)
from rcf._native.hooks cimport call_hook
from rcf._native.learn cimport CHUNK, FORESTS, forget_record, learn_blocks, learn_records, take_rows
from rcf._native.packed cimport Head, get_counts, get_head, get_sizes, get_trees, put_forest, scratch_of_trees
from rcf._native.read cimport FEW, attribute_rows, density_rows, reached_leaves, rows_at_once, score_few_rows, score_rows, scores_of_means
from rcf._native.records cimport Column, get_record_count, get_records
from rcf._native.regrow cimport grow_merged
from rcf._native.rng cimport Rng, seed_child
from rcf._native.tree cimport *
from rcf._native.trees cimport GROUP, Trees, drop_head, n_blocks, prefetch_heads, slot_bytes, trees_copy, trees_free, trees_open
from rcf._native.views cimport tree_views
from rcf._native.work cimport Work, sweep_bytes, sweep_lay, work_bytes, work_lay
from sampling._reservoir cimport *

rcf_fill_tables()
for _isa in (2, 1, 0):
    if rcf_use_isa(_isa):
        break

METHODS = {"depth": RCF_DEPTH, "codisp": RCF_CODISP, "displacement": RCF_DISPLACEMENT, "opensearch": RCF_OPENSEARCH, "path": RCF_PATH}
ATTRIBUTED = [method for method in METHODS if method != "path"]  # the methods that measure boxes

cdef enum:
    BATCH = 16384   # update() learns this many rows at a time; it keeps their floats, and a sum of their scores per block of trees

cdef int HEAD = _HEAD


cdef class Memory:
    """Zeroed memory. NumPy arrays can be views of it; it is freed when the last view is gone."""
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


cdef Memory room_to_work(Work* work, int64_t levels, int64_t n_rows, int stride, int n_scores):
    """Allocate scratch memory and set the pointers of `work` into it."""
    cdef Memory memory = Memory(work_bytes(levels, n_rows, stride, n_scores))
    work_lay(work, memory.at, levels, n_rows, stride)
    return memory


# Scratch space shared by all forests. This is safe because update_record() keeps the GIL; a buffer per forest would dominate memory
# when there are thousands of small ones.
cdef Work shared
cdef Memory shared_memory


cdef inline int share_room(int64_t levels) except -1:
    global shared_memory
    if shared.levels <= levels:
        shared_memory = room_to_work(&shared, levels, 0, 0, 0)
    return 0


cdef size_t room_to_learn(int64_t capacity) noexcept nogil:
    """Bytes of scratch that learn_of_many() needs for trees of that capacity."""
    return work_bytes(capacity + 1, 0, 0, 0)


cdef void learn_of_many(void** forests, const double** records, int n, int kind, bint cold, void* scratch, int64_t capacity,
                        double* scores) noexcept nogil:
    """Each of n different Forests scores its record and learns it.

    All forests are settled() and have one layout. The caller has locked them, and make_ready() of each has returned True. `cold` says
    that they are in no cache.
    """
    cdef Trees* trees[FORESTS]
    cdef Work work
    cdef int g
    work_lay(&work, scratch, capacity + 1, 0, 0)
    for g in range(n):
        trees[g] = (<Forest>forests[g]).with_record(records[g])
    learn_records(trees, n, kind, cold, &work, scores)
    for g in range(n):
        scores[g] = rcf_score_of_mean(kind, scores[g])


cdef int kind_of(method) except -1:
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
    return METHODS[method]


cdef int kind_with_parts(method) except -1:
    """Like kind_of(), for a method whose scores can be attributed to features."""
    cdef int kind = kind_of(method)
    if method not in ATTRIBUTED:
        raise ValueError("method='path' has no attribution, because it measures no boxes; pass another method, such as 'depth'")
    return kind


cdef int refuse_bad(const double* X, ptrdiff_t step, ptrdiff_t n, ptrdiff_t width) except -1:
    """Raise ValueError if a number of the rows is not finite or exceeds LIMIT."""
    cdef ptrdiff_t row, feature
    if find_bad(X, step, n, width, &row, &feature):
        raise not_finite(X[row * step + feature], row, feature, LIMIT)
    return 0


cdef class Forest:
    """Random cut trees, each with its own sample of the records.

    Parameters
    ----------
    n_trees, capacity, n_features : int
    time_decay : float
        Each record that follows multiplies the weight of a record by ``exp(-time_decay)``.
    seed : sequence of int, or None
        Entropy for :class:`numpy.random.SeedSequence`. None leaves the random state zero, because a forest that is restored from a
        state gets it from there.
    low_memory : bool
        If True, the bounding boxes of small nodes are not stored but recomputed from the points when they are needed.
    """
    def __cinit__(self, int n_trees, int capacity, int n_features, double time_decay, seed, bint low_memory=False):
        cdef int i
        cdef uint32_t[::1] entropy
        if n_trees < 1 or capacity < 1 or n_features < 1:
            raise ValueError("n_trees, capacity and n_features must be at least 1")
        if not 0.0 <= time_decay < float("inf"):
            raise ValueError(f"time_decay must be finite and not negative, got {time_decay}")
        self.trees.n_trees, self.trees.capacity, self.trees.n_features = n_trees, capacity, n_features
        self.trees.time_decay, self.trees.low_memory = time_decay, low_memory
        if not gate_open(&self.gate) or not trees_open(&self.trees, HEAD):
            raise MemoryError
        if seed is not None:
            entropy = entropy_words(seed)
            for i in range(n_trees):
                seed_child(&self.trees.rng[i], &entropy[0], <int>entropy.shape[0], i)
        self.memory = [None] * n_trees
        for i in range(n_trees):
            self.reserve(i, 2)

    def __dealloc__(self):
        gate_free(&self.gate)
        trees_free(&self.trees)

    # ---- memory ------------------------------------------------------------------------------------------------

    cdef int reserve(self, int i, int64_t leaves) except -1:
        """Make room in tree i for this many leaves and slots, but for at most capacity + 1.

        A full tree needs one more than its capacity because it inserts the new record before it removes the old one.
        """
        cdef rcf_tree* t = &self.trees.tree[i]
        cdef int64_t most = <int64_t>self.trees.capacity + 1
        cdef int32_t room
        cdef size_t of_slots
        cdef char* at
        cdef Memory memory
        if leaves > most:
            leaves = most
        if leaves <= t.capacity:
            return 0
        room = <int32_t>min(most, max(leaves, 2 * <int64_t>t.capacity))
        of_slots = slot_bytes(t, room)
        memory = Memory(of_slots + tree_bytes(t, room))
        self.trees.depth_room = max(self.trees.depth_room, room)
        at = rcf_aligned(t, memory.at)
        tree_move(t, at + of_slots, room)
        if self.trees.sample[i].size:
            memcpy(at, self.trees.sample[i].slots, self.trees.sample[i].size * sizeof(Slot))
        self.trees.sample[i].slots = <Slot*>at
        self.memory[i] = memory
        return self.reserve_boxes(i, 2)

    cdef int reserve_boxes(self, int i, int32_t boxes) except -1:
        """In low-memory mode, make room for this many boxes in tree i."""
        if self.trees.low_memory and not rcf_box_reserve(&self.trees.tree[i], boxes):
            raise MemoryError("not enough memory for the boxes of a tree")
        return 0

    cdef int check_count(self, int64_t seen) except -1:
        """Raise ValueError if a stream of this length would overflow the counter of arrivals."""
        cdef int64_t most = most_arrivals(self.trees.capacity)
        if seen >= most:
            raise ValueError(f"a forest with {self.trees.capacity} records per tree can learn at most {most - 1} records, got {seen}")
        return 0

    cdef int reserve_all(self, int64_t more) except -1:
        """Make room for this many more records. All trees get the same room, so update_record() needs to check only one of them."""
        cdef int i
        cdef int64_t most = 0
        for i in range(self.trees.n_trees):
            # there are never more slots or leaves than records
            most = max(most, <int64_t>self.trees.sample[i].size)
        for i in range(self.trees.n_trees):
            self.reserve(i, most + more + 1)
        return 0

    cdef const double[:, :] checked(self, const double[:, :] X):
        """X, or a copy if its rows are not contiguous. Raises ValueError if the width is wrong or a number is not finite."""
        if X.shape[1] != self.trees.n_features:
            raise wrong_width(X.shape[1], self.trees.n_features, "RandomCutForest")
        if X.strides[1] != sizeof(double) or X.strides[0] % <Py_ssize_t>sizeof(double):
            X = np.ascontiguousarray(X)
        if X.shape[0] > 0:
            refuse_bad(&X[0, 0], X.strides[0] // <Py_ssize_t>sizeof(double), X.shape[0], X.shape[1])
        return X

    cdef int check_record(self, const double[::1] record) except -1:
        """Raise ValueError if the record has the wrong width, or a number that is not finite."""
        if record.shape[0] != self.trees.n_features:
            raise wrong_width(record.shape[0], self.trees.n_features, "RandomCutForest")
        return refuse_bad(&record[0], self.trees.n_features, 1, self.trees.n_features)

    # ---- learning ----------------------------------------------------------------------------------------------

    def _learn_blocks(self, int first, int last, uintptr_t rows, int64_t n_rows, uintptr_t weights, int kind, uintptr_t out):
        cdef Work work
        cdef Memory memory = room_to_work(&work, self.trees.depth_room, min(<int64_t>CHUNK, n_rows), 0, GROUP)
        with nogil:
            learn_blocks(&self.trees, first, last, <const float*>rows, n_rows, <const double*>weights, kind, <double*>out, &work)

    def update(self, const double[:, :] X, weights, str method, int n_jobs=1):
        """Score each row and then learn it, in order. Returns the scores, or None if `method` is None, which skips the scoring."""
        cdef Trees* f = &self.trees
        cdef int kind = -1 if method is None else kind_of(method)
        cdef const double[::1] w
        cdef int64_t n = X.shape[0], done = 0, part, silent
        cdef float[:, ::1] rows
        cdef double[:, ::1] blocks
        cdef uintptr_t w_at = 0, out_at = 0
        X = self.checked(X)
        if weights is not None:
            w = weights
            check_weights(weights, n)
        scores = np.zeros(n) if kind >= 0 else None
        if n == 0:
            return scores
        held = np.empty((min(n, BATCH), f.stride), dtype=np.float32)
        rows = held
        if kind >= 0:
            sums = np.empty((n_blocks(f), min(n, BATCH)))
            blocks = sums
        gate_write(&self.gate)
        try:
            self.check_count(f.seen + n)
            self.reserve_all(n)
            silent = min(max(f.warm_up - f.seen, <int64_t>0), n)  # number of records with the score 0
            while done < n:
                part = take_rows(f, &X[done, 0], X.strides[0] // <Py_ssize_t>sizeof(double), min(<int64_t>BATCH, n - done), HEAD,
                                 &rows[0, 0])
                if weights is not None:
                    w_at = <uintptr_t>&w[done]
                if kind >= 0:
                    out_at = <uintptr_t>&blocks[0, 0]
                    memset(<void*>out_at, 0, n_blocks(f) * part * sizeof(double))
                at = <uintptr_t>&rows[0, 0]
                in_threads(lambda a, b: self._learn_blocks(a, b, at, part, w_at, kind, out_at), 0, n_blocks(f), n_jobs)
                if kind >= 0:
                    total = sums.reshape(-1)[: n_blocks(f) * part].reshape(-1, part)
                    target = scores[done:done + part]
                    for block in total:
                        target += block
                f.seen += part
                done += part
                if f.head != NULL and f.seen == HEAD:
                    self.settle_origin()
                if f.starved:
                    f.starved = False
                    raise MemoryError(f"not enough memory for the boxes of all trees: {done} of {n} records were learned, "
                                      "some of them not by every tree")
        finally:
            gate_write_done(&self.gate)
        if kind >= 0:
            scores_of_means(f, kind, scores[silent:])
        return scores

    cdef int settle_origin(self) except -1:
        """Move the origin from the first record to the median of the first HEAD records, and rebuild the trees from these records."""
        cdef int i, j
        cdef double[::1] middle = np.median(<double[:HEAD, :self.trees.n_features]>self.trees.head, axis=0)
        for j in range(self.trees.n_features):
            self.trees.origin[j] = middle[j]
        for i in range(self.trees.n_trees):
            self.reserve_boxes(i, HEAD)  # no tree can have more boxes
        self._grow(0, self.trees.n_trees, <uintptr_t>self.trees.head, self.trees.n_features)
        drop_head(&self.trees)
        return 0

    cdef bint settled(self) noexcept nogil:
        """Whether the next record gets a score, and the trees have the memory to learn it."""
        return (self.trees.head == NULL and self.trees.tree[0].capacity > self.trees.capacity
                and self.trees.seen >= self.trees.warm_up and self.trees.seen + 1 < most_arrivals(self.trees.capacity))

    cdef bint make_ready(self) noexcept nogil:
        """Make room for the boxes that the next record may need. Returns False if memory runs out."""
        cdef int i
        for i in range(self.trees.n_trees if self.trees.low_memory else 0):
            if self.trees.sample[i].next == self.trees.seen + 1 and not rcf_box_ready(&self.trees.tree[i]):
                return False
        return True

    cdef void lock(self) noexcept:
        """Take the lock for writing; the GIL is released while it waits, because a reader may need it."""
        gate_write(&self.gate)

    cdef void lock_nogil(self) noexcept nogil:
        gate_write_nogil(&self.gate)

    cdef void unlock(self) noexcept nogil:
        gate_write_done_nogil(&self.gate)

    def update_record(self, record, str method not None):
        """Score one record of shape (n_features,), learn it, and return the score."""
        cdef int kind = kind_of(method)
        cdef double mean
        cdef Trees* trees = &self.trees
        if self.trees.head != NULL or self.trees.tree[0].capacity <= self.trees.capacity:
            # the origin is not settled, or the trees have no room for a full sample yet
            return float(self.update(np.ascontiguousarray(record, dtype=np.float64).reshape(1, -1), None, method)[0])
        share_room(self.trees.capacity + 1)  # before the lock is taken, because it can raise MemoryError
        self.check_count(self.trees.seen + 1)
        self.take_record(record)
        learn_records(&trees, 1, kind, False, &shared, &mean)
        gate_write_done(&self.gate)
        return rcf_score_of_mean(kind, mean) if self.trees.seen > self.trees.warm_up else 0.0

    cdef int take_record(self, record) except -1:
        """Check a record, take the lock for writing, make room for the boxes, and write the record to self.trees.row.

        The caller must release the lock. If this function raises an error, it holds no lock.
        """
        cdef Py_buffer view
        PyObject_GetBuffer(record, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        try:
            if view.format == NULL or view.format[0] != b"d" or view.format[1] != 0 or view.ndim != 1:
                raise TypeError("a record must be a one-dimensional array of float64")
            if view.shape[0] != self.trees.n_features:
                raise wrong_width(view.shape[0], self.trees.n_features, "RandomCutForest")
            refuse_bad(<double*>view.buf, self.trees.n_features, 1, self.trees.n_features)
            gate_write(&self.gate)
            if not self.make_ready():
                gate_write_done(&self.gate)
                raise MemoryError("not enough memory for the boxes of a tree")
            rcf_narrow(self.trees.row, <double*>view.buf, self.trees.origin, self.trees.n_features, self.trees.stride)
        finally:
            PyBuffer_Release(&view)
        return 0

    cdef Trees* with_record(self, const double* record) noexcept nogil:
        """Write the record to self.trees.row. Returns the trees."""
        rcf_narrow(self.trees.row, record, self.trees.origin, self.trees.n_features, self.trees.stride)
        return &self.trees

    cdef void prefetch(self) noexcept nogil:
        """Prefetch the data that are read before the walks through the trees."""
        prefetch_heads(&self.trees)
        rcf_prefetch_bytes(self.gate.turn, 32)
        rcf_prefetch_bytes(self.gate.writing, 32)

    # ---- fitting -----------------------------------------------------------------------------------------------

    def fit(self, const double[:, :] X, weights, bint as_stream, bint disjoint, int n_jobs=1):
        """Forget everything and draw a new sample of the rows for each tree.

        With `as_stream`, the rows are sampled as a stream, with the forest's time decay. Otherwise they are a table, in which no row is
        older than another. With `disjoint`, tree i samples only the rows i k to (i + 1) k - 1, where k = n // n_trees, as in
        SageMaker.
        """
        cdef int64_t n = X.shape[0], i, size
        cdef int j
        cdef ptrdiff_t step
        cdef const double[::1] w, cumulative
        cdef uintptr_t w_at = 0, cumulative_at = 0
        cdef double decay = self.trees.time_decay if as_stream else 0.0
        X = self.checked(X)
        if n == 0:
            raise ValueError("cannot fit on a table without rows")
        self.check_count(n)
        if disjoint and n < self.trees.n_trees:
            raise ValueError(f"disjoint samples need at least one row per tree, got {n} rows for {self.trees.n_trees} trees")
        if weights is not None:
            w = weights
            check_weights(weights, n)
            cumulative = np.cumsum(weights)
            w_at, cumulative_at = <uintptr_t>&w[0], <uintptr_t>&cumulative[0]
        size = min(n, <int64_t>self.trees.capacity)
        gate_write(&self.gate)
        try:
            for j in range(self.trees.n_trees):
                self.reserve(j, size + 1)
            drop_head(&self.trees)
            self.trees.seen = n
            self.trees.warm_up = 0
            self.trees.table = n if decay == 0.0 else 0
            at, step = <uintptr_t>&X[0, 0], X.strides[0] // <Py_ssize_t>sizeof(double)
            # the origin is the median of the first tree's sample
            self._sample_rows(0, 1, n, w_at, cumulative_at, decay, disjoint)
            taken = [arrival_of(&self.trees.sample[0], i) - 1 for i in range(self.trees.sample[0].size)]
            middle = np.median(np.asarray(X)[np.sort(taken)], axis=0)
            for j in range(self.trees.n_features):
                self.trees.origin[j] = middle[j]
            self._grow(0, 1, at, step)

            def work(a, b):
                self._sample_rows(a, b, n, w_at, cumulative_at, decay, disjoint)
                self._grow(a, b, at, step)

            in_threads(work, 1, self.trees.n_trees, n_jobs)
        finally:
            gate_write_done(&self.gate)

    def _sample_rows(self, int first, int last, int64_t n, uintptr_t weights, uintptr_t cumulative, double decay, bint disjoint):
        cdef bint fine
        with nogil:
            fine = sample_rows(&self.trees, first, last, n, <const double*>weights, <const double*>cumulative, decay, disjoint)
        if not fine:
            raise MemoryError

    def _grow(self, int first, int last, uintptr_t X, ptrdiff_t step):
        cdef bint fine
        cdef int64_t n = largest_sample(&self.trees)
        cdef Memory rows = Memory(n * self.trees.stride * sizeof(float)), items = Memory(n * sizeof(int32_t))
        with nogil:
            fine = grow_trees(&self.trees, first, last, <const double*>X, step, <float*>rows.at, <int32_t*>items.at)
        if not fine:
            raise MemoryError

    # ---- reading -----------------------------------------------------------------------------------------------

    def _by_rows(self, const double[:, :] X, shape, int n_jobs, work):
        """Split the n rows of X over threads. Returns the array of shape (n, *shape) that they fill; it starts as zeros.

        Each thread calls work(X, step, first, last, out) for the rows first to last - 1. `X` and `out` are the addresses of the first
        row of each array, and a row of X begins `step` numbers after the one before it.
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
        """The score of each row, which comes from the mean over the trees. The forest does not change."""
        cdef int kind = kind_of(method)
        return self._by_rows(X, (), n_jobs, lambda at, step, a, b, out: self._score_rows(at, step, a, b, kind, out))

    def _score_rows(self, uintptr_t X, ptrdiff_t step, int64_t first, int64_t last, int kind, uintptr_t out):
        cdef int64_t n = last - first
        cdef bint few = n <= FEW
        cdef rcf_sweep sweep
        cdef Work work
        cdef Memory memory, sweep_memory
        if not few:
            n = min(n, rows_at_once(&self.trees))
            sweep_memory = Memory(sweep_bytes(n, self.trees.stride))
            sweep_lay(&sweep, sweep_memory.at, n, self.trees.stride)
        memory = room_to_work(&work, self.trees.depth_room, n, self.trees.stride, self.trees.n_trees if few else 1)
        with nogil:
            if few:
                score_few_rows(&self.trees, <const double*>X, step, first, last, kind, <double*>out, &work)
            else:
                score_rows(&self.trees, <const double*>X, step, first, last, kind, <double*>out, &work, &sweep)

    def attribution(self, X, str method not None, int n_jobs=1):
        """The part of each feature in the score of each row, shape (n, n_features, 2).

        [..., 0] holds the parts of values that are too high, and [..., 1] the parts of values that are too low.
        """
        cdef int kind = kind_with_parts(method)
        return self._by_rows(X, (self.trees.n_features, 2), n_jobs,
                            lambda at, step, a, b, out: self._attribute_rows(at, step, a, b, kind, out))

    def _attribute_rows(self, uintptr_t X, ptrdiff_t step, int64_t first, int64_t last, int kind, uintptr_t out):
        cdef Work work
        cdef Memory memory = room_to_work(&work, self.trees.depth_room, 1, self.trees.stride, 0)
        cdef Memory parts = Memory(4 * self.trees.n_features * sizeof(double) + 6 * self.trees.stride * sizeof(float))
        with nogil:
            attribute_rows(&self.trees, <const double*>X, step, first, last, kind, <double*>out, &work, <double*>parts.at)

    def density(self, X, int n_jobs=1):
        """The mass, length and share of tree_density() for each row, averaged over the trees, shape (n, 3, n_features, 2)."""
        return self._by_rows(X, (3, self.trees.n_features, 2), n_jobs, self._density_rows)

    def _density_rows(self, uintptr_t X, ptrdiff_t step, int64_t first, int64_t last, uintptr_t out):
        cdef Memory row = Memory(self.trees.stride * sizeof(float))
        cdef Memory parts = Memory(8 * self.trees.n_features * sizeof(double) + 6 * self.trees.stride * sizeof(float))
        with nogil:
            density_rows(&self.trees, <const double*>X, step, first, last, <double*>out, <float*>row.at, <double*>parts.at)

    def leaves_of(self, const double[::1] record):
        """The point in the leaf that the record reaches in each tree, shape (n, n_features).

        Empty trees are left out, so n can be less than n_trees. The points are relative to the origin.
        """
        self.check_record(record)
        gate_read(&self.gate)
        try:
            return reached_leaves(&self.trees, record)
        finally:
            gate_read_done(&self.gate)

    # ---- forgetting --------------------------------------------------------------------------------------------

    def forget(self, const double[::1] record):
        """Remove the oldest record that equals this one from each tree. Returns the number of trees that held such a record."""
        cdef int found
        self.check_record(record)
        gate_write(&self.gate)
        rcf_narrow(self.trees.row, &record[0], self.trees.origin, self.trees.n_features, self.trees.stride)
        found = forget_record(&self.trees)
        gate_write_done(&self.gate)
        return found

    # ---- merging -----------------------------------------------------------------------------------------------

    def merge(self, Forest other not None):
        """Merge another forest into this one. The other stream counts as the later one, and the other forest does not change.

        Record k of the other forest counts as record n_seen + k of this one, except that two tables become one table. For each tree, the
        samples of both forests are merged into one, and a tree is built from it. The result has the distribution of a forest that
        learned the whole stream.
        """
        cdef Forest grown
        if other is self:
            raise ValueError("cannot merge a forest with itself, because its records would count twice")
        for name in ("n_features", "n_trees", "capacity", "time_decay"):
            if getattr(self, name) != getattr(other, name):
                raise ValueError(f"{name} differs: {getattr(self, name)} and {getattr(other, name)}; "
                                 "only forests that agree in it can be merged")
        theirs = other.state()  # before the lock is taken, because two threads may merge two forests into each other
        gate_write(&self.gate)
        try:
            grown = self.merged(state_of(&self.trees), theirs)
            # nothing can fail after this point
            self.trees, grown.trees = grown.trees, self.trees
            self.memory = grown.memory
        finally:
            gate_write_done(&self.gate)

    cdef Forest merged(self, dict mine, dict theirs):
        """A new forest that saw both streams, from the states of two forests."""
        cdef dict state = merged_records(mine, theirs)
        cdef Forest grown = bare(state, self.trees.low_memory)
        cdef int i
        for i in range(self.trees.n_trees):
            grown.reserve(i, int(state["size"].max()) + 1)
        grow_merged(&grown.trees, self.trees.rng, state)
        return grown

    # ---- completion and copies ---------------------------------------------------------------------------------

    def complete(self, const double[::1] record, missing, bint held=False):
        """Estimate k missing features of a record from the nearest point in each tree, shape (n, k).

        `missing` holds the indices of the k features. Nearest means nearest in the other features. Empty trees are left out, so n can
        be less than n_trees. With `held`, the record is complete and the trees may have learned it. If a tree holds it once, that
        copy does not count as a point.
        """
        cdef int64_t[::1] places = np.ascontiguousarray(missing, dtype=np.int64)
        cdef ptrdiff_t j
        self.check_record(record)
        for j in range(places.shape[0]):
            if not 0 <= places[j] < self.trees.n_features:
                raise ValueError(f"missing must hold indices from 0 to {self.trees.n_features - 1}, got {places[j]}")
        gate_read(&self.gate)
        try:
            return complete_record(&self.trees, record, places, held)
        finally:
            gate_read_done(&self.gate)

    def copy(self):
        """A copy of the forest. It copies memory, which takes a hundredth of the time of `state`."""
        cdef Forest other = Forest(self.n_trees, self.capacity, self.n_features, self.time_decay, None, self.low_memory)
        cdef int i
        gate_read(&self.gate)
        try:
            for i in range(self.trees.n_trees):
                other.reserve(i, self.trees.tree[i].capacity)
                other.reserve_boxes(i, self.trees.tree[i].box_room)
            trees_copy(&other.trees, &self.trees)
        finally:
            gate_read_done(&self.gate)
        return other

    # ---- state -------------------------------------------------------------------------------------------------

    def state(self):
        """Everything that future results depend on, as arrays. `from_state` returns the same forest, bit for bit.

        `arrival` (ascending) and `points` are a table in which each record that any tree holds appears once. A tree is a heap of
        slots, each with a `key` and a `record` (a row of that table), and nodes (`inner`, `cut`, `dim`) in the order that
        preorder.pxd describes.
        """
        gate_read(&self.gate)
        try:
            return state_of(&self.trees)
        finally:
            gate_read_done(&self.gate)

    @staticmethod
    def from_state(state, bint low_memory=False):
        """The forest of a `state()`. Raises ModelStateError if the arrays do not describe a forest; everything is checked.

        A state holds no boxes, so every forest can be restored with or without low-memory mode.
        """
        cdef Forest self
        cdef int i
        check_state(state)
        self = bare(state, low_memory)
        for i in range(self.trees.n_trees):
            self.reserve(i, int(state["size"].max()) + 1)  # the same in all trees, as after learning
        set_trees(&self.trees, state)
        return self

    def to_bytes(self, int step=0):
        """Everything that future results depend on, as bytes. `from_bytes` returns the same forest, bit for bit.

        If each record is a window over a stream, let `step` be the number of values by which the window moves from record to
        record. Numbers that two windows share are then stored once. packed.pxd describes the format. The call takes a tenth of the
        time of `state`.
        """
        cdef rcf_writer bits
        cdef bint fine
        memset(&bits, 0, sizeof(bits))
        gate_read(&self.gate)
        try:
            with nogil:
                fine = put_forest(&bits, &self.trees, step)
            if not fine:
                raise MemoryError
            return (<char*>bits.data)[:rcf_written(&bits)]
        finally:
            gate_read_done(&self.gate)
            free(bits.data)

    @staticmethod
    def from_bytes(const uint8_t[::1] data not None, bint low_memory=False):
        """The forest of a `to_bytes()`. Raises ModelStateError if the bytes do not describe a forest; everything is checked.

        The bytes hold no boxes, so every forest can be restored with or without low-memory mode.
        """
        cdef Forest self
        cdef Head head
        cdef rcf_reader bits
        cdef int32_t most = 0
        cdef int64_t records, i
        cdef Memory sizes, arrivals, points, columns, scratch
        memset(&bits, 0, sizeof(bits))
        bits.size = 8 * <uint64_t>data.shape[0]
        if bits.size > 0:
            bits.data = &data[0]
        refuse_bits(get_head(&bits, &head, HEAD), -1)
        self = Forest(head.n_trees, head.capacity, head.n_features, head.time_decay, None, low_memory)
        refuse_bits(get_counts(&bits, &head, &self.trees, LIMIT), -1)
        refuse_bits(get_record_count(&bits, head.n_features, &records), -1)
        arrivals = Memory(records * sizeof(int64_t))
        points = Memory(records * head.n_features * sizeof(float))
        columns = Memory(head.n_features * sizeof(Column))
        refuse_bits(get_records(&bits, &self.trees, head.step, records, <int64_t*>arrivals.at, <float*>points.at, <Column*>columns.at,
                                2.001 * LIMIT), -1)
        sizes = Memory(head.n_trees * sizeof(int32_t))
        refuse_bits(get_sizes(&bits, &self.trees, records, <int32_t*>sizes.at, &most), -1)
        for i in range(head.n_trees):
            self.reserve(i, most + 1)  # the same in all trees, as after learning
        scratch = Memory(scratch_of_trees(records, most))
        with nogil:
            i = get_trees(&bits, &self.trees, <int32_t*>sizes.at, records, <int64_t*>arrivals.at, <float*>points.at, scratch.at,
                          &head.wrong)
        refuse_bits(head.wrong, i)
        return self

    def __reduce__(self):
        return Forest.from_bytes, (self.to_bytes(), self.low_memory)

    # ---- looking inside ----------------------------------------------------------------------------------------

    @property
    def n_trees(self):
        return self.trees.n_trees

    @property
    def capacity(self):
        return self.trees.capacity

    @property
    def n_features(self):
        return self.trees.n_features

    @property
    def time_decay(self):
        return self.trees.time_decay

    @property
    def low_memory(self):
        return bool(self.trees.low_memory)

    @property
    def warm_up(self):
        """update() gives the first `warm_up` records of a stream the score 0."""
        return self.trees.warm_up

    @warm_up.setter
    def warm_up(self, int64_t records):
        self.trees.warm_up = records

    @property
    def n_seen(self):
        return self.trees.seen

    @property
    def origin_(self):
        """The origin, shape (n_features,). It is subtracted from a record before the difference is rounded to float32."""
        return np.array(<double[:self.trees.n_features]>self.trees.origin)

    def masses(self):
        """The number of records in each tree."""
        return np.array([self.trees.tree[i].mass for i in range(self.trees.n_trees)], dtype=np.int64)

    def nbytes(self):
        """The size of the trees and their samples in memory, in bytes."""
        return (self.trees.n_trees * (sizeof(rcf_tree) + sizeof(Sample) + sizeof(Rng))
                + sum(len(memoryview(m)) for m in self.memory)
                + sum(box_bytes(&self.trees.tree[i]) for i in range(self.trees.n_trees)))

    def points(self, int i):
        """The distinct records that tree i holds, rounded to float32, shape (n_leaves, n_features). The origin is added."""
        tree = self.tree(i)
        return tree["points"][tree["leaves"]["mass"] > 0] + self.origin_

    def reading(self, work):
        """Call work() while no other thread can change the forest, and return its result."""
        gate_read(&self.gate)
        try:
            return work()
        finally:
            gate_read_done(&self.gate)

    def tree(self, int i):
        """Tree i as a dict of read-only arrays. Most are views, which change as the tree learns; views.pxd says which are copies."""
        if not 0 <= i < self.trees.n_trees:
            raise IndexError(f"tree {i} of {self.trees.n_trees}")
        return tree_views(&self.trees, i, self.memory[i], (<Memory>self.memory[i]).at)


cdef int refuse_bits(const char* wrong, int64_t tree) except -1:
    """Raise ModelStateError if `wrong` is a message."""
    if wrong != NULL:
        raise ModelStateError(f"{'the forest' if tree < 0 else f'tree {tree}'}: {wrong.decode()}")
    return 0


cdef Forest bare(state, bint low_memory):
    """An empty forest with the sizes, counts and origin of a state."""
    cdef Forest forest = Forest(state["n_trees"], state["capacity"], state["n_features"], state["time_decay"], None, low_memory)
    set_counts(&forest.trees, state)
    return forest


def hook(str name, *arguments):
    """Call the inline function of that name in hooks.pxd. Only tests use it."""
    return call_hook(name, arguments)
