"""consolidate.py python|polars|duckdb OUT RUNS [all]: writes the metrics of all runs as one CSV, as people do it.

polars and DuckDB look for columns in the first rows of a file alone, unless `all` is said."""

import sys
from pathlib import Path

way, out, runs, *rest = sys.argv[1:]
look_at_all = rest == ["all"]
files = sorted(Path(runs).glob("*/metrics.jsonl"))

if way == "python":
    import csv
    import json

    columns = {}
    for file in files:
        with file.open() as lines:
            for line in lines:
                columns.update(dict.fromkeys(json.loads(line)))
    with open(out, "w", newline="") as target:
        writer = csv.DictWriter(target, ["run", *columns])
        writer.writeheader()
        for file in files:
            with file.open() as lines:
                for line in lines:
                    writer.writerow({"run": file.parent.name, **json.loads(line)})
elif way == "polars":
    import polars

    length = None if look_at_all else 100
    frames = [
        polars.scan_ndjson(file, infer_schema_length=length).with_columns(polars.lit(file.parent.name).alias("run"))
        for file in files
    ]
    polars.concat(frames, how="diagonal_relaxed").sink_csv(out)
elif way == "duckdb":
    import duckdb

    duckdb.sql(
        f"COPY (SELECT parse_path(filename)[-2] AS run, * EXCLUDE filename "
        f"FROM read_json('{runs}/*/metrics.jsonl', format = 'newline_delimited', union_by_name = true, filename = true, sample_size = {-1 if look_at_all else 20480})) TO '{out}' (HEADER)"
    )
