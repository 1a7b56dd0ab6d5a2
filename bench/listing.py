"""listing: how long it takes to say what thousands of runs do, cold too, and what watching them costs."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from harness import BENCH, MIB, TIMEOUT_S, Failed, Goal, Refused, median, need, rounds, spread

PROGRAMS = ["dash", "find", "gcc", "jq", "xargs"]
RUNS, MANY, FEW = 10_000, 100_000, 1000
WATCHED, WATCH_S, BEAT_S = 10, 20, 5
JSON, TABLE = "run-status -a --json", "run-status -a"
PIPELINE, PYTHON, READ_1, READ_2, READ_32 = (
    "find, xargs cat, jq -c", "Python, sorted JSON", "C reads, 1 thread", "C reads, 2 threads", "C reads, 32 threads")
SHARES = [("failed", 10), ("stopped", 5), ("created", 4)]  # in a hundred; one is active, and the others are completed


@dataclass(frozen=True)
class Peer:
    """A way to list runs: a command line, and the lines it prints beyond one a run; None: it is not counted."""

    name: str
    command: tuple
    more: int | None = 0


def peers_of(lab, runs):
    """Returns the ways to list the runs below a directory, by name."""
    status, read, runs = str(lab.binaries / "run-status"), lab.program("read_status"), str(runs)
    pipeline = 'find "$1" -name status.json | xargs cat | jq -c .'
    peers = [
        Peer(PIPELINE, ("dash", "-c", pipeline, "dash", runs)),
        Peer(PYTHON, (sys.executable, str(BENCH / "sketch/list_runs.py"), runs)),
        Peer(READ_1, (read, "1", runs), None),
        Peer(READ_2, (read, "2", runs), None),
        Peer(READ_32, (read, "32", runs), None),
        Peer(JSON, (status, "-a", "--json", "-d", runs)),
        Peer(TABLE, (status, "-a", "-d", runs), 1),
    ]
    return {peer.name: peer for peer in peers}


@dataclass(frozen=True)
class Model:
    """A real run that others are copied from."""

    files: dict  # name below the run: bytes
    run_id: bytes
    name: bytes
    inode: bytes


def models(lab):
    """Makes a real run of each kind with run-new and run-exec, and reads it."""
    cwd = lab.fresh("models")
    (cwd / "base.yaml").write_text("seed: 1\ntrain:\n  lr: 0.001\n  batch_size: 64\n  total_steps: 50\n")
    found = {}
    for kind in ("completed", "failed", "stopped", "created"):
        words = ["-d", "runs", "-n", f"model-{kind}", "-s", "lr=0.001", "--tag", "sweep", "base.yaml"]
        command = [sys.executable, BENCH / "helper/train.py", kind, "{set}"]
        run = cwd / lab.output([lab.binaries / "run-new", *words, "--", *command], cwd).strip()
        if kind != "created":
            may_fail = '"$@"; case $? in 0 | 1 | 143) ;; *) exit 1 ;; esac'
            lab.output(["dash", "-c", may_fail, "dash", lab.binaries / "run-exec", "-q", run], cwd)
        files = {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}
        status = json.loads(files[".run/status.json"])
        if status["status"] != kind:
            raise Failed(f"the run that should be {kind} is {status['status']}")
        found[kind] = Model(files, status["run_id"].encode(), run.name.encode(), b'"inode":%d' % (status["inode"] or 0))
    # What an active one has before its end; supervisor.py adds the process and the times.
    ended = found["completed"]
    files = {name: data for name, data in ended.files.items() if name != ".run/result.json"}
    files[".run/attempts.jsonl"] = files[".run/attempts.jsonl"].splitlines(keepends=True)[0]
    status = {**json.loads(files[".run/status.json"]), "status": "running", "end_time": None, "exit_code": None}
    files[".run/status.json"] = json.dumps(status, separators=(",", ":")).encode() + b"\n"
    found["running"] = Model(files, ended.run_id, ended.name, ended.inode)
    return found


def kind_of(number):
    """Returns the kind of a run: the first of each hundred is active, those after it are mixed."""
    place = number % 100 * 37 % 100  # so that the kinds are not in blocks
    for kind, share in [("running", 1), *SHARES]:
        if place < share:
            return kind
        place -= share
    return "completed"


def make_runs(root, found, count, record_only=False):
    """Copies models under new names and ids; returns the directories of the active ones."""
    root.mkdir()
    active = []
    for number in range(count):
        kind = kind_of(number)
        model = found[kind]
        run = f"{root}/base_lr={0.001 * (1 + number % 7):.3f}_seed={number:06}"
        os.mkdir(run)
        os.mkdir(f"{run}/.run")
        swaps = [
            (model.run_id, str(uuid.UUID(int=uuid.UUID(model.run_id.decode()).int + (number << 32))).encode()),
            (model.name, os.path.basename(run).encode()),
            (model.inode, b'"inode":%d' % os.stat(f"{run}/.run").st_ino),
        ]
        for name, data in model.files.items():
            if record_only and name not in (".run/meta.json", ".run/status.json"):
                continue
            if name.startswith(".run/"):
                for old, new in swaps:
                    data = data.replace(old, new)
            with open(f"{run}/{name}", "wb", buffering=0) as file:
                file.write(data)
        if kind == "running":
            active.append(run)
    return active


@contextmanager
def supervised(active, beat=0):
    """Lets one living process hold the active runs, as their supervisors would."""
    command = [sys.executable, str(BENCH / "helper/supervisor.py"), str(beat)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        try:
            holder.stdin.write("".join(f"{run}\n" for run in [*active, ""]).encode())
            holder.stdin.flush()
            if holder.stdout.readline() != b"ready\n":
                raise Failed("the active runs cannot be held")
            yield
            if holder.poll() is not None:
                raise Failed("the supervisor of the active runs has ended")
        finally:
            holder.stdin.close()  # which it takes for the end


def check(lab, peers, runs, count, active):
    """Makes sure that every peer lists every run, and run-status the active ones as running."""
    for peer in peers:
        if peer.more is None:
            found = int(lab.output(peer.command, lab.root).split()[0])
        else:
            text = lab.output(peer.command, lab.root)
            found = text.count("\n") - peer.more
            running = text.count('"status":"running"')
            if peer.name == JSON and running != active:
                raise Failed(f"{peer.name}: {running} runs are running instead of {active}")
        if found != count:
            raise Failed(f"{peer.name}: {found} of {count} runs in '{runs}'")


def measured(lab, peers, repeat, workload, count, raw, before=lambda peer: None):
    """Times every peer in each round and returns the timings by name."""
    timings = {peer.name: [] for peer in peers}
    for turn, peer in rounds(peers, repeat, f"listing, {workload}"):
        before(peer)
        timing = lab.time(peer.name, peer.command, lab.root)
        if turn > 0:
            timings[peer.name].append(timing)
            raw.append({"workload": workload, "peer": peer.name, "round": turn, "runs": count, **asdict(timing)})
    return timings


def ms(timings, name):
    """Returns the median time of a peer."""
    return median(timing.wall_s for timing in timings[name]) * 1000


def rss(timings, name):
    """Returns the median memory of a peer's largest process, in bytes."""
    return median(timing.max_rss_bytes for timing in timings[name])


def rows_of(timings, count, references):
    """Returns a row for each peer: time, per run, beside the references, CPU time, memory."""
    return [
        [
            name,
            ms(timings, name),
            spread(timing.wall_s * 1000 for timing in of),
            ms(timings, name) / count * 1000,
            *(ms(timings, name) / ms(timings, reference) for reference in references),
            median(timing.cpu_s for timing in of) * 1000,
            rss(timings, name) / MIB,
        ]
        for name, of in timings.items()
    ]


def heads(*references):
    """Returns the heads of rows_of."""
    return ("", "ms", "range", "µs a run", *(f"× {word}" for word in references), "CPU ms", "max RSS MiB")


def drop_caches():
    """Makes the kernel forget all files; False when it is not root who asks."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
    except OSError:
        return False
    return True


def many(lab, found, repeat, quick, raw):
    """Measures the large directories, warm and cold; returns tables, notes and goals."""
    count, growth = (200, 1000) if quick else (RUNS, MANY)
    cwd = lab.fresh("listing")
    runs, one = cwd / "runs", cwd / "one"
    active = make_runs(runs, found, count)
    make_runs(one, found, 2)  # the first, which nobody holds, is as good as any
    tables, notes = [], []
    with supervised(active):
        peers = peers_of(lab, runs)
        check(lab, peers.values(), runs, count, len(active))
        warm = [peer for name, peer in peers.items() if name != READ_32]
        small = measured(lab, warm, repeat, "warm", count, raw)
        references = (PIPELINE, PYTHON, READ_1)
        title = f"{count:,} runs, {len(active)} of them active, warm cache"
        tables.append((title, heads("pipeline", "Python", "C reads"), rows_of(small, count, references)))
        goals = [
            Goal("JSON beside the jq pipeline", ms(small, JSON) / ms(small, PIPELINE), 0.15),
            Goal("JSON beside Python", ms(small, JSON) / ms(small, PYTHON), 0.06),
        ]
        if drop_caches():
            little = peers_of(lab, one)

            def forget(peer):
                drop_caches()
                lab.output(little[peer.name].command, lab.root)  # its own pages are not what is measured

            cold_peers = [peers[name] for name in (PIPELINE, READ_1, READ_2, READ_32, JSON)]
            cold = measured(lab, cold_peers, repeat, "cold", count, raw, forget)
            title = f"{count:,} runs, cold cache"
            tables.append((title, heads("pipeline", "C reads"), rows_of(cold, count, (PIPELINE, READ_1))))
            goals.append(Goal("JSON beside the jq pipeline, cold", ms(cold, JSON) / ms(cold, PIPELINE), 0.35))
        else:
            notes.append("Cold cache: not measured, as only root can empty it.")
    runs = cwd / "many"
    active = make_runs(runs, found, growth, record_only=True)
    with supervised(active):
        peers = peers_of(lab, runs)
        large_peers = [peers[name] for name in (READ_1, JSON, TABLE)]
        check(lab, large_peers, runs, growth, len(active))
        large = measured(lab, large_peers, repeat, "many", growth, raw)
    rows = []
    for row in rows_of(large, growth, (READ_1,)):
        name = row[0]
        rows.append([*row, ms(large, name) / growth / (ms(small, name) / count), rss(small, name) / MIB])
    columns = (*heads("C reads"), f"a run, × that of {count:,}", f"MiB at {count:,}")
    tables.append((f"{growth:,} runs, {len(active)} of them active, warm cache", columns, rows))
    for timings, size in ((small, count), (large, growth)):
        goals.append(Goal(f"JSON, memory for {size:,} runs", rss(timings, JSON) / 1e6, 30, "MB"))
    return tables, notes, goals


def installed(lab, package, module):
    """Installs a package into an environment of its own and returns its directory; None with a note when
    that cannot be done here."""
    target = lab.root / f"venv-{module}"
    try:
        for command in (
            [sys.executable, "-m", "venv", target],
            [target / "bin/pip", "install", "--quiet", "--disable-pip-version-check", package],
        ):
            # The caller's environment: it may be what says where packages come from.
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.PIPE, text=True, timeout=2 * TIMEOUT_S, check=True)
        lines = lab.output([target / "bin/pip", "show", package.partition("==")[0]], lab.root).splitlines()
    except (subprocess.SubprocessError, Failed) as error:
        lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        return None, f"{package} could not be installed: {lines[-1] if lines else 'no reason given'}"
    return target, f"{package} {next(line.split()[1] for line in lines if line.startswith('Version:'))}"


def mlflow_peers(lab, cwd, count):
    """Fills two MLflow stores, of files and of SQLite, and returns the ways to list them, and a note."""
    venv, note = installed(lab, "mlflow", "mlflow")
    if venv is None:
        return [], note
    python = str(venv / "bin/python")
    quiet = ("env", "MLFLOW_ALLOW_FILE_STORE=true", "MLFLOW_DISABLE_TELEMETRY=true", "GIT_PYTHON_REFRESH=quiet", python)
    listing = str(BENCH / "sketch/list_mlflow.py")
    peers = [Peer("mlflow, import alone", (*quiet, listing), None)]
    for name, uri in (("mlflow, files", f"file://{cwd}/mlruns"), ("mlflow, SQLite", f"sqlite:///{cwd}/mlflow.db")):
        lab.output([*quiet, BENCH / "helper/fill_mlflow.py", uri, str(count)], cwd)
        peers.append(Peer(name, (*quiet, listing, uri), None))
        printed = lab.output(peers[-1].command, cwd).count('"run_id"')
        if printed != count:
            raise Failed(f"{name}: {printed} of {count} runs")
    return peers, note


def guild_peers(lab, _, count):
    """Makes a run with Guild, copies it, and returns the ways to list the copies, and a note."""
    venv, note = installed(lab, "guildai", "guildai")
    if venv is None:
        return [], note
    cwd = lab.fresh("guild")  # of its own: a run gets a copy of what lies beside its program
    home = lab.fresh("guild-home")
    program = 'lr = 0.001\nfor step in range(50):\n    print(f"step: {step}\\nloss: {lr * step}")\n'
    (cwd / "train.py").write_text(program)
    guild = ("env", f"GUILD_HOME={home}", str(venv / "bin/guild"))
    # Its run is a `python` and a `guild` that it looks for.
    lab.output([*guild[:2], f"PATH={venv}/bin:/usr/bin:/bin", guild[2], "run", "train.py", "-y"], cwd)
    [run] = [path for path in (home / "runs").iterdir() if path.is_dir()]
    for number in range(1, count):
        copy = run.with_name(uuid.UUID(int=uuid.UUID(run.name).int ^ number).hex)
        shutil.copytree(run, copy, symlinks=True)
        (copy / ".guild/attrs/id").write_text(copy.name + "\n")
    listing = (*guild, "runs", "-a")
    peers = [Peer("guild runs -a", listing), Peer("guild runs -a --json", (*listing, "--json"), None)]
    for peer in peers:
        text = lab.output(peer.command, cwd)
        printed = text.count("\n") if peer.more is not None else len(json.loads(text))
        if printed != count:
            raise Failed(f"{peer.name}: {printed} of {count} runs")
    return peers, note


def few(lab, found, repeat, quick, raw):
    """Measures a directory of a size that experiment trackers can list; returns table and notes."""
    count = 50 if quick else FEW
    cwd = lab.fresh("listing")
    runs = cwd / "runs"
    active = make_runs(runs, found, count)
    notes, others = [], []
    for peers in () if quick else (mlflow_peers, guild_peers):  # installing takes minutes
        try:
            more, note = peers(lab, cwd, count)
        except Failed as error:  # a new version, perhaps: no reason to measure nothing
            more, note = [], f"{str(error).splitlines()[-1]}: not measured"
        others += more
        notes.append(f"{note}.")
    ours = peers_of(lab, runs)
    with supervised(active):
        chosen = [ours[name] for name in (PIPELINE, PYTHON)] + others + [ours[JSON], ours[TABLE]]
        check(lab, [ours[name] for name in (PIPELINE, PYTHON, JSON, TABLE)], runs, count, len(active))
        timings = measured(lab, chosen, repeat, "few", count, raw)
    title = f"{count:,} runs beside experiment trackers, warm cache"
    return (title, heads("run-status --json"), rows_of(timings, count, (JSON,))), notes


def watch_once(command, cwd, environment, seconds, runs):
    """Watches for some seconds; returns CPU seconds, lines printed, and when the first list was complete."""
    lines, whole = 0, None
    begin = time.monotonic()
    process = subprocess.Popen(command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)

    def read():
        nonlocal lines, whole
        while block := os.read(process.stdout.fileno(), 1 << 16):
            lines += block.count(b"\n")
            if whole is None and lines >= runs:
                whole = time.monotonic() - begin

    reader = threading.Thread(target=read)
    reader.start()
    try:
        time.sleep(seconds)
        lived = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    finally:
        process.kill()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        reader.join()
        process.stdout.close()
    if not lived:
        raise Failed(f"run-status --watch ended by itself, with {process.returncode}")
    if whole is None or lines == runs:
        raise Failed(f"run-status --watch printed {lines} lines for {runs} runs and what changed of them")
    return {"cpu_s": usage.ru_utime + usage.ru_stime, "lines": lines, "first_list_s": whole}


def watch(lab, found, repeat, quick, raw):
    """Measures what it costs to watch; returns tables, notes and goals."""
    status = lab.binaries / "run-status"
    if "--watch" not in lab.output([status, "--help"], lab.root):
        return [], ["Watching: not measured, as this run-status has no --watch."], []
    count, seconds = (200, 3) if quick else (FEW, WATCH_S)
    beat = 1 if quick else BEAT_S
    runs = lab.fresh("watch") / "runs"
    active = make_runs(runs, found, count)[:WATCHED]
    command = [str(status), "-a", "--json", "--watch=1", "-d", str(runs)]
    results = []
    with supervised(active, beat):
        for turn in range(1, repeat + 1):
            print(f"listing, watch: round {turn} of {repeat}", file=sys.stderr)
            results.append(watch_once(command, runs.parent, lab.environment(runs.parent), seconds, count))
            raw.append({"workload": "watch", "peer": "run-status --watch=1", "round": turn, "runs": count,
                        "seconds": seconds, **results[-1]})
    percent = [result["cpu_s"] / seconds * 100 for result in results]
    row = ["run-status -a --json --watch=1", median(percent), spread(percent),
           median(result["first_list_s"] for result in results) * 1000,
           str(int(median(result["lines"] for result in results)))]
    columns = ("", "% of a core", "range", "first list ms", "lines")
    title = f"{count:,} runs, {len(active)} of them active with a heartbeat every {beat} s, watched for {seconds} s"
    goals = [Goal("watching", median(percent), 1, "% of a core")]
    return [(title, columns, [row])], [], goals


def run(lab, repeat, quick):
    """Runs all workloads; returns title, tables, notes, goals and raw numbers."""
    need(PROGRAMS)
    if not lab.binaries:
        raise Refused("listing needs run-new and run-exec: it lists runs that they have made")
    if not quick and shutil.disk_usage(lab.root).free < 4 << 30:
        raise Refused("the scratch directory needs 4 GiB of free space; name another one with --scratch")
    found, raw = models(lab), []
    # The hundred thousand last: creating files is slow on some file systems for a while after.
    beside, few_notes = few(lab, found, repeat, quick, raw)
    watched, watch_notes, watch_goals = watch(lab, found, repeat, quick, raw)
    tables, notes, goals = many(lab, found, repeat, quick, raw)
    notes = [
        "`C reads` opens and reads each status file and does nothing with it. CPU time is that of the whole",
        "command, all threads and processes; max RSS is that of its largest process.",
        *few_notes, *notes, *watch_notes,
    ]
    return "Listing", [*tables, beside, *watched], notes, goals + watch_goals, raw
