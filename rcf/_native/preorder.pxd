"""A tree as arrays, written and read back: its nodes from the root down, left before right.

`inner` says for each node in this order whether it is an inner node, and `cut` and `dim` hold the cuts in the same order. The leaf of a
record is the one that it reaches. Node numbers, masses and boxes follow from this. Arrays that are read are validated: the result is
a tree, or a text that says what is wrong.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy

from rcf._native.tree cimport *
from sampling._reservoir cimport Sample, held_as


cdef inline int32_t count_leaves(const rcf_tree* t) noexcept nogil:
    """Distinct points: those in use, one more than the inner nodes."""
    cdef int32_t n = 0, leaf
    for leaf in range(t.n_leaves):
        n += mass_of(t, ~leaf) > 0
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
            cut[0], dim[0] = cut_value(t, v), cut_dim(t, v)
            cut += 1
            dim += 1
            stack[top], stack[top + 1] = child_of(t, v, 1), child_of(t, v, 0)
            top += 2


cdef inline const char* read_nodes(rcf_tree* t, int32_t n_leaves, const uint8_t* inner, const float* cut,
                                   const int32_t* dim) noexcept nogil:
    """Read the nodes, with empty leaves. Returns what is wrong with them, or NULL."""
    cdef int32_t parent = -1, v, k, leaf = 0, node = 0
    cdef int32_t waits = -0x8000 if t.compact else -0x7fffffff - 1  # marks a child that has not been read yet; no leaf has this number
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
            set_cut(t, v, dim[v], cut[v])
            set_child(t, v, 0, waits)
            set_child(t, v, 1, waits)
        else:
            if leaf == n_leaves:
                return b"more leaves than it says"
            v = ~leaf
            set_mass(t, v, 0)
            leaf += 1
        set_parent(t, v, parent)
        if parent < 0:
            t.root = v
        else:
            set_child(t, parent, 0 if child_of(t, parent, 0) == waits else 1, v)
        if v >= 0:
            parent = v
        else:
            while parent >= 0 and child_of(t, parent, 1) != waits:
                parent = parent_of(t, parent)
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
    cdef const char* wrong
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
        if mass_of(t, ~leaf) == 0:
            memcpy(t.points + <size_t>leaf * t.stride, x, t.dims * sizeof(float))
        elif not same_point(t, leaf, x):
            return b"different records in one leaf"
        set_mass(t, ~leaf, mass_of(t, ~leaf) + 1)
        s.slots[k].key, s.slots[k].held = key[k], held_as(s, arrival[record[k]], leaf)
    for leaf in range(t.n_leaves):
        if mass_of(t, ~leaf) == 0:
            return b"a leaf that no record falls into"
    s.size = n
    wrong = weigh_nodes(t)
    if wrong == NULL:
        box_nodes(t)
    return wrong


cdef inline int32_t mass_at(const rcf_tree* t, int32_t v) noexcept nogil:
    """mass_of(), in a tree that has a node, without a branch: half of the children are leaves, so it would be guessed wrong."""
    cdef int32_t leaf = v >> 31
    return (mass_of(t, v & ~leaf) & ~leaf) | (mass_of(t, ~(~v & leaf)) & leaf)


cdef inline const char* weigh_nodes(rcf_tree* t) noexcept nogil:
    """Masses of a tree whose leaves have theirs, and room for its boxes; what is wrong, or NULL."""
    cdef int32_t v, large = 0
    # children come after their parents, so go from the last node up
    for v in range(t.n_nodes - 1, -1, -1):
        set_mass(t, v, mass_at(t, child_of(t, v, 0)) + mass_at(t, child_of(t, v, 1)))
        large += mass_of(t, v) > t.small
        if t.small:
            rcf_set_box_number(t, v, 0)
    t.mass = mass_of(t, t.root)
    if t.small and not rcf_box_reserve(t, large + 2):
        return b"no memory for its boxes"
    return NULL


cdef inline void box_nodes(rcf_tree* t) noexcept nogil:
    """Boxes of a tree whose nodes have their masses."""
    cdef int32_t v
    for v in range(t.n_nodes - 1, -1, -1):
        set_range(t, v, rcf_walks.hull_of_children(t, v, new_box(t, v)))
