/* Paths from a node up to the root. Included by isa.h, once per instruction set. */

/* Compute the box of the inner node v from its children, and write it to `box`. Returns its range. */
RCF_TARGET static double RCF_ISA(rcf_hull_of_children)(const rcf_tree *t, int32_t v, float *box) {
    const float *lower[2 * RCF_SMALL_COMPACT], *upper[2 * RCF_SMALL_COMPACT];
    int n = rcf_parts(t, rcf_child(t, v, 0), lower, upper, 0), stride = t->stride;
    n = rcf_parts(t, rcf_child(t, v, 1), lower, upper, n);
    RCF_ISA(d8) lanes = {0};
    for (int b = 0; b < stride; b += 8) {
        RCF_ISA(f8) low = RCF_ISA(load_row)(lower[0] + b, stride), high = RCF_ISA(load_row)(upper[0] + b, stride);
        for (int k = 1; k < n; k++) {
            low = RCF_ISA(min8)(low, RCF_ISA(load_row)(lower[k] + b, stride));
            high = RCF_ISA(max8)(high, RCF_ISA(load_row)(upper[k] + b, stride));
        }
        RCF_ISA(store_row)(box + b, low, stride);
        RCF_ISA(store_row)(box + stride + b, high, stride);
        RCF_ISA(d8) sides = RCF_ISA(minus8)(high, low);
        lanes = RCF_ISA(add8)(lanes, sides);
    }
    return RCF_ISA(sum8)(lanes);
}

/* Find the boxes of node v and of the nodes above it that do not contain x. Returns their number. */
RCF_TARGET static int32_t RCF_ISA(rcf_open_boxes)(const rcf_tree *t, const float *x, int32_t v, rcf_step *open) {
    int32_t n = 0;
    for (; v >= 0; v = rcf_parent(t, v)) {
        float *box = t->boxes;
        if (rcf_mass(t, v) > t->small) box = rcf_box(t, v);
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
RCF_LOCAL void RCF_ISA(rcf_widen_path_in)(int compact, rcf_tree *t, const float *x, int32_t v, int32_t n) {
    for (; v >= 0 && rcf_mass_in(compact, t, v) <= t->small; v = rcf_parent_in(compact, t, v), n--) {
        rcf_set_mass_in(compact, t, v, rcf_mass_in(compact, t, v) + 1);
        if (rcf_mass_in(compact, t, v) > t->small) rcf_set_range_in(compact, t, v, RCF_ISA(rcf_hull_of_children)(t, v, rcf_box_take(t, v)));
        else if (n > 0 && !compact) rcf_set_range_in(compact, t, v, RCF_ISA(rcf_hull_of_children)(t, v, t->boxes));
    }
    for (; v >= 0; v = rcf_parent_in(compact, t, v)) {
        if (n-- > 0) {
            float *box = rcf_box_in(compact, t, v);
            int changed;
            rcf_set_range_in(compact, t, v, RCF_ISA(rcf_join)(box, box, box + t->stride, x, x, t->stride, &changed));
        }
        rcf_set_mass_in(compact, t, v, rcf_mass_in(compact, t, v) + 1);
    }
}
RCF_TARGET static void RCF_ISA(rcf_widen_path)(rcf_tree *t, const float *x, int32_t v, int32_t n) {
    if (t->compact) RCF_ISA(rcf_widen_path_in)(1, t, x, v, n);
    else RCF_ISA(rcf_widen_path_in)(0, t, x, v, n);
}

RCF_LOCAL const float *RCF_ISA(rcf_lower)(const rcf_tree *t, int32_t v) {
    return v < 0 ? t->points + (size_t)~v * t->stride : t->boxes + (size_t)v * 2 * t->stride;
}

/* A record has left the tree below node v. Decrement the masses from v up, and shrink the boxes. Stop at the first box that does
 * not change, because no box above it changes then. */
RCF_LOCAL void RCF_ISA(rcf_shrink_path_in)(int compact, rcf_tree *t, int32_t v) {
    for (int changed = 1; v >= 0; v = rcf_parent_in(compact, t, v)) {
        int32_t mass = rcf_mass_in(compact, t, v) - 1;
        rcf_set_mass_in(compact, t, v, mass);
        if (mass <= t->small) {
            rcf_box_drop(t, v);
            if (!compact) rcf_set_range_in(compact, t, v, RCF_ISA(rcf_hull_of_children)(t, v, t->boxes));
            continue;
        }
        if (!changed) continue;
        float *box = rcf_box_in(compact, t, v);
        if (compact || t->small) {
            float *hull = t->boxes;
            RCF_ISA(rcf_hull_of_children)(t, v, hull);
            rcf_set_range_in(compact, t, v, RCF_ISA(rcf_join)(box, hull, hull + t->stride, hull, hull + t->stride, t->stride, &changed));
            continue;
        }
        const int32_t *child = t->cuts[v].child; /* only the wide layout keeps the boxes of all nodes */
        const float *left = RCF_ISA(rcf_lower)(t, child[0]), *right = RCF_ISA(rcf_lower)(t, child[1]);
        t->nodes[v].range = RCF_ISA(rcf_join)(box, left, child[0] < 0 ? left : left + t->stride,
                                                right, child[1] < 0 ? right : right + t->stride, t->stride, &changed);
    }
}
RCF_TARGET static void RCF_ISA(rcf_shrink_path)(rcf_tree *t, int32_t v) {
    if (t->compact) RCF_ISA(rcf_shrink_path_in)(1, t, v);
    else RCF_ISA(rcf_shrink_path_in)(0, t, v);
}

/* For the nodes above the leaf of x that store no box, compute how far x lies outside their boxes. Returns the number of these
 * nodes. On the way up the box grows by the points of the siblings. Eight features of a box are in a register, and no box is
 * written. */
RCF_LOCAL int RCF_ISA(rcf_small_steps)(const rcf_tree *t, const float *x, int32_t leaf, int stride, rcf_step *step) {
    const float *point[RCF_SMALL_COMPACT], *same[RCF_SMALL_COMPACT];
    int end[RCF_SMALL_COMPACT], n = 0, k = 1;
    int32_t below = ~leaf, v = t->leaves[leaf].parent;
    point[0] = t->points + (size_t)leaf * stride;
    while (v >= 0 && t->nodes[v].mass <= t->small) {
        k = rcf_parts(t, t->cuts[v].child[0] ^ t->cuts[v].child[1] ^ below, point, same, k);
        end[n] = k;
        step[n++].node = v;
        below = v;
        v = t->nodes[v].parent;
    }
    double lanes[RCF_SMALL_COMPACT][8];
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
