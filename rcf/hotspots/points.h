/* The layout of the records of a window in memory.
 *
 * The entry of a record holds all data that a lookup needs: its coordinates, its number of neighbours, and whether it is a core. The
 * entries of a cell of the grid are stored together, so a lookup reads one or two memory lines per cell. With a million records most
 * reads miss the caches, and separate entries would cost one miss per record. All other data of a record are found by its slot.
 */
#ifndef RCF_POINTS_H
#define RCF_POINTS_H

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
    RCF_AXES = 3,     /* largest number of features for which the grid is used */
    RCF_CELLS = 16,   /* cells of a block; in the plane, a lookup meets 2.25 blocks on average */
    RCF_LINE = 128,   /* bytes that are prefetched together: two cache lines */
    RCF_CHUNK = 8,    /* places in a chunk */
    RCF_BUCKET = 16   /* records in a leaf of the tree */
};

/* A place is the number of a chunk times RCF_CHUNK, plus the position in the chunk. */
typedef struct {
    uint32_t count : 31; /* records within the radius, including itself; `count` and `core` are used by dbscan.h */
    uint32_t core : 1;
    int32_t slot;
    double point[];
} rcf_entry;

typedef struct {
    int32_t next;       /* next chunk of the cell, where the newest is followed by the oldest; in a free chunk, the next free one */
    int16_t first, end; /* positions in use */
} rcf_chunk;            /* entries follow */

/* This file uses only `place`; the other members are used by dbscan.h. */
typedef struct {
    int64_t mark;       /* the group of the last search that reached this record */
    int32_t place;
    int32_t owner;      /* the region of a core, the core of a border record, or -1 for noise */
    int32_t prev, next; /* list of the cores of a region, or of the border records of a core */
    int32_t borders;    /* the first border record of a core, or -1 */
    int32_t follow;     /* the next record in a list of the search */
} rcf_record;

typedef struct {
    int32_t newest[RCF_CELLS]; /* for each cell, the chunk with its newest entry, or -1 if the cell is empty */
    int64_t at[RCF_AXES];
    int32_t records;           /* number of records in the block; in a free block, the next free one */
    int32_t unused[9];         /* so that a block is RCF_LINE bytes long */
} rcf_block;

typedef struct {
    int32_t child[2]; /* x[dim] <= cut goes to child[0]; a leaf has -1 */
    int32_t parent;   /* in a free node, the next free one */
    int32_t dim;
    double cut;
    int32_t mass;     /* records below */
    int32_t changes;  /* number of records that were added or removed since it was built */
    int32_t bucket;   /* in a leaf, the bucket for the next record */
} rcf_box_node;

typedef struct {
    int32_t slot[RCF_BUCKET];
    int32_t size;
    int32_t leaf;
    int32_t next; /* next bucket of the leaf (only leaves of equal records have several); in a free bucket, the next free one */
} rcf_bucket;

typedef struct {
    void *memory; /* the pointer from malloc */
    char *start;  /* the first address in it that is a multiple of RCF_LINE */
} rcf_lines;

typedef struct {
    int dims;
    double radius2, per_side;
    double *origin;      /* the first record, where the cells are numbered from */
    rcf_lines records;   /* by slot */
    rcf_lines chunks;    /* the grid needs as many as there are records; the tree needs enough to use a slot as a place */
    size_t stride, chunk_bytes, header;
    int chunk_size;      /* number of entries in a chunk of the grid */
    int32_t n_chunks, free_chunk;
    int32_t capacity, size;

    rcf_lines blocks;
    int32_t *table;     /* a hash table with open addressing: numbers of blocks, or -1 */
    uint32_t mask;
    uint64_t salt;      /* seed of the hash, so that nobody can construct records whose cells all collide; it does not affect results */
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

static inline rcf_record *rcf_record_at(const rcf_index *x, int32_t slot) { return (rcf_record *)x->records.start + slot; }

static inline rcf_chunk *rcf_chunk_at(const rcf_index *x, int32_t chunk) {
    return (rcf_chunk *)(x->chunks.start + (size_t)chunk * x->chunk_bytes);
}

static inline rcf_entry *rcf_entry_in(const rcf_index *x, rcf_chunk *chunk, int i) {
    return (rcf_entry *)((char *)chunk + x->header + (size_t)i * x->stride);
}

static inline rcf_entry *rcf_entry_at(const rcf_index *x, int32_t place) {
    return rcf_entry_in(x, rcf_chunk_at(x, place / RCF_CHUNK), place % RCF_CHUNK);
}

static inline rcf_entry *rcf_entry_of(const rcf_index *x, int32_t slot) { return rcf_entry_at(x, rcf_record_at(x, slot)->place); }

static inline double *rcf_point_at(const rcf_index *x, int32_t slot) { return rcf_entry_of(x, slot)->point; }

/* Resize *array to n items. If there is no memory, returns 0 and changes nothing. */
static int rcf_resize(void *array, size_t n, size_t item) {
    void *old, *fresh;
    memcpy(&old, array, sizeof old);
    if (item && n > SIZE_MAX / item) return 0;
    fresh = realloc(old, n > 0 ? n * item : 1);
    if (!fresh) return 0;
    memcpy(array, &fresh, sizeof fresh);
    return 1;
}

/* Request large pages if the system supports them, because with a million records in the window, lookups also miss the cache of page
 * addresses. Returns the memory. */
static void *rcf_large_pages(void *memory, size_t size) {
#ifdef MADV_HUGEPAGE
    size_t page = (size_t)2 << 20, start = ((uintptr_t)memory + page - 1) & ~(page - 1), end = ((uintptr_t)memory + size) & ~(page - 1);
    if (memory != NULL && start < end) madvise((void *)start, end - start, MADV_HUGEPAGE); /* a hint that the system may ignore */
#else
    (void)size;
#endif
    return memory;
}

/* The same for memory that is aligned to RCF_LINE. The first `used` bytes are kept. */
static int rcf_resize_lines(rcf_lines *lines, size_t used, size_t n, size_t item) {
    if (n > (SIZE_MAX - RCF_LINE) / item) return 0;
    void *memory = rcf_large_pages(malloc(n * item + RCF_LINE), n * item + RCF_LINE);
    if (!memory) return 0;
    char *start = (char *)(((uintptr_t)memory + RCF_LINE - 1) & ~(uintptr_t)(RCF_LINE - 1));
    if (used) memcpy(start, lines->start, used);
    free(lines->memory);
    lines->memory = memory;
    lines->start = start;
    return 1;
}

#endif
