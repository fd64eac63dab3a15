/* The data of a walk, which goes through pairs of a tree and a record, or takes a batch of rows through one tree. */
#ifndef RCF_WALK_H
#define RCF_WALK_H

#include "tree.h"

/* An open box: a box on the way up that does not contain the record. */
typedef struct {
    double excess;
    int32_t node;
} rcf_step;

enum {
    RCF_PAIRS = 128, /* pairs that are scored at a time */
    RCF_CODISP_PAIRS = 16, /* pairs at a time for the codisp; its numbers, one per level and pair, stay in the cache for 16 pairs */
    RCF_STEPS = 24   /* number of open boxes that are kept for a pair; if there are more, all are found again */
};

/* Where the trees of the pairs are: all pairs share one tree, or their trees are near (in the inner caches), or each pair has its
 * own tree, which is far (outside the inner caches) or cold (in no cache). */
enum { RCF_ONE_TREE, RCF_NEAR_TREES, RCF_FAR_TREES, RCF_COLD_TREES };

/* A tree, and a record that walks through it. */
typedef struct {
    const rcf_tree *tree;
    const float *x;
} rcf_pair;

/* Pairs that are scored together, and the results of the walk. */
typedef struct {
    rcf_pair pair[RCF_PAIRS];
    double score[RCF_PAIRS];
    int32_t leaf[RCF_PAIRS];   /* the leaf that x reaches */
    int32_t n_open[RCF_PAIRS]; /* number of open boxes of each pair, if they are kept */
    /* the first RCF_STEPS open boxes of each pair, from the leaf up; further ones share the last place */
    rcf_step open[RCF_PAIRS][RCF_STEPS + 1];
} rcf_walk;

static inline void rcf_keep_step(rcf_walk *w, int p, int32_t node, double excess) {
    int32_t k = w->n_open[p];
    rcf_step *step = &w->open[p][k < RCF_STEPS ? k : RCF_STEPS];
    step->excess = excess;
    step->node = node;
    w->n_open[p] = k + (excess != 0.0);
}

/* Prefetch the points and nodes in the subtrees without boxes around the leaves of n pairs in the compact layout. */
static inline void rcf_prefetch_small(const rcf_walk *w, int n) {
    rcf_front fronts[RCF_PAIRS];
    for (int p = 0; p < n; p++) {
        const rcf_tree *t = w->pair[p].tree;
        RCF_PREFETCH(rcf_short_of(t, w->leaf[p]));
        RCF_PREFETCH(t->points + (size_t)w->leaf[p] * t->stride);
    }
    for (int p = 0; p < n; p++) {
        int32_t root = rcf_small_root(w->pair[p].tree, w->leaf[p]);
        fronts[p].tree = w->pair[p].tree;
        fronts[p].n = 0;
        if (root >= 0) rcf_front_add(fronts + p, root);
    }
    rcf_prefetch_below(fronts, n);
}

/* The rows of a batch that reach a node of the tree. */
typedef struct {
    int32_t node;
    int32_t begin, end;
    int32_t depth;
    int32_t first;  /* whether rows reach the first child; its span is then the next one */
    int32_t second; /* the span of the second child, or -1 if no rows reach it */
    double above;   /* M of the codisp */
} rcf_span;

/* Scratch space for a batch of rows in a tree; each array has 16 places more than there are rows. */
typedef struct {
    int32_t *order, *spare, *done_row;
    double *value, *done_value;
    rcf_span *spans, *waiting; /* one for each node that rows reach, at most twice the number of rows */
    double *wide;              /* a box as doubles */
    float *box;                /* room to compute a box that the tree does not store */
} rcf_sweep;

#endif
