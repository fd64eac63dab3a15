/* Many rows through one tree that does not change meanwhile.
 *
 * The rows are parted at each node from the root down, and climb from the leaves up, all that come to a box meeting it
 * together: no row waits for the step before, and the box stays in registers. Where several rows come to each leaf it takes 35 ns a
 * row and tree with 10 features, against 48 of rcf_score_pairs; where they do not, it takes more.
 *
 * Included by _walks.h, once per instruction set.
 */

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
        __m512d lanes[8];
        for (int g = 0; g < 8; g++) lanes[g] = RCF_ISA(rcf_gaps)(lower, upper, rows + (size_t)s->order[i + g] * stride, stride);
        __m512d excess = RCF_ISA(rcf_add_lanes_of_eight)(lanes);
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
        const rcf_cut *cut = t->cuts + v;
        int32_t middle = rcf_partition(rows, s->order, s->spare, span.begin, span.end, cut->dim, cut->value, stride);
        s->spans[k].first = middle > span.begin;
        for (int side = 1; side >= 0; side--) {
            int32_t begin = side ? middle : span.begin, end = side ? span.end : middle, c = cut->child[side];
            double above = 0.0;
            if (begin == end) continue;
            if (kind == RCF_CODISP) {
                int32_t mass = c < 0 ? t->leaves[~c].mass : t->nodes[c].mass;
                above = (double)(t->nodes[v].mass - mass) / (mass + 1.0);
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
        const float *box = s->box;
        if (node->mass > t->small) box = rcf_box(t, span->node);
        else RCF_ISA(rcf_hull_of_children)(t, span->node, s->box);
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

/* out[r] += the score of each of n rows by the tree: the same bits as rcf_score_pairs gives. */
RCF_TARGET static void RCF_ISA(rcf_sweep_rows)(int kind, const rcf_tree *t, const float *rows, int32_t n, const rcf_sweep *s,
                                               double *out) {
#define RCF_BY_STRIDE(kind)                                                                \
    switch (t->stride) {                                                                   \
    case 4: RCF_ISA(rcf_sweep_kind)(kind, t, rows, 4, n, s, out); break;                   \
    case 8: RCF_ISA(rcf_sweep_kind)(kind, t, rows, 8, n, s, out); break;                   \
    case 16: RCF_ISA(rcf_sweep_kind)(kind, t, rows, 16, n, s, out); break;                 \
    default: RCF_ISA(rcf_sweep_kind)(kind, t, rows, t->stride, n, s, out);                 \
    }                                                                                      \
    break
    switch (kind) {
    case RCF_DEPTH: RCF_BY_STRIDE(RCF_DEPTH);
    case RCF_CODISP: RCF_BY_STRIDE(RCF_CODISP);
    case RCF_DISPLACEMENT: RCF_BY_STRIDE(RCF_DISPLACEMENT);
    case RCF_OPENSEARCH: RCF_BY_STRIDE(RCF_OPENSEARCH);
    }
#undef RCF_BY_STRIDE
}
