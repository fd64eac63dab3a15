"""A forest is stored as a string of bits. It holds everything that future results depend on, and nothing that can be computed from
the rest.

The masses, boxes and ranges of nodes are not stored, because they follow from the records below. A cut lies between the boxes on its
two sides, so it is stored as its rank among the floats between them. A value with a known limit takes as many bits as the limit
needs. A *number* in the table below has no known limit, so 6 bits with its width precede it. The parts come in this order:

=====================  ===============================================================================================================
the forest             n_trees, capacity, n_features, step: 32 bits each; growing: 1 bit; time_decay: a double; seen, warm_up, table:
                       numbers; the origin: doubles; if growing is set, the first records: doubles
its records            how many there are: a number. For each feature, how its floats are stored (see Column): zeros and width,
                       5 bits each; least, 31 bits. Then each record that any tree holds, by arrival
a record               its arrival, as the distance from the arrival of the record before it: bit 1 if that is 1, else bit 0 and a
                       number. Its features: floats, but 2 bits for each that it shares with the record before it (see put_row)
the sizes              how many records each tree holds: numbers
each tree              4 words of the random number generator, 64 bits each; threshold and budget: doubles; the number of leaves,
                       next - seen - 1, and seen - settled: numbers. Its nodes, its sample and its cuts follow
its nodes              inner nodes from the root down, left before right: the number of leaves on the left, less 1; the feature of
                       the cut
its sample             the least key, 64 bits, and the width of the keys, 7 bits. Then for each slot of the heap: its key, less the
                       least (both as ranks among the doubles); its record; its leaf
its cuts               from the last node to the first: the rank of the cut among the floats from the largest value on its left
=====================  ===============================================================================================================
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from rcf._native.bits cimport *
from rcf._native.preorder cimport count_leaves, weigh_nodes
from rcf._native.records cimport all_read, put_records
from rcf._native.tree cimport (
    child_of, cut_dim, cut_value, mass_of, rcf_box_take, rcf_fill_top, rcf_tree, rcf_walks, same_point, set_child, set_cut,
    set_mass, set_parent, set_range, tree_clear,
)
from rcf._native.trees cimport Trees, drop_head
from sampling._reservoir cimport Sample, held_as, item_of, most_arrivals

cdef enum:
    OF_TREE = 390    # a tree takes at least this many bits


# ---- writing -----------------------------------------------------------------------------------------------------

cdef inline int32_t leaves_below(const int32_t* leaves, int32_t v) noexcept nogil:
    """The number of leaves below v, which is leaves[v] for a node and 1 for a leaf.

    There is no branch, because half of the children are leaves and the CPU could not predict it.
    """
    cdef int32_t leaf = v >> 31
    return (leaves[v & ~leaf] - 1 & ~leaf) + 1


cdef inline void put_nodes(rcf_writer* w, const rcf_tree* t, int32_t n_leaves, int dim_bits, int32_t* node, int32_t* place) noexcept nogil:
    """Write the nodes. node[k] becomes the k-th inner node, and place[t.n_nodes + leaf] the position of the leaf, counted from the
    left.

    `node` has room for two entries per node, `place` for two per node and leaf.
    """
    cdef int32_t* stack = node + n_leaves
    cdef int32_t* leaves = place + t.n_nodes + t.n_leaves
    cdef int32_t top = 1 if t.root >= 0 else 0, nodes = 0, v, k, left, right, many
    cdef int width
    stack[0] = t.root
    while top > 0:
        top -= 1
        v = stack[top]
        node[nodes] = v
        nodes += 1
        stack[top] = child_of(t, v, 1)
        top += stack[top] >= 0
        stack[top] = child_of(t, v, 0)
        top += stack[top] >= 0
    for k in range(nodes - 1, -1, -1):
        v = node[k]
        leaves[v] = leaves_below(leaves, child_of(t, v, 0)) + leaves_below(leaves, child_of(t, v, 1))
    place[t.root if t.root >= 0 else t.n_nodes + ~t.root] = 0
    for k in range(nodes):
        v = node[k]
        left, right = child_of(t, v, 0), child_of(t, v, 1)
        many = leaves_below(leaves, left)
        place[(left ^ left >> 31) + (t.n_nodes & left >> 31)] = place[v]
        place[(right ^ right >> 31) + (t.n_nodes & right >> 31)] = place[v] + many
        width = rcf_width(leaves[v] - 2)
        rcf_put(w, <uint64_t>(many - 1) | <uint64_t>cut_dim(t, v) << width, width + dim_bits)


cdef inline const float* corner(const rcf_tree* t, const float* boxes, int32_t v, bint upper) noexcept nogil:
    """The lower or upper corner of the box of v. `boxes` holds the boxes of all nodes."""
    # without a branch, as in leaves_below()
    cdef uintptr_t leaf = -<uintptr_t>(v < 0)
    cdef uintptr_t point = <uintptr_t>(t.points + (<size_t>(~v) & leaf) * t.stride)
    cdef uintptr_t box = <uintptr_t>(boxes + (2 * <size_t>(v & ~(v >> 31)) + upper) * t.stride)
    return <const float*>(point & leaf | box & ~leaf)


cdef inline double join_children(const rcf_tree* t, float* boxes, int32_t v) noexcept nogil:
    """Write the box of v, which is the hull of the boxes of its children, to `boxes`. Returns its range.

    In low-memory mode most nodes store no box. Computing each box from all points below would take half of the time of to_bytes and
    from_bytes.
    """
    cdef int32_t left = child_of(t, v, 0), right = child_of(t, v, 1)
    return rcf_walks.hull(boxes + 2 * <size_t>v * t.stride, corner(t, boxes, left, False), corner(t, boxes, left, True),
                          corner(t, boxes, right, False), corner(t, boxes, right, True), t.stride)


cdef inline size_t floats_of_boxes(const Trees* f, int32_t nodes) noexcept nogil:
    """The size of the array `boxes` for a tree with that many nodes. Outside low-memory mode it is 0: no array is needed."""
    return 2 * <size_t>f.stride * nodes if f.low_memory else 0


cdef inline void put_tree(rcf_writer* w, const Trees* f, int b, const int32_t* record, int record_bits, int32_t* scratch,
                          float* boxes) noexcept nogil:
    """Write tree b. record[k] is the row of the record in slot k.

    `scratch` has room for six times the nodes, and `boxes` for floats_of_boxes().
    """
    cdef const rcf_tree* t = &f.tree[b]
    cdef const Sample* s = &f.sample[b]
    cdef int32_t n_leaves = count_leaves(t), v, k
    cdef int32_t* node = scratch
    cdef int32_t* place = node + 2 * n_leaves + 2
    cdef int dim_bits = rcf_width(f.n_features - 1), leaf_bits, key_bits
    cdef uint64_t least, most
    cdef uint32_t low, high
    for k in range(4):
        rcf_put(w, f.rng[b].s[k], 64)
    rcf_put_double(w, s.threshold)
    rcf_put_double(w, s.budget)
    rcf_put_number(w, n_leaves)
    rcf_put_number(w, s.next - f.seen - 1)
    rcf_put_number(w, f.seen - s.settled)
    if s.size == 0:
        return
    put_nodes(w, t, n_leaves, dim_bits, node, place)
    least, most = rcf_rank_of_double(s.slots[0].key), rcf_rank_of_double(s.slots[0].key)
    for k in range(s.size // 2, s.size):  # the leaves of the heap; one of them has the least key
        least = min(least, rcf_rank_of_double(s.slots[k].key))
    key_bits, leaf_bits = rcf_width(most - least), rcf_width(n_leaves - 1)
    rcf_put(w, least, 64)
    rcf_put(w, key_bits, 7)
    for k in range(s.size):
        rcf_put(w, rcf_rank_of_double(s.slots[k].key) - least, key_bits)
        rcf_put(w, record[k] | <uint64_t>place[t.n_nodes + item_of(s, k)] << record_bits, record_bits + leaf_bits)
    if not t.small:
        boxes = t.boxes
    for k in range(n_leaves - 2, -1, -1):
        v = node[k]
        low = rcf_rank_of_float(corner(t, boxes, child_of(t, v, 0), True)[cut_dim(t, v)])
        high = rcf_rank_of_float(corner(t, boxes, child_of(t, v, 1), False)[cut_dim(t, v)])
        if t.small:
            join_children(t, boxes, v)
        rcf_put(w, rcf_rank_of_float(cut_value(t, v)) - low, rcf_width(high - low - 1))


cdef inline bint put_forest(rcf_writer* w, const Trees* f, int step) noexcept nogil:
    """Write the forest. Returns False if memory runs out. The caller must free w.data in either case."""
    cdef int32_t* record = NULL
    cdef int32_t* scratch
    cdef int32_t* next_record
    cdef int32_t most = 0
    cdef int64_t k, rows
    cdef int b
    cdef bint fine = rcf_make_room(w, 200 + sizeof(double) * <size_t>f.n_features * (1 + (f.seen if f.head != NULL else 0)))
    if not fine:
        return False
    rcf_put(w, f.n_trees, 32)
    rcf_put(w, f.capacity, 32)
    rcf_put(w, f.n_features, 32)
    rcf_put(w, step, 32)
    rcf_put(w, f.head != NULL, 1)
    rcf_put_double(w, f.time_decay)
    rcf_put_number(w, f.seen)
    rcf_put_number(w, f.warm_up)
    rcf_put_number(w, f.table)
    for k in range(f.n_features):
        rcf_put_double(w, f.origin[k])
    for k in range(f.seen * f.n_features if f.head != NULL else 0):
        rcf_put_double(w, f.head[k])
    for b in range(f.n_trees):
        most = max(most, f.tree[b].n_leaves, f.tree[b].n_nodes)
    scratch = <int32_t*>malloc(6 * (<size_t>most + 1) * sizeof(int32_t) + floats_of_boxes(f, most) * sizeof(float))
    rows = put_records(w, f, step, &record) if scratch != NULL else -1
    fine = rows >= 0 and rcf_make_room(w, 5 * <size_t>f.n_trees)
    if fine:
        for b in range(f.n_trees):
            rcf_put_number(w, f.sample[b].size)
        next_record = record
        for b in range(f.n_trees):
            # a slot takes less than 16 bytes, and a node less than 9
            fine = rcf_make_room(w, 100 + 16 * <size_t>f.sample[b].size + 9 * <size_t>f.tree[b].n_leaves)
            if not fine:
                break
            put_tree(w, f, b, next_record, rcf_width(max(rows - 1, <int64_t>0)), scratch, <float*>(scratch + 6 * (most + 1)))
            next_record += f.sample[b].size
    free(record)
    free(scratch)
    return fine


# ---- reading -----------------------------------------------------------------------------------------------------
# These functions return NULL, or a text that says what is wrong with the bits.

cdef struct Head:
    int64_t n_trees, capacity, n_features, step, seen, warm_up, table
    bint growing
    double time_decay
    const char* wrong


cdef inline const char* get_head(rcf_reader* r, Head* head, int n_head) noexcept nogil:
    """Read the sizes and counts of a forest.

    If there are too few bits for the sizes, they are refused, so an empty forest takes at most 60 times the memory of the bits.
    """
    cdef double doubles
    head.n_trees, head.capacity = <int64_t>rcf_get(r, 32), <int64_t>rcf_get(r, 32)
    head.n_features, head.step = <int64_t>rcf_get(r, 32), <int64_t>rcf_get(r, 32)
    head.growing, head.time_decay = rcf_get(r, 1), rcf_get_double(r)
    head.seen, head.warm_up = <int64_t>rcf_get_number(r), <int64_t>rcf_get_number(r)
    head.table = <int64_t>rcf_get_number(r)
    if not (1 <= head.n_trees < 0x7fffffff and 1 <= head.capacity < 1 << 30 and 1 <= head.n_features < 0x7fffffff):
        return b"impossible sizes"
    if not (head.step < 0x7fffffff and 0.0 <= head.time_decay <= 1e300):
        return b"an impossible step or time_decay"
    if not (head.seen < <int64_t>1 << 62 and head.warm_up <= head.capacity and head.table <= head.seen):
        return b"impossible counts"
    if head.growing and head.seen >= n_head:
        return b"'growing' is set, but after so many records the origin is final"
    doubles = <double>head.n_features * (1 + (head.seen if head.growing else 0))
    if r.over or head.n_trees * OF_TREE + 64.0 * doubles > rcf_left(r):
        return b"the data end too early"
    if head.seen >= most_arrivals(head.capacity):
        return b"it has seen more records than can be counted"
    return NULL


cdef inline const char* get_counts(rcf_reader* r, const Head* head, Trees* f, double most) noexcept nogil:
    """Set the counts of an empty forest, and read its origin and first records. Their values may be at most `most` from zero."""
    cdef int64_t k
    f.seen, f.warm_up, f.table = head.seen, head.warm_up, head.table
    if not head.growing:
        drop_head(f)
    for k in range(f.n_features):
        f.origin[k] = rcf_get_double(r)
        if not -most <= f.origin[k] <= most:
            return b"its origin is not finite"
    for k in range(f.seen * f.n_features if f.head != NULL else 0):
        f.head[k] = rcf_get_double(r)
        if not -most <= f.head[k] <= most:
            return b"its first records are not finite"
    return NULL


cdef inline const char* get_sizes(rcf_reader* r, const Trees* f, int64_t rows, int32_t* size, int32_t* most) noexcept nogil:
    """Read how many records each tree holds; most[0] becomes the largest of these sizes. `rows` is the number of records in the table."""
    cdef int b
    cdef uint64_t many, slots = 0
    most[0] = 0
    for b in range(f.n_trees):
        many = rcf_get_number(r)
        if many > <uint64_t>min(min(<int64_t>f.capacity, f.seen), rows):
            return b"a sample is larger than its capacity, or than the number of records"
        size[b] = <int32_t>many
        most[0] = max(most[0], size[b])
        slots += many
    if r.over or <double>slots * rcf_width(max(rows - 1, <int64_t>0)) > rcf_left(r):
        return b"the data end too early"
    return NULL


cdef inline const char* get_nodes(rcf_reader* r, rcf_tree* t, int32_t n_leaves, int dim_bits, int32_t dims,
                                  int32_t* scratch) noexcept nogil:
    """Read the nodes into an empty tree, which has room for one more node and leaf. `scratch` has room for twice the leaves.

    Nodes are numbered in the order in which they are stored, and leaves from left to right. So the number of leaves on the left of each
    node determines the numbers of its children.
    """
    cdef int32_t* many = scratch             # the number of leaves below a node
    cdef int32_t* first = scratch + n_leaves # the leftmost of them
    cdef int32_t v, left, right, inner, dim, spare = n_leaves - 1
    cdef int width
    cdef uint64_t both
    tree_clear(t)
    t.n_nodes, t.n_leaves, t.root = n_leaves - 1, n_leaves, 0 if n_leaves > 1 else -1
    set_parent(t, 0, -1)
    set_parent(t, ~0, -1)
    many[0], first[0] = n_leaves, 0
    for v in range(n_leaves - 1):
        width = rcf_width(many[v] - 2)
        both = rcf_get(r, width + dim_bits)
        left = 1 + <int32_t>(both & ((<uint64_t>1 << width) - 1))
        right = many[v] - left
        dim = <int32_t>(both >> width)
        if right < 1:
            return b"more leaves on one side of a cut than below the node"
        if dim >= dims:
            return b"a cut of a feature that does not exist"
        set_cut(t, v, dim, 0.0)
        # There are no branches, because half of the children are leaves. Writes that do not apply go to the spare node or leaf.
        inner = -<int32_t>(left > 1)
        set_child(t, v, 0, (v + 1 & inner) | (~first[v] & ~inner))
        set_parent(t, (v + 1 & inner) | (spare & ~inner), v)
        set_parent(t, ~((n_leaves & inner) | (first[v] & ~inner)), v)
        many[(v + 1 & inner) | (spare & ~inner)] = left
        first[(v + 1 & inner) | (spare & ~inner)] = first[v]
        inner = -<int32_t>(right > 1)
        set_child(t, v, 1, (v + left & inner) | (~(first[v] + left) & ~inner))
        set_parent(t, (v + left & inner) | (spare & ~inner), v)
        set_parent(t, ~((n_leaves & inner) | (first[v] + left & ~inner)), v)
        many[(v + left & inner) | (spare & ~inner)] = right
        first[(v + left & inner) | (spare & ~inner)] = first[v] + left
    set_parent(t, spare, 0)
    set_parent(t, ~n_leaves, 0)
    if n_leaves == 1:
        set_parent(t, ~0, -1)
    return NULL


cdef inline const char* get_tree(rcf_reader* r, Trees* f, int b, int32_t size, int64_t rows, const int64_t* arrival,
                                 const float* point, int32_t* holder, int32_t* scratch, float* boxes) noexcept nogil:
    """Read tree b, which has room for it. holder[record] becomes b + 1 for each record that the tree holds.

    `boxes` has room for floats_of_boxes().
    """
    cdef rcf_tree* t = &f.tree[b]
    cdef Sample* s = &f.sample[b]
    cdef int32_t k, v, n_leaves, leaf
    cdef int64_t record
    cdef int record_bits = rcf_width(max(rows - 1, <int64_t>0)), dim_bits = rcf_width(f.n_features - 1), leaf_bits, key_bits
    cdef uint64_t least, leaves, next_one, settled, both
    cdef uint32_t low, high
    cdef double range_of_v
    cdef const char* wrong
    cdef const float* x
    for k in range(4):
        f.rng[b].s[k] = rcf_get(r, 64)
    s.threshold, s.budget = rcf_get_double(r), rcf_get_double(r)
    leaves, next_one, settled = rcf_get_number(r), rcf_get_number(r), rcf_get_number(r)
    if not (f.rng[b].s[0] or f.rng[b].s[1] or f.rng[b].s[2] or f.rng[b].s[3]):
        return b"the state of its random number generator is zero"
    if s.threshold != s.threshold or not s.budget >= 0.0:
        return b"its threshold or budget is not a number"
    if leaves > <uint64_t>size or (leaves == 0) != (size == 0):
        return b"it has more leaves than records, or records but no leaf"
    if next_one > <uint64_t>(<int64_t>0x7fffffffffffffff - f.seen - 1) or settled > <uint64_t>f.seen:
        return b"the next record that it learns lies in the past"
    s.next, s.settled = <int64_t>next_one + f.seen + 1, f.seen - <int64_t>settled
    if size == 0:
        return all_read(r)
    n_leaves = <int32_t>leaves
    wrong = get_nodes(r, t, n_leaves, dim_bits, f.n_features, scratch)
    if wrong != NULL:
        return wrong
    least, key_bits, leaf_bits = rcf_get(r, 64), <int>rcf_get(r, 7), rcf_width(leaves - 1)
    if key_bits > 64:
        return b"its keys take more than 64 bits"
    for k in range(size):
        s.slots[k].key = rcf_double_of_rank(least + rcf_get(r, key_bits))
        both = rcf_get(r, record_bits + leaf_bits)
        record, leaf = <int64_t>(both & ((<uint64_t>1 << record_bits) - 1)), <int32_t>(both >> record_bits)
        if not -1e300 <= s.slots[k].key <= 1e300:
            return b"a key is not finite"
        if k > 0 and s.slots[k].key > s.slots[(k - 1) // 2].key:
            return b"the keys are not a heap"
        if record >= rows or leaf >= n_leaves:
            return b"a slot refers to a record or a leaf that does not exist"
        if holder[record] == b + 1:
            return b"it holds a record twice"
        holder[record] = b + 1
        x = point + record * f.n_features
        if mass_of(t, ~leaf) == 0:
            memcpy(t.points + <size_t>leaf * t.stride, x, f.n_features * sizeof(float))
        elif not same_point(t, leaf, x):
            return b"different records share a leaf"
        set_mass(t, ~leaf, mass_of(t, ~leaf) + 1)
        s.slots[k].held = held_as(s, arrival[record], leaf)
    for leaf in range(n_leaves):
        if mass_of(t, ~leaf) == 0:
            return b"a leaf has no record"
    s.size = size
    wrong = weigh_nodes(t)
    if wrong != NULL:
        return wrong
    if not t.small:
        boxes = t.boxes
    for v in range(t.n_nodes - 1, -1, -1):
        range_of_v = join_children(t, boxes, v)
        if t.small and mass_of(t, v) > t.small:
            memcpy(rcf_box_take(t, v), boxes + 2 * <size_t>v * t.stride, 2 * t.stride * sizeof(float))
        set_range(t, v, range_of_v)
        low = rcf_rank_of_float(corner(t, boxes, child_of(t, v, 0), True)[cut_dim(t, v)])
        high = rcf_rank_of_float(corner(t, boxes, child_of(t, v, 1), False)[cut_dim(t, v)])
        if not low < high:
            return b"the boxes on the two sides of a cut overlap"
        set_cut(t, v, cut_dim(t, v), rcf_float_of_rank(low + <uint32_t>rcf_get(r, rcf_width(high - low - 1))) + <float>0.0)
        if not rcf_rank_of_float(cut_value(t, v)) < high:
            return b"a cut does not lie between the boxes on its two sides"
    rcf_fill_top(t)
    return all_read(r)


cdef inline size_t scratch_of_trees(int64_t rows, int32_t most) noexcept nogil:
    """Bytes of the scratch space of get_trees(): an int32 for each record, and two for each leaf of the largest tree."""
    return sizeof(int32_t) * (<size_t>rows + 2 * <size_t>most + 2)


cdef inline int64_t get_trees(rcf_reader* r, Trees* f, const int32_t* size, int64_t rows, const int64_t* arrival, const float* point,
                              void* scratch, const char** wrong) noexcept nogil:
    """Read all trees, which have room for their records. `scratch` holds zeros.

    If something is wrong, wrong[0] becomes a text that says what, and the number of the tree is returned, or -1 for the whole forest.
    """
    cdef int32_t* holder = <int32_t*>scratch
    cdef float* boxes = NULL
    cdef int32_t most = 0
    cdef int b
    for b in range(f.n_trees):
        most = max(most, size[b])
    if f.low_memory:
        boxes = <float*>malloc((floats_of_boxes(f, most) + 1) * sizeof(float))
        if boxes == NULL:
            wrong[0] = b"not enough memory for the boxes of a tree"
            return -1
    for b in range(f.n_trees):
        wrong[0] = get_tree(r, f, b, size[b], rows, arrival, point, holder, holder + rows, boxes)
        if wrong[0] != NULL:
            free(boxes)
            return b
    free(boxes)
    if rcf_left(r) >= 8:
        wrong[0] = b"the data go on after the last tree"
    return -1
