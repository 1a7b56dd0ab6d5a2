"""serve: the live page of many runs, some of which grow: the time to its first page, CPU and memory."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from consolidate import body
from harness import Failed, Goal, median, rounds, spread
from listing import installed

PROGRAMS = ["gcc"]
OURS, TENSORBOARD, MLFLOW = "run-report --serve", "tensorboard", "mlflow ui"
PATIENCE_S = 180
TICK = os.sysconf("SC_CLK_TCK")
GROW = """
import json, os, time
with open(os.environ["RUN_METRICS"], "a", buffering=1) as rows:
    for step in range(10 ** 9):
        rows.write(json.dumps({"step": step, "loss": 1 / (step + 1), "accuracy": 0.5, "time": time.time()}) + "\\n")
        time.sleep(0.1 if step >= ROWS else 0)
"""


@dataclass(frozen=True)
class Peer:
    """A server: its command line, and what its page asks for at first and then again and again."""

    name: str
    command: tuple
    first: str
    again: tuple
    post: bytes = None
    runs: int = 0  # that its first data have to tell of


@dataclass
class Served:
    """What a server took."""

    start_s: float
    whole_s: float
    page_s: float
    cpu_percent: float
    rss_mib: float


def make_runs(lab, cwd, count, rows):
    """Makes runs that have ended: copies of one that run-exec executed."""
    path = cwd / lab.output([lab.binaries / "run-new", "-d", "model", "-n", "model", "--", "true"], cwd).strip()
    lab.output([lab.binaries / "run-exec", "-q", path], cwd)
    names = ("meta.json", "status.json", "attempts.jsonl", "result.json", "lock")
    record = {name: (path / ".run" / name).read_text() for name in names}
    run_id = json.loads(record["meta.json"])["run_id"]
    runs = cwd / "runs"
    bodies = [body(seed, rows) for seed in range(10)]
    for number in range(count):
        run = runs / f"run_{number:04}"
        (run / ".run").mkdir(parents=True)
        for name, text in record.items():
            text = text.replace(run_id, str(uuid.UUID(int=number))).replace('"model"', f'"{run.name}"')
            (run / ".run" / name).write_text(text)
        (run / "metrics.jsonl").write_text(bodies[number % len(bodies)])
    return runs


def processes(group):
    """Returns the stat fields of the processes of a group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            found.append(fields)
    return found


def cpu_s(group):
    return sum(int(fields[11]) + int(fields[12]) for fields in processes(group)) / TICK


def rss_mib(group):
    return sum(int(fields[21]) for fields in processes(group)) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def fetch(url, post=None):
    request = urllib.request.Request(url, data=post, headers={"Content-Type": "application/json"} if post else {})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def data_of(page):
    """Returns the data of our page."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S).group(1))


def has_metrics(page):
    """Returns whether our page has the metrics of all runs."""
    return all(any(name.endswith(".last") for name in run["row"]) for run in data_of(page)["runs"])


def follow(url, page, stop):
    """Follows our page as a browser does: reads events, and asks for the details of the runs that are shown."""
    data = data_of(page)
    live = data["live"]
    active = [run["id"] for run in data["runs"] if run["active"]][:12]

    def events():
        try:
            with urllib.request.urlopen(f"{url}events?server={live['server']}&since={live['clock']}", timeout=60) as stream:
                for _ in stream:
                    if stop.is_set():
                        return
        except OSError:
            pass  # the server has ended

    threading.Thread(target=events, daemon=True).start()
    while not stop.wait(2):
        try:
            for number in active:
                fetch(f"{url}run?id={number}")
        except OSError:
            return  # the server has ended


def is_whole(peer, page):
    """Returns whether the first data of a peer tell of all runs that they have to: it may still be reading. Our first page
    has all runs; their metrics are sent to it when they have been read."""
    if peer.name == OURS:
        return True
    data = json.loads(page)
    return len(data if peer.name == TENSORBOARD else data.get("runs", ())) >= peer.runs


def serve(lab, cwd, peer, watch_s):
    """Starts a server, asks for its page, follows it for a while, and ends it."""
    log = cwd / "server.log"
    with log.open("wb") as out:
        begun = time.monotonic()
        server = subprocess.Popen(peer.command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                  env=lab.environment(cwd), start_new_session=True)
    stop = threading.Event()
    try:
        url, page = None, None
        while page is None:
            if server.poll() is not None or time.monotonic() - begun > PATIENCE_S:
                raise Failed(f"{peer.name} did not serve:\n{log.read_text(errors='replace')[-2000:]}")
            found = re.search(r"http://[^\s]+", log.read_text(errors="replace")) if peer.name == OURS else True
            url = (found.group(0) if peer.name == OURS else peer.again[0]) if found else None
            try:
                page = fetch(url + peer.first, peer.post) if url else None
            except OSError:
                page = None
            if page is not None and not is_whole(peer, page):
                page = None
            if page is None:
                time.sleep(0.01)
        start_s = time.monotonic() - begun
        while peer.name == OURS and not has_metrics(page.decode()):
            time.sleep(0.02)
            page = fetch(url)
        whole_s = time.monotonic() - begun
        begun = time.monotonic()
        page = fetch(url + peer.first, peer.post)
        page_s = time.monotonic() - begun
        if peer.name == OURS:
            threading.Thread(target=follow, args=(url, page.decode(), stop), daemon=True).start()
        time.sleep(watch_s / 2)  # what is read once is read by then
        before, begun = cpu_s(server.pid), time.monotonic()
        while time.monotonic() - begun < watch_s:
            if peer.name != OURS:
                fetch(url + peer.first, peer.post)
            time.sleep(5)
        percent = 100 * (cpu_s(server.pid) - before) / (time.monotonic() - begun)
        return Served(start_s, whole_s, page_s, percent, rss_mib(server.pid))
    finally:
        stop.set()
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def peers_of(lab, cwd, runs, count, quick):
    """Returns the servers, and notes."""
    report = str(lab.binaries / "run-report")
    peers = [Peer(OURS, (report, "--serve=0", "-d", str(runs)), "", ())]
    if quick:
        return peers, ["tensorboard and mlflow are left out of a quick run."]
    notes = []
    venv, note = installed(lab, "tensorboard", "tensorboard")
    notes.append(f"{note}.")
    if venv is not None:
        lab.output([venv / "bin/pip", "install", "--quiet", "setuptools<81"], cwd)  # which it imports without asking for it
        lab.output([report, "--export-tensorboard", "events", "-d", str(runs)], cwd)
        command = (str(venv / "bin/tensorboard"), "--logdir", "events", "--port", "16006", "--host", "127.0.0.1")
        peers.append(Peer(TENSORBOARD, command, "data/plugin/scalars/tags", ("http://127.0.0.1:16006/",), runs=count))
    venv, note = installed(lab, "mlflow", "mlflow")
    notes.append(f"{note}.")
    if venv is not None:
        lab.output([report, "--export-mlflow", "mlruns", "-d", str(runs)], cwd)
        command = ("env", f"PATH={venv}/bin:/usr/bin:/bin", "MLFLOW_ALLOW_FILE_STORE=true", "MLFLOW_DISABLE_TELEMETRY=true",
                   str(venv / "bin/mlflow"), "ui", "--backend-store-uri", f"file://{cwd}/mlruns", "--port", "15000")
        search = json.dumps({"experiment_ids": experiments(cwd), "max_results": 100}).encode()
        peers.append(Peer(MLFLOW, command, "api/2.0/mlflow/runs/search", ("http://127.0.0.1:15000/",), search, min(100, count)))
    return peers, notes


def experiments(cwd):
    """Returns the ids of the experiments of the file store."""
    return [directory.name for directory in (cwd / "mlruns").iterdir() if directory.is_dir() and directory.name[0].isdigit()]


def run(lab, repeat, quick):
    """Serves the page by each peer; returns title, tables, notes, goals and raw numbers."""
    if not lab.binaries:
        raise Failed("serve measures pages of runs that our tools make")
    count, active, rows, watch_s = (40, 3, 200, 6) if quick else (1000, 10, 2000, 30)
    cwd = lab.fresh("serve")
    runs = make_runs(lab, cwd, count - active, rows)
    peers, notes = peers_of(lab, cwd, runs, count - active, quick)
    (cwd / "grow.py").write_text(GROW.replace("ROWS", str(rows)))
    programs = []
    for number in range(active):
        path = lab.output([lab.binaries / "run-new", "-d", runs, "-n", f"active_{number}", "--", "python3", cwd / "grow.py"], cwd).strip()
        programs.append(subprocess.Popen([lab.binaries / "run-exec", "-q", path], cwd=cwd, env=lab.environment(cwd),
                                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                         start_new_session=True))
    timings, raw = {peer.name: [] for peer in peers}, []
    try:
        for turn, peer in rounds(peers, repeat, f"serve, {count} runs"):
            served = serve(lab, cwd, peer, watch_s)
            if turn > 0:
                timings[peer.name].append(served)
                raw.append({"peer": peer.name, "runs": count, "round": turn, **asdict(served)})
    finally:
        for program in programs:
            program.terminate()
        for program in programs:
            program.wait()

    def typical(name, key):
        return median(getattr(served, key) for served in timings[name])

    table_rows = [
        [
            peer.name,
            typical(peer.name, "start_s"),
            spread(served.start_s for served in timings[peer.name]),
            typical(peer.name, "whole_s"),
            typical(peer.name, "page_s"),
            typical(peer.name, "cpu_percent"),
            typical(peer.name, "rss_mib"),
        ]
        for peer in peers
    ]
    title = f"{count:,} runs, {active} of which write ten rows a second"
    heads = ("", "start to page s", "range", "to all metrics s", "page again s", "CPU % of a core", "RSS MiB")
    notes.append(
        "Our page is followed as a browser does: events, and the details of the active runs every two seconds. The others "
        "serve exports of the runs before the active ones began, and are asked for their first data every five seconds: "
        "the tags of all runs, or the first hundred runs."
    )
    goals = [
        Goal("start to the first page", typical(OURS, "start_s"), 0.3, "s"),
        Goal("time of a later page", typical(OURS, "page_s"), 0.3, "s"),
        Goal("CPU with active runs", typical(OURS, "cpu_percent"), 2, "% of a core"),
    ]
    shutil.rmtree(cwd)
    return "The live page", [(title, heads, table_rows)], notes, goals, raw
