/* Where the records of a window lie in memory.
 *
 * What a look at a neighbour needs stands in its entry: its place, how many neighbours it has, and whether it is a core. The
 * entries of a cell of the grid lie together, so a look at a cell reads a line or two of memory; with a million records, where
 * most looks miss the caches, those were one for each record. Everything else that is known of a record is found by its slot.
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
    RCF_AXES = 3,     /* largest number of features of the grid */
    RCF_CELLS = 16,   /* cells of a block: a ball meets 2.25 blocks on average in the plane */
    RCF_LINE = 128,   /* bytes that are fetched together: two cache lines */
    RCF_CHUNK = 8,    /* places in a chunk */
    RCF_BUCKET = 16   /* records of a leaf of the tree */
};

/* A place is the number of a chunk times RCF_CHUNK, and the position there. */
typedef struct {
    uint32_t count : 31; /* records within the radius, itself included (this and `core` belong to dbscan.h) */
    uint32_t core : 1;
    int32_t slot;
    double point[];
} rcf_entry;

typedef struct {
    int32_t next;       /* chunk of the cell; the newest is followed by the oldest. Of a free chunk, the next free one */
    int16_t first, end; /* positions in use */
} rcf_chunk;            /* entries follow */

/* `place` alone belongs to this file, the rest to dbscan.h. */
typedef struct {
    int64_t mark;       /* the group of the last search that came here */
    int32_t place;
    int32_t owner;      /* of a core: its region; of a border record: its core; of noise: -1 */
    int32_t prev, next; /* among the cores of the region, or the border records of the core */
    int32_t borders;    /* of a core: the first of its border records, or -1 */
    int32_t follow;     /* next in a list of the search */
} rcf_record;

typedef struct {
    int32_t newest[RCF_CELLS]; /* of a cell the chunk with its newest entry, -1 for an empty one */
    int64_t at[RCF_AXES];
    int32_t records;           /* in the block; of a free block, the next free one */
    int32_t unused[9];         /* so that a block is RCF_LINE bytes long */
} rcf_block;

typedef struct {
    int32_t child[2]; /* x[dim] <= cut goes to child[0]; a leaf has -1 */
    int32_t parent;   /* of a free node, the next free one */
    int32_t dim;
    double cut;
    int32_t mass;     /* records below */
    int32_t changes;  /* records that came or went since it was built */
    int32_t bucket;   /* of a leaf: the bucket for the next record */
} rcf_box_node;

typedef struct {
    int32_t slot[RCF_BUCKET];
    int32_t size;
    int32_t leaf;
    int32_t next; /* only a leaf of equal records has more than one; of a free bucket, the next free one */
} rcf_bucket;

typedef struct {
    void *memory; /* as it was allocated */
    char *start;  /* on an RCF_LINE */
} rcf_lines;

typedef struct {
    int dims;
    double radius2, per_side;
    double *origin;      /* the first record: numbers cells */
    rcf_lines records;   /* by slot */
    rcf_lines chunks;    /* of the grid as many as records; of the tree enough for a place to be a slot */
    size_t stride, chunk_bytes, header;
    int chunk_size;      /* entries of a chunk of the grid */
    int32_t n_chunks, free_chunk;
    int32_t capacity, size;

    rcf_lines blocks;
    int32_t *table;     /* open addressing: number of a block, or -1 */
    uint32_t mask;
    uint64_t salt;      /* seed of the hash, so that nobody can construct records whose cells all collide; it has no other effect */
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

/* Resize *array to n items. Returns 0, with nothing changed, if there is no memory. */
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

/* The same for memory on an RCF_LINE, of which the first `used` bytes are kept. */
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
