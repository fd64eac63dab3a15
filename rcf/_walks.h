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

/* box = the hull of the boxes a and b, of which one may be box itself; returns its range, the sum of its sides. */
RCF_LOCAL double RCF_ISA(rcf_join)(float *box, const float *a_lower, const float *a_upper, const float *b_lower,
                                   const float *b_upper, int stride) {
    float *lower = box, *upper = box + stride;
#if RCF_WIDTH
    if (stride == 4) {
        __m128 low = _mm_min_ps(_mm_loadu_ps(a_lower), _mm_loadu_ps(b_lower));
        __m128 high = _mm_max_ps(_mm_loadu_ps(a_upper), _mm_loadu_ps(b_upper));
        _mm_storeu_ps(lower, low);
        _mm_storeu_ps(upper, high);
        __m256d side = _mm256_sub_pd(_mm256_cvtps_pd(high), _mm256_cvtps_pd(low));
        __m128d pair = _mm_add_pd(_mm256_castpd256_pd128(side), _mm256_extractf128_pd(side, 1));
        return _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
    }
    __m256d first = _mm256_setzero_pd(), second = _mm256_setzero_pd();
    for (int b = 0; b < stride; b += 8) {
        __m256 low = _mm256_min_ps(_mm256_loadu_ps(a_lower + b), _mm256_loadu_ps(b_lower + b));
        __m256 high = _mm256_max_ps(_mm256_loadu_ps(a_upper + b), _mm256_loadu_ps(b_upper + b));
        _mm256_storeu_ps(lower + b, low);
        _mm256_storeu_ps(upper + b, high);
        first = _mm256_add_pd(first, _mm256_sub_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(high)),
                                                   _mm256_cvtps_pd(_mm256_castps256_ps128(low))));
        second = _mm256_add_pd(second, _mm256_sub_pd(_mm256_cvtps_pd(_mm256_extractf128_ps(high, 1)),
                                                     _mm256_cvtps_pd(_mm256_extractf128_ps(low, 1))));
    }
    __m256d four = _mm256_add_pd(first, second);
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
#else
    double lanes[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    for (int b = 0; b < stride; b += 8)
        for (int i = 0; i < (stride == 4 ? 4 : 8); i++) {
            float low = a_lower[b + i] < b_lower[b + i] ? a_lower[b + i] : b_lower[b + i];
            float high = a_upper[b + i] > b_upper[b + i] ? a_upper[b + i] : b_upper[b + i];
            lower[b + i] = low;
            upper[b + i] = high;
            lanes[i] += (double)high - (double)low;
        }
    return rcf_add_lanes(lanes);
#endif
}

/* Whether x lies on a side of the box. */
RCF_LOCAL int RCF_ISA(rcf_touches)(const float *lower, const float *upper, const float *x, int dims) {
    int touches = 0, i = 0;
#if RCF_WIDTH
    for (; i + 8 <= dims; i += 8) {
        __m256 at = _mm256_loadu_ps(x + i);
        touches |= _mm256_movemask_ps(_mm256_or_ps(_mm256_cmp_ps(at, _mm256_loadu_ps(lower + i), _CMP_EQ_OQ),
                                                   _mm256_cmp_ps(at, _mm256_loadu_ps(upper + i), _CMP_EQ_OQ)));
    }
#endif
    for (; i < dims; i++) touches |= (x[i] == lower[i]) | (x[i] == upper[i]);
    return touches;
}

RCF_TARGET static double RCF_ISA(rcf_hull)(float *box, const float *a_lower, const float *a_upper,
                                           const float *b_lower, const float *b_upper, int stride) {
    return RCF_ISA(rcf_join)(box, a_lower, a_upper, b_lower, b_upper, stride);
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
    return RCF_ISA(rcf_join)(box, lower, upper, lower, upper, stride);
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
            float *box = t->boxes + (size_t)v * 2 * t->stride;
            t->nodes[v].range = RCF_ISA(rcf_join)(box, box, box + t->stride, x, x, t->stride);
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
        float *box = t->boxes + (size_t)v * 2 * t->stride;
        touched = RCF_ISA(rcf_touches)(box, box + t->stride, x, t->dims);
        if (!touched) continue;
        const float *left = RCF_ISA(rcf_lower)(t, node->child[0]), *right = RCF_ISA(rcf_lower)(t, node->child[1]);
        node->range = RCF_ISA(rcf_join)(box, left, node->child[0] < 0 ? left : left + t->stride,
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
    const float *box = t->boxes;
    if (v >= 0) {
        box += (size_t)v * 2 * stride;
        excess = RCF_ISA(rcf_excess)(box, box + stride, x, stride);
    }
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
    if (tree_step) {
        /* one record, many trees: their boxes lie in the outer caches, so ask for those on the way up before they are needed */
        int32_t up[RCF_LANES];
        for (int g = 0; g < k; g++) up[g] = t[g * tree_step].leaves[~at[g]].parent;
        for (int level = 0; level < 4; level++)
            for (int g = 0; g < k; g++) {
                const rcf_tree *tree = t + g * tree_step;
                if (up[g] < 0) continue;
                const char *box = (const char *)(tree->boxes + (size_t)up[g] * 2 * stride);
                for (int b = 0; b < 8 * stride; b += 64) RCF_PREFETCH(box + b);
                up[g] = tree->nodes[up[g]].parent;
            }
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

/* The kind, the steps and the common strides are constants in each build of the loop: a descent takes half the instructions. */
#define RCF_BY_STRIDE(kind, tree_step, x_step)                                                                        \
    switch (t->stride) {                                                                                              \
    case 4: RCF_ISA(rcf_score_kind)(kind, t, tree_step, x, x_step * 4, 4, n, ratios, out); break;                     \
    case 8: RCF_ISA(rcf_score_kind)(kind, t, tree_step, x, x_step * 8, 8, n, ratios, out); break;                     \
    default: RCF_ISA(rcf_score_kind)(kind, t, tree_step, x, x_step * t->stride, t->stride, n, ratios, out);           \
    }

#define RCF_BY_KIND(tree_step, x_step)                                               \
    switch (kind) {                                                                  \
    case RCF_DEPTH: RCF_BY_STRIDE(RCF_DEPTH, tree_step, x_step); break;              \
    case RCF_CODISP: RCF_BY_STRIDE(RCF_CODISP, tree_step, x_step); break;            \
    case RCF_DISPLACEMENT: RCF_BY_STRIDE(RCF_DISPLACEMENT, tree_step, x_step); break; \
    case RCF_OPENSEARCH: RCF_BY_STRIDE(RCF_OPENSEARCH, tree_step, x_step); break;    \
    }

/* out[i] += the score of x by tree t + i: one record and n trees. `ratios` holds a double per level of the deepest tree. */
RCF_TARGET static void RCF_ISA(rcf_score_trees)(int kind, const rcf_tree *t, const float *x, int32_t n, double *ratios,
                                                double *out) {
    RCF_BY_KIND(1, 0)
}

/* out[i] += the score of row i by the tree: few rows, or a stream in which the tree soon changes. */
RCF_TARGET static void RCF_ISA(rcf_score_few)(int kind, const rcf_tree *t, const float *x, int32_t n, double *ratios,
                                              double *out) {
    RCF_BY_KIND(0, 1)
}

/* ---- many records at once ---------------------------------------------------------------------------------- */

/* The rows that come from one child of a node stand in s->order from `begin` to `end`, their scores so far beside them in
 * s->value, and meet the box of the node. Those outside it go on, packed from `to`, with their new scores; the others are
 * done, packed from *done. Returns the end of those that go on. */
RCF_LOCAL int32_t RCF_ISA(rcf_meet_box)(const rcf_sweep *s, const float *restrict box, const float *restrict rows,
                                        int stride, double range, double here, int32_t begin, int32_t end, int32_t to,
                                        int32_t *done) {
    const float *lower = box, *upper = box + stride;
    int32_t i = begin, finished = *done;
#if RCF_WIDTH == 512
    for (; i + 8 <= end; i += 8) {
        __m512d lanes[8], four[4], two[2];
        for (int g = 0; g < 8; g++) {
            const float *x = rows + (size_t)s->order[i + g] * stride;
            lanes[g] = _mm512_setzero_pd();
            for (int b = 0; b < stride; b += 8) {
                const __mmask8 there = stride == 4 ? 0x0f : 0xff;
                __m256 at = _mm256_maskz_loadu_ps(there, x + b);
                __m256 clamped = _mm256_min_ps(_mm256_max_ps(at, _mm256_maskz_loadu_ps(there, lower + b)),
                                               _mm256_maskz_loadu_ps(there, upper + b));
                lanes[g] = _mm512_add_pd(lanes[g], _mm512_abs_pd(_mm512_sub_pd(_mm512_cvtps_pd(at), _mm512_cvtps_pd(clamped))));
            }
        }
        /* eight sums at once, each in the order of rcf_add_lanes: halves, quarters, pairs */
        for (int g = 0; g < 4; g++)
            four[g] = _mm512_add_pd(_mm512_shuffle_f64x2(lanes[2 * g], lanes[2 * g + 1], 0x44),
                                    _mm512_shuffle_f64x2(lanes[2 * g], lanes[2 * g + 1], 0xee));
        for (int g = 0; g < 2; g++)
            two[g] = _mm512_add_pd(_mm512_shuffle_f64x2(four[2 * g], four[2 * g + 1], 0x88),
                                   _mm512_shuffle_f64x2(four[2 * g], four[2 * g + 1], 0xdd));
        __m512d excess = _mm512_add_pd(_mm512_unpacklo_pd(two[0], two[1]), _mm512_unpackhi_pd(two[0], two[1]));
        excess = _mm512_permutexvar_pd(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), excess);

        __m512d value = _mm512_loadu_pd(s->value + i);
        __m256i order = _mm256_loadu_si256((const __m256i *)(s->order + i));
        __m512d q = _mm512_div_pd(excess, _mm512_add_pd(excess, _mm512_set1_pd(range)));
        value = _mm512_add_pd(value, _mm512_mul_pd(q, _mm512_sub_pd(_mm512_set1_pd(here), value)));
        __mmask8 out = _mm512_cmp_pd_mask(excess, _mm512_setzero_pd(), _CMP_NEQ_OQ), in = (__mmask8)~out;
        _mm512_storeu_pd(s->value + to, _mm512_maskz_compress_pd(out, value));
        _mm256_storeu_si256((__m256i *)(s->order + to), _mm256_maskz_compress_epi32(out, order));
        _mm512_storeu_pd(s->done_value + finished, _mm512_maskz_compress_pd(in, value));
        _mm256_storeu_si256((__m256i *)(s->done_row + finished), _mm256_maskz_compress_epi32(in, order));
        int outside = __builtin_popcount(out);
        to += outside;
        finished += 8 - outside;
    }
#endif
    for (; i < end; i++) {
        int32_t row = s->order[i];
        double excess = RCF_ISA(rcf_excess)(lower, upper, rows + (size_t)row * stride, stride), value = s->value[i];
        double q = excess / (excess + range);
        int32_t outside = excess != 0.0;
        value += q * (here - value);
        s->order[to] = s->done_row[finished] = row;
        s->value[to] = s->done_value[finished] = value;
        to += outside;
        finished += 1 - outside;
    }
    *done = finished;
    return to;
}

RCF_LOCAL void RCF_ISA(rcf_sweep_kind)(int kind, const rcf_tree *t, const float *rows, int stride, int32_t n,
                                       const rcf_sweep *s, double *out) {
    int32_t n_spans = 0, waiting = 1, done = 0;
    double scale = rcf_scale(kind, t->mass);
    for (int32_t r = 0; r < n; r++) s->order[r] = r;
    /* down: the rows are parted at each node; spans stand in the order of a descent that keeps to the left */
    s->waiting[0] = (rcf_span){t->root, 0, n, 0, -1, -1, 0.0};
    while (waiting > 0) {
        rcf_span span = s->waiting[--waiting];
        int32_t v = span.node, k = n_spans++;
        if (span.second >= 0) s->spans[span.second].second = k; /* of the parent: this is its second child */
        span.second = -1;
        s->spans[k] = span;
        if (v < 0) {
            double value = rcf_value_separated(kind, span.depth, t->leaves[~v].mass, span.above);
            for (int32_t i = span.begin; i < span.end; i++) s->value[i] = value;
            continue;
        }
        const rcf_node *node = t->nodes + v;
        int32_t middle = rcf_partition(rows, s->order, s->spare, span.begin, span.end, node->dim, node->cut, stride);
        s->spans[k].first = middle > span.begin;
        for (int side = 1; side >= 0; side--) {
            int32_t begin = side ? middle : span.begin, end = side ? span.end : middle, c = node->child[side];
            double above = 0.0;
            if (begin == end) continue;
            if (kind == RCF_CODISP) {
                int32_t mass = c < 0 ? t->leaves[~c].mass : t->nodes[c].mass;
                above = (double)(node->mass - mass) / (mass + 1.0);
                above = span.above > above ? span.above : above;
            }
            s->waiting[waiting++] = (rcf_span){c, begin, end, span.depth + 1, 0, side ? k : -1, above};
        }
    }
    /* up: the end of a span becomes the end of those of its rows that go on */
    for (int32_t k = n_spans - 1; k >= 0; k--) {
        rcf_span *span = s->spans + k;
        if (span->node < 0) continue;
        const rcf_node *node = t->nodes + span->node;
        const float *box = t->boxes + (size_t)span->node * 2 * stride;
        double here = rcf_value_separated(kind, span->depth, node->mass, span->above);
        int32_t to = span->begin;
        for (int side = 0; side < 2; side++) {
            const rcf_span *child = s->spans + (side ? span->second : k + 1);
            if (side ? span->second < 0 : !span->first) continue;
            int32_t before = done;
            to = RCF_ISA(rcf_meet_box)(s, box, rows, stride, node->range, here, child->begin, child->end, to, &done);
            if (child->node >= 0) continue;
            const float *point = t->points + (size_t)~child->node * stride;
            for (int32_t i = before; i < done; i++) { /* only a row inside the box can equal the leaf */
                const float *x = rows + (size_t)s->done_row[i] * stride;
                if (RCF_ISA(rcf_excess)(point, point, x, stride) == 0.0)
                    s->done_value[i] = rcf_value_equal(kind, child->depth, t->leaves[~child->node].mass, t->mass, child->above);
            }
        }
        span->end = to;
    }
    for (int32_t i = 0; i < s->spans[0].end; i++) out[s->order[i]] += s->value[i] * scale;
    for (int32_t i = 0; i < done; i++) out[s->done_row[i]] += s->done_value[i] * scale;
}

/* out[r] += the score of each of n rows by the tree, the same bits as rcf_score_few.
 *
 * The rows are parted at each node from the root down, and climb from the leaves up, all that come to a box meeting it
 * together: no row waits for the step before, and the box stays in registers. It takes half the time of
 * rcf_score_few where several rows come to each leaf, and more where they do not. */
RCF_TARGET static void RCF_ISA(rcf_score_rows)(int kind, const rcf_tree *t, const float *rows, int32_t n,
                                               const rcf_sweep *s, double *ratios, double *out) {
    if (t->root < 0 || n < 2 * (t->n_leaves - 1)) {
        RCF_ISA(rcf_score_few)(kind, t, rows, n, ratios, out);
        return;
    }
    switch (t->stride) {
    case 4: RCF_ISA(rcf_sweep_kind)(kind, t, rows, 4, n, s, out); break;
    case 8: RCF_ISA(rcf_sweep_kind)(kind, t, rows, 8, n, s, out); break;
    case 16: RCF_ISA(rcf_sweep_kind)(kind, t, rows, 16, n, s, out); break;
    default: RCF_ISA(rcf_sweep_kind)(kind, t, rows, t->stride, n, s, out);
    }
}

#undef RCF_BY_KIND
#undef RCF_BY_STRIDE
#undef RCF_LOCAL
#undef RCF_ISA
#undef RCF_TARGET
#undef RCF_WIDTH
