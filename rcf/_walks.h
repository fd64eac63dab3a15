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

/* How far x lies outside the box, summed over the features: |x - clamp(x)|. The clamp is exact in float, so the
 * difference is exact in double, and the sum is 0 exactly where the box contains x. The compiler alone makes of the portable loop
 * code that takes twice as long on AVX2 and AVX-512. */
RCF_LOCAL double RCF_ISA(rcf_excess)(const float *restrict lower, const float *restrict upper,
                                     const float *restrict x, int stride) {
#if RCF_WIDTH
    if (stride == 4) {
        __m128 at = _mm_loadu_ps(x);
        __m128 clamped = _mm_min_ps(_mm_max_ps(at, _mm_loadu_ps(lower)), _mm_loadu_ps(upper));
        __m256d gap = _mm256_andnot_pd(_mm256_set1_pd(-0.0), _mm256_sub_pd(_mm256_cvtps_pd(at), _mm256_cvtps_pd(clamped)));
        __m128d pair = _mm_add_pd(_mm256_castpd256_pd128(gap), _mm256_extractf128_pd(gap, 1));
        return _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
    }
#if RCF_WIDTH == 512
    __m512d lanes = _mm512_setzero_pd();
#else
    __m256d low = _mm256_setzero_pd(), high = _mm256_setzero_pd();
#endif
    for (int b = 0; b < stride; b += 8) {
        __m256 at = _mm256_loadu_ps(x + b);
        __m256 clamped = _mm256_min_ps(_mm256_max_ps(at, _mm256_loadu_ps(lower + b)), _mm256_loadu_ps(upper + b));
#if RCF_WIDTH == 512
        lanes = _mm512_add_pd(lanes, _mm512_abs_pd(_mm512_sub_pd(_mm512_cvtps_pd(at), _mm512_cvtps_pd(clamped))));
#else
        const __m256d sign = _mm256_set1_pd(-0.0);
        low = _mm256_add_pd(low, _mm256_andnot_pd(sign, _mm256_sub_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(at)),
                                                                      _mm256_cvtps_pd(_mm256_castps256_ps128(clamped)))));
        high = _mm256_add_pd(high, _mm256_andnot_pd(sign, _mm256_sub_pd(_mm256_cvtps_pd(_mm256_extractf128_ps(at, 1)),
                                                                        _mm256_cvtps_pd(_mm256_extractf128_ps(clamped, 1)))));
#endif
    }
#if RCF_WIDTH == 512
    __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(lanes), _mm512_extractf64x4_pd(lanes, 1));
#else
    __m256d four = _mm256_add_pd(low, high);
#endif
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

/* The sum of the sides of a box. */
RCF_LOCAL double RCF_ISA(rcf_range)(const float *restrict lower, const float *restrict upper, int stride) {
    double lanes[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    for (int b = 0; b < stride; b += 8)
        for (int i = 0; i < (stride == 4 ? 4 : 8); i++) lanes[i] += (double)upper[b + i] - (double)lower[b + i];
    return rcf_add_lanes(lanes);
}

/* box = the hull of the two boxes; returns its range. */
RCF_TARGET static double RCF_ISA(rcf_hull)(float *restrict box, const float *a_lower, const float *a_upper,
                                           const float *b_lower, const float *b_upper, int stride) {
    float *lower = box, *upper = box + stride;
    for (int i = 0; i < stride; i++) {
        lower[i] = a_lower[i] < b_lower[i] ? a_lower[i] : b_lower[i];
        upper[i] = a_upper[i] > b_upper[i] ? a_upper[i] : b_upper[i];
    }
    return RCF_ISA(rcf_range)(lower, upper, stride);
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
    return RCF_ISA(rcf_range)(lower, upper, stride);
}

/* ---- paths: from a node up --------------------------------------------------------------------------------- */

/* The boxes that do not contain x, of node v and of those above it; returns how many. */
RCF_TARGET static int32_t RCF_ISA(rcf_open_boxes)(const rcf_tree *t, const float *x, int32_t v, rcf_step *open) {
    int32_t n = 0;
    for (; v >= 0; v = t->nodes[v].parent) {
        const float *box = t->boxes + (size_t)v * 2 * t->stride;
        double e = RCF_ISA(rcf_excess)(box, box + t->stride, x, t->stride);
        if (e == 0.0) break;
        open[n].excess = e;
        open[n++].node = v;
    }
    return n;
}

/* Take x into n boxes from node v up, and count it in all nodes from v up. */
RCF_TARGET static void RCF_ISA(rcf_widen_path)(rcf_tree *t, const float *x, int32_t v, int32_t n) {
    for (; v >= 0; v = t->nodes[v].parent) {
        if (n-- > 0) {
            float *lower = t->boxes + (size_t)v * 2 * t->stride, *upper = lower + t->stride;
            for (int i = 0; i < t->stride; i++) {
                lower[i] = x[i] < lower[i] ? x[i] : lower[i];
                upper[i] = x[i] > upper[i] ? x[i] : upper[i];
            }
            t->nodes[v].range = RCF_ISA(rcf_range)(lower, upper, t->stride);
        }
        t->nodes[v].mass += 1;
    }
}

RCF_LOCAL const float *RCF_ISA(rcf_lower)(const rcf_tree *t, int32_t v) {
    return v < 0 ? t->points + (size_t)~v * t->stride : t->boxes + (size_t)v * 2 * t->stride;
}

/* x has left the tree below node v: count it out there and above, and shrink the boxes as far as x lay on a side of them. */
RCF_TARGET static void RCF_ISA(rcf_shrink_path)(rcf_tree *t, const float *x, int32_t v) {
    int touched = 1;
    for (; v >= 0; v = t->nodes[v].parent) {
        rcf_node *node = t->nodes + v;
        node->mass -= 1;
        if (!touched) continue;
        float *lower = t->boxes + (size_t)v * 2 * t->stride, *upper = lower + t->stride;
        touched = 0;
        for (int i = 0; i < t->dims; i++) touched |= (x[i] == lower[i]) | (x[i] == upper[i]);
        if (!touched) continue;
        const float *left = RCF_ISA(rcf_lower)(t, node->child[0]), *right = RCF_ISA(rcf_lower)(t, node->child[1]);
        node->range = RCF_ISA(rcf_hull)(lower, left, node->child[0] < 0 ? left : left + t->stride,
                                        right, node->child[1] < 0 ? right : right + t->stride, t->stride);
    }
}

/* ---- scores ------------------------------------------------------------------------------------------------ */

/* The leaves that k pairs (tree, record) come to, all taken down together: each step waits for memory, so
 * eight that do not depend on each other cost little more than one. No branch depends on the data. */
RCF_LOCAL void RCF_ISA(rcf_descend_lanes)(const rcf_tree *t, ptrdiff_t tree_step, const float *x, ptrdiff_t x_step,
                                          int k, int32_t *restrict at, int32_t *restrict depth) {
    int32_t inner = 0;
    for (int g = 0; g < k; g++) {
        at[g] = t[g * tree_step].root;
        depth[g] = 0;
        inner |= ~at[g];
    }
    while (inner < 0) {
        inner = 0;
        for (int g = 0; g < k; g++) {
            int32_t v = at[g], is_inner = ~(v >> 31);
            const rcf_node *node = t[g * tree_step].nodes + (v & is_inner);
            int32_t next = node->child[x[g * x_step + node->dim] > node->cut];
            v = (next & is_inner) | (v & ~is_inner);
            at[g] = v;
            depth[g] -= is_inner;
            inner |= ~v;
        }
    }
}

/* From the leaf up: at each box that does not contain x, inserting it cuts it off with probability q = excess / (excess + range).
 * Stops at the first box that contains x, for so do all above it. */
RCF_LOCAL double RCF_ISA(rcf_climb)(int kind, const rcf_tree *t, const float *x, int stride, int32_t leaf, int32_t h,
                                    double *ratios) {
    const rcf_leaf *end = t->leaves + leaf;
    const float *point = t->points + (size_t)leaf * stride;
    int32_t n = t->mass, v = end->parent;
    double above = 0.0, score, excess = 0.0;
    if (n == 0) return 0.0;
    if (kind == RCF_CODISP) above = rcf_ratios(t, x, ratios);
    const float *box = t->boxes + (size_t)v * 2 * stride;
    if (v >= 0) excess = RCF_ISA(rcf_excess)(box, box + stride, x, stride);
    if (excess == 0.0) {
        /* only now can x equal the leaf */
        score = RCF_ISA(rcf_excess)(point, point, x, stride) == 0.0 ? rcf_value_equal(kind, h, end->mass, n, above)
                                                                    : rcf_value_separated(kind, h, end->mass, above);
        return score * rcf_scale(kind, n);
    }
    score = rcf_value_separated(kind, h, end->mass, above);
    do {
        const rcf_node *node = t->nodes + v;
        double q = excess / (excess + node->range);
        h -= 1;
        v = node->parent;
        double here = rcf_value_separated(kind, h, node->mass, kind == RCF_CODISP ? ratios[h] : 0.0);
        score += q * (here - score);
        if (v < 0) break;
        box = t->boxes + (size_t)v * 2 * stride;
        excess = RCF_ISA(rcf_excess)(box, box + stride, x, stride);
    } while (excess != 0.0);
    return score * rcf_scale(kind, n);
}

RCF_LOCAL void RCF_ISA(rcf_score_lanes)(int kind, const rcf_tree *t, ptrdiff_t tree_step, const float *x,
                                        ptrdiff_t x_step, int stride, int k, double *ratios, double *out) {
    int32_t at[RCF_LANES], depth[RCF_LANES];
    RCF_ISA(rcf_descend_lanes)(t, tree_step, x, x_step, k, at, depth);
    if (tree_step)
        for (int g = 0; g < k; g++) {
            const rcf_tree *tree = t + g * tree_step;
            int32_t v = tree->leaves[~at[g]].parent;
            if (v < 0) continue;
            RCF_PREFETCH(tree->boxes + (size_t)v * 2 * stride);
            v = tree->nodes[v].parent;
            if (v >= 0) RCF_PREFETCH(tree->boxes + (size_t)v * 2 * stride);
        }
    for (int g = 0; g < k; g++)
        out[g] += RCF_ISA(rcf_climb)(kind, t + g * tree_step, x + g * x_step, stride, ~at[g], depth[g], ratios);
}

RCF_LOCAL void RCF_ISA(rcf_score_kind)(int kind, const rcf_tree *t, ptrdiff_t tree_step, const float *x,
                                       ptrdiff_t x_step, int stride, ptrdiff_t n, double *ratios, double *out) {
    ptrdiff_t i = 0;
    for (; i + RCF_LANES <= n; i += RCF_LANES)
        RCF_ISA(rcf_score_lanes)(kind, t + i * tree_step, tree_step, x + i * x_step, x_step, stride, RCF_LANES, ratios, out + i);
    if (i < n)
        RCF_ISA(rcf_score_lanes)(kind, t + i * tree_step, tree_step, x + i * x_step, x_step, stride, (int)(n - i), ratios,
                                 out + i);
}

#define RCF_BY_STRIDE(kind)                                                                             \
    switch (t->stride) {                                                                                \
    case 4: RCF_ISA(rcf_score_kind)(kind, t, tree_step, x, x_step, 4, n, ratios, out); break;           \
    case 8: RCF_ISA(rcf_score_kind)(kind, t, tree_step, x, x_step, 8, n, ratios, out); break;           \
    default: RCF_ISA(rcf_score_kind)(kind, t, tree_step, x, x_step, t->stride, n, ratios, out);         \
    }

/* out[i] += the score of record x + i * x_step by tree t + i * tree_step: one tree and many records
 * (tree_step 0), or one record and many trees (x_step 0). `ratios` holds a double per level of the deepest tree. */
RCF_TARGET static void RCF_ISA(rcf_score_pairs)(int kind, const rcf_tree *t, ptrdiff_t tree_step, const float *x,
                                                ptrdiff_t x_step, ptrdiff_t n, double *ratios, double *out) {
    switch (kind) {
    case RCF_DEPTH: RCF_BY_STRIDE(RCF_DEPTH); break;
    case RCF_CODISP: RCF_BY_STRIDE(RCF_CODISP); break;
    case RCF_DISPLACEMENT: RCF_BY_STRIDE(RCF_DISPLACEMENT); break;
    case RCF_OPENSEARCH: RCF_BY_STRIDE(RCF_OPENSEARCH); break;
    }
}

#undef RCF_BY_STRIDE
#undef RCF_LOCAL
#undef RCF_ISA
#undef RCF_TARGET
#undef RCF_WIDTH
