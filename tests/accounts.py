"""An AWS account on moto's server, for the tests of Kinesis and Lambda."""

import json
import urllib.request

import boto3
from servers import parameters

from rcf import StreamDetector
from rcf.streams import Schema, Worker
from rcf.streams.dynamo import DynamoStore
from rcf.streams.kinesis import KinesisSink, KinesisSource, ShardGroup

PARAMS, _ = parameters()


class Service:
    """The streams of a new account."""

    def __init__(self, address):
        urllib.request.urlopen(urllib.request.Request(f"{address}/moto-api/reset", method="POST")).read()
        self.kinesis, self.firehose, self.dynamo, self.s3 = (
            boto3.client(name) for name in ("kinesis", "firehose", "dynamodb", "s3")
        )
        for stream in ("in", "out"):
            self.kinesis.create_stream(StreamName=stream, ShardCount=1)
            self.kinesis.get_waiter("stream_exists").wait(StreamName=stream)

    def put(self, records, stream="in"):
        """Put records, each a dict with its partition key under "k"."""
        for chunk in chunks(records, 500):
            entries = [{"Data": json.dumps(record), "PartitionKey": str(record["k"])} for record in chunk]
            assert self.kinesis.put_records(StreamName=stream, Records=entries)["FailedRecordCount"] == 0

    def written(self, stream="out"):
        found = []
        for shard in self.kinesis.list_shards(StreamName=stream)["Shards"]:
            at = self.kinesis.get_shard_iterator(
                StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )
            at = at["ShardIterator"]
            while at:
                answer = self.kinesis.get_records(ShardIterator=at, Limit=10000)
                found += [json.loads(record["Data"]) for record in answer["Records"]]
                at = answer["NextShardIterator"] if answer["Records"] else None
        return found

    def count(self):
        """The number of records written; a record that is written twice counts once."""
        return len({(row["SHARD"], row.get("AT") or row["SEQUENCE_NUMBER"]) for row in self.written()})

    def store(self, **options):
        return DynamoStore(self.dynamo, "rcf", "in", **options)

    def group(
        self,
        model=lambda: StreamDetector(**PARAMS),
        store=None,
        sink=None,
        schema=None,
        start="TRIM_HORIZON",
        **options,
    ):
        store = store or self.store()
        sink = sink or KinesisSink(self.kinesis, "out")

        def make(shard, start):
            output = {"score": "S", "partition": "SHARD", "position": "AT"}
            source = KinesisSource(self.kinesis, "in", shard, start=start)
            return Worker(model(), source, sink, store, schema=schema or Schema(["load"]), output=output, **options)

        return ShardGroup(self.kinesis, "in", make, store, start=start, discover_every=0.0)

    def split(self, shard, at=None):
        listed = {found["ShardId"]: found for found in self.kinesis.list_shards(StreamName="in")["Shards"]}
        span = listed[shard]["HashKeyRange"]
        middle = (int(span["StartingHashKey"]) + int(span["EndingHashKey"])) // 2
        self.kinesis.split_shard(StreamName="in", ShardToSplit=shard, NewStartingHashKey=str(at or middle))

    def shards(self):
        return [found["ShardId"] for found in self.kinesis.list_shards(StreamName="in")["Shards"]]


def chunks(items, n):
    items = list(items)
    return [items[at : at + n] for at in range(0, len(items), n)]
