"""json_runs.py [--fsync] DIR...: what run scripts in Python do: for each directory, /bin/true between
four JSON files."""

import json
import os
import subprocess
import sys
import time


def record(directory, name, document, fsync):
    with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
        json.dump(document, file, indent=2)
        if fsync:
            file.flush()
            os.fsync(file.fileno())


def main(arguments):
    fsync = arguments[:1] == ["--fsync"]
    for directory in arguments[fsync:]:
        command = ["/bin/true"]
        start = time.time()
        record(directory, "meta.json", {"name": os.path.basename(directory), "command": command}, fsync)
        record(directory, "status.json", {"status": "running", "start_time": start}, fsync)
        code = subprocess.run(command, check=False).returncode
        record(directory, "result.json", {"exit_code": code, "duration_s": time.time() - start}, fsync)
        record(directory, "summary.json", {"total": 1, "completed": int(code == 0)}, fsync)


if __name__ == "__main__":
    main(sys.argv[1:])
