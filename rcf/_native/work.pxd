"""Scratch memory of walks: room for each level of a tree, and for a batch of rows."""

from libc.stdint cimport int32_t, int64_t

from rcf._native.tree cimport RCF_CODISP_PAIRS, rcf_span, rcf_step, rcf_sweep


cdef struct Work:
    int64_t levels
    double* ratios    # a ratio for each level, for RCF_CODISP_PAIRS pairs
    rcf_step* open    # a step for each level
    float* rows       # a batch of rows
    double* scores    # the scores of these rows


cdef inline size_t lines(size_t size) noexcept nogil:
    """`size` rounded up to whole cache lines of 64 bytes."""
    return (size + 63) // 64 * 64


cdef inline size_t work_bytes(int64_t levels, int64_t n_rows, int stride, int n_scores) noexcept nogil:
    """Bytes of a `Work` for trees of that many levels, and n_rows rows with n_scores scores each."""
    return (lines((levels + 1) * RCF_CODISP_PAIRS * sizeof(double)) + lines((levels + 1) * sizeof(rcf_step))
            + lines(n_rows * stride * sizeof(float)) + lines(n_rows * n_scores * sizeof(double)))


cdef inline void work_lay(Work* work, void* memory, int64_t levels, int64_t n_rows, int stride) noexcept nogil:
    """Set the pointers of `work` into memory that has work_bytes() bytes."""
    cdef char* at = <char*>memory
    work.levels = levels + 1
    work.ratios = <double*>at
    at += lines((levels + 1) * RCF_CODISP_PAIRS * sizeof(double))
    work.open = <rcf_step*>at
    at += lines((levels + 1) * sizeof(rcf_step))
    work.rows = <float*>at
    work.scores = <double*>(at + lines(n_rows * stride * sizeof(float)))


# ---- rows that walk through one tree together ------------------------------------------------------------------

cdef inline size_t sweep_bytes(int64_t n_rows, int stride) noexcept nogil:
    """Bytes of the scratch space of a sweep of n_rows rows."""
    return (<size_t>(n_rows + 16) * (4 * sizeof(rcf_span) + 2 * sizeof(double) + 3 * sizeof(int32_t))
            + 2 * (stride + 7) * sizeof(double) + 2 * stride * sizeof(float))


cdef inline void sweep_lay(rcf_sweep* sweep, void* memory, int64_t n_rows, int stride) noexcept nogil:
    """Set the pointers of `sweep` into memory that has sweep_bytes() bytes."""
    cdef int64_t places = n_rows + 16
    sweep.spans = <rcf_span*>memory
    sweep.waiting = sweep.spans + 2 * places
    sweep.value = <double*>(sweep.waiting + 2 * places)
    sweep.done_value = sweep.value + places
    sweep.wide = sweep.done_value + places
    sweep.order = <int32_t*>(sweep.wide + 2 * (stride + 7))
    sweep.spare = sweep.order + places
    sweep.done_row = sweep.spare + places
    sweep.box = <float*>(sweep.done_row + places)
