"""list_runs.py DIR: what listings in Python do: reads the status file of every run, sorts by time of
creation, and prints a line of JSON for each."""

import json
import sys
from pathlib import Path


def main(directory):
    runs = []
    for path in Path(directory).iterdir():
        try:
            status = json.loads((path / ".run" / "status.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        status["path"] = str(path.absolute())
        runs.append(status)
    runs.sort(key=lambda run: (run["created"], run["run_name"]))
    for run in runs:
        print(json.dumps(run))


if __name__ == "__main__":
    main(sys.argv[1])
