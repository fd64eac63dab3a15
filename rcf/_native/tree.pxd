"""A random cut tree. It is built from rows, and records can then be inserted and removed one at a time.

Guha, Mishra, Roy and Schrijvers, "Robust Random Cut Forest Based Anomaly Detection on Streams" (ICML 2016): for any order of insertions
and deletions, the tree has the distribution of a tree built from the remaining records.
"""

from libc.math cimport fabs
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from rcf._native.rng cimport Rng, uniform

cdef extern from "<assert.h>" nogil:
    void expect "assert"(bint)  # has an effect in debug builds only

cdef extern from "_native/isa.h" nogil:
    int RCF_DEPTH, RCF_CODISP, RCF_DISPLACEMENT, RCF_OPENSEARCH, RCF_PATH

    enum:
        RCF_ONE_TREE
        RCF_NEAR_TREES
        RCF_FAR_TREES
        RCF_COLD_TREES
        RCF_CODISP_PAIRS
        RCF_PAIRS
        RCF_SMALL
        RCF_SMALL_COMPACT
        RCF_STEPS

        RCF_FEW
        RCF_SHORT

    ctypedef struct rcf_cut:
        pass

    ctypedef struct rcf_node:
        pass

    ctypedef struct rcf_leaf:
        pass

    ctypedef struct rcf_short_node:
        pass

    ctypedef struct rcf_short_leaf:
        pass

    ctypedef struct rcf_tree:
        rcf_cut* cuts
        rcf_node* nodes
        float* boxes
        float* points
        rcf_leaf* leaves
        int32_t* box_at
        void* box_memory
        int32_t compact
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
        int32_t box_step

    int32_t mass_of "rcf_mass"(const rcf_tree* t, int32_t v)
    int32_t parent_of "rcf_parent"(const rcf_tree* t, int32_t v)
    int32_t sibling_of "rcf_sibling"(const rcf_tree* t, int32_t parent, int32_t v)
    int32_t child_of "rcf_child"(const rcf_tree* t, int32_t v, int side)
    int32_t cut_dim "rcf_cut_dim"(const rcf_tree* t, int32_t v)
    float cut_value "rcf_cut_value"(const rcf_tree* t, int32_t v)
    void set_mass "rcf_set_mass"(rcf_tree* t, int32_t v, int32_t mass)
    void set_parent "rcf_set_parent"(rcf_tree* t, int32_t v, int32_t parent)
    void set_child "rcf_set_child"(rcf_tree* t, int32_t v, int side, int32_t child)
    void set_cut "rcf_set_cut"(rcf_tree* t, int32_t v, int32_t dim, float value)
    void set_range "rcf_set_range"(rcf_tree* t, int32_t v, double range)
    double rcf_range(const rcf_tree* t, int32_t v)
    void rcf_set_box_number(rcf_tree* t, int32_t v, int32_t number)
    int32_t rcf_box_step(int compact, int stride)
    char* rcf_boxes_begin(const rcf_tree* t)
    size_t rcf_alignment(const rcf_tree* t)
    char* rcf_aligned(const rcf_tree* t, void* memory)

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
    void rcf_prefetch_record(const double* x, int dims)
    void rcf_prefetch_paths(rcf_path* paths, int k)
    void rcf_prefetch_siblings(const rcf_path* paths, int k)
    void rcf_prefetch_bytes(const void* p, size_t bytes)

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
        double* wide
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
        void (*logs)(double* x, int32_t n) noexcept nogil
        int32_t (*partition)(const float* rows, int32_t* order, int32_t* spare, int32_t begin, int32_t end,
                             int32_t dim, float cut, int stride) noexcept nogil
        double (*hull)(float* box, const float* a_lower, const float* a_upper,
                       const float* b_lower, const float* b_upper, int stride) noexcept nogil
        double (*hull_of_children)(const rcf_tree* t, int32_t v, float* box) noexcept nogil
        double (*hull_of_rows)(float* box, const float* rows, const int32_t* order,
                               int32_t begin, int32_t end, int stride) noexcept nogil

    void rcf_fill_top(rcf_tree* t)
    void rcf_renew_top(rcf_tree* t, int32_t v)
    rcf_walk_table rcf_walks
    int rcf_use_isa(int isa)
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

cdef inline void tree_shape(rcf_tree* t, int64_t capacity, int32_t dims, bint low_memory) noexcept nogil:
    """Choose the layout of a tree with up to `capacity` leaves, which has no memory yet."""
    t.dims = dims
    t.compact = low_memory and dims <= RCF_FEW and capacity <= RCF_SHORT
    t.small = 0 if not low_memory else RCF_SMALL_COMPACT if t.compact else RCF_SMALL
    t.stride = (dims if t.compact else 4) if dims <= 4 else (dims + 7) // 8 * 8
    t.box_step = rcf_box_step(t.compact, t.stride)


cdef inline size_t node_bytes(const rcf_tree* t) noexcept nogil:
    """Bytes of a node without its box."""
    return sizeof(rcf_short_node) if t.compact else sizeof(rcf_cut) + sizeof(rcf_node) + (sizeof(int32_t) if t.small else 0)


cdef inline size_t leaf_bytes(const rcf_tree* t) noexcept nogil:
    """Bytes of a leaf without its point."""
    return sizeof(rcf_short_leaf) if t.compact else sizeof(rcf_leaf)


cdef inline size_t tree_bytes(const rcf_tree* t, int32_t capacity) noexcept nogil:
    """Bytes of the arrays of a tree with `capacity` leaves, including their alignment.

    In low-memory mode boxes are allocated separately, and nodes with at most RCF_SMALL records (about three in four) have none: their
    box is recomputed from the points below them.
    """
    cdef size_t box = 0 if t.small else t.box_step
    return <size_t>capacity * (node_bytes(t) + leaf_bytes(t) + sizeof(float) * <size_t>t.stride + box) + rcf_alignment(t)


cdef inline size_t box_bytes(const rcf_tree* t) noexcept nogil:
    """Bytes of the boxes that are allocated separately."""
    return <size_t>t.box_room * t.box_step + rcf_alignment(t) - 1 if t.box_room else 0


cdef inline void tree_clear(rcf_tree* t) noexcept nogil:
    t.n_nodes = t.n_leaves = t.mass = 0
    t.free_node = t.free_leaf = -1
    t.root = -1
    t.free_box = 0
    t.n_boxes = 1
    if t.leaves != NULL:
        # a walk through an empty tree ends in leaf 0
        set_mass(t, ~0, 0)
        set_parent(t, ~0, -1)
        rcf_fill_top(t)


cdef inline void copy_arrays(rcf_tree* to, const rcf_tree* of) noexcept nogil:
    """Copy the nodes and leaves of a tree that has the same layout, but no boxes that are allocated separately."""
    if not of.small:
        memcpy(to.boxes, of.boxes, <size_t>of.n_nodes * of.box_step)
    if of.compact:
        memcpy(to.cuts, of.cuts, <size_t>of.n_nodes * sizeof(rcf_short_node))
    else:
        memcpy(to.cuts, of.cuts, <size_t>of.n_nodes * sizeof(rcf_cut))
        memcpy(to.nodes, of.nodes, <size_t>of.n_nodes * sizeof(rcf_node))
    if of.box_at != NULL:
        memcpy(to.box_at, of.box_at, <size_t>of.n_nodes * sizeof(int32_t))
    memcpy(to.points, of.points, <size_t>of.n_leaves * of.stride * sizeof(float))
    memcpy(to.leaves, of.leaves, <size_t>of.n_leaves * leaf_bytes(of))


cdef inline void tree_move(rcf_tree* t, void* memory, int32_t capacity) noexcept nogil:
    """Move the tree into zeroed memory of tree_bytes(capacity). The owner must free the old memory."""
    cdef rcf_tree old = t[0]
    cdef char* at = rcf_aligned(t, memory)
    if not t.small:
        t.boxes = <float*>at
        at += <size_t>capacity * t.box_step
    t.cuts = <rcf_cut*>at
    t.nodes = <rcf_node*>at
    if t.compact:
        at += <size_t>capacity * sizeof(rcf_short_node)
    else:
        at += <size_t>capacity * sizeof(rcf_cut)
        t.nodes = <rcf_node*>at
        at += <size_t>capacity * sizeof(rcf_node)
    t.points = <float*>at
    at += <size_t>capacity * t.stride * sizeof(float)
    t.leaves = <rcf_leaf*>at
    if t.small and not t.compact:
        t.box_at = <int32_t*>(at + <size_t>capacity * sizeof(rcf_leaf))
    t.capacity = capacity
    if old.n_leaves > 0:
        copy_arrays(t, &old)
    else:
        tree_clear(t)


cdef inline void tree_copy(rcf_tree* to, const rcf_tree* of) noexcept nogil:
    """Copy a tree into one with enough room."""
    cdef rcf_tree old = to[0]
    if of.n_leaves > 0:
        copy_arrays(to, of)
        if of.small:
            memcpy(rcf_boxes_begin(to), rcf_boxes_begin(of), <size_t>of.n_boxes * of.box_step)
    to[0] = of[0]
    to.cuts, to.boxes, to.nodes, to.points, to.leaves = old.cuts, old.boxes, old.nodes, old.points, old.leaves
    to.capacity = old.capacity
    to.box_at, to.box_memory, to.box_room = old.box_at, old.box_memory, old.box_room


cdef inline int32_t new_node(rcf_tree* t) noexcept nogil:
    cdef int32_t v = t.free_node
    if v >= 0:
        t.free_node = child_of(t, v, 0)
    else:
        v = t.n_nodes
        t.n_nodes += 1
    if t.small:
        rcf_set_box_number(t, v, 0)
    return v


cdef inline int32_t new_leaf(rcf_tree* t, const float* x) noexcept nogil:
    cdef int32_t leaf = t.free_leaf
    if leaf >= 0:
        t.free_leaf = parent_of(t, ~leaf)
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
    memset(t.cuts + v, 0, sizeof(rcf_cut))  # in the compact layout these are the same bytes
    set_child(t, v, 0, t.free_node)
    t.free_node = v


cdef inline void free_leaf(rcf_tree* t, int32_t leaf) noexcept nogil:
    set_mass(t, ~leaf, 0)
    set_parent(t, ~leaf, t.free_leaf)
    t.free_leaf = leaf


# ---- small steps -----------------------------------------------------------------------------------------------

cdef inline void corners_of(const rcf_tree* t, int32_t v, float* scratch, const float** lower, const float** upper) noexcept nogil:
    """The corners of the box of node v; for a leaf, both are its point. `scratch` is used for a box that is not stored."""
    if v < 0:
        lower[0] = upper[0] = t.points + <size_t>(~v) * t.stride
        return
    if mass_of(t, v) <= t.small:
        rcf_walks.hull_of_children(t, v, scratch)
        lower[0] = scratch
    else:
        lower[0] = rcf_box(t, v)
    upper[0] = lower[0] + t.stride


cdef inline double range_of(const rcf_tree* t, int32_t v, float* scratch) noexcept nogil:
    """The sum of the sides of the box of node v."""
    if t.compact and mass_of(t, v) <= t.small:
        return rcf_walks.hull_of_children(t, v, scratch)
    return rcf_range(t, v)


cdef inline float* new_box(rcf_tree* t, int32_t v) noexcept nogil:
    """The memory for the box of the new node v, whose mass is known. If the box is not stored, this is scratch space."""
    if not t.small:
        return rcf_box(t, v)
    return rcf_box_take(t, v) if mass_of(t, v) > t.small else t.boxes


cdef inline void replace_child(rcf_tree* t, int32_t parent, int32_t old, int32_t new) noexcept nogil:
    """Replace the child `old` of `parent` (or the root, if `parent` is -1) by `new`."""
    if parent < 0:
        t.root = new
    else:
        set_child(t, parent, <int>(child_of(t, parent, 1) == old), new)
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
    """Make x the sibling of v. The number u, uniform in [0, excess), places the cut in the gaps between x and the box of v."""
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
    set_cut(t, node, dim, cut)
    set_mass(t, node, mass_of(t, v) + 1)
    set_range(t, node, rcf_walks.hull(new_box(t, node), lower, upper, x, x, t.stride))
    replace_child(t, parent, v, node)
    set_child(t, node, <int>high, ~leaf)
    set_child(t, node, 1 - <int>high, v)
    set_parent(t, v, node)
    set_parent(t, ~leaf, node)
    rcf_renew_top(t, node)


cdef inline int32_t tree_insert(rcf_tree* t, const float* x, Rng* rng, int32_t leaf, int32_t n, rcf_step* open,
                                rcf_step* scratch) noexcept nogil:
    """Insert x and return its leaf; the caller has made room. If there is no memory for a box, returns -1 and changes nothing.

    `leaf`, `n` and `open` are the results of a walk of x: the leaf that x reaches, and the n boxes on the way up that do not
    contain x. If n exceeds RCF_STEPS, the boxes are found again and written to `scratch`, which has room for a step per level of
    the tree.

    The algorithm of the paper goes down and stops at the first box that a cut separates from x. The draws for the boxes are
    independent, so this code first finds the boxes that do not contain x, from the leaf up, and then draws for them from the top
    down.
    """
    cdef int32_t sibling, k, i
    cdef double u, size
    cdef const float* point
    if t.mass == 0:
        leaf = new_leaf(t, x)
        set_mass(t, ~leaf, 1)
        set_parent(t, ~leaf, -1)
        t.root = ~leaf
        t.mass = 1
        rcf_fill_top(t)
        return leaf
    if t.small and not rcf_box_ready(t):
        return -1
    t.mass += 1
    if n > RCF_STEPS:
        open = scratch
        n = rcf_walks.open_boxes(t, x, parent_of(t, ~leaf), open)
    if n == 0 and same_point(t, leaf, x):
        set_mass(t, ~leaf, mass_of(t, ~leaf) + 1)
        rcf_walks.widen_path(t, x, parent_of(t, ~leaf), 0)
        return leaf
    sibling = ~leaf
    u = 0.0
    k = n
    while k > 0:
        k -= 1
        u = uniform(rng) * (open[k].excess + range_of(t, open[k].node, t.boxes))
        if u < open[k].excess:
            sibling = open[k].node
            n -= k + 1
            break
    if sibling < 0:
        # no box was separated from x, so the cut separates the leaf
        size = 0.0
        point = t.points + <size_t>(~sibling) * t.stride
        for i in range(t.dims):
            size += fabs(<double>x[i] - <double>point[i])
        u = uniform(rng) * size
    leaf = new_leaf(t, x)
    set_mass(t, ~leaf, 1)
    cut_off(t, sibling, leaf, x, u)
    rcf_walks.widen_path(t, x, parent_of(t, parent_of(t, ~leaf)), n)
    return leaf


# ---- forget ------------------------------------------------------------------------------------------------------

cdef inline void tree_forget(rcf_tree* t, int32_t leaf) noexcept nogil:
    """Remove one record from a leaf. An empty leaf is removed, and its sibling replaces their parent."""
    cdef int32_t parent = parent_of(t, ~leaf), v, sibling
    expect(mass_of(t, ~leaf) > 0)
    t.mass -= 1
    set_mass(t, ~leaf, mass_of(t, ~leaf) - 1)
    if mass_of(t, ~leaf) > 0:
        while parent >= 0:
            set_mass(t, parent, mass_of(t, parent) - 1)
            if mass_of(t, parent) <= t.small:
                rcf_box_drop(t, parent)
            parent = parent_of(t, parent)
        return
    if parent < 0:
        tree_clear(t)
        return
    sibling = sibling_of(t, parent, ~leaf)
    v = parent_of(t, parent)
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
    set_mass(t, ~leaf, span.end - span.begin)
    set_parent(t, ~leaf, span.parent)
    for i in range(span.begin, span.end):
        items[order[i]] = leaf
    return ~leaf


cdef inline int32_t build_node(rcf_tree* t, const float* box, double size, const Span* span, Rng* rng) noexcept nogil:
    """Create a node with a random cut for the rows of the span, whose box is `box`. In low-memory mode, a box that is stored is copied."""
    cdef int32_t v = t.n_nodes, i, dim = -1
    cdef double u, side
    cdef const float* upper = box + t.stride
    t.n_nodes += 1
    set_mass(t, v, span.end - span.begin)
    set_parent(t, v, span.parent)
    if t.small:
        rcf_set_box_number(t, v, 0)
        if mass_of(t, v) > t.small:
            memcpy(rcf_box_take(t, v), box, 2 * t.stride * sizeof(float))
    set_range(t, v, size)
    u = uniform(rng) * size
    for i in range(t.dims):
        side = <double>upper[i] - <double>box[i]
        if side > 0.0:
            dim = i
            if u < side:
                break
            u -= side
    set_cut(t, v, dim, rcf_cut_between(<double>box[dim] + u, box[dim], upper[dim]))
    return v


cdef inline bint tree_build(rcf_tree* t, const float* rows, int32_t n, int32_t* items, Rng* rng) noexcept nogil:
    """Build the tree from n >= 1 rows of `stride` floats. items[i] becomes the leaf of row i. Returns False if memory runs out.

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
    cdef void* scratch = malloc(<size_t>n * (2 * sizeof(int32_t) + sizeof(Span)) + 16 * sizeof(int32_t))
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
            if span.end - span.begin == 2:  # a third of the nodes
                middle = span.begin + 1
                if rows[<size_t>order[span.begin] * t.stride + cut_dim(t, v)] > cut_value(t, v):
                    order[span.begin], order[middle] = order[middle], order[span.begin]
            else:
                middle = rcf_walks.partition(rows, order, spare, span.begin, span.end, cut_dim(t, v), cut_value(t, v), t.stride)
            expect(span.begin < middle < span.end)  # neither side of a cut is empty
            stack[top] = Span(middle, span.end, v, 1)
            stack[top + 1] = Span(span.begin, middle, v, 0)
            top += 2
        if span.parent < 0:
            t.root = v
        else:
            set_child(t, span.parent, span.side, v)
    rcf_fill_top(t)
    free(scratch)
    return True
