"""train.py PLACE [TRACKER]: the training that all tools get: a line is fitted to noise, in steps of 50 ms.

Each step prints a row of JSON; every fifth step saves a checkpoint in PLACE, and on SIGTERM and SIGINT so
does the last one, with status 0. TRACKER, mlflow or wandb, logs the loss as its manual shows.

For the harness, it keeps a journal of its processes and of how it ended in PLACE/journal, and what step it
is at in PLACE/beat. It obeys PLACE/order, a word that the harness writes there to make it end, fork or hang.
"""

import ctypes
import json
import os
import random
import signal
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

STEPS, STEP_S, SAVE_EVERY, LOG_EVERY = 100_000, 0.05, 5, 20


class Place:
    """The directory of a cell, as the training knows it."""

    def __init__(self, path):
        self.path = Path(path)
        self.asked = False  # to stop
        self.journal("start")

    def journal(self, event, **more):
        """Appends a line, whole or not at all."""
        start = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        line = json.dumps({"event": event, "pid": os.getpid(), "start": start, **more}) + "\n"
        file = os.open(self.path / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(file, line.encode())
        os.close(file)

    def replace(self, name, text):
        """Replaces a file whole."""
        scratch = self.path / f".{name}.{os.getpid()}"
        scratch.write_text(text)
        scratch.rename(self.path / name)

    def order(self):
        """Takes the order that the harness gave, if there is one."""
        try:
            word = (self.path / "order").read_text()
        except FileNotFoundError:
            return None
        (self.path / "order").unlink()
        self.journal("order", word=word)
        return word


@contextmanager
def tracked(tracker, place):
    """Opens a run of the tracker as its manual shows; yields what logs a loss."""
    if tracker == "mlflow":
        import mlflow
        with mlflow.start_run() as run:
            place.replace("run-id", run.info.run_id)
            yield lambda step, loss: mlflow.log_metric("loss", loss, step=step)
    elif tracker == "wandb":
        import wandb
        with wandb.init(project="truth", mode="offline") as run:
            place.replace("run-id", run.id)
            yield lambda step, loss: run.log({"loss": loss}, step=step)
    else:
        yield lambda step, loss: None


class Training:
    """Fits a line until it has taken all steps, is asked to stop, or gets an order to be in trouble."""

    def __init__(self, place, log):
        self.place, self.log = place, log
        self.is_mute, self.step, self.weight, self.bias = False, 0, 0.0, 0.0
        saved = sorted(place.path.glob("step_*.json"), key=lambda path: int(path.stem[5:]))
        if saved:
            self.step, self.weight, self.bias = json.loads(saved[-1].read_text())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.ask)

    def ask(self, *_):
        """Takes note of a request to stop."""
        self.place.asked = True

    def save(self):
        """Saves a checkpoint; the newest three are kept."""
        self.place.replace(f"step_{self.step}.json", json.dumps([self.step, self.weight, self.bias]))
        old = sorted(self.place.path.glob("step_*.json"), key=lambda path: int(path.stem[5:]))[:-3]
        for path in old:
            path.unlink()

    def train(self):
        """Takes steps to the end, and returns whether all were taken."""
        while self.step < STEPS and not self.place.asked:
            self.step += 1
            x = random.random()
            error = self.weight * x + self.bias - (2 * x + 1 + random.gauss(0, 0.1))
            self.weight -= 0.1 * error * x
            self.bias -= 0.1 * error
            if not self.is_mute:
                print(json.dumps({"step": self.step, "loss": error * error}), flush=True)
            self.place.replace("beat", str(self.step))
            if self.step % SAVE_EVERY == 0:
                self.save()
            if self.step % LOG_EVERY == 0:
                self.log(self.step, error * error)
            self.obey(self.place.order())
            time.sleep(STEP_S)
        self.save()
        return self.step >= STEPS

    def obey(self, word):
        """Gets into the trouble that the harness wants."""
        if word == "finish":
            self.step = STEPS
        elif word == "fail":
            raise RuntimeError("loss is not finite")
        elif word == "mute":
            self.is_mute = True
        elif word == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        elif word == "silence":
            while not self.place.asked:
                time.sleep(0.1)
        elif word == "memory":
            taken = []
            while True:
                taken.append(b"\1" * (16 << 20))
        elif word == "fork":
            self.leave()
        elif word == "thread":
            threading.Thread(target=ended, args=(self.place, self.train)).start()
            # The main thread ends, and its process is a zombie whose other thread trains on.
            ctypes.CDLL(None).pthread_exit(None)

    def leave(self):
        """Trains on in a process that no longer descends from this one, which exits with 0."""
        if os.fork() == 0:
            os.setsid()
            if os.fork() != 0:
                os._exit(0)
            self.place.journal("start")
            return
        os.wait()
        self.place.journal("end", status=0, asked=False, whole=False)
        os._exit(0)


def ended(place, train):
    """Trains, and journals how that ended."""
    try:
        whole = train()
    except BaseException:
        place.journal("end", status=1, asked=place.asked, whole=False)
        raise
    place.journal("end", status=0, asked=place.asked, whole=whole)


def main(path, tracker=None):
    """Trains as the tracker wants it."""
    place = Place(path)

    def train():
        with tracked(tracker, place) as log:
            return Training(place, log).train()

    ended(place, train)


if __name__ == "__main__":
    main(*sys.argv[1:])
