"""The native core of HotSpots: the window of records and its regions."""

import os
import threading

import numpy as np

from cpython.exc cimport PyErr_CheckSignals
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from "dbscan.h" nogil:
    ctypedef struct rcf_index:
        int dims
        uint64_t salt

    ctypedef struct rcf_entry:
        uint32_t count
        uint32_t core

    ctypedef struct rcf_record:
        int32_t owner
        int32_t next
        int32_t borders

    ctypedef struct rcf_region:
        int64_t id
        int32_t cores
        int32_t n_cores
        int32_t count
        uint8_t stale
        uint8_t shown

    ctypedef struct rcf_change:
        int64_t at
        int64_t id
        int64_t other
        int32_t kind
        int32_t count

    ctypedef struct rcf_window:
        rcf_index index
        int columns
        int sphere
        int32_t window
        int32_t min_points
        int32_t length
        int32_t first
        int32_t size
        int64_t seen
        int32_t capacity
        rcf_region* regions
        int32_t n_regions
        int64_t next_id
        int32_t* stale
        int32_t n_stale
        int64_t* ended
        int32_t n_ended
        rcf_change* changes
        int64_t n_changes
        int log

    int rcf_window_open(rcf_window* w, int columns, int sphere, int32_t window, double radius, int32_t min_points)
    void rcf_window_close(rcf_window* w)
    int rcf_window_reserve(rcf_window* w, int64_t more)
    int rcf_window_push(rcf_window* w, const double* record, int64_t more)
    void rcf_forget_looks(rcf_window* w)
    void rcf_window_refill(rcf_window* w, int32_t n, const double* points, const int32_t* counts, const int32_t* owners,
                           int32_t n_regions)
    void rcf_tighten(rcf_window* w, int32_t r)
    rcf_record* rcf_record_at(const rcf_index* x, int32_t slot)
    rcf_entry* rcf_entry_of(const rcf_index* x, int32_t slot)
    double* rcf_given(const rcf_window* w, int32_t slot)
    double* rcf_lower_corner(const rcf_window* w, int32_t r)
    double* rcf_upper_corner(const rcf_window* w, int32_t r)
    double* rcf_sum(const rcf_window* w, int32_t r)
    void rcf_center(const rcf_window* w, int32_t r, double* center)

cdef extern from "sphere.h" nogil:
    const double RCF_EARTH
    double rcf_box_area(const double* lower, const double* upper, double least)
    void rcf_on_sphere(const double* place, double* point)

KINDS = ("born", "split", "grown", "shrunk", "merged", "died")
CHANGE = np.dtype([("at", np.int64), ("id", np.int64), ("other", np.int64), ("kind", np.int32), ("count", np.int32)])

EARTH_RADIUS = RCF_EARTH
# The smallest radius in metres. Points on the unit sphere are rounded by about a nanometre, which would affect smaller radii.
LEAST_METRES = 1e-3

cdef enum:
    CHUNK = 4096  # rows between two checks for an interrupt


def check_finite(const double[:, ::1] X):
    """Raise an error for the first number that is not finite; the message names its row and feature."""
    cdef ptrdiff_t i, n = X.shape[0] * X.shape[1]
    cdef double nothing = 0.0
    cdef const double* x = &X[0, 0] if n else NULL
    for i in range(n):
        nothing += x[i] * 0.0  # becomes NaN if a number is not finite
    if nothing == 0.0:
        return
    for i in range(n):
        if not x[i] - x[i] == 0.0:
            what = "NaN" if x[i] != x[i] else "infinity"
            raise ValueError(f"Input X contains {what} (row {i // X.shape[1]}, feature {i % X.shape[1]}).")


def check_places(const double[:, ::1] X, rows=None):
    """Raise a ValueError that names the first row that is not a latitude and a longitude. `rows` holds the row numbers (default: from 0)."""
    cdef ptrdiff_t i
    if X.shape[1] != 2:
        raise ValueError(f"metric='haversine' takes 2 features, latitude and longitude in degrees, got {X.shape[1]}")
    for i in range(X.shape[0]):
        if not -90.0 <= X[i, 0] <= 90.0:
            raise ValueError(
                f"latitude must be between -90 and 90 degrees, got {X[i, 0]} (row {i if rows is None else rows[i]}, feature 0): "
                "a record is latitude, then longitude"
            )
        if not -180.0 <= X[i, 1] <= 360.0:
            raise ValueError(
                f"longitude must be between -180 and 360 degrees, got {X[i, 1]} (row {i if rows is None else rows[i]}, feature 1)"
            )


def unit_sphere(const double[:, ::1] places):
    """The points (n, 3) of the unit sphere for latitudes and longitudes in degrees, computed as in the window."""
    cdef ptrdiff_t i
    cdef double[:, ::1] out
    result = np.empty((places.shape[0], 3))
    out = result
    for i in range(places.shape[0]):
        rcf_on_sphere(&places[i, 0], &out[i, 0])
    return result


def box_area(tuple lower, tuple upper, double least):
    """Square metres between two corners (latitude, longitude) in degrees; a side of length zero counts as `least` metres."""
    cdef double[2] low = lower
    cdef double[2] high = upper
    return rcf_box_area(low, high, least)


cdef class Window:
    """DBSCAN of the last records of a stream.

    Parameters
    ----------
    n_features, window_size : int
    scan_radius : float
        Between 1e-150 and 1e150, so that its square is a finite number.
    min_points : int
    sphere : bool, default=False
        Whether records are places on the earth, latitude and longitude in degrees, and the radius is in metres.
    """
    cdef rcf_window w
    cdef object lock
    cdef double radius

    def __cinit__(self, int n_features, int64_t window_size, double scan_radius, int64_t min_points, bint sphere=False):
        if n_features < 1 or not 1 <= window_size < 2**30 or not 1e-150 <= scan_radius <= 1e150 or min_points < 1:
            raise ValueError("the parameters of a Window are out of range")
        if sphere and (n_features != 2 or scan_radius < LEAST_METRES):
            raise ValueError("the parameters of a Window on the sphere are out of range")
        self.lock = threading.Lock()
        self.radius = scan_radius
        if not rcf_window_open(
            &self.w, n_features, sphere, <int32_t>window_size, scan_radius, <int32_t>min(min_points, 2**30)
        ):
            raise MemoryError
        self.w.index.salt = int.from_bytes(os.urandom(8), "little")

    def __dealloc__(self):
        rcf_window_close(&self.w)

    # ---- the stream --------------------------------------------------------------------------------------------

    def push(self, const double[:, ::1] X, bint log=False):
        """Add the rows, which must be finite, in order. With `log`, returns their changes as an array of dtype CHANGE."""
        cdef int64_t n = X.shape[0], done = 0, end
        cdef bint fine = True
        cdef uint8_t[::1] raw
        if X.shape[1] != self.w.columns:
            raise ValueError(f"X has {X.shape[1]} features, but HotSpots is expecting {self.w.columns} features as input.")
        with self.lock:
            if not rcf_window_reserve(&self.w, n):
                raise MemoryError(f"no memory for {n} more records")
            self.w.log = log
            self.w.n_changes = 0
            rcf_forget_looks(&self.w)
            while done < n:
                end = min(n, done + CHUNK)
                with nogil:
                    while done < end and fine:
                        fine = rcf_window_push(&self.w, &X[done, 0], n - done - 1)
                        done += 1
                if not fine:
                    raise MemoryError("no memory for the list of changes; the records themselves were added")
                PyErr_CheckSignals()
            if not log:
                return None
            changes = np.empty(self.w.n_changes, dtype=CHANGE)
            if self.w.n_changes:
                raw = changes.view(np.uint8)
                memcpy(&raw[0], self.w.changes, self.w.n_changes * sizeof(rcf_change))
            return changes

    def slide(self, int64_t window_size):
        """Reduce the window to this many records. It becomes smaller with the next record."""
        if not 1 <= window_size < self.w.length:
            raise ValueError("a window can only become smaller")
        self.w.window = <int32_t>window_size

    def renumber(self):
        """Number the regions from 0 in the order of their oldest cores, and forget the previous ids."""
        cdef int64_t i
        cdef rcf_region* region
        with self.lock:
            self.w.next_id = self.w.n_ended = 0
            for i in range(self.w.n_regions):
                self.w.regions[i].id = -1
                self.w.regions[i].shown = False
            for i in range(self.w.size):
                slot = self.slot(i)
                if rcf_entry_of(&self.w.index, slot).core:
                    region = &self.w.regions[rcf_record_at(&self.w.index, slot).owner]
                    if region.id < 0:
                        region.id = self.w.next_id
                        self.w.next_id += 1

    # ---- reading -----------------------------------------------------------------------------------------------

    cdef inline int32_t slot(self, int64_t i) noexcept nogil:
        """The slot of the i-th oldest record."""
        i += self.w.first
        return <int32_t>(i - self.w.length if i >= self.w.length else i)

    def report(self):
        """The changes since the last report: the ids of the regions that ended, and (id, count, lower, upper, mean)
        for each region that is new or has changed."""
        cdef int64_t i
        cdef int32_t r
        cdef int j, d = self.w.columns
        cdef rcf_region* region
        cdef double* lower
        cdef double* upper
        cdef double[::1] center = np.empty(d)
        with self.lock:
            ended = [self.w.ended[i] for i in range(self.w.n_ended)]
            self.w.n_ended = 0
            changed = []
            for i in range(self.w.n_stale):
                r = self.w.stale[i]
                region = &self.w.regions[r]
                region.stale = False
                if region.n_cores == 0:
                    continue
                region.shown = True
                rcf_tighten(&self.w, r)
                lower, upper = rcf_lower_corner(&self.w, r), rcf_upper_corner(&self.w, r)
                rcf_center(&self.w, r, &center[0])
                changed.append((
                    region.id,
                    region.count,
                    tuple([lower[j] for j in range(d)]),
                    tuple([upper[j] for j in range(d)]),
                    tuple([center[j] for j in range(d)]),
                ))
            self.w.n_stale = 0
        return ended, changed

    def ids(self):
        """The id of the region of each record, (n,), oldest record first; -1 for noise."""
        cdef int64_t i
        cdef int32_t slot, owner
        cdef int64_t[::1] out
        with self.lock:
            result = np.empty(self.w.size, dtype=np.int64)
            out = result
            for i in range(self.w.size):
                slot = self.slot(i)
                owner = rcf_record_at(&self.w.index, slot).owner
                if owner >= 0 and not rcf_entry_of(&self.w.index, slot).core:
                    owner = rcf_record_at(&self.w.index, owner).owner
                out[i] = self.w.regions[owner].id if owner >= 0 else -1
        return result

    def cores(self):
        """Whether each record is a core, (n,), oldest record first."""
        cdef int64_t i
        with self.lock:
            return np.array([rcf_entry_of(&self.w.index, self.slot(i)).core for i in range(self.w.size)], dtype=bool)

    def members(self, int64_t id):
        """Positions in the stream of the records of a region, in ascending order; None if there is no such region."""
        cdef int32_t r, c, s
        cdef int64_t oldest
        with self.lock:
            oldest = self.w.seen - self.w.size
            for r in range(self.w.n_regions):
                if self.w.regions[r].n_cores and self.w.regions[r].id == id:
                    break
            else:
                return None
            found = []
            c = self.w.regions[r].cores
            while c >= 0:
                found.append(oldest + self.rank(c))
                s = rcf_record_at(&self.w.index, c).borders
                while s >= 0:
                    found.append(oldest + self.rank(s))
                    s = rcf_record_at(&self.w.index, s).next
                c = rcf_record_at(&self.w.index, c).next
        return np.sort(np.array(found, dtype=np.int64))

    cdef inline int64_t rank(self, int32_t slot) noexcept nogil:
        return slot - self.w.first if slot >= self.w.first else slot - self.w.first + self.w.length

    def points(self):
        """The records of the window, (n, n_features), oldest record first."""
        cdef int64_t i
        cdef int j
        cdef double[:, ::1] out
        with self.lock:
            result = np.empty((self.w.size, self.w.columns))
            out = result
            for i in range(self.w.size):
                for j in range(self.w.columns):
                    out[i, j] = rcf_given(&self.w, self.slot(i))[j]
        return result

    @property
    def n_features(self):
        return self.w.columns

    @property
    def n_seen(self):
        return self.w.seen

    # ---- saving ------------------------------------------------------------------------------------------------

    def state(self):
        """The state of the window: its settings and counts, and arrays with the records, their relations, and the sums
        of the regions.

        `counts` holds the number of neighbours of each record, including itself, and `ids` the id of its region (-1 for noise).
        `cores` holds the position in the window of the core of each border record (-1 for all other records).
        """
        cdef int64_t i
        cdef int32_t r
        cdef int j, d = self.w.index.dims
        cdef rcf_record* x
        cdef rcf_entry* entry
        cdef int32_t[::1] counts, cores
        points, ids = self.points(), self.ids()
        regions, sums = [], []
        with self.lock:
            state = {"counts": np.empty(self.w.size, dtype=np.int32), "cores": np.empty(self.w.size, dtype=np.int32)}
            counts, cores = state["counts"], state["cores"]
            for i in range(self.w.size):
                x = rcf_record_at(&self.w.index, self.slot(i))
                entry = rcf_entry_of(&self.w.index, self.slot(i))
                counts[i] = <int32_t>entry.count
                cores[i] = -1 if entry.core or x.owner < 0 else <int32_t>self.rank(x.owner)
            for r in range(self.w.n_regions):
                if self.w.regions[r].n_cores:
                    regions.append(self.w.regions[r].id)
                    sums.append([rcf_sum(&self.w, r)[j] for j in range(2 * d)])
        order = np.argsort(np.array(regions, dtype=np.int64))  # so that the order in memory has no effect
        return {
            "window_size": int(self.w.window), "scan_radius": self.radius, "min_points": int(self.w.min_points),
            "seen": int(self.w.seen), "next_id": int(self.w.next_id), "points": points, "ids": ids, **state,
            "regions": np.array(regions, dtype=np.int64)[order], "sums": np.array(sums).reshape(-1, 2 * d)[order],
        }

    @classmethod
    def restore(cls, state, sphere=False):
        """Restore a Window from its state.

        The relations between the records are read from the state and only checked for consistency. Computing them again would cost as
        much as adding all records, which takes hours for a million equal ones. A false state gives false regions but does no other harm.
        """
        cdef Window self
        cdef int32_t r
        cdef int j
        cdef const double[:, ::1] rows
        cdef const int32_t[::1] count_of, owner_of
        points = np.ascontiguousarray(state["points"], dtype=np.float64)
        if points.ndim != 2 or points.shape[1] < 1:
            raise ValueError("points must have two dimensions")
        n, d = points.shape
        axes = 3 if sphere else d  # number of coordinates of a sum
        ids, regions = np.asarray(state["ids"], dtype=np.int64), np.asarray(state["regions"], dtype=np.int64)
        counts, cores = np.asarray(state["counts"], dtype=np.int64), np.asarray(state["cores"], dtype=np.int64)
        sums = np.asarray(state["sums"], dtype=np.float64)
        if not 1 <= n < 2**30 or not 0 <= state["seen"] < 2**62 or not 0 <= state["next_id"] < 2**62:
            raise ValueError(f"impossible counts: {n} records, {state['seen']} seen, {state['next_id']} ids of regions")
        if (
            not ids.shape == counts.shape == cores.shape == (n,) or regions.ndim != 1
            or sums.shape != (len(regions), 2 * axes) or state["seen"] < n
        ):
            raise ValueError("the arrays of the state have inconsistent shapes")
        check_finite(points)
        if sphere:
            check_places(points)
        if not np.isfinite(sums).all():
            raise ValueError("the sums are not finite")
        self = cls(d, max(n, state["window_size"]), state["scan_radius"], state["min_points"], sphere)
        is_core = counts >= state["min_points"]
        if (
            not ((counts >= 1) & (counts <= n) & (cores >= -1) & (cores < n)).all()
            or (cores[is_core] >= 0).any() or not is_core[cores[cores >= 0]].all()
            or (ids != np.where(is_core, ids, np.where(cores >= 0, ids[cores], -1))).any()
            or not np.array_equal(np.unique(ids[is_core]), regions)
            or (len(regions) and not (regions.min() >= 0 and regions.max() < state["next_id"]))
        ):
            raise ValueError("the regions of the state do not match its records")
        rows, count_of = points, counts.astype(np.int32)
        owner_of = np.where(is_core, np.searchsorted(regions, ids), cores).astype(np.int32)
        if not rcf_window_reserve(&self.w, n):
            raise MemoryError(f"no memory for {n} records")
        rcf_window_refill(&self.w, n, &rows[0, 0], &count_of[0], &owner_of[0], len(regions))
        for r in range(self.w.n_regions):
            self.w.regions[r].id = regions[r]
            for j in range(2 * axes):
                rcf_sum(&self.w, r)[j] = sums[r, j]
        self.w.next_id = state["next_id"]
        self.w.seen = state["seen"]
        self.slide(state["window_size"])
        return self

    def __reduce__(self):
        return Window.restore, (self.state(), bool(self.w.sphere))
