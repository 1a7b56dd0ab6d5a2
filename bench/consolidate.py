"""consolidate: how long it takes to make one CSV of the metrics of many runs."""

import csv
import json
import random
import shutil
import subprocess
import sys
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from harness import BENCH, MIB, Failed, Goal, Refused, median, need, rounds, spread
from listing import installed

PROGRAMS = ["dash", "gcc", "jq", "mlr"]
PAGE = "run-report --html"
PAGE_RUNS, PAGE_ROWS = 50, 20_000
RUNS, ROWS, SLOW_RUNS = 200, 50_000, 10  # slow peers get so many runs, and their figures are for a row
OURS, CAT, SKETCH, POLARS, DUCKDB = "run-report --metrics", "cat", "C sketch, 1 thread", "polars, streaming", "DuckDB"
WITHOUT, RESUMED = "without a resume", "resumed once"
PYTHON, MILLER, JQ = "Python, json and csv", "Miller", "jq, no header"


@dataclass(frozen=True)
class Peer:
    """A way to consolidate: a command line that writes the file OUT."""

    name: str
    command: tuple
    rows: int


def body(seed, rows, again=0):
    """Returns lines of six fields, as a program that trains logs them. It goes back by `again` steps half-way."""
    chance = random.Random(seed)
    lines = []
    for step in [*range(rows // 2 + again), *range(rows // 2, rows)]:
        lines.append(
            f'{{"step": {step}, "loss": {chance.random() * 4:.6f}, "lr": {3e-4 * (1 - step / rows):.10f}, '
            f'"grad_norm": {chance.random() * 3!r}, "accuracy": {chance.random():.4f}, "time": {1769688000 + step * 0.37:.3f}}}\n'
        )
    return "".join(lines)


def make_runs(lab, cwd, count, rows, grows=False):
    """Makes runs with metrics: copies of one that run-new made. With `grows`, each has a column of its own."""
    path = cwd / lab.output([lab.binaries / "run-new", "-d", "model", "-n", "model", "--", "true"], cwd).strip()
    record = {name: json.loads((path / ".run" / name).read_text()) for name in ("meta.json", "status.json")}
    runs = cwd / "runs"
    bodies = [body(seed, rows) for seed in range(min(10, count))]
    for number in range(count):
        run = runs / f"run_{number:04}"
        (run / ".run").mkdir(parents=True)
        names = {"run_id": str(uuid.UUID(int=number)), "run_name": run.name}
        for name, document in record.items():
            (run / ".run" / name).write_text(json.dumps({**document, **names}) + "\n")
        text = bodies[number % len(bodies)]
        if grows:
            text += f'{{"step": {rows}, "only_{number}": {number}}}\n'
        (run / "metrics.jsonl").write_text(text)
    return runs


def resume(lab, cwd, runs, rows, again):
    """Gives runs a second attempt, which goes back by `again` rows half-way: the record of one that run-exec made."""
    path = lab.output([lab.binaries / "run-new", "-d", "twice", "-n", "twice", "--", "false"], cwd).strip()
    for options in ((), ("--resume",)):
        command = [lab.binaries / "run-exec", "-q", *options, path]
        subprocess.run(command, cwd=cwd, env=lab.environment(cwd), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    record = cwd / path / ".run"
    attempts = [json.loads(line) for line in (record / "attempts.jsonl").read_text().splitlines()]
    if [line["attempt"] for line in attempts] != [1, 1, 2, 2]:
        raise Failed("run-exec --resume did not make a second attempt")
    status = json.loads((record / "status.json").read_text())
    bodies = [body(seed, rows, again) for seed in range(10)]
    begins = [sum(map(len, text.splitlines(keepends=True)[: rows // 2 + again])) for text in bodies]
    for number, run in enumerate(sorted(runs.iterdir())):
        names = {name: json.loads((run / ".run/meta.json").read_text())[name] for name in ("run_id", "run_name")}
        attempts[2]["offsets"]["metrics.jsonl"] = begins[number % 10]
        lines = [json.dumps({**line, "run_id": names["run_id"]}) + "\n" for line in attempts]
        (run / ".run/attempts.jsonl").write_text("".join(lines))
        (run / ".run/status.json").write_text(json.dumps({**status, **names}) + "\n")
        (run / "metrics.jsonl").write_text(bodies[number % 10])


def first_of(cwd, runs, count):
    """Makes a directory of links to the first runs."""
    few = cwd / "few"
    few.mkdir()
    for run in sorted(runs.iterdir())[:count]:
        (few / run.name).symlink_to(run)
    return few


def peers_of(lab, cwd, runs, few, count, slow, rows, grows):
    """Returns the peers, and notes on those that are not there."""
    out, sketch = str(cwd / "out.csv"), str(BENCH / "sketch/consolidate.py")

    def shell(script, directory, *words):
        return ("dash", "-c", script, "dash", out, str(directory), *map(str, words))

    peers = [
        Peer(OURS, shell('"$3" --metrics -d "$2" > "$1"', runs, lab.binaries / "run-report"), count * rows),
        Peer(CAT, shell('cat "$2"/*/metrics.jsonl > "$1"', runs), count * rows),
        Peer(SKETCH, shell('"$3" "$1" "$2"/*/metrics.jsonl', runs, lab.program("consolidate")), count * rows),
        Peer(PYTHON, (sys.executable, sketch, "python", out, str(few)), slow * rows),
        Peer(MILLER, shell('mlr --ijsonl --ocsv put \'$run = splitax(FILENAME, "/")[-2]\' then unsparsify "$2"/*/metrics.jsonl > "$1"', few), slow * rows),
        Peer(JQ, shell('jq -r "[.step, .loss, .lr, .grad_norm, .accuracy, .time] | @csv" "$2"/*/metrics.jsonl > "$1"', few), slow * rows),
    ]
    notes = []
    for name, package in ((POLARS, "polars"), (DUCKDB, "duckdb")):
        venv, note = installed(lab, package, package)
        notes.append(f"{note}.")
        if venv:
            peers.append(Peer(name, (str(venv / "bin/python"), sketch, package, out, str(runs), *(["all"] if grows else [])), count * rows))
    return peers, notes


def check(lab, cwd, peers, count, rows):
    """Compares the values of our CSV with those that Python's csv reads from the others', row by row."""
    out = cwd / "out.csv"
    ours = cwd / "ours.csv"

    def read(path):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                yield {key: float(value) for key, value in row.items() if key != "run" and value != ""}

    for peer in peers:
        if peer.name in (CAT, JQ):
            continue
        done = subprocess.run(peer.command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"{peer.name}: {done.stderr[-1000:]}")
        if peer.name == OURS:
            shutil.move(out, ours)
            continue
        # Peers may have other orders of rows; the sums of what is read say whether it is the same.
        theirs = sorted(read(out), key=lambda row: sorted(row.items()))
        mine = read(ours)
        if peer.rows < count * rows:
            mine = (row for row, _ in zip(mine, range(peer.rows)))
        if theirs != sorted(mine, key=lambda row: sorted(row.items())):
            raise Failed(f"{peer.name}: its values are not those of run-report")


def measured(lab, cwd, peers, repeat, workload, raw):
    """Times every peer in each round and returns the timings by name."""
    timings = {peer.name: [] for peer in peers}
    for turn, peer in rounds(peers, repeat, f"consolidate, {workload}"):
        (cwd / "out.csv").unlink(missing_ok=True)
        timing = lab.time(peer.name, peer.command, cwd)
        if turn > 0:
            timings[peer.name].append(timing)
            raw.append({"workload": workload, "peer": peer.name, "round": turn, "rows": peer.rows, **asdict(timing)})
    return timings


def per_row(timings, peers, name):
    """Returns the median time of a peer for a row, in nanoseconds."""
    [rows] = [peer.rows for peer in peers if peer.name == name]
    return median(timing.wall_s for timing in timings[name]) / rows * 1e9


def table_of(timings, peers):
    """Returns heads and a row for each peer."""
    rows = []
    for peer in peers:
        of = timings[peer.name]
        time = per_row(timings, peers, peer.name)
        rows.append([
            peer.name, f"{peer.rows:,}", median(timing.wall_s for timing in of), spread(timing.wall_s for timing in of), time,
            time / per_row(timings, peers, CAT), median(timing.cpu_s for timing in of),
            median(timing.max_rss_bytes for timing in of) / MIB,
        ])
    return ("", "rows", "s", "range", "ns a row", "× cat", "CPU s", "max RSS MiB"), rows


def page(lab, repeat, quick, raw):
    """Measures the page of many runs and returns its table and goals."""
    count, rows = (5, 1000) if quick else (PAGE_RUNS, PAGE_ROWS)
    cwd = lab.fresh("page")
    runs, out = make_runs(lab, cwd, count, rows), cwd / "page.html"
    peer = Peer(PAGE, (lab.binaries / "run-report", "--html", out, "-d", runs), count * rows)
    of = measured(lab, cwd, [peer], repeat, "page", raw)[PAGE]
    size, seconds = out.stat().st_size / 1e6, median(timing.wall_s for timing in of)
    heads = ("", "rows", "s", "range", "CPU s", "max RSS MiB", "page MB")
    row = [
        PAGE, f"{peer.rows:,}", seconds, spread(timing.wall_s for timing in of), median(timing.cpu_s for timing in of),
        median(timing.max_rss_bytes for timing in of) / MIB, size,
    ]
    shutil.rmtree(cwd)
    goals = [Goal("time of the page", seconds, 1, "s"), Goal("size of the page", size, 3, "MB")]
    return (f"a page: {count} runs of {rows:,} rows", heads, [row]), goals


def resumed(lab, repeat, quick, raw):
    """Measures runs that were resumed beside runs that wrote as many rows without that, and returns its table."""
    count, rows = (4, 1000) if quick else (RUNS, ROWS)
    again = rows // 5
    peers, lines = [], {}
    for name, kept in ((WITHOUT, rows + again), (RESUMED, rows)):
        cwd = lab.fresh("resumed")
        runs = make_runs(lab, cwd, count, rows + again)
        if name == RESUMED:
            resume(lab, cwd, runs, rows, again)
        command = ("dash", "-c", '"$3" --metrics -d "$2" > "$1"', "dash", "out.csv", str(runs), str(lab.binaries / "run-report"))
        peers.append(Peer(name, command, count * (rows + again)))
        lines[name] = (cwd, count * kept + 1)
    cwd = lab.fresh("resumed")
    for peer in peers:
        lab.output(peer.command, cwd)
        with (cwd / "out.csv").open("rb") as file:
            found = sum(1 for _ in file)
        if found != lines[peer.name][1]:
            raise Failed(f"{peer.name}: {found} lines instead of {lines[peer.name][1]}")
    timings = measured(lab, cwd, peers, repeat, "resumed", raw)
    for directory in (cwd, *(directory for directory, _ in lines.values())):
        shutil.rmtree(directory)
    heads = ("", "rows read", "rows written", "s", "range", "ns a row read", "× without", "CPU s", "max RSS MiB")
    table = []
    for peer in peers:
        of, time = timings[peer.name], per_row(timings, peers, peer.name)
        table.append([
            peer.name, f"{peer.rows:,}", f"{lines[peer.name][1] - 1:,}", median(timing.wall_s for timing in of),
            spread(timing.wall_s for timing in of), time, time / per_row(timings, peers, WITHOUT),
            median(timing.cpu_s for timing in of), median(timing.max_rss_bytes for timing in of) / MIB,
        ])
    return f"resumed: {count:,} runs of {rows + again:,} rows, {again:,} of them superseded", heads, table


def run(lab, repeat, quick):
    """Runs all workloads; returns title, tables, notes, goals and raw numbers."""
    need(PROGRAMS)
    if not lab.binaries:
        raise Refused("consolidate needs run-new and run-report")
    count, rows, slow = (4, 1000, 2) if quick else (RUNS, ROWS, SLOW_RUNS)
    if not quick and shutil.disk_usage(lab.root).free < 6 << 30:
        raise Refused("the scratch directory needs 6 GiB of free space; name another one with --scratch")
    raw, tables, goals = [], [], []
    for workload, columns_grow in (("six fields", False), ("a header that grows", True)):
        cwd = lab.fresh("consolidate")
        many, each = (count * 5, rows // 50) if columns_grow else (count, rows)
        # What is compared row by row is small: Python would take minutes for all of it.
        trial = lab.fresh("trial")
        small = make_runs(lab, trial, 6, 500, columns_grow)
        few = first_of(trial, small, 2)
        each_small = 500 + columns_grow
        trial_peers, _ = peers_of(lab, trial, small, few, 6, 2, each_small, columns_grow)
        if columns_grow:
            trial_peers = [peer for peer in trial_peers if peer.name not in (SKETCH, JQ)]
        check(lab, trial, trial_peers, 6, each_small)
        runs = make_runs(lab, cwd, many, each, columns_grow)
        few = first_of(cwd, runs, slow)
        peers, notes = peers_of(lab, cwd, runs, few, many, slow, each + columns_grow, columns_grow)
        if columns_grow:
            peers = [peer for peer in peers if peer.name not in (SKETCH, JQ, MILLER, PYTHON, DUCKDB)]
        timings = measured(lab, cwd, peers, repeat, workload, raw)
        size = sum(path.stat().st_size for path in runs.glob("*/metrics.jsonl"))
        heads, table = table_of(timings, peers)
        tables.append((f"{workload}: {many:,} runs of {each:,} rows, {size / 1e9:.2f} GB", heads, table))
        for name, limit in ((POLARS, 0.2), (DUCKDB, 0.1)):
            if name in timings and not columns_grow:
                goals.append(Goal(f"time beside {name}", per_row(timings, peers, OURS) / per_row(timings, peers, name), limit))
        memory = median(timing.max_rss_bytes for timing in timings[OURS]) / 1e6
        goals.append(Goal(f"memory, {workload}", memory, 32, "MB"))
        shutil.rmtree(cwd)
    tables.append(resumed(lab, repeat, quick, raw))
    table, promised = page(lab, repeat, quick, raw)
    tables.append(table)
    goals += promised
    notes = [*notes, f"Python, Miller and jq get {slow} of the runs. jq names no run and no columns; cat and the sketch check nothing.",
             "DuckDB 2.0 took 18.8 GiB for the header that grows, and failed: it is not measured there."]
    return "consolidate: the metrics of many runs as one CSV", tables, notes, goals, raw
