/* Search for the records within a radius of a point, while records are added and the oldest are removed. The grid is used for up to 3
 * features, and the tree for more.
 *
 * A record is within the radius if sum (x - y)^2 <= radius^2 in doubles. For up to 3 features the terms are added in the order of the
 * features. Therefore a record at exactly the radius is treated as by the k-d tree of scikit-learn.
 */
#ifndef RCF_NEIGHBOURS_H
#define RCF_NEIGHBOURS_H

#include "boxtree.h"
#include "grid.h"

static inline rcf_entry *rcf_index_insert(rcf_index *x, int32_t slot, const double *point) {
    rcf_entry *entry;
    if (x->size++ == 0) memcpy(x->origin, point, x->dims * sizeof(double));
    if (x->dims <= RCF_AXES) entry = rcf_grid_insert(x, slot, point);
    else entry = rcf_entry_at(x, rcf_record_at(x, slot)->place = slot);
    entry->slot = slot;
    memcpy(entry->point, point, x->dims * sizeof(double));
    if (x->dims > RCF_AXES) rcf_tree_index_insert(x, slot);
    return entry;
}

/* Remove the oldest record. */
static inline void rcf_index_remove(rcf_index *x, int32_t slot) {
    x->size--;
    if (x->dims <= RCF_AXES) rcf_grid_remove(x, slot);
    else rcf_tree_index_remove(x, slot);
}

/* Find the records within the radius of the point, with their squared distances; returns their number. */
static inline int32_t rcf_within(const rcf_index *x, const double *point, rcf_entry **found, double *distance2) {
    rcf_look look;
    if (x->dims > RCF_AXES) return rcf_tree_within(x, point, found, distance2);
    rcf_look_at(x, point, &look);
    return rcf_grid_within(x, &look, found, distance2);
}

static int rcf_index_open(rcf_index *x, int dims, double radius) {
    memset(x, 0, sizeof *x);
    x->dims = dims;
    x->stride = sizeof(rcf_entry) + dims * sizeof(double);
    if (dims <= RCF_AXES) {
        x->header = sizeof(rcf_chunk);
        x->chunk_bytes = RCF_LINE;
        x->chunk_size = (int)((RCF_LINE - sizeof(rcf_chunk)) / x->stride);
    } else x->chunk_bytes = RCF_CHUNK * x->stride;
    x->radius2 = radius * radius;
    x->per_side = 1.0 / (radius * RCF_CELL_MARGIN);
    x->free_chunk = x->free_block = x->free_node = x->free_bucket = x->root = -1;
    return rcf_resize(&x->origin, dims, sizeof(double));
}

static int rcf_index_reserve(rcf_index *x, int32_t capacity) {
    size_t n = capacity;
    int grid = x->dims <= RCF_AXES;
    if (capacity > x->capacity) {
        size_t used = grid ? x->n_chunks : (x->capacity + RCF_CHUNK - 1) / RCF_CHUNK;
        if (grid && capacity > INT32_MAX / RCF_CHUNK) return 0; /* a place has 32 bits, and such a window would take 34 GB */
        if (!rcf_resize_lines(&x->records, x->capacity * sizeof(rcf_record), n, sizeof(rcf_record))
            || !rcf_resize_lines(&x->chunks, used * x->chunk_bytes, grid ? n : n / RCF_CHUNK + 1, x->chunk_bytes)
            || (grid && !rcf_resize_lines(&x->blocks, x->n_blocks * sizeof(rcf_block), n, sizeof(rcf_block))))
            return 0;
        x->capacity = capacity;
    }
    if (grid) {
        uint32_t slots = 4;
        while (slots < 2 * n) slots *= 2;
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
    free(x->origin), free(x->records.memory), free(x->chunks.memory), free(x->blocks.memory), free(x->table);
    free(x->nodes), free(x->boxes), free(x->buckets), free(x->bucket_of), free(x->place_of), free(x->spare), free(x->pending);
    memset(x, 0, sizeof *x);
}

#endif
