"""Save and load estimators and models in Spark's file systems, with classic Spark and Spark Connect.

`path/metadata` holds the parameters in the format of Spark ML. For a model, `path/model` holds one row of Parquet with the
bytes of the model file. Both are written through a DataFrame, so that s3a, hdfs and dbfs paths work.
"""

from __future__ import annotations

import json
from typing import Any

from pyspark.ml.util import DefaultParamsReader, DefaultParamsWriter, MLReader, MLWriter
from pyspark.sql import SparkSession
from pyspark.sql.utils import is_remote


def _active() -> SparkSession:
    """The active session. `SparkSession.active` of classic Spark cannot be used, because it needs a JVM."""
    if is_remote():
        from pyspark.sql.connect.session import SparkSession as RemoteSession

        return RemoteSession.active()
    return SparkSession.active()


class ForestWriter(MLWriter):
    """Writes an estimator, or a model with the bytes of its forest."""

    def __init__(self, instance: Any, model: bytes | None = None) -> None:
        super().__init__()
        self._instance = instance
        self._model = model

    def save(self, path: str) -> None:
        """Save to a folder that does not exist yet. After :meth:`overwrite`, an existing folder is replaced.

        Spark's own MLWriter asks the JVM to delete the old folder, which is impossible with Spark Connect. This writer
        overwrites both sub-folders instead.
        """
        spark = self._sparkSession or _active()
        mode = "overwrite" if self.shouldOverwrite else "error"
        metadata = DefaultParamsWriter._get_metadata_to_save(self._instance, spark)
        if self._model is not None:
            frame = spark.createDataFrame([(bytearray(self._model),)], "model binary")
            frame.coalesce(1).write.mode(mode).parquet(f"{path}/model")
        spark.createDataFrame([(metadata,)], "value string").coalesce(1).write.mode(mode).text(f"{path}/metadata")


class ForestReader(MLReader):
    """Reads the files of :class:`ForestWriter`; `kind` is the class of the result."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self._kind = kind

    def load(self, path: str) -> Any:
        """The estimator or model.

        Raises
        ------
        ValueError
            If the folder holds another class.
        rcf.persist.ModelFileError
            If the bytes of the forest are damaged.
        """
        spark = self._sparkSession or _active()
        metadata = json.loads(spark.read.text(f"{path}/metadata").first()[0])
        expected = f"{self._kind.__module__}.{self._kind.__name__}"
        if metadata["class"] != expected:
            raise ValueError(f"{path} holds a {metadata['class']}, not a {expected}")
        found = self._kind()
        if hasattr(found, "_forest_bytes"):
            found._forest_bytes = bytes(spark.read.parquet(f"{path}/model").first()[0])
            found.forest  # noqa: B018  # read now, so that damaged bytes raise an error here
        found._resetUid(metadata["uid"])
        DefaultParamsReader.getAndSetParams(found, metadata)
        return found
