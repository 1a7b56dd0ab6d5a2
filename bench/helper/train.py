"""train.py END: a short training: fifty rows of four metrics, then an END: completed, failed or stopped."""

import json
import math
import os
import signal
import sys

with open(os.environ["RUN_METRICS"], "w", encoding="utf-8") as metrics:
    for step in range(1, 51):
        loss = 2.5 * math.exp(-step / 20) + 0.01 * math.sin(step)
        row = {"step": step, "loss": loss, "accuracy": 1 - loss / 3, "lr": 0.001, "grad_norm": 1 / step}
        metrics.write(json.dumps(row) + "\n")
        print(f"step {step}: loss {loss:.4f}")
if sys.argv[1] == "stopped":
    open(os.environ["RUN_STOP_FILE"], "w", encoding="utf-8").close()
    signal.pause()  # the request is seen within a second, and ends this
if sys.argv[1] == "failed":
    raise RuntimeError("loss is not finite")
