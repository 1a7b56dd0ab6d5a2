"""list_foreign.py LAYOUT DIR: lists runs as the layout's own tool does: reads every file, computes averages."""

import csv
import json
import os
import sys
import time
from datetime import datetime
from pathlib import Path


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else 0.0


def json_lines(path):
    if not path.exists():
        return []
    with path.open() as file:
        return [json.loads(line) for line in file if line.strip()]


def stealthrl(root):
    for run in sorted(root.iterdir()):
        meta = json.loads((run / "run_metadata.json").read_text())
        rows = json_lines(run / "metrics.jsonl")
        start = datetime.fromisoformat(meta["start_time"])
        end = datetime.fromisoformat(meta["end_time"]) if meta.get("end_time") else datetime.now()
        of = lambda *keys: mean(row[key] for row in rows for key in keys if key in row)
        yield {"run": meta["run_name"], "status": meta["status"], "duration": (end - start).total_seconds(),
               "epochs": meta["num_epochs"], "batch": meta["batch_size"], "step": rows[-1]["step"] if rows else 0,
               "reward": of("reward", "env/all/reward/total"), "kl": of("kl_divergence", "env/all/kl")}


def experiments(root):
    for batch in sorted(root.iterdir()):
        json.loads((batch / "experiment_summary.json").read_text())
        for run in sorted(path for path in batch.iterdir() if path.is_dir()):
            meta = json.loads((run / "experiment_metadata.json").read_text())
            result = json.loads((run / "experiment_result.json").read_text())
            losses = [float(line.split("loss ")[1].split(",")[0]) for line in (run / "stdout.log").read_text().splitlines()
                      if line.startswith("iter ")]
            yield {"run": run.name, "status": result["status"], "duration": result["duration_seconds"],
                   "overrides": meta["global_overrides"], "loss": mean(losses), "return_code": result.get("return_code")}


def connect4(root):
    now = time.time()
    for run in sorted(root.iterdir()):
        meta = json.loads((run / "meta.json").read_text())
        status = json.loads((run / "status.json").read_text())
        word = status["status"]
        if word == "running":
            try:
                os.kill(int((run / "pid").read_text()), 0)
                if now - datetime.fromisoformat(status["last_heartbeat"]).timestamp() > 120:
                    word = "stale"
            except (OSError, ValueError):
                word = "dead"
        with (run / "metrics.csv").open(newline="") as file:
            loss = mean(float(row["loss"]) for row in csv.DictReader(file))
        yield {"run": run.name, "status": word, "step": status["step"], "total": status["total_steps"], "loss": loss,
               "device": meta["device"]}


def rl_practice(root):
    for run in sorted(root.iterdir()):
        (run / "config.yaml").read_text()
        rows = json_lines(run / "logs/train_log.jsonl")
        info = json.loads((run / "training_state/step_latest/training_info.json").read_text())
        yield {"run": run.name, "step": info["step"], "loss": mean(row["loss"] for row in rows),
               "reward": mean(row["r_mean"] for row in rows), "kl": mean(row["kl"] for row in rows)}


for found in globals()[sys.argv[1]](Path(sys.argv[2])):
    print(json.dumps(found))
