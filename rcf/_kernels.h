/* One tree in memory, and the walks over it that take the time.
 *
 * A box is 2 * stride floats, the lower corner before the upper; the stride is the number of
 * features rounded up to 4 (up to 4 features) or a multiple of 8, the rest is zero and adds nothing.
 * Sums over features run in eight double lanes, feature i in lane i % 8, and the lanes are
 * added in one fixed order: whatever width of vector the CPU has, the result has the same bits.
 */
#ifndef RCF_KERNELS_H
#define RCF_KERNELS_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "_math.h"

#if defined(__GNUC__)
#define RCF_INLINE static inline __attribute__((always_inline))
#define RCF_PREFETCH(p) __builtin_prefetch(p)
#else
#define RCF_INLINE static __forceinline
#define RCF_PREFETCH(p) ((void)0)
#endif

/* One build of each kernel per CPU generation, chosen when the library is loaded. A clone is called through a
 * pointer and cannot be inlined, so whole walks are cloned, not the box loop inside them. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GLIBC__) && !defined(__clang__) \
    && __GNUC__ >= 12 && !defined(RCF_NO_CLONES) && !defined(RCF_DEBUG)
#define RCF_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define RCF_CLONES
#endif

enum { RCF_DEPTH, RCF_CODISP, RCF_DISPLACEMENT, RCF_OPENSEARCH };

/* 32 bytes: one step of a descent touches one cache line, and the climb back finds the range and the mass there. */
typedef struct {
    int32_t child[2]; /* x[dim] <= cut goes to child[0]; >= 0 is an inner node, < 0 the leaf ~child */
    float cut;
    int32_t dim;
    double range;   /* the sum of the sides of the box */
    int32_t mass;   /* records below; 0 marks a free node, child[0] is then the next free one */
    int32_t parent; /* -1 at the root */
} rcf_node;

typedef struct {
    int32_t mass;   /* records equal to the point; 0 marks a free leaf, parent is then the next free one */
    int32_t parent; /* -1 at the root */
} rcf_leaf;

typedef struct {
    rcf_node *nodes;
    float *boxes;  /* of the inner nodes */
    float *points; /* of the leaves */
    rcf_leaf *leaves;
    int32_t capacity;   /* leaves that fit in memory now */
    int32_t n_nodes, n_leaves;       /* used so far, the free ones among them included */
    int32_t free_node, free_leaf;    /* heads of the lists of free ones, -1 for none */
    int32_t root;       /* a node, or ~leaf */
    int32_t mass;
    int32_t dims, stride;
} rcf_tree;

_Static_assert(sizeof(rcf_node) == 32, "two nodes to a cache line");
_Static_assert(sizeof(rcf_leaf) == 8, "leaves are packed");

/* ---- boxes ------------------------------------------------------------------------------------------- */

RCF_INLINE double rcf_add_lanes(const double *s) {
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

/* How far x lies outside the box, summed over the features. The clamp is exact in float, so the
 * difference is exact in double, and it is 0 exactly where the box contains x. */
RCF_INLINE double rcf_excess_inline(const float *restrict lower, const float *restrict upper,
                                    const float *restrict x, int stride) {
    double lanes[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    if (stride == 4) {
        for (int i = 0; i < 4; i++) {
            float c = x[i] > lower[i] ? x[i] : lower[i];
            c = c < upper[i] ? c : upper[i];
            double gap = (double)x[i] - (double)c;
            lanes[i] = gap < 0 ? -gap : gap;
        }
        return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
    }
    for (int b = 0; b < stride; b += 8)
        for (int i = 0; i < 8; i++) {
            float c = x[b + i] > lower[b + i] ? x[b + i] : lower[b + i];
            c = c < upper[b + i] ? c : upper[b + i];
            double gap = (double)x[b + i] - (double)c;
            lanes[i] += gap < 0 ? -gap : gap;
        }
    return rcf_add_lanes(lanes);
}

RCF_INLINE double rcf_range_inline(const float *restrict lower, const float *restrict upper, int stride) {
    double lanes[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    for (int b = 0; b < stride; b += 8)
        for (int i = 0; i < 8 && b + i < stride; i++)
            lanes[i] += (double)upper[b + i] - (double)lower[b + i];
    return rcf_add_lanes(lanes);
}

RCF_CLONES static double rcf_excess(const float *lower, const float *upper, const float *x, int stride) {
    return rcf_excess_inline(lower, upper, x, stride);
}

/* box = the hull of the two boxes; returns its range. */
RCF_CLONES static double rcf_hull(float *restrict box, const float *a_lower, const float *a_upper,
                                  const float *b_lower, const float *b_upper, int stride) {
    float *lower = box, *upper = box + stride;
    for (int i = 0; i < stride; i++) {
        lower[i] = a_lower[i] < b_lower[i] ? a_lower[i] : b_lower[i];
        upper[i] = a_upper[i] > b_upper[i] ? a_upper[i] : b_upper[i];
    }
    return rcf_range_inline(lower, upper, stride);
}

/* box = the hull of box and x; returns its range. */
RCF_CLONES static double rcf_widen(float *restrict box, const float *restrict x, int stride) {
    float *lower = box, *upper = box + stride;
    for (int i = 0; i < stride; i++) {
        lower[i] = x[i] < lower[i] ? x[i] : lower[i];
        upper[i] = x[i] > upper[i] ? x[i] : upper[i];
    }
    return rcf_range_inline(lower, upper, stride);
}

/* box = the hull of rows[order[begin:end]]; returns its range. */
RCF_CLONES static double rcf_hull_of_rows(float *restrict box, const float *restrict rows, const int32_t *order,
                                          int32_t begin, int32_t end, int stride) {
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
    return rcf_range_inline(lower, upper, stride);
}

/* order[begin:end] with the rows at or below the cut first, each side in its old order; returns where the second begins. */
static int32_t rcf_partition(const float *rows, int32_t *order, int32_t *spare, int32_t begin, int32_t end,
                             int32_t dim, float cut, int stride) {
    int32_t left = begin, right = 0;
    for (int32_t k = begin; k < end; k++) {
        int32_t row = order[k];
        int32_t above = rows[(size_t)row * stride + dim] > cut;
        order[left] = row;
        spare[right] = row;
        left += 1 - above;
        right += above;
    }
    memcpy(order + left, spare, (size_t)right * sizeof(int32_t));
    return left;
}

/* The largest float at or below v, at least `base` and below `top`: a cut between them, whatever the rounding.
 * Rounding down keeps the law exact: no float lies between v and the cut. */
static inline float rcf_cut_between(double v, float base, float top) {
    float c = (float)v;
    if ((double)c > v || c >= top) {
        float limit = (double)c > v && c < top ? c : top;
        /* the float before `limit` */
        uint32_t b;
        memcpy(&b, &limit, 4);
        if (limit > 0) b -= 1;
        else if (limit == 0) b = 0x80000001u;
        else b += 1;
        memcpy(&c, &b, 4);
    }
    if (!(c >= base)) c = base;
    return c == 0 ? 0.0f : c;
}

/* ---- scores: what a walk is worth where it ends -------------------------------------------------------- */

/* log2(n) and 1 / (h + 1) for small arguments, filled when the library is loaded. */
#define RCF_TABLE 4096
static double rcf_log2_table[RCF_TABLE], rcf_inverse_table[RCF_TABLE];

static void rcf_fill_tables(void) {
    rcf_log2_table[0] = 0;
    for (int i = 1; i < RCF_TABLE; i++) rcf_log2_table[i] = rcf_log2((double)i);
    for (int i = 0; i < RCF_TABLE; i++) rcf_inverse_table[i] = 1.0 / (i + 1.0);
}

RCF_INLINE double rcf_log2_count(int32_t n) {
    return n < RCF_TABLE ? rcf_log2_table[n] : rcf_log2((double)n);
}
RCF_INLINE double rcf_inverse(int32_t h) { return h < RCF_TABLE ? rcf_inverse_table[h] : 1.0 / (h + 1.0); }

/* Separated by a cut above a subtree of `mass` records at depth h; `above` is M, the largest ratio of masses higher up. */
RCF_INLINE double rcf_value_separated(int kind, int32_t h, int32_t mass, double above) {
    if (kind == RCF_CODISP) return above > mass ? above : (double)mass;
    if (kind == RCF_DISPLACEMENT) return (double)mass;
    return rcf_inverse(h);
}

/* Not separated: it equals a leaf of m records at depth h, in a tree of n. */
RCF_INLINE double rcf_value_equal(int kind, int32_t h, int32_t m, int32_t n, double above) {
    if (kind == RCF_CODISP) return above;
    if (kind == RCF_DISPLACEMENT) return 0.0;
    if (kind == RCF_OPENSEARCH) return (1.0 - m / (2.0 * n)) / (h + rcf_log2_count(m + 1));
    if (h == 0) return 1.0 / (m + 1.0); /* one distinct value: what Kinesis returns */
    return 1.0 / (h + rcf_log2_count(m));
}

RCF_INLINE double rcf_scale(int kind, int32_t n) {
    if (kind == RCF_DEPTH) return rcf_log2_count(n);
    if (kind == RCF_OPENSEARCH) return rcf_log2_count(n + 1);
    return 1.0;
}

/* M on the way to x: ratios[h] is the largest over the ancestors of the node at depth h. Returns that of the leaf. */
RCF_INLINE double rcf_ratios(const rcf_tree *t, const float *x, double *ratios) {
    int32_t v = t->root, h = 0;
    double largest = 0.0;
    while (v >= 0) {
        const rcf_node *node = t->nodes + v;
        ratios[h++] = largest;
        int side = x[node->dim] > node->cut;
        int32_t next = node->child[side];
        int32_t mass = next < 0 ? t->leaves[~next].mass : t->nodes[next].mass;
        double ratio = (double)(node->mass - mass) / (mass + 1.0);
        largest = ratio > largest ? ratio : largest;
        v = next;
    }
    return largest;
}

/* ---- the walk --------------------------------------------------------------------------------------------- */

#define RCF_LANES 8

/* The leaves that k pairs (tree, record) come to, all taken down together: each step waits for memory, so
 * eight that do not depend on each other cost little more than one. No branch depends on the data. */
RCF_INLINE void rcf_descend_lanes(const rcf_tree *t, ptrdiff_t tree_step, const float *x, ptrdiff_t x_step,
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

/* The leaf x comes to. */
static inline int32_t rcf_descend(const rcf_tree *t, const float *x) {
    int32_t v = t->root;
    while (v >= 0) {
        const rcf_node *node = t->nodes + v;
        v = node->child[x[node->dim] > node->cut];
    }
    return ~v;
}

/* From the leaf up: at each box that does not contain x, inserting it cuts it off with probability q = excess / (excess + range).
 * Stops at the first box that contains x, for so do all above it. */
RCF_INLINE double rcf_climb(int kind, const rcf_tree *t, const float *x, int stride, int32_t leaf, int32_t h,
                            double *ratios) {
    const rcf_leaf *end = t->leaves + leaf;
    const float *point = t->points + (size_t)leaf * stride;
    int32_t n = t->mass, v = end->parent;
    double above = 0.0, score;
    if (n == 0) return 0.0;
    if (kind == RCF_CODISP) above = rcf_ratios(t, x, ratios);
    double excess = 0.0;
    const float *box = t->boxes + (size_t)v * 2 * stride;
    if (v >= 0) excess = rcf_excess_inline(box, box + stride, x, stride);
    if (excess == 0.0) {
        /* only now can x equal the leaf */
        score = rcf_excess_inline(point, point, x, stride) == 0.0 ? rcf_value_equal(kind, h, end->mass, n, above)
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
        excess = rcf_excess_inline(box, box + stride, x, stride);
    } while (excess != 0.0);
    return score * rcf_scale(kind, n);
}

RCF_INLINE void rcf_score_lanes(int kind, const rcf_tree *t, ptrdiff_t tree_step, const float *x, ptrdiff_t x_step,
                                int stride, int k, double *ratios, double *out) {
    int32_t at[RCF_LANES], depth[RCF_LANES];
    rcf_descend_lanes(t, tree_step, x, x_step, k, at, depth);
    for (int g = 0; g < k; g++) {
        const rcf_tree *tree = t + g * tree_step;
        int32_t v = tree->leaves[~at[g]].parent;
        if (tree_step && v >= 0) {
            RCF_PREFETCH(tree->boxes + (size_t)v * 2 * stride);
            v = tree->nodes[v].parent;
            if (v >= 0) RCF_PREFETCH(tree->boxes + (size_t)v * 2 * stride);
        }
    }
    for (int g = 0; g < k; g++)
        out[g] += rcf_climb(kind, t + g * tree_step, x + g * x_step, stride, ~at[g], depth[g], ratios);
}

RCF_INLINE void rcf_score_pairs_of(int kind, const rcf_tree *t, ptrdiff_t tree_step, const float *x, ptrdiff_t x_step,
                                   int stride, ptrdiff_t n, double *ratios, double *out) {
    ptrdiff_t i = 0;
    for (; i + RCF_LANES <= n; i += RCF_LANES)
        rcf_score_lanes(kind, t + i * tree_step, tree_step, x + i * x_step, x_step, stride, RCF_LANES, ratios, out + i);
    if (i < n)
        rcf_score_lanes(kind, t + i * tree_step, tree_step, x + i * x_step, x_step, stride, (int)(n - i), ratios, out + i);
}

#define RCF_BY_STRIDE(kind)                                                                                      \
    switch (t->stride) {                                                                                         \
    case 4: rcf_score_pairs_of(kind, t, tree_step, x, x_step, 4, n, ratios, out); break;                         \
    case 8: rcf_score_pairs_of(kind, t, tree_step, x, x_step, 8, n, ratios, out); break;                         \
    case 16: rcf_score_pairs_of(kind, t, tree_step, x, x_step, 16, n, ratios, out); break;                       \
    default: rcf_score_pairs_of(kind, t, tree_step, x, x_step, t->stride, n, ratios, out);                       \
    }

/* out[i] += the score of record x + i * x_step by tree t + i * tree_step: one tree and many records
 * (tree_step 0), or one record and many trees (x_step 0). `ratios` holds a double per level of the deepest tree. */
RCF_CLONES static void rcf_score_pairs(int kind, const rcf_tree *t, ptrdiff_t tree_step, const float *x,
                                       ptrdiff_t x_step, ptrdiff_t n, double *ratios, double *out) {
    switch (kind) {
    case RCF_DEPTH: RCF_BY_STRIDE(RCF_DEPTH); break;
    case RCF_CODISP: RCF_BY_STRIDE(RCF_CODISP); break;
    case RCF_DISPLACEMENT: RCF_BY_STRIDE(RCF_DISPLACEMENT); break;
    case RCF_OPENSEARCH: RCF_BY_STRIDE(RCF_OPENSEARCH); break;
    }
}

/* ---- records at the door ------------------------------------------------------------------------------------ */

/* row = x - origin, as floats, padded with zeros. Adding zero turns -0.0 into 0.0: equal values have equal bits. */
static inline void rcf_narrow(float *row, const double *x, const double *origin, int dims, int stride) {
    for (int i = 0; i < dims; i++) row[i] = (float)(x[i] - origin[i]) + 0.0f;
    for (int i = dims; i < stride; i++) row[i] = 0.0f;
}

#endif
