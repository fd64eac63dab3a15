/* See rcf_frozen.h. The layout of the file is described in rcf/export/_frozen.py.
 *
 * The inner nodes of a tree are in preorder and its leaves are in order from left to right, so a subtree is given by its first node v,
 * its first leaf a and its number of leaves n. The file has no box for a node with at most `small` leaves: its box is computed from the
 * points, which are adjacent. For larger boxes the file names the leaves that touch each face. If a box contains the record in a
 * feature, so do all boxes above it, so only those faces of a large box are read that lie between the record and the box.
 */
#include "rcf_frozen.h"

void *memcpy(void *, const void *, size_t); /* machines without a C library have no <string.h> */

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif
#ifdef __GNUC__
#define RCF_COLD __attribute__((cold, noinline)) /* small rather than fast */
#define RCF_IN_STEPS __asm__ volatile("")        /* prevents the compiler from replacing the loop by a call of memset */
#else
#define RCF_COLD
#define RCF_IN_STEPS
#endif

typedef struct {
    uint32_t v, a, n, b; /* b: which of the large nodes */
} rcf_node;

/* The parts of the scratch space. Rows of floats are filled up with zeros to a multiple of 8. */
typedef struct {
    rcf_node *path;
    double *above, *inverse; /* of the nodes of the path: the largest ratio of masses higher up (codisp); 1 / (depth + 1) */
    double *parts, *gaps;
    float *row, *lower, *upper;
    uint32_t *open; /* 2 * feature + (0: x lies below the box, 1: above) */
} rcf_room;

#define RCF_STRIDE(features) (((size_t)(features) + 7) / 8 * 8)

static size_t rcf_room_at(const rcf_model *m, void *work, rcf_room *room) {
    char *at = work;
    size_t levels = (size_t)m->depth + 1, stride = RCF_STRIDE(m->features);
    room->path = (rcf_node *)(void *)at;
    room->above = (double *)(void *)(at += levels * sizeof(rcf_node));
    room->inverse = (double *)(void *)(at += levels * sizeof(double));
    room->parts = (double *)(void *)(at += levels * sizeof(double));
    room->gaps = (double *)(void *)(at += 2 * (size_t)m->features * sizeof(double));
    room->row = (float *)(void *)(at += 2 * (size_t)m->features * sizeof(double));
    room->lower = (float *)(void *)(at += stride * sizeof(float));
    room->upper = (float *)(void *)(at += stride * sizeof(float));
    room->open = (uint32_t *)(void *)(at += stride * sizeof(float));
    return (size_t)(at - (char *)work) + stride * sizeof(uint32_t);
}

static inline uint32_t rcf_at(const unsigned char *table, uint32_t width, size_t i) {
    if (width == 1) return table[i];
    if (width == 2) return ((const uint16_t *)(const void *)table)[i];
    return ((const uint32_t *)(const void *)table)[i];
}

static inline const float *rcf_point(const rcf_model *m, uint32_t leaf) {
    return m->points + (size_t)(m->point ? rcf_at(m->point, m->point_width, leaf) : leaf) * m->features;
}

static inline double rcf_mass(const rcf_model *m, uint32_t a, uint32_t n) {
    return m->before ? m->before[a + n] - m->before[a] : n;
}

static inline double rcf_add_lanes(const double *s) {
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

/* log(1 + f) for 1 + f in [sqrt(1/2), sqrt(2)]. Logarithms and powers of a C library differ from machine to machine. */
RCF_COLD static double rcf_log1p(double f) {
    double s = f / (2.0 + f), z = s * s, z2 = z * z, z4 = z2 * z2, z8 = z4 * z4;
    double low = (1.0 / 3 + z * (1.0 / 5)) + z2 * (1.0 / 7 + z * (1.0 / 9));
    double middle = (1.0 / 11 + z * (1.0 / 13)) + z2 * (1.0 / 15 + z * (1.0 / 17));
    double high = (1.0 / 19 + z * (1.0 / 21)) + z2 * (1.0 / 23);
    return f - s * (f - 2.0 * (z * ((low + z4 * middle) + z8 * high)));
}

/* x = m 2^k with m from sqrt(1/2) to sqrt(2). */
static double rcf_split(double x, double *k) {
    uint64_t b;
    memcpy(&b, &x, 8);
    b &= 0x7fffffffffffffffULL;
    *k = (double)(b >> 52) - 1023.0;
    b = (b & 0x000fffffffffffffULL) | 0x3ff0000000000000ULL;
    memcpy(&x, &b, 8);
    if (x > 1.4142135623730951) {
        x *= 0.5;
        *k += 1.0;
    }
    return x;
}

RCF_COLD static double rcf_log2(double x) {
    double k, m = rcf_split(x, &k);
    return k + rcf_log1p(m - 1.0) * 1.4426950408889634;
}

/* 2^-x for x of at least 0. */
RCF_COLD static double rcf_half_to(double x) {
    if (x > 1021.0) return 0.0;
    int64_t k = (int64_t)(-x - 0.5);
    double r = (-x - (double)k) * 6.93147180559945286227e-01, r2 = r * r, r4 = r2 * r2, r8 = r4 * r4, power;
    double low = (1.0 / 2 + r * (1.0 / 6)) + r2 * (1.0 / 24 + r * (1.0 / 120));
    double middle = (1.0 / 720 + r * (1.0 / 5040)) + r2 * (1.0 / 40320 + r * (1.0 / 362880));
    double high = (1.0 / 3628800 + r * (1.0 / 39916800)) + r2 * (1.0 / 479001600 + r * (1.0 / 6227020800.0));
    uint64_t b = (uint64_t)(k + 1023) << 52;
    memcpy(&power, &b, 8);
    return (1.0 + (r + r2 * ((low + r4 * middle) + r8 * (high + r4 * (1.0 / 87178291200.0))))) * power;
}

/* The mean path length of a tree of n records, as IsolationForest has it. */
static double rcf_length(double n) {
    double k, m;
    if (n < 3.0) return n == 2.0;
    m = rcf_split(n - 1.0, &k);
    m = k * 6.93147180369123816490e-01 + (rcf_log1p(m - 1.0) + k * 1.90821492927058770002e-10);
    return 2.0 * (m + 0.57721566490153286061) - 2.0 * (n - 1.0) / n;
}

static double rcf_scale(uint32_t method, double mass) {
    if (method == RCF_DEPTH) return rcf_log2(mass);
    if (method == RCF_PATH) return rcf_length(mass);
    return method == RCF_OPENSEARCH ? rcf_log2(mass + 1.0) : 1.0;
}

/* The value of a cut above a subtree of that mass at depth h. */
static inline double rcf_separated(const rcf_room *room, uint32_t method, double mass, uint32_t h) {
    if (method == RCF_DISPLACEMENT) return mass;
    if (method == RCF_CODISP) return room->above[h] > mass ? room->above[h] : mass;
    return room->inverse[h];
}

/* The value of a leaf of m records at depth h that x equals, in a tree of n records. */
RCF_COLD static double rcf_equal(uint32_t method, double h, double m, double n, double above) {
    if (method == RCF_CODISP) return above;
    if (method == RCF_DISPLACEMENT) return 0.0;
    if (method == RCF_OPENSEARCH) return (1.0 - m / (2.0 * n)) / (h + rcf_log2(m + 1.0));
    return h == 0.0 ? 1.0 / (m + 1.0) : 1.0 / (h + rcf_log2(m));
}

/* The child of a node on the side of the record. */
static inline rcf_node rcf_child(const rcf_model *m, rcf_node at, uint32_t right) {
    uint32_t left = rcf_at(m->left, m->leaf_width, at.v);
    if (at.n > m->small) at.b += 1 + (right ? rcf_at(m->large, m->leaf_width, at.b) : 0);
    at.v += right ? left : 1;
    at.a += right ? left : 0;
    at.n = right ? at.n - left : left;
    return at;
}

/* path[h], path[h + 1], ...: from a node at depth h to the leaf of the record. Returns its depth. */
static uint32_t rcf_descend(const rcf_model *model, const rcf_room *room, rcf_node at, uint32_t h) {
    const rcf_model m = *model; /* a copy, which the writes to the path cannot change */
    const float *row = room->row;
    rcf_node *path = room->path;
    double above = 0.0;
    for (; at.n > 1; h++) {
        path[h] = at;
        at = rcf_child(&m, at, row[rcf_at(m.dim, m.dim_width, at.v)] > m.cut[at.v]);
        if (m.method == RCF_CODISP) {
            double mass = rcf_mass(&m, at.a, at.n), ratio = (rcf_mass(&m, path[h].a, path[h].n) - mass) / (mass + 1.0);
            room->above[h] = above;
            if (ratio > above) above = ratio;
        }
    }
    path[h] = at;
    room->above[h] = above;
    return h;
}

/* Four features at a time, where the compiler has vectors; the results are the same without. */
#if defined(__GNUC__) && !defined(RCF_SCALAR)
typedef float rcf_f4 __attribute__((vector_size(16)));
typedef float rcf_f4_at __attribute__((vector_size(16), aligned(4), may_alias)); /* anywhere in memory */
typedef int32_t rcf_i4 __attribute__((vector_size(16)));
typedef double rcf_d4 __attribute__((vector_size(32)));
typedef int64_t rcf_l4 __attribute__((vector_size(32)));

static inline rcf_f4 rcf_load(const float *x) { return *(const rcf_f4_at *)x; }
static inline void rcf_store(float *x, rcf_f4 value) { *(rcf_f4_at *)x = value; }
static inline rcf_f4 rcf_min(rcf_f4 a, rcf_f4 b) {
    rcf_i4 less = a < b;
    return (rcf_f4)((less & (rcf_i4)a) | (~less & (rcf_i4)b));
}
static inline rcf_f4 rcf_max(rcf_f4 a, rcf_f4 b) {
    rcf_i4 more = a > b;
    return (rcf_f4)((more & (rcf_i4)a) | (~more & (rcf_i4)b));
}
#define RCF_DOUBLE(x) __builtin_convertvector(x, rcf_d4)
#define RCF_ABS(x) ((rcf_d4)((rcf_l4)(x) & INT64_C(0x7fffffffffffffff)))
#define RCF_LANES 4
#define RCF_ZERO {0}
#else
typedef float rcf_f4;
typedef double rcf_d4;
static inline rcf_f4 rcf_load(const float *x) { return *x; }
static inline void rcf_store(float *x, rcf_f4 value) { *x = value; }
static inline rcf_f4 rcf_min(rcf_f4 a, rcf_f4 b) { return a < b ? a : b; }
static inline rcf_f4 rcf_max(rcf_f4 a, rcf_f4 b) { return a > b ? a : b; }
#define RCF_DOUBLE(x) ((double)(x))
#define RCF_ABS(x) ((x) < 0.0 ? -(x) : (x))
#define RCF_LANES 1
#define RCF_ZERO 0
#endif

/* Extend the box by the leaves a .. b - 1. */
static void rcf_join(const rcf_model *m, const rcf_room *room, uint32_t a, uint32_t b) {
    float *restrict lower = room->lower, *restrict upper = room->upper;
    size_t features = m->features, k;
    for (; a < b; a++) {
        const float *restrict point = rcf_point(m, a);
        for (k = 0; k + RCF_LANES <= features; k += RCF_LANES) {
            rcf_store(lower + k, rcf_min(rcf_load(point + k), rcf_load(lower + k)));
            rcf_store(upper + k, rcf_max(rcf_load(point + k), rcf_load(upper + k)));
        }
        for (; k < features; k++) {
            lower[k] = point[k] < lower[k] ? point[k] : lower[k];
            upper[k] = point[k] > upper[k] ? point[k] : upper[k];
        }
    }
}

/* The distance of the record from the box, summed over the features, and the sum of the sides. Feature i is added in lane i % 8. */
static double rcf_excess(const rcf_room *room, size_t stride, double *range) {
    const float *row = room->row, *lower = room->lower, *upper = room->upper;
    rcf_d4 outside[8 / RCF_LANES] = {RCF_ZERO}, sides[8 / RCF_LANES] = {RCF_ZERO};
    double lanes[8];
    for (size_t k = 0; k < stride; k += 8)
        for (size_t i = 0; i < 8 / RCF_LANES; i++) {
            size_t at = k + i * RCF_LANES;
            rcf_f4 x = rcf_load(row + at), low = rcf_load(lower + at), high = rcf_load(upper + at);
            rcf_d4 gap = RCF_DOUBLE(x) - RCF_DOUBLE(rcf_min(rcf_max(x, low), high));
            outside[i] += RCF_ABS(gap);
            sides[i] += RCF_DOUBLE(high) - RCF_DOUBLE(low);
        }
    memcpy(lanes, sides, sizeof lanes);
    *range = rcf_add_lanes(lanes);
    memcpy(lanes, outside, sizeof lanes);
    return rcf_add_lanes(lanes);
}

static void rcf_begin(const rcf_model *m, const rcf_room *room, uint32_t leaf) {
    memcpy(room->lower, rcf_point(m, leaf), m->features * sizeof(float));
    memcpy(room->upper, room->lower, m->features * sizeof(float));
}

static int rcf_same(const rcf_model *m, const rcf_room *room, uint32_t leaf) {
    const float *point = rcf_point(m, leaf);
    uint32_t i = 0;
    while (i < m->features && point[i] == room->row[i]) i++;
    return i == m->features;
}

/* The score of the record by one tree, without its scale. */
static double rcf_tree_score(const rcf_model *m, const rcf_room *room, rcf_node root, double mass) {
    static const double sign[2] = {-1.0, 1.0};
    uint32_t h = rcf_descend(m, room, root, 0), k = h, n_open = 0, a = room->path[h].a, b = a + 1, leaf = a;
    double own = rcf_mass(m, leaf, 1), score = rcf_separated(room, m->method, own, h), range, excess = 1.0;
    rcf_begin(m, room, leaf);
    while (k > 0 && room->path[k - 1].n <= m->small) {
        const rcf_node *at = &room->path[--k];
        rcf_join(m, room, at->a, a);
        rcf_join(m, room, b, at->a + at->n);
        a = at->a;
        b = a + at->n;
        excess = rcf_excess(room, RCF_STRIDE(m->features), &range);
        if (excess == 0.0) break;
        score += excess / (excess + range) * (rcf_separated(room, m->method, rcf_mass(m, a, at->n), k) - score);
    }
    if (excess != 0.0) {
        for (uint32_t i = 0; i < m->features; i++) {
            float x = room->row[i];
            uint32_t high = x > room->upper[i], low = x < room->lower[i];
            room->open[n_open] = 2 * i + high;
            n_open += high | low;
        }
        if (n_open == 0) excess = 0.0;
    }
    if (excess == 0.0) { /* only a record inside the first box can equal the leaf */
        if (k + 1 >= h && rcf_same(m, room, leaf))
            return rcf_equal(m->method, h, own, mass, m->method == RCF_CODISP ? room->above[h] : 0.0);
        return score;
    }
    const rcf_model c = *m; /* a copy, which the writes below cannot change */
    const float *row = room->row;
    uint32_t *open = room->open;
    while (k > 0) {
        const rcf_node at = room->path[--k];
        const unsigned char *faces = c.face + (size_t)at.b * 2 * c.features * c.leaf_width;
        double outside[8] = {0};
        uint32_t still = 0;
        for (uint32_t i = 0; i < n_open; i++) {
            uint32_t side = open[i], feature = side >> 1;
            float face = rcf_point(&c, at.a + rcf_at(faces, c.leaf_width, side))[feature];
            double gap = ((double)row[feature] - (double)face) * sign[side & 1];
            open[still] = side;
            still += gap > 0.0;
            outside[feature & 7] += gap > 0.0 ? gap : 0.0;
        }
        n_open = still;
        if (n_open == 0) break;
        excess = rcf_add_lanes(outside);
        score += excess / (excess + c.range[at.b]) * (rcf_separated(room, c.method, rcf_mass(&c, at.a, at.n), k) - score);
    }
    return score;
}

/* The path length from the root to the leaf of the record. Equal records in the leaf count as a tree of that size. */
static double rcf_path_length(const rcf_model *m, const rcf_room *room, rcf_node root) {
    uint32_t h = rcf_descend(m, room, root, 0);
    return h + rcf_length(rcf_mass(m, room->path[h].a, 1));
}

/* room->gaps by feature and side; returns their sum, and that of the sides of the box. */
RCF_COLD static double rcf_gaps(const rcf_model *m, const rcf_room *room, double *range) {
    double total = 0.0;
    for (uint32_t i = 0; i < m->features; i++) {
        double high = (double)room->row[i] - room->upper[i], low = (double)room->lower[i] - room->row[i];
        room->gaps[2 * i] = high > 0.0 ? high : 0.0;
        room->gaps[2 * i + 1] = low > 0.0 ? low : 0.0;
        total += room->gaps[2 * i] + room->gaps[2 * i + 1];
    }
    rcf_excess(room, RCF_STRIDE(m->features), range);
    return total;
}

/* Extend the box by the leaves below `at` outside [*a, *b), and blend in a cut above it. Returns 0 if the box contains the record. */
RCF_COLD static int rcf_blend(const rcf_model *m, const rcf_room *room, rcf_node at, uint32_t *a, uint32_t *b, double here) {
    double range, total;
    rcf_join(m, room, at.a, *a);
    rcf_join(m, room, *b, at.a + at.n);
    *a = at.a;
    *b = at.a + at.n;
    total = rcf_gaps(m, room, &range);
    if (total == 0.0) return 0;
    double keep = range / (total + range), add = here / (total + range);
    for (uint32_t i = 0; i < 2 * m->features; i++) room->parts[i] = keep * room->parts[i] + add * room->gaps[i];
    return 1;
}

/* parts = those of a cut above the leaf alone. */
RCF_COLD static void rcf_cut_leaf(const rcf_model *m, const rcf_room *room, uint32_t leaf, double here) {
    double range;
    rcf_begin(m, room, leaf);
    double add = here / rcf_gaps(m, room, &range);
    for (uint32_t i = 0; i < 2 * m->features; i++) room->parts[i] = add * room->gaps[i];
}

/* A record that equals a leaf is explained as in the tree without it, where its sibling replaces its parent. */
RCF_COLD static void rcf_tree_attribution(const rcf_model *m, const rcf_room *room, rcf_node root, double *out) {
    uint32_t method = m->method, h = rcf_descend(m, room, root, 0), k = h, width = 2 * m->features;
    rcf_node leaf = room->path[h], at;
    uint32_t a = leaf.a, b = leaf.a + 1;
    double mass = rcf_mass(m, root.a, root.n), own = rcf_mass(m, a, 1), factor = rcf_scale(method, mass), total = 0.0;
    if (!rcf_same(m, room, a)) {
        rcf_cut_leaf(m, room, a, rcf_separated(room, method, own, h));
        while (k-- > 0) {
            at = room->path[k];
            if (!rcf_blend(m, room, at, &a, &b, rcf_separated(room, method, rcf_mass(m, at.a, at.n), k))) break;
        }
        for (uint32_t i = 0; i < width; i++) out[i] += factor * room->parts[i];
        return;
    }
    factor *= rcf_equal(method, h, own, mass, method == RCF_CODISP ? room->above[h] : 0.0);
    if (h == 0) { /* the tree holds a single value, so all features get equal parts */
        for (uint32_t i = 0; i < width; i++) out[i] += factor / width;
        return;
    }
    if (method == RCF_CODISP) method = RCF_DISPLACEMENT; /* its ratios belong to another path; displacement is divided in the same way */
    at = room->path[h - 1];
    uint32_t deepest = rcf_descend(m, room, rcf_child(m, at, at.a == a), h);
    rcf_node end = room->path[deepest];
    a = end.a;
    b = end.a + 1;
    rcf_cut_leaf(m, room, a, rcf_separated(room, method, rcf_mass(m, a, 1), deepest - 1));
    for (k = deepest; k-- > h;) {
        at = room->path[k];
        rcf_blend(m, room, at, &a, &b, rcf_separated(room, method, rcf_mass(m, at.a, at.n), k - 1));
    }
    a = room->path[h - 1].a; /* all below the parent but the record are in the box */
    b = a + room->path[h - 1].n;
    for (k = h - 1; k-- > 0;) {
        at = room->path[k];
        if (!rcf_blend(m, room, at, &a, &b, rcf_separated(room, method, rcf_mass(m, at.a, at.n) - own, k))) break;
    }
    for (uint32_t i = 0; i < width; i++) total += room->parts[i];
    for (uint32_t i = 0; i < width; i++) out[i] += factor * (room->parts[i] / total);
}

/* Subtract the origin from the record and round it to floats. Returns 0 if a number is not finite or too large. */
static int rcf_narrow(const rcf_model *m, const rcf_room *room, const double *x) {
    for (uint32_t i = 0; i < m->features; i++) {
        if (!(x[i] >= -1.7e38 && x[i] <= 1.7e38)) return 0;
        room->row[i] = (float)(x[i] - m->origin[i]) + 0.0f;
    }
    for (size_t i = m->features; i < RCF_STRIDE(m->features); i++) {
        RCF_IN_STEPS;
        room->row[i] = room->lower[i] = room->upper[i] = 0.0f;
    }
    for (uint32_t h = 0; h <= m->depth; h++) room->inverse[h] = 1.0 / (h + 1.0);
    return 1;
}

/* The root of the tree after the one at `root`. */
static void rcf_next_tree(const rcf_model *m, uint32_t t, rcf_node *root) {
    root->v += root->n > 0 ? root->n - 1 : 0;
    root->a += root->n;
    root->b += m->sizes[2 * t + 1];
}

double rcf_score(const rcf_model *m, const double *x, void *work) {
    rcf_room room;
    rcf_node root = {0, 0, 0, 0};
    double total = 0.0, block = 0.0, mass = -1.0, scale = 0.0;
    rcf_room_at(m, work, &room);
    if (!rcf_narrow(m, &room, x)) return total / total;
    for (uint32_t t = 0; t < m->trees; t++) {
        root.n = m->sizes[2 * t];
        double held = rcf_mass(m, root.a, root.n);
        if (held != mass) scale = rcf_scale(m->method, mass = held);
        if (m->method == RCF_PATH) block += mass < 2.0 ? 1.0 : rcf_path_length(m, &room, root) / scale;
        else if (root.n > 0) block += rcf_tree_score(m, &room, root, mass) * scale;
        rcf_next_tree(m, t, &root);
        if (t % 4 == 3 || t == m->trees - 1) { /* rcf adds in blocks of four trees, and another order changes the last bit */
            total += block;
            block = 0.0;
        }
    }
    total /= m->trees;
    return m->method == RCF_PATH ? rcf_half_to(total) : total;
}

int rcf_attribution(const rcf_model *m, const double *x, void *work, double *out) {
    rcf_room room;
    rcf_node root = {0, 0, 0, 0};
    rcf_room_at(m, work, &room);
    if (m->method == RCF_PATH || !rcf_narrow(m, &room, x)) return 0;
    for (uint32_t i = 0; i < 2 * m->features; i++) {
        RCF_IN_STEPS;
        out[i] = 0.0;
    }
    for (uint32_t t = 0; t < m->trees; t++) {
        root.n = m->sizes[2 * t];
        if (root.n > 0) rcf_tree_attribution(m, &room, root, out);
        rcf_next_tree(m, t, &root);
    }
    for (uint32_t i = 0; i < 2 * m->features; i++) out[i] /= m->trees;
    return 1;
}

/* ---- opening ------------------------------------------------------------------------------------------------------ */

RCF_COLD static uint32_t rcf_crc(const unsigned char *at, size_t n) {
    uint32_t table[16], crc = 0xffffffffu;
    for (uint32_t i = 0; i < 16; i++) {
        table[i] = i;
        for (int k = 0; k < 4; k++) table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xedb88320u : 0);
    }
    for (; n > 0; n--, at++) {
        crc = table[(crc ^ *at) & 15] ^ crc >> 4;
        crc = table[(crc ^ *at >> 4) & 15] ^ crc >> 4;
    }
    return ~crc;
}

/* The next table, of n times `each` bytes. Past the end of the file *at becomes SIZE_MAX and stays there. */
RCF_COLD static const void *rcf_take(const unsigned char *file, size_t size, size_t *at, uint64_t n, uint64_t each) {
    size_t begin = *at;
    *at = SIZE_MAX;
    if (begin > size || n * each > size - begin || (n * each + 7) / 8 * 8 > size - begin) return NULL;
    *at = begin + (size_t)(n * each + 7) / 8 * 8;
    return file + begin;
}

/* Whether the nodes form a tree; increases model->depth to its depth. The smaller child is processed first and the larger one is put on
 * the stack, so that the stack holds at most 32. */
RCF_COLD static int rcf_check_tree(rcf_model *m, rcf_node at, uint32_t n_large) {
    struct { rcf_node at; uint32_t n_large, h; } stack[33], now = {at, n_large, 0}, one, two;
    for (uint32_t waiting = 0;;) {
        uint32_t is_large = now.at.n > m->small, left_large = 0;
        if (is_large != (now.n_large > 0)) return 0;
        if (now.h > m->depth) m->depth = now.h;
        if (now.at.n == 1) {
            if (waiting == 0) return 1;
            now = stack[--waiting];
            continue;
        }
        uint32_t left = rcf_at(m->left, m->leaf_width, now.at.v);
        if (left < 1 || left >= now.at.n || rcf_at(m->dim, m->dim_width, now.at.v) >= m->features) return 0;
        if (is_large) {
            const unsigned char *faces = m->face + (size_t)now.at.b * 2 * m->features * m->leaf_width;
            for (uint32_t i = 0; i < 2 * m->features; i++)
                if (rcf_at(faces, m->leaf_width, i) >= now.at.n) return 0;
            left_large = rcf_at(m->large, m->leaf_width, now.at.b);
            if (left_large >= now.n_large) return 0;
        }
        one.at = rcf_child(m, now.at, 0);
        two.at = rcf_child(m, now.at, 1);
        one.h = two.h = now.h + 1;
        one.n_large = left_large;
        two.n_large = is_large ? now.n_large - 1 - left_large : 0;
        uint32_t first = left <= now.at.n / 2;
        stack[waiting++] = first ? two : one;
        now = first ? one : two;
    }
}

static int rcf_is_width(uint32_t width) { return width == 1 || width == 2 || width == 4; }

RCF_COLD const char *rcf_open(rcf_model *m, const void *file, size_t size) {
    static const char *const broken = "the file is damaged: its tables do not make trees";
    const unsigned char *bytes = file;
    uint32_t head[16];
    size_t at = sizeof head;
    if ((uintptr_t)file % 8 != 0) return "the address of the file is not divisible by 8";
    if (size < sizeof head) return "the file is cut off";
    memcpy(head, file, sizeof head);
    if (head[0] != 0x66666372u || head[1] != 0x011a7a72u) return "not a frozen model of version 1, or a big-endian machine";
    if ((head[4] | (uint64_t)head[5] << 32) != size) return "the file is cut off, or longer than it says";
    if (rcf_crc(bytes + 12, size - 12) != head[2]) return "the file is damaged: its checksum differs";
    memcpy(&m->threshold, bytes + 24, sizeof m->threshold);
    m->method = head[3];
    m->features = head[8];
    m->trees = head[9];
    m->small = head[14];
    m->leaf_width = bytes[60];
    m->dim_width = bytes[61];
    m->point_width = bytes[62];
    m->depth = 0;
    uint32_t points = head[10], leaves = head[11], nodes = head[12], large = head[13], shared = m->point_width > 0;
    uint64_t d = m->features, room;
    if (m->method > RCF_PATH || d < 1 || d >= 1 << 28 || m->trees < 1 || m->small < 1 || leaves == UINT32_MAX || bytes[63] > 1
        || !rcf_is_width(m->leaf_width) || !rcf_is_width(m->dim_width) || (shared ? !rcf_is_width(m->point_width) : points != leaves))
        return "the file is damaged: a number in its header is impossible";
    m->origin = rcf_take(bytes, size, &at, d, 8);
    m->range = rcf_take(bytes, size, &at, large, 8);
    m->sizes = rcf_take(bytes, size, &at, m->trees, 8);
    m->before = rcf_take(bytes, size, &at, bytes[63] ? leaves + 1 : 0, 4);
    m->cut = rcf_take(bytes, size, &at, nodes, 4);
    m->points = rcf_take(bytes, size, &at, points, d * 4);
    m->point = rcf_take(bytes, size, &at, leaves, m->point_width);
    m->left = rcf_take(bytes, size, &at, nodes, m->leaf_width);
    m->dim = rcf_take(bytes, size, &at, nodes, m->dim_width);
    m->large = rcf_take(bytes, size, &at, large, m->leaf_width);
    m->face = rcf_take(bytes, size, &at, large, 2 * d * m->leaf_width);
    if (at != size) return "the file is damaged: its tables do not fill it";
    for (uint32_t i = 0; shared && i < leaves; i++)
        if (rcf_at(m->point, m->point_width, i) >= points) return broken;
    for (uint32_t i = 0; bytes[63] && i < leaves; i++)
        if (m->before[i] >= m->before[i + 1]) return broken;
    if (!shared) m->point = NULL;
    if (!bytes[63]) m->before = NULL;
    rcf_node root = {0, 0, 0, 0};
    for (uint32_t t = 0; t < m->trees; t++) {
        uint32_t n = root.n = m->sizes[2 * t], n_large = m->sizes[2 * t + 1];
        if (n > leaves - root.a || n_large > large - root.b || (n > 0 && n - 1 > nodes - root.v)) return broken;
        if (n > 0 ? !rcf_check_tree(m, root, n_large) : n_large > 0) return broken;
        rcf_next_tree(m, t, &root);
    }
    if (root.a != leaves || root.v != nodes || root.b != large) return broken;
    room = (m->depth + UINT64_C(1)) * (sizeof(rcf_node) + 16) + 32 * d + 16 * RCF_STRIDE(d);
    m->work = (size_t)room;
    return room == m->work ? NULL : "the trees are too deep for the memory of this machine";
}
