/* The window of records and its regions: the records, box, center and count of each region. */
#ifndef RCF_REGIONS_H
#define RCF_REGIONS_H

#include "neighbours.h"
#include "sphere.h"

/* A window of RCF_LARGE records does not fit into the caches near the core. Lookups are then prepared in stages, one stage for each
 * of the previous records, so that the waits for memory overlap. */
enum { RCF_AHEAD = 4, RCF_LARGE = 1 << 16 };

enum { RCF_BORN, RCF_SPLIT, RCF_GROWN, RCF_SHRUNK, RCF_MERGED, RCF_DIED };

typedef struct {
    int64_t id;      /* -1 until an id is assigned */
    int32_t cores;   /* the first core; in a free region, the next free region */
    int32_t n_cores; /* 0 if the region was merged into another one or died */
    int32_t count;   /* cores and border records */
    int32_t start;   /* the count before this record of the stream */
    int32_t merged;  /* the region that it was merged into, or -1 */
    int32_t origin;  /* the region from which this record of the stream split it, or itself */
    int32_t holder;  /* if parts were split from this region: the part that keeps the id */
    uint8_t touched; /* changed by this record of the stream */
    uint8_t stale;   /* changed since the last report, and listed in rcf_window.stale */
    uint8_t shown;   /* its id has been reported */
    uint8_t loose;   /* its box must be computed from its records before it is read */
} rcf_region;

typedef struct {
    int64_t at;      /* the record of the stream that caused it */
    int64_t id, other;
    int32_t kind, count;
} rcf_change;

typedef struct {
    int32_t todo, todo_end, done, done_end; /* lists through rcf_record.follow */
    int32_t met;     /* the group with which it was merged, or itself */
    int32_t ended;
} rcf_group;

typedef struct {
    rcf_index index;
    int columns;        /* numbers in a record: as many as in a point of the index, but two on the sphere, where a point has three */
    int sphere;
    double *places;     /* (capacity, columns), only on the sphere: the original records */
    int32_t window, min_points;
    int32_t length;     /* length of the ring of slots: window + 1, because the new record enters before the oldest leaves */
    int32_t first, size;/* slot of the oldest record, and number of records held */
    int64_t seen;
    int32_t capacity;   /* number of slots that have memory */
    rcf_region *regions;
    double *extents;    /* for each region: the lower and the upper corner of its records, the sum of its points, and the rounding error */
    int32_t n_regions, free_region;
    int64_t next_id;
    int32_t *touched, *stale, n_touched, n_stale;
    int64_t *ended;     /* ids that were reported and no longer exist */
    int32_t n_ended;
    rcf_entry **near_a, **near_b, **near_c;
    int32_t *turned;
    double *fresh;      /* (index.dims): the point of the new record */
    rcf_look coming[RCF_AHEAD], going[RCF_AHEAD]; /* prepared lookups for the next and the oldest records, by number % RCF_AHEAD */
    double *far_a, *far_b, *far_c;
    rcf_group *groups;
    int64_t mark;
    rcf_change *changes; /* used only if `log` is set */
    int64_t n_changes, room_changes;
    int log;
} rcf_window;

/* ---- regions ------------------------------------------------------------------------------------------------- */

static inline int64_t rcf_age_rank(const rcf_window *w, int32_t slot) { /* 0 for the oldest */
    return slot >= w->first ? slot - w->first : slot - w->first + w->length;
}

static inline double *rcf_lower_corner(const rcf_window *w, int32_t r) {
    return w->extents + (size_t)r * 2 * (w->columns + w->index.dims);
}
static inline double *rcf_upper_corner(const rcf_window *w, int32_t r) { return rcf_lower_corner(w, r) + w->columns; }
static inline double *rcf_sum(const rcf_window *w, int32_t r) { return rcf_lower_corner(w, r) + 2 * w->columns; }

/* The original numbers of a record. */
static inline double *rcf_given(const rcf_window *w, int32_t slot) {
    return w->sphere ? w->places + (size_t)slot * 2 : rcf_point_at(&w->index, slot);
}

/* Store a new record; its point is then in `fresh`. */
static inline void rcf_take(rcf_window *w, int32_t slot, const double *record) {
    double *x = w->sphere ? w->places + (size_t)slot * 2 : w->fresh;
    for (int j = 0; j < w->columns; j++) x[j] = record[j] + 0.0; /* -0.0 is 0.0 */
    if (w->sphere) rcf_on_sphere(x, w->fresh);
}

static inline void rcf_touch(rcf_window *w, int32_t r) {
    rcf_region *region = &w->regions[r];
    if (region->touched) return;
    region->touched = 1;
    region->start = region->count;
    region->origin = region->holder = r;
    region->merged = -1;
    w->touched[w->n_touched++] = r;
    if (!region->stale) {
        region->stale = 1;
        w->stale[w->n_stale++] = r;
    }
}

static int32_t rcf_new_region(rcf_window *w) {
    int32_t r = w->free_region;
    if (r >= 0) w->free_region = w->regions[r].cores;
    else {
        r = w->n_regions++;
        w->regions[r].stale = 0;
    }
    rcf_region *region = &w->regions[r];
    region->id = -1;
    region->cores = -1;
    region->n_cores = region->count = 0;
    region->touched = region->shown = region->loose = 0;
    for (int j = 0; j < 2 * w->index.dims; j++) rcf_sum(w, r)[j] = 0.0;
    rcf_touch(w, r);
    return r;
}

/* Add value to *sum, and the rounding error to *error. Even after 10^9 records have entered and left, the mean is then that of the
 * records in the window. */
static inline void rcf_add(double *sum, double *error, double value) {
    double s = *sum + value, part = s - *sum;
    *error += (*sum - (s - part)) + (value - part);
    *sum = s;
}

/* Add a record to the sum (sign 1), or subtract it (sign -1). */
static inline void rcf_add_point(rcf_window *w, int32_t r, int32_t slot, double sign) {
    int d = w->index.dims;
    const double *p = rcf_point_at(&w->index, slot);
    double *sum = rcf_sum(w, r);
    for (int j = 0; j < d; j++) rcf_add(&sum[j], &sum[d + j], sign * p[j]);
}

static void rcf_join(rcf_window *w, int32_t r, int32_t slot) {
    int d = w->columns;
    const double *x = rcf_given(w, slot);
    double *lower = rcf_lower_corner(w, r), *upper = rcf_upper_corner(w, r);
    rcf_touch(w, r);
    if (w->regions[r].count == 0) {
        memcpy(lower, x, d * sizeof(double));
        memcpy(upper, x, d * sizeof(double));
        w->regions[r].loose = w->sphere;
    } else if (w->sphere) {
        double east = rcf_longitude(x[1]);
        if (x[0] < lower[0] || x[0] > upper[0] || ((east < lower[1] || east > upper[1]) && east + 360.0 > upper[1])) w->regions[r].loose = 1;
    } else
        for (int j = 0; j < d; j++) {
            if (x[j] < lower[j]) lower[j] = x[j];
            if (x[j] > upper[j]) upper[j] = x[j];
        }
    w->regions[r].count++;
    rcf_add_point(w, r, slot, 1.0);
}

static void rcf_quit(rcf_window *w, int32_t r, int32_t slot) {
    const double *x = rcf_given(w, slot), *lower = rcf_lower_corner(w, r), *upper = rcf_upper_corner(w, r);
    rcf_touch(w, r);
    w->regions[r].count--;
    for (int j = 0; j < w->columns; j++) {
        double value = w->sphere && j == 1 ? rcf_longitude(x[j]) : x[j];
        if (value == lower[j] || value == upper[j]) w->regions[r].loose = 1;
        if (w->sphere && j == 1 && value + 360.0 == upper[j]) w->regions[r].loose = 1;
    }
    /* an arc of more than half a circle may change completely, if its new gap is where the record was */
    if (w->sphere && upper[1] - lower[1] > 180.0) w->regions[r].loose = 1;
    rcf_add_point(w, r, slot, -1.0);
}

static inline void rcf_link(rcf_window *w, int32_t *head, int32_t slot) {
    rcf_record_at(&w->index, slot)->prev = -1;
    rcf_record_at(&w->index, slot)->next = *head;
    if (*head >= 0) rcf_record_at(&w->index, *head)->prev = slot;
    *head = slot;
}

static inline void rcf_unlink(rcf_window *w, int32_t *head, int32_t slot) {
    const rcf_record *x = rcf_record_at(&w->index, slot);
    if (x->prev < 0) *head = x->next;
    else rcf_record_at(&w->index, x->prev)->next = x->next;
    if (x->next >= 0) rcf_record_at(&w->index, x->next)->prev = x->prev;
}

static void rcf_add_core(rcf_window *w, int32_t r, int32_t slot) {
    rcf_entry_of(&w->index, slot)->core = 1;
    rcf_record_at(&w->index, slot)->owner = r;
    rcf_link(w, &w->regions[r].cores, slot);
    w->regions[r].n_cores++;
    rcf_join(w, r, slot);
}

static void rcf_drop_core(rcf_window *w, int32_t slot) {
    int32_t r = rcf_record_at(&w->index, slot)->owner;
    rcf_unlink(w, &w->regions[r].cores, slot);
    w->regions[r].n_cores--;
    rcf_quit(w, r, slot);
    rcf_entry_of(&w->index, slot)->core = 0;
    rcf_record_at(&w->index, slot)->owner = -1;
}

static void rcf_add_border(rcf_window *w, int32_t core, int32_t slot) {
    rcf_record_at(&w->index, slot)->owner = core;
    rcf_link(w, &rcf_record_at(&w->index, core)->borders, slot);
    rcf_join(w, rcf_record_at(&w->index, core)->owner, slot);
}

static void rcf_drop_border(rcf_window *w, int32_t slot) {
    int32_t core = rcf_record_at(&w->index, slot)->owner;
    rcf_unlink(w, &rcf_record_at(&w->index, core)->borders, slot);
    rcf_quit(w, rcf_record_at(&w->index, core)->owner, slot);
    rcf_record_at(&w->index, slot)->owner = -1;
}

/* Make the record a border record of the nearest core found (the oldest, if several are equally near), or noise if there is none. */
static void rcf_settle(rcf_window *w, int32_t slot, rcf_entry *const *found, const double *distance2, int32_t n) {
    int32_t best = -1;
    for (int32_t i = 0; i < n; i++)
        if (found[i]->core
            && (best < 0 || distance2[i] < distance2[best]
                || (distance2[i] == distance2[best] && rcf_age_rank(w, found[i]->slot) < rcf_age_rank(w, found[best]->slot))))
            best = i;
    if (best >= 0) rcf_add_border(w, found[best]->slot, slot);
}

static void rcf_merge(rcf_window *w, int32_t from, int32_t into) {
    rcf_region *a = &w->regions[from], *b = &w->regions[into];
    int d = w->index.dims;
    const double *lower = rcf_lower_corner(w, from), *upper = rcf_upper_corner(w, from), *sum = rcf_sum(w, from);
    rcf_touch(w, from);
    rcf_touch(w, into);
    int32_t last = a->cores;
    for (int32_t c = a->cores; c >= 0; c = rcf_record_at(&w->index, c)->next) {
        rcf_record_at(&w->index, c)->owner = into;
        last = c;
    }
    rcf_record_at(&w->index, last)->next = b->cores;
    rcf_record_at(&w->index, b->cores)->prev = last;
    b->cores = a->cores;
    b->n_cores += a->n_cores;
    b->count += a->count;
    b->loose |= a->loose | w->sphere;
    for (int j = 0; j < w->columns && !b->loose; j++) {
        if (lower[j] < rcf_lower_corner(w, into)[j]) rcf_lower_corner(w, into)[j] = lower[j];
        if (upper[j] > rcf_upper_corner(w, into)[j]) rcf_upper_corner(w, into)[j] = upper[j];
    }
    for (int j = 0; j < d; j++) {
        rcf_add(&rcf_sum(w, into)[j], &rcf_sum(w, into)[d + j], sum[j]);
        rcf_sum(w, into)[d + j] += sum[d + j];
    }
    a->cores = -1;
    a->n_cores = a->count = 0;
    a->merged = into;
}

/* Compute the box of a region from its records. */
static void rcf_tighten(rcf_window *w, int32_t r) {
    int straight = w->sphere ? 1 : w->columns; /* number of columns that are not angles on a circle */
    double *lower = rcf_lower_corner(w, r), *upper = rcf_upper_corner(w, r);
    int32_t n = 0;
    if (!w->regions[r].loose) return;
    w->regions[r].loose = 0;
    const double *x = rcf_given(w, w->regions[r].cores);
    memcpy(lower, x, w->columns * sizeof(double));
    memcpy(upper, x, w->columns * sizeof(double));
    for (int32_t c = w->regions[r].cores; c >= 0; c = rcf_record_at(&w->index, c)->next)
        for (int32_t s = c, first = 1; s >= 0; s = first ? rcf_record_at(&w->index, c)->borders : rcf_record_at(&w->index, s)->next, first = 0) {
            x = rcf_given(w, s);
            for (int j = 0; j < straight; j++) {
                if (x[j] < lower[j]) lower[j] = x[j];
                if (x[j] > upper[j]) upper[j] = x[j];
            }
            if (w->sphere && fabs(x[0]) < 90.0) w->far_a[n++] = rcf_longitude(x[1]); /* a pole lies on all meridians */
        }
    if (!w->sphere) return;
    lower[1] = upper[1] = 0.0;
    if (n) rcf_arc(w->far_a, n, &lower[1], &upper[1]);
}

/* The mean of the records of a region after rcf_tighten; on the sphere, the direction of the mean of the points. */
static void rcf_center(const rcf_window *w, int32_t r, double *center) {
    int d = w->index.dims;
    double mean[3];
    for (int j = 0; j < d; j++) {
        double value = (rcf_sum(w, r)[j] + rcf_sum(w, r)[d + j]) / w->regions[r].count;
        if (w->sphere) mean[j] = value;
        else center[j] = value;
    }
    if (!w->sphere) return;
    center[0] = rcf_angle(mean[2], sqrt(mean[0] * mean[0] + mean[1] * mean[1]));
    center[1] = rcf_longitude(rcf_angle(mean[1], mean[0]));
    if (center[1] + 360.0 <= rcf_upper_corner(w, r)[1]) center[1] += 360.0; /* the box crosses the date line */
}

#endif
