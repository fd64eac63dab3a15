/* Paths from a node up to the root. Included by isa.h, once per instruction set. */

/* box = the box of the records below inner node v, computed from its children; returns its range. */
RCF_TARGET static double RCF_ISA(rcf_hull_of_children)(const rcf_tree *t, int32_t v, float *box) {
    const float *lower[2 * RCF_SMALL], *upper[2 * RCF_SMALL];
    int n = rcf_parts(t, t->cuts[v].child[0], lower, upper, 0), changed;
    n = rcf_parts(t, t->cuts[v].child[1], lower, upper, n);
    double range = RCF_ISA(rcf_join)(box, lower[0], upper[0], lower[1], upper[1], t->stride, &changed);
    for (int k = 2; k < n; k++)
        range = RCF_ISA(rcf_join)(box, box, box + t->stride, lower[k], upper[k], t->stride, &changed);
    return range;
}

/* The boxes of node v and the nodes above it that do not contain x; returns their number. */
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

/* x is in a leaf below v. Extend n boxes from node v up by x, and increment the masses of all nodes from v up. In low-memory mode the
 * caller has made room for one box, because at most one node on a path can need a new box. */
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

/* A record has left the tree below node v. Decrement the masses from v up, and shrink the boxes up to the first that does not change,
 * because then no box above it changes. */
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

/* How far x lies outside the boxes of the nodes above its leaf that have none in memory; returns how many these are.
 * On the way up the box grows by the points of the siblings. Eight features of a box are in a register, and no box is written. */
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
        RCF_ISA(f8) at = RCF_ISA(load8)(x + b), low = RCF_ISA(load8)(point[0] + b), high = low;
        k = 1;
        for (int s = 0; s < n; s++) {
            for (; k < end[s]; k++) {
                RCF_ISA(f8) p = RCF_ISA(load8)(point[k] + b);
                low = RCF_ISA(min8)(low, p);
                high = RCF_ISA(max8)(high, p);
            }
            RCF_ISA(d8) gap = RCF_ISA(distance8)(at, RCF_ISA(clamp8)(at, low, high));
            RCF_ISA(store_d8)(lanes[s], b == 0 ? gap : RCF_ISA(add8)(RCF_ISA(load_d8)(lanes[s]), gap));
        }
    }
    for (int s = 0; s < n; s++) step[s].excess = rcf_add_lanes(lanes[s]);
    return n;
}
