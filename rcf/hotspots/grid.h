/* A hashed grid, for up to 3 features. The cells are slightly wider than the radius, so all neighbours of a point are in its cell
 * or in adjacent cells. Cells are grouped into blocks, so that a lookup has to find only a few blocks in the hash table. */
#ifndef RCF_GRID_H
#define RCF_GRID_H

#include "points.h"

/* Cells are numbered from the cell of the first record. Records farther away than this many cells share the outermost cells. */
#define RCF_FAR 1099511627776.0 /* 2^40 */

/* Cells are wider than the radius by this factor, to allow for rounding. With cell numbers below 2^40, the rounding error of a
 * difference is below 2^-12 cells. */
#define RCF_CELL_MARGIN (1.0 + 1.0 / 1024)

/* For each number of features, the logarithms to base 2 of the number of cells of a block in each direction. */
static const int rcf_bits[RCF_AXES][RCF_AXES] = {{4, 0, 0}, {2, 2, 0}, {2, 1, 1}};

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

static inline rcf_block *rcf_block_at(const rcf_index *x, int32_t b) { return (rcf_block *)x->blocks.start + b; }

static inline int rcf_is_at(const rcf_block *b, const int64_t *at) {
    return b->at[0] == at[0] && b->at[1] == at[1] && b->at[2] == at[2];
}

static inline int32_t rcf_find_block(const rcf_index *x, const int64_t *at, uint32_t home) {
    for (uint32_t i = home;; i = (i + 1) & x->mask) {
        int32_t b = x->table[i];
        if (b < 0 || rcf_is_at(rcf_block_at(x, b), at)) return b;
    }
}

static void rcf_enter_table(rcf_index *x, int32_t b) {
    uint32_t i = rcf_hash(x, rcf_block_at(x, b)->at) & x->mask;
    while (x->table[i] >= 0) i = (i + 1) & x->mask;
    x->table[i] = b;
}

static void rcf_leave_table(rcf_index *x, int32_t b) {
    uint32_t hole = rcf_hash(x, rcf_block_at(x, b)->at) & x->mask;
    while (x->table[hole] != b) hole = (hole + 1) & x->mask;
    /* move entries that follow without a gap into the hole if their hash allows it, so that no search ends too early */
    for (uint32_t i = (hole + 1) & x->mask; x->table[i] >= 0; i = (i + 1) & x->mask) {
        uint32_t home = rcf_hash(x, rcf_block_at(x, x->table[i])->at) & x->mask;
        if (((i - home) & x->mask) >= ((i - hole) & x->mask)) {
            x->table[hole] = x->table[i];
            hole = i;
        }
    }
    x->table[hole] = -1;
}

static inline int rcf_locate(const rcf_index *x, const double *point, int64_t *at) {
    const int *bits = rcf_bits[x->dims - 1];
    int cell = 0;
    for (int j = 0; j < RCF_AXES; j++) {
        int64_t c = j < x->dims ? rcf_cell(x, point, j) : 0;
        at[j] = c >> bits[j];
        cell = (cell << bits[j]) | (int)(c & ((1 << bits[j]) - 1));
    }
    return cell;
}

/* Add a record as the newest of its cell. */
static rcf_entry *rcf_grid_insert(rcf_index *x, int32_t slot, const double *point) {
    int64_t at[RCF_AXES];
    int cell = rcf_locate(x, point, at);
    int32_t b = rcf_find_block(x, at, rcf_hash(x, at) & x->mask);
    if (b < 0) {
        b = x->free_block;
        if (b >= 0) x->free_block = rcf_block_at(x, b)->records;
        else b = x->n_blocks++;
        memcpy(rcf_block_at(x, b)->at, at, sizeof at);
        for (int i = 0; i < RCF_CELLS; i++) rcf_block_at(x, b)->newest[i] = -1;
        rcf_block_at(x, b)->records = 0;
        rcf_enter_table(x, b);
    }
    rcf_block *block = rcf_block_at(x, b);
    int32_t newest = block->newest[cell];
    block->records++;
    if (newest < 0 || rcf_chunk_at(x, newest)->end == x->chunk_size) {
        int32_t c = x->free_chunk;
        if (c >= 0) x->free_chunk = rcf_chunk_at(x, c)->next;
        else c = x->n_chunks++;
        rcf_chunk *fresh = rcf_chunk_at(x, c);
        fresh->first = fresh->end = 0;
        fresh->next = newest < 0 ? c : rcf_chunk_at(x, newest)->next;
        if (newest >= 0) rcf_chunk_at(x, newest)->next = c;
        block->newest[cell] = newest = c;
    }
    rcf_chunk *chunk = rcf_chunk_at(x, newest);
    rcf_entry *entry = rcf_entry_in(x, chunk, chunk->end);
    rcf_record_at(x, slot)->place = newest * RCF_CHUNK + chunk->end++;
    return entry;
}

/* Remove the oldest record, which is also the oldest of its cell. */
static void rcf_grid_remove(rcf_index *x, int32_t slot) {
    int64_t at[RCF_AXES];
    int32_t c = rcf_record_at(x, slot)->place / RCF_CHUNK;
    rcf_chunk *chunk = rcf_chunk_at(x, c);
    int cell = rcf_locate(x, rcf_point_at(x, slot), at);
    int32_t b = rcf_find_block(x, at, rcf_hash(x, at) & x->mask);
    rcf_block *block = rcf_block_at(x, b);
    if (++chunk->first == chunk->end) {
        int32_t newest = block->newest[cell];
        if (newest == c) block->newest[cell] = -1;
        else rcf_chunk_at(x, newest)->next = chunk->next;
        chunk->next = x->free_chunk;
        x->free_chunk = c;
    }
    if (--block->records == 0) {
        rcf_leave_table(x, b);
        block->records = x->free_block;
        x->free_block = b;
    }
}

/* A lookup of the neighbours of a point, which can be prepared before it is made. */
typedef struct {
    int64_t number;  /* number of the record for which it is prepared, or -1 */
    double point[RCF_AXES];
    int64_t low[RCF_AXES], high[RCF_AXES]; /* the 3^d cells */
    int64_t at[8][RCF_AXES];               /* the blocks that they lie in ... */
    uint32_t home[8];                      /* ... and where the search for each begins in the table */
    int n;
} rcf_look;

/* The functions with the parameter `dims` are compiled for each number of features, which saves an eighth of the time with a window of
 * 1000 records. */
static inline void rcf_look_in(const rcf_index *x, const double *point, rcf_look *look, const int dims) {
    const int *bits = rcf_bits[dims - 1];
    int64_t first[RCF_AXES], last[RCF_AXES], i, j, k;
    for (int a = 0; a < RCF_AXES; a++) {
        int64_t c = a < dims ? rcf_cell(x, point, a) : 0;
        look->point[a] = a < dims ? point[a] : 0.0;
        look->low[a] = a < dims ? c - 1 : 0;
        look->high[a] = a < dims ? c + 1 : 0;
        first[a] = look->low[a] >> bits[a];
        last[a] = look->high[a] >> bits[a];
    }
    look->n = 0;
    for (i = first[0]; i <= last[0]; i++)
    for (j = first[1]; j <= last[1]; j++)
    for (k = first[2]; k <= last[2]; k++) {
        int64_t *at = look->at[look->n];
        at[0] = i, at[1] = j, at[2] = k;
        look->home[look->n] = rcf_hash(x, at) & x->mask;
        RCF_PREFETCH(&x->table[look->home[look->n]]);
        look->n++;
    }
}

static void rcf_look_at(const rcf_index *x, const double *point, rcf_look *look) {
    switch (x->dims) {
        case 1: rcf_look_in(x, point, look, 1); break;
        case 2: rcf_look_in(x, point, look, 2); break;
        default: rcf_look_in(x, point, look, 3);
    }
}

/* Prefetch the blocks that the lookup will probably find. */
static void rcf_fetch_blocks(const rcf_index *x, const rcf_look *look) {
    for (int i = 0; i < look->n; i++) {
        int32_t b = x->table[look->home[i]];
        if (b < 0) continue;
        RCF_PREFETCH(rcf_block_at(x, b));
        RCF_PREFETCH((char *)rcf_block_at(x, b) + RCF_LINE / 2);
    }
}

static inline void rcf_fetch_chunk(const rcf_index *x, int32_t chunk) {
    RCF_PREFETCH(rcf_chunk_at(x, chunk));
    RCF_PREFETCH((char *)rcf_chunk_at(x, chunk) + RCF_LINE / 2);
}

/* Collect the newest chunk of each cell in `newest`, and prefetch it. Returns the number of chunks, at most 27. */
static inline int rcf_newest_chunks(const rcf_index *x, const rcf_look *look, int32_t *newest, const int dims) {
    const int *bits = rcf_bits[dims - 1];
    int64_t from[RCF_AXES], to[RCF_AXES];
    int cells = 0;
    for (int b = 0; b < look->n; b++) {
        int32_t found = rcf_find_block(x, look->at[b], look->home[b]);
        if (found < 0) continue;
        const rcf_block *block = rcf_block_at(x, found);
        for (int a = 0; a < RCF_AXES; a++) { /* the range of the 3^d cells that belong to this block */
            int64_t first = look->at[b][a] * ((int64_t)1 << bits[a]), last = first + (1 << bits[a]) - 1;
            from[a] = (look->low[a] > first ? look->low[a] : first) - first;
            to[a] = (look->high[a] < last ? look->high[a] : last) - first;
        }
        for (int64_t i = from[0]; i <= to[0]; i++)
        for (int64_t j = from[1]; j <= to[1]; j++)
        for (int64_t k = from[2]; k <= to[2]; k++) {
            int32_t chunk = block->newest[(((i << bits[1]) | j) << bits[2]) | k];
            if (chunk < 0) continue;
            rcf_fetch_chunk(x, chunk);
            newest[cells++] = chunk;
        }
    }
    return cells;
}

static inline int32_t rcf_scan(const rcf_index *x, const rcf_look *look, rcf_entry **found, double *distance2, const int dims) {
    const size_t stride = sizeof(rcf_entry) + dims * sizeof(double);
    int32_t n = 0, here[27], newest[27];
    int cells = rcf_newest_chunks(x, look, newest, dims);
    memcpy(here, newest, sizeof here);
    /* Take one chunk of each cell in turn. The waits for memory of different cells overlap, whereas those for the chunks of one cell
     * cannot. */
    while (cells) {
        int kept = 0;
        for (int c = 0; c < cells; c++) {
            rcf_chunk *chunk = rcf_chunk_at(x, here[c]);
            int32_t next = chunk->next;
            if (next != newest[c]) rcf_fetch_chunk(x, next);
            for (int i = chunk->first; i < chunk->end; i++) {
                rcf_entry *entry = (rcf_entry *)((char *)(chunk + 1) + i * stride);
                double d2 = rcf_distance2(look->point, entry->point, dims);
                found[n] = entry;
                distance2[n] = d2;
                n += d2 <= x->radius2;
            }
            here[kept] = next;
            newest[kept] = newest[c];
            kept += next != newest[c];
        }
        cells = kept;
    }
    return n;
}

static int32_t rcf_grid_within(const rcf_index *x, const rcf_look *look, rcf_entry **found, double *distance2) {
    switch (x->dims) {
        case 1: return rcf_scan(x, look, found, distance2, 1);
        case 2: return rcf_scan(x, look, found, distance2, 2);
        default: return rcf_scan(x, look, found, distance2, 3);
    }
}

/* Prefetch the chunks that the lookup will read first. */
static void rcf_fetch_chunks(const rcf_index *x, const rcf_look *look) {
    int32_t newest[27];
    switch (x->dims) {
        case 1: rcf_newest_chunks(x, look, newest, 1); break;
        case 2: rcf_newest_chunks(x, look, newest, 2); break;
        default: rcf_newest_chunks(x, look, newest, 3);
    }
}

#endif
