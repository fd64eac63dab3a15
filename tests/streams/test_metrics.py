"""The log and the /metrics page of a worker, read as monitoring services read them."""

import io
import json
import logging
import urllib.request

import pytest
from servers import free_port, waves

from rcf import StreamDetector
from rcf.streams import Worker
from rcf.streams.files import FileStore, LineSink, LineSource
from rcf.streams.service import JsonFormatter


def test_metrics_are_those_of_the_workers(tmp_path):
    pytest.importorskip("prometheus_client", reason="needs rcf[metrics]")
    from rcf.streams.metrics import WorkerMetrics, serve

    (tmp_path / "in").write_text("".join(f'{{"load": {v}}}\n' for v in waves(400, spikes=[350])) + "{\n")
    model = StreamDetector(4, n_estimators=10, max_samples=64, random_state=3)
    worker = Worker(model, LineSource(tmp_path / "in"), LineSink(io.BytesIO()), FileStore(tmp_path / "state"))
    listen = f"127.0.0.1:{free_port()}"
    end = serve(WorkerMetrics([worker]), listen)
    try:
        worker.run()
        text = urllib.request.urlopen(f"http://{listen}/metrics", timeout=10).read().decode()
    finally:
        end()
    values = {line.split("{")[0]: float(line.split()[-1]) for line in text.splitlines() if not line.startswith("#")}
    assert values["rcf_records_total"] == 400
    assert values["rcf_anomalies_total"] == worker.anomalies > 0
    assert values["rcf_rejected_total"] == 1
    assert 0 <= values["rcf_checkpoint_age_seconds"] < 60
    assert f'partition="{tmp_path / "in"}"' in text


@pytest.mark.parametrize(
    ("listen", "found"),
    [
        ("127.0.0.1:9101", ("127.0.0.1", 9101)),
        (":80", ("127.0.0.1", 80)),
        ("[::1]:80", ("::1", 80)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
    ],
)
def test_addresses(listen, found):
    pytest.importorskip("prometheus_client", reason="needs rcf[metrics]")
    from rcf.streams.metrics import address

    assert address(listen) == found


@pytest.mark.parametrize("listen", ["", "9101x", "host", "host:", "host:65536", "host:-1"])
def test_invalid_addresses(listen):
    pytest.importorskip("prometheus_client", reason="needs rcf[metrics]")
    from rcf.streams.metrics import address

    with pytest.raises(ValueError, match="is not host:port"):
        address(listen)


def test_a_log_line_is_a_json_object():
    record = logging.LogRecord("rcf.streams", logging.WARNING, "", 0, "%s is rejected", ("line 3",), None)
    record.partition = "in"
    line = json.loads(JsonFormatter().format(record))
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "warning", "logger": "rcf.streams", "message": "line 3 is rejected", "partition": "in"}
