"""What notebooks show: well-formed, with what was found, and with nothing that a feature's name could inject."""

from xml.etree import ElementTree

import numpy as np
import pandas as pd

from rcf import StreamDetector


def parsed(html):
    return ElementTree.fromstring(f"<div>{html}</div>")


def test_detections_show_the_scores_and_the_flagged_records():
    values = 100 * np.sin(np.arange(1000) / 8)
    values[700] += 150
    frame = pd.DataFrame({"<b>load</b>": values})
    detector = StreamDetector(random_state=0)
    detector.update_many(frame[:600])
    found = [detector.update(row) for _, row in frame[600:].iterrows()]
    flagged = next(result for result in found if result.is_anomaly)
    page = parsed(flagged._repr_html_())
    assert "<b>load</b>" in "".join(page.itertext())
    assert page.find(".//b") is None

    many = StreamDetector(random_state=0).update_many(values)
    page = parsed(many._repr_html_())
    assert page.find("p").text == f"1000 records, {len(many.anomalies)} flagged"
    assert len(page.findall(".//tbody/tr")) == min(20, len(many.anomalies))
    assert len(page.findall(".//circle")) >= 1
    points = page.find(".//polyline").get("points").split()
    assert len(points) == 480
    assert "x0" in "".join(page.itertext())


def test_nothing_is_shown_of_nothing():
    assert "0 records, 0 flagged" in StreamDetector(random_state=0).update_many(np.empty(0))._repr_html_()
    parsed(StreamDetector(random_state=0).update(1.0)._repr_html_())


def test_forecast_shows_a_row_a_step():
    detector = StreamDetector(random_state=0)
    detector.update_many(100 * np.sin(np.arange(1000) / 8))
    assert len(parsed(detector.forecast(5)._repr_html_()).findall(".//tbody/tr")) == 5
