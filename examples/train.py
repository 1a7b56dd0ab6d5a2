#!/usr/bin/env python3
"""Trains a small network on handwritten digits: a trainer that cooperates with run-exec.

It needs only Python 3.9. It cooperates in four ways; copy those you like:

  metrics      it appends one JSON object a line to $RUN_METRICS
  checkpoints  it saves its whole state below $RUN_DIR, under names that contain the step
  stop         on SIGTERM, SIGINT or when $RUN_STOP_FILE exists it saves and exits with status 0
  resume       it resumes from $RUN_RESUME_FROM, and ends with exactly the numbers of an uninterrupted run

Without run-exec it does the same below the current directory.
"""

import argparse
import gzip
import json
import math
import os
import pickle
import random
import re
import signal
import sys
from operator import add, mul
from pathlib import Path

DATA = Path(__file__).resolve().with_name("digits.csv.gz")
KEEP = 3  # checkpoints
DEFAULTS = {
    "seed": 1,
    "total_steps": 2000,
    "batch_size": 32,
    "hidden": 32,
    "lr": 0.05,
    "momentum": 0.9,
    "log_every": 20,
    "eval_every": 100,
    "save_every": 200,
}


def main():
    stop = Stop(os.environ.get("RUN_STOP_FILE"))  # first, so that no early signal is missed
    sys.stdout.reconfigure(line_buffering=True)  # so that a line appears at once, even in a pipe
    options = read_options()
    run_dir = Path(os.environ.get("RUN_DIR", "."))
    folder = run_dir / "checkpoints"
    train, test = read_digits()

    state = resume(folder) or begin(options)
    weights, total = state["weights"], options.total_steps
    if len(weights[0]) != options.hidden:
        raise ValueError(f"the checkpoint has {len(weights[0])} hidden units, not {options.hidden}")

    log = os.environ.get("RUN_METRICS") or run_dir / "metrics.jsonl"
    with open(log, "a", buffering=1) as metrics:  # a row is a single write: no reader sees half of it
        while state["step"] < total and not stop.asked():
            state["step"] += 1
            step = state["step"]
            images, labels = zip(*state["rng"].sample(train, options.batch_size))
            loss, gradient = backward(weights, images, labels)
            if not math.isfinite(loss):
                raise FloatingPointError(f"loss is {loss} at step {step}")
            descend(state, gradient, options.lr, options.momentum)

            row = {"step": step, "loss": loss}
            if step % options.eval_every == 0 or step == total:
                row["test_accuracy"] = share = accuracy(weights, *zip(*test))
                print(f"step {step}/{total}  loss {loss:.4g}  test accuracy {share:.3f}")
            if step % options.log_every == 0 or "test_accuracy" in row:
                metrics.write(json.dumps(row) + "\n")
            if step % options.save_every == 0:
                save(folder, state)

    save(folder, state)
    stop.ignore()
    why = "done" if state["step"] >= total else "asked to stop"
    print(f"{why}: step {state['step']} of {total} is saved in {folder}")


class Stop:
    """Knows whether an end was requested: by SIGTERM, SIGINT or the stop file.

    The handler only takes a note. The loop looks at it between two steps, where the state is whole.
    """

    def __init__(self, path):
        self.path = path
        self.signalled = False
        signal.signal(signal.SIGTERM, self.take_note)
        signal.signal(signal.SIGINT, self.take_note)

    def take_note(self, _number, _frame):
        self.signalled = True

    def ignore(self):
        """Ignores late signals, so that they do not change the exit status after the work is done."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def asked(self):
        return self.signalled or (self.path is not None and os.path.exists(self.path))


def read_options():
    """Returns the options: from the environment, else the command line, else the config."""
    parser = argparse.ArgumentParser(
        description="Train a small network on handwritten digits.", allow_abbrev=False
    )
    parser.add_argument("--config", metavar="FILE", help="a JSON object of the options below")
    for key, value in DEFAULTS.items():
        kind = type(value)
        parser.add_argument(f"--{key}", type=kind, default=value, metavar=kind.__name__)
    config = parser.parse_known_args()[0].config
    if config is not None:
        with open(config) as file:
            values = json.load(file)
        unknown = values.keys() - DEFAULTS.keys()
        if unknown:
            parser.error(f"{config}: unknown: {', '.join(sorted(unknown))}")
        parser.set_defaults(**values)
    options = parser.parse_args()
    # run-exec takes precedence: its --additional-steps exceed the number in the config.
    options.seed = int(os.environ.get("RUN_SEED") or options.seed)
    options.total_steps = int(os.environ.get("RUN_TOTAL_STEPS") or options.total_steps)
    return options


# State and checkpoints. The state is everything that the next step depends on, and nothing else.


def begin(options):
    """Returns the state before the first step."""
    rng = random.Random(options.seed)
    shapes = [(options.hidden, 64 + 1), (10, options.hidden + 1)]  # outputs; inputs and a bias

    def drawn(outputs, inputs):
        spread = math.sqrt(2 / inputs)
        return [[rng.gauss(0, spread) for _ in range(inputs)] for _ in range(outputs)]

    return {
        "step": 0,
        "weights": [drawn(*shape) for shape in shapes],
        "velocity": [[[0.0] * inputs for _ in range(outputs)] for outputs, inputs in shapes],
        "rng": rng,  # draws the batches: without it, a resumed run would see other batches
    }


def resume(folder):
    """Returns the state in the checkpoint that run-exec chose, else in the latest; else None."""
    found = checkpoints(folder)
    chosen = os.environ.get("RUN_RESUME_FROM") or (found[-1][1] if found else None)
    if chosen is None:
        return None
    with open(chosen, "rb") as file:
        state = pickle.load(file)
    for step, path in found:
        if step > state["step"]:  # of an abandoned course: kept, but never the latest again
            path.rename(f"{path}.superseded")
    print(f"resumed at step {state['step']} from {chosen}")
    return state


def save(folder, state):
    """Saves a checkpoint. It gets its name last: after a crash it is complete or missing."""
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / "model.tmp"
    with open(scratch, "wb") as file:
        pickle.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(scratch, folder / f"model_{state['step']}.ckpt")
    for _, path in checkpoints(folder)[:-KEEP]:
        path.unlink()


def checkpoints(folder):
    """Returns the checkpoints in `folder` as (step, path), oldest first: 1000 comes after 200."""
    named = ((re.fullmatch(r"model_(\d+)\.ckpt", path.name), path) for path in folder.glob("*"))
    return sorted((int(match[1]), path) for match, path in named if match)


# The network: 64 pixels, a hidden layer with ReLU, 10 digits. A matrix is a list of rows.


def read_digits():
    """Returns the images for training and for testing: lists of (65 numbers, label)."""
    with gzip.open(DATA, "rt") as file:
        rows = [[int(field) for field in line.split(",")] for line in file]
    digits = [([pixel / 16 for pixel in pixels] + [1.0], label) for *pixels, label in rows]
    test = digits[::5]  # the same for every seed, so that seeds can be compared
    del digits[::5]
    return digits, test


def product(a, b):
    """Returns a times b transposed: every row of a with every row of b."""
    return [[sum(map(mul, left, right)) for right in b] for left in a]


def transposed(matrix):
    return list(zip(*matrix))


def forward(weights, images):
    """Returns the outputs of the hidden layer and the output layer. The last 1.0 feeds the bias."""
    hidden = [[max(value, 0.0) for value in row] + [1.0] for row in product(images, weights[0])]
    return hidden, product(hidden, weights[1])


def backward(weights, images, labels):
    """Returns the mean cross-entropy of a batch, and its gradient by the weights."""
    hidden, outputs = forward(weights, images)
    loss, errors = 0.0, []
    for row, label in zip(outputs, labels):
        top = max(row)
        log_total = top + math.log(sum(math.exp(value - top) for value in row))
        loss += (log_total - row[label]) / len(labels)
        chances = [math.exp(value - log_total) for value in row]
        chances[label] -= 1.0
        errors.append([chance / len(labels) for chance in chances])
    by_hidden = product(errors, transposed(weights[1]))
    hidden_errors = [
        [e if h > 0 else 0.0 for e, h in zip(*rows)] for rows in zip(by_hidden, hidden)
    ]
    return loss, [
        product(transposed(hidden_errors)[:-1], transposed(images)),  # nothing flows into the bias
        product(transposed(errors), transposed(hidden)),
    ]


def descend(state, gradient, lr, momentum):
    """Takes a step down the gradient, with momentum."""
    for layer, slopes in enumerate(gradient):
        for weight, speed, slope in zip(state["weights"][layer], state["velocity"][layer], slopes):
            speed[:] = [momentum * v - lr * g for v, g in zip(speed, slope)]
            weight[:] = map(add, weight, speed)


def accuracy(weights, images, labels):
    """Returns the share of images that are recognised."""
    _, outputs = forward(weights, images)
    return sum(row.index(max(row)) == label for row, label in zip(outputs, labels)) / len(labels)


if __name__ == "__main__":
    main()
