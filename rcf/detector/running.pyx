"""Running means and spreads of features, compiled: each value follows from the one before, so numpy cannot take rows at once."""

from libc.math cimport fabs, sqrt
from libc.stdint cimport int64_t

cdef double FAR = 1e150  # its square is still a float


cdef inline void enter(double value, double rate, double* mean, double* square) noexcept nogil:
    cdef double off = value - mean[0], step
    off = FAR if off > FAR else -FAR if off < -FAR else off
    step = rate * off
    mean[0] += step
    square[0] = (1.0 - rate) * (square[0] + off * step)


cpdef double spread(double mean, double square) noexcept nogil:
    """The standard deviation; 0 where it is below the digits of the values themselves."""
    cdef double sd = sqrt(square)
    return sd if sd > 1e-12 * fabs(mean) and sd > 1e-150 else 0.0


def learn(list values, list means, list squares, double rate):
    """One record enters the mean and the mean square deviation of each feature at that rate, in place."""
    cdef double mean, square
    cdef Py_ssize_t i
    for i in range(len(values)):
        mean, square = means[i], squares[i]
        enter(values[i], rate, &mean, &square)
        means[i], squares[i] = mean, square


def learn_rows(const double[:, ::1] X, const double[::1] rates, double[::1] means, double[::1] squares,
               const int64_t[::1] still):
    """`learn` of rows in turn, each at its rate, up to the first that would give a feature in `still` a spread; how many."""
    cdef double mean, square
    cdef Py_ssize_t r, i, k
    for r in range(X.shape[0]):
        for k in range(still.shape[0]):
            i = still[k]
            mean, square = means[i], squares[i]
            enter(X[r, i], rates[r], &mean, &square)
            if spread(mean, square) > 0.0:
                return r
        for i in range(X.shape[1]):
            enter(X[r, i], rates[r], &means[i], &squares[i])
    return X.shape[0]


def averages(const double[:, ::1] X, const double[::1] rates, double[::1] average, double[:, ::1] before):
    """Rows in turn enter the average of each feature, in place; `before` becomes what it was before each."""
    cdef Py_ssize_t r, i
    for r in range(X.shape[0]):
        for i in range(X.shape[1]):
            before[r, i] = average[i]
            average[i] += rates[r] * (X[r, i] - average[i])
