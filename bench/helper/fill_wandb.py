"""fill_wandb.py ROWS: makes an offline run of W&B of so many rows of four metrics in ./wandb."""

import sys

import wandb

with wandb.init(project="bench", config={"lr": 0.001, "seed": 1}) as run:
    for step in range(int(sys.argv[1])):
        run.log({"loss": 1 / (step + 1), "accuracy": step / 100, "lr": 0.001, "grad_norm": 0.5})
