"""A random cut tree: built from rows, and changed one record at a time.

Guha, Mishra, Roy and Schrijvers, "Robust Random Cut Forest Based Anomaly Detection on Streams" (ICML 2016): for any order of insertions
and deletions, the tree has the distribution of a tree built from the remaining records.
"""

from libc.math cimport fabs
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from rcf._native.rng cimport Rng, uniform

cdef extern from "<assert.h>" nogil:
    void expect "assert"(bint)  # of the debug build alone

cdef extern from "_native/isa.h" nogil:
    int RCF_DEPTH, RCF_CODISP, RCF_DISPLACEMENT, RCF_OPENSEARCH, RCF_PATH

    enum:
        RCF_ONE_TREE
        RCF_NEAR_TREES
        RCF_FAR_TREES
        RCF_CODISP_PAIRS
        RCF_PAIRS
        RCF_SMALL
        RCF_STEPS

    ctypedef struct rcf_cut:
        int32_t[2] child
        float value
        int32_t dim

    ctypedef struct rcf_node:
        double range
        int32_t mass
        int32_t parent

    ctypedef struct rcf_leaf:
        int32_t mass
        int32_t parent

    ctypedef struct rcf_tree:
        rcf_cut* cuts
        rcf_node* nodes
        float* boxes
        float* points
        rcf_leaf* leaves
        int32_t* box_at
        void* box_memory
        int32_t small
        int32_t box_room
        int32_t n_boxes
        int32_t free_box
        int32_t capacity
        int32_t n_nodes
        int32_t n_leaves
        int32_t free_node
        int32_t free_leaf
        int32_t root
        int32_t mass
        int32_t dims
        int32_t stride

    int rcf_starved
    float* rcf_box(const rcf_tree* t, int32_t v)
    bint rcf_box_reserve(rcf_tree* t, int32_t room)
    bint rcf_box_ready(rcf_tree* t)
    float* rcf_box_take(rcf_tree* t, int32_t v)
    void rcf_box_drop(rcf_tree* t, int32_t v)
    void rcf_fill_tables()
    ctypedef struct rcf_path:
        const rcf_tree* tree
        int32_t at

    void rcf_prefetch_l2(const void* p)
    void rcf_prefetch_paths(rcf_path* paths, int k)

    ctypedef struct rcf_step:
        double excess
        int32_t node

    ctypedef struct rcf_pair:
        const rcf_tree* tree
        const float* x

    ctypedef struct rcf_walk:
        rcf_pair pair[RCF_PAIRS]
        double score[RCF_PAIRS]
        int32_t leaf[RCF_PAIRS]
        int32_t n_open[RCF_PAIRS]
        rcf_step open[RCF_PAIRS][RCF_STEPS]

    ctypedef struct rcf_span:
        int32_t node

    ctypedef struct rcf_sweep:
        int32_t* order
        int32_t* spare
        int32_t* done_row
        double* value
        double* done_value
        rcf_span* spans
        rcf_span* waiting
        float* box

    ctypedef struct rcf_walk_table:
        void (*score_pairs)(int kind, int where, rcf_walk* w, int n, int n_kept, double* ratios, ptrdiff_t levels) noexcept nogil
        void (*sweep_rows)(int kind, const rcf_tree* t, const float* rows, int32_t n, const rcf_sweep* sweep,
                           double* out) noexcept nogil
        int32_t (*open_boxes)(const rcf_tree* t, const float* x, int32_t v, rcf_step* open) noexcept nogil
        void (*widen_path)(rcf_tree* t, const float* x, int32_t v, int32_t n) noexcept nogil
        void (*shrink_path)(rcf_tree* t, int32_t v) noexcept nogil
        int32_t (*find_gap)(const float* lower, const float* upper, const float* x, int stride, double u,
                            double* within) noexcept nogil
        bint (*all_within)(const double* x, int64_t n, double limit) noexcept nogil
        double (*hull)(float* box, const float* a_lower, const float* a_upper,
                       const float* b_lower, const float* b_upper, int stride) noexcept nogil
        double (*hull_of_children)(const rcf_tree* t, int32_t v, float* box) noexcept nogil
        double (*hull_of_rows)(float* box, const float* rows, const int32_t* order,
                               int32_t begin, int32_t end, int stride) noexcept nogil

    void rcf_fill_top(rcf_tree* t)
    void rcf_renew_top(rcf_tree* t, int32_t v)
    rcf_walk_table rcf_walks
    int rcf_use_isa(int isa)
    int32_t rcf_partition(const float* rows, int32_t* order, int32_t* spare, int32_t begin, int32_t end,
                          int32_t dim, float cut, int stride)
    float rcf_cut_between(double v, float base, float top)
    int32_t rcf_descend(const rcf_tree* t, const float* x)
    int32_t rcf_descend_from(const rcf_tree* t, int32_t v, const float* x, int32_t* depth)
    double rcf_ratios(const rcf_tree* t, const float* x, double* ratios)
    double rcf_value_separated(int kind, int32_t h, int32_t mass, double above)
    double rcf_value_equal(int kind, int32_t h, int32_t m, int32_t n, double above)
    double rcf_scale(int kind, int32_t n)
    double rcf_score_of_mean(int kind, double mean)
    double rcf_mean_length(int32_t n)
    void rcf_narrow(float* row, const double* x, const double* origin, int dims, int stride)


# ---- memory ----------------------------------------------------------------------------------------------------

cdef inline size_t tree_bytes(int32_t capacity, int32_t stride, bint low_memory) noexcept nogil:
    """Bytes of the arrays of a tree with `capacity` leaves, including the alignment to a cache line.

    In low-memory mode boxes are allocated separately, and nodes with at most RCF_SMALL records (about three in four) have none: their
    box is recomputed from the points below them.
    """
    cdef size_t box = sizeof(int32_t) if low_memory else 2 * sizeof(float) * <size_t>stride
    return <size_t>capacity * (sizeof(rcf_cut) + sizeof(rcf_node) + sizeof(rcf_leaf) + sizeof(float) * <size_t>stride + box) + 64


cdef inline size_t box_bytes(const rcf_tree* t) noexcept nogil:
    """Bytes of the boxes that are allocated separately."""
    return <size_t>t.box_room * 2 * sizeof(float) * t.stride + 63 if t.box_room else 0


cdef inline void tree_clear(rcf_tree* t) noexcept nogil:
    t.n_nodes = t.n_leaves = t.mass = 0
    t.free_node = t.free_leaf = -1
    t.root = -1
    t.free_box = 0
    t.n_boxes = 1
    if t.leaves != NULL:
        # a walk over an empty tree ends in leaf 0
        t.leaves[0].mass = 0
        t.leaves[0].parent = -1
        rcf_fill_top(t)


cdef inline void tree_move(rcf_tree* t, void* memory, int32_t capacity) noexcept nogil:
    """Move the tree into zeroed memory of tree_bytes(capacity). The owner must free the old memory."""
    cdef rcf_tree old = t[0]
    # boxes first, on a cache line: up to 8 features a box is one line
    cdef char* at = <char*>((<uintptr_t>memory + 63) & ~<uintptr_t>63)
    if not t.small:
        t.boxes = <float*>at
        at += <size_t>capacity * 2 * t.stride * sizeof(float)
    t.cuts = <rcf_cut*>at
    at += <size_t>capacity * sizeof(rcf_cut)
    t.nodes = <rcf_node*>at
    at += <size_t>capacity * sizeof(rcf_node)
    t.points = <float*>at
    at += <size_t>capacity * t.stride * sizeof(float)
    t.leaves = <rcf_leaf*>at
    if t.small:
        t.box_at = <int32_t*>(at + <size_t>capacity * sizeof(rcf_leaf))
    t.capacity = capacity
    if old.n_leaves > 0:
        if t.small:
            memcpy(t.box_at, old.box_at, <size_t>old.n_nodes * sizeof(int32_t))
        else:
            memcpy(t.boxes, old.boxes, <size_t>old.n_nodes * 2 * t.stride * sizeof(float))
        memcpy(t.cuts, old.cuts, <size_t>old.n_nodes * sizeof(rcf_cut))
        memcpy(t.nodes, old.nodes, <size_t>old.n_nodes * sizeof(rcf_node))
        memcpy(t.points, old.points, <size_t>old.n_leaves * t.stride * sizeof(float))
        memcpy(t.leaves, old.leaves, <size_t>old.n_leaves * sizeof(rcf_leaf))
    else:
        tree_clear(t)


cdef inline void tree_copy(rcf_tree* to, const rcf_tree* of) noexcept nogil:
    """Copy a tree into one with enough room."""
    cdef rcf_tree old = to[0]
    if of.n_leaves > 0:
        memcpy(to.boxes, of.boxes, <size_t>(of.n_boxes if of.small else of.n_nodes) * 2 * of.stride * sizeof(float))
        if of.small:
            memcpy(to.box_at, of.box_at, <size_t>of.n_nodes * sizeof(int32_t))
        memcpy(to.cuts, of.cuts, <size_t>of.n_nodes * sizeof(rcf_cut))
        memcpy(to.nodes, of.nodes, <size_t>of.n_nodes * sizeof(rcf_node))
        memcpy(to.points, of.points, <size_t>of.n_leaves * of.stride * sizeof(float))
        memcpy(to.leaves, of.leaves, <size_t>of.n_leaves * sizeof(rcf_leaf))
    to[0] = of[0]
    to.cuts, to.boxes, to.nodes, to.points, to.leaves = old.cuts, old.boxes, old.nodes, old.points, old.leaves
    to.capacity = old.capacity
    to.box_at, to.box_memory, to.box_room = old.box_at, old.box_memory, old.box_room


cdef inline int32_t new_node(rcf_tree* t) noexcept nogil:
    cdef int32_t v = t.free_node
    if v >= 0:
        t.free_node = t.cuts[v].child[0]
    else:
        v = t.n_nodes
        t.n_nodes += 1
    if t.small:
        t.box_at[v] = 0
    return v


cdef inline int32_t new_leaf(rcf_tree* t, const float* x) noexcept nogil:
    cdef int32_t leaf = t.free_leaf
    if leaf >= 0:
        t.free_leaf = t.leaves[leaf].parent
    else:
        leaf = t.n_leaves
        t.n_leaves += 1
    expect(leaf < t.capacity)
    memcpy(t.points + <size_t>leaf * t.stride, x, t.stride * sizeof(float))
    return leaf


cdef inline void free_node(rcf_tree* t, int32_t v) noexcept nogil:
    if t.small:
        rcf_box_drop(t, v)
    memset(t.nodes + v, 0, sizeof(rcf_node))
    memset(t.cuts + v, 0, sizeof(rcf_cut))
    t.cuts[v].child[0] = t.free_node
    t.free_node = v


cdef inline void free_leaf(rcf_tree* t, int32_t leaf) noexcept nogil:
    t.leaves[leaf].mass = 0
    t.leaves[leaf].parent = t.free_leaf
    t.free_leaf = leaf


# ---- small steps -----------------------------------------------------------------------------------------------

cdef inline void corners_of(const rcf_tree* t, int32_t v, float* scratch, const float** lower, const float** upper) noexcept nogil:
    """The corners of the box of node v; for a leaf, both are its point. `scratch` is used for a box that is not stored."""
    if v < 0:
        lower[0] = upper[0] = t.points + <size_t>(~v) * t.stride
        return
    if t.nodes[v].mass <= t.small:
        rcf_walks.hull_of_children(t, v, scratch)
        lower[0] = scratch
    else:
        lower[0] = rcf_box(t, v)
    upper[0] = lower[0] + t.stride


cdef inline float* new_box(rcf_tree* t, int32_t v) noexcept nogil:
    """The place for the box of the new node v with known mass: scratch space, if the box is not stored."""
    if not t.small:
        return rcf_box(t, v)
    return rcf_box_take(t, v) if t.nodes[v].mass > t.small else t.boxes


cdef inline int32_t mass_of(const rcf_tree* t, int32_t v) noexcept nogil:
    return t.leaves[~v].mass if v < 0 else t.nodes[v].mass


cdef inline int32_t parent_of(const rcf_tree* t, int32_t v) noexcept nogil:
    return t.leaves[~v].parent if v < 0 else t.nodes[v].parent


cdef inline void set_parent(rcf_tree* t, int32_t v, int32_t parent) noexcept nogil:
    if v < 0:
        t.leaves[~v].parent = parent
    else:
        t.nodes[v].parent = parent


cdef inline void replace_child(rcf_tree* t, int32_t parent, int32_t old, int32_t new) noexcept nogil:
    """Replace the child `old` of `parent` (or the root, if `parent` is -1) by `new`."""
    if parent < 0:
        t.root = new
    else:
        t.cuts[parent].child[<int>(t.cuts[parent].child[1] == old)] = new
    set_parent(t, new, parent)


cdef inline bint same_point(const rcf_tree* t, int32_t leaf, const float* x) noexcept nogil:
    cdef const float* p = t.points + <size_t>leaf * t.stride
    cdef int32_t i
    for i in range(t.dims):
        if p[i] != x[i]:
            return False
    return True


# ---- insert ------------------------------------------------------------------------------------------------------

cdef inline void cut_off(rcf_tree* t, int32_t v, int32_t leaf, const float* x, double u) noexcept nogil:
    """Make x the sibling of v. u, uniform in [0, excess), determines the place of the cut in the gaps between x and the box of v."""
    cdef const float* lower
    cdef const float* upper
    cdef int32_t parent = parent_of(t, v), node, dim
    cdef double within
    cdef float cut, base
    cdef bint high
    corners_of(t, v, t.boxes, &lower, &upper)
    dim = rcf_walks.find_gap(lower, upper, x, t.stride, u, &within)
    high = x[dim] > upper[dim]
    base = upper[dim] if high else x[dim]
    cut = rcf_cut_between(<double>base + within, base, x[dim] if high else lower[dim])
    node = new_node(t)
    expect(node < t.capacity)
    t.cuts[node].value = cut
    t.cuts[node].dim = dim
    t.nodes[node].mass = mass_of(t, v) + 1
    t.nodes[node].range = rcf_walks.hull(new_box(t, node), lower, upper, x, x, t.stride)
    replace_child(t, parent, v, node)
    t.cuts[node].child[<int>high] = ~leaf
    t.cuts[node].child[1 - <int>high] = v
    set_parent(t, v, node)
    t.leaves[leaf].parent = node
    rcf_renew_top(t, node)


cdef inline int32_t tree_insert(rcf_tree* t, const float* x, Rng* rng, int32_t leaf, int32_t n, rcf_step* open,
                                rcf_step* scratch) noexcept nogil:
    """Insert x and return its leaf; the caller has made room. Returns -1, with nothing changed, if there is no memory for a box.

    `leaf`, `n` and `open` are the results of a walk of x: the leaf that x reaches and the boxes on the way up that do not contain it.
    If there are more than RCF_STEPS, they are searched again in `scratch`, which holds a step per level of the tree.

    The algorithm of the paper goes down and stops at the first box that a cut separates from x. The boxes draw independently, so this
    code finds the boxes that do not contain x from the leaf up, and then draws for them from the top down.
    """
    cdef int32_t beside, k, i
    cdef double u, size
    cdef const float* point
    if t.mass == 0:
        leaf = new_leaf(t, x)
        t.leaves[leaf].mass = 1
        t.leaves[leaf].parent = -1
        t.root = ~leaf
        t.mass = 1
        rcf_fill_top(t)
        return leaf
    if t.small and not rcf_box_ready(t):
        return -1
    t.mass += 1
    if n > RCF_STEPS:
        open = scratch
        n = rcf_walks.open_boxes(t, x, t.leaves[leaf].parent, open)
    if n == 0 and same_point(t, leaf, x):
        t.leaves[leaf].mass += 1
        rcf_walks.widen_path(t, x, t.leaves[leaf].parent, 0)
        return leaf
    beside = ~leaf
    u = 0.0
    k = n
    while k > 0:
        k -= 1
        u = uniform(rng) * (open[k].excess + t.nodes[open[k].node].range)
        if u < open[k].excess:
            beside = open[k].node
            n -= k + 1
            break
    if beside < 0:
        # no box was separated, so the leaf is
        size = 0.0
        point = t.points + <size_t>(~beside) * t.stride
        for i in range(t.dims):
            size += fabs(<double>x[i] - <double>point[i])
        u = uniform(rng) * size
    leaf = new_leaf(t, x)
    t.leaves[leaf].mass = 1
    cut_off(t, beside, leaf, x, u)
    rcf_walks.widen_path(t, x, t.nodes[t.leaves[leaf].parent].parent, n)
    return leaf


# ---- forget ------------------------------------------------------------------------------------------------------

cdef inline void tree_forget(rcf_tree* t, int32_t leaf) noexcept nogil:
    """Remove one record from a leaf. An empty leaf is removed, and its sibling replaces their parent."""
    cdef int32_t parent = t.leaves[leaf].parent, v, sibling
    expect(t.leaves[leaf].mass > 0)
    t.mass -= 1
    t.leaves[leaf].mass -= 1
    if t.leaves[leaf].mass > 0:
        while parent >= 0:
            t.nodes[parent].mass -= 1
            if t.nodes[parent].mass <= t.small:
                rcf_box_drop(t, parent)
            parent = t.nodes[parent].parent
        return
    if parent < 0:
        tree_clear(t)
        return
    sibling = t.cuts[parent].child[0] ^ t.cuts[parent].child[1] ^ ~leaf
    v = t.nodes[parent].parent
    replace_child(t, v, parent, sibling)
    rcf_renew_top(t, sibling)
    free_node(t, parent)
    free_leaf(t, leaf)
    rcf_walks.shrink_path(t, v)


# ---- build -------------------------------------------------------------------------------------------------------

cdef struct Span:
    int32_t begin
    int32_t end
    int32_t parent
    int32_t side


cdef inline int32_t build_leaf(rcf_tree* t, const float* rows, const int32_t* order, const Span* span, int32_t* items) noexcept nogil:
    """Create a leaf for the equal rows of the span."""
    cdef int32_t leaf = new_leaf(t, rows + <size_t>order[span.begin] * t.stride), i
    t.leaves[leaf].mass = span.end - span.begin
    t.leaves[leaf].parent = span.parent
    for i in range(span.begin, span.end):
        items[order[i]] = leaf
    return ~leaf


cdef inline int32_t build_node(rcf_tree* t, const float* box, double size, const Span* span, Rng* rng) noexcept nogil:
    """Create a node for the rows of the span, whose box is `box`, and its cut. Its box is copied, if it has one and it is not set yet."""
    cdef int32_t v = t.n_nodes, i, dim = -1
    cdef double u, side
    cdef const float* upper = box + t.stride
    t.n_nodes += 1
    t.nodes[v].range = size
    t.nodes[v].mass = span.end - span.begin
    t.nodes[v].parent = span.parent
    if t.small:
        t.box_at[v] = 0
        if t.nodes[v].mass > t.small:
            memcpy(rcf_box_take(t, v), box, 2 * t.stride * sizeof(float))
    u = uniform(rng) * size
    for i in range(t.dims):
        side = <double>upper[i] - <double>box[i]
        if side > 0.0:
            dim = i
            if u < side:
                break
            u -= side
    t.cuts[v].dim = dim
    t.cuts[v].value = rcf_cut_between(<double>box[dim] + u, box[dim], upper[dim])
    return v


cdef inline bint tree_build(rcf_tree* t, const float* rows, int32_t n, int32_t* items, Rng* rng) noexcept nogil:
    """Build from n >= 1 rows of `stride` floats; items[i] becomes the leaf of row i. False if memory fails.

    The caller has made room. Nodes are numbered in the order of a descent that visits left children first, which keeps a path
    within few cache lines.
    """
    cdef int32_t* order
    cdef int32_t* spare
    cdef Span* stack
    cdef Span span
    cdef int32_t top = 1, i, v, middle
    cdef double size
    cdef float* box
    # room for order and spare (n each) and the stack, which never holds more than n spans
    cdef void* scratch = malloc(<size_t>n * (2 * sizeof(int32_t) + sizeof(Span)))
    if scratch == NULL:
        return False
    stack = <Span*>scratch
    order = <int32_t*>(stack + n)
    spare = order + n
    tree_clear(t)
    if t.small and not rcf_box_reserve(t, 2 + n // 4):  # the approximate final size
        free(scratch)
        return False
    t.mass = n
    for i in range(n):
        order[i] = i
    stack[0] = Span(0, n, -1, 0)
    while top > 0:
        top -= 1
        span = stack[top]
        size = 0.0
        if span.end - span.begin > 1:
            if t.small and not rcf_box_ready(t):
                tree_clear(t)
                free(scratch)
                return False
            box = t.boxes if t.small else rcf_box(t, t.n_nodes)
            size = rcf_walks.hull_of_rows(box, rows, order, span.begin, span.end, t.stride)
        if size == 0.0:
            v = build_leaf(t, rows, order, &span, items)
        else:
            v = build_node(t, box, size, &span, rng)
            middle = rcf_partition(rows, order, spare, span.begin, span.end, t.cuts[v].dim, t.cuts[v].value, t.stride)
            expect(span.begin < middle < span.end)  # neither side of a cut is empty
            stack[top] = Span(middle, span.end, v, 1)
            stack[top + 1] = Span(span.begin, middle, v, 0)
            top += 2
        if span.parent < 0:
            t.root = v
        else:
            t.cuts[span.parent].child[span.side] = v
    rcf_fill_top(t)
    free(scratch)
    return True
