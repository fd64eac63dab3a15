"""Dense regions among the last records of a stream, and their changes. This package shares no code with the forest."""

from .hotspots import Change, HotSpot, HotSpots
from .radius import k_distances, suggest_radius
from .window import EARTH_RADIUS

__all__ = ["EARTH_RADIUS", "Change", "HotSpot", "HotSpots", "k_distances", "suggest_radius"]
