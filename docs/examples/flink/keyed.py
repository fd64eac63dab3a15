"""A PyFlink process function with a StreamDetector for each key, kept in memory and written to keyed state by a timer.

Writing the bytes of a detector takes hundreds of times as long as judging a record, so they are written every `INTERVAL`
milliseconds. Choose a value below the checkpoint interval. After a crash Flink replays the records since the last checkpoint,
but the detectors continue from their last written state, so they can miss the records of one interval. AWS's sample of a keyed
random cut forest has the same limit. If no record may be missed, set WRITE_EACH to True. The detector of a key has then
learned exactly the records before the current one, and about 300 records are judged per second.
"""

import math
import sys

from pyflink.common import Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext, StreamExecutionEnvironment
from pyflink.datastream.state import ValueStateDescriptor

from rcf import StreamDetector

INTERVAL = 10_000
WRITE_EACH = False


class Detect(KeyedProcessFunction):
    def open(self, context: RuntimeContext):
        # PICKLED_BYTE_ARRAY can hold any Python object; here it holds plain bytes
        self.saved = context.get_state(ValueStateDescriptor("detector", Types.PICKLED_BYTE_ARRAY()))
        self.live = {}

    def process_element(self, value, context):
        key, time, load = value
        detector = self.live.get(key)
        if detector is None:
            data = self.saved.value()
            new = StreamDetector(shingle_size=4, n_estimators=10, max_samples=64, random_state=0)
            detector = self.live[key] = new if data is None else StreamDetector.from_bytes(data)
            if not WRITE_EACH:
                timers = context.timer_service()
                timers.register_processing_time_timer(timers.current_processing_time() + INTERVAL)
        found = detector.update(load, time)
        if WRITE_EACH:
            self.saved.update(detector.to_bytes())
        yield key, time, load, found.score, found.is_anomaly

    def on_timer(self, timestamp, context):
        yield from ()  # a generator: PyFlink iterates over what it returns
        detector = self.live.get(context.get_current_key())
        if detector is not None:
            self.saved.update(detector.to_bytes())
            context.timer_service().register_processing_time_timer(timestamp + INTERVAL)


def rows():
    for i in range(300):
        for key in ("a", "b"):
            yield key, 60.0 * i, math.sin(i / 5) + (8.0 if (key, i) == ("b", 250) else 0.0)


environment = StreamExecutionEnvironment.get_execution_environment()
environment.set_parallelism(1)
environment.set_python_executable(sys.executable)  # the Python of the workers, which needs pyflink and rcf
kind = Types.TUPLE([Types.STRING(), Types.DOUBLE(), Types.DOUBLE()])
found = (
    environment.from_collection(list(rows()), type_info=kind)
    .key_by(lambda row: row[0], key_type=Types.STRING())
    .process(
        Detect(),
        output_type=Types.TUPLE([Types.STRING(), Types.DOUBLE(), Types.DOUBLE(), Types.DOUBLE(), Types.BOOLEAN()]),
    )
)
with found.execute_and_collect() as results:
    out = list(results)
for key, time, load, score, is_anomaly in out:
    if is_anomaly:
        print(f"{key} at {time:.0f}: {load:.2f}, score {score:.2f}")
assert len(out) == 600
assert ("b", 15_000.0) in {(key, time) for key, time, _, _, is_anomaly in out if is_anomaly}
for key in ("a", "b"):
    own = [row for row in out if row[0] == key]
    one = StreamDetector(shingle_size=4, n_estimators=10, max_samples=64, random_state=0)
    assert [row[3] for row in own] == one.update_many([row[2] for row in own], [row[1] for row in own]).score.tolist()
