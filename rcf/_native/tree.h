/* One tree in memory.
 *
 * There are two layouts. The wide one serves any tree. The compact one serves trees of up to RCF_FEW features and RCF_SHORT leaves
 * in low-memory mode. Its whole numbers have 16 bits, so it takes half the bytes. The functions rcf_child() to rcf_set_range() work
 * on both layouts. Loops that know the layout pass it to the functions whose names end in _in, as a constant.
 *
 * A box is 2 * stride floats, the lower corner before the upper. The stride is the number of features, rounded up to 4 (up to 4
 * features) or to a multiple of 8; the compact layout does not round up to 4. A row is padded with zeros, which add nothing to
 * sums. Sums over features run in eight double lanes, feature i in lane i % 8, and the lanes are added in one fixed order, so the
 * results have the same bits for every width of vector. */
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

static int rcf_starved; /* set by tests to make allocations fail */

/* The part of a node that a descent reads. The part that a climb reads is separate, so that four steps of a descent fit into a cache
 * line. */
typedef struct {
    int32_t child[2]; /* x[dim] <= value goes to child[0]; >= 0 is an inner node, < 0 the leaf ~child */
    float value;      /* in a free node, child[0] is the next free node, or -1 at the end of the list */
    int32_t dim;
} rcf_cut;

typedef struct {
    double range;   /* the sum of the sides of the box */
    int32_t mass;   /* number of records below; 0 marks a free node */
    int32_t parent; /* -1 at the root */
} rcf_node;

typedef struct {
    int32_t mass;   /* number of records equal to the point; 0 marks a free leaf, whose parent is the next free leaf */
    int32_t parent; /* -1 at the root */
} rcf_leaf;

/* A node in the compact layout: its cut, mass and parent, and the number of its box, or 0 if it has none. The range of a node
 * stands before its box. If the node has no box, its range is computed when it is needed. */
typedef struct {
    float value;
    int16_t child[2];
    int16_t dim;
    int16_t box;
    int16_t mass, parent;
} rcf_short_node;

typedef struct {
    int16_t mass, parent;
} rcf_short_leaf;

enum { RCF_FEW = 8, RCF_SHORT = 32766 };

/* In low-memory mode, nodes with at most this many records store no box. With 256 records a tree, limits of 4, 6, 8 and 16 leave
 * 0.42, 0.31, 0.25 and 0.13 of the boxes. With a limit of 6 and 48 features, scoring and learning a record takes 1.45 times as long
 * as with all boxes. In the compact layout, where points are short, it takes 1.3 times as long with a limit of 6 and 1.6 times as
 * long with 16. */
enum { RCF_SMALL = 6, RCF_SMALL_COMPACT = 16 };

/* A copy of the cuts in the first RCF_TOP_LEVELS levels of a tree. They are side by side, so that a vector instruction compares a
 * record with all of them at once. Place 1 is the root, and places 2 k and 2 k + 1 are the children of place k; end[k - 16] is the
 * node or leaf that would stand at place k, or the leaf above it. */
enum { RCF_TOP_LEVELS = 4, RCF_TOP = 1 << RCF_TOP_LEVELS };

typedef struct {
    float value[RCF_TOP];
    int32_t end[RCF_TOP];
    uint8_t depth[RCF_TOP]; /* depths of the ends */
    uint8_t dim[RCF_TOP];   /* used by vector code, for up to 64 features */
} rcf_top;

typedef struct {
    rcf_top top;
    rcf_cut *cuts;   /* in the compact layout, `cuts` and `nodes` are the same array, of rcf_short_node */
    rcf_node *nodes;
    float *boxes;    /* of the inner nodes */
    float *points;   /* of the leaves */
    rcf_leaf *leaves; /* in the compact layout, an array of rcf_short_leaf */
    int32_t *box_at;  /* in low-memory mode, wide layout: the number of the box of each node, 0 for none.
                       * Otherwise NULL. Without low-memory mode node v has box v. */
    void *box_memory; /* in low-memory mode: the memory of the boxes; box 0 is scratch space for functions that change the tree */
    int32_t compact;  /* whether the layout is the compact one */
    int32_t small;    /* nodes with at most this many records have no box: RCF_SMALL, or 0 */
    int32_t box_room, n_boxes; /* boxes that fit into the memory, and boxes used so far */
    int32_t free_box;          /* head of the list of free boxes, 0 for none */
    int32_t capacity;   /* leaves that fit into the memory */
    int32_t n_nodes, n_leaves;       /* used so far, including those that are free again */
    int32_t free_node, free_leaf;    /* heads of the lists of free nodes and leaves, -1 for none */
    int32_t root;       /* a node, or ~leaf */
    int32_t mass;
    int32_t dims, stride;
    int32_t box_step; /* bytes from box to box */
} rcf_tree;

_Static_assert(sizeof(rcf_cut) == 16 && sizeof(rcf_node) == 16 && sizeof(rcf_short_node) == 16, "four to a cache line");
_Static_assert(sizeof(rcf_leaf) == 8 && sizeof(rcf_short_leaf) == 4, "leaves are packed");
_Static_assert(offsetof(rcf_short_node, dim) == 8 && offsetof(rcf_short_node, mass) == 12, "as simd.h reads them");

/* ---- what both layouts have ----------------------------------------------------------------------------------- */

RCF_INLINE rcf_short_node *rcf_short(const rcf_tree *t, int32_t v) { return (rcf_short_node *)(void *)t->cuts + v; }
RCF_INLINE rcf_short_leaf *rcf_short_of(const rcf_tree *t, int32_t leaf) { return (rcf_short_leaf *)(void *)t->leaves + leaf; }

/* Bytes from box to box. */
RCF_INLINE int32_t rcf_box_step(int compact, int stride) { return (int32_t)sizeof(float) * 2 * stride + (compact ? (int32_t)sizeof(double) : 0); }

/* The child of a cut on the side of x. */
RCF_INLINE int32_t rcf_next(int compact, const rcf_cut *cut, const float *x) {
    if (compact) {
        const rcf_short_node *node = (const rcf_short_node *)(const void *)cut;
        return node->child[x[node->dim] > node->value];
    }
    return cut->child[x[cut->dim] > cut->value];
}

/* The mass and parent of node v >= 0, or of leaf ~v if v < 0. */
RCF_INLINE int32_t rcf_mass_in(int compact, const rcf_tree *t, int32_t v) {
    if (compact) return v < 0 ? rcf_short_of(t, ~v)->mass : rcf_short(t, v)->mass;
    return v < 0 ? t->leaves[~v].mass : t->nodes[v].mass;
}
RCF_INLINE int32_t rcf_parent_in(int compact, const rcf_tree *t, int32_t v) {
    if (compact) return v < 0 ? rcf_short_of(t, ~v)->parent : rcf_short(t, v)->parent;
    return v < 0 ? t->leaves[~v].parent : t->nodes[v].parent;
}
RCF_INLINE int32_t rcf_mass(const rcf_tree *t, int32_t v) { return rcf_mass_in(t->compact, t, v); }
RCF_INLINE int32_t rcf_parent(const rcf_tree *t, int32_t v) { return rcf_parent_in(t->compact, t, v); }
RCF_INLINE void rcf_set_mass_in(int compact, rcf_tree *t, int32_t v, int32_t mass) {
    if (compact) *(v < 0 ? &rcf_short_of(t, ~v)->mass : &rcf_short(t, v)->mass) = (int16_t)mass;
    else *(v < 0 ? &t->leaves[~v].mass : &t->nodes[v].mass) = mass;
}
RCF_INLINE void rcf_set_mass(rcf_tree *t, int32_t v, int32_t mass) { rcf_set_mass_in(t->compact, t, v, mass); }
RCF_INLINE void rcf_set_parent(rcf_tree *t, int32_t v, int32_t parent) {
    if (t->compact) *(v < 0 ? &rcf_short_of(t, ~v)->parent : &rcf_short(t, v)->parent) = (int16_t)parent;
    else *(v < 0 ? &t->leaves[~v].parent : &t->nodes[v].parent) = parent;
}

/* The children and the cut of node v. */
RCF_INLINE int32_t rcf_child_in(int compact, const rcf_tree *t, int32_t v, int side) {
    return compact ? rcf_short(t, v)->child[side] : t->cuts[v].child[side];
}
RCF_INLINE int32_t rcf_child(const rcf_tree *t, int32_t v, int side) { return rcf_child_in(t->compact, t, v, side); }
RCF_INLINE void rcf_set_child(rcf_tree *t, int32_t v, int side, int32_t child) {
    if (t->compact) rcf_short(t, v)->child[side] = (int16_t)child;
    else t->cuts[v].child[side] = child;
}
RCF_INLINE int32_t rcf_sibling(const rcf_tree *t, int32_t parent, int32_t v) {
    return rcf_child(t, parent, 0) ^ rcf_child(t, parent, 1) ^ v;
}
RCF_INLINE int32_t rcf_cut_dim(const rcf_tree *t, int32_t v) { return t->compact ? rcf_short(t, v)->dim : t->cuts[v].dim; }
RCF_INLINE float rcf_cut_value(const rcf_tree *t, int32_t v) { return t->compact ? rcf_short(t, v)->value : t->cuts[v].value; }
RCF_INLINE void rcf_set_cut(rcf_tree *t, int32_t v, int32_t dim, float value) {
    if (t->compact) {
        rcf_short(t, v)->dim = (int16_t)dim;
        rcf_short(t, v)->value = value;
    } else {
        t->cuts[v].dim = dim;
        t->cuts[v].value = value;
    }
}

/* The number of the box of a node. In low-memory mode it is 0 if the node has none. */
RCF_INLINE int32_t rcf_box_number(int compact, const rcf_tree *t, int32_t v) {
    return compact ? rcf_short(t, v)->box : t->small ? t->box_at[v] : v;
}
RCF_INLINE void rcf_set_box_number(rcf_tree *t, int32_t v, int32_t number) {
    if (t->compact) rcf_short(t, v)->box = (int16_t)number;
    else t->box_at[v] = number;
}
/* The box of a node that has one. */
RCF_INLINE float *rcf_box_in(int compact, const rcf_tree *t, int32_t v) {
    return (float *)(void *)((char *)t->boxes + (size_t)rcf_box_number(compact, t, v) * (size_t)t->box_step);
}
RCF_INLINE float *rcf_box(const rcf_tree *t, int32_t v) { return rcf_box_in(t->compact, t, v); }
/* The range of a node. In the compact layout the node must have a box. */
RCF_INLINE double rcf_range(const rcf_tree *t, int32_t v) {
    return t->compact ? ((const double *)(const void *)rcf_box(t, v))[-1] : t->nodes[v].range;
}
/* Does nothing in the compact layout if the node has no box. */
RCF_INLINE void rcf_set_range_in(int compact, rcf_tree *t, int32_t v, double range) {
    if (!compact) t->nodes[v].range = range;
    else if (rcf_short(t, v)->box > 0) ((double *)(void *)rcf_box(t, v))[-1] = range;
}
RCF_INLINE void rcf_set_range(rcf_tree *t, int32_t v, double range) { rcf_set_range_in(t->compact, t, v, range); }

/* The sum of eight lanes, always in this order. */
RCF_INLINE double rcf_add_lanes(const double *s) {
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

/* The leaf that x reaches from node or leaf v; *depth grows by the number of steps. */
static inline int32_t rcf_descend_from(const rcf_tree *t, int32_t v, const float *x, int32_t *depth) {
    for (; v >= 0; *depth += 1) v = rcf_next(t->compact, t->cuts + v, x);
    return ~v;
}

/* The leaf that x reaches. */
static inline int32_t rcf_descend(const rcf_tree *t, const float *x) {
    int32_t depth = 0;
    return rcf_descend_from(t, t->root, x, &depth);
}

RCF_INLINE void rcf_fill_top_in(int compact, rcf_tree *t) {
    int32_t node[2 * RCF_TOP], depth[2 * RCF_TOP];
    node[1] = t->root;
    depth[1] = 0;
    for (int k = 1; k < RCF_TOP; k++) {
        int32_t v = node[k];
        t->top.value[k] = v < 0 ? 0.0f : compact ? rcf_short(t, v)->value : t->cuts[v].value;
        t->top.dim[k] = (uint8_t)(v < 0 ? 0 : compact ? rcf_short(t, v)->dim : t->cuts[v].dim);
        for (int side = 0; side < 2; side++) {
            /* a place below a leaf holds a copy of that leaf */
            node[2 * k + side] = v < 0 ? v : rcf_child_in(compact, t, v, side);
            depth[2 * k + side] = depth[k] + (v >= 0);
        }
    }
    memcpy(t->top.end, node + RCF_TOP, sizeof t->top.end);
    for (int k = 0; k < RCF_TOP; k++) t->top.depth[k] = (uint8_t)depth[RCF_TOP + k];
}

/* Renew the copy of the top of the tree. */
static void rcf_fill_top(rcf_tree *t) {
    if (t->compact) rcf_fill_top_in(1, t);
    else rcf_fill_top_in(0, t);
}

/* The node or leaf v has a new place in the tree. Renew the copy of the top if v belongs to it. */
static inline void rcf_renew_top(rcf_tree *t, int32_t v) {
    for (int level = 0; level <= RCF_TOP_LEVELS; level++) {
        v = rcf_parent(t, v);
        if (v < 0) {
            rcf_fill_top(t);
            return;
        }
    }
}

/* ---- boxes in low-memory mode ------------------------------------------------------------------------------ */

/* The start of the memory of the boxes. In the compact layout it begins with the range of the first box. */
RCF_INLINE char *rcf_boxes_begin(const rcf_tree *t) { return (char *)t->boxes - (t->compact ? sizeof(double) : 0); }

/* In the wide layout arrays begin on a cache line, because a box of up to 8 features then takes one line. In the compact layout a
 * range stands before each box, so this would not help. */
RCF_INLINE size_t rcf_alignment(const rcf_tree *t) { return t->compact ? sizeof(double) : 64; }
RCF_INLINE char *rcf_aligned(const rcf_tree *t, void *memory) {
    return (char *)(((uintptr_t)memory + rcf_alignment(t) - 1) & ~(uintptr_t)(rcf_alignment(t) - 1));
}

/* Make room for this many boxes. If memory runs out, returns 0 and changes nothing. */
static int rcf_box_reserve(rcf_tree *t, int32_t room) {
    if (room <= t->box_room) return 1;
    size_t size = (size_t)t->box_step;
    void *memory = rcf_starved ? NULL : malloc(room * size + rcf_alignment(t) - 1);
    if (memory == NULL) return 0;
    char *begin = rcf_aligned(t, memory);
    if (t->boxes != NULL) memcpy(begin, rcf_boxes_begin(t), t->n_boxes * size);
    free(t->box_memory);
    t->box_memory = memory;
    t->boxes = (float *)(void *)(begin + (t->compact ? sizeof(double) : 0));
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
    if (at == 0) at = t->n_boxes++;
    else memcpy(&t->free_box, (char *)t->boxes + (size_t)at * (size_t)t->box_step, sizeof(int32_t));
    rcf_set_box_number(t, v, at);
    return rcf_box(t, v);
}

/* Free the box of node v. */
static inline void rcf_box_drop(rcf_tree *t, int32_t v) {
    int32_t at = rcf_box_number(t->compact, t, v);
    if (at == 0) return;
    memcpy(rcf_box(t, v), &t->free_box, sizeof(int32_t));
    t->free_box = at;
    rcf_set_box_number(t, v, 0);
}

/* Append to `lower` and `upper` the corners of boxes whose union is the box of v: its own box or, if it has none, the points below
 * it. */
static inline int rcf_parts(const rcf_tree *t, int32_t v, const float **lower, const float **upper, int n) {
    int32_t later[RCF_SMALL_COMPACT];
    int waiting = 0;
    if (v >= 0 && rcf_mass(t, v) > t->small) {
        lower[n] = rcf_box(t, v);
        upper[n] = lower[n] + t->stride;
        return n + 1;
    }
    for (;;) {
        for (; v >= 0; v = rcf_child(t, v, 0)) later[waiting++] = rcf_child(t, v, 1);
        lower[n] = upper[n] = t->points + (size_t)~v * t->stride;
        n += 1;
        if (waiting == 0) return n;
        v = later[--waiting];
    }
}

/* A node on its path up a tree, for rcf_prefetch_paths. */
typedef struct {
    const rcf_tree *tree;
    int32_t at; /* at first a leaf, or -1 for no path; then the current node */
} rcf_path;

static inline void rcf_prefetch_l2(const void *p) { RCF_PREFETCH_L2(p); }

static inline void rcf_prefetch_record(const double *x, int dims) {
    for (int i = 0; i < dims; i += 8) RCF_PREFETCH(x + i);
    RCF_PREFETCH(x + dims - 1);
}

/* Prefetch the paths from k leaves to the root into the inner caches, level by level for all paths, so that the waits for memory
 * overlap. */
static inline void rcf_prefetch_paths(rcf_path *paths, int k) {
    for (int g = 0; g < k; g++) {
        const rcf_tree *t = paths[g].tree;
        int32_t leaf = paths[g].at;
        if (leaf < 0) continue;
        RCF_PREFETCH(t->points + (size_t)leaf * t->stride);
        RCF_PREFETCH((const char *)t->leaves + (size_t)leaf * (t->compact ? sizeof(rcf_short_leaf) : sizeof(rcf_leaf)));
    }
    for (int g = 0; g < k; g++) {
        if (paths[g].at < 0) continue;
        paths[g].at = rcf_parent(paths[g].tree, ~paths[g].at);
        if (paths[g].at >= 0) RCF_PREFETCH(paths[g].tree->nodes + paths[g].at); /* in both layouts a node has 16 bytes */
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
            paths[g].at = rcf_parent(t, v);
            if (paths[g].at >= 0) RCF_PREFETCH(t->nodes + paths[g].at);
            open = 1;
        }
    }
}

/* Prefetch some bytes. */
static inline void rcf_prefetch_bytes(const void *p, size_t bytes) {
    const char *end = (const char *)p + bytes;
    for (const char *at = (const char *)((uintptr_t)p & ~(uintptr_t)63); at < end; at += 64) RCF_PREFETCH(at);
}

/* Nodes of a tree whose children are to be prefetched. */
enum { RCF_FRONT = 16 };
typedef struct {
    const rcf_tree *tree;
    int32_t n, node[RCF_FRONT];
} rcf_front;

RCF_INLINE void rcf_front_add(rcf_front *front, int32_t v) {
    if (front->n < RCF_FRONT) front->node[front->n++] = v;
}

/* Prefetch what rcf_parts() reads below the nodes of k fronts, level by level for all fronts. */
static inline void rcf_prefetch_below(rcf_front *fronts, int k) {
    for (int open = 1; open;) {
        open = 0;
        for (int g = 0; g < k; g++) {
            rcf_front now = fronts[g], *next = fronts + g;
            next->n = 0;
            for (int i = 0; i < now.n; i++)
                for (int side = 0; side < 2; side++) {
                    int32_t v = rcf_child(now.tree, now.node[i], side);
                    if (v < 0) {
                        RCF_PREFETCH(now.tree->points + (size_t)~v * now.tree->stride);
                    } else {
                        RCF_PREFETCH(now.tree->cuts + v);
                        rcf_front_add(next, v);
                    }
                }
            open |= next->n;
        }
    }
}

/* The highest node above the leaf that has no box; the leaf itself, below 0, if its parent has one. */
RCF_INLINE int32_t rcf_small_root(const rcf_tree *t, int32_t leaf) {
    int32_t v = ~leaf;
    for (int32_t up = rcf_parent(t, v); up >= 0 && rcf_mass(t, up) <= t->small; up = rcf_parent(t, v)) v = up;
    return v;
}

/* Prefetch the siblings of the nodes on the lower part of each path from k leaves up. Shrinking the boxes of small trees needs
 * them, besides the nodes that rcf_prefetch_paths() fetches. */
static inline void rcf_prefetch_siblings(const rcf_path *paths, int k) {
    enum { MOST = 128, LEVELS = 6 };
    static const int32_t none = -1;
    rcf_front fronts[MOST];
    int32_t sibling[MOST][LEVELS];
    assert(k <= MOST);
    for (int g = 0; g < k; g++) {
        const rcf_tree *t = fronts[g].tree = paths[g].tree;
        int32_t v = paths[g].at < 0 ? none : rcf_small_root(t, paths[g].at);
        fronts[g].n = 0;
        for (int level = 0; level < LEVELS; level++) sibling[g][level] = none;
        if (paths[g].at < 0) continue;
        if (v >= 0) rcf_front_add(fronts + g, v);
        for (int level = 0; level < LEVELS; level++) {
            int32_t up = rcf_parent(t, v);
            if (up < 0) break;
            sibling[g][level] = rcf_sibling(t, up, v);
            if (sibling[g][level] < 0) RCF_PREFETCH(t->points + (size_t)~sibling[g][level] * t->stride);
            else RCF_PREFETCH(t->cuts + sibling[g][level]);
            v = up;
        }
    }
    for (int g = 0; g < k; g++)
        for (int level = 0; level < LEVELS; level++) {
            int32_t v = sibling[g][level];
            if (v < 0) continue;
            if (rcf_mass(fronts[g].tree, v) <= fronts[g].tree->small) rcf_front_add(fronts + g, v);
            else rcf_prefetch_bytes(rcf_box(fronts[g].tree, v), (size_t)fronts[g].tree->box_step);
        }
    rcf_prefetch_below(fronts, k);
}

/* The float before c. */
static inline float rcf_float_before(float c) {
    uint32_t b;
    memcpy(&b, &c, 4);
    b = (b << 1) == 0 ? 0x80000001u : b - 1 + 2 * (b >> 31);
    memcpy(&c, &b, 4);
    return c;
}

/* The largest float that is not above v, but at least `base` and below `top`, so that it is a valid cut in spite of rounding.
 * Rounding down keeps the distribution exact, because no float lies between v and the cut. */
static inline float rcf_cut_between(double v, float base, float top) {
    float c = (float)v, before = rcf_float_before(c);
    c = (double)c > v ? before : c; /* takes half the time of a branch, which would be mispredicted */
    if (c >= top) c = rcf_float_before(top);
    if (!(c >= base)) c = base;
    assert(base <= c && c < top);
    return c == 0 ? 0.0f : c;
}

/* ---- incoming records --------------------------------------------------------------------------------------- */

/* Write x - origin to `row` as floats, padded with zeros. Adding zero turns -0.0 into 0.0, so that equal values have equal bits. */
static inline void rcf_narrow(float *row, const double *x, const double *origin, int dims, int stride) {
    for (int i = 0; i < dims; i++) row[i] = (float)(x[i] - origin[i]) + 0.0f;
    for (int i = dims; i < stride; i++) row[i] = 0.0f;
}

#endif
