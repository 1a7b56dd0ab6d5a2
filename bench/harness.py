"""Timing, statistics, facts about the machine, tables and result files: what every benchmark uses."""

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

BENCH = Path(__file__).resolve().parent
CHECKOUT = BENCH.parent
PATH = "/usr/local/bin:/usr/bin:/bin"
DAEMONS = f"{PATH}:/usr/local/sbin:/usr/sbin:/sbin"
TIMEOUT_S = 300
MIB = 1 << 20


class Refused(Exception):
    """Something is missing that a benchmark needs; nothing was measured."""


class Failed(Exception):
    """A measured command failed, or did not do what its figure would claim."""


@dataclass
class Timing:
    """One run of a command: wall time of the command, CPU time of all its descendants, and the memory
    of the largest single process among them."""

    wall_s: float
    user_s: float
    system_s: float
    max_rss_bytes: int

    @property
    def cpu_s(self):
        return self.user_s + self.system_s


@dataclass
class Goal:
    """A figure that was promised, and what became of it."""

    name: str
    value: float
    limit: float
    unit: str = "×"

    @property
    def met(self):
        return self.value <= self.limit

    def line(self):
        verdict = "met" if self.met else "missed"
        return f"{self.name}: {number(self.value)} {self.unit} (goal: at most {number(self.limit)}): {verdict}"


class Lab:
    """A scratch directory with the compiled helpers, where commands run one at a time."""

    def __init__(self, scratch=None, binaries=None, only=()):
        parent = Path(scratch).resolve() if scratch else None
        if parent:
            parent.mkdir(parents=True, exist_ok=True)
        self.root = Path(tempfile.mkdtemp(prefix="run-bench-", dir=parent))
        self.binaries = binaries  # directory of our tools; None: peers only
        self.only = only  # patterns of the cells of truth; none: all
        self.count = 0

    def __enter__(self):
        for above in self.root.parents:
            if (above / ".git").exists():
                self.__exit__()
                raise Refused("the scratch directory lies in a git repository; name another one with --scratch")
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.root, ignore_errors=True)

    def program(self, name):
        """Returns the path of a helper or sketch, compiled at its first use."""
        target = self.root / name
        if not target.exists():
            [source] = BENCH.glob(f"*/{name}.c")
            command = ["gcc", "-O2", "-pthread", "-o", target, source]
            done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
            if done.returncode != 0:
                raise Refused(f"cannot compile '{source.name}' (Debian: apt-get install gcc libc6-dev):\n{done.stderr}")
        return str(target)

    def fresh(self, name):
        """Makes a new empty directory."""
        self.count += 1
        directory = self.root / f"{self.count:04}-{name}"
        directory.mkdir()
        return directory

    def discard(self, directory):
        """Frees the blocks of files that are not needed any more. They are removed when all has been measured: ext4 gives
        out no inode again for up to five minutes, and each file that is created meanwhile costs a search for another."""
        for path in directory.rglob("*"):
            if path.is_file() and not path.is_symlink():
                os.truncate(path, 0)

    def environment(self, cwd):
        """Returns the whole environment of a command: the same for each, nothing of the caller's."""
        return {"PATH": PATH, "HOME": str(self.root), "TMPDIR": str(cwd), "LC_ALL": "C", "TZ": "UTC"}

    def output(self, command, cwd):
        """Runs an untimed command of preparation and returns its stdout."""
        done = subprocess.run(command, cwd=cwd, env=self.environment(cwd), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        if done.returncode != 0:
            raise Failed(f"'{Path(command[0]).name}' ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return done.stdout

    def time(self, name, command, cwd, prime_bytes=0):
        """Runs a command to its end and returns its Timing. What earlier runs left to be written to
        the disk is written before."""
        result = self.root / "timing"
        errors = self.root / "stderr"
        measure = self.program("measure")
        os.sync()
        if prime_bytes:
            self.output([self.program("prime"), str(min(prime_bytes, memory("MemAvailable") // 2))], cwd)
        with errors.open("wb") as stderr:
            process = subprocess.Popen([measure, result, str(TIMEOUT_S), *command], cwd=cwd, env=self.environment(cwd),
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr)
            try:
                process.wait()
            finally:  # interrupted: measure ends what it started, then itself
                if process.poll() is None:
                    process.terminate()
                    process.wait()
        if process.returncode != 0:
            raise Failed(f"{name}: was interrupted")
        wall, user, system, rss, status, strays = (int(word) for word in result.read_text().split())
        if status or strays:
            text = errors.read_text(errors="replace")[-2000:]
            why = f"left {strays} processes behind" if status == 0 else f"ended with {status}"
            raise Failed(f"{name}: {why}\n{text}")
        return Timing(wall / 1e9, user / 1e6, system / 1e6, rss * 1024)


def need(programs):
    """Refuses unless each program is there, and names the Debian packages of those that are not."""
    missing = [program for program in programs if shutil.which(program, path=DAEMONS) is None]
    if "parallel" in programs and "parallel" not in missing:
        done = subprocess.run(["parallel", "--version"], env={"PATH": PATH}, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False)
        if not done.stdout.startswith("GNU parallel"):
            missing.append("parallel")  # moreutils has another program of this name
    if missing:
        packages = " ".join(sorted({PACKAGES[program] for program in missing}))
        raise Refused(f"not on this machine: {', '.join(missing)}\nOn Debian: apt-get install {packages}")


PACKAGES = {
    "bash": "bash",
    "cp": "coreutils",
    "curl": "curl",
    "dash": "dash",
    "find": "findutils",
    "gcc": "gcc",
    "jq": "jq",
    "openssl": "openssl",
    "mlr": "miller",
    "multilog": "daemontools",
    "munged": "munge",
    "parallel": "parallel",
    "ps": "procps",
    "s6-log": "s6",
    "sbatch": "slurm-client",
    "setpriv": "util-linux",
    "setsid": "util-linux",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "tail": "coreutils",
    "tee": "coreutils",
    "ts": "moreutils",
    "tsp": "task-spooler",
    "xargs": "findutils",
}


def rounds(peers, repeat, note):
    """Yields (round, peer): every peer once a round, the first one of a round another each time, so
    that a machine which gets slower or faster meanwhile does so for all. Round 0 is a warm-up."""
    for turn in range(repeat + 1):
        print(f"{note}: {'warm-up' if turn == 0 else f'round {turn} of {repeat}'}", file=sys.stderr)
        first = turn % len(peers)
        for peer in peers[first:] + peers[:first]:
            yield turn, peer


def percentile(sorted_values, percent):
    """Returns the nearest-rank percentile of values in order."""
    return sorted_values[max(0, -(-len(sorted_values) * percent // 100) - 1)]


def median(values):
    """Returns the median of any iterable of numbers."""
    return statistics.median(list(values))


def number(value):
    """Formats a figure with three significant digits, without an exponent."""
    if value is None:
        return "–"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 3
    return f"{value:.{digits}f}"


def spread(values):
    """Formats the smallest and the largest of some figures."""
    values = list(values)
    return f"{number(min(values))}–{number(max(values))}"


def table(heads, rows, left=False):
    """Returns a Markdown table that is also readable as it is: first column left, others right or left."""
    cells = [[str(cell) if isinstance(cell, str) else number(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(heads), *cells]) for i in range(len(heads))]

    def line(row):
        fit = str.ljust if left else str.rjust
        fitted = [row[0].ljust(widths[0]), *(fit(cell, width) for cell, width in zip(row[1:], widths[1:]))]
        return f"| {' | '.join(fitted)} |"

    rule = [("-" * width) if i == 0 or left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "\n".join([line(heads), line(rule), *(line(row) for row in cells)])


def memory(key):
    """Returns a line of /proc/meminfo in bytes."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    raise Refused(f"/proc/meminfo has no {key}")


def machine(scratch):
    """Returns what a reader of the results needs to know of this machine; nothing that names it."""
    cpu = Path("/proc/cpuinfo").read_text()
    models = [line.partition(":")[2].strip() for line in cpu.splitlines() if line.startswith("model name")]
    mounts = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        point = left.split()[4].encode().decode("unicode_escape")
        if Path(point) in [scratch, *scratch.parents]:
            mounts.append((len(point), right.split()[0]))
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "virtual": "hypervisor" in cpu,
        "memory_gib": round(memory("MemTotal") / (1 << 30), 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "file_system": max(mounts, default=(0, "unknown"), key=lambda mount: mount[0])[1],
        "load_before": os.getloadavg()[0],
    }


def versions(programs, binaries):
    """Returns the Debian package versions of some programs, and those of rustc, Python and our tools."""
    def first_line(*command):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return "unknown"
        return (done.stdout.splitlines() or ["unknown"])[0].strip()

    found = {package: first_line("dpkg-query", "-W", "-f", "${Version}\\n", package)
             for package in sorted({PACKAGES[program] for program in programs})}
    found["python"] = platform.python_version()
    found["rustc"] = first_line("rustc", "--version").removeprefix("rustc ")
    if binaries:
        found["run-exec"] = first_line(binaries / "run-exec", "--version").removeprefix("run-exec ")
    if binaries and CHECKOUT in binaries.parents:
        found["checkout"] = first_line("git", "-C", str(CHECKOUT), "describe", "--always", "--dirty")
    return found


@dataclass
class Report:
    """What a benchmark found: a text of tables, goals, and the numbers they were made from."""

    benchmark: str
    title: str
    tables: list  # (heading, heads, rows), and True when all columns are text
    notes: list  # lines below the tables
    goals: list
    raw: list  # one dictionary a measured run
    facts: dict  # repeat, quick, machine, versions

    def text(self):
        parts = [f"# {self.title}"]
        if self.facts["quick"]:
            parts.append("A quick run with small sizes: it shows that the harness works, and no figure counts.")
        for heading, heads, rows, *left in self.tables:
            parts.append(f"## {heading}\n\n{table(heads, rows, *left)}")
        if self.notes:
            parts.append("\n".join(self.notes))
        if self.goals:
            parts.append("## Goals\n\n" + "\n".join(f"- {goal.line()}" for goal in self.goals))
        host, peers = self.facts["machine"], self.facts["versions"]
        repeat = self.facts["repeat"]
        kind = "virtual machine" if host["virtual"] else "bare machine"
        parts.append("\n".join([
            "## Machine",
            "",
            f"- {host['cpu']}, {host['cores']} cores, {host['memory_gib']} GiB memory, {kind}",
            f"- {host['kernel']}, {host['file_system']}; load before: {host['load_before']:.2f}",
            f"- {self.facts['date']}" + (f"; medians of {repeat} after a warm-up" if repeat else ""),
            "- " + ", ".join(f"{name} {version}" for name, version in peers.items()),
        ]))
        return "\n\n".join(parts) + "\n"

    def write(self, directory):
        """Replaces the two result files of this benchmark."""
        directory.mkdir(parents=True, exist_ok=True)
        document = {
            "schema": 1,
            "benchmark": self.benchmark,
            **self.facts,
            "goals": [{**asdict(goal), "met": goal.met} for goal in self.goals],
            "runs": self.raw,
        }
        # One run a line, so that a difference between two results can be read.
        runs = ",\n".join("  " + json.dumps(run) for run in document.pop("runs"))
        head = json.dumps(document, indent=1, ensure_ascii=False)[:-2]
        for suffix, text in ((".md", self.text()), (".json", f'{head},\n "runs": [\n{runs}\n ]\n}}\n')):
            scratch = directory / f".tmp-{self.benchmark}{suffix}"
            scratch.write_text(text)
            scratch.replace(directory / f"{self.benchmark}{suffix}")


def utc_now():
    """Returns the time of day as the results state it."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
