"""list_mlflow.py URI: lists the runs of an MLflow store as its users do; without URI, only imports it."""

import sys

import mlflow

if len(sys.argv) > 1:
    mlflow.set_tracking_uri(sys.argv[1])
    runs = mlflow.search_runs(max_results=50_000)  # the most that it takes
    print(runs.to_json(orient="records", lines=True))
