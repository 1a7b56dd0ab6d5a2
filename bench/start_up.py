"""start-up: what a run costs beyond its command: whole-process time of many short runs in a row."""

import sys
from dataclasses import asdict, dataclass

from harness import BENCH, Failed, Goal, MIB, Refused, median, need, rounds, spread

PROGRAMS = ["dash", "gcc", "parallel", "tsp", "xargs"]
RUNS = 500
PARALLEL, SKETCH, SKETCH_EACH = "GNU parallel -j1 --joblog", "C sketch, one process", "dash loop of the C sketch"
RECORD, RECORD_EACH = "C sketch of the record, one process", "dash loop of it"
PYTHON_FSYNC = "Python loop, JSON, fsync"
RUN_EXEC, RUN_EXEC_ALL, RUN_NEW = "run-exec -q RUN -- true", "run-exec -q - -- true, one for all", "run-new"
SWEEP = "run-new --sweep, 100 × 100"
CELLS = 100


@dataclass(frozen=True)
class Peer:
    """A way to run many commands: a command line whose last arguments are the runs' directories."""

    name: str
    before: tuple
    leaves: str  # what of a run is there afterwards


def loop(body, after=""):
    """Returns a dash script that does the same for each of its arguments, and stops at a failure."""
    return ("dash", "-c", f"set -e; for run; do {body}; done; {after}", "dash")


TSP = ("tsp /bin/true > /dev/null", 'tsp -w; test "$(tsp -l | grep -c finished)" = $#; tsp -K')
SKETCHES = str(BENCH / "sketch")

PEERS = [
    Peer("dash loop of /bin/true", loop("/bin/true"), "nothing"),
    Peer("xargs -n1", ("dash", "-c", 'printf "%s\\n" "$@" | xargs -n1 /bin/true', "dash"), "nothing"),
    Peer(PARALLEL, ("dash", "-c", 'printf "%s\\n" "$@" | parallel -j1 --joblog jobs /bin/true', "dash"), "a job log"),
    Peer("task-spooler", loop(*TSP), "output files"),
    Peer("Python loop, JSON", (sys.executable, f"{SKETCHES}/json_runs.py"), "4 files"),
    Peer(PYTHON_FSYNC, (sys.executable, f"{SKETCHES}/json_runs.py", "--fsync"), "4 files, synced"),
    Peer(SKETCH, ("two_fsync",), "2 files, synced"),
    Peer(SKETCH_EACH, loop('"$SKETCH" "$run"'), "2 files, synced"),
    Peer(RECORD, ("record",), "a record, 3 logs"),
    Peer(RECORD_EACH, loop('"$SKETCH" "$run"'), "a record, 3 logs"),
]
PROGRAM = {SKETCH: "two_fsync", SKETCH_EACH: "two_fsync", RECORD: "record", RECORD_EACH: "record"}
OURS = [
    Peer(RUN_EXEC, loop('"$RUN_EXEC" -q "$run" -- true'), "the record, 3 logs"),
    Peer(RUN_EXEC_ALL, ("dash", "-c", 'printf "%s\\n" "$@" | "$RUN_EXEC" -q - -- true', "dash"), "the record, 3 logs"),
    Peer(RUN_NEW, loop('"$RUN_NEW" -d runs -n "${run##*/}" > /dev/null'), "a run directory"),
]


def prepared(lab, peer, cwd, runs):
    """Makes the directories that exist before a peer starts, and returns its command line."""
    variables = []
    names = [f"r{n:04}" for n in range(runs)]
    directories = [str(cwd / name) for name in names]
    if peer.name in (RUN_EXEC, RUN_EXEC_ALL):
        new = loop('"$RUN_NEW" -d runs -n "$run"')
        listed = lab.output(["env", f"RUN_NEW={lab.binaries / 'run-new'}", *new, *names], cwd).splitlines()
        directories = [str(cwd / path) for path in listed]
        variables = [f"RUN_EXEC={lab.binaries / 'run-exec'}"]
    elif peer.name == RUN_NEW:
        variables = [f"RUN_NEW={lab.binaries / 'run-new'}"]
    else:
        for directory in directories:
            (cwd / directory).mkdir()
    if peer.name == "task-spooler":
        socket = str(lab.root / f"tsp-{lab.count}")
        if len(socket) > 100:
            raise Refused("the scratch directory's path is too long for a socket; name a shorter one with --scratch")
        variables = [f"TS_SOCKET={socket}", f"TS_MAXFINISHED={runs}"]
    before = peer.before
    if peer.name in (SKETCH, RECORD):
        before = (lab.program(PROGRAM[peer.name]),)
    elif peer.name in PROGRAM:
        variables = [f"SKETCH={lab.program(PROGRAM[peer.name])}"]
    return ["env", *variables, *before, *directories]


def check(peer, cwd, runs):
    """Makes sure that a peer left what its figure pays for."""
    counts = {
        PARALLEL: ("jobs", None),
        **dict.fromkeys(PROGRAM, ("r*/result.json", runs)),
        RUN_EXEC: ("runs/*/.run/result.json", runs),
        RUN_EXEC_ALL: ("runs/*/.run/result.json", runs),
        RUN_NEW: ("runs/*/.run/meta.json", runs),
    }
    if peer.name not in counts:
        return
    pattern, want = counts[peer.name]
    found = list(cwd.glob(pattern))
    got = len(found)
    if want is None:  # a table with a head
        got, want = len(found[0].read_text().splitlines()) - 1 if found else 0, runs
    if got != want:
        raise Failed(f"{peer.name}: '{pattern}' shows {got} runs instead of {want}")


def run(lab, repeat, quick):
    """Measures every peer; returns title, tables, notes, goals and raw numbers."""
    need(PROGRAMS)
    runs = 20 if quick else RUNS
    peers = PEERS + (OURS if lab.binaries else [])
    timings = {peer.name: [] for peer in peers}
    raw = []
    for turn, peer in rounds(peers, repeat, "start-up"):
        # Directories stay until the end: after a mass deletion some file systems create files slowly.
        cwd = lab.fresh("start-up")
        timing = lab.time(peer.name, prepared(lab, peer, cwd, runs), cwd)
        check(peer, cwd, runs)
        if turn > 0:
            timings[peer.name].append(timing)
            raw.append({"peer": peer.name, "round": turn, "runs": runs, **asdict(timing)})

    cells = 5 if quick else CELLS
    sweeps = []
    for turn in range(repeat + 1) if lab.binaries else ():
        cwd = lab.fresh("sweep")
        options = ["--batch=sweep", "--sweep", f"a=1..{cells}", "--sweep", f"b=1..{cells}"]
        timing = lab.time(SWEEP, [lab.binaries / "run-new", *options, "--", "true", "{set}"], cwd)
        if len(list(cwd.glob("runs/sweep/*/.run/meta.json"))) != cells * cells:
            raise Failed(f"{SWEEP}: cells are missing")
        if turn > 0:
            sweeps.append(timing)
            raw.append({"peer": SWEEP, "round": turn, "runs": cells * cells, **asdict(timing)})

    def ms(name, value="wall_s"):
        return median(getattr(timing, value) for timing in timings[name]) / runs * 1000

    rows = [
        [
            peer.name,
            ms(peer.name),
            spread(timing.wall_s / runs * 1000 for timing in timings[peer.name]),
            ms(peer.name) / ms(PARALLEL),
            ms(peer.name) / ms(SKETCH),
            ms(peer.name) / ms(SKETCH_EACH),
            ms(peer.name, "cpu_s"),
            median(timing.max_rss_bytes for timing in timings[peer.name]) / MIB,
            peer.leaves,
        ]
        for peer in peers
    ]
    heads = ("", "ms a run", "range", "× parallel", "× C sketch", "× its loop", "CPU ms", "max RSS MiB", "leaves")
    goals = []
    if lab.binaries:
        goals = [
            Goal("run-exec beside GNU parallel", ms(RUN_EXEC) / ms(PARALLEL), 0.75),
            Goal("run-exec for all beside GNU parallel", ms(RUN_EXEC_ALL) / ms(PARALLEL), 0.75),
            Goal("run-new", ms(RUN_NEW), 5, "ms"),
            Goal(SWEEP, median(timing.wall_s for timing in sweeps), 2, "s"),
        ]
    notes = [
        "`× C sketch` compares with one process that does all runs, `× its loop` with one process a run,",
        "which is how run-exec is called. Only the C sketches, Python with fsync and run-exec leave a record",
        "that survives a power cut. The C sketch of the record makes the files of run-exec's record, by the two",
        "processes that watch a run, and does nothing else: it is the least that what run-exec promises costs here.",
    ]
    tables = [(f"{runs} runs of `true`, one after another", heads, rows)]
    if sweeps:
        wall = [timing.wall_s * 1000 for timing in sweeps]
        row = [SWEEP, median(wall), spread(wall), median(timing.cpu_s * 1000 for timing in sweeps),
               median(timing.max_rss_bytes for timing in sweeps) / MIB]
        tables.append((f"{cells * cells} runs created", ("", "ms", "range", "CPU ms", "max RSS MiB"), [row]))
    return "Start-up", tables, notes, goals, raw
