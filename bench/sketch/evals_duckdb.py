"""evals_duckdb.py DIR OUT: puts DIR/step_N_*/metrics.csv together, in the order of N."""

import re
import sys
from pathlib import Path

import duckdb


def step(path):
    return int(re.match(r"step_(\d+)_", path.parent.name)[1])


files = [str(path) for path in sorted(Path(sys.argv[1]).glob("step_*/metrics.csv"), key=step)]
duckdb.execute(
    # In the order of the files, which it keeps, it need not sort; nor need it guess types.
    f"""
    COPY (
        SELECT regexp_extract(filename, 'step_(\\d+)_', 1) AS step, * EXCLUDE (filename)
        FROM read_csv(?, filename = true, all_varchar = true)
    ) TO '{sys.argv[2]}' (HEADER)
    """,
    [files],
)
