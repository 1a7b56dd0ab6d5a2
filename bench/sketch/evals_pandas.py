"""evals_pandas.py DIR OUT: puts DIR/step_N_*/metrics.csv together, in the order of N."""

import re
import sys
from pathlib import Path

import pandas as pd

parts = {}
for path in Path(sys.argv[1]).glob("step_*/metrics.csv"):
    step = int(re.match(r"step_(\d+)_", path.parent.name)[1])
    table = pd.read_csv(path, dtype=str, keep_default_na=False)  # twice as quick, and numbers keep their digits
    table.insert(0, "step", step)
    parts[step] = table
pd.concat([parts[step] for step in sorted(parts)]).to_csv(sys.argv[2], index=False)
