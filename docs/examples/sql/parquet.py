"""DuckDB and Parquet: the Kinesis functions on files larger than memory, and a fitted forest as an SQL function."""

import tempfile

import duckdb

import rcf
from rcf.sql import hotspots, random_cut_forest, register

with tempfile.TemporaryDirectory() as folder, duckdb.connect() as con:
    con.sql("SELECT setseed(0.5)").fetchall()
    con.sql(
        f"""
        COPY (SELECT i AS ts, 'host ' || (i % 3) AS host, sin(i / 30.0) * 20 + random() * 5 + if(i = 20000, 80, 0) AS load
              FROM range(30000) t(i)) TO '{folder}/log.parquet'
        """
    )
    # the relation needs its own cursor, because it is read while the query on `con` runs
    rows = con.cursor().sql(f"SELECT * FROM '{folder}/log.parquet' ORDER BY ts")
    con.register("found", random_cut_forest(rows, ["load"], key="host", order="ts", shingle_size=4))
    top = con.sql("SELECT ts, host, load, ANOMALY_SCORE FROM found ORDER BY ANOMALY_SCORE DESC LIMIT 3").fetchall()
    for ts, host, load, score in top:
        print(f"{ts} {host}: load {load:.0f}, ANOMALY_SCORE {score:.2f}")
    assert top[0][:2] == (20000, "host 2")

    frame = con.sql(f"SELECT load FROM '{folder}/log.parquet' WHERE ts < 10000 ORDER BY ts").fetchnumpy()
    register(con, rcf.RandomCutForest(random_state=0).fit(frame["load"].reshape(-1, 1)), "load_score")
    query = f"SELECT ts, load_score(load) AS score FROM '{folder}/log.parquet' ORDER BY score DESC LIMIT 1"
    assert con.sql(query).fetchall()[0][0] == 20000

    con.sql("CREATE TABLE places AS SELECT random() * 10 AS x, random() * 10 AS y FROM range(2000)")
    con.sql("UPDATE places SET x = 4 + random() / 2, y = 7 + random() / 2 WHERE random() < 0.2")
    spots = hotspots(
        con.cursor().sql("SELECT * FROM places"),
        ["x", "y"],
        window_size=1000,
        scan_radius=0.2,
        minimum_number_of_points=17,
    )
    *_, last = spots.read_all()["HOTSPOTS_RESULT"].to_pylist()
    print(last)
    assert last.startswith('{"hotspots":[{"density":')
