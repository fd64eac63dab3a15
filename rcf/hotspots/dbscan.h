/* DBSCAN of the last records of a stream, kept up to date record by record.
 *
 * A record with at least min_points records within the radius, including itself, is a core. Cores within the radius of each other belong
 * to one region. Any other record within the radius of a core is a border record of the region of its nearest core (the older one, if two
 * are equally near). All other records are noise. The regions depend only on the records of the window and their order, not on
 * earlier records.
 *
 * A new record adds one to the counts of its neighbours. A record that reaches min_points becomes a core and joins the regions of its
 * neighbouring cores (gain). A record that leaves subtracts one from the counts. A core that falls below min_points is lost (lose), and
 * its neighbouring cores may have been connected only through it. If they are not neighbours of each other, a search starts from each
 * group of them. The searches take turns, and end when all have met or all but one have ended. So the cost is that of the smaller part,
 * and only the smaller part gets another region. (If a ring opens, the cost is that of the whole ring, because the searches meet at its
 * far side.)
 *
 * Regions keep their ids as they change; see rcf_after_entry and rcf_after_exit.
 */
#ifndef RCF_DBSCAN_H
#define RCF_DBSCAN_H

#include "regions.h"

/* ---- cores gained and lost ----------------------------------------------------------------------------------- */

static void rcf_gain(rcf_window *w, int32_t slot) {
    const double *p = rcf_point_at(&w->index, slot);
    int32_t n = rcf_within(&w->index, p, w->near_b, w->far_b), target = -1;
    if (rcf_record_at(&w->index, slot)->owner >= 0) rcf_drop_border(w, slot);
    for (int32_t i = 0; i < n; i++) {
        if (!w->near_b[i]->core) continue;
        int32_t r = rcf_record_at(&w->index, w->near_b[i]->slot)->owner;
        /* keep the largest region, so that few records change their region */
        if (target < 0 || w->regions[r].n_cores > w->regions[target].n_cores) target = r;
    }
    if (target < 0) target = rcf_new_region(w);
    rcf_record_at(&w->index, slot)->borders = -1;
    rcf_add_core(w, target, slot);
    for (int32_t i = 0; i < n; i++) {
        int32_t s = w->near_b[i]->slot;
        if (s == slot) continue;
        rcf_record *x = rcf_record_at(&w->index, s);
        if (w->near_b[i]->core) {
            if (x->owner != target) rcf_merge(w, x->owner, target);
        } else if (x->owner < 0) rcf_add_border(w, slot, s);
        else {
            double held = rcf_distance2(w->near_b[i]->point, rcf_point_at(&w->index, x->owner), w->index.dims);
            if (w->far_b[i] < held || (w->far_b[i] == held && rcf_age_rank(w, slot) < rcf_age_rank(w, x->owner))) {
                rcf_drop_border(w, s);
                rcf_add_border(w, slot, s);
            }
        }
    }
}

static inline void rcf_append(rcf_window *w, int32_t *head, int32_t *end, int32_t slot) {
    rcf_record_at(&w->index, slot)->follow = -1;
    if (*head < 0) *head = slot;
    else rcf_record_at(&w->index, *end)->follow = slot;
    *end = slot;
}

static inline void rcf_concatenate(rcf_window *w, int32_t *head, int32_t *end, int32_t more, int32_t more_end) {
    if (more < 0) return;
    if (*head < 0) *head = more;
    else rcf_record_at(&w->index, *end)->follow = more;
    *end = more_end;
}

/* A core that was a neighbour of all k cores in `seeds` was removed from their region. Find the parts that are no longer connected. */
static void rcf_part(rcf_window *w, rcf_entry **seeds, int32_t k) {
    int32_t n_groups = 0, reached = 0, i = 0;
    rcf_group *groups = w->groups;
    while (reached < k) { /* form groups of seeds that are connected as neighbours */
        rcf_group *g = &groups[n_groups];
        g->todo = g->done = g->todo_end = g->done_end = -1;
        g->met = n_groups;
        g->ended = 0;
        for (int32_t begin = reached++; i < reached; i++) {
            for (int32_t j = reached; j < k; j++)
                if (rcf_distance2(seeds[i]->point, seeds[j]->point, w->index.dims) <= w->index.radius2) {
                    rcf_entry *s = seeds[j];
                    seeds[j] = seeds[reached];
                    seeds[reached++] = s;
                }
            if (reached == k && begin == 0) return; /* the usual case: all seeds are in one group */
        }
        n_groups++;
        for (int32_t j = n_groups > 1 ? groups[n_groups - 2].ended : 0; j < reached; j++) {
            rcf_record_at(&w->index, seeds[j]->slot)->mark = w->mark + 1 + g->met;
            rcf_append(w, &g->todo, &g->todo_end, seeds[j]->slot);
        }
        g->ended = reached; /* temporarily the begin of the next group */
    }
    int64_t base = w->mark + 1;
    int32_t open = n_groups;
    w->mark += n_groups;
    for (int32_t g = 0; g < n_groups; g++) groups[g].ended = 0;

    while (open > 1)
        for (int32_t g = 0; g < n_groups && open > 1; g++) {
            rcf_group *a = &groups[g];
            if (a->met != g || a->ended) continue;
            int32_t s = a->todo;
            a->todo = rcf_record_at(&w->index, s)->follow;
            rcf_append(w, &a->done, &a->done_end, s);
            int32_t n = rcf_within(&w->index, rcf_point_at(&w->index, s), w->near_c, w->far_c);
            for (int32_t j = 0; j < n; j++) {
                if (!w->near_c[j]->core) continue;
                int32_t t = w->near_c[j]->slot;
                rcf_record *x = rcf_record_at(&w->index, t);
                if (x->mark < base) {
                    x->mark = base + g;
                    rcf_append(w, &a->todo, &a->todo_end, t);
                    continue;
                }
                int32_t h = (int32_t)(x->mark - base);
                while (groups[h].met != h) h = groups[h].met = groups[groups[h].met].met;
                if (h == g) continue;
                groups[h].met = g;
                rcf_concatenate(w, &a->todo, &a->todo_end, groups[h].todo, groups[h].todo_end);
                rcf_concatenate(w, &a->done, &a->done_end, groups[h].done, groups[h].done_end);
                open--;
            }
            if (a->todo < 0 && open > 1) {
                a->ended = 1;
                open--;
            }
        }

    for (int32_t g = 0; g < n_groups; g++) {
        if (groups[g].met != g || !groups[g].ended) continue;
        /* These are two precautions for a window that was restored from a false state, whose regions do not match its records. The
         * region of this core may not be marked as touched yet, and there may be no room for one more region. */
        int32_t from = rcf_record_at(&w->index, groups[g].done)->owner;
        rcf_touch(w, from);
        if (w->free_region < 0 && w->n_regions == w->capacity) continue;
        int32_t origin = w->regions[from].origin, part = rcf_new_region(w);
        w->regions[part].origin = origin;
        for (int32_t c = groups[g].done; c >= 0; c = rcf_record_at(&w->index, c)->follow) {
            int32_t r = rcf_record_at(&w->index, c)->owner;
            for (int32_t s = rcf_record_at(&w->index, c)->borders; s >= 0; s = rcf_record_at(&w->index, s)->next) {
                rcf_quit(w, r, s);
                rcf_join(w, part, s);
            }
            rcf_drop_core(w, c);
            rcf_add_core(w, part, c);
        }
    }
}

/* Remove a core. If `gone`, the record itself is about to leave the window. */
static void rcf_lose(rcf_window *w, int32_t slot, int gone) {
    int32_t n = rcf_within(&w->index, rcf_point_at(&w->index, slot), w->near_b, w->far_b), k = 0;
    int32_t r = rcf_record_at(&w->index, slot)->owner, orphan = rcf_record_at(&w->index, slot)->borders;
    rcf_drop_core(w, slot);
    while (orphan >= 0) {
        int32_t next = rcf_record_at(&w->index, orphan)->next;
        rcf_quit(w, r, orphan);
        rcf_record_at(&w->index, orphan)->owner = -1;
        rcf_settle(w, orphan, w->near_c, w->far_c,
                   rcf_within(&w->index, rcf_point_at(&w->index, orphan), w->near_c, w->far_c));
        orphan = next;
    }
    if (!gone) rcf_settle(w, slot, w->near_b, w->far_b, n);
    for (int32_t i = 0; i < n; i++)
        if (w->near_b[i]->core) w->near_b[k++] = w->near_b[i];
    if (k > 1) rcf_part(w, w->near_b, k);
}

/* ---- ids of regions, and the log of their changes ------------------------------------------------------------ */

static int rcf_tell(rcf_window *w, int kind, int64_t id, int64_t other, int32_t count) {
    if (!w->log) return 1;
    if (w->n_changes == w->room_changes) {
        int64_t room = 2 * w->room_changes + 64;
        if (!rcf_resize(&w->changes, room, sizeof *w->changes)) return 0;
        w->room_changes = room;
    }
    rcf_change *c = &w->changes[w->n_changes++];
    c->at = w->seen;
    c->kind = kind;
    c->id = id;
    c->other = other;
    c->count = count;
    return 1;
}

static int64_t rcf_oldest_core(const rcf_window *w, int32_t r) {
    int64_t oldest = INT64_MAX;
    for (int32_t c = w->regions[r].cores; c >= 0; c = rcf_record_at(&w->index, c)->next)
        if (rcf_age_rank(w, c) < oldest) oldest = rcf_age_rank(w, c);
    return oldest;
}

static void rcf_end_id(rcf_window *w, rcf_region *region) {
    if (region->shown) w->ended[w->n_ended++] = region->id;
    region->shown = 0;
}

static void rcf_move_id(rcf_region *from, rcf_region *to) {
    rcf_region old = *to;
    to->id = from->id, to->start = from->start, to->shown = from->shown;
    from->id = old.id, from->start = old.start, from->shown = old.shown;
}

/* Assign ids to the regions without one, in the order of their oldest cores, and forget regions that no longer exist. */
static int rcf_give_ids(rcf_window *w, int kind) {
    int fine = 1;
    for (;;) {
        int32_t first = -1;
        int64_t oldest = 0;
        int several = 0;
        for (int32_t i = 0; i < w->n_touched; i++) {
            int32_t r = w->touched[i];
            if (w->regions[r].id >= 0 || w->regions[r].n_cores == 0) continue;
            if (first < 0) {
                first = r;
                continue;
            }
            if (!several++) oldest = rcf_oldest_core(w, first);
            int64_t age = rcf_oldest_core(w, r);
            if (age < oldest) {
                first = r;
                oldest = age;
            }
        }
        if (first < 0) break;
        rcf_region *region = &w->regions[first];
        region->id = w->next_id++;
        region->start = region->count;
        fine &= rcf_tell(w, kind, region->id, kind == RCF_SPLIT ? w->regions[w->regions[region->origin].holder].id : -1,
                         region->count);
    }
    int32_t kept = 0;
    for (int32_t i = 0; i < w->n_touched; i++) {
        int32_t r = w->touched[i];
        if (w->regions[r].n_cores) w->touched[kept++] = r;
        else {
            w->regions[r].cores = w->free_region;
            w->free_region = r;
        }
    }
    w->n_touched = kept;
    for (int32_t i = 0; i < kept; i++) w->regions[w->touched[i]].origin = w->regions[w->touched[i]].holder = w->touched[i];
    return fine;
}

/* A record that enters can create a region or join several to one; it cannot split a region. Among joined regions, the one that had
 * the most records keeps its id; among equals, the one with the smallest id. */
static int rcf_after_entry(rcf_window *w) {
    int fine = 1;
    for (int32_t i = 0; i < w->n_touched; i++) {
        rcf_region *a = &w->regions[w->touched[i]], *b = a;
        while (b->merged >= 0) b = &w->regions[b->merged];
        if (a == b || a->id < 0) continue;
        if (b->id < 0 || a->start > b->start || (a->start == b->start && a->id < b->id)) rcf_move_id(a, b);
    }
    for (int32_t i = 0; i < w->n_touched; i++) {
        rcf_region *a = &w->regions[w->touched[i]], *b = a;
        while (b->merged >= 0) b = &w->regions[b->merged];
        if (a == b || a->id < 0) continue;
        fine &= rcf_tell(w, RCF_MERGED, a->id, b->id, 0);
        rcf_end_id(w, a);
    }
    return rcf_give_ids(w, RCF_BORN) && fine;
}

/* A record that leaves can only end and split regions. The part with the most records keeps the id; among equals, the part with the
 * oldest core. */
static int rcf_after_exit(rcf_window *w) {
    int fine = 1;
    for (int32_t i = 0; i < w->n_touched; i++) {
        int32_t part = w->touched[i], origin = w->regions[part].origin;
        const rcf_region *a = &w->regions[part], *b = &w->regions[w->regions[origin].holder];
        if (part == origin || a->n_cores == 0) continue;
        if (b->n_cores == 0 || a->count > b->count
            || (a->count == b->count && rcf_oldest_core(w, part) < rcf_oldest_core(w, w->regions[origin].holder)))
            w->regions[origin].holder = part;
    }
    for (int32_t i = 0; i < w->n_touched; i++) {
        rcf_region *origin = &w->regions[w->touched[i]];
        if (origin->origin != w->touched[i]) continue;
        if (origin->holder != w->touched[i]) rcf_move_id(origin, &w->regions[origin->holder]);
        else if (origin->n_cores == 0) {
            fine &= rcf_tell(w, RCF_DIED, origin->id, -1, 0);
            rcf_end_id(w, origin);
        }
    }
    return rcf_give_ids(w, RCF_SPLIT) && fine;
}

/* ---- the window ---------------------------------------------------------------------------------------------- */

static inline int32_t rcf_slot(const rcf_window *w, int64_t age) { /* the slot of the record that has `age` older records */
    age += w->first;
    return (int32_t)(age >= w->length ? age - w->length : age);
}

/* Find the records within the radius of a point. If a lookup was prepared for the record with this number, use it. */
static int32_t rcf_within_prepared(rcf_window *w, const rcf_look *looks, int64_t number, const double *point) {
    const rcf_look *look = &looks[number % RCF_AHEAD];
    if (look->number == number) return rcf_grid_within(&w->index, look, w->near_a, w->far_a);
    return rcf_within(&w->index, point, w->near_a, w->far_a);
}

static inline void rcf_prepare(rcf_window *w, rcf_look *looks, int64_t number, int stage, const double *point) {
    rcf_look *look = &looks[number % RCF_AHEAD];
    if (stage == 3) {
        rcf_look_at(&w->index, point, look);
        look->number = number;
    } else if (look->number == number && stage == 2) rcf_fetch_blocks(&w->index, look);
    else if (look->number == number) rcf_fetch_chunks(&w->index, look);
}

/* Prepare lookups for the next records, of which `more` are known, and for the records that will leave next. */
static void rcf_look_ahead(rcf_window *w, const double *record, int64_t more) {
    double point[RCF_AXES];
    int64_t oldest = w->seen - w->size;
    if (w->index.dims > RCF_AXES || w->size < RCF_LARGE) return;
    if (more >= 3) {
        const double *next = record + 3 * w->columns;
        if (w->sphere) rcf_on_sphere(next, point);
        rcf_prepare(w, w->coming, w->seen + 3, 3, w->sphere ? point : next);
    }
    rcf_prepare(w, w->coming, w->seen + 2, 2, NULL);
    rcf_prepare(w, w->coming, w->seen + 1, 1, NULL);
    if (w->size < w->window) return;
    rcf_fetch_chunk(&w->index, rcf_record_at(&w->index, rcf_slot(w, 4))->place / RCF_CHUNK);
    rcf_prepare(w, w->going, oldest + 3, 3, rcf_point_at(&w->index, rcf_slot(w, 3)));
    rcf_prepare(w, w->going, oldest + 2, 2, NULL);
    rcf_prepare(w, w->going, oldest + 1, 1, NULL);
}

static void rcf_forget_looks(rcf_window *w) {
    for (int i = 0; i < RCF_AHEAD; i++) w->coming[i].number = w->going[i].number = -1;
}

static int rcf_remove_oldest(rcf_window *w) {
    int32_t slot = w->first, lost = 0;
    int32_t n = rcf_within_prepared(w, w->going, w->seen + 1 - w->size, rcf_point_at(&w->index, slot));
    for (int32_t i = 0; i < n; i++) {
        rcf_entry *x = w->near_a[i];
        x->count--;
        if (x->core && x->count < (uint32_t)w->min_points && x->slot != slot) w->turned[lost++] = x->slot;
    }
    if (rcf_entry_of(&w->index, slot)->core) rcf_lose(w, slot, 1);
    else if (rcf_record_at(&w->index, slot)->owner >= 0) rcf_drop_border(w, slot);
    rcf_index_remove(&w->index, slot);
    for (int32_t i = 0; i < lost; i++) rcf_lose(w, w->turned[i], 0);
    w->first = slot + 1 == w->length ? 0 : slot + 1;
    w->size--;
    return rcf_after_exit(w);
}

/* Allocate memory for `more` records. If there is no memory, returns 0 and changes nothing. */
static int rcf_window_reserve(rcf_window *w, int64_t more) {
    int64_t n = w->size + more + 1;
    if (n > w->length) n = w->length;
    if (n <= w->capacity) return 1;
    if (n < 2 * (int64_t)w->capacity) n = 2 * (int64_t)w->capacity;
    if (n < 64) n = 64;
    if (n > w->length) n = w->length;
    size_t m = n;
    if (!rcf_index_reserve(&w->index, (int32_t)n)
        || !rcf_resize(&w->regions, m, sizeof *w->regions) || !rcf_resize(&w->extents, 2 * m * (w->columns + w->index.dims), sizeof(double))
        || (w->sphere && !rcf_resize(&w->places, 2 * m, sizeof(double)))
        || !rcf_resize(&w->touched, m, sizeof(int32_t)) || !rcf_resize(&w->stale, m, sizeof(int32_t))
        || !rcf_resize(&w->ended, m, sizeof(int64_t)) || !rcf_resize(&w->turned, m, sizeof(int32_t))
        || !rcf_resize(&w->near_a, m, sizeof *w->near_a) || !rcf_resize(&w->near_b, m, sizeof *w->near_b)
        || !rcf_resize(&w->near_c, m, sizeof *w->near_c) || !rcf_resize(&w->far_a, m, sizeof(double))
        || !rcf_resize(&w->far_b, m, sizeof(double)) || !rcf_resize(&w->far_c, m, sizeof(double))
        || !rcf_resize(&w->groups, m, sizeof *w->groups))
        return 0;
    w->capacity = (int32_t)n;
    return 1;
}

/* Add the next record of the stream. Memory must have been reserved for it, and `more` records must follow it in memory. Returns 0
 * if there is no memory for the log of changes. */
static int rcf_window_push(rcf_window *w, const double *record, int64_t more) {
    int fine = 1;
    int64_t place = (int64_t)w->first + w->size;
    int32_t slot = (int32_t)(place >= w->length ? place - w->length : place), turned = 0;
    rcf_record *x = rcf_record_at(&w->index, slot);
    int64_t told = w->n_changes;
    rcf_take(w, slot, record);
    rcf_look_ahead(w, record, more);
    int32_t n = rcf_within_prepared(w, w->coming, w->seen, w->fresh);
    rcf_entry *entry = rcf_index_insert(&w->index, slot, w->fresh);
    w->size++;
    x->mark = 0;
    x->owner = x->borders = -1;
    entry->core = 0;
    entry->count = n + 1;
    for (int32_t i = 0; i < n; i++)
        if (++w->near_a[i]->count == (uint32_t)w->min_points) w->turned[turned++] = w->near_a[i]->slot;
    if (entry->count >= (uint32_t)w->min_points) w->turned[turned++] = slot;
    else rcf_settle(w, slot, w->near_a, w->far_a, n);
    for (int32_t i = 0; i < turned; i++) rcf_gain(w, w->turned[i]);
    if (w->n_touched) fine &= rcf_after_entry(w);
    while (w->size > w->window) fine &= rcf_remove_oldest(w);
    for (int32_t i = 0; i < w->n_touched; i++) {
        rcf_region *r = &w->regions[w->touched[i]];
        if (r->count != r->start) fine &= rcf_tell(w, r->count > r->start ? RCF_GROWN : RCF_SHRUNK, r->id, -1, r->count);
        r->touched = 0;
    }
    w->n_touched = 0;
    for (int64_t i = told + 1; i < w->n_changes; i++) { /* sort the changes of this record by kind, then by id */
        rcf_change c = w->changes[i];
        int64_t j = i;
        for (; j > told && (w->changes[j - 1].kind > c.kind || (w->changes[j - 1].kind == c.kind && w->changes[j - 1].id > c.id)); j--)
            w->changes[j] = w->changes[j - 1];
        w->changes[j] = c;
    }
    w->seen++;
    return fine;
}

/* Fill a new window with n records, for which memory must have been reserved. `counts` holds the number of neighbours of each
 * record. `owners` holds the region of each core (0 .. n_regions - 1; every region has a core), the core of each border record, and
 * -1 for noise. False data give wrong regions but do no other harm. */
static void rcf_window_refill(rcf_window *w, int32_t n, const double *points, const int32_t *counts, const int32_t *owners,
                              int32_t n_regions) {
    for (int32_t r = 0; r < n_regions; r++) rcf_new_region(w);
    for (int32_t slot = 0; slot < n; slot++) {
        rcf_record *x = rcf_record_at(&w->index, slot);
        rcf_take(w, slot, points + (size_t)slot * w->columns);
        rcf_entry *entry = rcf_index_insert(&w->index, slot, w->fresh);
        x->mark = 0;
        x->owner = x->borders = -1;
        entry->core = 0;
        entry->count = counts[slot];
        if (counts[slot] >= w->min_points) rcf_add_core(w, owners[slot], slot);
    }
    for (int32_t slot = 0; slot < n; slot++)
        if (counts[slot] < w->min_points && owners[slot] >= 0) rcf_add_border(w, owners[slot], slot);
    for (int32_t i = 0; i < w->n_touched; i++) w->regions[w->touched[i]].touched = 0;
    w->n_touched = 0;
    w->size = n;
}

/* Initialise a window. On the sphere, `radius` is in metres. */
static int rcf_window_open(rcf_window *w, int columns, int sphere, int32_t window, double radius, int32_t min_points) {
    memset(w, 0, sizeof *w);
    w->columns = columns;
    w->sphere = sphere;
    w->window = window;
    w->length = window + 1;
    w->min_points = min_points;
    w->free_region = -1;
    rcf_forget_looks(w);
    return rcf_resize(&w->fresh, sphere ? 3 : columns, sizeof(double)) && rcf_index_open(&w->index, sphere ? 3 : columns, sphere ? rcf_chord(radius) : radius);
}

static void rcf_window_close(rcf_window *w) {
    rcf_index_close(&w->index);
    free(w->fresh), free(w->places), free(w->regions), free(w->extents), free(w->touched), free(w->stale), free(w->ended), free(w->turned);
    free(w->near_a), free(w->near_b), free(w->near_c), free(w->far_a), free(w->far_b), free(w->far_c), free(w->groups);
    free(w->changes);
}

#endif
