"""HotSpots: the dense regions of a stream, updated with every record, and their changes."""

from __future__ import annotations

import json
import math
import sys
import threading
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from .._html import NotebookView, table
from .._validate import (
    as_record,
    check_columns,
    check_settled,
    many_for_one,
    names_of,
    unchanged_on_error,
    whole_number,
)
from ..persist import Savable
from .radius import Metric
from .window import KINDS, LEAST_METRES, Window, box_area, check_finite, check_places

Kind = Literal["born", "split", "grown", "shrunk", "merged", "died"]


@dataclass(frozen=True, slots=True)
class HotSpot:
    """A dense region.

    Attributes
    ----------
    id : int
        Constant while the region exists, even if it grows, shrinks or moves. Ids are never reused.
    density : float
        `count` divided by the volume of the box, or by its area in square metres with ``metric="haversine"``. :class:`HotSpots`
        describes the density of a box without volume.
    min_values, max_values : tuple of float
        The bounding box of the records, per feature. With ``metric="haversine"`` these are (latitude, longitude) of the southwest
        and the northeast corner; the longitude of the latter is above 180 if the box crosses the date line.
    count : int
        Number of records.
    center : tuple of float
        Mean of the records. With ``metric="haversine"``, the point on the surface of the earth below their mean in
        three dimensions.

    Examples
    --------
    >>> from rcf import HotSpot
    >>> HotSpot(0, 200.0, (0.0, 0.0), (1.0, 0.5), 100, (0.5, 0.2)).density
    200.0
    """

    id: int
    density: float
    min_values: tuple[float, ...]
    max_values: tuple[float, ...]
    count: int
    center: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a region that a record caused.

    Attributes
    ----------
    at : int
        Position of the record in the stream, counted from 0.
    kind : {"born", "split", "grown", "shrunk", "merged", "died"}
        The life of a region begins with "born" or "split", and ends with "merged" or "died".
    id : int
        Id of the region.
    other : int or None
        For "split", the id of the region that it was part of. For "merged", the id of the region that it became part
        of. Otherwise None.
    count : int
        Number of records of the region now; 0 if the life of the region ends.

    Examples
    --------
    >>> from rcf import HotSpots
    >>> spots = HotSpots(window_size=10, scan_radius=0.1, min_points=2)
    >>> [change.kind for change in spots.follow([[0.0], [0.05]])]
    ['born']
    """

    at: int
    kind: Kind
    id: int
    other: int | None
    count: int


class HotSpots(Savable, NotebookView, ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """The dense regions among the last records of a stream.

    A region is a cluster of DBSCAN. A record with at least `min_points` records within `scan_radius`, including itself, is
    a core. Cores within `scan_radius` of each other belong to one region, and so does any other record within
    `scan_radius` of one of its cores. After every record the regions equal those of a new clustering of the window, but an
    update only visits the neighbourhoods of the new record and of the record that left.

    Use it on a stream, with `update` for each record or with `follow` to get the changes of the regions. Or use it as a
    clusterer instead of :class:`sklearn.cluster.DBSCAN`, with `fit_predict`.

    Parameters
    ----------
    window_size : int, default=1000
        Number of records of the stream in the window. `fit` ignores it and uses all rows.
    scan_radius : float, default=0.5
        Distance within which records are neighbours, in metres with ``metric="haversine"``. Choose a value between the typical
        distance of neighbours inside dense regions and that outside of them; :func:`suggest_radius` proposes a value. The
        default is that of DBSCAN and does not depend on your data. Scale features whose units differ.
    min_points : int, default=5
        Smallest number of records within `scan_radius` of a core, including itself. It is also the smallest size of a region.
        Choose a share of the window that is not concentrated at one place by chance, for example 2 %.
    metric : {"euclidean", "haversine"}, default="euclidean"
        With "haversine" a record is a place on the earth, (latitude, longitude) in degrees, and distances are along the great
        circle. Latitudes are from -90 to 90. Longitudes are from -180 to 360, so those from -180 to 180 and those from 0
        to 360 are both accepted.
    strict : bool, default=False
        Enforce the limits of the Kinesis function: windows of 100 to 1000 records, and `min_points` of at least 2.

    Attributes
    ----------
    hot_spots_ : list of HotSpot
        The current regions, in the order of their ids.
    labels_ : ndarray of shape (n,)
        For each record of the window, oldest first, the index of its region in `hot_spots_`; -1 for noise. After `fit`, one label
        per row.
    core_sample_indices_ : ndarray of int
        Indices of the cores.
    n_features_in_ : int
        Number of features of a record.
    feature_names_in_ : ndarray of str
        Names of the features, if the data had names.
    n_seen_ : int
        Number of records of the stream so far.

    See Also
    --------
    suggest_radius : A scan radius for given data.
    sklearn.cluster.DBSCAN : Clusters a table.

    Notes
    -----
    The class implements the function HOTSPOTS of Amazon Kinesis Data Analytics for SQL; `kinesis_json` returns its result.
    The clusters are those of M. Ester, H.-P. Kriegel, J. Sander, X. Xu, "A Density-Based Algorithm for Discovering Clusters in
    Large Spatial Databases with Noise", KDD 1996.

    **Border records.** A record that is not a core may lie within `scan_radius` of the cores of several regions. It belongs to the
    region of the nearest core, and among equally near cores to that of the oldest. So its region changes only if a record near it
    changes. scikit-learn assigns such a record to the region with the lowest label. Cores, noise and, after `fit`, the labels of
    the regions are the same in both.

    **Density** is the number of records divided by the volume of the box around them. A side of length zero counts as
    `scan_radius`, because the clustering does not distinguish smaller distances. If the volume is too small for a float, the
    density is the largest float.

    **Places on the earth.** The earth is a sphere of radius 6 371 008.8 m (`EARTH_RADIUS`), the mean radius of the ellipsoid
    WGS 84. Distances differ from those on the ellipsoid by up to 0.6 %. Neighbours are found across the date line and around the
    poles. The box of a region has the smallest range of longitudes that holds its records. Its west end is from -180 to below 180,
    and its east end is above 180 if the box crosses the date line: 179 to 181.5 means 179 E to 178.5 W. A record at a pole
    lies on all meridians and does not widen the box. The density is in records per square metre. `scan_radius` must be at least a
    millimetre, because positions are rounded to about a nanometre.

    **Ids.** A record that enters can start a region or join regions. Among the joined regions, the one with the most records keeps
    its id; if counts are equal, the smallest id stays. A record that leaves can end or split a region. The part with the most
    records keeps the id; if counts are equal, this is the part with the oldest core.

    **Cost.** The cost of a record grows with the number of records within `scan_radius` of it, not with the window. If the
    radius covers most of the window, every record costs as much as the whole window. A hashed grid finds neighbours with up to
    three features, and a tree of boxes with more. If the data have many dimensions and no structure, the tree must compare a record
    with the whole window. If a core is lost and its neighbouring cores are not neighbours of each other, a search checks whether
    they are still connected. It visits as many records as the smaller part has. If a ring opens, it visits the whole ring. The grid
    has its origin at the first record. At distances above 10^12 radii from there, all records share the same cells, so they are
    compared with each other.

    **Parameters** cannot change within a stream. If one was changed, the next call that learns raises an error that names it.
    `fit` starts a new stream with the new values.

    **Threads.** One thread learns at a time, and any number of threads may read. A reader sees the regions before or after a
    record, never during an update.

    **Limits.** The box of a bent or hollow region contains much empty space. DBSCAN uses one density for all regions.
    Two dense places that touch are one region.

    Examples
    --------
    >>> import numpy as np
    >>> from rcf.hotspots import HotSpots
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(0, 10, size=(1000, 2))
    >>> X[::5] = [4, 7] + rng.uniform(0, 1, size=(200, 2))
    >>> spots = HotSpots(window_size=1000, scan_radius=0.2, min_points=17)
    >>> [spot] = spots.update_many(X)
    >>> spot.count, [round(x, 1) for x in spot.min_values], [round(x, 1) for x in spot.max_values]
    (209, [3.9, 7.0], [5.1, 8.0])

    The next example has taxis in Fiji, some of them east of the date line. Neighbours are within 500 m:

    >>> taxis = HotSpots(window_size=100, scan_radius=500, min_points=3, metric="haversine")
    >>> [spot] = taxis.update_many([[-16.8, 179.998], [-16.8, -179.999], [-16.801, 179.999], [-17.8, 178.0]])
    >>> spot.count, spot.min_values, spot.max_values
    (3, (-16.801, 179.998), (-16.8, 180.001))
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "window_size": [Interval(Integral, 1, 2**30 - 1, closed="left")],
        # its square must be a float
        "scan_radius": [Interval(Real, 1e-150, 1e150, closed="both")],
        "min_points": [Interval(Integral, 1, None, closed="left")],
        "metric": [StrOptions({"euclidean", "haversine"})],
        "strict": ["boolean"],
    }

    def __init__(
        self,
        window_size: int = 1000,
        scan_radius: float = 0.5,
        min_points: int = 5,
        *,
        metric: Metric = "euclidean",
        strict: bool = False,
    ) -> None:
        self.window_size = window_size
        self.scan_radius = scan_radius
        self.min_points = min_points
        self.metric = metric
        self.strict = strict

    # ---- the stream --------------------------------------------------------------------------------------------

    def update(self, record: ArrayLike) -> list[HotSpot]:
        """Add the next record of the stream. If the window is full, the oldest record leaves.

        Parameters
        ----------
        record : array-like of shape (d,)
            The labels of a pandas Series are the names of its features, in their order.

        Returns
        -------
        list of HotSpot
            The regions of the window, in the order of their ids.

        Raises
        ------
        ValueError
            If the record contains NaN or infinity, or if the number, the names or the order of its features differ from those
            of the stream. The regions do not change then.
        """
        names = names_of(record)
        known = list(getattr(self, "feature_names_in_", [])) if hasattr(self, "_window") else None
        if names is not None and known != [] and known != names:
            return self.update_many(cast(Any, record).to_frame().T)
        if hasattr(record, "columns"):
            raise many_for_one(np.shape(record))
        row = as_record(record, getattr(self, "n_features_in_", None), type(self).__name__).reshape(1, -1)
        self._check_rows(row)
        self._stream(row.shape[1]).push(row)
        self.n_features_in_ = row.shape[1]
        return self.hot_spots_

    def update_many(self, X: ArrayLike) -> list[HotSpot]:
        """Add many records in order, as `update` does with one record.

        Parameters
        ----------
        X : array-like of shape (n, d)

        Returns
        -------
        list of HotSpot
            The regions after the last row.
        """
        self._push(X, log=False)
        return self.hot_spots_

    def follow(self, X: ArrayLike) -> list[Change]:
        """Add many records in order, and return the changes of regions that each of them caused.

        Parameters
        ----------
        X : array-like of shape (n, d)
            For a single record pass ``[record]``.

        Returns
        -------
        list of Change
            Ordered by record, then by kind ("born", "split", "grown", "shrunk", "merged", "died"), then by id.
            A record that enters a region while another leaves the same region changes nothing.

        Examples
        --------
        >>> from rcf.hotspots import HotSpots
        >>> spots = HotSpots(window_size=3, scan_radius=1, min_points=2)
        >>> for change in spots.follow([[0], [1], [9], [9], [9]]):
        ...     print(change.at, change.kind, change.id, change.count)
        1 born 0 2
        3 born 1 2
        3 died 0 0
        4 grown 1 3
        """
        changes: list[Change] = []
        for at, id, other, kind, count in self._push(X, log=True).tolist():
            changes.append(Change(at, KINDS[kind], id, other if other >= 0 else None, count))
        return changes

    def _push(self, X: ArrayLike, log: bool) -> Any:
        started = hasattr(self, "_window")
        if not started:
            self._check_settings()
        rows = self._checked(X, reset=not started)
        return self._stream(rows.shape[1]).push(rows, log=log)

    def _checked(self, X: ArrayLike, reset: bool) -> NDArray[np.float64]:
        with unchanged_on_error(self):  # validate_data sets n_features_in_ and feature_names_in_ before it raises
            check_columns(X)
            rows: NDArray[np.float64] = validate_data(
                self, X, reset=reset, dtype=np.float64, order="C", ensure_all_finite=False
            )
            self._check_rows(rows)
        return rows

    def _check_rows(self, rows: NDArray[np.float64]) -> None:
        check_finite(rows)
        if self.metric == "haversine":
            check_places(rows)

    def _check_settings(self) -> None:
        self._validate_params()
        if self.min_points > self.window_size:
            raise ValueError(
                f"min_points must be at most window_size, {self.window_size}, got {self.min_points}: "
                "no region could ever be found."
            )
        if self.metric == "haversine" and self.scan_radius < LEAST_METRES:
            raise ValueError(
                f"scan_radius must be at least {LEAST_METRES} metres with haversine, got {self.scan_radius}."
            )
        if self.strict and not 100 <= self.window_size <= 1000:
            raise ValueError(f"strict: window_size must be between 100 and 1000, got {self.window_size}.")
        if self.strict and self.min_points < 2:
            raise ValueError(f"strict: min_points must be at least 2, got {self.min_points}.")

    def _stream(self, n_features: int) -> Window:
        """The window that the next record enters. It is created if there is none."""
        if not hasattr(self, "_window"):
            self._check_settings()
            self._begin(self._new_window(n_features, self.window_size))
        check_settled(self, self._settled)
        return self._window

    def _new_window(self, n_features: int, size: int) -> Window:
        return Window(n_features, size, float(self.scan_radius), self.min_points, self.metric == "haversine")

    def _begin(self, window: Window) -> None:
        self._window = window
        self._settled = {name: getattr(self, name) for name in ("window_size", "scan_radius", "min_points", "metric")}
        self._spots: dict[int, HotSpot] = {}
        self._reading = threading.Lock()  # because hot_spots_ updates _spots, and several threads may read it

    # ---- a table -----------------------------------------------------------------------------------------------

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Forget everything and cluster all rows at once, regardless of `window_size`.

        Afterwards `labels_` holds the labels of DBSCAN (see Notes for border records). A stream can continue after `fit`.
        Its first record removes all but the last `window_size` rows.

        Parameters
        ----------
        X : array-like of shape (n, d)
        y : ignored

        Returns
        -------
        self
        """
        self._check_settings()
        rows = self._checked(X, reset=True)
        window = self._new_window(rows.shape[1], max(len(rows), self.window_size))
        window.push(rows)
        window.renumber()
        window.slide(self.window_size)
        self._begin(window)
        return self

    # ---- reading -----------------------------------------------------------------------------------------------

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_window")

    def _summary_html(self) -> str:
        if not self.__sklearn_is_fitted__():
            return ""
        spots, records = self.hot_spots_, len(self.labels_)
        shown = sorted(spots, key=lambda spot: -spot.density)[:20]
        text = f"{self.n_seen_} records seen, {records} in the window, hot spots: {len(spots)}"
        if len(shown) < len(spots):
            text += f" (the {len(shown)} densest are shown)"
        headings = ("id", "records", "density", "min_values", "max_values", "center")
        rows = [(spot.id, spot.count, spot.density, spot.min_values, spot.max_values, spot.center) for spot in shown]
        return f"<p>{text}</p>" + (table(headings, rows) if rows else "")

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        if "_reading" in state:
            state = {**state, "_spots": {}}  # a restored window reports all of its regions again
            del state["_reading"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_window" in self.__dict__:
            self._reading = threading.Lock()

    def _state(self) -> dict[str, Any]:
        if not hasattr(self, "_window"):
            self._check_settings()
            return {"params": self.get_params(), "names": None, "window": None}
        names = getattr(self, "feature_names_in_", None)
        return {
            "params": {**self.get_params(), **self._settled},  # the values in use, not later changes
            "names": None if names is None else [str(name) for name in names],
            "window": self._window.state(),
        }

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        self = cls(**state["params"])
        held, names = state["window"], state["names"]
        if held is None:
            self._check_settings()
            return self
        self._check_settings()
        if [held[name] for name in ("window_size", "scan_radius", "min_points")] != [
            self.window_size, self.scan_radius, self.min_points
        ]:  # fmt: skip
            raise ValueError("the window was started with other parameters")
        window = Window.restore(held, self.metric == "haversine")
        self._begin(window)
        self.n_features_in_ = int(window.n_features)
        if names is not None:
            if [type(name) for name in names] != [str] * self.n_features_in_:
                raise ValueError(f"names are not {self.n_features_in_} names")
            self.feature_names_in_ = np.array(names, dtype=object)
        return self

    @property
    def hot_spots_(self) -> list[HotSpot]:
        window = self._begun()
        with self._reading:
            ended, changed = window.report()
            for id in ended:
                del self._spots[id]
            disordered = False
            for id, count, lower, upper, mean in changed:
                # new ids are larger, so the dict stays sorted unless two regions start between two reports
                disordered |= id not in self._spots
                self._spots[id] = HotSpot(id, self._density(count, lower, upper), lower, upper, count, mean)
            if disordered:
                self._spots = dict(sorted(self._spots.items()))
            return list(self._spots.values())

    @property
    def labels_(self) -> NDArray[np.int64]:
        ids = self._begun().ids()
        regions = np.unique(ids[ids >= 0])
        return np.where(ids >= 0, np.searchsorted(regions, ids), -1)

    @property
    def core_sample_indices_(self) -> NDArray[np.int64]:
        return np.flatnonzero(self._begun().cores())

    @property
    def n_seen_(self) -> int:
        return int(self._begun().n_seen)

    def _begun(self) -> Window:
        check_is_fitted(self)
        return self._window

    def members(self, id: int) -> NDArray[np.int64]:
        """The positions in the stream of the records of a region, in ascending order. The first record of the stream
        is 0.

        Parameters
        ----------
        id : int
            The id of a region in `hot_spots_`.

        Raises
        ------
        KeyError
            If no region has that id now.
        """
        check_is_fitted(self)
        found: NDArray[np.int64] | None = self._window.members(whole_number("id", id, least=0))
        if found is None:
            raise KeyError(f"no region has the id {id} now")
        return found

    def records(self) -> NDArray[np.float64]:
        """The records of the window as an array ``(n, d)``, oldest first."""
        check_is_fitted(self)
        return self._window.points()

    def kinesis_json(self) -> str:
        """The current regions as JSON, in the format of the Kinesis function HOTSPOTS. The list is empty before the
        first record.

        Examples
        --------
        >>> from rcf.hotspots import HotSpots
        >>> spots = HotSpots(scan_radius=1, min_points=2).fit([[0.0, 2.0], [0.5, 2.5]])
        >>> spots.kinesis_json()
        '{"hotspots":[{"density":8.0,"minValues":[0.0,2.0],"maxValues":[0.5,2.5]}]}'
        """
        spots = [
            {"density": spot.density, "minValues": spot.min_values, "maxValues": spot.max_values}
            for spot in (self.hot_spots_ if self.__sklearn_is_fitted__() else [])
        ]
        return json.dumps({"hotspots": spots}, separators=(",", ":"))

    def _density(self, count: int, lower: tuple[float, ...], upper: tuple[float, ...]) -> float:
        if self._settled["metric"] == "haversine":
            area = box_area(lower, upper, float(self._settled["scan_radius"]))
            return min(count / area, sys.float_info.max) if area > 0.0 else sys.float_info.max
        # exponents are kept separately: the product of many sides can overflow or underflow although the density does not
        mantissa, exponent = 1.0, 0
        for low, high in zip(lower, upper, strict=True):
            half = (0.5 * high - 0.5 * low) or 0.5 * float(self._settled["scan_radius"])
            part, shift = math.frexp(mantissa * half)
            mantissa, exponent = part, exponent + shift + 1
        try:
            return math.ldexp(count / mantissa, -exponent)
        except OverflowError:
            return sys.float_info.max
