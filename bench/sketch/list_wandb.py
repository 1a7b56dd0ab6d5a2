"""list_wandb.py DIR: lists offline runs of W&B by the package's own reader of their datastore."""

import json
import sys
from pathlib import Path

from wandb.proto import wandb_internal_pb2
from wandb.sdk.internal.datastore import DataStore

for path in sorted(Path(sys.argv[1]).glob("*run-*/run-*.wandb")):
    store = DataStore()
    store.open_for_scan(str(path))
    found = {"run": path.parent.name, "step": 0, "exit": None}
    while True:
        try:
            data = store.scan_data()
        except AssertionError:  # a torn tail
            break
        if data is None:
            break
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "history":
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            found["step"], found["loss"] = row.get("_step", found["step"]), row.get("loss")
        elif kind == "exit":
            found["exit"] = record.exit.exit_code
    print(json.dumps(found))
