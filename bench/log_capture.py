"""log-capture: how fast output gets into logs, and how soon a line can be read there."""

import shutil
import sys
from dataclasses import asdict, dataclass

from harness import BENCH, MIB, Failed, Goal, Refused, median, need, percentile, rounds, spread

PROGRAMS = ["bash", "dash", "gcc", "multilog", "s6-log", "tee", "ts"]
REFERENCE = "tee"
SKETCH = "C sketch, two threads"  # three logs, like run-exec
LINES = 2000  # of the latency workload


@dataclass(frozen=True)
class Workload:
    """What the generator writes: 64 KiB blocks unless `block` says otherwise."""

    name: str
    title: str
    bytes: int
    line: int
    block: int = 64 << 10
    every: int = 0  # each so many-th block goes to stderr
    goal: float = 0.0  # run-exec's time as a share of a reference's
    beside: str = "tee"  # the reference
    text: str = ""  # what each line begins with

    def streams(self, size):
        """Returns how many bytes of a size go to stdout and to stderr; as in generate.c."""
        err = size // self.every // self.line * self.line if self.every else 0
        return (size - err) // self.line * self.line, err


WORKLOADS = [
    Workload("bulk", "1 GiB of 100-byte lines, 10 % of it on stderr", 1024 * MIB, 100, every=10, goal=1.0, beside=SKETCH),
    Workload("short lines", "64 MiB of 10-byte lines", 64 * MIB, 10, goal=1.15, beside=SKETCH),
    Workload(
        "metric lines", "64 MiB of 48-byte lines that look like metric rows", 64 * MIB, 48, goal=1.25, beside=SKETCH,
        text="step 12345 loss 2.3456 acc 0.7812 lr 0.0003 ",
    ),
    Workload("a write a line", "64 MiB of 100-byte lines, one write(2) each", 64 * MIB, 100, block=100, goal=0.7),
]


@dataclass(frozen=True)
class Peer:
    """A way to log a command: its own command line before the command's, and the files it leaves."""

    name: str
    before: tuple
    logs: dict  # file or pattern: what must be in it (all, out, err), followed by + if marks are added
    watch: str  # the file in which a line is waited for
    share: int = 1  # slow ones get 1/share of the bytes


def shell(name, script):
    """Returns the start of a command line: a script whose "$@" is the command to be logged."""
    return (name, "-c", script, name)


TWO_TEES = """
exec 3> >(exec tee out > /dev/null); out=$!
exec 4> >(exec 3>&-; exec tee err > /dev/null); err=$!
"$@" >&3 2>&4 3>&- 4>&-; status=$?
exec 3>&- 4>&-
wait $out && wait $err && exit $status
"""
THREE_LOGS = {"stdout.log": "out", "stderr.log": "err", "combined.log": "all+"}
ROTATED = {"log/[@c]*": "all+"}  # current and @STAMP.s

PEERS = [
    Peer("tee", shell("dash", '"$@" 2>&1 | tee log > /dev/null'), {"log": "all"}, "log"),
    Peer("bash, two tees", shell("bash", TWO_TEES), {"out": "out", "err": "err"}, "out"),
    # The largest files that these two can be told to write before they rotate.
    Peer("s6-log T", shell("dash", '"$@" 2>&1 | s6-log n1000 s268435455 T ./log'), ROTATED, "log/current", 4),
    Peer("multilog t", shell("dash", '"$@" 2>&1 | multilog n1000 s16777215 t ./log'), ROTATED, "log/current", 8),
    Peer("Python, three logs", (sys.executable, str(BENCH / "sketch/runner.py")), THREE_LOGS, "combined.log", 32),
    Peer("ts", shell("dash", '"$@" 2>&1 | ts "%Y-%m-%dT%H:%M:%.SZ" > log'), {"log": "all+"}, "log", 32),
    Peer("C sketch, one thread", ("tee3",), THREE_LOGS, "combined.log"),
    Peer(SKETCH, ("tee3_mt",), THREE_LOGS, "combined.log"),
    Peer("the same, and a look at each line", ("tee3_look",), THREE_LOGS, "combined.log"),
]
RUN = "runs/bench"
RUN_LOGS = {f"{RUN}/{log}": what for log, what in THREE_LOGS.items()}
RUN_EXEC = Peer("run-exec -q", ("run-exec", "-q"), RUN_LOGS, f"{RUN}/combined.log")
UNREAD = Peer("run-exec -q --scrape none", ("run-exec", "-q", "--scrape", "none"), RUN_LOGS, f"{RUN}/combined.log")


def prepared(lab, peer, cwd, command):
    """Returns the whole command line of a peer, after what has to exist before it starts."""
    if peer in (RUN_EXEC, UNREAD):
        run = lab.output([lab.binaries / "run-new", "-d", "runs", "-n", "bench"], cwd).strip()
        return [lab.binaries / peer.before[0], *peer.before[1:], str(cwd / run), "--", *command]
    if peer.before[0].startswith("tee3"):
        return [lab.program(peer.before[0]), *command]
    return [*peer.before, *command]


def check(peer, cwd, out, err):
    """Makes sure that everything was logged: a logger that loses bytes is not fast."""
    for pattern, what in peer.logs.items():
        want = {"all": out + err, "out": out, "err": err}[what.removesuffix("+")]
        got = sum(path.stat().st_size for path in cwd.glob(pattern))
        if got < want or (got > want and not what.endswith("+")):
            raise Failed(f"{peer.name}: {got} bytes in '{pattern}' instead of {want}")


def throughput(lab, peers, workload, repeat, quick, raw):
    """Measures one workload and returns its table and the goals of run-exec."""
    generate = lab.program("generate")
    total = min(workload.bytes, 8 * MIB) if quick else workload.bytes
    runs = {peer.name: [] for peer in peers}
    least = MIB if quick else 8 * MIB  # enough to hide the start of an interpreter
    sizes = {peer.name: max(total // peer.share, least) for peer in peers}
    for turn, peer in rounds(peers, repeat, f"log-capture, {workload.name}"):
        size = sizes[peer.name]
        out, err = workload.streams(size)
        cwd = lab.fresh("log")
        numbers = [str(n) for n in (size, workload.line, workload.block, workload.every)]
        command = prepared(lab, peer, cwd, [generate, *numbers, *filter(None, [workload.text])])
        timing = lab.time(peer.name, command, cwd, prime_bytes=max(3 * size, 512 * MIB))
        check(peer, cwd, out, err)
        shutil.rmtree(cwd)
        if turn > 0:
            runs[peer.name].append(timing)
            raw.append({"workload": workload.name, "peer": peer.name, "round": turn, "bytes": size, **asdict(timing)})

    def per_mib(name, value):  # median, so that peers with different sizes compare
        return median(getattr(timing, value) for timing in runs[name]) / (sizes[name] / MIB)

    rows, goals = [], []
    for peer in peers:
        timings, size = runs[peer.name], sizes[peer.name]
        times = per_mib(peer.name, "wall_s") / per_mib(REFERENCE, "wall_s")
        cpu = per_mib(peer.name, "cpu_s") / per_mib(REFERENCE, "cpu_s")
        rss = median(timing.max_rss_bytes for timing in timings) / MIB
        rows.append([
            peer.name,
            str(size // MIB),
            median(timing.wall_s for timing in timings),
            spread(timing.wall_s for timing in timings),
            1 / per_mib(peer.name, "wall_s"),
            times,
            median(timing.cpu_s for timing in timings),
            cpu,
            rss,
        ])
        if peer is RUN_EXEC:
            beside = per_mib(peer.name, "wall_s") / per_mib(workload.beside, "wall_s")
            goals = [
                Goal(f"{workload.name}, time beside {workload.beside}", beside, workload.goal),
                Goal(f"{workload.name}, memory", rss, 10, "MiB"),
            ]
    heads = ("", "MiB", "wall s", "range", "MiB/s", "× tee", "CPU s", "CPU × tee", "max RSS MiB")
    return (workload.title, heads, rows), goals


def latency(lab, peers, repeat, quick, raw):
    """Measures how soon a line is in the log and returns the table and run-exec's goal."""
    lines = LINES // 10 if quick else LINES
    found = {peer.name: [] for peer in peers}
    for turn, peer in rounds(peers, repeat, "log-capture, latency"):
        cwd = lab.fresh("latency")
        result = cwd / "latency"
        command = [lab.program("latency"), str(cwd / peer.watch), str(result), str(lines)]
        lab.time(peer.name, prepared(lab, peer, cwd, command), cwd)
        values = sorted(int(line) / 1000 for line in result.read_text().split())
        shutil.rmtree(cwd)
        if len(values) != lines:
            raise Failed(f"{peer.name}: {len(values)} latencies instead of {lines}")
        if turn > 0:
            run = {f"p{percent}_us": percentile(values, percent) for percent in (50, 90, 99, 100)}
            found[peer.name].append(run)
            raw.append({"workload": "latency", "peer": peer.name, "round": turn, "lines": lines, **run})

    def typical(name, key):
        return median(run[key] for run in found[name])

    rows, goals = [], []
    for peer in peers:
        times = typical(peer.name, "p99_us") / typical(REFERENCE, "p99_us")
        rows.append([
            peer.name,
            typical(peer.name, "p50_us"),
            typical(peer.name, "p50_us") / typical(REFERENCE, "p50_us"),
            typical(peer.name, "p99_us"),
            spread(run["p99_us"] for run in found[peer.name]),
            times,
        ])
        if peer is RUN_EXEC:
            goals = [Goal("latency, p99 beside tee", times, 1.5)]
    heads = ("", "p50 µs", "× tee", "p99 µs", "range of p99", "× tee")
    return (f"From a line written to the line in the log; {lines} lines, one a millisecond", heads, rows), goals


def run(lab, repeat, quick):
    """Runs all workloads; returns title, tables, notes, goals and raw numbers."""
    need(PROGRAMS)
    if not quick and shutil.disk_usage(lab.root).free < 4 << 30:
        raise Refused("the scratch directory needs 4 GiB of free space; name another one with --scratch")
    peers = PEERS + ([RUN_EXEC, UNREAD] if lab.binaries else [])
    tables, goals, raw = [], [], []
    for workload in WORKLOADS:
        found, promised = throughput(lab, peers, workload, repeat, quick, raw)
        tables.append(found)
        goals += promised
    found, promised = latency(lab, [peer for peer in peers if peer is not UNREAD], repeat, quick, raw)
    tables.append(found)
    goals += promised
    notes = [
        "`× tee` is by throughput and so independent of the size in the first column. CPU time is that of",
        "the whole pipeline, generator included; max RSS is that of its largest process.",
    ]
    return "Log capture", tables, notes, goals, raw
