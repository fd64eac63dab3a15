"""Find numbers that a forest cannot take: NaN, infinity, and those whose absolute value exceeds LIMIT of state.py."""

from libc.stddef cimport ptrdiff_t

from rcf._native.tree cimport rcf_walks


cdef inline ptrdiff_t first_bad(const double* x, ptrdiff_t n) noexcept nogil:
    """The index of the first such number; -1 if there is none."""
    cdef ptrdiff_t i
    if rcf_walks.all_within(x, n, 1.7e38):
        return -1
    for i in range(n):
        if not (-1.7e38 <= x[i] <= 1.7e38):
            return i
    return -1


cdef inline bint find_bad(const double* X, ptrdiff_t step, ptrdiff_t n, ptrdiff_t width, ptrdiff_t* row, ptrdiff_t* feature) noexcept nogil:
    """Look for such a number in n rows, each of which begins `step` numbers after the one before. Returns whether there is one."""
    cdef ptrdiff_t r, at
    if step == width:
        at = first_bad(X, n * width)
        row[0], feature[0] = at // width, at % width
        return at >= 0
    for r in range(n):
        at = first_bad(X + r * step, width)
        if at >= 0:
            row[0], feature[0] = r, at
            return True
    return False
