/* log, exp and related functions, with the same bits on every machine.
 *
 * C libraries choose log and exp by CPU (with or without fused multiply-add), and each platform has its own library. Their results
 * differ in the last bit, and one bit can change a tree. The functions here use only +, -, *, / in a fixed order. The errors, in
 * units in the last place, are at most 1 for log, exp and exp2, 1.5 for log2, 2.5 for log1p, and 3 for expm1 (2.92 was measured
 * near 0.355, where exp(x) - 1 rounds twice). tests/core/test_hooks.py checks these limits. */
#ifndef RCF_MATH_H
#define RCF_MATH_H

#include <math.h> /* INFINITY and fabs alone */
#include <stdint.h>
#include <string.h>

static const double RCF_LN2_HIGH = 6.93147180369123816490e-01; /* its 32 low bits are zero, so that its product with k is exact */
static const double RCF_LN2_LOW = 1.90821492927058770002e-10;
#define RCF_INFINITY ((double)INFINITY)

static inline uint64_t rcf_bits(double x) { uint64_t b; memcpy(&b, &x, 8); return b; }
static inline double rcf_from_bits(uint64_t b) { double x; memcpy(&x, &b, 8); return x; }

/* log(1 + f) for 1 + f in [sqrt(1/2), sqrt(2)], by 2 atanh(f / (2 + f)). */
static inline double rcf_log1p_small(double f) {
    double s = f / (2.0 + f), z = s * s;
    /* even and odd powers of z are summed separately, so that the two sums run in parallel; this takes half the time of Horner's
     * rule */
    double z2 = z * z, z4 = z2 * z2, z8 = z4 * z4;
    double low = (1.0 / 3 + z * (1.0 / 5)) + z2 * (1.0 / 7 + z * (1.0 / 9));
    double middle = (1.0 / 11 + z * (1.0 / 13)) + z2 * (1.0 / 15 + z * (1.0 / 17));
    double high = (1.0 / 19 + z * (1.0 / 21)) + z2 * (1.0 / 23);
    double p = z * ((low + z4 * middle) + z8 * high);
    /* this is 2s + 2sp with 2s = f - sf, so that a small f loses no digits */
    return f - s * (f - 2.0 * p);
}

/* log(x 2^k) for a positive x that is neither infinite nor subnormal. It has no branch, so compilers can compute several at once. */
static inline double rcf_log_normal(double x, int64_t k) {
    uint64_t b = rcf_bits(x);
    /* x = m 2^shift with m between sqrt(1/2) and sqrt(2), computed from the bits of x without an unpredictable branch */
    int64_t shift = (int64_t)(b - 0x3fe6a09e667f3bceULL) >> 52;
    double m = rcf_from_bits(b - ((uint64_t)shift << 52));
    k += shift;
    return (double)k * RCF_LN2_HIGH + (rcf_log1p_small(m - 1.0) + (double)k * RCF_LN2_LOW);
}

/* Natural logarithm of x >= 0. */
static inline double rcf_log(double x) {
    if (x == 0.0) return -RCF_INFINITY;
    if (x > 1.7976931348623157e308) return x;
    if (x < 2.2250738585072014e-308) return rcf_log_normal(x * 18014398509481984.0, -54); /* 2^54: subnormals */
    return rcf_log_normal(x, 0);
}

/* log(1 + x) for x > -1. */
static inline double rcf_log1p(double x) {
    if (x > -0.25 && x < 0.375) return rcf_log1p_small(x);
    return rcf_log(1.0 + x);
}

/* Logarithm to base 2 of x >= 1; exact for powers of two. */
static inline double rcf_log2(double x) {
    uint64_t b = rcf_bits(x);
    int64_t k = (int64_t)(b >> 52) - 1023;
    double m = rcf_from_bits((b & 0x000fffffffffffffULL) | 0x3ff0000000000000ULL);
    if (m > 1.4142135623730951) { m *= 0.5; k += 1; }
    return (double)k + rcf_log1p_small(m - 1.0) * 1.4426950408889634;
}

/* exp(r) - 1 for |r| <= ln(2)/2, by its series. */
static inline double rcf_expm1_small(double r) {
    double r2 = r * r, r4 = r2 * r2, r8 = r4 * r4;
    double low = (1.0 / 2 + r * (1.0 / 6)) + r2 * (1.0 / 24 + r * (1.0 / 120));
    double middle = (1.0 / 720 + r * (1.0 / 5040)) + r2 * (1.0 / 40320 + r * (1.0 / 362880));
    double high = (1.0 / 3628800 + r * (1.0 / 39916800)) + r2 * (1.0 / 479001600 + r * (1.0 / 6227020800.0));
    double p = (low + r4 * middle) + r8 * (high + r4 * (1.0 / 87178291200.0));
    return r + r2 * p;
}

static inline double rcf_exp(double x) {
    if (x > 709.78) return RCF_INFINITY;
    if (x < -708.0) return 0.0; /* below the normal numbers, which is the same as zero here */
    int64_t k = (int64_t)(x * 1.4426950408889634 + (x < 0 ? -0.5 : 0.5));
    double r = (x - (double)k * RCF_LN2_HIGH) - (double)k * RCF_LN2_LOW;
    double y = 1.0 + rcf_expm1_small(r);
    if (k == 1024) return y * 2.0 * rcf_from_bits((uint64_t)(1023 + 1023) << 52);
    return y * rcf_from_bits((uint64_t)(k + 1023) << 52);
}

/* 2^x; exact for whole numbers. */
static inline double rcf_exp2(double x) {
    if (x > 1023.0) return RCF_INFINITY;
    if (x < -1021.0) return 0.0;
    int64_t k = (int64_t)(x + (x < 0 ? -0.5 : 0.5));
    return (1.0 + rcf_expm1_small((x - (double)k) * 6.93147180559945286227e-01)) * rcf_from_bits((uint64_t)(k + 1023) << 52);
}

/* exp(x) - 1, without loss of digits near zero. */
static inline double rcf_expm1(double x) {
    if (x > -0.34 && x < 0.34) return rcf_expm1_small(x);
    return rcf_exp(x) - 1.0;
}

#endif
