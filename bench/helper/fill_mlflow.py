"""fill_mlflow.py URI RUNS: fills an MLflow store with finished runs of four metrics and two parameters."""

import sys
import time

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

uri, runs = sys.argv[1], int(sys.argv[2])
client = MlflowClient(uri)
for number in range(runs):
    run = client.create_run("0", run_name=f"run-{number}").info.run_id
    now = int(time.time() * 1000)
    metrics = [Metric(name, 1 / (number + 1), now, 50) for name in ("loss", "accuracy", "lr", "grad_norm")]
    client.log_batch(run, metrics, [Param("lr", "0.001"), Param("seed", str(number))])
    client.set_terminated(run)
