"""A structured stream with a detector for each host, which survives kill -9 of the driver.

python stream.py IN STATE OUT [--files N]

Reads Parquet files (host, time, load) from the folder IN, one per batch, and writes every row with its score to OUT. STATE
holds the checkpoint with the offsets and the bytes of the detectors. If the script is started again after a crash, it
continues from the checkpoint. With --files it ends after that many batches in total.
"""

import argparse
import time

from pyspark.sql import SparkSession

from rcf.spark import detect_stream

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("source")
parser.add_argument("state")
parser.add_argument("sink")
parser.add_argument("--files", type=int)
arguments = parser.parse_args()

spark = (
    SparkSession.builder.master("local[2]")
    .config("spark.ui.enabled", False)
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.sql.shuffle.partitions", 2)  # one task per core in each batch
    .config(
        "spark.sql.streaming.stateStore.providerClass",
        "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider",
    )
    .config("spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled", True)  # write only changes
    .getOrCreate()
)
rows = (
    spark.readStream.schema("host string, time timestamp, load double")
    .option("maxFilesPerTrigger", 1)
    .parquet(arguments.source)
)
found = detect_stream(
    rows,
    keyCols=["host"],
    timeCol="time",
    valueCols=["load"],
    shingle_size=4,
    n_estimators=10,
    max_samples=64,
)
query = found.writeStream.format("parquet").option("checkpointLocation", arguments.state).start(arguments.sink)
while query.isActive and (
    arguments.files is None or (query.lastProgress or {}).get("batchId", -1) < arguments.files - 1
):
    time.sleep(0.1)
if query.exception() is not None:
    raise query.exception()
query.processAllAvailable()
query.stop()
spark.stop()
