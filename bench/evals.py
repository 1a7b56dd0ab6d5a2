"""evals: how long it takes to put the metrics of many evaluations together, and to find checkpoints."""

import io
import random
import shutil
import zipfile
from dataclasses import asdict, dataclass

from harness import BENCH, MIB, Failed, Goal, median, rounds, spread
from listing import installed

PROGRAMS = ["gcc"]
OURS, PANDAS, DUCKDB = "run-eval", "pandas", "DuckDB"
COLUMNS = 16


@dataclass(frozen=True)
class Size:
    """How many evaluations there are, and how many rows each has."""

    evaluations: int
    rows: int


@dataclass(frozen=True)
class Peer:
    """A way to consolidate: its command line, and the file that it writes."""

    name: str
    command: tuple
    writes: str


def table(rows, seed):
    """Returns a metrics.csv of random figures, of which some are missing."""
    figures = random.Random(seed)
    lines = [",".join(["q_idx", *(f"metric_{n}" for n in range(1, COLUMNS))])]
    for row in range(rows):
        cells = ["" if figures.random() < 0.05 else f"{figures.random():.6f}" for _ in range(COLUMNS - 1)]
        lines.append(",".join([str(row), *cells]))
    return "\n".join(lines) + "\n"


def evaluated(lab, cwd, size):
    """Makes a run whose checkpoints run-eval has evaluated, and returns the command line that did it."""
    command = [lab.binaries / "run-new", "-d", "runs", "-n", "bench", "--", "true"]
    lab.output(command, cwd)
    lab.output([lab.binaries / "run-exec", "-q", "-d", "runs", "bench"], cwd)
    (cwd / "tables").mkdir()
    kinds = [table(size.rows, seed) for seed in range(20)]
    for step in range(1, size.evaluations + 1):
        (cwd / f"runs/bench/model_{step}.pt").write_bytes(b"\x80\x04N.")  # a pickle of nothing
        (cwd / f"tables/{step}").write_text(kinds[step % len(kinds)])
    again = (str(lab.binaries / "run-eval"), "-d", "runs", "bench", "--", "cp", "tables/{step}", "{out}/metrics.csv")
    lab.output(again, cwd)
    return again


def checkpoint():
    """Returns a small file such as torch.save writes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", bytes(4000))
    return file.getvalue()


def discovery(lab, repeat, count):
    """Finds checkpoints among many; returns title, table, goals and raw numbers."""
    cwd = lab.fresh("discovery")
    lab.output([lab.binaries / "run-new", "-d", "runs", "-n", "bench", "--", "true"], cwd)
    lab.output([lab.binaries / "run-exec", "-q", "-d", "runs", "bench"], cwd)
    folder = cwd / "runs/bench/checkpoints"
    folder.mkdir()
    content = checkpoint()
    for step in range(1, count + 1):
        (folder / f"model_{step}.pt").write_bytes(content)
    latest = (str(lab.binaries / "run-eval"), "-d", "runs", "--steps", "latest", "bench", "--", "echo", '{"a": 1}')
    lab.output(latest, cwd)
    reference, found, listed = "find", "run-eval --steps latest", "run-status"
    peers = [
        Peer(reference, ("find", "runs/bench/checkpoints", "-printf", "%s %p\\n"), None),
        Peer(found, latest, None),
        Peer(listed, (str(lab.binaries / "run-status"), "-d", "runs", "bench"), None),
    ]
    timings, raw = {peer.name: [] for peer in peers}, []
    for turn, peer in rounds(peers, repeat, f"evals, {count} checkpoints"):
        timing = lab.time(peer.name, peer.command, cwd)
        if turn > 0:
            timings[peer.name].append(timing)
            raw.append({"peer": peer.name, "checkpoints": count, "round": turn, **asdict(timing)})
    shutil.rmtree(cwd)
    walls = {name: median(timing.wall_s for timing in found) for name, found in timings.items()}
    rows = [
        [
            peer.name,
            walls[peer.name] * 1000,
            spread(timing.wall_s * 1000 for timing in timings[peer.name]),
            walls[peer.name] / walls[reference],
            median(timing.cpu_s for timing in timings[peer.name]) * 1000,
        ]
        for peer in peers
    ]
    title = f"{count:,} checkpoints in one run"
    table = (title, ("", "wall ms", "range", "× find", "CPU ms"), rows)
    return table, [Goal(f"{title}, time beside find", walls[found] / walls[reference], 2)], raw


def run(lab, repeat, quick):
    """Consolidates evaluations by each peer; returns title, tables, notes, goals and raw numbers."""
    sizes = [Size(20, 100)] if quick else [Size(1000, 1000), Size(100, 10_000)]
    notes, goals, raw, tables = [], [], [], []
    pythons = {}
    for name, package in ((PANDAS, "pandas"), (DUCKDB, "duckdb")):
        venv, note = (None, f"{package} is left out of a quick run") if quick else installed(lab, package, package)
        notes.append(f"{note}.")
        if venv is not None:
            pythons[name] = str(venv / "bin/python")
    for size in sizes:
        cwd = lab.fresh("evals")
        peers = []
        if lab.binaries:
            peers.append(Peer(OURS, evaluated(lab, cwd, size), "eval_runs/bench_eval/consolidated_metrics.csv"))
        for name, python in pythons.items():
            script = str(BENCH / f"sketch/evals_{name.lower()}.py")
            peers.append(Peer(name, (python, script, "eval_runs/bench_eval", f"{name}.csv"), f"{name}.csv"))
        timings = {peer.name: [] for peer in peers}
        for turn, peer in rounds(peers, repeat, f"evals, {size.evaluations} of {size.rows} rows"):
            timing = lab.time(peer.name, peer.command, cwd)
            lines = (cwd / peer.writes).read_bytes().count(b"\n")
            if lines != size.evaluations * size.rows + 1:
                raise Failed(f"{peer.name}: {lines} lines instead of {size.evaluations * size.rows + 1}")
            if turn > 0:
                timings[peer.name].append(timing)
                raw.append({"peer": peer.name, **asdict(size), "round": turn, **asdict(timing)})
        written = {peer.name: (cwd / peer.writes).read_bytes() for peer in peers}
        if len(set(written.values())) != 1:
            raise Failed(f"not the same was written: {', '.join(written)}")

        def typical(name, key, found=timings):
            return median(getattr(timing, key) for timing in found[name])

        rows = [
            [
                peer.name,
                typical(peer.name, "wall_s"),
                spread(timing.wall_s for timing in timings[peer.name]),
                typical(peer.name, "wall_s") / typical(OURS, "wall_s"),
                typical(peer.name, "cpu_s"),
                typical(peer.name, "max_rss_bytes") / MIB,
            ]
            for peer in peers
        ]
        title = f"{size.evaluations:,} evaluations of {size.rows:,} rows and {COLUMNS} columns"
        tables.append((title, ("", "wall s", "range", "× run-eval", "CPU s", "max RSS MiB"), rows))
        for name, limit in ((PANDAS, 20), (DUCKDB, 3)):
            if name in timings:
                share = typical(OURS, "wall_s") / typical(name, "wall_s")
                goals.append(Goal(f"{title}, time beside {name}", share, 1 / limit))
        goals.append(Goal(f"{title}, memory", typical(OURS, "max_rss_bytes") / MIB, 10, "MiB"))
        shutil.rmtree(cwd)
    if lab.binaries:
        table, more_goals, more_raw = discovery(lab, repeat, 1000 if quick else 10_000)
        tables.append(table)
        goals += more_goals
        raw += more_raw
        notes.append(
            "find prints the size of each file. run-eval finds the latest checkpoint that is whole, and that it was "
            "evaluated; run-status finds out of each whether it is whole, and lists it."
        )
    notes.append("run-eval also looks for checkpoints, and finds that each was evaluated. All write the same bytes.")
    return "Evaluations", tables, notes, goals, raw
