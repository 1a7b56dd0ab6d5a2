"""follow: what it costs to follow the files that a program writes its metrics to while it trains."""

import json
import subprocess
import sys
import time
from pathlib import Path

from harness import BENCH, Failed, Goal, Refused, median, need, spread

PROGRAMS = ["tail"]
FILES = 20
ROWS = 10  # a second, in each file
SECONDS = 20
OURS, ELSEWHERE, TAIL = "run-exec -q", "run-exec -q, files elsewhere", "tail -q -F"


def cpu_seconds(pids):
    """Returns the CPU time that the threads of some processes have taken so far."""
    tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def wait_for(what, found):
    """Waits until something is so, and returns it."""
    deadline = time.monotonic() + 20
    while not (value := found()):
        if time.monotonic() > deadline:
            raise Failed(f"{what} did not come")
        time.sleep(0.05)
    return value


def watched(cwd, seconds, program, follower):
    """Returns the share of a core that a follower takes once the program writes. `follower` gets the program's command
    line, starts both, and returns the processes to be ended and a function for the pids to be measured."""
    processes, pids = follower(program)
    last = cwd / f"logs/part_{FILES - 1:02}.jsonl"
    try:
        wait_for("a row in the last file", lambda: last.exists() and last.stat().st_size)
        time.sleep(2)
        before, begin = cpu_seconds(pids()), time.monotonic()
        time.sleep(seconds)
        return (cpu_seconds(pids()) - before) / (time.monotonic() - begin)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def ours(lab, cwd, run):
    """Returns a follower: run-exec, its supervisor and the process that watches that."""
    status = run / ".run/status.json"

    def supervisor():
        document = json.loads(status.read_text())
        return document["status"] == "running" and document["pid"]

    def start(program):
        command = [lab.binaries / "run-exec", "-q", run, "--", *program]
        process = subprocess.Popen(command, cwd=cwd, env=lab.environment(cwd), stdin=subprocess.DEVNULL)
        return [process], lambda: [process.pid, wait_for("the supervisor", supervisor)]

    return start


def tail(lab, cwd):
    """Returns a follower: tail, which prints what it reads."""
    def start(program):
        writer = subprocess.Popen(program, cwd=cwd, env=lab.environment(cwd), stdin=subprocess.DEVNULL)
        files = wait_for("the files", lambda: (found := sorted(cwd.glob("logs/*"))) and len(found) == FILES and found)
        reader = subprocess.Popen(["tail", "-q", "-F", *files], cwd=cwd, env=lab.environment(cwd),
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        drain = subprocess.Popen(["cat"], stdin=reader.stdout, stdout=subprocess.DEVNULL)
        reader.stdout.close()
        return [reader, writer, drain], lambda: [reader.pid]

    return start


def run(lab, repeat, quick):
    """Runs all; returns title, tables, notes, goals and raw numbers."""
    need(PROGRAMS)
    if not lab.binaries:
        raise Refused("follow needs run-new and run-exec")
    seconds = 3 if quick else SECONDS
    program = [sys.executable, str(BENCH / "helper/grow.py"), str(FILES), str(ROWS), str(seconds + 60)]
    shares, raw = {OURS: [], ELSEWHERE: [], TAIL: []}, []
    for turn in range(1, repeat + 1):
        print(f"follow: round {turn} of {repeat}", file=sys.stderr)
        for name, found in shares.items():
            cwd = lab.fresh("follow")
            path = cwd / lab.output([lab.binaries / "run-new", "-d", "runs", "-n", "bench"], cwd).strip()
            if name == OURS:
                cwd = path
            follower = tail(lab, cwd) if name == TAIL else ours(lab, cwd, path)
            share = watched(cwd, seconds, program, follower)
            followed = json.loads((path / ".run/status.json").read_text()).get("metrics_from") or []
            if len(followed) != (FILES if name == OURS else 0):
                raise Failed(f"{name}: followed {followed}")
            found.append(share * 100)
            raw.append({"workload": "follow", "peer": name, "round": turn, "seconds": seconds, "share": share})
    rows = [[name, median(found), spread(found)] for name, found in shares.items()]
    title = f"{FILES} files that get {ROWS} rows a second each, followed for {seconds} s"
    notes = ["`files elsewhere` is the same run when the files are not below it: what is left is the supervision."]
    goals = [Goal("following", median(shares[OURS]), 1, "% of a core")]
    return "Following metrics", [(title, ("", "% of a core", "range"), rows)], notes, goals, raw
