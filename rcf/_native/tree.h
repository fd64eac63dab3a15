/* One tree in memory.
 *
 * A box is 2 * stride floats, the lower corner before the upper; the stride is the number of
 * features rounded up to 4 (up to 4 features) or a multiple of 8, the rest is zero and adds nothing.
 * Sums over features run in eight double lanes, feature i in lane i % 8, and the lanes are
 * added in one fixed order: whatever width of vector the CPU has, the result has the same bits.
 */
#ifndef RCF_TREE_H
#define RCF_TREE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__)
#define RCF_INLINE static inline __attribute__((always_inline))
#define RCF_ALONE __attribute__((noinline))
#define RCF_PREFETCH(p) __builtin_prefetch(p)
#define RCF_PREFETCH_L2(p) __builtin_prefetch(p, 0, 2)
#else
#define RCF_INLINE static __forceinline
#define RCF_ALONE __declspec(noinline)
#define RCF_PREFETCH(p) ((void)0)
#define RCF_PREFETCH_L2(p) ((void)0)
#endif

static int rcf_starved; /* set by tests: allocations fail */

/* The part of a node that a descent reads. The part that a climb reads is separate, so that four steps of a descent fit into a cache
 * line. */
typedef struct {
    int32_t child[2]; /* x[dim] <= value goes to child[0]; >= 0 is an inner node, < 0 the leaf ~child */
    float value;      /* of a free node, child[0] is the next free one, -1 at the end */
    int32_t dim;
} rcf_cut;

typedef struct {
    double range;   /* the sum of the sides of the box */
    int32_t mass;   /* records below; 0 marks a free node */
    int32_t parent; /* -1 at the root */
} rcf_node;

typedef struct {
    int32_t mass;   /* records equal to the point; 0 marks a free leaf, parent is then the next free one */
    int32_t parent; /* -1 at the root */
} rcf_leaf;

/* In low-memory mode, nodes with at most this many records store no box. With 256 records a tree, limits of 4, 6 and 8 leave 0.42,
 * 0.31 and 0.25 of the boxes; with 6, scoring and learning a record takes 1.9 times as long at 8 features and 1.45 times at 48. */
enum { RCF_SMALL = 6 };

/* A copy of the cuts in the first RCF_TOP_LEVELS levels of a tree, side by side: a vector compares a record with all of them at once.
 * Place 1 is the root, and places 2 k and 2 k + 1 are the children of place k; end[k - 16] is the node or leaf that would stand at
 * place k, or the leaf above it. */
enum { RCF_TOP_LEVELS = 4, RCF_TOP = 1 << RCF_TOP_LEVELS };

typedef struct {
    float value[RCF_TOP];
    int32_t dim[RCF_TOP];
    int32_t end[RCF_TOP];
    int32_t depth[RCF_TOP]; /* depths of the ends */
} rcf_top;

typedef struct {
    rcf_top top;
    rcf_cut *cuts;
    rcf_node *nodes;
    float *boxes;  /* of the inner nodes */
    float *points; /* of the leaves */
    rcf_leaf *leaves;
    int32_t *box_at;  /* in low-memory mode: the number of the box of each node, 0 for none; otherwise NULL, and box v belongs to node v */
    void *box_memory; /* in low-memory mode: what holds the boxes; box 0 is scratch space for functions that change the tree */
    int32_t small;    /* nodes with at most this many records have no box: RCF_SMALL, or 0 */
    int32_t box_room, n_boxes; /* boxes that fit in memory now, and used so far */
    int32_t free_box;          /* head of the list of free ones, 0 for none */
    int32_t capacity;   /* leaves that fit in memory now */
    int32_t n_nodes, n_leaves;       /* used so far, the free ones among them included */
    int32_t free_node, free_leaf;    /* heads of the lists of free ones, -1 for none */
    int32_t root;       /* a node, or ~leaf */
    int32_t mass;
    int32_t dims, stride;
} rcf_tree;

_Static_assert(sizeof(rcf_cut) == 16 && sizeof(rcf_node) == 16, "four to a cache line");
_Static_assert(sizeof(rcf_leaf) == 8, "leaves are packed");

/* The sum of eight lanes, always in this order. */
RCF_INLINE double rcf_add_lanes(const double *s) {
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

/* The leaf that x reaches from node or leaf v; *depth grows by the number of steps. */
static inline int32_t rcf_descend_from(const rcf_tree *t, int32_t v, const float *x, int32_t *depth) {
    for (; v >= 0; *depth += 1) {
        const rcf_cut *cut = t->cuts + v;
        v = cut->child[x[cut->dim] > cut->value];
    }
    return ~v;
}

/* The leaf that x reaches. */
static inline int32_t rcf_descend(const rcf_tree *t, const float *x) {
    int32_t depth = 0;
    return rcf_descend_from(t, t->root, x, &depth);
}

/* Copy the top of the tree again. */
static void rcf_fill_top(rcf_tree *t) {
    int32_t node[2 * RCF_TOP], depth[2 * RCF_TOP];
    node[1] = t->root;
    depth[1] = 0;
    for (int k = 1; k < RCF_TOP; k++) {
        int32_t v = node[k];
        rcf_cut cut = {{v, v}, 0.0f, 0}; /* from a leaf to itself */
        if (v >= 0) cut = t->cuts[v];
        t->top.value[k] = cut.value;
        t->top.dim[k] = cut.dim;
        for (int side = 0; side < 2; side++) {
            node[2 * k + side] = cut.child[side];
            depth[2 * k + side] = depth[k] + (v >= 0);
        }
    }
    memcpy(t->top.end, node + RCF_TOP, sizeof t->top.end);
    memcpy(t->top.depth, depth + RCF_TOP, sizeof t->top.depth);
}

/* The node or leaf v is new in its place. Copy the top again if v belongs to it. */
static inline void rcf_renew_top(rcf_tree *t, int32_t v) {
    for (int level = 0; level <= RCF_TOP_LEVELS; level++) {
        v = v < 0 ? t->leaves[~v].parent : t->nodes[v].parent;
        if (v < 0) {
            rcf_fill_top(t);
            return;
        }
    }
}

/* ---- boxes in low-memory mode ------------------------------------------------------------------------------ */

/* The box of a node that has one. */
RCF_INLINE float *rcf_box(const rcf_tree *t, int32_t v) {
    return t->boxes + (size_t)(t->small ? t->box_at[v] : v) * 2 * t->stride;
}

/* Make room for this many boxes; returns 0, with nothing changed, if memory fails. */
static int rcf_box_reserve(rcf_tree *t, int32_t room) {
    if (room <= t->box_room) return 1;
    size_t size = 2 * sizeof(float) * (size_t)t->stride;
    void *memory = rcf_starved ? NULL : malloc(room * size + 63);
    if (memory == NULL) return 0;
    float *boxes = (float *)(((uintptr_t)memory + 63) & ~(uintptr_t)63);
    if (t->boxes != NULL) memcpy(boxes, t->boxes, t->n_boxes * size);
    free(t->box_memory);
    t->box_memory = memory;
    t->boxes = boxes;
    t->box_room = room;
    return 1;
}

/* Make room for one more box; memory grows by a sixteenth. */
static inline int rcf_box_ready(rcf_tree *t) {
    return t->free_box > 0 || t->n_boxes < t->box_room || rcf_box_reserve(t, t->box_room + t->box_room / 16 + 2);
}

/* Give node v a box; the caller has made room. */
static inline float *rcf_box_take(rcf_tree *t, int32_t v) {
    int32_t at = t->free_box;
    assert(at > 0 || t->n_boxes < t->box_room);
    if (at > 0) memcpy(&t->free_box, t->boxes + (size_t)at * 2 * t->stride, sizeof(int32_t));
    else at = t->n_boxes++;
    t->box_at[v] = at;
    return rcf_box(t, v);
}

/* Free the box of node v. */
static inline void rcf_box_drop(rcf_tree *t, int32_t v) {
    if (t->box_at[v] == 0) return;
    memcpy(rcf_box(t, v), &t->free_box, sizeof(int32_t));
    t->free_box = t->box_at[v];
    t->box_at[v] = 0;
}

/* Append to `lower` and `upper` the corners of boxes whose union is the box of v: its own box, or the points below a node without one. */
static inline int rcf_parts(const rcf_tree *t, int32_t v, const float **lower, const float **upper, int n) {
    int32_t later[RCF_SMALL];
    int waiting = 0;
    if (v >= 0 && t->nodes[v].mass > t->small) {
        lower[n] = rcf_box(t, v);
        upper[n] = lower[n] + t->stride;
        return n + 1;
    }
    for (;;) {
        for (; v >= 0; v = t->cuts[v].child[0]) later[waiting++] = t->cuts[v].child[1];
        lower[n] = upper[n] = t->points + (size_t)~v * t->stride;
        n += 1;
        if (waiting == 0) return n;
        v = later[--waiting];
    }
}

/* A path up a tree, for rcf_prefetch_paths. */
typedef struct {
    const rcf_tree *tree;
    int32_t at; /* the first leaf, -1 for none; then the current node */
} rcf_path;

static inline void rcf_prefetch_l2(const void *p) { RCF_PREFETCH_L2(p); }

/* Prefetch the paths up from k leaves into the inner caches, one level of all paths at a time, so that the waits for memory overlap. */
static inline void rcf_prefetch_paths(rcf_path *paths, int k) {
    for (int g = 0; g < k; g++) {
        const rcf_tree *t = paths[g].tree;
        int32_t leaf = paths[g].at;
        if (leaf < 0) continue;
        RCF_PREFETCH(t->points + (size_t)leaf * t->stride);
        paths[g].at = t->leaves[leaf].parent;
    }
    for (int level = 0, open = 1; open; level++) {
        open = 0;
        for (int g = 0; g < k; g++) {
            const rcf_tree *t = paths[g].tree;
            int32_t v = paths[g].at;
            if (v < 0) continue;
            const char *box = (const char *)rcf_box(t, v);
            if (level < 5)
                for (int b = 0; b < 8 * t->stride; b += 64) RCF_PREFETCH(box + b);
            paths[g].at = t->nodes[v].parent;
            open = 1;
        }
    }
}

/* Partition order[begin:end] with the rows at or below the cut first; each side keeps its order. Returns the begin of the second. */
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

/* The float before c. */
static inline float rcf_float_before(float c) {
    uint32_t b;
    memcpy(&b, &c, 4);
    b = (b << 1) == 0 ? 0x80000001u : b - 1 + 2 * (b >> 31);
    memcpy(&c, &b, 4);
    return c;
}

/* The largest float at or below v, at least `base` and below `top`, so that it is a valid cut for any rounding.
 * Rounding down keeps the distribution exact, because no float lies between v and the cut. */
static inline float rcf_cut_between(double v, float base, float top) {
    float c = (float)v, before = rcf_float_before(c);
    c = (double)c > v ? before : c; /* half the time of a branch, which would be mispredicted */
    if (c >= top) c = rcf_float_before(top);
    if (!(c >= base)) c = base;
    assert(base <= c && c < top);
    return c == 0 ? 0.0f : c;
}

/* ---- incoming records --------------------------------------------------------------------------------------- */

/* row = x - origin, as floats, padded with zeros. Adding zero turns -0.0 into 0.0: equal values have equal bits. */
static inline void rcf_narrow(float *row, const double *x, const double *origin, int dims, int stride) {
    for (int i = 0; i < dims; i++) row[i] = (float)(x[i] - origin[i]) + 0.0f;
    for (int i = dims; i < stride; i++) row[i] = 0.0f;
}

#endif
