"""supervisor.py BEAT: one process that stands for the supervisors of many runs.

Reads run directories from stdin, a line each, up to an empty line; takes their locks, records itself
as their supervisor, and says `ready`. Then each run gets a new heartbeat every BEAT seconds (0: never)
until stdin ends: no run is held longer than the benchmark lasts.
"""

import fcntl
import json
import os
import resource
import select
import struct
import sys
import time
from datetime import datetime, timezone


def now():
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text(path):
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


def replace(path, document):
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        json.dump(document, file, separators=(",", ":"))
        file.write("\n")
    os.rename(path + ".tmp", path)


def main(beat):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    start = int(text("/proc/self/stat").rpartition(")")[2].split()[19])
    me = {
        "host": text("/proc/sys/kernel/hostname"),
        "boot_id": text("/proc/sys/kernel/random/boot_id"),
        "pid_ns": os.readlink("/proc/self/ns/pid")[len("pid:["):-1],
        "pid": os.getpid(), "pid_start": start, "child_pid": os.getpid(), "child_start": start,
    }
    whole_file = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    locks, runs = [], []
    for line in iter(lambda: sys.stdin.buffer.raw.readline(), b"\n"):
        record = line.decode().rstrip("\n") + "/.run"
        locks.append(os.open(record + "/lock", os.O_RDWR | os.O_CREAT, 0o644))
        fcntl.fcntl(locks[-1], fcntl.F_OFD_SETLK, whole_file)
        path = record + "/status.json"
        document = {**json.loads(text(path)), **me, "inode": os.stat(record).st_ino}
        document["last_heartbeat"] = document["last_output"] = document["start_time"] = now()
        replace(path, document)
        runs.append((path, document))
    print("ready", flush=True)
    turn, due = 0, time.monotonic()
    while True:
        due += beat / len(runs)
        wait = max(0, due - time.monotonic()) if beat else None
        if select.select([sys.stdin], [], [], wait)[0]:
            return
        path, document = runs[turn % len(runs)]
        document["last_heartbeat"] = document["last_output"] = now()
        document["step"] += 1
        replace(path, document)
        turn += 1


if __name__ == "__main__":
    main(float(sys.argv[1]))
