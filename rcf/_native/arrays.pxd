"""The state of a forest as NumPy arrays, for `Forest.state` and `Forest.from_state`.

preorder.pxd writes and reads the nodes and slots of one tree. Arrays have one spare entry here, because C code takes the
address of the first entry even if there are no records.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy

from rcf._native.preorder cimport count_leaves, read_nodes, read_slots, write_nodes
from rcf._native.tree cimport rcf_tree
from rcf._native.trees cimport Trees, drop_head
from sampling._reservoir cimport Sample, arrival_of, item_of, most_arrivals


cdef inline dict state_of(const Trees* f):
    """The arrays and numbers that Forest.state() returns."""
    import numpy as np

    cdef int i, n
    cdef int32_t most = 0
    cdef int64_t slots = 0, inner_nodes = 0, nodes = 0
    cdef const Sample* s
    cdef const rcf_tree* t
    sizes = np.empty(f.n_trees, dtype=np.int32)
    leaves = np.empty(f.n_trees, dtype=np.int32)
    cdef int32_t[::1] size_of = sizes, leaves_of = leaves
    for i in range(f.n_trees):
        size_of[i], leaves_of[i] = f.sample[i].size, count_leaves(&f.tree[i])
        slots += size_of[i]
        nodes += max(2 * leaves_of[i] - 1, 0)
        inner_nodes += max(leaves_of[i] - 1, 0)
        most = max(most, leaves_of[i])
    # each of these arrays has the spare entry
    inner = np.empty(nodes + 1, dtype=bool)
    cut, dim = np.empty(inner_nodes + 1, dtype=np.float32), np.empty(inner_nodes + 1, dtype=np.int32)
    key, arrivals = np.empty(slots + 1), np.empty(slots + 1, dtype=np.int64)
    cdef uint8_t[::1] inner_of = inner.view(np.uint8)
    cdef float[::1] cut_of = cut
    cdef int32_t[::1] dim_of = dim, stack = np.empty(most + 1, dtype=np.int32)
    cdef double[::1] key_of = key
    cdef int64_t[::1] came_of = arrivals
    with nogil:
        slots = nodes = inner_nodes = 0
        for i in range(f.n_trees):
            s, t = &f.sample[i], &f.tree[i]
            for n in range(s.size):
                key_of[slots + n], came_of[slots + n] = s.slots[n].key, arrival_of(s, n)
            slots += s.size
            write_nodes(t, &inner_of[nodes], &cut_of[inner_nodes], &dim_of[inner_nodes], &stack[0])
            nodes += max(2 * leaves_of[i] - 1, 0)
            inner_nodes += max(leaves_of[i] - 1, 0)
    arrival, record = np.unique(arrivals[:slots], return_inverse=True)
    record = record.astype(np.int32)
    points = np.empty((len(arrival) + 1, f.n_features), dtype=np.float32)
    cdef const int32_t[::1] record_of = record
    cdef float[:, ::1] point_of = points
    with nogil:
        slots = 0
        for i in range(f.n_trees):
            s, t = &f.sample[i], &f.tree[i]
            for n in range(s.size):
                memcpy(&point_of[record_of[slots + n], 0], t.points + <size_t>item_of(s, n) * t.stride, f.n_features * sizeof(float))
            slots += s.size
    head = np.empty((0, f.n_features))
    if f.head != NULL and f.seen > 0:
        head = np.array(<double[:f.seen, :f.n_features]>f.head)
    return {
        "n_trees": f.n_trees, "capacity": f.capacity, "n_features": f.n_features, "time_decay": f.time_decay,
        "seen": f.seen, "warm_up": f.warm_up, "table": f.table,
        "growing": f.head != NULL, "origin": np.array(<double[:f.n_features]>f.origin), "head": head,
        "rng": np.array([[f.rng[i].s[n] for n in range(4)] for i in range(f.n_trees)], dtype=np.uint64),
        "size": sizes, "leaves": leaves,
        "threshold": np.array([f.sample[i].threshold for i in range(f.n_trees)]),
        "budget": np.array([f.sample[i].budget for i in range(f.n_trees)]),
        "next": np.array([f.sample[i].next for i in range(f.n_trees)], dtype=np.int64),
        "settled": np.array([f.sample[i].settled for i in range(f.n_trees)], dtype=np.int64),
        "key": key[:slots], "record": record[:slots], "arrival": arrival, "points": points[:len(arrival)],
        "inner": inner[:nodes], "cut": cut[:inner_nodes], "dim": dim[:inner_nodes],
    }


cdef inline int set_counts(Trees* f, state) except -1:
    """Set the counts, the origin and the first records of an empty forest to those of a state."""
    import numpy as np
    from rcf._native.state import ModelStateError

    if state["seen"] >= most_arrivals(f.capacity):
        raise ModelStateError(f"a forest with {f.capacity} records per tree cannot have learned {state['seen']} records")
    f.seen, f.warm_up, f.table = state["seen"], state["warm_up"], state["table"]
    if not state["growing"]:
        drop_head(f)
    elif f.seen > 0:
        (<object>np.asarray(<double[:f.seen, :f.n_features]>f.head))[:] = state["head"]
    (<object>np.asarray(<double[:f.n_features]>f.origin))[:] = state["origin"]
    return 0


cdef inline flat(array, kind):
    """A copy of the array in one dimension, with the spare entry at its end."""
    import numpy as np

    return np.append(array.reshape(-1).view(kind), np.zeros(1, dtype=kind))


cdef inline int set_trees(Trees* f, state) except -1:
    """Restore the trees of a state. check_state() has checked it, and the trees have room for its records.

    Raises ModelStateError if the nodes and slots do not make a tree.
    """
    import numpy as np
    from rcf._native.state import ModelStateError

    cdef int i
    cdef int32_t n, k
    cdef int64_t slots = 0, nodes = 0, inner_nodes = 0, n_records = len(state["arrival"])
    cdef const char* wrong
    cdef const uint8_t[::1] inner = flat(state["inner"], np.uint8)
    cdef const float[::1] cut = flat(state["cut"], np.float32), points = flat(state["points"], np.float32)
    cdef const int32_t[::1] dim = flat(state["dim"], np.int32), record = flat(state["record"], np.int32)
    cdef const double[::1] key = flat(state["key"], np.float64)
    cdef const int64_t[::1] arrivals = flat(state["arrival"], np.int64)
    cdef int32_t[::1] holder = np.full(n_records + 1, -1, dtype=np.int32)
    for i in range(f.n_trees):
        n, k = state["size"][i], state["leaves"][i]
        if n > 0:
            with nogil:
                wrong = read_nodes(&f.tree[i], k, &inner[nodes], &cut[inner_nodes], &dim[inner_nodes])
                if wrong == NULL:
                    wrong = read_slots(&f.tree[i], &f.sample[i], n, &key[slots], &record[slots], n_records,
                                       &arrivals[0], &points[0], &holder[0], i)
            if wrong != NULL:
                raise ModelStateError(f"tree {i}: {wrong.decode()}")
            slots += n
            nodes += 2 * k - 1
            inner_nodes += k - 1
        words = state["rng"][i]
        for k in range(4):
            f.rng[i].s[k] = words[k]
        f.sample[i].threshold, f.sample[i].budget = state["threshold"][i], state["budget"][i]
        f.sample[i].next, f.sample[i].settled = state["next"][i], state["settled"][i]
    return 0
