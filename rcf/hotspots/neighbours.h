/* The records within a radius of a point, while records come and go, the oldest first.
 *
 * Up to 3 features: a hashed grid with cells a little wider than the radius, so that whatever is near lies in the
 * cell or next to it. Above, 3^d cells are too many to look at: a tree of boxes, each around the records below it,
 * split at the median of its widest side and built anew, part by part, where it has grown lopsided.
 *
 * "Within" is sum (x - y)^2 <= radius^2 in doubles, for up to 3 features added in the order of the features: then also
 * a record at exactly the radius is judged as by the k-d tree of scikit-learn.
 */
#ifndef RCF_NEIGHBOURS_H
#define RCF_NEIGHBOURS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#if defined(__GNUC__)
#define RCF_PREFETCH(p) __builtin_prefetch(p)
#else
#define RCF_PREFETCH(p) ((void)0)
#endif

enum {
    RCF_AXES = 3,    /* features that the grid can take */
    RCF_CELLS = 16,  /* cells of a block: their heads are one cache line, and a ball meets 2.25 blocks on average in the plane */
    RCF_BUCKET = 16  /* records of a leaf of the tree */
};

/* Cells are numbered from the first record; what lies beyond this many shares the outermost cells. */
#define RCF_FAR 1099511627776.0 /* 2^40 */

/* A record and what is known of it lie together: with up to 3 features in one cache line, of which a look at a neighbour then
 * touches no second one. */
typedef struct {
    int64_t mark;    /* the group of the last search that came here (this and what follows belong to _dbscan.h) */
    int32_t count;   /* records within the radius, itself included */
    int32_t core;    /* 1 or 0 */
    int32_t owner;   /* of a core: its region; of a border record: its core; of noise: -1 */
    int32_t prev, next; /* among the cores of the region, or the border records of the core */
    int32_t borders; /* of a core: the first of its border records, or -1 */
    int32_t follow;  /* next in a list of the search */
    int32_t younger; /* the next younger record of its cell of the grid, the oldest after the newest */
    double point[];
} rcf_record;

typedef struct {
    int64_t at[RCF_AXES];
    int32_t newest[RCF_CELLS]; /* of a cell, -1 for an empty one; its records are a ring, the newest is followed by the oldest */
    int32_t records;           /* in the block; of a free block, the next free one */
} rcf_block;

typedef struct {
    int32_t child[2]; /* x[dim] <= cut goes to child[0]; a leaf has -1 */
    int32_t parent;   /* of a free node, the next free one */
    int32_t dim;
    double cut;
    int32_t mass;     /* records below */
    int32_t changes;  /* records that came or went since it was built */
    int32_t bucket;   /* of a leaf: the bucket that takes the next record */
} rcf_box_node;

typedef struct {
    int32_t slot[RCF_BUCKET];
    int32_t size;
    int32_t leaf;
    int32_t next; /* only a leaf of equal records has more than one; of a free bucket, the next free one */
} rcf_bucket;

typedef struct {
    int dims;
    double radius2, per_side;
    double *origin;  /* the first record: numbers cells */
    char *rows;      /* capacity records of `stride` bytes, on a cache line */
    void *memory;
    size_t stride;
    int32_t capacity, size;

    int bits[RCF_AXES]; /* a block is 2^bits cells long */
    rcf_block *blocks;
    int32_t *table;     /* open addressing: block or -1 */
    uint32_t mask;
    uint64_t salt;      /* of the hash: records cannot be made up so that all their cells meet in it; decides nothing else */
    int32_t n_blocks, free_block;

    rcf_box_node *nodes;
    double *boxes;      /* (2 * capacity, 2, dims): lower and upper corner */
    rcf_bucket *buckets;
    int32_t *bucket_of; /* the record's bucket ... */
    int32_t *place_of;  /* ... and its place there */
    int32_t *spare;     /* (2 * capacity) */
    int32_t *pending;   /* (2 * capacity) */
    int32_t n_nodes, free_node, n_buckets, free_bucket, root;
} rcf_index;

static inline double rcf_distance2(const double *a, const double *b, int dims) {
    double sum = 0.0, lane[4] = {0.0, 0.0, 0.0, 0.0};
    int i = 0;
    if (dims <= RCF_AXES) {
        for (; i < dims; i++) sum += (a[i] - b[i]) * (a[i] - b[i]);
        return sum;
    }
    for (; i + 4 <= dims; i += 4)
        for (int k = 0; k < 4; k++) lane[k] += (a[i + k] - b[i + k]) * (a[i + k] - b[i + k]);
    for (; i < dims; i++) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + sum;
}

static inline rcf_record *rcf_record_at(const rcf_index *x, int32_t slot) {
    return (rcf_record *)(x->rows + (size_t)slot * x->stride);
}

static inline double *rcf_point_at(const rcf_index *x, int32_t slot) { return rcf_record_at(x, slot)->point; }

/* ---- the grid ------------------------------------------------------------------------------------------------ */

/* One more factor than the radius: with numbers of cells below 2^40 the rounding of a difference is below 2^-12 cells. */
#define RCF_CELL_MARGIN (1.0 + 1.0 / 1024)

static inline int64_t rcf_cell(const rcf_index *x, const double *point, int axis) {
    double q = (point[axis] - x->origin[axis]) * x->per_side;
    if (!(q < RCF_FAR)) q = RCF_FAR;
    if (q < -RCF_FAR) q = -RCF_FAR;
    int64_t cell = (int64_t)q;
    return cell - (q < (double)cell);
}

static inline uint32_t rcf_hash(const rcf_index *x, const int64_t *at) {
    uint64_t h = ((uint64_t)at[0] ^ x->salt) * 0x9e3779b97f4a7c15ULL;
    h = (h ^ (h >> 32) ^ (uint64_t)at[1]) * 0xbf58476d1ce4e5b9ULL;
    h = (h ^ (h >> 32) ^ (uint64_t)at[2]) * 0x94d049bb133111ebULL;
    return (uint32_t)(h >> 32);
}

static inline int rcf_is_at(const rcf_block *b, const int64_t *at) {
    return b->at[0] == at[0] && b->at[1] == at[1] && b->at[2] == at[2];
}

static inline int32_t rcf_find_block(const rcf_index *x, const int64_t *at) {
    for (uint32_t i = rcf_hash(x, at) & x->mask;; i = (i + 1) & x->mask) {
        int32_t b = x->table[i];
        if (b < 0 || rcf_is_at(&x->blocks[b], at)) return b;
    }
}

static void rcf_enter_table(rcf_index *x, int32_t b) {
    uint32_t i = rcf_hash(x, x->blocks[b].at) & x->mask;
    while (x->table[i] >= 0) i = (i + 1) & x->mask;
    x->table[i] = b;
}

static void rcf_leave_table(rcf_index *x, int32_t b) {
    uint32_t hole = rcf_hash(x, x->blocks[b].at) & x->mask;
    while (x->table[hole] != b) hole = (hole + 1) & x->mask;
    /* what follows without a gap moves up where its own place allows it, so that no search ends early */
    for (uint32_t i = (hole + 1) & x->mask; x->table[i] >= 0; i = (i + 1) & x->mask) {
        uint32_t home = rcf_hash(x, x->blocks[x->table[i]].at) & x->mask;
        if (((i - home) & x->mask) >= ((i - hole) & x->mask)) {
            x->table[hole] = x->table[i];
            hole = i;
        }
    }
    x->table[hole] = -1;
}

static inline int rcf_locate(const rcf_index *x, const double *point, int64_t *at) {
    int cell = 0;
    for (int j = 0; j < RCF_AXES; j++) {
        int64_t c = j < x->dims ? rcf_cell(x, point, j) : 0;
        at[j] = c >> x->bits[j];
        cell = (cell << x->bits[j]) | (int)(c & ((1 << x->bits[j]) - 1));
    }
    return cell;
}

static void rcf_grid_insert(rcf_index *x, int32_t slot) {
    int64_t at[RCF_AXES];
    int cell = rcf_locate(x, rcf_point_at(x, slot), at);
    int32_t b = rcf_find_block(x, at);
    if (b < 0) {
        b = x->free_block;
        if (b >= 0) x->free_block = x->blocks[b].records;
        else b = x->n_blocks++;
        memcpy(x->blocks[b].at, at, sizeof at);
        for (int i = 0; i < RCF_CELLS; i++) x->blocks[b].newest[i] = -1;
        x->blocks[b].records = 0;
        rcf_enter_table(x, b);
    }
    int32_t newest = x->blocks[b].newest[cell];
    if (newest < 0) rcf_record_at(x, slot)->younger = slot;
    else {
        rcf_record_at(x, slot)->younger = rcf_record_at(x, newest)->younger;
        rcf_record_at(x, newest)->younger = slot;
    }
    x->blocks[b].newest[cell] = slot;
    x->blocks[b].records++;
}

/* The oldest record of all is the oldest of its cell. */
static void rcf_grid_remove(rcf_index *x, int32_t slot) {
    int64_t at[RCF_AXES];
    int cell = rcf_locate(x, rcf_point_at(x, slot), at);
    int32_t b = rcf_find_block(x, at), newest = x->blocks[b].newest[cell];
    if (newest == slot) x->blocks[b].newest[cell] = -1;
    else rcf_record_at(x, newest)->younger = rcf_record_at(x, slot)->younger;
    if (--x->blocks[b].records == 0) {
        rcf_leave_table(x, b);
        x->blocks[b].records = x->free_block;
        x->free_block = b;
    }
}

static int32_t rcf_grid_within(const rcf_index *x, const double *point, int32_t *found, double *distance2) {
    int64_t low[RCF_AXES], high[RCF_AXES], at[RCF_AXES], from[RCF_AXES], to[RCF_AXES];
    int32_t n = 0, here[27], newest[27];
    int cells = 0;
    for (int j = 0; j < RCF_AXES; j++) {
        int64_t c = j < x->dims ? rcf_cell(x, point, j) : 0;
        low[j] = j < x->dims ? c - 1 : 0;
        high[j] = j < x->dims ? c + 1 : 0;
    }
    for (at[0] = low[0] >> x->bits[0]; at[0] <= high[0] >> x->bits[0]; at[0]++)
    for (at[1] = low[1] >> x->bits[1]; at[1] <= high[1] >> x->bits[1]; at[1]++)
    for (at[2] = low[2] >> x->bits[2]; at[2] <= high[2] >> x->bits[2]; at[2]++) {
        int32_t b = rcf_find_block(x, at);
        if (b < 0) continue;
        for (int j = 0; j < RCF_AXES; j++) { /* the part of the 3^d cells that lies in this block */
            int64_t first = at[j] * ((int64_t)1 << x->bits[j]), last = first + (1 << x->bits[j]) - 1;
            from[j] = (low[j] > first ? low[j] : first) - first;
            to[j] = (high[j] < last ? high[j] : last) - first;
        }
        for (int64_t i = from[0]; i <= to[0]; i++)
        for (int64_t j = from[1]; j <= to[1]; j++)
        for (int64_t k = from[2]; k <= to[2]; k++) {
            int32_t slot = x->blocks[b].newest[(((i << x->bits[1]) | j) << x->bits[2]) | k];
            if (slot < 0) continue;
            RCF_PREFETCH(rcf_record_at(x, slot));
            here[cells] = newest[cells] = slot;
            cells++;
        }
    }
    /* One record of each cell in turn: the waits for memory of different cells overlap, those along a cell cannot.
     * With a million records in the window, where most looks miss the caches, that takes a third off an update. */
    while (cells) {
        for (int c = 0; c < cells; c++) {
            here[c] = rcf_record_at(x, here[c])->younger;
            RCF_PREFETCH(rcf_record_at(x, here[c]));
        }
        int kept = 0;
        for (int c = 0; c < cells; c++) {
            int32_t slot = here[c], last = newest[c];
            double d2 = rcf_distance2(point, rcf_point_at(x, slot), x->dims);
            found[n] = slot;
            distance2[n] = d2;
            n += d2 <= x->radius2;
            here[kept] = slot;
            newest[kept] = last;
            kept += slot != last;
        }
        cells = kept;
    }
    return n;
}

/* ---- the tree ------------------------------------------------------------------------------------------------ */

static inline double *rcf_lower(const rcf_index *x, int32_t v) { return x->boxes + (size_t)v * 2 * x->dims; }
static inline double *rcf_upper(const rcf_index *x, int32_t v) { return x->boxes + (size_t)v * 2 * x->dims + x->dims; }

static int32_t rcf_new_box_node(rcf_index *x) {
    int32_t v = x->free_node;
    if (v >= 0) x->free_node = x->nodes[v].parent;
    else v = x->n_nodes++;
    return v;
}

static void rcf_free_box_node(rcf_index *x, int32_t v) {
    x->nodes[v].parent = x->free_node;
    x->free_node = v;
}

/* A new bucket at the head of those of a leaf. */
static void rcf_new_bucket(rcf_index *x, int32_t leaf) {
    int32_t b = x->free_bucket;
    if (b >= 0) x->free_bucket = x->buckets[b].next;
    else b = x->n_buckets++;
    x->buckets[b].size = 0;
    x->buckets[b].leaf = leaf;
    x->buckets[b].next = x->nodes[leaf].bucket;
    x->nodes[leaf].bucket = b;
}

static void rcf_free_head_bucket(rcf_index *x, int32_t leaf) {
    int32_t b = x->nodes[leaf].bucket;
    x->nodes[leaf].bucket = x->buckets[b].next;
    x->buckets[b].next = x->free_bucket;
    x->free_bucket = b;
}

static void rcf_put(rcf_index *x, int32_t leaf, int32_t slot) {
    if (x->nodes[leaf].bucket < 0 || x->buckets[x->nodes[leaf].bucket].size == RCF_BUCKET) rcf_new_bucket(x, leaf);
    int32_t b = x->nodes[leaf].bucket;
    x->bucket_of[slot] = b;
    x->place_of[slot] = x->buckets[b].size;
    x->buckets[b].slot[x->buckets[b].size++] = slot;
}

static void rcf_cover(rcf_index *x, int32_t v, const double *point) {
    double *lower = rcf_lower(x, v), *upper = rcf_upper(x, v);
    for (int j = 0; j < x->dims; j++) {
        if (point[j] < lower[j]) lower[j] = point[j];
        if (point[j] > upper[j]) upper[j] = point[j];
    }
}

static int rcf_widest(const rcf_index *x, int32_t v) {
    const double *lower = rcf_lower(x, v), *upper = rcf_upper(x, v);
    int widest = -1;
    double most = 0.0;
    for (int j = 0; j < x->dims; j++)
        if (upper[j] - lower[j] > most) {
            most = upper[j] - lower[j];
            widest = j;
        }
    return widest; /* -1: all its records are equal */
}

/* The value of rank k in one feature among the n slots, which are reordered. */
static double rcf_select(const rcf_index *x, int32_t *slots, int32_t n, int32_t k, int dim) {
    for (;;) {
        double a = rcf_point_at(x, slots[0])[dim], b = rcf_point_at(x, slots[n / 2])[dim],
               c = rcf_point_at(x, slots[n - 1])[dim];
        double pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
        int32_t below = 0, i = 0, above = n;
        while (i < above) {
            double v = rcf_point_at(x, slots[i])[dim];
            int32_t s = slots[i];
            if (v < pivot) {
                slots[i++] = slots[below];
                slots[below++] = s;
            } else if (v > pivot) {
                slots[i] = slots[--above];
                slots[above] = s;
            } else i++;
        }
        if (k < below) n = below;
        else if (k < above) return pivot;
        else {
            slots += above;
            n -= above;
            k -= above;
        }
    }
}

/* Make node v the tree over these n >= 1 slots. */
static void rcf_build_boxes(rcf_index *x, int32_t v, int32_t *slots, int32_t n) {
    for (;;) {
        rcf_box_node *node = &x->nodes[v];
        memcpy(rcf_lower(x, v), rcf_point_at(x, slots[0]), x->dims * sizeof(double));
        memcpy(rcf_upper(x, v), rcf_point_at(x, slots[0]), x->dims * sizeof(double));
        for (int32_t i = 1; i < n; i++) rcf_cover(x, v, rcf_point_at(x, slots[i]));
        node->mass = n;
        node->changes = 0;
        node->child[0] = node->child[1] = node->bucket = -1;
        int dim = n <= RCF_BUCKET ? -1 : rcf_widest(x, v);
        if (dim < 0) {
            for (int32_t i = 0; i < n; i++) rcf_put(x, v, slots[i]);
            return;
        }
        double cut = rcf_select(x, slots, n, (n - 1) / 2, dim), top = rcf_upper(x, v)[dim];
        if (cut == top) { /* half of them or more are there: they go right, the rest left */
            cut = rcf_lower(x, v)[dim];
            for (int32_t i = 0; i < n; i++) {
                double value = rcf_point_at(x, slots[i])[dim];
                if (value < top && value > cut) cut = value;
            }
        }
        int32_t left = 0;
        for (int32_t i = 0; i < n; i++)
            if (rcf_point_at(x, slots[i])[dim] <= cut) {
                int32_t s = slots[i];
                slots[i] = slots[left];
                slots[left++] = s;
            }
        int32_t a = rcf_new_box_node(x), b = rcf_new_box_node(x);
        node->dim = dim;
        node->cut = cut;
        node->child[0] = a;
        node->child[1] = b;
        x->nodes[a].parent = x->nodes[b].parent = v;
        if (left <= n - left) { /* recursion into the smaller part is at most log2 n deep */
            rcf_build_boxes(x, a, slots, left);
            v = b;
            slots += left;
            n -= left;
        } else {
            rcf_build_boxes(x, b, slots + left, n - left);
            v = a;
            n = left;
        }
    }
}

static void rcf_rebuild_boxes(rcf_index *x, int32_t v) {
    int32_t n = 0, waiting = 0;
    x->pending[waiting++] = v;
    while (waiting) {
        int32_t u = x->pending[--waiting];
        if (x->nodes[u].child[0] < 0) {
            while (x->nodes[u].bucket >= 0) {
                const rcf_bucket *b = &x->buckets[x->nodes[u].bucket];
                for (int32_t i = 0; i < b->size; i++) x->spare[n++] = b->slot[i];
                rcf_free_head_bucket(x, u);
            }
        } else {
            x->pending[waiting++] = x->nodes[u].child[0];
            x->pending[waiting++] = x->nodes[u].child[1];
        }
        if (u != v) rcf_free_box_node(x, u);
    }
    rcf_build_boxes(x, v, x->spare, n);
}

/* Worth building anew: one side holds most of it, and half of it has changed since it was built. Without the second
 * condition a node over many equal records, which no cut can share out, would be built for every record. */
static inline int rcf_lopsided(const rcf_index *x, int32_t v) {
    const rcf_box_node *node = &x->nodes[v];
    int32_t a = x->nodes[node->child[0]].mass, b = x->nodes[node->child[1]].mass;
    return 2 * (int64_t)node->changes > node->mass + 2 * RCF_BUCKET && 0.7 * node->mass + RCF_BUCKET < (a > b ? a : b);
}

static void rcf_tree_index_insert(rcf_index *x, int32_t slot) {
    const double *point = rcf_point_at(x, slot);
    int32_t v = x->root, lopsided = -1;
    if (v < 0) {
        x->root = v = rcf_new_box_node(x);
        x->nodes[v].parent = -1;
        x->spare[0] = slot;
        rcf_build_boxes(x, v, x->spare, 1);
        return;
    }
    for (;;) {
        rcf_box_node *node = &x->nodes[v];
        node->mass++;
        node->changes++;
        rcf_cover(x, v, point);
        if (node->child[0] < 0) break;
        if (lopsided < 0 && rcf_lopsided(x, v)) lopsided = v;
        v = node->child[point[node->dim] > node->cut];
    }
    rcf_put(x, v, slot);
    if (lopsided >= 0) rcf_rebuild_boxes(x, lopsided);
    else if (x->nodes[v].mass > RCF_BUCKET && rcf_widest(x, v) >= 0) rcf_rebuild_boxes(x, v);
}

static int rcf_on_face(const rcf_index *x, int32_t v, const double *point) {
    const double *lower = rcf_lower(x, v), *upper = rcf_upper(x, v);
    for (int j = 0; j < x->dims; j++)
        if (point[j] == lower[j] || point[j] == upper[j]) return 1;
    return 0;
}

static void rcf_tree_index_remove(rcf_index *x, int32_t slot) {
    const double *point = rcf_point_at(x, slot);
    int32_t hole = x->bucket_of[slot], leaf = x->buckets[hole].leaf, head = x->nodes[leaf].bucket;
    /* the last record of the head bucket takes its place */
    int32_t last = x->buckets[head].slot[--x->buckets[head].size];
    x->buckets[hole].slot[x->place_of[slot]] = last;
    x->bucket_of[last] = hole;
    x->place_of[last] = x->place_of[slot];
    if (x->buckets[head].size == 0) rcf_free_head_bucket(x, leaf);

    int32_t v = leaf, anew = -1;
    int shrinks = 1;
    if (--x->nodes[leaf].mass == 0) {
        int32_t parent = x->nodes[leaf].parent;
        rcf_free_box_node(x, leaf);
        if (parent < 0) {
            x->root = -1;
            return;
        }
        int32_t sibling = x->nodes[parent].child[x->nodes[parent].child[0] == leaf], above = x->nodes[parent].parent;
        x->nodes[sibling].parent = above;
        if (above < 0) x->root = sibling;
        else x->nodes[above].child[x->nodes[above].child[1] == parent] = sibling;
        rcf_free_box_node(x, parent);
        v = above;
    } else {
        x->nodes[leaf].changes++;
        shrinks = rcf_widest(x, leaf) >= 0 && rcf_on_face(x, leaf, point);
        if (shrinks) {
            int32_t b = x->nodes[leaf].bucket, first = 1;
            for (; b >= 0; b = x->buckets[b].next)
                for (int32_t i = 0; i < x->buckets[b].size; i++) {
                    const double *p = rcf_point_at(x, x->buckets[b].slot[i]);
                    if (first) {
                        memcpy(rcf_lower(x, leaf), p, x->dims * sizeof(double));
                        memcpy(rcf_upper(x, leaf), p, x->dims * sizeof(double));
                        first = 0;
                    } else rcf_cover(x, leaf, p);
                }
        }
        v = x->nodes[leaf].parent;
    }
    for (; v >= 0; v = x->nodes[v].parent) {
        rcf_box_node *node = &x->nodes[v];
        node->mass--;
        node->changes++;
        shrinks = shrinks && rcf_on_face(x, v, point);
        if (shrinks) {
            memcpy(rcf_lower(x, v), rcf_lower(x, node->child[0]), 2 * (size_t)x->dims * sizeof(double));
            rcf_cover(x, v, rcf_lower(x, node->child[1]));
            rcf_cover(x, v, rcf_upper(x, node->child[1]));
        }
        if (node->mass <= RCF_BUCKET / 2 || rcf_lopsided(x, v)) anew = v;
    }
    if (anew >= 0) rcf_rebuild_boxes(x, anew);
}

static inline int rcf_box_within(const rcf_index *x, int32_t v, const double *point) {
    const double *lower = rcf_lower(x, v), *upper = rcf_upper(x, v);
    double sum = 0.0;
    for (int j = 0; j < x->dims; j++) {
        double out = lower[j] > point[j] ? lower[j] - point[j] : point[j] > upper[j] ? point[j] - upper[j] : 0.0;
        sum += out * out;
        /* sums in another order than the distance: leave room for its rounding */
        if (sum > x->radius2 * (1.0 + 1e-12)) return 0;
    }
    return 1;
}

static int32_t rcf_tree_within(const rcf_index *x, const double *point, int32_t *found, double *distance2) {
    int32_t n = 0, waiting = 0;
    if (x->root >= 0) x->pending[waiting++] = x->root;
    while (waiting) {
        int32_t v = x->pending[--waiting];
        if (!rcf_box_within(x, v, point)) continue;
        if (x->nodes[v].child[0] >= 0) {
            x->pending[waiting++] = x->nodes[v].child[0];
            x->pending[waiting++] = x->nodes[v].child[1];
            continue;
        }
        for (int32_t b = x->nodes[v].bucket; b >= 0; b = x->buckets[b].next)
            for (int32_t i = 0; i < x->buckets[b].size; i++) {
                int32_t slot = x->buckets[b].slot[i];
                double d2 = rcf_distance2(point, rcf_point_at(x, slot), x->dims);
                if (d2 <= x->radius2) {
                    found[n] = slot;
                    distance2[n++] = d2;
                }
            }
    }
    return n;
}

/* ---- either -------------------------------------------------------------------------------------------------- */

static inline void rcf_index_insert(rcf_index *x, int32_t slot) {
    if (x->size++ == 0) memcpy(x->origin, rcf_point_at(x, slot), x->dims * sizeof(double));
    if (x->dims <= RCF_AXES) rcf_grid_insert(x, slot);
    else rcf_tree_index_insert(x, slot);
}

/* Take out the oldest record. */
static inline void rcf_index_remove(rcf_index *x, int32_t slot) {
    x->size--;
    if (x->dims <= RCF_AXES) rcf_grid_remove(x, slot);
    else rcf_tree_index_remove(x, slot);
}

/* The records within the radius of the point, with their squared distances; returns how many. */
static inline int32_t rcf_within(const rcf_index *x, const double *point, int32_t *found, double *distance2) {
    return x->dims <= RCF_AXES ? rcf_grid_within(x, point, found, distance2)
                               : rcf_tree_within(x, point, found, distance2);
}

/* Make *array hold n items; 0 if there is no memory, and then it is as it was. */
static int rcf_resize(void *array, size_t n, size_t item) {
    void *old, *fresh;
    memcpy(&old, array, sizeof old);
    if (item && n > SIZE_MAX / item) return 0;
    fresh = realloc(old, n > 0 ? n * item : 1);
    if (!fresh) return 0;
    memcpy(array, &fresh, sizeof fresh);
    return 1;
}

/* Ask for large pages, where the system gives them: with a million records in the window, looks miss the cache of page numbers too.
 * Returns the memory. */
static void *rcf_large_pages(void *memory, size_t size) {
#ifdef MADV_HUGEPAGE
    size_t page = (size_t)2 << 20, start = ((uintptr_t)memory + page - 1) & ~(page - 1), end = ((uintptr_t)memory + size) & ~(page - 1);
    if (memory != NULL && start < end) madvise((void *)start, end - start, MADV_HUGEPAGE); /* a wish; where it is not granted, all goes on */
#else
    (void)size;
#endif
    return memory;
}

static int rcf_index_open(rcf_index *x, int dims, double radius) {
    static const int bits[RCF_AXES][RCF_AXES] = {{4, 0, 0}, {2, 2, 0}, {2, 1, 1}};
    memset(x, 0, sizeof *x);
    x->dims = dims;
    x->stride = sizeof(rcf_record) + dims * sizeof(double);
    if (x->stride < 64) x->stride = 64;
    x->radius2 = radius * radius;
    x->per_side = 1.0 / (radius * RCF_CELL_MARGIN);
    if (dims <= RCF_AXES) memcpy(x->bits, bits[dims - 1], sizeof x->bits);
    x->free_block = x->free_node = x->free_bucket = x->root = -1;
    return rcf_resize(&x->origin, dims, sizeof(double));
}

static int rcf_index_reserve(rcf_index *x, int32_t capacity) {
    size_t n = capacity;
    if (capacity > x->capacity) {
        if (n > (SIZE_MAX - 64) / x->stride) return 0;
        void *memory = rcf_large_pages(malloc(n * x->stride + 63), n * x->stride + 63);
        if (!memory) return 0;
        char *rows = (char *)(((uintptr_t)memory + 63) & ~(uintptr_t)63);
        if (x->rows) memcpy(rows, x->rows, x->capacity * x->stride);
        free(x->memory);
        x->memory = memory;
        x->rows = rows;
        x->capacity = capacity;
    }
    if (x->dims <= RCF_AXES) {
        uint32_t slots = 4;
        while (slots < 2 * n) slots *= 2;
        if (!rcf_resize(&x->blocks, n, sizeof *x->blocks)) return 0;
        rcf_large_pages(x->blocks, n * sizeof *x->blocks);
        if (slots - 1 != x->mask) {
            int32_t *table = rcf_large_pages(malloc(slots * sizeof *table), slots * sizeof *table), *old = x->table;
            uint32_t old_slots = old ? x->mask + 1 : 0;
            if (!table) return 0;
            memset(table, 0xff, slots * sizeof *table);
            x->table = table;
            x->mask = slots - 1;
            for (uint32_t i = 0; i < old_slots; i++)
                if (old[i] >= 0) rcf_enter_table(x, old[i]);
            free(old);
        }
    } else if (!rcf_resize(&x->nodes, 2 * n, sizeof *x->nodes) || !rcf_resize(&x->buckets, n, sizeof *x->buckets)
               || !rcf_resize(&x->boxes, 4 * n * x->dims, sizeof(double))
               || !rcf_resize(&x->bucket_of, n, sizeof(int32_t)) || !rcf_resize(&x->place_of, n, sizeof(int32_t))
               || !rcf_resize(&x->spare, 2 * n, sizeof(int32_t)) || !rcf_resize(&x->pending, 2 * n, sizeof(int32_t)))
        return 0;
    return 1;
}

static void rcf_index_close(rcf_index *x) {
    free(x->origin), free(x->memory), free(x->blocks), free(x->table);
    free(x->nodes), free(x->boxes), free(x->buckets), free(x->bucket_of), free(x->place_of), free(x->spare), free(x->pending);
    memset(x, 0, sizeof *x);
}

#endif
