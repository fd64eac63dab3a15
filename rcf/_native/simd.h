/* Vector words. The loops over boxes and the walks are written with them, once for all instruction sets.
 *
 * Included by isa.h once per instruction set, with RCF_ISA (a suffix to names), RCF_TARGET (an attribute) and RCF_WIDTH (512, 256 or 0:
 * AVX-512, AVX2, portable C) set. There are two kinds of words:
 *
 * - Features of one box, side by side: f8 holds eight floats and f4 up to four, d8 and d4 as many doubles.
 * - Pairs of a tree and a record, side by side: RCF_TOGETHER of them, eight with AVX-512, otherwise one. pd holds a double of each pair,
 *   pi an int32, pn a node number, pp a pointer, and pm is a mask of pairs. With one pair the words are plain C.
 *
 * All builds add in the same order, so they give the same bits.
 */

#if defined(__GNUC__)
#define RCF_LOCAL RCF_TARGET static inline __attribute__((always_inline))
#else
#define RCF_LOCAL static __forceinline
#endif

/* ---- features ---------------------------------------------------------------------------------------------- */

#if RCF_WIDTH /* floats: the same for AVX-512 and AVX2 */

typedef __m256 RCF_ISA(f8);
typedef __m128 RCF_ISA(f4);
typedef __m256d RCF_ISA(d4);

RCF_LOCAL __m256 RCF_ISA(load8)(const float *p) { return _mm256_loadu_ps(p); }
RCF_LOCAL void RCF_ISA(store8)(float *p, __m256 a) { _mm256_storeu_ps(p, a); }
RCF_LOCAL __m256 RCF_ISA(min8)(__m256 a, __m256 b) { return _mm256_min_ps(a, b); }
RCF_LOCAL __m256 RCF_ISA(max8)(__m256 a, __m256 b) { return _mm256_max_ps(a, b); }
/* Whether a differs from b or c from d. */
RCF_LOCAL int RCF_ISA(differ8)(__m256 a, __m256 b, __m256 c, __m256 d) {
    return _mm256_movemask_ps(_mm256_or_ps(_mm256_cmp_ps(a, b, _CMP_NEQ_OQ), _mm256_cmp_ps(c, d, _CMP_NEQ_OQ)));
}

/* The first n of four floats: a load sets the others to zero, and a store leaves them as they are. */
#if RCF_WIDTH == 512
RCF_LOCAL __m128 RCF_ISA(load_part)(const float *p, int n) { return _mm_maskz_loadu_ps((__mmask8)((1 << n) - 1), p); }
RCF_LOCAL void RCF_ISA(store_part)(float *p, __m128 a, int n) { _mm_mask_storeu_ps(p, (__mmask8)((1 << n) - 1), a); }
#else
RCF_LOCAL __m128i RCF_ISA(part)(int n) { return _mm_cmpgt_epi32(_mm_set1_epi32(n), _mm_setr_epi32(0, 1, 2, 3)); }
RCF_LOCAL __m128 RCF_ISA(load_part)(const float *p, int n) { return _mm_maskload_ps(p, RCF_ISA(part)(n)); }
RCF_LOCAL void RCF_ISA(store_part)(float *p, __m128 a, int n) { _mm_maskstore_ps(p, RCF_ISA(part)(n), a); }
#endif
RCF_LOCAL __m128 RCF_ISA(load4)(const float *p, int n) { return n == 4 ? _mm_loadu_ps(p) : RCF_ISA(load_part)(p, n); }
RCF_LOCAL void RCF_ISA(store4)(float *p, __m128 a, int n) {
    if (n == 4) _mm_storeu_ps(p, a);
    else RCF_ISA(store_part)(p, a, n);
}
RCF_LOCAL __m128 RCF_ISA(min4)(__m128 a, __m128 b) { return _mm_min_ps(a, b); }
RCF_LOCAL __m128 RCF_ISA(max4)(__m128 a, __m128 b) { return _mm_max_ps(a, b); }
RCF_LOCAL int RCF_ISA(differ4)(__m128 a, __m128 b, __m128 c, __m128 d) {
    return _mm_movemask_ps(_mm_or_ps(_mm_cmpneq_ps(a, b), _mm_cmpneq_ps(c, d)));
}
/* The first eight features of a row; if it has fewer, zeros follow them. */
RCF_LOCAL __m256 RCF_ISA(load_row)(const float *p, int stride) {
    return stride <= 4 ? _mm256_insertf128_ps(_mm256_setzero_ps(), RCF_ISA(load4)(p, stride), 0) : _mm256_loadu_ps(p);
}
RCF_LOCAL void RCF_ISA(store_row)(float *p, __m256 a, int stride) {
    if (stride <= 4) RCF_ISA(store4)(p, _mm256_castps256_ps128(a), stride);
    else _mm256_storeu_ps(p, a);
}
/* a - b as doubles, and its size. */
RCF_LOCAL __m256d RCF_ISA(minus4)(__m128 a, __m128 b) { return _mm256_sub_pd(_mm256_cvtps_pd(a), _mm256_cvtps_pd(b)); }
RCF_LOCAL __m256d RCF_ISA(distance4)(__m128 a, __m128 b) {
    return _mm256_andnot_pd(_mm256_set1_pd(-0.0), RCF_ISA(minus4)(a, b));
}
/* The sum of all lanes, in the order of rcf_add_lanes. */
RCF_LOCAL double RCF_ISA(sum4)(__m256d four) {
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

#endif

#if RCF_WIDTH == 512

typedef __m512d RCF_ISA(d8);

RCF_LOCAL __m512d RCF_ISA(load_d8)(const double *p) { return _mm512_loadu_pd(p); }
RCF_LOCAL void RCF_ISA(store_d8)(double *p, __m512d a) { _mm512_storeu_pd(p, a); }
RCF_LOCAL __m512d RCF_ISA(add8)(__m512d a, __m512d b) { return _mm512_add_pd(a, b); }
RCF_LOCAL __m512d RCF_ISA(minus8)(__m256 a, __m256 b) { return _mm512_sub_pd(_mm512_cvtps_pd(a), _mm512_cvtps_pd(b)); }
RCF_LOCAL __m512d RCF_ISA(distance8)(__m256 a, __m256 b) { return _mm512_abs_pd(RCF_ISA(minus8)(a, b)); }
RCF_LOCAL __m512d RCF_ISA(widen)(__m256d a) { return _mm512_zextpd256_pd512(a); }
RCF_LOCAL double RCF_ISA(sum8)(__m512d a) {
    return RCF_ISA(sum4)(_mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1)));
}

#elif RCF_WIDTH == 256

typedef struct {
    __m256d low, high;
} RCF_ISA(d8);

RCF_LOCAL RCF_ISA(d8) RCF_ISA(load_d8)(const double *p) { return (RCF_ISA(d8)){_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)}; }
RCF_LOCAL void RCF_ISA(store_d8)(double *p, RCF_ISA(d8) a) {
    _mm256_storeu_pd(p, a.low);
    _mm256_storeu_pd(p + 4, a.high);
}
RCF_LOCAL RCF_ISA(d8) RCF_ISA(add8)(RCF_ISA(d8) a, RCF_ISA(d8) b) {
    return (RCF_ISA(d8)){_mm256_add_pd(a.low, b.low), _mm256_add_pd(a.high, b.high)};
}
RCF_LOCAL RCF_ISA(d8) RCF_ISA(minus8)(__m256 a, __m256 b) {
    return (RCF_ISA(d8)){RCF_ISA(minus4)(_mm256_castps256_ps128(a), _mm256_castps256_ps128(b)),
                         RCF_ISA(minus4)(_mm256_extractf128_ps(a, 1), _mm256_extractf128_ps(b, 1))};
}
RCF_LOCAL RCF_ISA(d8) RCF_ISA(distance8)(__m256 a, __m256 b) {
    return (RCF_ISA(d8)){RCF_ISA(distance4)(_mm256_castps256_ps128(a), _mm256_castps256_ps128(b)),
                         RCF_ISA(distance4)(_mm256_extractf128_ps(a, 1), _mm256_extractf128_ps(b, 1))};
}
RCF_LOCAL RCF_ISA(d8) RCF_ISA(widen)(__m256d a) { return (RCF_ISA(d8)){a, _mm256_setzero_pd()}; }
RCF_LOCAL double RCF_ISA(sum8)(RCF_ISA(d8) a) { return RCF_ISA(sum4)(_mm256_add_pd(a.low, a.high)); }

#else /* portable */

typedef struct {
    float at[8];
} RCF_ISA(f8);
typedef struct {
    float at[4];
} RCF_ISA(f4);
typedef struct {
    double at[8];
} RCF_ISA(d8);
typedef struct {
    double at[4];
} RCF_ISA(d4);

#define RCF_WORDS(n, f, d)                                                                     \
    RCF_LOCAL RCF_ISA(f) RCF_ISA(min##n)(RCF_ISA(f) a, RCF_ISA(f) b) {                         \
        for (int i = 0; i < n; i++) a.at[i] = a.at[i] < b.at[i] ? a.at[i] : b.at[i];           \
        return a;                                                                              \
    }                                                                                          \
    RCF_LOCAL RCF_ISA(f) RCF_ISA(max##n)(RCF_ISA(f) a, RCF_ISA(f) b) {                         \
        for (int i = 0; i < n; i++) a.at[i] = a.at[i] > b.at[i] ? a.at[i] : b.at[i];           \
        return a;                                                                              \
    }                                                                                          \
    RCF_LOCAL int RCF_ISA(differ##n)(RCF_ISA(f) a, RCF_ISA(f) b, RCF_ISA(f) c, RCF_ISA(f) d) { \
        int differs = 0;                                                                       \
        for (int i = 0; i < n; i++) differs |= (a.at[i] != b.at[i]) | (c.at[i] != d.at[i]);    \
        return differs;                                                                        \
    }                                                                                          \
    RCF_LOCAL RCF_ISA(d) RCF_ISA(minus##n)(RCF_ISA(f) a, RCF_ISA(f) b) {                       \
        RCF_ISA(d) c;                                                                          \
        for (int i = 0; i < n; i++) c.at[i] = (double)a.at[i] - (double)b.at[i];               \
        return c;                                                                              \
    }                                                                                          \
    RCF_LOCAL RCF_ISA(d) RCF_ISA(distance##n)(RCF_ISA(f) a, RCF_ISA(f) b) {                    \
        RCF_ISA(d) c = RCF_ISA(minus##n)(a, b);                                                \
        for (int i = 0; i < n; i++) c.at[i] = c.at[i] < 0 ? -c.at[i] : c.at[i];                \
        return c;                                                                              \
    }
RCF_WORDS(4, f4, d4)
RCF_WORDS(8, f8, d8)
#undef RCF_WORDS

RCF_LOCAL RCF_ISA(f8) RCF_ISA(load8)(const float *p) {
    RCF_ISA(f8) a;
    for (int i = 0; i < 8; i++) a.at[i] = p[i];
    return a;
}
RCF_LOCAL void RCF_ISA(store8)(float *p, RCF_ISA(f8) a) {
    for (int i = 0; i < 8; i++) p[i] = a.at[i];
}
RCF_LOCAL RCF_ISA(f4) RCF_ISA(load4)(const float *p, int n) {
    RCF_ISA(f4) a;
    for (int i = 0; i < 4; i++) a.at[i] = i < n ? p[i] : 0.0f;
    return a;
}
RCF_LOCAL void RCF_ISA(store4)(float *p, RCF_ISA(f4) a, int n) {
    for (int i = 0; i < n; i++) p[i] = a.at[i];
}

RCF_LOCAL RCF_ISA(f8) RCF_ISA(load_row)(const float *p, int stride) {
    RCF_ISA(f8) a;
    for (int i = 0; i < 8; i++) a.at[i] = i < stride ? p[i] : 0.0f;
    return a;
}
RCF_LOCAL void RCF_ISA(store_row)(float *p, RCF_ISA(f8) a, int stride) {
    for (int i = 0; i < 8 && i < stride; i++) p[i] = a.at[i];
}

RCF_LOCAL RCF_ISA(d8) RCF_ISA(load_d8)(const double *p) {
    RCF_ISA(d8) a;
    for (int i = 0; i < 8; i++) a.at[i] = p[i];
    return a;
}
RCF_LOCAL void RCF_ISA(store_d8)(double *p, RCF_ISA(d8) a) {
    for (int i = 0; i < 8; i++) p[i] = a.at[i];
}
RCF_LOCAL RCF_ISA(d8) RCF_ISA(add8)(RCF_ISA(d8) a, RCF_ISA(d8) b) {
    for (int i = 0; i < 8; i++) a.at[i] += b.at[i];
    return a;
}
RCF_LOCAL RCF_ISA(d8) RCF_ISA(widen)(RCF_ISA(d4) a) { return (RCF_ISA(d8)){{a.at[0], a.at[1], a.at[2], a.at[3], 0, 0, 0, 0}}; }
RCF_LOCAL double RCF_ISA(sum4)(RCF_ISA(d4) a) { return (a.at[0] + a.at[2]) + (a.at[1] + a.at[3]); }
RCF_LOCAL double RCF_ISA(sum8)(RCF_ISA(d8) a) { return rcf_add_lanes(a.at); }

#endif

/* x moved into the box. */
RCF_LOCAL RCF_ISA(f8) RCF_ISA(clamp8)(RCF_ISA(f8) x, RCF_ISA(f8) lower, RCF_ISA(f8) upper) {
    return RCF_ISA(min8)(RCF_ISA(max8)(x, lower), upper);
}
RCF_LOCAL RCF_ISA(f4) RCF_ISA(clamp4)(RCF_ISA(f4) x, RCF_ISA(f4) lower, RCF_ISA(f4) upper) {
    return RCF_ISA(min4)(RCF_ISA(max4)(x, lower), upper);
}

/* ---- pairs ------------------------------------------------------------------------------------------------- */

#if RCF_WIDTH == 512
#define RCF_TOGETHER 8

typedef __m512d RCF_ISA(pd);
typedef __m256i RCF_ISA(pi);
typedef __m512i RCF_ISA(pn);
typedef __m512i RCF_ISA(pp);
typedef __mmask8 RCF_ISA(pm);

/* The first n >= 1 pairs, all of them if n is larger. */
RCF_LOCAL __mmask8 RCF_ISA(first)(int32_t n) { return n >= 8 ? 0xff : (__mmask8)((1 << n) - 1); }
RCF_LOCAL __mmask8 RCF_ISA(both)(__mmask8 a, __mmask8 b) { return a & b; }
/* a without b, where b is a subset of a. */
RCF_LOCAL __mmask8 RCF_ISA(without)(__mmask8 a, __mmask8 b) { return (__mmask8)(a & ~b); }
RCF_LOCAL int RCF_ISA(count)(__mmask8 which) { return __builtin_popcount(which); }

RCF_LOCAL __m512d RCF_ISA(load_pd)(const double *p) { return _mm512_loadu_pd(p); }
RCF_LOCAL __m256i RCF_ISA(load_pi)(const int32_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
RCF_LOCAL __m512i RCF_ISA(load_pp)(const void *p) { return _mm512_loadu_si512(p); }
RCF_LOCAL void RCF_ISA(store_pd)(double *p, __m512d a) { _mm512_storeu_pd(p, a); }
RCF_LOCAL void RCF_ISA(store_pn)(int32_t *p, __m512i a) { _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi64_epi32(a)); }
/* Write the values of the pairs in the mask next to each other. Further places, up to RCF_TOGETHER in all, are overwritten too. */
RCF_LOCAL void RCF_ISA(pack_pd)(double *to, __mmask8 which, __m512d a) { _mm512_storeu_pd(to, _mm512_maskz_compress_pd(which, a)); }
RCF_LOCAL void RCF_ISA(pack_pi)(int32_t *to, __mmask8 which, __m256i a) {
    _mm256_storeu_si256((__m256i *)to, _mm256_maskz_compress_epi32(which, a));
}
RCF_LOCAL void RCF_ISA(pack_pp)(void *to, __mmask8 which, __m512i a) {
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi64(which, a));
}
/* The same, but no further places are overwritten. */
RCF_LOCAL void RCF_ISA(put_pd)(double *to, __mmask8 which, __m512d a) {
    _mm512_mask_storeu_pd(to, (__mmask8)((1 << __builtin_popcount(which)) - 1), _mm512_maskz_compress_pd(which, a));
}
RCF_LOCAL void RCF_ISA(put_pi)(int32_t *to, __mmask8 which, __m256i a) {
    _mm256_mask_storeu_epi32(to, (__mmask8)((1 << __builtin_popcount(which)) - 1), _mm256_maskz_compress_epi32(which, a));
}
RCF_LOCAL void RCF_ISA(scatter)(int32_t *to, __m256i at, __m256i a) { _mm256_i32scatter_epi32(to, at, a, 4); }

RCF_LOCAL __m512d RCF_ISA(add)(__m512d a, __m512d b) { return _mm512_add_pd(a, b); }
RCF_LOCAL __m512d RCF_ISA(subtract)(__m512d a, __m512d b) { return _mm512_sub_pd(a, b); }
RCF_LOCAL __m512d RCF_ISA(multiply)(__m512d a, __m512d b) { return _mm512_mul_pd(a, b); }
RCF_LOCAL __m512d RCF_ISA(divide)(__m512d a, __m512d b) { return _mm512_div_pd(a, b); }
RCF_LOCAL __m512d RCF_ISA(larger)(__m512d a, __m512d b) { return _mm512_max_pd(a, b); }
RCF_LOCAL __m512d RCF_ISA(all_pd)(double a) { return _mm512_set1_pd(a); }
RCF_LOCAL __m512i RCF_ISA(all_pp)(const void *a) { return _mm512_set1_epi64((int64_t)(intptr_t)a); }
RCF_LOCAL __m256i RCF_ISA(all_pi)(int32_t a) { return _mm256_set1_epi32(a); }
RCF_LOCAL __m256i RCF_ISA(less_one)(__m256i a) { return _mm256_sub_epi32(a, _mm256_set1_epi32(1)); }
RCF_LOCAL __m256i RCF_ISA(invert)(__m256i a) { return _mm256_xor_si256(a, _mm256_set1_epi32(-1)); }
RCF_LOCAL __mmask8 RCF_ISA(not_zero)(__m512d a) { return _mm512_cmp_pd_mask(a, _mm512_setzero_pd(), _CMP_NEQ_OQ); }
RCF_LOCAL __mmask8 RCF_ISA(negative)(__m256i a) { return (__mmask8)_mm256_movepi32_mask(a); }
RCF_LOCAL __mmask8 RCF_ISA(not_negative)(__m512i a) { return _mm512_cmp_epi64_mask(a, _mm512_setzero_si512(), _MM_CMPINT_NLT); }
/* Replace the nodes of the pairs outside the mask by node 0. */
RCF_LOCAL __m512i RCF_ISA(or_node_0)(__m512i a, __mmask8 which) { return _mm512_maskz_mov_epi64(which, a); }
RCF_LOCAL __m512i RCF_ISA(load_pn)(const int32_t *p) { return _mm512_cvtepi32_epi64(_mm256_loadu_si256((const __m256i *)p)); }
RCF_LOCAL __m512i RCF_ISA(node)(__m256i a) { return _mm512_cvtepi32_epi64(a); }
/* The address of the element of an array with a given number; each element has `size` bytes. */
RCF_LOCAL __m512i RCF_ISA(element)(__m512i array, __m512i number, int64_t size) {
    __m512i offset = size == 16 ? _mm512_slli_epi64(number, 4) : _mm512_mullo_epi64(number, _mm512_set1_epi64(size));
    return _mm512_add_epi64(array, offset);
}

/* Eight bytes at each address. The gather instruction is slower than eight loads. */
RCF_LOCAL __m512i RCF_ISA(gather)(const void *const *at, ptrdiff_t offset) {
    __m128d two[4];
    for (int g = 0; g < 4; g++)
        two[g] = _mm_loadh_pd(_mm_load_sd((const double *)((const char *)at[2 * g] + offset)),
                              (const double *)((const char *)at[2 * g + 1] + offset));
    __m256d low = _mm256_insertf128_pd(_mm256_castpd128_pd256(two[0]), two[1], 1);
    __m256d high = _mm256_insertf128_pd(_mm256_castpd128_pd256(two[2]), two[3], 1);
    return _mm512_castpd_si512(_mm512_insertf64x4(_mm512_castpd256_pd512(low), high, 1));
}
RCF_LOCAL __m512d RCF_ISA(ranges)(int compact, const void *const *node, const void *const *box) {
    return _mm512_castsi512_pd(compact ? RCF_ISA(gather)(box, -(ptrdiff_t)sizeof(double))
                                       : RCF_ISA(gather)(node, offsetof(rcf_node, range)));
}
/* Mass and parent are neighbours, and in the compact layout dim and box stand before them. */
RCF_LOCAL __m512d RCF_ISA(masses)(int compact, const void *const *node) {
    __m512i mass = compact ? _mm512_srai_epi64(_mm512_slli_epi64(RCF_ISA(gather)(node, offsetof(rcf_short_node, dim)), 16), 48)
                           : RCF_ISA(gather)(node, offsetof(rcf_node, mass));
    return _mm512_cvtepi32_pd(_mm512_cvtepi64_epi32(mass));
}
RCF_LOCAL __m512i RCF_ISA(parents)(int compact, const void *const *node) {
    return compact ? _mm512_srai_epi64(RCF_ISA(gather)(node, offsetof(rcf_short_node, dim)), 48)
                   : _mm512_srai_epi64(RCF_ISA(gather)(node, offsetof(rcf_node, mass)), 32);
}

/* 1 / level, for levels from 1 on. It is looked up in a table, because dividing eight numbers takes half as long as processing a
 * box. */
RCF_LOCAL __m512d RCF_ISA(inverses)(__m256i level) {
    const double *table = rcf_inverse_table; /* 1 / (i + 1) */
    if (_mm256_cmp_epi32_mask(level, _mm256_set1_epi32(32), _MM_CMPINT_NLE))
        return _mm512_div_pd(_mm512_set1_pd(1.0), _mm512_cvtepi32_pd(level));
    __m512i at = _mm512_sub_epi64(_mm512_cvtepi32_epi64(level), _mm512_set1_epi64(1));
    __m512d low = _mm512_permutex2var_pd(_mm512_loadu_pd(table), at, _mm512_loadu_pd(table + 8));
    __m512d high = _mm512_permutex2var_pd(_mm512_loadu_pd(table + 16), at, _mm512_loadu_pd(table + 24));
    return _mm512_mask_mov_pd(low, _mm512_test_epi64_mask(at, _mm512_set1_epi64(16)), high);
}

/* The sums of the lanes of eight words. Halves, quarters and then pairs are added, in the order of rcf_add_lanes. */
RCF_LOCAL __m512d RCF_ISA(sums)(const __m512d *lanes) {
    __m512d four[4], two[2];
    for (int g = 0; g < 4; g++)
        four[g] = _mm512_add_pd(_mm512_shuffle_f64x2(lanes[2 * g], lanes[2 * g + 1], 0x44),
                                _mm512_shuffle_f64x2(lanes[2 * g], lanes[2 * g + 1], 0xee));
    for (int g = 0; g < 2; g++)
        two[g] = _mm512_add_pd(_mm512_shuffle_f64x2(four[2 * g], four[2 * g + 1], 0x88),
                               _mm512_shuffle_f64x2(four[2 * g], four[2 * g + 1], 0xdd));
    __m512d sum = _mm512_add_pd(_mm512_unpacklo_pd(two[0], two[1]), _mm512_unpackhi_pd(two[0], two[1]));
    return _mm512_permutexvar_pd(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), sum);
}

#else /* one pair */
#define RCF_TOGETHER 1

typedef double RCF_ISA(pd);
typedef int32_t RCF_ISA(pi);
typedef int32_t RCF_ISA(pn);
typedef const char *RCF_ISA(pp);
typedef int32_t RCF_ISA(pm);

RCF_LOCAL int32_t RCF_ISA(first)(int32_t n) { return (void)n, 1; }
RCF_LOCAL int32_t RCF_ISA(both)(int32_t a, int32_t b) { return a & b; }
RCF_LOCAL int32_t RCF_ISA(without)(int32_t a, int32_t b) { return a - b; }
RCF_LOCAL int RCF_ISA(count)(int32_t which) { return which; }

RCF_LOCAL double RCF_ISA(load_pd)(const double *p) { return *p; }
RCF_LOCAL int32_t RCF_ISA(load_pi)(const int32_t *p) { return *p; }
RCF_LOCAL const char *RCF_ISA(load_pp)(const void *p) {
    const char *a;
    memcpy(&a, p, sizeof a);
    return a;
}
RCF_LOCAL void RCF_ISA(store_pd)(double *p, double a) { *p = a; }
RCF_LOCAL void RCF_ISA(store_pn)(int32_t *p, int32_t a) { *p = a; }
RCF_LOCAL void RCF_ISA(pack_pd)(double *to, int32_t which, double a) { (void)which, *to = a; }
RCF_LOCAL void RCF_ISA(pack_pi)(int32_t *to, int32_t which, int32_t a) { (void)which, *to = a; }
RCF_LOCAL void RCF_ISA(pack_pp)(void *to, int32_t which, const char *a) { (void)which, memcpy(to, &a, sizeof a); }
RCF_LOCAL void RCF_ISA(put_pd)(double *to, int32_t which, double a) { (void)which, *to = a; }
RCF_LOCAL void RCF_ISA(put_pi)(int32_t *to, int32_t which, int32_t a) { (void)which, *to = a; }
RCF_LOCAL void RCF_ISA(scatter)(int32_t *to, int32_t at, int32_t a) { to[at] = a; }

RCF_LOCAL double RCF_ISA(add)(double a, double b) { return a + b; }
RCF_LOCAL double RCF_ISA(subtract)(double a, double b) { return a - b; }
RCF_LOCAL double RCF_ISA(multiply)(double a, double b) { return a * b; }
RCF_LOCAL double RCF_ISA(divide)(double a, double b) { return a / b; }
RCF_LOCAL double RCF_ISA(larger)(double a, double b) { return a > b ? a : b; }
RCF_LOCAL double RCF_ISA(all_pd)(double a) { return a; }
RCF_LOCAL const char *RCF_ISA(all_pp)(const void *a) { return (const char *)a; }
RCF_LOCAL int32_t RCF_ISA(all_pi)(int32_t a) { return a; }
RCF_LOCAL int32_t RCF_ISA(less_one)(int32_t a) { return a - 1; }
RCF_LOCAL int32_t RCF_ISA(invert)(int32_t a) { return ~a; }
RCF_LOCAL int32_t RCF_ISA(not_zero)(double a) { return a != 0.0; }
RCF_LOCAL int32_t RCF_ISA(negative)(int32_t a) { return a < 0; }
RCF_LOCAL int32_t RCF_ISA(not_negative)(int32_t a) { return a >= 0; }
RCF_LOCAL int32_t RCF_ISA(or_node_0)(int32_t a, int32_t which) { return a & -which; }
RCF_LOCAL int32_t RCF_ISA(load_pn)(const int32_t *p) { return *p; }
RCF_LOCAL int32_t RCF_ISA(node)(int32_t a) { return a; }
RCF_LOCAL const char *RCF_ISA(element)(const char *array, int32_t number, int64_t size) { return array + number * size; }

RCF_LOCAL double RCF_ISA(ranges)(int compact, const void *const *node, const void *const *box) {
    return compact ? ((const double *)box[0])[-1] : ((const rcf_node *)node[0])->range;
}
RCF_LOCAL double RCF_ISA(masses)(int compact, const void *const *node) {
    return compact ? ((const rcf_short_node *)node[0])->mass : ((const rcf_node *)node[0])->mass;
}
RCF_LOCAL int32_t RCF_ISA(parents)(int compact, const void *const *node) {
    return compact ? ((const rcf_short_node *)node[0])->parent : ((const rcf_node *)node[0])->parent;
}
RCF_LOCAL double RCF_ISA(inverses)(int32_t level) { return rcf_inverse(level - 1); }
RCF_LOCAL double RCF_ISA(sums)(const RCF_ISA(d8) *lanes) { return RCF_ISA(sum8)(lanes[0]); }

#endif

/* ---- the top of a tree ------------------------------------------------------------------------------------- */

/* Bit k is set if x lies above cut k of the top of a tree. Rows must fit into registers: at most RCF_TOP_STRIDE floats. */
#if RCF_WIDTH == 512
#define RCF_TOP_STRIDE 64

RCF_LOCAL uint32_t RCF_ISA(above_cuts)(const rcf_top *top, const float *x, int stride) {
    __m512i dim = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)top->dim));
    __m512 at;
    if (stride <= 4) at = _mm512_permutexvar_ps(dim, _mm512_castps128_ps512(RCF_ISA(load4)(x, stride)));
    else if (stride == 8) at = _mm512_permutexvar_ps(dim, _mm512_castps256_ps512(_mm256_loadu_ps(x)));
    else {
        const __m512i floats = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        __m512 part[4];
        for (int b = 0; b < 4; b++) {
            int left = stride - 16 * b;
            part[b] = left >= 16 ? _mm512_loadu_ps(x + 16 * b)
                                 : _mm512_maskz_loadu_ps(_mm512_cmp_epi32_mask(floats, _mm512_set1_epi32(left), _MM_CMPINT_LT), x + 16 * b);
        }
        at = _mm512_permutex2var_ps(part[0], dim, part[1]);
        if (stride > 32)
            at = _mm512_mask_blend_ps(_mm512_test_epi32_mask(dim, _mm512_set1_epi32(32)), at, _mm512_permutex2var_ps(part[2], dim, part[3]));
    }
    return _mm512_cmp_ps_mask(at, _mm512_loadu_ps(top->value), _CMP_GT_OQ);
}

#elif RCF_WIDTH == 256
#define RCF_TOP_STRIDE 16

RCF_LOCAL uint32_t RCF_ISA(above_cuts)(const rcf_top *top, const float *x, int stride) {
    uint32_t above = 0;
    for (int half = 0; half < 2; half++) {
        __m256i dim = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(top->dim + 8 * half)));
        __m256 at;
        if (stride <= 4) at = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(RCF_ISA(load4)(x, stride)), dim);
        else at = _mm256_permutevar8x32_ps(_mm256_loadu_ps(x), dim);
        if (stride > 8)
            at = _mm256_blendv_ps(at, _mm256_permutevar8x32_ps(_mm256_loadu_ps(x + 8), dim), _mm256_castsi256_ps(_mm256_slli_epi32(dim, 28)));
        above |= (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(at, _mm256_loadu_ps(top->value + 8 * half), _CMP_GT_OQ)) << (8 * half);
    }
    return above;
}

#else
#define RCF_TOP_STRIDE 0 /* a descent compares with the cuts directly */

RCF_LOCAL uint32_t RCF_ISA(above_cuts)(const rcf_top *top, const float *x, int stride) {
    (void)top, (void)x, (void)stride;
    return 0;
}

#endif
