"""Many series in one table: a detector for each host, and the same with Kinesis's function in SQL."""

from datetime import datetime, timedelta

import numpy as np
from pyspark.sql import SparkSession

import rcf.spark

spark = SparkSession.builder.getOrCreate()
values = 50 + 20 * np.sin(np.arange(600) / 12)[:, None] + np.random.default_rng(0).normal(0, 2, (600, 20))
values[450, 7] = 5.0  # an outage of host 7 for one minute
start = datetime(2026, 1, 1)
rows = [(f"host {k}", start + timedelta(minutes=i), float(values[i, k])) for i in range(600) for k in range(20)]
frame = spark.createDataFrame(rows, "host string, time timestamp, load double")

found = rcf.spark.detect(
    frame, keyCols=["host"], timeCol="time", valueCols=["load"], shingle_size=4, max_samples=128, anomaly_rate=0.001
)
events = found.filter("is_anomaly").orderBy("score", ascending=False).collect()
for event in events[:3]:
    print(
        f"{event.time} {event.host}: load {event.load:.0f}, expected about {event.expected[0]:.0f}, {event.cause.side}"
    )
assert (events[0].host, events[0].time) == ("host 7", start + timedelta(minutes=450))

rcf.spark.register(spark)
frame.createOrReplaceTempView("log")
[top] = spark.sql(
    """
    SELECT host, time, load, ANOMALY_SCORE
    FROM RANDOM_CUT_FOREST(TABLE(log) PARTITION BY (host) ORDER BY (time), columns => 'load', shingleSize => 4)
    ORDER BY ANOMALY_SCORE DESC LIMIT 1
    """
).collect()
print(f"{top.time} {top.host}: ANOMALY_SCORE {top.ANOMALY_SCORE:.2f}")
assert top.host == "host 7"
