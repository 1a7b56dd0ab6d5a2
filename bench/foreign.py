"""foreign: how long it takes to list runs of other systems, beside what their own tools do."""

import json
import os
import random
import sys
import time

from harness import BENCH, Failed, Goal, Refused
from listing import Peer, heads, installed, measured, ms, rows_of

PROGRAMS = ["gcc"]
RUNS, TRACKED, ROWS, BATCH = 10_000, 1000, 50, 100
# The last W&B with a reader of its datastore in Python is older than what writes it.
PACKAGES = {"MLflow": "mlflow", "wandb": "wandb==0.21.4"}
LOCAL = "%Y-%m-%dT%H:%M:%S"


def made(path, text):
    """Writes a file, with the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def lines(rows):
    """Returns rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def stealthrl(root, number, begun):
    """Writes a run of StealthRL, half of them with slashes in the keys of their metrics."""
    run = root / f"run_{number:05}"
    end = {} if number % 20 == 0 else {"end_time": time.strftime(LOCAL, time.localtime(begun + 900))}
    made(run / "run_metadata.json", json.dumps({
        "run_name": run.name, "start_time": time.strftime(LOCAL, time.localtime(begun)), **end,
        "status": "completed" if end else "running", "data_path": "data/tinker", "num_epochs": 3, "batch_size": 8,
        "config_file": None}, indent=2))
    keys = ("reward", "kl_divergence") if number % 2 else ("env/all/reward/total", "env/all/kl")
    rows = [{"step": step, keys[0]: random.random(), keys[1]: random.random() / 10} for step in range(1, ROWS + 1)]
    made(run / "metrics.jsonl", lines(rows))
    made(run / "training.log", "INFO step\n" * ROWS)


def experiments(root, number, begun):
    """Writes a run of the experiment runner, in batches of a hundred."""
    batch = root / time.strftime("experiment_%Y%m%d_%H%M%S", time.localtime(begun - number % BATCH * 1000))
    run = batch / f"config_{number:05}"
    start = time.strftime(LOCAL, time.localtime(begun))
    common = {"config_path": f"config/{run.name}.py", "start_time": start}
    made(run / "experiment_metadata.json", json.dumps({
        **common, "command": ["python", "train_run.py", f"config/{run.name}.py", "--lr=0.001"],
        "global_overrides": {"lr": 0.001}, "python_executable": "/usr/bin/python3", "working_directory": "/work"}))
    failed = number % 10 == 0
    result = {**common, "config_name": run.name, "experiment_dir": str(run), "status": "failed" if failed else "completed",
              "error": "exit 1" if failed else None, "duration_seconds": 900.5, "final_checkpoint": None, "log_files": {},
              "end_time": time.strftime(LOCAL, time.localtime(begun + 900)), "return_code": int(failed)}
    made(run / "experiment_result.json", json.dumps(result))
    made(run / "config_used.py", "learning_rate = 1e-3\nmax_iters = 100\n")
    made(run / "stdout.log", "".join(f"iter {step}: loss {random.random():.4f}, time 9.00ms, mfu 1.00%\n" for step in range(ROWS)))
    made(run / "stderr.log", "")
    if number % BATCH == 0:
        made(batch / "master_log.txt", f"{start.replace('T', ' ')},123 - ExperimentRunner - INFO - started\n")
        made(batch / "experiment_summary.json", json.dumps({
            "timestamp": start, "base_out_dir": str(root), "experiment_dir": str(batch), "global_overrides": {},
            "total_experiments": BATCH, "completed": 90, "failed": 10, "errors": 0, "results": {}}))


def connect4(root, number, begun):
    """Writes a run of the Connect4 pipeline."""
    run = root / f"experiment_{number:05}"
    utc = "%Y-%m-%dT%H:%M:%S+00:00"
    start = time.strftime(utc, time.gmtime(begun))
    made(run / "meta.json", json.dumps({
        "git_commit": "0" * 40, "git_dirty": False, "command": "python -m src.cli.train", "start_time_iso": start, "seed": 1,
        "device": "cpu", "python_version": "3.11.2", "torch_version": "2.1.0", "config_path": "config.yaml"}))
    status = ["completed", "stopped", "running"][number % 3]
    made(run / "status.json", json.dumps({
        "status": status, "step": ROWS * 100, "total_steps": 50_000, "episode": 678, "start_time": start,
        "last_heartbeat": time.strftime(utc, time.gmtime(begun + 900)), "epsilon": 0.42, "steps_per_sec": 120.5}))
    made(run / "config.yaml", "seed: 1\ntotal_steps: 50000\n")
    if status == "running":
        made(run / "pid", str(4_000_000 + number))  # which no process has
    rows = "".join(f"{step},{random.random():.4f},{random.random():.4f}\n" for step in range(ROWS))
    made(run / "metrics.csv", "step,loss,epsilon\n" + rows)


def rl_practice(root, number, begun):
    """Writes a training run of the RL practice."""
    name = time.strftime("run_%Y-%m-%d_%H-%M-%S", time.localtime(begun))
    run = root / "training_runs" / f"{name}_{number:05}"
    made(run / "config.yaml", "model: qwen\nlr: 1.0e-5\ntotal_steps: 50\n")
    info = {"step": ROWS, "global_step": ROWS, "epoch": 0, "model_config": {}, "training_config": {}, "distributed_info": {}}
    made(run / f"training_state/step_{ROWS}/training_info.json", json.dumps(info))
    made(run / f"training_state/step_{ROWS}/optimizer.pt", "PK")
    (run / "training_state/step_latest").symlink_to(f"step_{ROWS}")
    rows = [{"step": step, "loss": random.random(), "entropy": 1.5, "kl": 0.01, "r_mean": random.random()}
            for step in range(1, ROWS + 1)]
    made(run / "logs/train_log.jsonl", lines(rows))


LAYOUTS = {"StealthRL": stealthrl, "experiment runner": experiments, "Connect4": connect4, "RL practice": rl_practice}


def four(lab, repeat, quick, raw):
    """Measures each of the four layouts beside a script that reads as its own tool does."""
    count = 200 if quick else RUNS
    tables, goals = [], []
    for name, layout in LAYOUTS.items():
        random.seed(1)
        runs = lab.fresh("foreign") / "runs"
        for number in range(count):
            layout(runs, number, 1_700_000_000 + 1000 * number)
        below = str(runs / "training_runs") if layout is rl_practice else str(runs)
        python, c = "its own way, in Python", "reads every file, in C"
        ours = "run-status -a --json"
        depth = "2" if layout is experiments else "1"
        peers = [Peer(python, (sys.executable, str(BENCH / "sketch/list_foreign.py"), layout.__name__, below)),
                 Peer(ours, (str(lab.binaries / "run-status"), "-a", "--json", "-d", below)),
                 Peer(c, (lab.program("list_foreign"), str(os.cpu_count()), depth, below)),
                 Peer("run-status -a", (str(lab.binaries / "run-status"), "-a", "-d", below), None)]  # it also prints batches
        for peer in peers[:3]:
            found = lab.output(peer.command, lab.root).count("\n") - peer.more
            if found != count:
                raise Failed(f"{name}, {peer.name}: {found} of {count} runs")
        timings = measured(lab, peers, repeat, name, count, raw)
        tables.append((f"{name}: {count:,} runs, warm cache", heads("Python", "C"), rows_of(timings, count, (python, c))))
        goals.append(Goal(f"{name}, JSON beside Python", ms(timings, ours) / ms(timings, python), round(1 / 30, 4)))
    return tables, goals


def tracked(lab, repeat, count, raw, name, fill, listing):
    """Measures a store of a tracker that pip installs; returns tables, notes and goals."""
    package = name.lower()
    venv, note = installed(lab, PACKAGES[name], package)
    if venv is None:
        return [], [f"{note}."], []
    cwd = lab.fresh(package)
    quiet = ("env", "MLFLOW_ALLOW_FILE_STORE=true", "MLFLOW_DISABLE_TELEMETRY=true", "GIT_PYTHON_REFRESH=quiet",
             "WANDB_MODE=offline", "WANDB_SILENT=true", str(venv / "bin/python"))
    below = fill(lab, cwd, quiet, count)
    ours, theirs = "run-status -a --json", f"{package}, all runs"
    peers = [Peer(theirs, (*quiet, str(BENCH / "sketch" / listing), below), None),
             Peer(ours, (str(lab.binaries / "run-status"), "-a", "--json", "-d", below.removeprefix("file://")))]
    printed = lab.output(peers[1].command, cwd).count("\n")
    if printed != count:
        raise Failed(f"{name}: {printed} of {count} runs")
    timings = measured(lab, peers, repeat, name, count, raw)
    table = (f"{name}: {count:,} runs, warm cache", heads(package), rows_of(timings, count, (theirs,)))
    return [table], [f"{note}."], [Goal(f"{name}, JSON beside its own", ms(timings, ours) / ms(timings, theirs), round(1 / 30, 4))]


def fill_mlflow(lab, cwd, python, count):
    """Fills a file store of MLflow."""
    store = f"file://{cwd}/mlruns"
    lab.output([*python, BENCH / "helper/fill_mlflow.py", store, str(count)], cwd)
    return store


def fill_wandb(lab, cwd, python, count):
    """Makes an offline run with W&B, and copies it under other names."""
    lab.output([*python, BENCH / "helper/fill_wandb.py", str(ROWS)], cwd)
    [run] = (cwd / "wandb").glob("offline-run-*")
    stamp, own = run.name.removeprefix("offline-run-").rsplit("-", 1)
    for number in range(1, count):
        other = f"{number:0{len(own)}}"
        copy = run.with_name(f"offline-run-{stamp}-{other}")
        for file in (file for file in run.rglob("*") if file.is_file()):
            target = copy / str(file.relative_to(run)).replace(own, other)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    return str(cwd / "wandb")


def run(lab, repeat, quick):
    """Runs all workloads; returns title, tables, notes, goals and raw numbers."""
    if not lab.binaries:
        raise Refused("foreign compares run-status with other tools; without it there is nothing to compare")
    raw = []
    tables, goals = four(lab, repeat, quick, raw)
    notes = ["The program in C opens every file of every run, with as many threads as there are cores, and counts its lines.",
             "The script in Python reads every file that the layout's own tool reads, and computes its averages.",
             "CPU time is that of the whole command, all threads and processes; max RSS is that of its largest process."]
    for name, fill, listing in () if quick else (("MLflow", fill_mlflow, "list_mlflow.py"), ("wandb", fill_wandb, "list_wandb.py")):
        try:
            more, said, promised = tracked(lab, repeat, TRACKED, raw, name, fill, listing)
        except Failed as error:  # a new version, perhaps: no reason to measure nothing
            more, said, promised = [], [f"{name}: {str(error).splitlines()[-1]}: not measured."], []
        tables, notes, goals = tables + more, notes + said, goals + promised
    return "Runs of other systems", tables, notes, goals, raw
