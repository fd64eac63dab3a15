/* A tree of bounding boxes, for more than three features, where a grid would have to search 3^d cells. Each box bounds the records
 * below it and is split at the median of its widest side. Parts of the tree that have become unbalanced are rebuilt. */
#ifndef RCF_BOXTREE_H
#define RCF_BOXTREE_H

#include "points.h"

/* In the tree, the place of a record is its slot. */
static inline double *rcf_row(const rcf_index *x, int32_t slot) { return rcf_entry_at(x, slot)->point; }

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

/* Add a bucket at the head of the list of buckets of a leaf. */
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
    return widest; /* -1 if all records are equal */
}

/* The value of rank k in feature `dim` among n slots. Reorders the slots. */
static double rcf_select(const rcf_index *x, int32_t *slots, int32_t n, int32_t k, int dim) {
    for (;;) {
        double a = rcf_row(x, slots[0])[dim], b = rcf_row(x, slots[n / 2])[dim],
               c = rcf_row(x, slots[n - 1])[dim];
        double pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
        int32_t below = 0, i = 0, above = n;
        while (i < above) {
            double v = rcf_row(x, slots[i])[dim];
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

/* Build the tree of n >= 1 slots at node v. */
static void rcf_build_boxes(rcf_index *x, int32_t v, int32_t *slots, int32_t n) {
    for (;;) {
        rcf_box_node *node = &x->nodes[v];
        memcpy(rcf_lower(x, v), rcf_row(x, slots[0]), x->dims * sizeof(double));
        memcpy(rcf_upper(x, v), rcf_row(x, slots[0]), x->dims * sizeof(double));
        for (int32_t i = 1; i < n; i++) rcf_cover(x, v, rcf_row(x, slots[i]));
        node->mass = n;
        node->changes = 0;
        node->child[0] = node->child[1] = node->bucket = -1;
        int dim = n <= RCF_BUCKET ? -1 : rcf_widest(x, v);
        if (dim < 0) {
            for (int32_t i = 0; i < n; i++) rcf_put(x, v, slots[i]);
            return;
        }
        double cut = rcf_select(x, slots, n, (n - 1) / 2, dim), top = rcf_upper(x, v)[dim];
        if (cut == top) { /* at least half of the records have this value; they go right and the others left */
            cut = rcf_lower(x, v)[dim];
            for (int32_t i = 0; i < n; i++) {
                double value = rcf_row(x, slots[i])[dim];
                if (value < top && value > cut) cut = value;
            }
        }
        int32_t left = 0;
        for (int32_t i = 0; i < n; i++)
            if (rcf_row(x, slots[i])[dim] <= cut) {
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
        if (left <= n - left) { /* recursion into the smaller part only is at most log2 n deep */
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

/* A node is rebuilt if one side holds most of its records and half of them have changed since it was built. Without the second
 * condition, a node over many equal records, which no cut can divide, would be rebuilt for every record. */
static inline int rcf_lopsided(const rcf_index *x, int32_t v) {
    const rcf_box_node *node = &x->nodes[v];
    int32_t a = x->nodes[node->child[0]].mass, b = x->nodes[node->child[1]].mass;
    return 2 * (int64_t)node->changes > node->mass + 2 * RCF_BUCKET && 0.7 * node->mass + RCF_BUCKET < (a > b ? a : b);
}

static void rcf_tree_index_insert(rcf_index *x, int32_t slot) {
    const double *point = rcf_row(x, slot);
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
    const double *point = rcf_row(x, slot);
    int32_t hole = x->bucket_of[slot], leaf = x->buckets[hole].leaf, head = x->nodes[leaf].bucket;
    /* the last record of the head bucket takes the place of the removed one */
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
                    const double *p = rcf_row(x, x->buckets[b].slot[i]);
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
        /* a tolerance for rounding, because the distance of a record is summed in another order */
        if (sum > x->radius2 * (1.0 + 1e-12)) return 0;
    }
    return 1;
}

static int32_t rcf_tree_within(const rcf_index *x, const double *point, rcf_entry **found, double *distance2) {
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
                rcf_entry *entry = rcf_entry_at(x, slot);
                double d2 = rcf_distance2(point, entry->point, x->dims);
                if (d2 <= x->radius2) {
                    found[n] = entry;
                    distance2[n++] = d2;
                }
            }
    }
    return n;
}

#endif
