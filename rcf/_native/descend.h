/* Descents from the root to the leaf that a record reaches. Included by isa.h, once per instruction set. */

/* Go from a cut to the child on the side of x. For codisp, also store the mass and the ratio, after the ratio of the level above. */
RCF_LOCAL int32_t RCF_ISA(rcf_step_down)(int kind, int compact, const rcf_walk *w, int pair, const rcf_cut *cut, const float *x,
                                         int32_t *mass, double *ratio) {
    int32_t down = rcf_next(compact, cut, x);
    if (kind == RCF_CODISP) {
        int32_t below = rcf_mass_in(compact, w->pair[pair].tree, down);
        double here = (double)(*mass - below) / (below + 1.0);
        *ratio = here > ratio[-1] ? here : ratio[-1];
        *mass = below;
    }
    return down;
}

/* Find the leaves that n pairs reach, and their depths. All pairs take a step together, and those that continue are packed to the
 * front without a branch. A step waits for memory three times, and the other pairs are processed in the meantime. ratios[h], with
 * `levels` places for each pair, is M of the codisp at depth h. */
RCF_LOCAL void RCF_ISA(rcf_descend_pairs)(int kind, int where, int compact, rcf_walk *w, int n, int32_t *restrict depth,
                                          double *restrict ratios, ptrdiff_t levels) {
    int32_t who[RCF_PAIRS + 8], next[RCF_PAIRS + 8], mass[RCF_PAIRS + 8], *leaf = w->leaf, level = 0;
    int32_t done_who[RCF_PAIRS + 8], done_leaf[RCF_PAIRS + 8], done_depth[RCF_PAIRS + 8];
    const rcf_cut *cuts[RCF_PAIRS + 8], *at[RCF_PAIRS + 8]; /* of the tree, and the current node of the pair */
    const float *x[RCF_PAIRS + 8];
    RCF_ISA(pp) one_cuts = RCF_ISA(all_pp)(w->pair[0].tree->cuts);
    int stride = w->pair[0].tree->stride, on = 0, done = 0;
    int below_top = kind != RCF_CODISP && stride <= RCF_TOP_STRIDE; /* the codisp needs the masses on the way */
    if (below_top) level = RCF_TOP_LEVELS;
    for (int p = 0; p < n; p++) {
        const rcf_tree *t = w->pair[p].tree;
        int32_t here = t->root, h = 0;
        if (below_top) {
            uint32_t above = RCF_ISA(above_cuts)(&t->top, w->pair[p].x, stride), place = 1;
            for (int k = 0; k < RCF_TOP_LEVELS; k++) place = 2 * place + (above >> place & 1);
            here = t->top.end[place - RCF_TOP];
            h = t->top.depth[place - RCF_TOP];
        }
        if (kind == RCF_CODISP) {
            ratios[p * levels] = 0.0;
            mass[on] = t->mass;
        }
        if (where == RCF_FAR_TREES && here >= 0) RCF_PREFETCH(t->cuts + here);
        leaf[p] = ~here;
        depth[p] = h;
        who[on] = p;
        if (where != RCF_ONE_TREE) cuts[on] = t->cuts;
        at[on] = t->cuts + here;
        x[on] = w->pair[p].x;
        on += here >= 0;
    }
    while (on > 0) {
        int n_on = on;
        on = 0;
        level += 1;
        for (int k = 0; RCF_TOGETHER > 1 && k < n_on; k++)
            next[k] = RCF_ISA(rcf_step_down)(kind, compact, w, who[k], at[k], x[k], mass + k, ratios + who[k] * levels + level);
        for (int i = 0; i < n_on; i += RCF_TOGETHER) {
            RCF_ISA(pi) pair = RCF_ISA(load_pi)(who + i), to;
            if (RCF_TOGETHER > 1) to = RCF_ISA(load_pi)(next + i);
            else to = RCF_ISA(all_pi)(RCF_ISA(rcf_step_down)(kind, compact, w, who[i], at[i], x[i], mass + i, ratios + who[i] * levels + level));
            RCF_ISA(pm) there = RCF_ISA(first)(n_on - i);
            RCF_ISA(pp) of_cuts = where == RCF_ONE_TREE ? one_cuts : RCF_ISA(load_pp)(cuts + i), record = RCF_ISA(load_pp)(x + i);
            RCF_ISA(pm) ends = RCF_ISA(both)(there, RCF_ISA(negative)(to)), down = RCF_ISA(without)(there, ends);
            RCF_ISA(pack_pp)(at + on, down, RCF_ISA(element)(of_cuts, RCF_ISA(node)(to), sizeof(rcf_cut)));
            if (kind == RCF_CODISP) RCF_ISA(pack_pi)(mass + on, down, RCF_ISA(load_pi)(mass + i));
            if (where != RCF_ONE_TREE) RCF_ISA(pack_pp)(cuts + on, down, of_cuts);
            RCF_ISA(pack_pp)(x + on, down, record);
            if (RCF_TOGETHER == 1) { /* two stores per step cost less than a list of the pairs that have arrived */
                RCF_ISA(scatter)(leaf, pair, RCF_ISA(invert)(to));
                RCF_ISA(scatter)(depth, pair, RCF_ISA(all_pi)(level));
                if (where == RCF_FAR_TREES) RCF_PREFETCH(at[on]);
            } else {
                RCF_ISA(pack_pi)(done_who + done, ends, pair);
                RCF_ISA(pack_pi)(done_leaf + done, ends, RCF_ISA(invert)(to));
                RCF_ISA(pack_pi)(done_depth + done, ends, RCF_ISA(all_pi)(level));
                done += RCF_ISA(count)(ends);
            }
            RCF_ISA(pack_pi)(who + on, down, pair);
            on += RCF_ISA(count)(down);
        }
        for (int i = 0; where == RCF_FAR_TREES && RCF_TOGETHER > 1 && i < on; i++) RCF_PREFETCH(at[i]);
    }
    for (int i = 0; i < done; i++) {
        leaf[done_who[i]] = done_leaf[i];
        depth[done_who[i]] = done_depth[i];
    }
}

/* Separate functions, because the compiler would otherwise run out of registers. */
#define RCF_DESCENT(name, kind, where, compact)                                                                              \
    RCF_TARGET RCF_ALONE static void RCF_ISA(name)(rcf_walk *w, int n, int32_t *depth, double *ratios, ptrdiff_t levels) { \
        RCF_ISA(rcf_descend_pairs)(kind, where, compact, w, n, depth, ratios, levels);                                       \
    }
RCF_DESCENT(rcf_descend_one, RCF_DEPTH, RCF_ONE_TREE, 0)
RCF_DESCENT(rcf_descend_near, RCF_DEPTH, RCF_NEAR_TREES, 0)
RCF_DESCENT(rcf_descend_far, RCF_DEPTH, RCF_FAR_TREES, 0)
RCF_DESCENT(rcf_descend_codisp_near, RCF_CODISP, RCF_NEAR_TREES, 0)
RCF_DESCENT(rcf_descend_codisp_far, RCF_CODISP, RCF_FAR_TREES, 0)
RCF_DESCENT(rcf_descend_compact, RCF_DEPTH, RCF_FAR_TREES, 1)
RCF_DESCENT(rcf_descend_codisp_compact, RCF_CODISP, RCF_FAR_TREES, 1)
#undef RCF_DESCENT
