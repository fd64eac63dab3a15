"""Checkpoints in DynamoDB. A model that is too large for an item is stored in S3, and the item points to it."""

from __future__ import annotations

import json
import logging
import secrets
from typing import Any

from .checkpoint import Checkpoint
from .records import StreamError

try:
    from botocore.exceptions import ClientError
except ImportError as error:
    raise ImportError('rcf.streams.dynamo needs boto3: python -m pip install "rcf[kinesis]"') from error

log = logging.getLogger("rcf.streams")
LARGEST = 380_000  # bytes of a model in an item; DynamoDB's limit of 400 KB includes the names


class DynamoStore:
    """Stores the newest checkpoint of each partition as an item.

    Parameters
    ----------
    client : boto3 client of "dynamodb"
    table : str
        Name of a table with the hash key ``partition``, a string. If it does not exist, it is created with billing
        per request.
    application : str
        Name of the application. The key of an item is ``<application>/<partition>``, so several applications can share a
        table.
    s3 : boto3 client of "s3" or None, default=None
    bucket : str or None, default=None
        Where models above 380 000 bytes are stored. The default detector has 250 000 bytes, and a forest with 100 trees of 256
        windows of 8 numbers has 1 000 000.
    prefix : str, default="rcf"
        Prefix of the names of objects.

    Notes
    -----
    The object is written first, under a new name, and the item is written last. So the item never points to an incomplete
    object. The item also records which worker loaded it last. If another worker has loaded the partition since then,
    saving fails with a StreamError.
    """

    def __init__(
        self,
        client: Any,
        table: str,
        application: str,
        *,
        s3: Any = None,
        bucket: str | None = None,
        prefix: str = "rcf",
    ) -> None:
        self._client, self._table, self._application = client, table, application
        self._s3, self._bucket, self._prefix = s3, bucket, prefix
        self._owner = secrets.token_hex(8)
        self._objects: dict[str, str] = {}  # the object to which the item of each partition points
        self._made = False

    def _key(self, partition: str) -> dict[str, Any]:
        return {"partition": {"S": f"{self._application}/{partition}"}}

    def make_table(self) -> None:
        """Create the table if it does not exist."""
        if self._made:
            return
        try:
            self._client.create_table(
                TableName=self._table,
                KeySchema=[{"AttributeName": "partition", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "partition", "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
            )
            log.info("created the table %s", self._table)
        except self._client.exceptions.ResourceInUseException:
            pass
        self._client.get_waiter("table_exists").wait(TableName=self._table)
        self._made = True

    def peek(self, partition: str) -> Checkpoint | None:
        try:
            found = self._client.get_item(TableName=self._table, Key=self._key(partition), ConsistentRead=True)
        except self._client.exceptions.ResourceNotFoundException:
            return None
        return self._checkpoint(found.get("Item", {}))

    def load(self, partition: str) -> Checkpoint | None:
        self.make_table()
        found = self._client.update_item(
            TableName=self._table,
            Key=self._key(partition),
            UpdateExpression="SET #owner = :me",
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues={":me": {"S": self._owner}},
            ReturnValues="ALL_NEW",
        )["Attributes"]
        if "object" in found:
            self._objects[partition] = found["object"]["S"]
        return self._checkpoint(found)

    def _checkpoint(self, item: dict[str, Any]) -> Checkpoint | None:
        if "object" in item:
            if self._s3 is None:
                raise StreamError(f"the checkpoint is in S3, {item['object']['S']}: set a bucket to read it")
            data = self._s3.get_object(Bucket=self._bucket, Key=item["object"]["S"])["Body"].read()
        elif "checkpoint" in item:
            data = bytes(item["checkpoint"]["B"])
        else:
            return None
        return Checkpoint.from_bytes(data)

    def save(self, checkpoint: Checkpoint) -> None:
        partition, data = checkpoint.partition, checkpoint.to_bytes()
        name = None
        if len(data) > LARGEST:
            if self._s3 is None or self._bucket is None:
                raise StreamError(f"the model has {len(data)} bytes, too many for DynamoDB: set a bucket for it")
            name = f"{self._prefix}/{self._application}/{partition}/{checkpoint.position}-{secrets.token_hex(4)}.rcf"
            self._s3.put_object(Bucket=self._bucket, Key=name, Body=data)
        held: dict[str, Any] = {"B": data} if name is None else {"S": name}
        mine, other = ("checkpoint", "object") if name is None else ("object", "checkpoint")
        values = {":me": {"S": self._owner}, ":held": held, ":position": {"S": json.dumps(checkpoint.position)},
                  ":finished": {"BOOL": checkpoint.finished}, ":records": {"N": str(checkpoint.records)}}  # fmt: skip
        try:
            self._client.update_item(
                TableName=self._table,
                Key=self._key(partition),
                UpdateExpression="SET #mine = :held, #position = :position, finished = :finished, #records = :records "
                "REMOVE #other",
                ConditionExpression="#owner = :me",
                ExpressionAttributeNames={"#owner": "owner", "#position": "position", "#records": "records",
                                          "#mine": mine, "#other": other},
                ExpressionAttributeValues=values,
            )  # fmt: skip
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                if name is not None:
                    self._delete(name)
                raise StreamError(f"another worker has taken over {partition}") from error
            raise
        old = self._objects.pop(partition, None)
        if name is not None:
            self._objects[partition] = name
        if old is not None:
            self._delete(old)

    def _delete(self, name: str) -> None:
        try:
            self._s3.delete_object(Bucket=self._bucket, Key=name)
        except ClientError as error:
            log.warning("the old checkpoint %s was not deleted: %s", name, error)

    def close(self) -> None:
        pass
