"""Store one tree as arrays. Its nodes stand in the order of a walk from the root down, left before right.

`inner` says of each node whether it is an inner node, and `cut` and `dim` hold the cuts of the inner nodes. The leaf of
a record is not stored, because it is the leaf that the record reaches. Node numbers, masses and boxes are computed when the arrays
are read. Everything that is read is checked: the functions return NULL, or a text that says why the arrays do not make a tree.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy

from rcf._native.tree cimport *
from sampling._reservoir cimport Sample, held_as


cdef inline int32_t count_leaves(const rcf_tree* t) noexcept nogil:
    """The number of leaves in use, which is the number of distinct records."""
    cdef int32_t n = 0, leaf
    for leaf in range(t.n_leaves):
        n += mass_of(t, ~leaf) > 0
    return n


cdef inline void write_nodes(const rcf_tree* t, uint8_t* inner, float* cut, int32_t* dim, int32_t* stack) noexcept nogil:
    """Write the nodes of the tree. `stack` has room for as many nodes as the tree has leaves."""
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
    """Read the nodes into the tree. Its leaves hold no records yet."""
    cdef int32_t parent = -1, v, k, leaf = 0, node = 0
    cdef int32_t waits = -0x8000 if t.compact else -0x7fffffff - 1  # marks a child that has not been read yet; no leaf has this number
    tree_clear(t)
    for k in range(2 * n_leaves - 1):
        if k > 0 and parent < 0:
            return b"a node has no parent"
        if inner[k]:
            if node == n_leaves - 1:
                return b"more inner nodes than its leaves allow"
            if not 0 <= dim[node] < t.dims:
                return b"a cut of a feature that does not exist"
            v = node
            node += 1
            set_cut(t, v, dim[v], cut[v])
            set_child(t, v, 0, waits)
            set_child(t, v, 1, waits)
        else:
            if leaf == n_leaves:
                return b"more leaves than the number of its leaves"
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
    """Read n slots, put each record into the leaf that it reaches, and compute the masses and boxes of the nodes.

    A record is a row of `arrival` and `points`. For each record that the tree holds, holder[record] becomes `number`, the index of
    the tree.
    """
    cdef const float* x
    cdef const char* wrong
    cdef int32_t k, leaf
    for k in range(n):
        if not 0 <= record[k] < n_records:
            return b"a slot refers to a record that does not exist"
        if holder[record[k]] == number:
            return b"it holds a record twice"
        holder[record[k]] = number
        if k > 0 and key[k] > key[(k - 1) // 2]:
            return b"the keys are not a heap"
        x = points + <size_t>record[k] * t.dims
        leaf = rcf_descend(t, x)
        if mass_of(t, ~leaf) == 0:
            memcpy(t.points + <size_t>leaf * t.stride, x, t.dims * sizeof(float))
        elif not same_point(t, leaf, x):
            return b"different records share a leaf"
        set_mass(t, ~leaf, mass_of(t, ~leaf) + 1)
        s.slots[k].key, s.slots[k].held = key[k], held_as(s, arrival[record[k]], leaf)
    for leaf in range(t.n_leaves):
        if mass_of(t, ~leaf) == 0:
            return b"a leaf has no record"
    s.size = n
    wrong = weigh_nodes(t)
    if wrong == NULL:
        box_nodes(t)
    return wrong


cdef inline int32_t mass_at(const rcf_tree* t, int32_t v) noexcept nogil:
    """The same as mass_of(), for a tree that has at least one inner node.

    There is no branch, because half of the children are leaves and the CPU could not predict it.
    """
    cdef int32_t leaf = v >> 31
    return (mass_of(t, v & ~leaf) & ~leaf) | (mass_of(t, ~(~v & leaf)) & leaf)


cdef inline const char* weigh_nodes(rcf_tree* t) noexcept nogil:
    """Compute the masses of the inner nodes from those of the leaves, and make room for the boxes."""
    cdef int32_t v, large = 0
    # children come after their parents, so go backwards from the last node
    for v in range(t.n_nodes - 1, -1, -1):
        set_mass(t, v, mass_at(t, child_of(t, v, 0)) + mass_at(t, child_of(t, v, 1)))
        large += mass_of(t, v) > t.small
        if t.small:
            rcf_set_box_number(t, v, 0)
    t.mass = mass_of(t, t.root)
    if t.small and not rcf_box_reserve(t, large + 2):
        return b"not enough memory for its boxes"
    return NULL


cdef inline void box_nodes(rcf_tree* t) noexcept nogil:
    """Compute the boxes of the inner nodes, whose masses are known."""
    cdef int32_t v
    for v in range(t.n_nodes - 1, -1, -1):
        set_range(t, v, rcf_walks.hull_of_children(t, v, new_box(t, v)))
