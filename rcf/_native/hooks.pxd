"""Inline functions that tests call by name, through `rcf._core.hook`, because Python cannot call them directly."""

from libc.stdint cimport int32_t, uint64_t

from rcf._native.rng cimport Rng, below, exponential, next_word, uniform
from rcf._native.tree cimport rcf_cut_between, rcf_mean_length, rcf_starved, rcf_use_isa

cdef extern from "_native/portable_math.h" nogil:
    double rcf_log(double x)
    double rcf_log1p(double x)
    double rcf_log2(double x)
    double rcf_exp(double x)
    double rcf_exp2(double x)
    double rcf_expm1(double x)


cdef inline hook_math(str name, double x):
    if name == "log":
        return rcf_log(x)
    if name == "log1p":
        return rcf_log1p(x)
    if name == "log2":
        return rcf_log2(x)
    if name == "exp":
        return rcf_exp(x)
    if name == "exp2":
        return rcf_exp2(x)
    if name == "expm1":
        return rcf_expm1(x)
    return rcf_mean_length(<int32_t>x)


cdef inline hook_random(str name, words, int n, uint64_t bound):
    """The next n draws of a generator whose state is `words`."""
    cdef Rng rng
    cdef int k
    for k in range(4):
        rng.s[k] = words[k]
    if name == "next_word":
        return [next_word(&rng) for k in range(n)]
    if name == "uniform":
        return [uniform(&rng) for k in range(n)]
    if name == "exponential":
        return [exponential(&rng) for k in range(n)]
    return [below(&rng, bound) for k in range(n)]


cdef inline call_hook(str name, tuple arguments):
    """Call a function of this file, or set what "starve" and "use_instructions" name."""
    global rcf_starved
    if name == "starve":
        # with True, every later allocation of boxes fails, until the hook is called with False
        rcf_starved = arguments[0]
        return None
    if name == "use_instructions":
        # from now on, in all forests; False if the machine does not support them. All give the same bits.
        return bool(rcf_use_isa(["portable", "avx2", "avx512"].index(arguments[0])))
    if name == "cut_between":
        return rcf_cut_between(arguments[0], arguments[1], arguments[2])
    if name in ("next_word", "uniform", "exponential", "below"):
        return hook_random(name, arguments[0], arguments[1], arguments[2] if name == "below" else 0)
    return hook_math(name, arguments[0])
