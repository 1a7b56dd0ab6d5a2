"""A cell of the table: one training under one tool, in a place of its own, of which nothing is left over."""

import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import Failed

HERE = Path(__file__).resolve().parent
TRAINER = HERE / "train.py"
START_S, DISK_MIB, MEMORY_MIB = 180, 48, 768
STRANGER = "import time; time.sleep(600)"  # as another training: ps calls both python3


class Skip(Exception):
    """The tool has no such part, or the machine cannot show this."""


class Interrupted(Exception):
    """The benchmark is to end."""


ending = threading.Event()  # set when the benchmark is to end


def pause(seconds):
    """Sleeps, but no longer than the benchmark lasts."""
    if ending.wait(seconds):
        raise Interrupted


@dataclass(frozen=True)
class Process:
    """A process that a cell has started, directly or not."""

    pid: int
    parent: int
    name: str
    args: str


def stat(pid):
    """Returns the fields of /proc/PID/stat from the state on, or None when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def is_alive(pid, start):
    """Returns whether a process still has a thread; its first one may have ended."""
    fields = stat(pid)
    if fields is None or int(fields[19]) != start:
        return False
    return any(state not in "ZX" for state in thread_states(pid))


def thread_states(pid):
    """Returns the states of all threads of a process."""
    states = []
    try:
        tasks = sorted(os.listdir(f"/proc/{pid}/task"), key=int)  # the main thread's is the least
    except OSError:
        return states
    for task in tasks:
        try:
            states.append(Path(f"/proc/{pid}/task/{task}/stat").read_text().rpartition(")")[2].split()[0])
        except OSError:
            pass
    return states


def environment_of(pid):
    """Returns the variables that a process was started with; its first thread may have ended."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    for task in tasks:
        try:
            if found := Path(f"/proc/{pid}/task/{task}/environ").read_bytes():
                return found.split(b"\0")
        except OSError:
            pass
    return []


def wait_for(what, condition, seconds=START_S, every=0.05):
    """Waits until a condition holds and returns its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise Failed(f"waited {seconds} s for {what}")
        pause(every)
    return value


class Cell:
    """One training under one tool."""

    def __init__(self, lab, number, peer, way):
        self.lab, self.peer, self.way = lab, peer, way
        self.name = f"{peer.name}/{way.name}"
        self.dir = lab.root / f"c{number:03}"  # short: sockets are made below it
        self.home = self.dir / "home"  # all that the tool writes
        self.place = self.dir / "place"  # all that the training keeps, beside what it prints
        self.mark = f"{lab.root.name}-{number:03}"
        self.found = True  # False: the command cannot be found
        self.asked_home = self.home  # where the tool is asked
        self.judged = self.place  # the training that is asked about
        self.data = {}  # what the tool's adapter remembers
        self.cgroup = None
        self.strangers = []
        for directory in (self.home, self.place):
            directory.mkdir(parents=True)

    # What runs in the cell.

    def environment(self):
        """Returns the environment of all that the cell starts; its mark tells its processes."""
        more = {"HOME": str(self.home), "TERM": "dumb", "TRUTH_CELL": self.mark,
                "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
        return {**self.lab.environment(self.home), **more, **self.peer.environment(self)}

    def shell(self, script, *words, seconds=START_S):
        """Executes a line of shell in the tool's directory; returns its status and what it printed. What
        stays in the background has to have its output elsewhere."""
        # With job control, as in a terminal: without it, what is in the background ignores SIGINT.
        command = ["bash", "-c", f"set -m\n{script}", "bash", *map(str, words)]
        if self.cgroup:
            command = ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(self.cgroup / "cgroup.procs"), *command]
        try:
            done = subprocess.run(command, cwd=self.home, env=self.environment(), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  errors="replace", timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            return None, f"no answer in {seconds} s"
        return done.returncode, done.stdout

    def check(self, script, *words):
        """The same; it has to succeed."""
        status, text = self.shell(script, *words)
        if status != 0:
            raise Failed(f"{script}: ended with {status}: {text[-500:]}")
        return text

    def processes(self):
        """Returns the processes of the cell, zombies left out."""
        found = []
        mark = f"TRUTH_CELL={self.mark}".encode()
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            if mark not in environment_of(entry):
                continue
            try:
                args = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ")
                name, fields = Path(f"/proc/{entry}/comm").read_text().strip(), stat(entry)
            except OSError:
                continue
            if fields:
                found.append(Process(int(entry), int(fields[1]), name, args.decode(errors="replace").strip()))
        return found

    def named(self, *names):
        """Returns the processes of the cell that have one of these names."""
        return [process for process in self.processes() if process.name in names]

    def parent(self, pid, *names):
        """Returns the nearest ancestor of a process that is of the cell and has one of these names."""
        known = {process.pid: process for process in self.processes()}
        process = known.get(pid)
        while process and process.name not in names:
            process = known.get(process.parent)
        return process.pid if process else None

    # The training.

    def command(self, python=sys.executable, tracker=None):
        """Returns the command of the training, as words."""
        program = python if self.found else "no-such-program"
        return [str(program), str(TRAINER), str(self.place), *([tracker] if tracker else [])]

    def journal(self, place=None):
        """Returns what the training has noted of itself."""
        try:
            lines = ((place or self.place) / "journal").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines]

    @property
    def main(self):
        """The main process of the training."""
        return next(event["pid"] for event in self.journal() if event["event"] == "start")

    def is_training(self):
        """Returns whether the training takes a step now."""
        def beat():
            try:
                return (self.judged / "beat").read_text()
            except FileNotFoundError:
                return None

        before, deadline = beat(), time.monotonic() + 2
        while time.monotonic() < deadline:
            time.sleep(0.1)
            if beat() != before:
                return True
        return False

    def start(self):
        """Starts the training as the tool's manual shows, and waits until it trains."""
        self.peer.start(self)
        self.wait_for_steps()

    def wait_for_steps(self):
        """Waits until the training has taken some steps, and the tool has had time to write of them."""
        wait_for("the training to start", lambda: (self.place / "beat").exists())
        wait_for("some steps", lambda: int((self.place / "beat").read_text()) >= 10)
        if self.peer.writes_late:
            wait_for("the tool to know of it", lambda: self.peer.ask(self).claim == "running", every=2)

    def wait_for_rest(self):
        """Waits until no process of the cell does anything: the tool has come to its conclusion."""
        def work():
            found = [(process.pid, stat(process.pid)) for process in self.processes()]
            if any(fields is None or fields[0] in "RD" for _, fields in found):
                return None
            return [(pid, fields[11], fields[12]) for pid, fields in found]  # user and system time

        before, deadline = None, time.monotonic() + START_S
        while (before is None or work() != before) and time.monotonic() < deadline:
            before = work()
            pause(1)

    def order(self, word):
        """Orders the training to get into trouble; it has taken note when this returns, or has ended."""
        self.place.joinpath(".order").write_text(word)
        self.place.joinpath(".order").rename(self.place / "order")
        wait_for(f"the order '{word}'", lambda: any(word == event.get("word") or event["event"] == "end"
                                                    for event in self.journal()))

    def kill(self, *pids, number=signal.SIGKILL):
        """Signals processes."""
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def kill_at_once(self, *pids):
        """Kills processes so that none sees another one go."""
        self.kill(*pids, number=signal.SIGSTOP)
        self.kill(*pids)

    def kill_all(self):
        """Kills all processes of the cell in the same way."""
        stopped = set()
        while new := {process.pid for process in self.processes()} - stopped:
            self.kill(*new, number=signal.SIGSTOP)
            stopped |= new
        self.kill(*stopped)
        wait_for("the killed to be gone", lambda: not self.processes(), 10)

    # What the ways need.

    def mount(self):
        """Puts a small file system below the tool."""
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "run-bench-truth", self.home]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Skip(f"no small file system can be made here: {done.stderr.strip()}")

    def fill(self):
        """Fills the file system of the tool, and waits until the training has printed more or has ended."""
        with open(self.home / "ballast", "wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(b"\0" * 4096)
            except OSError:
                pass
        step = int((self.place / "beat").read_text())
        wait_for("more steps, or an end", lambda: int((self.place / "beat").read_text()) > step + 4096 / 40
                 or self.journal()[-1]["event"] == "end")

    def limit_memory(self):
        """Makes a control group that all processes of the cell will be in."""
        first, second = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
        version_2 = (second / "cgroup.controllers").exists()
        group = (second if version_2 else first) / self.mark
        try:
            group.mkdir()
            self.cgroup = group
            if version_2:
                (group / "memory.max").write_text(f"{MEMORY_MIB}M")
                (group / "memory.swap.max").write_text("0")
            else:
                (group / "memory.limit_in_bytes").write_text(f"{MEMORY_MIB}M")
        except OSError as error:
            raise Skip(f"no control group for memory can be made here: {error.strerror}") from error

    def reuse(self, pid):
        """Gives a pid whose process is gone to a stranger."""
        wait_for(f"process {pid} to be gone", lambda: stat(pid) is None, 10)
        command = [sys.executable, HERE / "as_pid.py", str(pid), sys.executable, "-c", STRANGER]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        self.strangers.append(process)
        wait_for(f"another process {pid}", lambda: stat(pid) or process.poll() is not None, 10)
        if process.poll() is not None:
            raise Skip(f"no process can be given a pid here: {process.stderr.read().strip()}")

    @contextmanager
    def terminal(self, line):
        """A terminal with a shell, in which a line is typed; it closes in the end."""
        master, slave = os.openpty()
        shell = ["setsid", "-c", "bash", "--norc", "--noprofile", "-i"]
        process = subprocess.Popen(shell, cwd=self.home, env=self.environment(), stdin=slave, stdout=slave,
                                   stderr=slave)
        os.close(slave)
        fcntl.fcntl(master, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        is_open = True

        def read():
            while is_open:
                if select.select([master], [], [], 0.1)[0]:
                    try:
                        os.read(master, 1 << 16)
                    except OSError:  # the shell has ended
                        return

        reader = threading.Thread(target=read)
        reader.start()
        try:
            os.write(master, f"{line}\n".encode())
            yield
        finally:
            is_open = False
            reader.join()
            os.close(master)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def clean(self):
        """Ends what is left and removes it."""
        self.peer.clean(self)
        deadline = time.monotonic() + 20
        while (left := self.processes()) and time.monotonic() < deadline:
            self.kill(*(process.pid for process in left))
            time.sleep(0.05)
        if left:
            raise Failed(f"{self.name}: processes that cannot be ended: {left}")
        for process in self.strangers:
            process.terminate()  # which ends the stranger
            process.wait()
            process.stderr.close()
        while os.path.ismount(self.home):
            how = ["--lazy"] if time.monotonic() > deadline else []
            subprocess.run(["umount", *how, self.home], stderr=subprocess.DEVNULL, check=False)
            time.sleep(0.05)
        while self.cgroup:
            try:
                self.cgroup.rmdir()
                self.cgroup = None
            except OSError:  # its last process is on its way out
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        shutil.rmtree(self.dir, ignore_errors=True)
