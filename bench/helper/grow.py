"""grow.py FILES ROWS SECONDS: appends that many rows a second to each of some files in logs/, as a program that trains."""

import os
import sys
import time

files, rows, seconds = (int(word) for word in sys.argv[1:])
os.makedirs("logs", exist_ok=True)
logs = [open(f"logs/part_{number:02}.jsonl", "a", buffering=1, encoding="utf-8") for number in range(files)]
begin = time.monotonic()
for step in range(rows * seconds):
    for number, log in enumerate(logs):
        log.write(f'{{"step": {step}, "loss_{number}": {1 / (step + 1):.6f}, "lr_{number}": 0.0003, "time_{number}": {step * 0.1:.3f}}}\n')
    time.sleep(max(0, begin + (step + 1) / rows - time.monotonic()))
