"""Random cut forests in Spark: an Estimator for pipelines, detectors per key, structured streaming, and SQL functions.

The driver and all workers need the package `rcf`. The forests run in Python, and Spark passes columns to Python as
Arrow arrays.
"""

try:
    import pandas as _pandas  # noqa: F401
    import pyarrow as _pyarrow  # noqa: F401
    from pyspark.sql.functions import arrow_udf as _arrow_udf  # noqa: F401  # new in Spark 4.1
except ImportError as error:
    raise ImportError(
        f'rcf.spark needs pyspark >= 4.1, pyarrow and pandas ({error}): pip install "rcf[spark]"'
    ) from error

from .detect import detect
from .forest import RandomCutForest, RandomCutForestModel
from .functions import register
from .hot_spots import hot_spots
from .stream import detect_stream

__all__ = ["RandomCutForest", "RandomCutForestModel", "detect", "detect_stream", "hot_spots", "register"]
