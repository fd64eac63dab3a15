"""The HTML for notebooks is well-formed, shows the results, and escapes the names of features."""

import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_html_repr

from rcf import HotSpots, RandomCutForest, StreamDetector


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
    [dot] = page.findall(".//circle")
    highest = min(points, key=lambda point: float(point.split(",")[1]))
    assert (dot.get("cx"), dot.get("cy")) == tuple(highest.split(",")), "the dot is on the peak of the flagged record"


def test_html_of_empty_results():
    assert "0 records, 0 flagged" in StreamDetector(random_state=0).update_many(np.empty(0))._repr_html_()
    parsed(StreamDetector(random_state=0).update(1.0)._repr_html_())


def test_a_forecast_has_a_row_for_each_step():
    detector = StreamDetector(random_state=0)
    detector.update_many(100 * np.sin(np.arange(1000) / 8))
    assert len(parsed(detector.forecast(5)._repr_html_()).findall(".//tbody/tr")) == 5


def summary(estimator):
    """The part below scikit-learn's diagram, which is HTML but not XML. Both ways to request the HTML agree."""
    bundle = estimator._repr_mimebundle_()
    diagram = estimator_html_repr(estimator)
    for shown in (bundle["text/html"], estimator._repr_html_()):
        # the diagram gives its elements new numbers each time
        own = re.sub(r"sk-\w+-id-\d+", "", shown)
        assert own.startswith(re.sub(r"sk-\w+-id-\d+", "", diagram))
    assert bundle["text/plain"] == repr(estimator)
    return parsed(own[len(re.sub(r"sk-\w+-id-\d+", "", diagram)) :])


def cells(page):
    return {row[0].text: row[1].text for row in page.findall(".//tbody/tr")}


def test_a_forest_shows_what_it_has_seen():
    forest = RandomCutForest(n_estimators=20, max_samples=64, random_state=0)
    assert len(summary(forest)) == 0
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 2)), columns=["<b>load</b>", "latency"])
    forest.fit(frame)
    found = cells(summary(forest))
    assert found.pop("offset") == f"{forest.offset_:.4g}"
    assert found == {
        "records seen": "50",
        "features": "2: <b>load</b>, latency",
        "trees": "20",
        "records per tree": "50",
    }
    record = np.zeros(2)
    stream = RandomCutForest(n_estimators=20, max_samples=64, random_state=0)
    stream.update(record)
    assert cells(summary(stream))["records seen"] == "1"
    stream.forget(record)
    found = cells(summary(stream))
    assert (found["features"], found["records per tree"]) == ("2", "0")
    assert "offset" not in found
    assert "n_seen_" in dir(stream)  # which reads every attribute
    with pytest.raises(NotFittedError, match="all records were forgotten"):
        stream.predict([record])


def test_each_hot_spot_has_a_row():
    spots = HotSpots(window_size=60, scan_radius=1, min_points=2)
    assert len(summary(spots)) == 0
    assert summary(spots.fit([[0.0], [9.0]])).find("p").text == "2 records seen, 2 in the window, hot spots: 0"
    # there are 25 pairs, and the records of later pairs are further apart, so that their regions are less dense
    places = [[10.0 * i + j * (0.1 + 0.03 * i)] for i in range(25) for j in range(2)]
    page = summary(spots.fit(places))
    assert page.find("p").text == "50 records seen, 50 in the window, hot spots: 25 (the 20 densest are shown)"
    shown = [row[0].text for row in page.findall(".//tbody/tr")]
    assert shown == [str(i) for i in range(20)]
    assert page.find(".//tbody/tr")[1].text == "2"


def test_without_diagrams_there_is_no_html():
    forest = RandomCutForest(random_state=0).fit(np.eye(3))
    with config_context(display="text"):
        assert set(forest._repr_mimebundle_()) == {"text/plain"}
        assert not hasattr(forest, "_repr_html_")
