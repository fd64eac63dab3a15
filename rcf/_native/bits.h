/* Write and read strings of bits. In each byte the lowest bit comes first. The writer's memory grows; the reader checks every access. */
#ifndef RCF_BITS_H
#define RCF_BITS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers as bits ------------------------------------------------------------------------------------------ */

/* The number of bits that a value from 0 to `most` takes. */
static inline int rcf_width(uint64_t most) {
#if defined(__GNUC__)
    return most ? 64 - __builtin_clzll(most) : 0;
#else
    int n = 0;
    for (int half = 32; half; half >>= 1)
        if (most >> half) {
            most >>= half;
            n += half;
        }
    return n + (int)most;
#endif
}

/* Maps floats to whole numbers in the same order. The difference of two ranks is the number of floats from one to the other. */
static inline uint32_t rcf_rank_of_float(float x) {
    uint32_t b;
    memcpy(&b, &x, 4);
    return b ^ ((b >> 31) ? 0xffffffffu : 0x80000000u);
}

static inline float rcf_float_of_rank(uint32_t b) {
    float x;
    b ^= (b >> 31) ? 0x80000000u : 0xffffffffu;
    memcpy(&x, &b, 4);
    return x;
}

static inline uint64_t rcf_rank_of_double(double x) {
    uint64_t b;
    memcpy(&b, &x, 8);
    return b ^ ((b >> 63) ? ~(uint64_t)0 : (uint64_t)1 << 63);
}

static inline double rcf_double_of_rank(uint64_t b) {
    double x;
    b ^= (b >> 63) ? (uint64_t)1 << 63 : ~(uint64_t)0;
    memcpy(&x, &b, 8);
    return x;
}

/* ---- writing -------------------------------------------------------------------------------------------------- */

typedef struct {
    uint8_t *data;
    size_t at, room; /* number of whole bytes written; number of bytes allocated */
    uint64_t word;   /* the last bits, which do not fill a byte yet */
    int held;        /* how many these are */
} rcf_writer;

/* Make room for `more` bytes. Returns 0 if memory runs out. The caller must free `data` in either case. */
static inline int rcf_make_room(rcf_writer *w, size_t more) {
    size_t least = w->at + more + 16;
    if (least <= w->room) return 1;
    if (least < 2 * w->room) least = 2 * w->room;
    uint8_t *data = (uint8_t *)realloc(w->data, least);
    if (data == NULL) return 0;
    w->data = data;
    w->room = least;
    return 1;
}

/* Write a value of at most 56 bits. Its higher bits are 0, and there is room for it. */
static inline void rcf_put_few(rcf_writer *w, uint64_t value, int bits) {
    w->word |= value << w->held;
    w->held += bits;
    for (int b = 0; b < 8; b++) w->data[w->at + b] = (uint8_t)(w->word >> (8 * b)); /* compiled to one store */
    w->at += (size_t)(w->held >> 3);
    w->word >>= w->held & ~7;
    w->held &= 7;
}

static inline void rcf_put(rcf_writer *w, uint64_t value, int bits) {
    if (bits > 56) {
        rcf_put_few(w, value & 0xffffffffu, 32);
        value >>= 32;
        bits -= 32;
    }
    rcf_put_few(w, value, bits);
}

static inline void rcf_put_double(rcf_writer *w, double x) {
    uint64_t b;
    memcpy(&b, &x, 8);
    rcf_put(w, b, 64);
}

/* Write the width of a number below 2^63 in 6 bits, and then the number. */
static inline void rcf_put_number(rcf_writer *w, uint64_t value) {
    int bits = rcf_width(value);
    rcf_put(w, (uint64_t)bits, 6);
    rcf_put(w, value, bits);
}

/* The number of bytes written. The last byte is padded with zeros. */
static inline size_t rcf_written(const rcf_writer *w) { return w->at + (w->held > 0); }

/* ---- reading -------------------------------------------------------------------------------------------------- */

typedef struct {
    const uint8_t *data;
    uint64_t size, at; /* number of bits, and of bits read */
    int over;          /* 1 after an attempt to read beyond the end, which gives zeros */
} rcf_reader;

static inline uint64_t rcf_left(const rcf_reader *r) { return r->size - r->at; }

static inline uint64_t rcf_get_few(rcf_reader *r, int bits) {
    uint64_t byte = r->at >> 3, bytes = r->size >> 3, word = 0;
    if (rcf_left(r) < (uint64_t)bits) {
        r->over = 1;
        return 0;
    }
    if (byte + 8 <= bytes)
        for (int b = 0; b < 8; b++) word |= (uint64_t)r->data[byte + b] << (8 * b);
    else
        for (int b = 0; byte + b < bytes; b++) word |= (uint64_t)r->data[byte + b] << (8 * b);
    word = (word >> (r->at & 7)) & (((uint64_t)1 << bits) - 1);
    r->at += (uint64_t)bits;
    return word;
}

static inline uint64_t rcf_get(rcf_reader *r, int bits) {
    if (bits <= 56) return rcf_get_few(r, bits);
    uint64_t low = rcf_get_few(r, 32);
    return low | rcf_get_few(r, bits - 32) << 32;
}

static inline double rcf_get_double(rcf_reader *r) {
    uint64_t b = rcf_get(r, 64);
    double x;
    memcpy(&x, &b, 8);
    return x;
}

static inline uint64_t rcf_get_number(rcf_reader *r) { return rcf_get(r, (int)rcf_get(r, 6)); }

#endif
