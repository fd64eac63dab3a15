"""A tree as arrays, written and read back: its nodes from the root down, left before right.

`inner` says for each node in this order whether it is an inner node, and `cut` and `dim` hold the cuts in the same order. The leaf of a
record is the one that it reaches. Node numbers, masses and boxes follow from this. Arrays that are read are validated: the result is
a tree, or a text that says what is wrong.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy

from rcf._native.tree cimport *
from sampling._reservoir cimport Sample


cdef inline int32_t count_leaves(const rcf_tree* t) noexcept nogil:
    """Distinct points: those in use, one more than the inner nodes."""
    cdef int32_t n = 0, leaf
    for leaf in range(t.n_leaves):
        n += t.leaves[leaf].mass > 0
    return n


cdef inline void write_nodes(const rcf_tree* t, uint8_t* inner, float* cut, int32_t* dim, int32_t* stack) noexcept nogil:
    """`stack` has room for as many nodes as there are leaves."""
    cdef int32_t v, top = 1 if t.mass > 0 else 0
    stack[0] = t.root
    while top > 0:
        top -= 1
        v = stack[top]
        inner[0] = v >= 0
        inner += 1
        if v >= 0:
            cut[0], dim[0] = t.cuts[v].value, t.cuts[v].dim
            cut += 1
            dim += 1
            stack[top], stack[top + 1] = t.cuts[v].child[1], t.cuts[v].child[0]
            top += 2


cdef inline const char* read_nodes(rcf_tree* t, int32_t n_leaves, const uint8_t* inner, const float* cut,
                                   const int32_t* dim) noexcept nogil:
    """Read the nodes, with empty leaves. Returns what is wrong with them, or NULL."""
    cdef int32_t parent = -1, v, k, leaf = 0, node = 0
    cdef int32_t waits = -0x7fffffff - 1  # marks child[1] of a node whose right side has not been read yet
    tree_clear(t)
    for k in range(2 * n_leaves - 1):
        if k > 0 and parent < 0:
            return b"nodes below no parent"
        if inner[k]:
            if node == n_leaves - 1:
                return b"more inner nodes than its leaves allow"
            if not 0 <= dim[node] < t.dims:
                return b"a cut of a feature that is not there"
            v = node
            node += 1
            t.cuts[v].value, t.cuts[v].dim = cut[v], dim[v]
            t.cuts[v].child[0] = t.cuts[v].child[1] = waits
        else:
            if leaf == n_leaves:
                return b"more leaves than it says"
            v = ~leaf
            t.leaves[leaf].mass = 0
            leaf += 1
        set_parent(t, v, parent)
        if parent < 0:
            t.root = v
        elif t.cuts[parent].child[0] == waits:
            t.cuts[parent].child[0] = v
        else:
            t.cuts[parent].child[1] = v
        if v >= 0:
            parent = v
        else:
            while parent >= 0 and t.cuts[parent].child[1] != waits:
                parent = t.nodes[parent].parent
    if parent >= 0 or leaf != n_leaves:
        return b"the nodes do not make a tree"
    t.n_nodes, t.n_leaves = node, leaf
    rcf_fill_top(t)
    return NULL


cdef inline const char* read_slots(rcf_tree* t, Sample* s, int32_t n, const double* key, const int32_t* record,
                                   int64_t n_records, const int64_t* arrival, const float* points, int32_t* holder,
                                   int32_t number) noexcept nogil:
    """Read the n slots, each record in the leaf that it reaches, and compute masses and boxes. Returns what is wrong, or NULL.

    A record is a row of `arrival` and `points`; holder[record] becomes the number of the tree that held it last.
    """
    cdef const float* x
    cdef int32_t k, leaf
    for k in range(n):
        if not 0 <= record[k] < n_records:
            return b"a record that is not there"
        if holder[record[k]] == number:
            return b"a record held twice"
        holder[record[k]] = number
        if k > 0 and key[k] > key[(k - 1) // 2]:
            return b"the keys are not a heap"
        x = points + <size_t>record[k] * t.dims
        leaf = rcf_descend(t, x)
        if t.leaves[leaf].mass == 0:
            memcpy(t.points + <size_t>leaf * t.stride, x, t.dims * sizeof(float))
        elif not same_point(t, leaf, x):
            return b"different records in one leaf"
        t.leaves[leaf].mass += 1
        s.slots[k].key, s.slots[k].arrival, s.slots[k].item, s.slots[k].spare = key[k], arrival[record[k]], leaf, 0
    for leaf in range(t.n_leaves):
        if t.leaves[leaf].mass == 0:
            return b"a leaf that no record falls into"
    s.size = n
    return weigh_nodes(t)


cdef inline int32_t mass_at(const rcf_tree* t, int32_t v) noexcept nogil:
    """mass_of(), in a tree that has a node, without a branch: half of the children are leaves, so it would be guessed wrong."""
    cdef int32_t leaf = v >> 31
    return (t.nodes[v & ~leaf].mass & ~leaf) | (t.leaves[~v & leaf].mass & leaf)


cdef inline const char* weigh_nodes(rcf_tree* t) noexcept nogil:
    """Masses and boxes of a tree whose leaves have theirs; what is wrong, or NULL."""
    cdef int32_t v, large = 0
    # children come after their parents, so go from the last node up
    for v in range(t.n_nodes - 1, -1, -1):
        t.nodes[v].mass = mass_at(t, t.cuts[v].child[0]) + mass_at(t, t.cuts[v].child[1])
        large += t.nodes[v].mass > t.small
    if t.small and not rcf_box_reserve(t, large + 2):
        return b"no memory for its boxes"
    for v in range(t.n_nodes - 1, -1, -1):
        if t.small:
            t.box_at[v] = 0
        t.nodes[v].range = rcf_walks.hull_of_children(t, v, new_box(t, v))
    t.mass = mass_of(t, t.root)
    return NULL
