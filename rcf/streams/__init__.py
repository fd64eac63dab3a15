"""Workers that read a stream of records and write the records with their scores. A crash does not change the results.

:class:`Worker` reads records from a source, scores and learns each of them, writes them to a sink, and saves model and
position together in a store. Each service has its own module and needs its own client library:

- `rcf.streams.files`: files, standard input and output; no library is needed.
- `rcf.streams.redis`: Redis streams; ``pip install "rcf[redis]"``.
- `rcf.streams.kinesis`: Kinesis, Firehose, DynamoDB and S3; ``pip install "rcf[kinesis]"``.
- `rcf.streams.kafka`: Kafka; ``pip install "rcf[kafka]"``.
- `rcf.streams.aws_lambda`: handlers of AWS Lambda.
- `rcf.streams.prometheus`: watches the results of a Prometheus query.
- `rcf.streams.metrics`: a ``/metrics`` endpoint; ``pip install "rcf[metrics]"``.

The commands ``rcf worker``, ``rcf watch`` and ``rcf stream`` run them.
"""

from .checkpoint import Checkpoint
from .codecs import Csv, Fields, Json, Recognised
from .records import Message, PoisonError, Record, Rejected, StreamError
from .schema import Schema
from .worker import Worker

__all__ = [
    "Checkpoint",
    "Csv",
    "Fields",
    "Json",
    "Message",
    "PoisonError",
    "Recognised",
    "Record",
    "Rejected",
    "Schema",
    "StreamError",
    "Worker",
]
