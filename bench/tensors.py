"""tensors: how much of a checkpoint is the same as the one before, and what run-sync sends of it. Nothing is timed."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass

from harness import BENCH, CHECKOUT, MIB, Failed, Goal, Refused, number
from truth.install import Missing, complete, execute, note, place

PROGRAMS = []
PEFT = "peft==0.12.0"  # the last one for the trainers that tests/setup installs
TRAINERS = CHECKOUT / "target/trainers"
TIMEOUT_S = 900
LEAST = 0.30  # what tensors would have to save of the first way, by the issue that asked for them
WAYS = {
    "adapter": "LoRA, as PEFT saves",
    "with-base": "LoRA, base in each checkpoint",
    "merged": "LoRA, merged in each checkpoint",
    "full": "full fine-tune",
    "ppo": "PPO, Stable Baselines 3",
    "dqn": "DQN, safetensors",
}


@dataclass
class Found:
    """Bytes of all checkpoints but the first of a run."""

    bytes: int = 0
    files: int = 0  # of files that equal one of an earlier checkpoint
    tensors: int = 0  # of tensors in other files, that equal one of the checkpoint before or of the same one
    sent: int = 0  # what run-sync sent


def peft():
    """Returns the directory of PEFT, installed for the trainers."""
    if not (TRAINERS / "bin/python3").is_file():
        raise Refused(f"no trainers in '{TRAINERS}': tests/setup installs them")
    directory, whole = place("peft")
    if not whole:
        note(PEFT)
        shutil.rmtree(directory, ignore_errors=True)
        try:
            execute(TRAINERS / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:",
                    "--no-deps", "--target", directory, PEFT)
        except Missing as error:
            raise Refused(f"{PEFT} could not be installed: {error}") from error
        complete(directory)
    return directory


def train(lab, way, count, quick):
    """Trains in one way, and returns the checkpoints in their order: each is a directory or a file."""
    target = lab.fresh(way)
    print(f"tensors: {WAYS[way]}", file=sys.stderr)
    command = [TRAINERS / "bin/python3", BENCH / "helper/save_checkpoints.py", way, target, str(count)]
    blas = {name: value for name, value in os.environ.items() if name.startswith("OPENBLAS_")}  # some processors need it
    environment = {**blas, **lab.environment(lab.root), "PYTHONPATH": str(peft()), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([*command, "small"] if quick else command, cwd=lab.root, env=environment, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False)
    checkpoints = sorted(target.iterdir(), key=lambda path: int("".join(c for c in path.name if c.isdigit())))
    if done.returncode or len(checkpoints) != count:
        raise Failed(f"{WAYS[way]}: {len(checkpoints)} of {count} checkpoints, status {done.returncode}\n{done.stderr[-2000:]}")
    return checkpoints


def files_of(checkpoint):
    """Returns the files of a checkpoint."""
    return [checkpoint] if checkpoint.is_file() else [path for path in sorted(checkpoint.rglob("*")) if path.is_file()]


def tensors_of(content):
    """Returns length and hash of each tensor of a safetensors file: eight bytes say how long its header is."""
    start = 8 + int.from_bytes(content[:8], "little")
    places = [tensor["data_offsets"] for name, tensor in json.loads(content[8:start]).items() if name != "__metadata__"]
    return [(end - begin, hashlib.sha256(content[start + begin:start + end]).digest()) for begin, end in places]


def compare(checkpoints):
    """Compares each checkpoint with those before it."""
    found, files, before = Found(), set(), set()
    for checkpoint in checkpoints:
        tensors = set()
        for path in files_of(checkpoint):
            content = path.read_bytes()
            digest = hashlib.sha256(content).digest()
            is_known = digest in files
            found.bytes += len(content)
            found.files += len(content) if is_known else 0
            for tensor in tensors_of(content) if path.suffix == ".safetensors" else ():
                is_equal = tensor in before or tensor in tensors
                found.tensors += tensor[0] if is_equal and not is_known else 0
                tensors.add(tensor)
            files.add(digest)
        if checkpoint == checkpoints[0]:
            found = Found()
        before = tensors
    return found


def send(lab, checkpoints):
    """Backs a run up after each checkpoint, and returns the bytes that were sent after the first."""
    cwd, store, sent = lab.fresh("run"), lab.fresh("store"), []
    run = cwd / lab.output([lab.binaries / "run-new", "-d", "runs", "-n", "bench", "--", "true"], cwd).strip()
    (run / "checkpoints").mkdir()
    for checkpoint in checkpoints:
        checkpoint.rename(run / "checkpoints" / checkpoint.name)
        line = lab.output([lab.binaries / "run-sync", "backup", "--json", "--to", store, run], cwd)
        sent.append(json.loads(line)["sent_bytes"])
    for directory in (cwd, store):
        shutil.rmtree(directory)
    return sum(sent[1:])


def versions():
    """Returns the versions of the libraries that train, in a line."""
    names = ("torch", "transformers", "safetensors", "stable_baselines3")
    program = f"import importlib.metadata as m; print(', '.join(f'{{n}} {{m.version(n)}}' for n in {names}))"
    return f"{execute(TRAINERS / 'bin/python3', '-c', program).strip()}, {PEFT.replace('==', ' ')}."


def share(part, whole):
    """Formats a share."""
    return f"{100 * part / whole:.1f} %"


def run(lab, _, quick):
    """Trains in all ways; returns title, tables, notes, goals and raw numbers."""
    if not lab.binaries:
        raise Refused("tensors needs run-new and run-sync")
    count = 3 if quick else 5
    rows, raw = [], []
    for way, name in WAYS.items():
        checkpoints = train(lab, way, count, quick)
        found = compare(checkpoints)
        found.sent = send(lab, checkpoints)
        raw.append({"way": way, "checkpoints": count, **asdict(found)})
        rows.append([name, number(found.bytes / MIB), share(found.files, found.bytes), share(found.tensors, found.bytes),
                     number(found.sent / MIB), share(found.tensors, found.sent)])
    heads = ("", "MiB", "in equal files", "in equal tensors", "sent, MiB", "tensors would save")
    first = raw[0]["tensors"] / raw[0]["sent"]
    verdict = "are worth references of their own" if first >= LEAST else "get no references of their own: they are left out"
    notes = [
        versions(),
        f"{count} checkpoints a run; the first, which is all new, is not counted. A file is equal if an earlier checkpoint has "
        "its bytes; a tensor, in a safetensors file that is not, if the checkpoint before, or the same one, has its bytes.",
        "The optimizer of Trainer, and all of Stable Baselines 3, are pickles of PyTorch, in which no tensor is looked for.",
        f"Tensors would save {100 * first:.1f} % of the first way, and {100 * LEAST:.0f} % were asked for: they {verdict}.",
    ]
    goals = [Goal(f"sent of {row['way']}, beside its bytes without equal files",
                  row["sent"] / (row["bytes"] - row["files"]), 1.01) for row in raw]
    return "tensors: what is the same in the next checkpoint", [("runs", heads, rows)], notes, goals, raw
