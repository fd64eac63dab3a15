/* See rcf_frozen.h. The layout of the file is described in rcf/export/_frozen.py.
 *
 * The inner nodes of a tree are in preorder and its leaves are in order from left to right, so a subtree is given by its first
 * inner node v, its first leaf a and its number of leaves n. If `left` leaves are below the first child, the first child is (v + 1,
 * a, left) and the second child is (v + left, a + left, n - left). A subtree of one leaf has no inner node.
 */
#include "rcf_frozen.h"

void *memcpy(void *, const void *, size_t); /* machines without a C library have no <string.h> */

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif
#ifdef __GNUC__
#define RCF_ABS(x) __builtin_fabs(x)
#else
#define RCF_ABS(x) ((x) < 0.0 ? -(x) : (x))
#endif

enum { RCF_BLOCK = 4 }; /* rcf adds the scores of trees in blocks of four; another order would change the last bit */

typedef struct {
    double above; /* codisp: the largest ratio of masses higher up */
    uint32_t v, a, n;
} rcf_subtree;

typedef struct {
    union {
        double range;     /* the sum of the sides */
        uint32_t span[2]; /* used in rcf_keep_boxes before the box is computed: a and n of the subtree */
    } is;
    float corner[]; /* the lower corner, then the upper corner, each padded with zeros to m->stride floats */
} rcf_box;

typedef struct { /* the parts of the scratch space */
    rcf_subtree *path[RCF_BLOCK];
    double *parts, *gaps;
    rcf_box *box;
    float *row;
} rcf_room;

static rcf_room rcf_room_in(const rcf_model *m, void *work) {
    rcf_room room;
    size_t levels = (size_t)m->depth + 1, width = 2 * (size_t)m->features;
    for (uint32_t k = 0; k < RCF_BLOCK; k++) room.path[k] = (rcf_subtree *)work + k * levels;
    room.parts = (double *)(void *)(room.path[RCF_BLOCK - 1] + levels);
    room.gaps = room.parts + width;
    room.box = (rcf_box *)(void *)(room.gaps + width);
    room.row = room.box->corner + 2 * m->stride;
    return room;
}

static void rcf_zero(void *at, size_t bytes) {
    volatile unsigned char *byte = at; /* volatile, so that the compiler does not replace the loop by a call of memset */
    while (bytes > 0) byte[--bytes] = 0;
}

/* ---- values of cuts and leaves; computed here, because the log and exp of C libraries differ between machines ------ */

/* log(1 + f) for 1 + f in [sqrt(1/2), sqrt(2)]. */
static double rcf_log1p(double f) {
    double s = f / (2.0 + f), z = s * s, z2 = z * z, z4 = z2 * z2, z8 = z4 * z4;
    double low = (1.0 / 3 + z * (1.0 / 5)) + z2 * (1.0 / 7 + z * (1.0 / 9));
    double middle = (1.0 / 11 + z * (1.0 / 13)) + z2 * (1.0 / 15 + z * (1.0 / 17));
    double high = (1.0 / 19 + z * (1.0 / 21)) + z2 * (1.0 / 23);
    return f - s * (f - 2.0 * (z * ((low + z4 * middle) + z8 * high)));
}

/* x = m 2^k with m from sqrt(1/2) to sqrt(2). */
static double rcf_split(double x, double *k) {
    uint64_t b;
    memcpy(&b, &x, 8);
    *k = (double)(b >> 52 & 0x7ff) - 1023.0;
    b = (b & 0x000fffffffffffffULL) | 0x3ff0000000000000ULL;
    memcpy(&x, &b, 8);
    if (x <= 1.4142135623730951) return x;
    *k += 1.0;
    return 0.5 * x;
}

static double rcf_log2(double x) {
    double k, m = rcf_split(x, &k);
    return k + rcf_log1p(m - 1.0) * 1.4426950408889634;
}

/* 2^-x for x of at least 0. */
static double rcf_half_to(double x) {
    if (!(x <= 1021.0)) return 0.0;
    int64_t k = (int64_t)(-x - 0.5);
    double r = (-x - (double)k) * 6.93147180559945286227e-01, r2 = r * r, r4 = r2 * r2, r8 = r4 * r4, power;
    double low = (1.0 / 2 + r * (1.0 / 6)) + r2 * (1.0 / 24 + r * (1.0 / 120));
    double middle = (1.0 / 720 + r * (1.0 / 5040)) + r2 * (1.0 / 40320 + r * (1.0 / 362880));
    double high = (1.0 / 3628800 + r * (1.0 / 39916800)) + r2 * (1.0 / 479001600 + r * (1.0 / 6227020800.0));
    uint64_t b = (uint64_t)(k + 1023) << 52;
    memcpy(&power, &b, 8);
    return (1.0 + (r + r2 * ((low + r4 * middle) + r8 * (high + r4 * (1.0 / 87178291200.0))))) * power;
}

/* The mean path length of a tree of n records, as in IsolationForest. */
static double rcf_length(double n) {
    if (n < 3.0) return n == 2.0;
    double k, m = rcf_split(n - 1.0, &k);
    m = k * 6.93147180369123816490e-01 + (rcf_log1p(m - 1.0) + k * 1.90821492927058770002e-10);
    return 2.0 * (m + 0.57721566490153286061) - 2.0 * (n - 1.0) / n;
}

static double rcf_scale(uint32_t method, double mass) {
    if (method == RCF_DEPTH) return rcf_log2(mass);
    if (method == RCF_PATH) return rcf_length(mass);
    return method == RCF_OPENSEARCH ? rcf_log2(mass + 1.0) : 1.0;
}

/* The value of a cut above a subtree of mass `mass` at depth h. */
static inline double rcf_separated(uint32_t method, double mass, uint32_t h, double above) {
    if (method == RCF_DISPLACEMENT) return mass;
    if (method == RCF_CODISP) return above > mass ? above : mass;
    return 1.0 / (h + 1.0);
}

/* The value of a leaf of `mass` records at depth h that x equals, in a tree of n records. */
static double rcf_equal(uint32_t method, double mass, uint32_t h, double above, double n) {
    if (method == RCF_CODISP) return above;
    if (method == RCF_DISPLACEMENT) return 0.0;
    if (method == RCF_OPENSEARCH) return (1.0 - mass / (2.0 * n)) / (h + rcf_log2(mass + 1.0));
    return h == 0 ? 1.0 / (mass + 1.0) : 1.0 / (h + rcf_log2(mass));
}

/* ---- trees -------------------------------------------------------------------------------------------------------- */

static inline uint32_t rcf_at(const unsigned char *table, uint32_t width, size_t i) {
    if (width == 1) return table[i];
    if (width == 2) return ((const uint16_t *)(const void *)table)[i];
    return ((const uint32_t *)(const void *)table)[i];
}

static inline uint32_t rcf_left(const rcf_model *m, uint32_t v) { return rcf_at(m->node, m->node_width, 2 * (size_t)v); }
static inline uint32_t rcf_dim(const rcf_model *m, uint32_t v) { return rcf_at(m->node, m->node_width, 2 * (size_t)v + 1); }

static inline const float *rcf_point(const rcf_model *m, uint32_t a) {
    return m->points + (size_t)(m->point ? rcf_at(m->point, m->point_width, a) : a) * m->features;
}

static inline double rcf_mass(const rcf_model *m, const rcf_subtree *at) {
    return m->before ? m->before[at->a + at->n] - m->before[at->a] : at->n;
}

/* Advance *root from the root of tree t - 1 (all zeros for t = 0) to the root of tree t. */
static void rcf_next_tree(const rcf_model *m, uint32_t t, rcf_subtree *root) {
    root->v += root->n > 0 ? root->n - 1 : 0;
    root->a += root->n;
    root->n = m->sizes[t];
}

static inline rcf_subtree rcf_child(const rcf_model *m, rcf_subtree at, uint32_t second) {
    uint32_t left = rcf_left(m, at.v), mask = 0 - second; /* a branch would be mispredicted half the time */
    rcf_subtree child = {at.above, at.v + 1 + ((left - 1) & mask), at.a + (left & mask), left + ((at.n - 2 * left) & mask)};
    if (m->method == RCF_CODISP) {
        double mass = rcf_mass(m, &child), ratio = (rcf_mass(m, &at) - mass) / (mass + 1.0);
        if (ratio > child.above) child.above = ratio;
    }
    return child;
}

/* Continue each path from its end, path[k][h[k]], to the leaf of the record. The steps of `many` trees alternate, so that they wait
 * for memory at the same time. */
static void rcf_descend(const rcf_model *model, const float *row, rcf_subtree *const *path, uint32_t *h, uint32_t many) {
    const rcf_model m = *model; /* a local copy, so that the compiler knows that writes to the paths do not change it */
    for (int on = 1; on;) {
        on = 0;
        for (uint32_t k = 0; k < many; k++) {
            rcf_subtree at = path[k][h[k]];
            if (at.n < 2) continue;
            path[k][++h[k]] = rcf_child(&m, at, row[rcf_dim(&m, at.v)] > m.cut[at.v]);
            on = 1;
        }
    }
}

static uint32_t rcf_same(const rcf_model *m, const float *row, const float *point) {
    uint32_t i = 0;
    while (i < m->features && point[i] == row[i]) i++;
    return i == m->features;
}

/* ---- boxes -------------------------------------------------------------------------------------------------------- */

static inline rcf_box *rcf_box_at(const rcf_model *m, void *boxes, uint32_t v) {
    return (rcf_box *)(void *)((char *)boxes + v * m->box);
}

/* The distance of x from a box, summed over the features. Feature i is added in lane i % 8, as in rcf. */
static double rcf_outside(const float *restrict x, const float *restrict lower, const float *restrict upper, size_t stride) {
    double s[8] = {0};
    for (size_t k = 0; k < stride; k += 8)
        for (size_t i = 0; i < 8; i++) {
            float inside = lower[k + i] < x[k + i] ? x[k + i] : lower[k + i];
            inside = upper[k + i] < inside ? upper[k + i] : inside;
            s[i] += RCF_ABS((double)x[k + i] - (double)inside);
        }
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

/* The box of one point. */
static void rcf_begin(const rcf_model *m, rcf_box *box, const float *point) {
    rcf_zero(box, m->box);
    for (uint32_t i = 0; i < m->features; i++) box->corner[i] = box->corner[m->stride + i] = point[i];
}

/* The hull of the box and another one. */
static void rcf_join(const rcf_model *m, rcf_box *box, const float *restrict other_lower, const float *restrict other_upper) {
    float *restrict lower = box->corner, *restrict upper = lower + m->stride;
    for (uint32_t i = 0; i < m->features; i++) {
        lower[i] = other_lower[i] < lower[i] ? other_lower[i] : lower[i];
        upper[i] = other_upper[i] > upper[i] ? other_upper[i] : upper[i];
    }
}

static void rcf_set_range(const rcf_model *m, rcf_box *box) {
    box->is.range = rcf_outside(box->corner + m->stride, box->corner, box->corner, m->stride);
}

/* Extend the box of *hull, which is a part of the subtree `at`, to all leaves of `at`. */
static void rcf_widen(const rcf_model *m, rcf_box *box, rcf_subtree *hull, const rcf_subtree *at) {
    for (uint32_t a = at->a; a < hull->a; a++) rcf_join(m, box, rcf_point(m, a), rcf_point(m, a));
    for (uint32_t a = hull->a + hull->n; a < at->a + at->n; a++) rcf_join(m, box, rcf_point(m, a), rcf_point(m, a));
    rcf_set_range(m, box);
    *hull = *at;
}

/* The subtree of node v, which rcf_keep_boxes has stored in the memory of its box. */
static rcf_subtree rcf_spanned(const rcf_box *box, uint32_t v) {
    rcf_subtree at = {0.0, v, box->is.span[0], box->is.span[1]};
    return at;
}

void rcf_keep_boxes(rcf_model *m, void *memory) {
    rcf_subtree root = {0}, at, child;
    for (uint32_t t = 0; t < m->trees; t++) {
        rcf_next_tree(m, t, &root);
        if (root.n > 1) memcpy(rcf_box_at(m, memory, root.v)->is.span, &root.a, sizeof(uint32_t[2]));
    }
    for (uint32_t v = 0; v < m->nodes; v++) /* from the roots down, because parents precede their children */
        for (uint32_t second = 0; second < 2; second++) {
            child = rcf_child(m, rcf_spanned(rcf_box_at(m, memory, v), v), second);
            if (child.n > 1) memcpy(rcf_box_at(m, memory, child.v)->is.span, &child.a, sizeof(uint32_t[2]));
        }
    for (uint32_t v = m->nodes; v-- > 0;) { /* from the leaves up: a box is the hull of the boxes of both children */
        rcf_box *box = rcf_box_at(m, memory, v);
        at = rcf_spanned(box, v);
        for (uint32_t second = 0; second < 2; second++) {
            child = rcf_child(m, at, second);
            const float *lower = child.n > 1 ? rcf_box_at(m, memory, child.v)->corner : rcf_point(m, child.a);
            if (!second) rcf_begin(m, box, lower);
            rcf_join(m, box, lower, child.n > 1 ? lower + m->stride : lower);
        }
        rcf_set_range(m, box);
    }
    m->boxes = memory;
}

/* ---- scores ------------------------------------------------------------------------------------------------------- */

/* Subtract the origin from the record and round it to floats. Returns 0 if a number is not finite or too large. */
static int rcf_narrow(const rcf_model *m, const double *x, float *row) {
    rcf_zero(row, m->stride * sizeof(float));
    for (uint32_t i = 0; i < m->features; i++) {
        if (!(x[i] >= -1.7e38 && x[i] <= 1.7e38)) return 0;
        row[i] = (float)(x[i] - m->origin[i]) + 0.0f;
    }
    return 1;
}

/* The score of the record in one tree, without the scale of the tree. The leaf of `path` is at depth h. */
static double rcf_tree_score(const rcf_model *m, const rcf_room *room, const rcf_subtree *path, uint32_t h) {
    const rcf_subtree *leaf = path + h, *at = leaf;
    rcf_subtree hull = *leaf;
    double mass = rcf_mass(m, leaf), score = rcf_separated(m->method, mass, h, leaf->above);
    if (m->method == RCF_PATH) return h + rcf_length(mass); /* a leaf of several equal records counts as a tree of that size */
    if (!m->boxes) rcf_begin(m, room->box, rcf_point(m, leaf->a));
    for (; at > path; at--) {
        const rcf_box *box = m->boxes ? rcf_box_at(m, m->boxes, at[-1].v) : room->box;
        if (!m->boxes) rcf_widen(m, room->box, &hull, at - 1);
        double excess = rcf_outside(room->row, box->corner, box->corner + m->stride, m->stride);
        if (excess == 0.0) break; /* all boxes above contain the record too */
        double here = rcf_separated(m->method, rcf_mass(m, at - 1), --h, at[-1].above);
        score += excess / (excess + box->is.range) * (here - score);
    }
    if (at < leaf || !rcf_same(m, room->row, rcf_point(m, leaf->a))) return score;
    return rcf_equal(m->method, mass, h, leaf->above, rcf_mass(m, path));
}

double rcf_score(const rcf_model *m, const double *x, void *work) {
    rcf_room room = rcf_room_in(m, work);
    rcf_subtree root = {0};
    double total = 0.0, mass = -1.0, scale = 0.0;
    if (!rcf_narrow(m, x, room.row)) return total / total;
    for (uint32_t t = 0; t < m->trees; t += RCF_BLOCK) {
        uint32_t h[RCF_BLOCK] = {0}, many = m->trees - t < RCF_BLOCK ? m->trees - t : RCF_BLOCK;
        double block = 0.0;
        for (uint32_t k = 0; k < many; k++) {
            rcf_next_tree(m, t + k, &root);
            room.path[k][0] = root;
        }
        rcf_descend(m, room.row, room.path, h, many);
        for (uint32_t k = 0; k < many; k++) {
            const rcf_subtree *path = room.path[k];
            if (rcf_mass(m, path) != mass) scale = rcf_scale(m->method, mass = rcf_mass(m, path));
            if (m->method == RCF_PATH) block += mass < 2.0 ? 1.0 : rcf_tree_score(m, &room, path, h[k]) / scale;
            else if (path->n > 0) block += rcf_tree_score(m, &room, path, h[k]) * scale;
        }
        total += block;
    }
    total /= m->trees;
    return m->method == RCF_PATH ? rcf_half_to(total) : total;
}

/* Combine the parts of the cuts below the box with a cut above it. Returns 0 if the box contains the record. */
static int rcf_blend(const rcf_model *m, const rcf_room *room, double here) {
    const float *lower = room->box->corner, *upper = lower + m->stride;
    double total = 0.0, range = room->box->is.range;
    for (uint32_t i = 0; i < m->features; i++) {
        double high = (double)room->row[i] - upper[i], low = (double)lower[i] - room->row[i];
        room->gaps[2 * i] = high > 0.0 ? high : 0.0;
        room->gaps[2 * i + 1] = low > 0.0 ? low : 0.0;
        total += room->gaps[2 * i] + room->gaps[2 * i + 1];
    }
    if (total == 0.0) return 0;
    double keep = range / (total + range), add = here / (total + range);
    for (uint32_t i = 0; i < 2 * m->features; i++) room->parts[i] = keep * room->parts[i] + add * room->gaps[i];
    return 1;
}

/* Add the part of each feature in the score of a tree. A record that equals a leaf is explained as in the tree without it, in which
 * the sibling of the leaf replaces its parent. These parts are then scaled to the score of the record. */
static void rcf_tree_attribution(const rcf_model *m, const rcf_room *room, rcf_subtree root, double *out) {
    rcf_subtree *path = room->path[0], parent = root;
    uint32_t method = m->method, h = 0, width = 2 * m->features;
    path[0] = root;
    rcf_descend(m, room->row, &path, &h, 1);
    rcf_subtree leaf = path[h], hull;
    uint32_t same = rcf_same(m, room->row, rcf_point(m, leaf.a)), beside = 0; /* the depth of the sibling in the tree without the leaf */
    double own = rcf_mass(m, &leaf), factor = rcf_scale(method, rcf_mass(m, &root)), total = same ? 0.0 : 1.0;
    rcf_zero(room->parts, width * sizeof(double));
    if (same) {
        factor *= rcf_equal(method, own, h, leaf.above, rcf_mass(m, &root));
        if (method == RCF_CODISP) method = RCF_DISPLACEMENT; /* the ratios are of another path; displacement has the same parts */
        if (h == 0) { /* the tree holds a single value, so all features get equal parts */
            for (uint32_t i = 0; i < width; i++) out[i] += factor / width;
            return;
        }
        parent = path[beside = --h];
        path[h] = rcf_child(m, parent, leaf.a == parent.a);
        rcf_descend(m, room->row, &path, &h, 1);
    }
    hull = path[h];
    rcf_begin(m, room->box, rcf_point(m, hull.a));
    for (uint32_t k = h + 1; k-- > 0;) {
        uint32_t around = k < beside; /* whether the subtree contains the leaf, which must be left out */
        if (around && k + 1 == beside) hull = parent; /* all other leaves of the parent are in the box already */
        rcf_widen(m, room->box, &hull, path + k);
        double mass = rcf_mass(m, path + k) - (around ? own : 0.0);
        if (!rcf_blend(m, room, rcf_separated(method, mass, k, path[k].above))) break;
    }
    for (uint32_t i = 0; same && i < width; i++) total += room->parts[i];
    for (uint32_t i = 0; i < width; i++) out[i] += factor * (room->parts[i] / total);
}

int rcf_attribution(const rcf_model *m, const double *x, void *work, double *out) {
    rcf_room room = rcf_room_in(m, work);
    rcf_subtree root = {0};
    if (m->method == RCF_PATH || !rcf_narrow(m, x, room.row)) return 0;
    rcf_zero(out, 2 * m->features * sizeof(double));
    for (uint32_t t = 0; t < m->trees; t++) {
        rcf_next_tree(m, t, &root);
        if (root.n > 0) rcf_tree_attribution(m, &room, root, out);
    }
    for (uint32_t i = 0; i < 2 * m->features; i++) out[i] /= m->trees;
    return 1;
}

/* ---- opening ------------------------------------------------------------------------------------------------------ */

typedef struct {
    uint32_t magic[2], crc, method;
    uint64_t size;
    double threshold;
    uint32_t features, trees, points, leaves, nodes;
    uint8_t node_width, point_width, massive, zero;
} rcf_header;

static uint32_t rcf_crc(const unsigned char *at, size_t n) {
    uint32_t crc = 0xffffffffu;
    for (; n > 0; n--) {
        crc ^= *at++;
        for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

/* The next table, of n times `each` bytes. If it extends beyond the file, *at becomes SIZE_MAX, and all later calls return NULL. */
static const void *rcf_take(const void *file, size_t size, size_t *at, uint64_t n, uint64_t each) {
    size_t begin = *at;
    *at = SIZE_MAX;
    if (begin > size || n * each > size - begin || (n * each + 7) / 8 * 8 > size - begin) return NULL;
    *at = begin + (size_t)(n * each + 7) / 8 * 8;
    return (const unsigned char *)file + begin;
}

/* Whether the nodes of a subtree at depth h form a tree. Raises model->depth to the depth of its leaves. The recursion takes the
 * smaller child and the loop the larger one, so at most 32 calls are active. */
static int rcf_check(rcf_model *m, rcf_subtree at, uint32_t h) {
    for (; at.n > 1; h++) {
        uint32_t left = rcf_left(m, at.v), second = left > at.n / 2;
        if (left < 1 || left >= at.n || rcf_dim(m, at.v) >= m->features) return 0;
        if (!rcf_check(m, rcf_child(m, at, second), h + 1)) return 0;
        at = rcf_child(m, at, !second);
    }
    if (h > m->depth) m->depth = h;
    return 1;
}

static int rcf_is_width(uint32_t width) { return width == 1 || width == 2 || width == 4; }

const char *rcf_open(rcf_model *m, const void *file, size_t size) {
    static const char *const broken = "the file is damaged: its tables do not describe trees";
    rcf_header head;
    size_t at = sizeof head;
    if ((uintptr_t)file % 8 != 0) return "the address of the file is not divisible by 8";
    if (size < sizeof head) return "the file is cut off";
    memcpy(&head, file, sizeof head);
    if (head.magic[0] != 0x66666372u || head.magic[1] != 0x011a7a72u) return "not a frozen model of version 1, or a big-endian machine";
    if (head.size != size) return "the file is cut off or too long";
    if (rcf_crc((const unsigned char *)file + 12, size - 12) != head.crc) return "the file is damaged: its checksum differs";
    uint32_t points = head.points, leaves = head.leaves, nodes = head.nodes, shared = head.point_width > 0;
    if (head.method > RCF_PATH || head.features < 1 || head.features >= 1 << 28 || head.trees < 1 || leaves == UINT32_MAX
        || !rcf_is_width(head.node_width) || (shared ? !rcf_is_width(head.point_width) : points != leaves) || head.massive > 1 || head.zero)
        return "the file is damaged: a number in its header is out of range";
    m->features = head.features;
    m->trees = head.trees;
    m->method = head.method;
    m->threshold = head.threshold;
    m->nodes = nodes;
    m->node_width = head.node_width;
    m->point_width = head.point_width;
    m->depth = 0;
    m->boxes = NULL;
    m->origin = rcf_take(file, size, &at, m->features, 8);
    m->sizes = rcf_take(file, size, &at, m->trees, 4);
    m->before = rcf_take(file, size, &at, head.massive ? leaves + 1 : 0, 4);
    m->cut = rcf_take(file, size, &at, nodes, 4);
    m->points = rcf_take(file, size, &at, points, 4 * (uint64_t)m->features);
    m->node = rcf_take(file, size, &at, nodes, 2 * m->node_width);
    m->point = rcf_take(file, size, &at, leaves, m->point_width);
    if (at != size) return "the file is damaged: its tables do not match its size";
    if (!shared) m->point = NULL;
    if (!head.massive) m->before = NULL;
    for (uint32_t i = 0; i < leaves; i++)
        if ((shared && rcf_at(m->point, m->point_width, i) >= points) || (m->before && m->before[i] >= m->before[i + 1])) return broken;
    rcf_subtree root = {0};
    for (uint32_t t = 0; t < m->trees; t++) {
        rcf_next_tree(m, t, &root);
        if (root.n > leaves - root.a || (root.n > 0 && root.n - 1 > nodes - root.v) || !rcf_check(m, root, 0)) return broken;
    }
    rcf_next_tree(m, 0, &root);
    if (root.a != leaves || root.v != nodes) return broken;
    m->stride = ((size_t)m->features + 7) / 8 * 8;
    m->box = sizeof(rcf_box) + 2 * m->stride * sizeof(float);
    uint64_t paths = (m->depth + UINT64_C(1)) * RCF_BLOCK * sizeof(rcf_subtree), boxes = nodes * (uint64_t)m->box;
    uint64_t work = paths + 4 * sizeof(double) * (uint64_t)m->features + m->box + m->stride * sizeof(float);
    m->memory = boxes > SIZE_MAX ? SIZE_MAX : (size_t)boxes;
    m->work = (size_t)work;
    return work == m->work ? NULL : "the trees are too deep for the memory of this machine";
}
