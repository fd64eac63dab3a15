"""Dense regions among the last records of a stream, and what becomes of them; shares no code with the forest."""

from .hotspots import Change, HotSpot, HotSpots, k_distances, suggest_radius

__all__ = ["Change", "HotSpot", "HotSpots", "k_distances", "suggest_radius"]
