"""Services: a stream of records in, a labelled stream out, with the same results after every crash.

:class:`Worker` reads a source, scores and learns each record, writes it to a sink, and saves model and position together in a
store. The adapters are thin, and each needs its own client library:

- `rcf.streams.files`: files, standard input and output; nothing else is needed.
- `rcf.streams.redis`: Redis streams; ``pip install "rcf[redis]"``.
- `rcf.streams.kinesis`: Kinesis, Firehose, DynamoDB and S3; ``pip install "rcf[kinesis]"``.
- `rcf.streams.kafka`: Kafka; ``pip install "rcf[kafka]"``.
- `rcf.streams.aws_lambda`: handlers of AWS Lambda.
- `rcf.streams.prometheus`: watches the results of a Prometheus query.
- `rcf.streams.metrics`: a ``/metrics`` endpoint; ``pip install "rcf[metrics]"``.

On the command line they are ``rcf worker``, ``rcf watch`` and ``rcf stream``.
"""

from .checkpoint import Checkpoint
from .codecs import Csv, Fields, Json, Recognised
from .protocols import Message, PoisonError, Record, Rejected, StreamError
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
