/* One tree in memory, what a walk over it is worth, and the choice among the builds of the walks.
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
#include <stdlib.h>
#include <string.h>

#include "portable_math.h"

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

static int rcf_starved; /* set by tests: as if memory were used up */

enum { RCF_DEPTH, RCF_CODISP, RCF_DISPLACEMENT, RCF_OPENSEARCH };

/* What a descent reads of a node; what a climb reads stands apart, so that four steps of a descent fit into a cache line. */
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

/* In little memory, nodes of at most so many records have no box. With 256 records a tree, 4, 6 and 8 leave 0.42, 0.31 and 0.25 of
 * the boxes; with 6, to score and learn a record of 8 features takes 1.9 times as long, of 48 features 1.45 times. */
enum { RCF_SMALL = 6 };

/* The first RCF_TOP_LEVELS of a tree once more, side by side: a vector compares a record with all of their cuts at once. Place 1 is the
 * root, 2 k and 2 k + 1 are the children of place k; end[k - 16] is the node or leaf that would stand at place k, or the leaf above it. */
enum { RCF_TOP_LEVELS = 4, RCF_TOP = 1 << RCF_TOP_LEVELS };

typedef struct {
    float value[RCF_TOP];
    int32_t dim[RCF_TOP];
    int32_t end[RCF_TOP];
    int32_t depth[RCF_TOP]; /* of the ends */
} rcf_top;

typedef struct {
    rcf_top top;
    rcf_cut *cuts;
    rcf_node *nodes;
    float *boxes;  /* of the inner nodes */
    float *points; /* of the leaves */
    rcf_leaf *leaves;
    int32_t *box_at;  /* in little memory: where the box of each node stands, 0 for none; else NULL, box v is that of node v */
    void *box_memory; /* in little memory: what the boxes lie in; box 0 is scratch for those who change the tree */
    int32_t small;    /* nodes of at most so many records have no box: RCF_SMALL, or 0 */
    int32_t box_room, n_boxes; /* boxes that fit in memory now, and used so far */
    int32_t free_box;          /* head of the list of free ones, 0 for none */
    int32_t capacity;   /* leaves that fit in memory now */
    int32_t n_nodes, n_leaves;       /* used so far, the free ones among them included */
    int32_t free_node, free_leaf;    /* heads of the lists of free ones, -1 for none */
    int32_t root;       /* a node, or ~leaf */
    int32_t mass;
    int32_t dims, stride;
} rcf_tree;

/* A box on the way up that does not contain the record. */
typedef struct {
    double excess;
    int32_t node;
} rcf_step;

enum {
    RCF_PAIRS = 128, /* pairs that are scored at a time */
    RCF_CODISP_PAIRS = 8, /* of the codisp, which needs room for each level of each: this stays in the cache */
    RCF_STEPS = 24   /* open boxes that are kept of a pair; more are looked for again */
};

/* A tree, and a record that is to go through it. */
typedef struct {
    const rcf_tree *tree;
    const float *x;
} rcf_pair;

/* Pairs that are scored together, and what the walk found. */
typedef struct {
    rcf_pair pair[RCF_PAIRS];
    double score[RCF_PAIRS];
    int32_t leaf[RCF_PAIRS];   /* that x comes to */
    int32_t n_open[RCF_PAIRS]; /* of the pairs whose open boxes are kept: how many there are, from the leaf up */
    rcf_step open[RCF_PAIRS][RCF_STEPS + 1]; /* the first RCF_STEPS; the last place takes what is too much */
} rcf_walk;

static inline void rcf_keep_step(rcf_walk *w, int p, int32_t node, double excess) {
    int32_t k = w->n_open[p];
    rcf_step *step = &w->open[p][k < RCF_STEPS ? k : RCF_STEPS];
    step->excess = excess;
    step->node = node;
    w->n_open[p] = k + (excess != 0.0);
}

/* The rows of a batch that come to a node of the tree. */
typedef struct {
    int32_t node;
    int32_t begin, end;
    int32_t depth;
    int32_t first;  /* whether rows come to the first child: its span is then the next */
    int32_t second; /* the span of the second child, -1 for none */
    double above;   /* M of the codisp */
} rcf_span;

/* Room for a batch of rows on their way through a tree; each array has 8 places more than there are rows. */
typedef struct {
    int32_t *order, *spare, *done_row;
    double *value, *done_value;
    rcf_span *spans, *waiting; /* one for each node that rows come to: twice as many as rows */
    float *box;                /* scratch, for a box that is not in memory */
} rcf_sweep;

_Static_assert(sizeof(rcf_cut) == 16 && sizeof(rcf_node) == 16, "four to a cache line");
_Static_assert(sizeof(rcf_leaf) == 8, "leaves are packed");

RCF_INLINE double rcf_add_lanes(const double *s) {
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

/* The leaf x comes to. */
static inline int32_t rcf_descend(const rcf_tree *t, const float *x) {
    int32_t v = t->root;
    while (v >= 0) {
        const rcf_cut *cut = t->cuts + v;
        v = cut->child[x[cut->dim] > cut->value];
    }
    return ~v;
}

/* Write down the top of the tree again. */
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

/* The node or leaf v has come to where it is: write down the top again, if it stands there. */
static inline void rcf_renew_top(rcf_tree *t, int32_t v) {
    for (int level = 0; level <= RCF_TOP_LEVELS; level++) {
        v = v < 0 ? t->leaves[~v].parent : t->nodes[v].parent;
        if (v < 0) {
            rcf_fill_top(t);
            return;
        }
    }
}

/* ---- boxes in little memory ------------------------------------------------------------------------------ */

/* Of a node that has one. */
RCF_INLINE float *rcf_box(const rcf_tree *t, int32_t v) {
    return t->boxes + (size_t)(t->small ? t->box_at[v] : v) * 2 * t->stride;
}

/* Memory for that many boxes; 0 where there is none, and nothing has changed. */
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

/* Memory for one more box, growing by a sixteenth. */
static inline int rcf_box_ready(rcf_tree *t) {
    return t->free_box > 0 || t->n_boxes < t->box_room || rcf_box_reserve(t, t->box_room + t->box_room / 16 + 2);
}

/* A box for node v, where memory is ready. */
static inline float *rcf_box_take(rcf_tree *t, int32_t v) {
    int32_t at = t->free_box;
    assert(at > 0 || t->n_boxes < t->box_room);
    if (at > 0) memcpy(&t->free_box, t->boxes + (size_t)at * 2 * t->stride, sizeof(int32_t));
    else at = t->n_boxes++;
    t->box_at[v] = at;
    return rcf_box(t, v);
}

/* Node v has no box any more. */
static inline void rcf_box_drop(rcf_tree *t, int32_t v) {
    if (t->box_at[v] == 0) return;
    memcpy(rcf_box(t, v), &t->free_box, sizeof(int32_t));
    t->free_box = t->box_at[v];
    t->box_at[v] = 0;
}

/* Append to `lower` and `upper` the corners of boxes, the hull of which is that of v: its own, or the points below a node that has none. */
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

/* A way up a tree, for rcf_prefetch_paths. */
typedef struct {
    const rcf_tree *tree;
    int32_t at; /* the leaf to begin with, -1 for none; then the node on the way */
} rcf_path;

static inline void rcf_prefetch_l2(const void *p) { RCF_PREFETCH_L2(p); }

/* Bring the ways up from k leaves into the inner caches, a level of all of them at a time: the waits for memory overlap. */
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

/* The float before c. */
static inline float rcf_float_before(float c) {
    uint32_t b;
    memcpy(&b, &c, 4);
    b = (b << 1) == 0 ? 0x80000001u : b - 1 + 2 * (b >> 31);
    memcpy(&c, &b, 4);
    return c;
}

/* The largest float at or below v, at least `base` and below `top`: a cut between them, whatever the rounding.
 * Rounding down keeps the law exact: no float lies between v and the cut. */
static inline float rcf_cut_between(double v, float base, float top) {
    float c = (float)v, before = rcf_float_before(c);
    c = (double)c > v ? before : c; /* half the time: a branch would be guessed wrong */
    if (c >= top) c = rcf_float_before(top);
    if (!(c >= base)) c = base;
    assert(base <= c && c < top);
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
        const rcf_cut *cut = t->cuts + v;
        ratios[h++] = largest;
        int32_t next = cut->child[x[cut->dim] > cut->value];
        int32_t mass = next < 0 ? t->leaves[~next].mass : t->nodes[next].mass;
        double ratio = (double)(t->nodes[v].mass - mass) / (mass + 1.0);
        largest = ratio > largest ? ratio : largest;
        v = next;
    }
    return largest;
}

/* ---- the walks, one build per instruction set -------------------------------------------------------------- */

#define RCF_ISA(name) name##_portable
#define RCF_TARGET
#define RCF_WIDTH 0
#include "walks.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__)) && !defined(RCF_DEBUG)
#define RCF_X86
#include <immintrin.h>

#define RCF_ISA(name) name##_avx2
#define RCF_TARGET __attribute__((target("avx2")))
#define RCF_WIDTH 256
#include "walks.h"

#define RCF_ISA(name) name##_avx512
#define RCF_TARGET __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw")))
#define RCF_WIDTH 512
#include "walks.h"
#endif

/* The walks in use. They are called through pointers, not cloned by the compiler: this works with every compiler and
 * C library, and a test can go through all of them on one machine. */
typedef struct {
    void (*score_pairs)(int, rcf_walk *, int, int, double *, ptrdiff_t, int);
    void (*sweep_rows)(int, const rcf_tree *, const float *, int32_t, const rcf_sweep *, double *);
    int32_t (*open_boxes)(const rcf_tree *, const float *, int32_t, rcf_step *);
    void (*widen_path)(rcf_tree *, const float *, int32_t, int32_t);
    void (*shrink_path)(rcf_tree *, int32_t);
    int32_t (*find_gap)(const float *, const float *, const float *, int, double, double *);
    int (*all_within)(const double *, int64_t, double);
    double (*hull)(float *, const float *, const float *, const float *, const float *, int);
    double (*hull_of_children)(const rcf_tree *, int32_t, float *);
    double (*hull_of_rows)(float *, const float *, const int32_t *, int32_t, int32_t, int);
} rcf_walk_table;

static rcf_walk_table rcf_walks;

#define RCF_USE(isa)                                             \
    do {                                                         \
        rcf_walks.score_pairs = rcf_score_pairs_##isa;           \
        rcf_walks.sweep_rows = rcf_sweep_rows_##isa;             \
        rcf_walks.open_boxes = rcf_open_boxes_##isa;             \
        rcf_walks.widen_path = rcf_widen_path_##isa;             \
        rcf_walks.shrink_path = rcf_shrink_path_##isa;           \
        rcf_walks.find_gap = rcf_find_gap_##isa;                 \
        rcf_walks.all_within = rcf_all_within_##isa;             \
        rcf_walks.hull = rcf_hull_##isa;                         \
        rcf_walks.hull_of_children = rcf_hull_of_children_##isa; \
        rcf_walks.hull_of_rows = rcf_hull_of_rows_##isa;         \
    } while (0)

/* Use the walks for one instruction set: 0 portable, 1 AVX2, 2 AVX-512. Returns 0 where this machine lacks it. */
static int rcf_use_isa(int isa) {
    if (isa == 0) {
        RCF_USE(portable);
        return 1;
    }
#ifdef RCF_X86
    if (isa == 1 && __builtin_cpu_supports("avx2")) {
        RCF_USE(avx2);
        return 1;
    }
    if (isa == 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw")) {
        RCF_USE(avx512);
        return 1;
    }
#endif
    return 0;
}

/* ---- records at the door ------------------------------------------------------------------------------------ */

/* row = x - origin, as floats, padded with zeros. Adding zero turns -0.0 into 0.0: equal values have equal bits. */
static inline void rcf_narrow(float *row, const double *x, const double *origin, int dims, int stride) {
    for (int i = 0; i < dims; i++) row[i] = (float)(x[i] - origin[i]) + 0.0f;
    for (int i = dims; i < stride; i++) row[i] = 0.0f;
}

#endif
