"""Strings of bits (bits.h), the format in which the compiled classes save their state."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "_native/bits.h" nogil:
    ctypedef struct rcf_writer:
        uint8_t* data
        size_t at

    ctypedef struct rcf_reader:
        const uint8_t* data
        uint64_t size
        uint64_t at
        bint over

    int rcf_width(uint64_t most)
    uint32_t rcf_rank_of_float(float x)
    float rcf_float_of_rank(uint32_t rank)
    uint64_t rcf_rank_of_double(double x)
    double rcf_double_of_rank(uint64_t rank)
    bint rcf_make_room(rcf_writer* w, size_t more)
    void rcf_put(rcf_writer* w, uint64_t value, int bits)
    void rcf_put_double(rcf_writer* w, double x)
    void rcf_put_number(rcf_writer* w, uint64_t value)
    size_t rcf_written(const rcf_writer* w)
    uint64_t rcf_left(const rcf_reader* r)
    uint64_t rcf_get(rcf_reader* r, int bits)
    double rcf_get_double(rcf_reader* r)
    uint64_t rcf_get_number(rcf_reader* r)
