/* Score many rows in one tree.
 *
 * The rows are partitioned at each node from the root down, and climb from the leaves up. All rows that reach a box are processed
 * together, so no row waits for its previous step, and the box stays in registers. If several rows reach each leaf, this takes 21
 * ns per row and tree with 10 features and AVX-512; rcf_score_pairs takes 48 ns. With fewer rows per leaf rcf_score_pairs is
 * faster. The path score needs no climb and takes 9 ns instead of 14. Included by isa.h, once per instruction set. */

/* Process the box of a node for the rows that come from one of its children. These rows are in s->order from `begin` to `end`, and
 * their scores so far are in s->value. The rows outside the box continue: they and their new scores are stored from place `to` on.
 * The others are done and are stored from place *done on. Returns the end of the rows that continue. */
RCF_LOCAL int32_t RCF_ISA(rcf_meet_box)(const rcf_sweep *s, const float *restrict box, const double *restrict wide,
                                        const float *restrict rows, int stride, double range, double here, int32_t begin,
                                        int32_t end, int32_t to, int32_t *done) {
    int32_t finished = *done;
    for (int32_t i = begin; i < end; i += RCF_TOGETHER) {
        const float *x[RCF_TOGETHER];
        for (int g = 0; g < RCF_TOGETHER; g++) x[g] = rows + (size_t)s->order[i + g] * stride;
        RCF_ISA(pd) excess = RCF_ISA(rcf_excesses_of_one)(box, wide, x, stride), value = RCF_ISA(load_pd)(s->value + i);
        RCF_ISA(pi) order = RCF_ISA(load_pi)(s->order + i);
        RCF_ISA(pm) there = RCF_ISA(first)(end - i), out = RCF_ISA(both)(there, RCF_ISA(not_zero)(excess));
        RCF_ISA(pm) in = RCF_ISA(without)(there, out);
        value = RCF_ISA(rcf_blend)(value, RCF_ISA(all_pd)(here), excess, RCF_ISA(all_pd)(range));
        RCF_ISA(pack_pd)(s->done_value + finished, in, value);
        RCF_ISA(pack_pi)(s->done_row + finished, in, order);
        if (i + RCF_TOGETHER <= end) {
            RCF_ISA(pack_pd)(s->value + to, out, value);
            RCF_ISA(pack_pi)(s->order + to, out, order);
        } else { /* the places after these belong to another span */
            RCF_ISA(put_pd)(s->value + to, out, value);
            RCF_ISA(put_pi)(s->order + to, out, order);
        }
        to += RCF_ISA(count)(out);
        finished += RCF_ISA(count)(in);
    }
    *done = finished;
    return to;
}

RCF_LOCAL void RCF_ISA(rcf_sweep_kind)(int kind, const rcf_tree *t, const float *rows, int stride, int32_t n,
                                       const rcf_sweep *s, double *out) {
    int32_t n_spans = 0, waiting = 1, done = 0;
    double scale = rcf_scale(kind, t->mass), local[32], *wide = stride <= 16 ? local : s->wide; /* local ones stay in registers */
    for (int32_t r = 0; r < n; r++) s->order[r] = r;
    /* down: partition the rows at each node; spans are in the order of a descent that visits left children first */
    s->waiting[0] = (rcf_span){t->root, 0, n, 0, -1, -1, 0.0};
    while (waiting > 0) {
        rcf_span span = s->waiting[--waiting];
        int32_t v = span.node, k = n_spans++;
        if (span.second >= 0) s->spans[span.second].second = k; /* this span is the second child of that one */
        span.second = -1;
        s->spans[k] = span;
        if (v < 0) {
            int32_t mass = rcf_mass(t, v);
            double value = kind == RCF_PATH ? rcf_value_path(span.depth, mass, t->mass)
                                            : rcf_value_separated(kind, span.depth, mass, span.above);
            for (int32_t i = span.begin; i < span.end; i++) {
                if (kind == RCF_PATH) out[s->order[i]] += value;
                else s->value[i] = value;
            }
            continue;
        }
        int32_t middle = RCF_ISA(rcf_partition)(rows, s->order, s->spare, span.begin, span.end, rcf_cut_dim(t, v), rcf_cut_value(t, v),
                                                stride);
        s->spans[k].first = middle > span.begin;
        for (int side = 1; side >= 0; side--) {
            int32_t begin = side ? middle : span.begin, end = side ? span.end : middle, c = rcf_child(t, v, side);
            double above = 0.0;
            if (begin == end) continue;
            if (kind == RCF_CODISP) {
                int32_t mass = rcf_mass(t, c);
                above = (double)(rcf_mass(t, v) - mass) / (mass + 1.0);
                above = span.above > above ? span.above : above;
            }
            s->waiting[waiting++] = (rcf_span){c, begin, end, span.depth + 1, 0, side ? k : -1, above};
        }
    }
    if (kind == RCF_PATH) return;
    /* up: span->end becomes the end of the rows that continue */
    for (int32_t k = n_spans - 1; k >= 0; k--) {
        rcf_span *span = s->spans + k;
        if (span->node < 0) continue;
        int32_t mass = rcf_mass(t, span->node);
        const float *box = mass > t->small ? rcf_box(t, span->node) : s->box;
        double range = mass > t->small ? rcf_range(t, span->node) : RCF_ISA(rcf_hull_of_children)(t, span->node, s->box);
        double here = rcf_value_separated(kind, span->depth, mass, span->above);
        int32_t to = span->begin;
        RCF_ISA(rcf_widen_box)(wide, box, stride);
        for (int side = 0; side < 2; side++) {
            const rcf_span *child = s->spans + (side ? span->second : k + 1);
            if (side ? span->second < 0 : !span->first) continue;
            int32_t before = done;
            to = RCF_ISA(rcf_meet_box)(s, box, wide, rows, stride, range, here, child->begin, child->end, to, &done);
            if (child->node >= 0) continue;
            const float *point = t->points + (size_t)~child->node * stride;
            for (int32_t i = before; i < done; i++) { /* only a row inside the box can equal the leaf */
                const float *x = rows + (size_t)s->done_row[i] * stride;
                if (RCF_ISA(rcf_excess)(point, point, x, stride) == 0.0)
                    s->done_value[i] = rcf_value_equal(kind, child->depth, rcf_mass(t, child->node), t->mass, child->above);
            }
        }
        span->end = to;
    }
    for (int32_t i = 0; i < s->spans[0].end; i++) out[s->order[i]] += s->value[i] * scale;
    for (int32_t i = 0; i < done; i++) out[s->done_row[i]] += s->done_value[i] * scale;
}

/* Add the score that the tree gives to row r to out[r], for n rows. The results have the same bits as those of rcf_score_pairs. */
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
    case RCF_PATH: RCF_BY_STRIDE(RCF_PATH);
    }
#undef RCF_BY_STRIDE
}
