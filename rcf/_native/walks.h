/* The loops over boxes and the walks over trees: where the time goes.
 *
 * This file is included once per instruction set, with RCF_ISA (a suffix to names), RCF_TARGET (an attribute) and RCF_WIDTH (512,
 * 256 or 0: AVX-512, AVX2, portable C) set. All builds add in the same order, so they give the same bits.
 */

#define RCF_LOCAL RCF_TARGET static inline __attribute__((always_inline))
#if !defined(__GNUC__)
#undef RCF_LOCAL
#define RCF_LOCAL static __forceinline
#endif

/* ---- boxes ------------------------------------------------------------------------------------------------- */

#if RCF_WIDTH == 512
/* |x - clamp(x)| by lane: the clamp is exact in float, so the difference is exact in double, and all lanes are 0 exactly where
 * the box contains x. */
RCF_LOCAL __m512d RCF_ISA(rcf_gaps)(const float *lower, const float *upper, const float *x, int stride) {
    if (stride == 4) {
        __m128 at = _mm_loadu_ps(x);
        __m128 clamped = _mm_min_ps(_mm_max_ps(at, _mm_loadu_ps(lower)), _mm_loadu_ps(upper));
        return _mm512_abs_pd(_mm512_zextpd256_pd512(_mm256_sub_pd(_mm256_cvtps_pd(at), _mm256_cvtps_pd(clamped))));
    }
    __m512d lanes = _mm512_setzero_pd();
    for (int b = 0; b < stride; b += 8) {
        __m256 at = _mm256_loadu_ps(x + b);
        __m256 clamped = _mm256_min_ps(_mm256_max_ps(at, _mm256_loadu_ps(lower + b)), _mm256_loadu_ps(upper + b));
        lanes = _mm512_add_pd(lanes, _mm512_abs_pd(_mm512_sub_pd(_mm512_cvtps_pd(at), _mm512_cvtps_pd(clamped))));
    }
    return lanes;
}

/* Eight times rcf_add_lanes: halves, quarters, pairs. */
RCF_LOCAL __m512d RCF_ISA(rcf_add_lanes_of_eight)(const __m512d *lanes) {
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

/* A word of each of eight nodes; the instruction for it is slower than eight loads. */
RCF_LOCAL __m512i RCF_ISA(rcf_gather)(const rcf_node *const *node, size_t offset) {
    __m128d two[4];
    for (int g = 0; g < 4; g++)
        two[g] = _mm_loadh_pd(_mm_load_sd((const double *)((const char *)node[2 * g] + offset)),
                              (const double *)((const char *)node[2 * g + 1] + offset));
    __m256d low = _mm256_insertf128_pd(_mm256_castpd128_pd256(two[0]), two[1], 1);
    __m256d high = _mm256_insertf128_pd(_mm256_castpd128_pd256(two[2]), two[3], 1);
    return _mm512_castpd_si512(_mm512_insertf64x4(_mm512_castpd256_pd512(low), high, 1));
}

/* 1 / level of eight levels from 1 on. Looked up: a division of eight takes as long as half a box. */
RCF_LOCAL __m512d RCF_ISA(rcf_inverses)(__m256i level) {
    const double *table = rcf_inverse_table; /* 1 / (i + 1) */
    if (_mm256_cmp_epi32_mask(level, _mm256_set1_epi32(32), _MM_CMPINT_NLE))
        return _mm512_div_pd(_mm512_set1_pd(1.0), _mm512_cvtepi32_pd(level));
    __m512i at = _mm512_sub_epi64(_mm512_cvtepi32_epi64(level), _mm512_set1_epi64(1));
    __m512d low = _mm512_permutex2var_pd(_mm512_loadu_pd(table), at, _mm512_loadu_pd(table + 8));
    __m512d high = _mm512_permutex2var_pd(_mm512_loadu_pd(table + 16), at, _mm512_loadu_pd(table + 24));
    return _mm512_mask_mov_pd(low, _mm512_test_epi64_mask(at, _mm512_set1_epi64(16)), high);
}

/* to[0], to[1], ... = those of eight pointers that the mask names. */
RCF_LOCAL void RCF_ISA(rcf_pack)(void *to, __mmask8 which, __m512i pointers) {
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi64(which, pointers));
}
#endif

/* How far x lies outside the box, summed over the features. The compiler alone makes of the portable loop code that takes
 * twice as long on AVX2 and AVX-512. */
RCF_LOCAL double RCF_ISA(rcf_excess)(const float *restrict lower, const float *restrict upper,
                                     const float *restrict x, int stride) {
#if RCF_WIDTH == 512
    __m512d lanes = RCF_ISA(rcf_gaps)(lower, upper, x, stride);
    __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(lanes), _mm512_extractf64x4_pd(lanes, 1));
#elif RCF_WIDTH == 256
    const __m256d sign = _mm256_set1_pd(-0.0);
    __m256d four = _mm256_setzero_pd();
    if (stride == 4) {
        __m128 at = _mm_loadu_ps(x);
        __m128 clamped = _mm_min_ps(_mm_max_ps(at, _mm_loadu_ps(lower)), _mm_loadu_ps(upper));
        four = _mm256_andnot_pd(sign, _mm256_sub_pd(_mm256_cvtps_pd(at), _mm256_cvtps_pd(clamped)));
    } else {
        __m256d low = _mm256_setzero_pd(), high = _mm256_setzero_pd();
        for (int b = 0; b < stride; b += 8) {
            __m256 at = _mm256_loadu_ps(x + b);
            __m256 clamped = _mm256_min_ps(_mm256_max_ps(at, _mm256_loadu_ps(lower + b)), _mm256_loadu_ps(upper + b));
            low = _mm256_add_pd(low, _mm256_andnot_pd(sign, _mm256_sub_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(at)),
                                                                          _mm256_cvtps_pd(_mm256_castps256_ps128(clamped)))));
            high = _mm256_add_pd(high, _mm256_andnot_pd(sign, _mm256_sub_pd(_mm256_cvtps_pd(_mm256_extractf128_ps(at, 1)),
                                                                            _mm256_cvtps_pd(_mm256_extractf128_ps(clamped, 1)))));
        }
        four = _mm256_add_pd(low, high);
    }
#endif
#if RCF_WIDTH
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
#else
    double lanes[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    for (int b = 0; b < stride; b += 8)
        for (int i = 0; i < (stride == 4 ? 4 : 8); i++) {
            float c = x[b + i] > lower[b + i] ? x[b + i] : lower[b + i];
            c = c < upper[b + i] ? c : upper[b + i];
            double gap = (double)x[b + i] - (double)c;
            lanes[i] += gap < 0 ? -gap : gap;
        }
    return rcf_add_lanes(lanes);
#endif
}

/* box = the hull of the boxes a and b, of which one may be box itself; returns its range, the sum of its sides, and whether
 * the box was another before. */
RCF_LOCAL double RCF_ISA(rcf_join)(float *box, const float *a_lower, const float *a_upper, const float *b_lower,
                                   const float *b_upper, int stride, int *changed) {
    float *lower = box, *upper = box + stride;
#if RCF_WIDTH
    __m256d four;
    int differs = 0;
    if (stride == 4) {
        __m128 low = _mm_min_ps(_mm_loadu_ps(a_lower), _mm_loadu_ps(b_lower));
        __m128 high = _mm_max_ps(_mm_loadu_ps(a_upper), _mm_loadu_ps(b_upper));
        differs = _mm_movemask_ps(_mm_or_ps(_mm_cmpneq_ps(low, _mm_loadu_ps(lower)), _mm_cmpneq_ps(high, _mm_loadu_ps(upper))));
        _mm_storeu_ps(lower, low);
        _mm_storeu_ps(upper, high);
        four = _mm256_sub_pd(_mm256_cvtps_pd(high), _mm256_cvtps_pd(low));
    } else {
#if RCF_WIDTH == 512
        __m512d lanes = _mm512_setzero_pd();
#else
        __m256d first = _mm256_setzero_pd(), second = _mm256_setzero_pd();
#endif
        for (int b = 0; b < stride; b += 8) {
            __m256 low = _mm256_min_ps(_mm256_loadu_ps(a_lower + b), _mm256_loadu_ps(b_lower + b));
            __m256 high = _mm256_max_ps(_mm256_loadu_ps(a_upper + b), _mm256_loadu_ps(b_upper + b));
            differs |= _mm256_movemask_ps(_mm256_or_ps(_mm256_cmp_ps(low, _mm256_loadu_ps(lower + b), _CMP_NEQ_OQ),
                                                       _mm256_cmp_ps(high, _mm256_loadu_ps(upper + b), _CMP_NEQ_OQ)));
            _mm256_storeu_ps(lower + b, low);
            _mm256_storeu_ps(upper + b, high);
#if RCF_WIDTH == 512
            lanes = _mm512_add_pd(lanes, _mm512_sub_pd(_mm512_cvtps_pd(high), _mm512_cvtps_pd(low)));
#else
            first = _mm256_add_pd(first, _mm256_sub_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(high)),
                                                       _mm256_cvtps_pd(_mm256_castps256_ps128(low))));
            second = _mm256_add_pd(second, _mm256_sub_pd(_mm256_cvtps_pd(_mm256_extractf128_ps(high, 1)),
                                                         _mm256_cvtps_pd(_mm256_extractf128_ps(low, 1))));
#endif
        }
#if RCF_WIDTH == 512
        four = _mm256_add_pd(_mm512_castpd512_pd256(lanes), _mm512_extractf64x4_pd(lanes, 1));
#else
        four = _mm256_add_pd(first, second);
#endif
    }
    *changed = differs != 0;
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
#else
    double lanes[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    int differs = 0;
    for (int b = 0; b < stride; b += 8)
        for (int i = 0; i < (stride == 4 ? 4 : 8); i++) {
            float low = a_lower[b + i] < b_lower[b + i] ? a_lower[b + i] : b_lower[b + i];
            float high = a_upper[b + i] > b_upper[b + i] ? a_upper[b + i] : b_upper[b + i];
            differs |= (low != lower[b + i]) | (high != upper[b + i]);
            lower[b + i] = low;
            upper[b + i] = high;
            lanes[i] += (double)high - (double)low;
        }
    *changed = differs;
    return rcf_add_lanes(lanes);
#endif
}

/* The gaps of up to eight features. */
RCF_LOCAL void RCF_ISA(rcf_eight_gaps)(double *restrict gaps, const float *restrict lower, const float *restrict upper,
                                       const float *restrict x, int stride) {
#if RCF_WIDTH == 512
    _mm512_storeu_pd(gaps, RCF_ISA(rcf_gaps)(lower, upper, x, stride == 4 ? 4 : 8));
#else
    for (int i = stride == 4 ? 4 : 8; i < 8; i++) gaps[i] = 0.0;
    for (int i = 0; i < (stride == 4 ? 4 : 8); i++) {
        float c = x[i] > lower[i] ? x[i] : lower[i];
        c = c < upper[i] ? c : upper[i];
        double gap = (double)x[i] - (double)c;
        gaps[i] = gap < 0 ? -gap : gap;
    }
#endif
}

/* The gaps between x and the box, end to end: the feature in whose gap u lies, and how far into it. x lies outside the box.
 * Features go by eights: the chain of subtractions, each of which waits for the one before, is short. */
RCF_TARGET static int32_t RCF_ISA(rcf_find_gap)(const float *lower, const float *upper, const float *x, int stride, double u,
                                                double *within) {
    double gaps[8];
    int begin = 0, last = 0;
    for (int b = 0; stride > 8 && b < stride; b += 8) {
        RCF_ISA(rcf_eight_gaps)(gaps, lower + b, upper + b, x + b, stride);
        double sum = rcf_add_lanes(gaps);
        if (sum == 0.0) continue;
        begin = b;
        if (u < sum) break;
        u -= sum;
    }
    /* where rounding leaves u past the end, any place in a gap of the last eight will do */
    RCF_ISA(rcf_eight_gaps)(gaps, lower + begin, upper + begin, x + begin, stride);
    for (int i = 0; i < 8; i++) {
        last = gaps[i] > 0.0 ? i : last;
        if (u < gaps[i]) break;
        u -= gaps[i];
    }
    *within = u < gaps[last] ? u : gaps[last];
    return begin + last;
}

RCF_TARGET static double RCF_ISA(rcf_hull)(float *box, const float *a_lower, const float *a_upper,
                                           const float *b_lower, const float *b_upper, int stride) {
    int changed;
    return RCF_ISA(rcf_join)(box, a_lower, a_upper, b_lower, b_upper, stride, &changed);
}

/* box = the hull of rows[order[begin:end]]; returns its range. */
RCF_TARGET static double RCF_ISA(rcf_hull_of_rows)(float *restrict box, const float *restrict rows,
                                                   const int32_t *order, int32_t begin, int32_t end, int stride) {
    float *lower = box, *upper = box + stride;
    const float *first = rows + (size_t)order[begin] * stride;
    for (int i = 0; i < stride; i++) lower[i] = upper[i] = first[i];
    for (int32_t k = begin + 1; k < end; k++) {
        const float *row = rows + (size_t)order[k] * stride;
        for (int i = 0; i < stride; i++) {
            lower[i] = row[i] < lower[i] ? row[i] : lower[i];
            upper[i] = row[i] > upper[i] ? row[i] : upper[i];
        }
    }
    int changed;
    return RCF_ISA(rcf_join)(box, lower, upper, lower, upper, stride, &changed);
}

/* Whether n numbers are all at most `limit` from zero: finite, and in the range of a float. */
RCF_TARGET static int RCF_ISA(rcf_all_within)(const double *x, int64_t n, double limit) {
    int64_t beyond = 0;
    for (int64_t i = 0; i < n; i++) beyond |= (x[i] >= -limit) & (x[i] <= limit) ? 0 : -1;
    return beyond == 0;
}

/* ---- paths: from a node up --------------------------------------------------------------------------------- */

/* box = the hull of what lies below inner node v, taken from its children; returns its range. */
RCF_TARGET static double RCF_ISA(rcf_hull_of_children)(const rcf_tree *t, int32_t v, float *box) {
    const float *lower[2 * RCF_SMALL], *upper[2 * RCF_SMALL];
    int n = rcf_parts(t, t->cuts[v].child[0], lower, upper, 0), changed;
    n = rcf_parts(t, t->cuts[v].child[1], lower, upper, n);
    double range = RCF_ISA(rcf_join)(box, lower[0], upper[0], lower[1], upper[1], t->stride, &changed);
    for (int k = 2; k < n; k++)
        range = RCF_ISA(rcf_join)(box, box, box + t->stride, lower[k], upper[k], t->stride, &changed);
    return range;
}

/* The boxes that do not contain x, of node v and of those above it; returns how many. */
RCF_TARGET static int32_t RCF_ISA(rcf_open_boxes)(const rcf_tree *t, const float *x, int32_t v, rcf_step *open) {
    int32_t n = 0;
    for (; v >= 0; v = t->nodes[v].parent) {
        float *box = t->boxes;
        if (t->nodes[v].mass > t->small) box = rcf_box(t, v);
        else RCF_ISA(rcf_hull_of_children)(t, v, box);
        double e = RCF_ISA(rcf_excess)(box, box + t->stride, x, t->stride);
        if (e == 0.0) break;
        open[n].excess = e;
        open[n++].node = v;
    }
    return n;
}

/* x is in a leaf below v: take it into n boxes from node v up, and count it in all nodes from v up. In little memory the caller has made room
 * for a box: at most one node on a path comes to need it. */
RCF_TARGET static void RCF_ISA(rcf_widen_path)(rcf_tree *t, const float *x, int32_t v, int32_t n) {
    for (; v >= 0 && t->nodes[v].mass <= t->small; v = t->nodes[v].parent, n--) {
        rcf_node *node = t->nodes + v;
        node->mass += 1;
        if (node->mass > t->small) node->range = RCF_ISA(rcf_hull_of_children)(t, v, rcf_box_take(t, v));
        else if (n > 0) node->range = RCF_ISA(rcf_hull_of_children)(t, v, t->boxes);
    }
    for (; v >= 0; v = t->nodes[v].parent) {
        if (n-- > 0) {
            float *box = rcf_box(t, v);
            int changed;
            t->nodes[v].range = RCF_ISA(rcf_join)(box, box, box + t->stride, x, x, t->stride, &changed);
        }
        t->nodes[v].mass += 1;
    }
}

RCF_LOCAL const float *RCF_ISA(rcf_lower)(const rcf_tree *t, int32_t v) {
    return v < 0 ? t->points + (size_t)~v * t->stride : t->boxes + (size_t)v * 2 * t->stride;
}

/* A record has left the tree below node v: count it out there and above, and shrink the boxes up to the first that stays as it
 * was, for so do all above it. */
RCF_TARGET static void RCF_ISA(rcf_shrink_path)(rcf_tree *t, int32_t v) {
    for (int changed = 1; v >= 0; v = t->nodes[v].parent) {
        rcf_node *node = t->nodes + v;
        node->mass -= 1;
        if (node->mass <= t->small) {
            rcf_box_drop(t, v);
            node->range = RCF_ISA(rcf_hull_of_children)(t, v, t->boxes);
            continue;
        }
        if (!changed) continue;
        float *box = rcf_box(t, v);
        if (t->small) {
            float *hull = t->boxes;
            RCF_ISA(rcf_hull_of_children)(t, v, hull);
            node->range = RCF_ISA(rcf_join)(box, hull, hull + t->stride, hull, hull + t->stride, t->stride, &changed);
            continue;
        }
        const int32_t *child = t->cuts[v].child;
        const float *left = RCF_ISA(rcf_lower)(t, child[0]), *right = RCF_ISA(rcf_lower)(t, child[1]);
        node->range = RCF_ISA(rcf_join)(box, left, child[0] < 0 ? left : left + t->stride,
                                        right, child[1] < 0 ? right : right + t->stride, t->stride, &changed);
    }
}

/* ---- scores ------------------------------------------------------------------------------------------------ */

#if RCF_WIDTH
/* Which of the cuts at the top of a tree x lies above, a bit each; for rows that fit into registers, up to 64 floats (AVX2: 16). */
RCF_LOCAL uint32_t RCF_ISA(rcf_above_cuts)(const rcf_top *top, const float *x, int stride) {
#if RCF_WIDTH == 512
    __m512i dim = _mm512_loadu_si512(top->dim);
    __m512 at;
    if (stride == 4) at = _mm512_permutexvar_ps(dim, _mm512_castps128_ps512(_mm_loadu_ps(x)));
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
#else
    uint32_t above = 0;
    for (int half = 0; half < 2; half++) {
        __m256i dim = _mm256_loadu_si256((const __m256i *)(top->dim + 8 * half));
        __m256 at;
        if (stride == 4) at = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(x)), dim);
        else at = _mm256_permutevar8x32_ps(_mm256_loadu_ps(x), dim);
        if (stride > 8)
            at = _mm256_blendv_ps(at, _mm256_permutevar8x32_ps(_mm256_loadu_ps(x + 8), dim), _mm256_castsi256_ps(_mm256_slli_epi32(dim, 28)));
        above |= (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(at, _mm256_loadu_ps(top->value + 8 * half), _CMP_GT_OQ)) << (8 * half);
    }
    return above;
#endif
}
#endif

/* The leaves that n pairs come to and their depths. All pairs take a step together, and those that go on are packed to the front without
 * a branch: a step waits for memory three times, and all the others of its level are there to be done meanwhile.
 * ratios[h], with `levels` places for each pair, is M of the codisp at depth h. */
RCF_LOCAL void RCF_ISA(rcf_descend_pairs)(int kind, rcf_walk *w, int n, int32_t *restrict depth, double *restrict ratios,
                                          ptrdiff_t levels, int cold) {
    int32_t who[RCF_PAIRS + 8], v[RCF_PAIRS + 8], *leaf = w->leaf, level = 0;
    const rcf_cut *cuts[RCF_PAIRS + 8];
    const float *x[RCF_PAIRS + 8];
    int on = 0;
#if RCF_WIDTH
    int stride = w->pair[0].tree->stride, below_top = kind != RCF_CODISP && stride <= (RCF_WIDTH == 512 ? 64 : 16);
    if (below_top) level = RCF_TOP_LEVELS; /* the codisp asks for the masses on the way */
#endif
    for (int p = 0; p < n; p++) {
        const rcf_tree *t = w->pair[p].tree;
        int32_t here = t->root, h = 0;
#if RCF_WIDTH
        if (below_top) {
            uint32_t above = RCF_ISA(rcf_above_cuts)(&t->top, w->pair[p].x, stride), place = 1;
            for (int k = 0; k < RCF_TOP_LEVELS; k++) place = 2 * place + (above >> place & 1);
            here = t->top.end[place - RCF_TOP];
            h = t->top.depth[place - RCF_TOP];
        }
#endif
        if (kind == RCF_CODISP) ratios[p * levels] = 0.0;
        if (cold && here >= 0) RCF_PREFETCH(t->cuts + here);
        leaf[p] = ~here;
        depth[p] = h;
        who[on] = p;
        v[on] = here;
        cuts[on] = t->cuts;
        x[on] = w->pair[p].x;
        on += here >= 0;
    }
#if RCF_WIDTH == 512
    const rcf_cut *at[RCF_PAIRS + 8];
    int32_t done_who[RCF_PAIRS + 8], done_leaf[RCF_PAIRS + 8], done_depth[RCF_PAIRS + 8], done = 0;
    for (int i = 0; kind != RCF_CODISP && i < on; i++) at[i] = cuts[i] + v[i];
    while (kind != RCF_CODISP && on > 0) {
        int n_on = on;
        on = 0;
        level += 1;
        for (int i = 0; i < n_on; i++) v[i] = at[i]->child[x[i][at[i]->dim] > at[i]->value];
        for (int i = 0; i < n_on; i += 8) {
            __m256i next = _mm256_loadu_si256((const __m256i *)(v + i)), pairs = _mm256_loadu_si256((const __m256i *)(who + i));
            __m512i base = _mm512_loadu_si512(cuts + i), record = _mm512_loadu_si512(x + i);
            __mmask8 there = n_on - i >= 8 ? 0xff : (__mmask8)((1 << (n_on - i)) - 1);
            __mmask8 ends = (__mmask8)(there & _mm256_movepi32_mask(next)), down = (__mmask8)(there & ~ends);
            RCF_ISA(rcf_pack)(at + on, down, _mm512_add_epi64(base, _mm512_slli_epi64(_mm512_cvtepi32_epi64(next), 4)));
            RCF_ISA(rcf_pack)(cuts + on, down, base);
            RCF_ISA(rcf_pack)(x + on, down, record);
            _mm256_storeu_si256((__m256i *)(who + on), _mm256_maskz_compress_epi32(down, pairs));
            _mm256_storeu_si256((__m256i *)(done_who + done), _mm256_maskz_compress_epi32(ends, pairs));
            _mm256_storeu_si256((__m256i *)(done_leaf + done), _mm256_maskz_compress_epi32(ends, next));
            _mm256_storeu_si256((__m256i *)(done_depth + done), _mm256_set1_epi32(level));
            on += __builtin_popcount(down);
            done += __builtin_popcount(ends);
        }
        for (int i = 0; cold && i < on; i++) RCF_PREFETCH(at[i]);
    }
    for (int i = 0; i < done; i++) {
        leaf[done_who[i]] = ~done_leaf[i];
        depth[done_who[i]] = done_depth[i];
    }
#endif
    while (on > 0) {
        int n_on = on;
        on = 0;
        level += 1;
        for (int i = 0; i < n_on; i++) {
            int32_t p = who[i];
            const rcf_cut *cut = cuts[i] + v[i];
            int32_t next = cut->child[x[i][cut->dim] > cut->value];
            if (kind == RCF_CODISP) {
                const rcf_tree *t = w->pair[p].tree;
                int32_t mass = next < 0 ? t->leaves[~next].mass : t->nodes[next].mass;
                double ratio = (double)(t->nodes[v[i]].mass - mass) / (mass + 1.0), *largest = ratios + p * levels + level;
                largest[0] = ratio > largest[-1] ? ratio : largest[-1];
            }
            if (cold) RCF_PREFETCH(cuts[i] + next);
            leaf[p] = ~next;
            depth[p] = level;
            who[on] = p;
            v[on] = next;
            cuts[on] = cuts[i];
            x[on] = x[i];
            on += next >= 0;
        }
    }
}

/* The nodes that pairs meet next, and their boxes. */
RCF_LOCAL void RCF_ISA(rcf_prefetch_nodes)(const rcf_node *const *node, const float *const *box, int n, int stride) {
    for (int i = 0; i < n; i++) {
        RCF_PREFETCH(node[i]);
        for (int b = 0; b < 2 * stride; b += 16) RCF_PREFETCH(box[i] + b);
    }
}

/* How far x lies outside the boxes of the nodes above its leaf that have none in memory; returns how many these are.
 * On the way up points come in as the boxes grow; eight features of a box are in a register, and no box is ever written. */
RCF_LOCAL int RCF_ISA(rcf_small_steps)(const rcf_tree *t, const float *x, int32_t leaf, int stride, rcf_step *step) {
    const float *point[RCF_SMALL], *same[RCF_SMALL];
    int end[RCF_SMALL], n = 0, k = 1;
    int32_t below = ~leaf, v = t->leaves[leaf].parent;
    point[0] = t->points + (size_t)leaf * stride;
    while (v >= 0 && t->nodes[v].mass <= t->small) {
        k = rcf_parts(t, t->cuts[v].child[0] ^ t->cuts[v].child[1] ^ below, point, same, k);
        end[n] = k;
        step[n++].node = v;
        below = v;
        v = t->nodes[v].parent;
    }
    double lanes[RCF_SMALL][8];
    for (int b = 0; b < stride; b += 8) {
#if RCF_WIDTH
        __m256 at = _mm256_loadu_ps(x + b), low = _mm256_loadu_ps(point[0] + b), high = low;
#else
        float low[8], high[8];
        for (int i = 0; i < 8; i++) low[i] = high[i] = point[0][b + i];
#endif
        k = 1;
        for (int s = 0; s < n; s++) {
            for (; k < end[s]; k++) {
#if RCF_WIDTH
                __m256 p = _mm256_loadu_ps(point[k] + b);
                low = _mm256_min_ps(low, p);
                high = _mm256_max_ps(high, p);
#else
                for (int i = 0; i < 8; i++) {
                    float p = point[k][b + i];
                    low[i] = p < low[i] ? p : low[i];
                    high[i] = p > high[i] ? p : high[i];
                }
#endif
            }
#if RCF_WIDTH == 512
            __m256 clamped = _mm256_min_ps(_mm256_max_ps(at, low), high);
            __m512d gap = _mm512_abs_pd(_mm512_sub_pd(_mm512_cvtps_pd(at), _mm512_cvtps_pd(clamped)));
            _mm512_storeu_pd(lanes[s], b == 0 ? gap : _mm512_add_pd(_mm512_loadu_pd(lanes[s]), gap));
#elif RCF_WIDTH == 256
            __m256 clamped = _mm256_min_ps(_mm256_max_ps(at, low), high);
            const __m256d sign = _mm256_set1_pd(-0.0);
            __m256d first = _mm256_andnot_pd(sign, _mm256_sub_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(at)),
                                                                 _mm256_cvtps_pd(_mm256_castps256_ps128(clamped))));
            __m256d second = _mm256_andnot_pd(sign, _mm256_sub_pd(_mm256_cvtps_pd(_mm256_extractf128_ps(at, 1)),
                                                                  _mm256_cvtps_pd(_mm256_extractf128_ps(clamped, 1))));
            _mm256_storeu_pd(lanes[s], b == 0 ? first : _mm256_add_pd(_mm256_loadu_pd(lanes[s]), first));
            _mm256_storeu_pd(lanes[s] + 4, b == 0 ? second : _mm256_add_pd(_mm256_loadu_pd(lanes[s] + 4), second));
#else
            if (b == 0) memset(lanes[s], 0, sizeof lanes[s]);
            for (int i = 0; i < 8; i++) {
                float c = x[b + i] > low[i] ? x[b + i] : low[i];
                c = c < high[i] ? c : high[i];
                double gap = (double)x[b + i] - (double)c;
                lanes[s][i] += gap < 0 ? -gap : gap;
            }
#endif
        }
    }
    for (int s = 0; s < n; s++) step[s].excess = rcf_add_lanes(lanes[s]);
    return n;
}

/* What inserting x is worth from this node on, given that below. */
RCF_LOCAL double RCF_ISA(rcf_value_at)(int kind, const rcf_node *node, int32_t level, double excess, const double *ratios, double value) {
    double q = excess / (excess + node->range);
    return value + q * (rcf_value_separated(kind, level, node->mass, kind == RCF_CODISP ? ratios[level] : 0.0) - value);
}

/* The part of a climb that goes through nodes without boxes; returns the node where it goes on, -1 where it has ended. */
RCF_LOCAL int32_t RCF_ISA(rcf_climb_small)(int kind, rcf_walk *w, int p, int kept, int stride, const double *ratios,
                                           int32_t *level, double *value) {
    const rcf_tree *t = w->pair[p].tree;
    const float *x = w->pair[p].x;
    int32_t below = ~w->leaf[p], v = t->leaves[w->leaf[p]].parent;
    if (stride <= 8) {
        float box[16];
        const float *lower[RCF_SMALL], *upper[RCF_SMALL];
        memcpy(box, t->points + (size_t)~below * stride, sizeof(float) * (size_t)stride);
        memcpy(box + stride, box, sizeof(float) * (size_t)stride);
        while (v >= 0 && t->nodes[v].mass <= t->small) {
            const rcf_node *node = t->nodes + v;
            int n = rcf_parts(t, t->cuts[v].child[0] ^ t->cuts[v].child[1] ^ below, lower, upper, 0), changed;
            for (int k = 0; k < n; k++) RCF_ISA(rcf_join)(box, box, box + stride, lower[k], lower[k], stride, &changed);
            double excess = RCF_ISA(rcf_excess)(box, box + stride, x, stride);
            if (kept) rcf_keep_step(w, p, v, excess);
            if (excess == 0.0) return -1;
            *level -= 1;
            *value = RCF_ISA(rcf_value_at)(kind, node, *level, excess, ratios, *value);
            below = v;
            v = node->parent;
        }
        return v;
    }
    rcf_step step[RCF_SMALL];
    int n = RCF_ISA(rcf_small_steps)(t, x, w->leaf[p], stride, step);
    for (int s = 0; s < n; s++) {
        const rcf_node *node = t->nodes + step[s].node;
        double excess = step[s].excess;
        if (kept) rcf_keep_step(w, p, step[s].node, excess);
        if (excess == 0.0) return -1;
        *level -= 1;
        *value = RCF_ISA(rcf_value_at)(kind, node, *level, excess, ratios, *value);
        v = node->parent;
    }
    return v;
}

/* Functions of their own, or the climb through boxes runs out of registers. */
#define RCF_CLIMB_SMALL(name, width)                                                                                             \
    RCF_TARGET RCF_ALONE static int32_t RCF_ISA(name)(int kind, rcf_walk *w, int p, int kept, int stride, const double *ratios, \
                                                      int32_t *level, double *value) {                                           \
        (void)stride;                                                                                                            \
        return RCF_ISA(rcf_climb_small)(kind, w, p, kept, width, ratios, level, value);                                          \
    }
RCF_CLIMB_SMALL(rcf_climb_small_4, 4)
RCF_CLIMB_SMALL(rcf_climb_small_8, 8)
RCF_CLIMB_SMALL(rcf_climb_small_any, stride)
#undef RCF_CLIMB_SMALL

/* From the leaves up: at each box that does not contain x, inserting it cuts it off with probability q = excess / (excess + range);
 * a pair is done at the first box that contains x, for so do all above it.
 *
 * All pairs take a step together, and those that go on are packed to the front without a branch. One pair after
 * the other took twice as long with 8 features: where a climb ends cannot be predicted, and each wrong guess costs as much as
 * two boxes. */
RCF_LOCAL void RCF_ISA(rcf_climb)(int kind, rcf_walk *w, int n, int n_kept, int stride, const int32_t *depth,
                                  const double *ratios, ptrdiff_t levels, int cold) {
    int32_t who[RCF_PAIRS + 8], h[RCF_PAIRS + 8], done_who[RCF_PAIRS + 8];
    double score[RCF_PAIRS + 8], done_score[RCF_PAIRS + 8];
    const rcf_node *nodes[RCF_PAIRS + 8], *node[RCF_PAIRS + 8]; /* of the tree, and where the pair has come to */
    const float *boxes[RCF_PAIRS + 8], *box[RCF_PAIRS + 8], *x[RCF_PAIRS + 8];
    int on = 0, done = 0, small = w->pair[0].tree->small;
    for (int p = 0; p < n; p++) {
        const rcf_tree *t = w->pair[p].tree;
        const rcf_leaf *leaf = t->leaves + w->leaf[p];
        double value = rcf_value_separated(kind, depth[p], leaf->mass, kind == RCF_CODISP ? ratios[p * levels + depth[p]] : 0.0);
        int32_t parent = leaf->parent, level = depth[p];
        if (p < n_kept) w->n_open[p] = 0;
        if (small)
            parent = (stride == 4   ? RCF_ISA(rcf_climb_small_4)
                      : stride == 8 ? RCF_ISA(rcf_climb_small_8)
                                    : RCF_ISA(rcf_climb_small_any))(kind, w, p, p < n_kept, stride, ratios + p * levels, &level, &value);
        int32_t below_node = parent >= 0;
        who[on] = done_who[done] = p;
        score[on] = done_score[done] = value;
        nodes[on] = t->nodes;
        boxes[on] = t->boxes;
        x[on] = w->pair[p].x;
        node[on] = t->nodes + (parent & -below_node);
        box[on] = t->boxes + (size_t)(small ? t->box_at[parent & -below_node] : parent & -below_node) * 2 * stride;
        h[on] = level;
        on += below_node;
        done += 1 - below_node;
    }
    for (int first = 1; on > 0 || first; first = 0) {
        int n_on = on, i = 0;
        if (cold) RCF_ISA(rcf_prefetch_nodes)(node, box, on, stride);
        on = 0;
#if RCF_WIDTH == 512
        for (int g = 0; g < 8; g++) { /* fill the last eight */
            who[n_on + g] = who[0];
            node[n_on + g] = node[0];
            box[n_on + g] = box[0];
            x[n_on + g] = x[0];
        }
        for (; i < n_on; i += 8) {
            __m512d lanes[8];
            double above[8], kept[8];
            for (int g = 0; g < 8; g++) {
                lanes[g] = RCF_ISA(rcf_gaps)(box[i + g], box[i + g] + stride, x[i + g], stride);
                if (kind == RCF_CODISP) above[g] = n_on - i > g ? ratios[who[i + g] * levels + h[i + g] - 1] : 0.0;
            }
            __mmask8 there = n_on - i >= 8 ? 0xff : (__mmask8)((1 << (n_on - i)) - 1);
            __m512d excess = RCF_ISA(rcf_add_lanes_of_eight)(lanes);
            __m512d range = _mm512_castsi512_pd(RCF_ISA(rcf_gather)(node + i, offsetof(rcf_node, range)));
            __m512i mass_parent = RCF_ISA(rcf_gather)(node + i, offsetof(rcf_node, mass));
            __m256i level = _mm256_loadu_si256((const __m256i *)(h + i)), pairs = _mm256_loadu_si256((const __m256i *)(who + i));
            __m512i parent = _mm512_srai_epi64(mass_parent, 32);
            __m512d value = _mm512_loadu_pd(score + i), here;
            if (kind == RCF_CODISP || kind == RCF_DISPLACEMENT) here = _mm512_cvtepi32_pd(_mm512_cvtepi64_epi32(mass_parent));
            if (kind == RCF_CODISP) here = _mm512_max_pd(here, _mm512_loadu_pd(above));
            if (kind == RCF_DEPTH || kind == RCF_OPENSEARCH) here = RCF_ISA(rcf_inverses)(level);
            __m512d q = _mm512_div_pd(excess, _mm512_add_pd(excess, range));
            __mmask8 outside = _mm512_mask_cmp_pd_mask(there, excess, _mm512_setzero_pd(), _CMP_NEQ_OQ);
            value = _mm512_mask_add_pd(value, outside, value, _mm512_mul_pd(q, _mm512_sub_pd(here, value)));
            if (who[i] < n_kept) {
                _mm512_storeu_pd(kept, excess);
                for (int g = 0; g < 8 && i + g < n_on && who[i + g] < n_kept; g++)
                    rcf_keep_step(w, who[i + g], (int32_t)(node[i + g] - nodes[i + g]), kept[g]);
            }
            __mmask8 up = _mm512_mask_cmp_epi64_mask(outside, mass_parent, _mm512_setzero_si512(), _MM_CMPINT_NLT);
            __mmask8 ends = (__mmask8)(there & ~up);
            __m512i of_nodes = _mm512_loadu_si512(nodes + i), of_boxes = _mm512_loadu_si512(boxes + i), of_x = _mm512_loadu_si512(x + i);
            __m512i box_index = parent;
            if (small) {
                int32_t next[8];
                _mm256_storeu_si256((__m256i *)next, _mm512_cvtepi64_epi32(parent));
                for (int g = 0; g < 8; g++) next[g] = up >> g & 1 ? w->pair[who[i + g]].tree->box_at[next[g]] : 0;
                box_index = _mm512_cvtepi32_epi64(_mm256_loadu_si256((const __m256i *)next));
            }
            __m512i box_offset = _mm512_mullo_epi64(box_index, _mm512_set1_epi64(2 * (int64_t)sizeof(float) * stride));
            RCF_ISA(rcf_pack)(node + on, up, _mm512_add_epi64(of_nodes, _mm512_slli_epi64(parent, 4)));
            RCF_ISA(rcf_pack)(box + on, up, _mm512_add_epi64(of_boxes, box_offset));
            RCF_ISA(rcf_pack)(nodes + on, up, of_nodes);
            RCF_ISA(rcf_pack)(boxes + on, up, of_boxes);
            RCF_ISA(rcf_pack)(x + on, up, of_x);
            _mm512_storeu_pd(score + on, _mm512_maskz_compress_pd(up, value));
            _mm256_storeu_si256((__m256i *)(h + on), _mm256_maskz_compress_epi32(up, _mm256_sub_epi32(level, _mm256_set1_epi32(1))));
            _mm256_storeu_si256((__m256i *)(who + on), _mm256_maskz_compress_epi32(up, pairs));
            _mm512_storeu_pd(done_score + done, _mm512_maskz_compress_pd(ends, value));
            _mm256_storeu_si256((__m256i *)(done_who + done), _mm256_maskz_compress_epi32(ends, pairs));
            on += __builtin_popcount(up);
            done += __builtin_popcount(ends);
        }
#else
        for (; i < n_on; i++) {
            double excess = RCF_ISA(rcf_excess)(box[i], box[i] + stride, x[i], stride);
            double value = RCF_ISA(rcf_value_at)(kind, node[i], h[i] - 1, excess, ratios + who[i] * levels, score[i]);
            int32_t parent = node[i]->parent, up = (excess != 0.0) & (parent >= 0);
            if (who[i] < n_kept) rcf_keep_step(w, who[i], (int32_t)(node[i] - nodes[i]), excess);
            parent &= -up;
            who[on] = done_who[done] = who[i];
            score[on] = done_score[done] = value;
            node[on] = nodes[i] + parent;
            box[on] = boxes[i] + (size_t)(small ? w->pair[who[i]].tree->box_at[parent] : parent) * 2 * stride;
            nodes[on] = nodes[i];
            boxes[on] = boxes[i];
            x[on] = x[i];
            h[on] = h[i] - 1;
            on += up;
            done += 1 - up;
        }
#endif
        if (first)
            for (i = 0; i < done; i++) { /* only a record inside the first box can equal the leaf */
                int p = done_who[i];
                const rcf_tree *t = w->pair[p].tree;
                const float *point = t->points + (size_t)w->leaf[p] * stride;
                if (RCF_ISA(rcf_excess)(point, point, w->pair[p].x, stride) == 0.0)
                    done_score[i] = rcf_value_equal(kind, depth[p], t->leaves[w->leaf[p]].mass, t->mass,
                                                    kind == RCF_CODISP ? ratios[p * levels + depth[p]] : 0.0);
            }
    }
    for (int i = 0; i < done; i++) {
        int32_t mass = w->pair[done_who[i]].tree->mass;
        w->score[done_who[i]] = mass > 0 ? done_score[i] * rcf_scale(kind, mass) : 0.0;
    }
}

/* The kind and the common strides are constants in each build of the loops (a descent takes half the instructions), and each is a
 * function of its own: all in one, the compiler runs out of registers. */
#define RCF_WALK(name, kind, stride)                                                                              \
    RCF_TARGET RCF_ALONE static void RCF_ISA(name)(rcf_walk *w, int n, int n_kept, int any, const int32_t *depth, \
                                                   const double *ratios, ptrdiff_t levels, int cold) {            \
        (void)any;                                                                                                \
        RCF_ISA(rcf_climb)(kind, w, n, n_kept, stride, depth, ratios, levels, cold);                              \
    }
#define RCF_WALKS(name, kind)                                                                                                \
    RCF_TARGET RCF_ALONE static void RCF_ISA(rcf_descend_##name)(rcf_walk *w, int n, int32_t *depth, double *ratios,         \
                                                                 ptrdiff_t levels, int cold) {                               \
        RCF_ISA(rcf_descend_pairs)(kind, w, n, depth, ratios, levels, cold);                                                 \
    }                                                                                                                        \
    RCF_WALK(rcf_climb_##name##_4, kind, 4)                                                                                  \
    RCF_WALK(rcf_climb_##name##_8, kind, 8)                                                                                  \
    RCF_WALK(rcf_climb_##name##_16, kind, 16) RCF_WALK(rcf_climb_##name##_32, kind, 32)                                                                              \
    RCF_WALK(rcf_climb_##name##_any, kind, any)                                                                              \
    static void RCF_ISA(rcf_walk_##name)(rcf_walk *w, int n, int n_kept, double *ratios, ptrdiff_t levels, int cold) {       \
        int32_t depth[RCF_PAIRS];                                                                                            \
        int stride = w->pair[0].tree->stride;                                                                                \
        RCF_ISA(rcf_descend_##name)(w, n, depth, ratios, levels, cold);                                                      \
        (stride == 4    ? RCF_ISA(rcf_climb_##name##_4)                                                                      \
         : stride == 8  ? RCF_ISA(rcf_climb_##name##_8)                                                                      \
         : stride == 16 ? RCF_ISA(rcf_climb_##name##_16)                                                                     \
         : stride == 32 ? RCF_ISA(rcf_climb_##name##_32)                                                                     \
                        : RCF_ISA(rcf_climb_##name##_any))(w, n, n_kept, stride, depth, ratios, levels, cold);               \
    }
RCF_WALKS(depth, RCF_DEPTH)
RCF_WALKS(codisp, RCF_CODISP)
RCF_WALKS(displacement, RCF_DISPLACEMENT)
RCF_WALKS(opensearch, RCF_OPENSEARCH)
#undef RCF_WALK
#undef RCF_WALKS

/* Score n pairs. Of the first n_kept also the open boxes are kept. `ratios` holds `levels` doubles for each
 * pair, more than the deepest tree has levels; no kind but RCF_CODISP needs it. `cold`: each pair has its own tree, far away. */
static void RCF_ISA(rcf_score_pairs)(int kind, rcf_walk *w, int n, int n_kept, double *ratios, ptrdiff_t levels, int cold) {
    switch (kind) {
    case RCF_DEPTH: RCF_ISA(rcf_walk_depth)(w, n, n_kept, ratios, levels, cold); break;
    case RCF_CODISP: RCF_ISA(rcf_walk_codisp)(w, n, n_kept, ratios, levels, cold); break;
    case RCF_DISPLACEMENT: RCF_ISA(rcf_walk_displacement)(w, n, n_kept, ratios, levels, cold); break;
    case RCF_OPENSEARCH: RCF_ISA(rcf_walk_opensearch)(w, n, n_kept, ratios, levels, cold); break;
    }
}

#include "sweep.h"

#undef RCF_LOCAL
#undef RCF_ISA
#undef RCF_TARGET
#undef RCF_WIDTH
