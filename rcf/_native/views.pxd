"""A tree as NumPy arrays that are views of its memory, for `Forest.tree`.

Slots are always copies. In low-memory mode the boxes are copies too, because not all are stored. In the compact layout all arrays
are copies.
"""

from libc.stdint cimport int32_t, uintptr_t
from libc.string cimport memcpy

from rcf._native.tree cimport corners_of, mass_of, range_of, rcf_tree
from rcf._native.trees cimport Trees
from sampling._reservoir cimport Sample, arrival_of, item_of


cdef inline view(kind, memory, size_t offset, shape):
    """An array of dtype `kind` that starts `offset` bytes after the beginning of `memory`."""
    import numpy as np

    return np.ndarray(shape, kind, memory, offset)


cdef inline dict tree_views(const Trees* f, int i, memory, const void* begin):
    """Read-only arrays of tree i. `begin` is the address of the first byte of its `memory`."""
    import numpy as np
    from rcf._native.layout import CUT, LEAF, NODE, SHORT_LEAF, SHORT_NODE, as_wide

    cdef const rcf_tree* t = &f.tree[i]
    cdef const Sample* s = &f.sample[i]
    cdef uintptr_t start = <uintptr_t>begin
    cdef float[:, :, ::1] box_of
    cdef double[::1] range_seen
    cdef float[:, ::1] scratch
    cdef const float* lower
    cdef const float* upper
    cdef int32_t v, n
    if t.compact:
        narrow = view(SHORT_NODE, memory, <uintptr_t>t.cuts - start, t.n_nodes)
        cuts, nodes = as_wide(narrow, CUT), as_wide(narrow, NODE)
        leaves = as_wide(view(SHORT_LEAF, memory, <uintptr_t>t.leaves - start, t.n_leaves), LEAF)
    else:
        cuts = view(CUT, memory, <uintptr_t>t.cuts - start, t.n_nodes)
        nodes = view(NODE, memory, <uintptr_t>t.nodes - start, t.n_nodes)
        leaves = view(LEAF, memory, <uintptr_t>t.leaves - start, t.n_leaves)
    points = view(np.float32, memory, <uintptr_t>t.points - start, (t.n_leaves, t.stride))
    if t.small:
        boxes, ranges = np.zeros((t.n_nodes, 2, t.stride), dtype=np.float32), np.zeros(t.n_nodes)
        scratch = np.empty((2, t.stride), dtype=np.float32)
        box_of, range_seen = boxes, ranges
        for v in range(t.n_nodes):
            if mass_of(t, v) > 0:
                corners_of(t, v, &scratch[0, 0], &lower, &upper)
                memcpy(&box_of[v, 0, 0], lower, 2 * t.stride * sizeof(float))
                range_seen[v] = range_of(t, v, &scratch[0, 0])
        if t.compact:
            nodes["range"] = ranges
            filled = (0, (4 if t.dims <= 4 else 8) - t.stride)
            boxes, points = np.pad(boxes, [(0, 0), (0, 0), filled]), np.pad(points, [(0, 0), filled])
    else:
        boxes = view(np.float32, memory, <uintptr_t>t.boxes - start, (t.n_nodes, 2, t.stride))
    slots = np.zeros(s.size, dtype=[("key", np.float64), ("arrival", np.int64), ("leaf", np.int32)])
    slots["key"] = [s.slots[n].key for n in range(s.size)]
    slots["arrival"] = [arrival_of(s, n) for n in range(s.size)]
    slots["leaf"] = [item_of(s, n) for n in range(s.size)]
    for array in (cuts, nodes, leaves, boxes, points, slots):
        array.flags.writeable = False
    return {
        "root": t.root,
        "mass": t.mass,
        "cuts": cuts,
        "nodes": nodes,
        "boxes": boxes[:, :, :f.n_features],
        "points": points[:, :f.n_features],
        # these two include the zeros that pad a row to a multiple of the vector length
        "wide_boxes": boxes,
        "wide_points": points,
        "leaves": leaves,
        "slots": slots,
    }
