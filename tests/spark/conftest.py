"""A local Spark session for the tests of this folder; they are skipped without pyspark or Java."""

import os
import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.streaming.stateStore.providerClass": (
        "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
    ),
}


def pytest_collection_modifyitems(items):
    """pyspark, pandas and pyarrow warn about each other's versions."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.filterwarnings("ignore:PySpark does not yet fully support:FutureWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))


@pytest.fixture(scope="session")
def environment():
    """The environment variables that let a process and its Spark workers import this checkout."""
    pytest.importorskip("pyspark", reason="the package pyspark is not installed")
    if shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
        pytest.skip("no Java on the path")
    import rcf

    root = str(Path(rcf.__file__).parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYSPARK_PYTHON": sys.executable, "PYTHONPATH": os.pathsep.join(paths)}


@pytest.fixture(scope="session")
def spark(environment, tmp_path_factory):
    """One session for all tests: it takes four seconds to start."""
    from pyspark.sql import SparkSession

    os.environ.update({name: environment[name] for name in ("PYSPARK_PYTHON", "PYTHONPATH")})
    builder = SparkSession.builder.master("local[2]").appName("rcf")
    for name, value in SETTINGS.items():
        builder = builder.config(name, value)
    session = builder.config("spark.sql.warehouse.dir", str(tmp_path_factory.mktemp("warehouse"))).getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()
