/* Climbs compute the scores of records from the leaves up. Included by isa.h, once per instruction set. */

/* A cut at a node separates x with probability q = excess / (excess + range), and the score is then `here`. Otherwise it is the
 * value from below. */
RCF_LOCAL RCF_ISA(pd) RCF_ISA(rcf_blend)(RCF_ISA(pd) value, RCF_ISA(pd) here, RCF_ISA(pd) excess, RCF_ISA(pd) range) {
    RCF_ISA(pd) q = RCF_ISA(divide)(excess, RCF_ISA(add)(excess, range));
    return RCF_ISA(add)(value, RCF_ISA(multiply)(q, RCF_ISA(subtract)(here, value)));
}

/* The same for one pair. */
RCF_LOCAL double RCF_ISA(rcf_value_at)(int kind, int32_t mass, double range, int32_t level, double excess, const double *ratios,
                                       double value) {
    double q = excess / (excess + range);
    return value + q * (rcf_value_separated(kind, level, mass, kind == RCF_CODISP ? ratios[level] : 0.0) - value);
}

/* Prefetch the next nodes of the pairs, and their boxes. */
RCF_LOCAL void RCF_ISA(rcf_prefetch_nodes)(const rcf_node *const *node, const float *const *box, int n, int stride) {
    for (int i = 0; i < n; i++) {
        RCF_PREFETCH(node[i]);
        for (int b = 0; b < 2 * stride; b += 16) RCF_PREFETCH(box[i] + b);
    }
}

/* The part of a climb that passes nodes without boxes. Returns the node where it continues, or -1 if it has ended. */
RCF_LOCAL int32_t RCF_ISA(rcf_climb_small)(int kind, int compact, rcf_walk *w, int p, int kept, int stride, const double *ratios,
                                           int32_t *level, double *value) {
    const rcf_tree *t = w->pair[p].tree;
    const float *x = w->pair[p].x;
    int32_t below = ~w->leaf[p], v = rcf_parent_in(compact, t, below);
    if (compact || stride <= 8) {
        const float *lower[RCF_SMALL_COMPACT], *upper[RCF_SMALL_COMPACT];
        RCF_ISA(f8) at = RCF_ISA(load_row)(x, stride), low = RCF_ISA(load_row)(t->points + (size_t)~below * stride, stride), high = low;
        while (v >= 0 && rcf_mass_in(compact, t, v) <= t->small) {
            int n = rcf_parts(t, rcf_sibling(t, v, below), lower, upper, 0);
            for (int k = 0; k < n; k++) {
                RCF_ISA(f8) point = RCF_ISA(load_row)(lower[k], stride);
                low = RCF_ISA(min8)(low, point);
                high = RCF_ISA(max8)(high, point);
            }
            double excess = RCF_ISA(sum8)(RCF_ISA(distance8)(at, RCF_ISA(clamp8)(at, low, high)));
            if (kept) rcf_keep_step(w, p, v, excess);
            if (excess == 0.0) return -1;
            double range = compact ? RCF_ISA(sum8)(RCF_ISA(minus8)(high, low)) : t->nodes[v].range;
            *level -= 1;
            *value = RCF_ISA(rcf_value_at)(kind, rcf_mass_in(compact, t, v), range, *level, excess, ratios, *value);
            below = v;
            v = rcf_parent_in(compact, t, v);
        }
        return v;
    }
    rcf_step step[RCF_SMALL_COMPACT];
    int n = RCF_ISA(rcf_small_steps)(t, x, w->leaf[p], stride, step);
    for (int s = 0; s < n; s++) {
        const rcf_node *node = t->nodes + step[s].node;
        double excess = step[s].excess;
        if (kept) rcf_keep_step(w, p, step[s].node, excess);
        if (excess == 0.0) return -1;
        *level -= 1;
        *value = RCF_ISA(rcf_value_at)(kind, node->mass, node->range, *level, excess, ratios, *value);
        v = node->parent;
    }
    return v;
}

/* Separate functions, because the climb through boxes would otherwise run out of registers. */
#define RCF_CLIMB_SMALL(name, compact)                                                                                          \
    RCF_TARGET RCF_ALONE static int32_t RCF_ISA(name)(int kind, rcf_walk *w, int p, int kept, int stride, const double *ratios, \
                                                      int32_t *level, double *value) {                                          \
        return RCF_ISA(rcf_climb_small)(kind, compact, w, p, kept, stride, ratios, level, value);                               \
    }
RCF_CLIMB_SMALL(rcf_climb_small_compact, 1)
RCF_CLIMB_SMALL(rcf_climb_small_wide, 0)
#undef RCF_CLIMB_SMALL

/* Pairs on their way up, packed to the front. The arrays have RCF_TOGETHER places more than there are pairs. */
typedef struct {
    int32_t who[RCF_PAIRS + RCF_TOGETHER], level[RCF_PAIRS + RCF_TOGETHER];
    double score[RCF_PAIRS + RCF_TOGETHER];
    const rcf_node *nodes[RCF_PAIRS + RCF_TOGETHER], *node[RCF_PAIRS + RCF_TOGETHER]; /* of the tree, and the current node of the pair */
    const float *boxes[RCF_PAIRS + RCF_TOGETHER], *box[RCF_PAIRS + RCF_TOGETHER], *x[RCF_PAIRS + RCF_TOGETHER];
    int32_t done_who[RCF_PAIRS + RCF_TOGETHER];
    double done_score[RCF_PAIRS + RCF_TOGETHER];
} RCF_ISA(rcf_climbers);

/* From the leaves to the first boxes; returns how many pairs have one, and how many are done. */
RCF_LOCAL int RCF_ISA(rcf_start_climb)(RCF_ISA(rcf_climbers) *c, int kind, int compact, rcf_walk *w, int n, int n_kept, int stride,
                                       const int32_t *depth, const double *ratios, ptrdiff_t levels, int *n_done) {
    int small = w->pair[0].tree->small, on = 0, done = 0;
    for (int p = 0; p < n; p++) {
        const rcf_tree *t = w->pair[p].tree;
        double value = rcf_value_separated(kind, depth[p], rcf_mass_in(compact, t, ~w->leaf[p]),
                                           kind == RCF_CODISP ? ratios[p * levels + depth[p]] : 0.0);
        int32_t parent = rcf_parent_in(compact, t, ~w->leaf[p]), level = depth[p];
        if (p < n_kept) w->n_open[p] = 0;
        if (compact || small)
            parent = (compact ? RCF_ISA(rcf_climb_small_compact) : RCF_ISA(rcf_climb_small_wide))(kind, w, p, p < n_kept, stride,
                                                                                                  ratios + p * levels, &level, &value);
        int32_t below_node = parent >= 0;
        parent &= -below_node;
        c->who[on] = c->done_who[done] = p;
        c->score[on] = c->done_score[done] = value;
        c->nodes[on] = t->nodes;
        c->boxes[on] = t->boxes;
        c->x[on] = w->pair[p].x;
        c->node[on] = t->nodes + parent; /* in both layouts a node has 16 bytes */
        int32_t number = compact ? rcf_short(t, parent)->box : small ? t->box_at[parent] : parent;
        c->box[on] = t->boxes + (size_t)number * (size_t)rcf_box_step(compact, stride) / sizeof(float);
        c->level[on] = level;
        on += below_node;
        done += 1 - below_node;
    }
    *n_done = done;
    return on;
}

/* Process the boxes of RCF_TOGETHER pairs from place i on. Pairs that continue are packed from place *on, the others from *done. */
RCF_LOCAL void RCF_ISA(rcf_step_up)(RCF_ISA(rcf_climbers) *c, int kind, int compact, rcf_walk *w, int i, int n_on, int n_kept,
                                    int stride, int small, const double *ratios, ptrdiff_t levels, int *on, int *done) {
    double above[RCF_TOGETHER];
    for (int g = 0; kind == RCF_CODISP && g < RCF_TOGETHER; g++)
        above[g] = g < n_on - i ? ratios[c->who[i + g] * levels + c->level[i + g] - 1] : 0.0;
    const void *const *node = (const void *const *)(c->node + i);
    RCF_ISA(pd) excess = RCF_ISA(rcf_excesses)(c->box + i, c->x + i, stride);
    RCF_ISA(pi) level = RCF_ISA(load_pi)(c->level + i), who = RCF_ISA(load_pi)(c->who + i);
    RCF_ISA(pd) value = RCF_ISA(load_pd)(c->score + i), here;
    RCF_ISA(pn) parent = RCF_ISA(parents)(compact, node);
    if (kind == RCF_DEPTH || kind == RCF_OPENSEARCH) here = RCF_ISA(inverses)(level);
    else here = RCF_ISA(masses)(compact, node);
    if (kind == RCF_CODISP) here = RCF_ISA(larger)(RCF_ISA(load_pd)(above), here);
    value = RCF_ISA(rcf_blend)(value, here, excess, RCF_ISA(ranges)(compact, node, (const void *const *)(c->box + i)));
    if (c->who[i] < n_kept) {
        double kept[RCF_TOGETHER];
        RCF_ISA(store_pd)(kept, excess);
        for (int g = 0; g < RCF_TOGETHER && i + g < n_on && c->who[i + g] < n_kept; g++)
            rcf_keep_step(w, c->who[i + g], (int32_t)(c->node[i + g] - c->nodes[i + g]), kept[g]);
    }
    RCF_ISA(pm) there = RCF_ISA(first)(n_on - i);
    RCF_ISA(pm) up = RCF_ISA(both)(RCF_ISA(both)(there, RCF_ISA(not_zero)(excess)), RCF_ISA(not_negative)(parent));
    RCF_ISA(pm) ends = RCF_ISA(without)(there, up);
    parent = RCF_ISA(or_node_0)(parent, up);
    RCF_ISA(pn) box_number = parent;
    if (compact || small) {
        int32_t number[RCF_TOGETHER];
        RCF_ISA(store_pn)(number, parent);
        for (int g = 0; g < RCF_TOGETHER && i + g < n_on; g++) {
            const rcf_tree *t = w->pair[c->who[i + g]].tree;
            number[g] = compact ? rcf_short(t, number[g])->box : t->box_at[number[g]];
        }
        box_number = RCF_ISA(load_pn)(number);
    }
    RCF_ISA(pp) nodes = RCF_ISA(load_pp)(c->nodes + i), boxes = RCF_ISA(load_pp)(c->boxes + i), x = RCF_ISA(load_pp)(c->x + i);
    RCF_ISA(pack_pp)(c->node + *on, up, RCF_ISA(element)(nodes, parent, sizeof(rcf_node)));
    RCF_ISA(pack_pp)(c->box + *on, up, RCF_ISA(element)(boxes, box_number, rcf_box_step(compact, stride)));
    RCF_ISA(pack_pp)(c->nodes + *on, up, nodes);
    RCF_ISA(pack_pp)(c->boxes + *on, up, boxes);
    RCF_ISA(pack_pp)(c->x + *on, up, x);
    RCF_ISA(pack_pd)(c->score + *on, up, value);
    if (kind != RCF_DISPLACEMENT) RCF_ISA(pack_pi)(c->level + *on, up, RCF_ISA(less_one)(level));
    RCF_ISA(pack_pi)(c->who + *on, up, who);
    RCF_ISA(pack_pd)(c->done_score + *done, ends, value);
    RCF_ISA(pack_pi)(c->done_who + *done, ends, who);
    *on += RCF_ISA(count)(up);
    *done += RCF_ISA(count)(ends);
}

/* Climb from the leaves up. A pair is done at the first box that contains x, because all boxes above contain it too.
 *
 * All pairs take a step together, and those that continue are packed to the front without a branch. One pair after the other took
 * twice as long with 8 features, because the end of a climb cannot be predicted, and each misprediction costs as much as two
 * boxes. */
RCF_LOCAL void RCF_ISA(rcf_climb)(int kind, int compact, rcf_walk *w, int n, int n_kept, int stride, const int32_t *depth,
                                  const double *ratios, ptrdiff_t levels, int cold) {
    RCF_ISA(rcf_climbers) c;
    int small = w->pair[0].tree->small, done, on;
    on = RCF_ISA(rcf_start_climb)(&c, kind, compact, w, n, n_kept, stride, depth, ratios, levels, &done);
    for (int first = 1; on > 0 || first; first = 0) {
        int n_on = on;
        if (cold) RCF_ISA(rcf_prefetch_nodes)(c.node, c.box, n_on, stride);
        for (int g = 0; g < RCF_TOGETHER && RCF_TOGETHER > 1; g++) { /* fill the last word with the first pair */
            c.who[n_on + g] = c.who[0];
            c.node[n_on + g] = c.node[0];
            c.box[n_on + g] = c.box[0];
            c.x[n_on + g] = c.x[0];
        }
        on = 0;
        for (int i = 0; i < n_on; i += RCF_TOGETHER)
            RCF_ISA(rcf_step_up)(&c, kind, compact, w, i, n_on, n_kept, stride, small, ratios, levels, &on, &done);
        if (!first) continue;
        for (int i = 0; i < done; i++) { /* only a record inside the first box can equal the leaf */
            int p = c.done_who[i];
            const rcf_tree *t = w->pair[p].tree;
            const float *point = t->points + (size_t)w->leaf[p] * stride;
            if (RCF_ISA(rcf_excess)(point, point, w->pair[p].x, stride) == 0.0)
                c.done_score[i] = rcf_value_equal(kind, depth[p], rcf_mass_in(compact, t, ~w->leaf[p]), t->mass,
                                                  kind == RCF_CODISP ? ratios[p * levels + depth[p]] : 0.0);
        }
    }
    for (int i = 0; i < done; i++) {
        int32_t mass = w->pair[c.done_who[i]].tree->mass;
        w->score[c.done_who[i]] = mass > 0 ? c.done_score[i] * rcf_scale(kind, mass) : 0.0;
    }
}

/* The kind, the layout and the common strides are constants in each version of the loops, which halves the instructions of a climb. Each
 * version is a separate function, because the compiler runs out of registers otherwise. */
#define RCF_CLIMB(name, kind, compact, stride)                                                                    \
    RCF_TARGET RCF_ALONE static void RCF_ISA(name)(rcf_walk *w, int n, int n_kept, int any, const int32_t *depth, \
                                                   const double *ratios, ptrdiff_t levels, int cold) {            \
        (void)any;                                                                                                \
        RCF_ISA(rcf_climb)(kind, compact, w, n, n_kept, stride, depth, ratios, levels, cold);                     \
    }
#define RCF_CLIMBS(name, kind)                                                                                 \
    RCF_CLIMB(name##_compact, kind, 1, any)                                                                    \
    RCF_CLIMB(name##_4, kind, 0, 4)                                                                            \
    RCF_CLIMB(name##_8, kind, 0, 8)                                                                            \
    RCF_CLIMB(name##_16, kind, 0, 16)                                                                          \
    RCF_CLIMB(name##_32, kind, 0, 32)                                                                          \
    RCF_CLIMB(name##_any, kind, 0, any)                                                                        \
    static void RCF_ISA(name)(rcf_walk *w, int n, int n_kept, const int32_t *depth, const double *ratios,      \
                              ptrdiff_t levels, int cold) {                                                    \
        int stride = w->pair[0].tree->stride, compact = w->pair[0].tree->compact;                              \
        (compact        ? RCF_ISA(name##_compact)                                                              \
         : stride == 4  ? RCF_ISA(name##_4)                                                                    \
         : stride == 8  ? RCF_ISA(name##_8)                                                                    \
         : stride == 16 ? RCF_ISA(name##_16)                                                                   \
         : stride == 32 ? RCF_ISA(name##_32)                                                                   \
                        : RCF_ISA(name##_any))(w, n, n_kept, stride, depth, ratios, levels, cold);             \
    }
RCF_CLIMBS(rcf_climb_depth, RCF_DEPTH)
RCF_CLIMBS(rcf_climb_codisp, RCF_CODISP)
RCF_CLIMBS(rcf_climb_displacement, RCF_DISPLACEMENT)
RCF_CLIMBS(rcf_climb_opensearch, RCF_OPENSEARCH)
#undef RCF_CLIMB
#undef RCF_CLIMBS

/* Score n pairs. The open boxes of the first n_kept pairs are kept. `ratios` holds `levels` doubles for each pair, which is more than
 * the number of levels of the deepest tree; only RCF_CODISP needs it. */
static void RCF_ISA(rcf_score_pairs)(int kind, int where, rcf_walk *w, int n, int n_kept, double *ratios, ptrdiff_t levels) {
    int32_t depth[RCF_PAIRS];
    int cold = where >= RCF_FAR_TREES, compact = w->pair[0].tree->compact;
    (compact                    ? kind == RCF_CODISP ? RCF_ISA(rcf_descend_codisp_compact) : RCF_ISA(rcf_descend_compact)
     : kind == RCF_CODISP       ? cold ? RCF_ISA(rcf_descend_codisp_far) : RCF_ISA(rcf_descend_codisp_near)
     : where == RCF_ONE_TREE    ? RCF_ISA(rcf_descend_one)
     : where == RCF_NEAR_TREES  ? RCF_ISA(rcf_descend_near)
                                : RCF_ISA(rcf_descend_far))(w, n, depth, ratios, levels);
    if (where == RCF_COLD_TREES && compact) rcf_prefetch_small(w, n);
    switch (kind) {
    case RCF_DEPTH: RCF_ISA(rcf_climb_depth)(w, n, n_kept, depth, ratios, levels, cold); break;
    case RCF_CODISP: RCF_ISA(rcf_climb_codisp)(w, n, n_kept, depth, ratios, levels, cold); break;
    case RCF_DISPLACEMENT: RCF_ISA(rcf_climb_displacement)(w, n, n_kept, depth, ratios, levels, cold); break;
    case RCF_OPENSEARCH: RCF_ISA(rcf_climb_opensearch)(w, n, n_kept, depth, ratios, levels, cold); break;
    case RCF_PATH: /* needs no climb, but learning needs the open boxes */
        if (n_kept > 0) RCF_ISA(rcf_climb_displacement)(w, n_kept, n_kept, depth, ratios, levels, cold);
        for (int p = 0; p < n; p++) {
            const rcf_tree *t = where == RCF_ONE_TREE ? w->pair[0].tree : w->pair[p].tree;
            w->score[p] = rcf_value_path(depth[p], rcf_mass(t, ~w->leaf[p]), t->mass);
        }
    }
}
