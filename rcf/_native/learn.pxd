"""Learn records in order, either the rows of a batch or a single record, and forget a record."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy, memset

from rcf._native.tree cimport *
from rcf._native.trees cimport BLOCK, GROUP, Trees, n_blocks, slot_bytes
from rcf._native.work cimport Work
from sampling._reservoir cimport Sample, Slot, arrival_of, item_of, prefetch_heaps, sample_admits, sample_enter, sample_remove

cdef enum:
    AHEAD = 900000  # bytes; two groups of trees of this size, and some rows, fit in a second-level cache of a megabyte
    CHUNK = 1024    # a tree learns this many rows at a time, because they fit in the second-level cache together with the tree


cdef inline int pairs_at_once(int kind) noexcept nogil:
    return RCF_CODISP_PAIRS if kind == RCF_CODISP else RCF_PAIRS


cdef inline void learn(Trees* f, const rcf_walk* walk, int p, int64_t n, double weight, rcf_step* scratch) noexcept nogil:
    """Insert the record of pair p of the walk into the tree of the pair. It is record n of the stream."""
    cdef int i = walk.pair[p].tree - f.tree
    cdef int32_t leaf = tree_insert(&f.tree[i], walk.pair[p].x, &f.rng[i], walk.leaf[p], walk.n_open[p],
                                    <rcf_step*>walk.open[p], scratch)
    cdef int32_t evicted = sample_enter(&f.sample[i], n, weight, leaf, &f.rng[i])
    cdef int32_t j = 0
    if leaf < 0:
        # there was no memory for a box and the tree is unchanged, so remove the record from the sample
        f.starved = True
        while item_of(&f.sample[i], j) >= 0:
            j += 1
        sample_remove(&f.sample[i], j)
    if evicted >= 0:
        tree_forget(&f.tree[i], evicted)


# ---- a batch of rows ------------------------------------------------------------------------------------------------

cdef inline int64_t take_rows(Trees* f, const double* X, ptrdiff_t step, int64_t n, int n_head, float* rows) noexcept nogil:
    """Write up to n rows of X to `rows`, relative to the origin and as floats. Returns the number of rows.

    While the origin is not final, the rows are also appended to f.head, and only as many are taken as still fit into its n_head
    rows.
    """
    cdef int64_t i
    if f.head != NULL:
        if f.seen == 0:
            memcpy(f.origin, X, f.n_features * sizeof(double))
        n = min(n, n_head - f.seen)
        for i in range(n):
            memcpy(f.head + (f.seen + i) * f.n_features, X + i * step, f.n_features * sizeof(double))
    for i in range(n):
        rcf_narrow(rows + i * f.stride, X + i * step, f.origin, f.n_features, f.stride)
    return n


cdef inline int64_t next_entering(Trees* f, int i, int64_t row, int64_t n_rows, int64_t seen, const double* weights) noexcept nogil:
    """The first row from `row` on that tree i learns, or n_rows if there is none."""
    cdef Sample* sample = &f.sample[i]
    if weights == NULL:
        return min(sample.next - seen - 1, n_rows)
    while row < n_rows and not sample_admits(sample, seen + row + 1, weights[row]):
        row += 1
    return row


cdef inline void fetch_ahead(const Trees* f, int* tree, int last, size_t* at) noexcept nogil:
    """Prefetch some kilobytes of the trees that learn next, and of their samples, into the second-level cache.

    tree[0] and at[0] (a tree and a position in its memory) are where to continue. Trees from `last` on are left out.
    """
    cdef int lines = 96  # cache lines of 64 bytes; fetching them takes 1 % of the time of a round, which has about 80 pairs
    cdef size_t of_tree = slot_bytes(&f.tree[0], f.tree[0].capacity) + tree_bytes(&f.tree[0], f.tree[0].capacity)
    if tree[0] >= last or f.low_memory or 2 * GROUP * of_tree > AHEAD:
        return
    while lines > 0 and tree[0] < last:
        rcf_prefetch_l2(<const char*>f.sample[tree[0]].slots + at[0])
        at[0] += 64
        lines -= 1
        if at[0] >= of_tree:
            at[0] = 0
            tree[0] += 1


cdef inline void learn_rows(Trees* f, int first, int last, int next_last, const float* rows, int64_t n_rows, int64_t seen,
                            const double* weights, int kind, Work* work) noexcept nogil:
    """Trees first .. last - 1, at most GROUP, learn the rows in order, after `seen` earlier records.

    With kind >= 0, work.scores[(i - first) * n_rows + r] becomes the score of row r by tree i. A tree changes only when a row
    enters it. So all rows up to the next one that enters are scored together, and in one call with those of the other trees.
    Meanwhile the memory of the trees last .. next_last - 1, which learn next, is prefetched.
    """
    cdef int n_trees = last - first, g, p, n, entering, share = pairs_at_once(kind) // n_trees
    cdef int64_t silent = n_rows if kind < 0 else min(max(f.warm_up - seen, <int64_t>0), n_rows), r
    cdef int64_t[GROUP] at, end, enters
    cdef int[GROUP] learner
    cdef double* place[RCF_PAIRS]
    cdef double unused
    cdef int ahead = last
    cdef size_t ahead_at = 0
    cdef rcf_walk walk
    for g in range(n_trees):
        at[g] = 0
        enters[g] = next_entering(f, first + g, 0, n_rows, seen, weights)
        if kind >= 0:
            memset(work.scores + g * n_rows, 0, silent * sizeof(double))
    while True:
        n = 0
        for g in range(n_trees):
            # rows that are not scored are skipped
            at[g] = max(at[g], min(silent, enters[g]))
            end[g] = min(min(at[g] + share, enters[g] + 1), n_rows)
            if end[g] > enters[g]:
                learner[n] = g
                walk.pair[n].tree = &f.tree[first + g]
                walk.pair[n].x = rows + enters[g] * f.stride
                place[n] = work.scores + g * n_rows + enters[g] if enters[g] >= silent else &unused
                n += 1
        entering = n
        for g in range(n_trees):
            for r in range(at[g], min(end[g], enters[g])):
                walk.pair[n].tree = &f.tree[first + g]
                walk.pair[n].x = rows + r * f.stride
                place[n] = work.scores + g * n_rows + r
                n += 1
        if n == 0:
            return
        rcf_walks.score_pairs(max(kind, 0), RCF_NEAR_TREES, &walk, n, entering, work.ratios, work.levels)
        fetch_ahead(f, &ahead, next_last, &ahead_at)
        for p in range(n):
            place[p][0] = walk.score[p]
        for p in range(entering):
            g = learner[p]
            learn(f, &walk, p, seen + enters[g] + 1, 1.0 if weights == NULL else weights[enters[g]], work.open)
            enters[g] = next_entering(f, first + g, enters[g] + 1, n_rows, seen, weights)
        for g in range(n_trees):
            at[g] = end[g]


cdef inline void learn_blocks(Trees* f, int first, int last, const float* rows, int64_t n_rows, const double* weights, int kind,
                              double* out, Work* work) noexcept nogil:
    """The blocks of trees first to last - 1 learn the rows. If kind >= 0, the sum of a block's scores is added to its row of `out`."""
    cdef int i, begin_tree = first * BLOCK, end_tree = min(last * BLOCK, f.n_trees), after
    cdef int64_t begin = 0, n, r
    cdef double* target
    cdef double* scores
    cdef const double* weights_of_rows = weights
    while begin < n_rows:
        n = min(<int64_t>CHUNK, n_rows - begin)
        if weights != NULL:
            weights_of_rows = weights + begin
        while begin_tree < end_tree:
            after = min(begin_tree + GROUP, end_tree)
            learn_rows(f, begin_tree, after, min(after + GROUP, end_tree), rows + begin * f.stride, n, f.seen + begin,
                       weights_of_rows, kind, work)
            if kind >= 0:
                for i in range(begin_tree, after):
                    target = out + (i // BLOCK) * n_rows + begin
                    scores = work.scores + (i - begin_tree) * n
                    for r in range(n):
                        target[r] += scores[r]
            begin_tree = after
        begin_tree = first * BLOCK
        begin += n


# ---- one record of each of a few forests -------------------------------------------------------------------------

cdef enum:
    FORESTS = 16    # number of forests that learn a record each in one call


cdef inline void learn_records(Trees** forests, int n_forests, int kind, bint cold, Work* work, double* means) noexcept nogil:
    """Each forest scores the record in its f.row and learns it; means[g] becomes the mean score over the trees of forest g.

    There are at most FORESTS forests, no two are the same, and their trees have one layout. All trees walk together, because the
    trees of thousands of forests are in no cache: while one waits for memory, the others go on. `cold` says that they are in none.
    """
    cdef int g = 0, i, p, block, count, learning
    cdef int[FORESTS] entering, end
    cdef bint rest = False  # whether the trees that the records enter are done
    cdef double sum_of_block
    cdef Trees* f
    cdef Sample* sample
    cdef Sample* heaps[RCF_PAIRS]
    cdef rcf_path paths[RCF_PAIRS]
    cdef rcf_path leaves[RCF_PAIRS]
    cdef double* place[RCF_PAIRS]
    cdef Trees* owner[RCF_PAIRS]
    cdef rcf_walk walk
    # the trees that the record enters (a tenth) come first, because the walk keeps the data that their insertion needs
    for g in range(n_forests):
        f = forests[g]
        entering[g] = 0
        for i in range(f.n_trees):
            # without a branch, because it could not be predicted
            f.order[entering[g]] = i
            f.order[f.n_trees - 1 - i + entering[g]] = i
            entering[g] += <int>(f.sample[i].next == f.seen + 1)
        end[g] = f.n_trees if f.seen + 1 > f.warm_up else entering[g]
    g = i = 0
    while True:
        count = learning = 0
        while count < pairs_at_once(kind):
            if i >= (end[g] if rest else entering[g]):
                g += 1
                if g == n_forests:
                    if rest:
                        break
                    rest, g = True, 0
                i = entering[g] if rest else 0
                continue
            f = forests[g]
            owner[count] = f
            walk.pair[count].tree = &f.tree[f.order[i]]
            walk.pair[count].x = f.row
            place[count] = f.row_scores + f.order[i]
            count += 1
            learning += <int>(not rest)
            if cold and not rest:
                rcf_prefetch_bytes(f.sample[f.order[i]].slots, sizeof(Slot))
            i += 1
        if count == 0:
            break
        rcf_walks.score_pairs(kind, RCF_COLD_TREES if cold else RCF_FAR_TREES, &walk, count, learning, work.ratios, work.levels)
        for p in range(count):
            place[p][0] = walk.score[p]
        # insertions and deletions access data in the outer caches
        for p in range(learning):
            sample = &owner[p].sample[walk.pair[p].tree - owner[p].tree]
            heaps[p] = sample
            paths[p].tree = walk.pair[p].tree
            paths[p].at = item_of(sample, 0) if sample.size == sample.capacity else -1
        memcpy(leaves, paths, learning * sizeof(rcf_path))
        rcf_prefetch_paths(paths, learning)
        prefetch_heaps(heaps, learning)
        if cold and forests[0].tree[0].compact:
            rcf_prefetch_siblings(leaves, learning)
        for p in range(learning):
            learn(owner[p], &walk, p, owner[p].seen + 1, 1.0, work.open)
        if g == n_forests:
            break
    for g in range(n_forests):
        f = forests[g]
        f.seen += 1
        means[g] = 0.0
        if f.seen > f.warm_up:
            for block in range(n_blocks(f)):
                sum_of_block = 0.0
                for i in range(block * BLOCK, min((block + 1) * BLOCK, f.n_trees)):
                    sum_of_block += f.row_scores[i]
                means[g] += sum_of_block
        means[g] /= f.n_trees


# ---- forgetting ----------------------------------------------------------------------------------------------------

cdef inline int forget_record(Trees* f) noexcept nogil:
    """Remove the oldest record that equals the one in f.row from each tree. Returns the number of trees that held such a record."""
    cdef int i, found = 0
    cdef int32_t leaf, j, oldest
    cdef Sample* s
    for i in range(f.n_trees):
        if f.tree[i].mass == 0:
            continue
        leaf = rcf_descend(&f.tree[i], f.row)
        if not same_point(&f.tree[i], leaf, f.row):
            continue
        s = &f.sample[i]
        oldest = -1
        for j in range(s.size):
            if item_of(s, j) == leaf and (oldest < 0 or arrival_of(s, j) < arrival_of(s, oldest)):
                oldest = j
        sample_remove(s, oldest)
        tree_forget(&f.tree[i], leaf)
        found += 1
    return found
