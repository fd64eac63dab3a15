"""moto's server, with shards that are split and merged as AWS documents it.

    python moto_server.py PORT

When a shard is split, moto moves its records to the children, puts new ones into the closed shard, and lets readers of the closed
shard wait for ever. In Kinesis the records stay where they are, new ones go to the children, and a reader that has reached the end
of a closed shard gets no further iterator (Amazon Kinesis Data Streams Developer Guide, "Resharding a stream").
"""

import functools
import sys
from collections import OrderedDict

from moto.kinesis.models import KinesisBackend, Stream
from moto.server import main


def records_stay(reshard):
    @functools.wraps(reshard)
    def changed(self, *args):
        held = {name: shard.records for name, shard in self.shards.items()}
        for shard in self.shards.values():
            shard.records = OrderedDict()
        reshard(self, *args)
        for name, records in held.items():
            self.shards[name].records = records

    return changed


def closed_shards_end(get_records):
    @functools.wraps(get_records)
    def changed(self, stream_arn, shard_iterator, limit):
        following, records, behind = get_records(self, stream_arn, shard_iterator, limit)
        from moto.kinesis.utils import decompose_shard_iterator

        stream, name, last = decompose_shard_iterator(following)
        shard = self.describe_stream(stream_arn=stream_arn, stream_name=stream).get_shard(name)
        ended = not shard.is_open and int(last) >= shard.get_max_sequence_number()
        return None if ended else following, records, behind

    return changed


def open_shards_only(get_shard_for_key):
    @functools.wraps(get_shard_for_key)
    def changed(self, *args):
        shards = self.shards
        self.shards = {name: shard for name, shard in shards.items() if shard.is_open}
        try:
            return get_shard_for_key(self, *args)
        finally:
            self.shards = shards

    return changed


Stream.get_shard_for_key = open_shards_only(Stream.get_shard_for_key)
Stream.split_shard = records_stay(Stream.split_shard)
Stream.merge_shards = records_stay(Stream.merge_shards)
KinesisBackend.get_records = closed_shards_end(KinesisBackend.get_records)

if __name__ == "__main__":
    main(["-H", "127.0.0.1", "-p", sys.argv[1]])
