"""Anomalies in streams: windows, scaling, alarms, causes and forecasts, built on random cut forests."""

from .detections import Cause, Detection, Detections
from .events import Event
from .forecast import Forecast
from .keyed import KeyedDetector
from .stream import StreamDetector

__all__ = ["Cause", "Detection", "Detections", "Event", "Forecast", "KeyedDetector", "StreamDetector"]
