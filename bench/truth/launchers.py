"""Tools that start commands: run-exec, nohup, GNU parallel, task-spooler, pueue, systemd-run."""

import json
import os
import shlex
import signal
import uuid
from pathlib import Path

from harness import Failed
from truth.cell import pause, wait_for
from truth.install import Missing, cargo, debian, execute
from truth.judge import (COMPLETED, DEAD, DOUBT, EXIT_0, FAILURE, GONE, OUTLIVED, QUIET, RUNNING, SIGNAL,
                         STOPPED, WAITING, Says)
from truth.peer import Peer, first_line, silent

ASK_S = 20


class RunExec(Peer):
    """Our own."""

    name, title, question = "run-exec", "run-exec", "`run-status trial`"
    is_directory = has_client = has_queue = records_boot = True
    quiet_s = 60  # from when on a list says `quiet`

    def install(self, lab):
        if not lab.binaries:
            raise Missing("left out")
        self.bin = lab.binaries
        return execute(self.bin / "run-exec", "--version").split()[-1]

    def environment(self, cell):
        return {"PATH": f"{self.bin}:{cell.lab.environment(cell.home)['PATH']}"}

    def create(self, cell, name="trial", command=None):
        cell.check('run-new -n "$@"', name, "--", *(command or cell.command()))

    def start(self, cell):
        self.create(cell)
        cell.shell("run-exec --detach trial >exec.log 2>&1")

    def foreground(self, cell):
        self.create(cell)
        return "run-exec trial"

    def stop(self, cell):
        cell.shell("run-stop trial")

    def supervisor(self, cell):
        return self.status(cell)["pid"]

    def client(self, cell):
        [front] = [process.pid for process in cell.named("run-exec") if process.pid != self.supervisor(cell)]
        return front

    def queue(self, cell):
        self.create(cell, "first")
        self.create(cell, command=[*cell.command()[:2], str(cell.judged)])
        cell.check("run-exec --detach -j 1 first trial >exec.log 2>&1")
        cell.wait_for_steps()
        supervisor = cell.parent(cell.main, "run-exec")
        return [process.pid for process in cell.named("run-exec") if process.pid != supervisor]

    def reboot(self, cell):
        here = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        for path in (cell.home / "runs/trial/.run").iterdir():
            if path.is_file():
                path.write_bytes(path.read_bytes().replace(here.encode(), str(uuid.uuid4()).encode()))

    def status(self, cell):
        status, text = cell.shell('run-status --json -d "$1" trial', cell.asked_home / "runs", seconds=ASK_S)
        if status != 0:
            return {"status": None, "reason": first_line(text)}
        return json.loads(text)

    def ask(self, cell):
        run = self.status(cell)
        words = f"{run['status']}: {run['reason']}" if run["reason"] else run["status"]
        if run["status"] == "running" and run["quiet_s"] >= self.quiet_s:
            return Says(QUIET, f"running (quiet {run['quiet_s']:.0f}s)")
        if run["status"] == "completed" and "outlived" in (run["reason"] or ""):
            return Says(OUTLIVED, words)
        if run["status"] == "failed" and run["signal"]:
            return Says(SIGNAL, words)
        claims = {"created": WAITING, "queued": WAITING, "running": RUNNING, "completed": COMPLETED,
                  "failed": FAILURE, "stopped": STOPPED, "dead": DEAD, "stale": DOUBT}
        return Says(claims[run["status"]], words) if run["status"] else silent(run["reason"])


class Nohup(Peer):
    """A shell, and the pid in a file."""

    name, title, question = "nohup", "nohup and a pid file", "`ps -p $(cat train.pid)`"
    is_directory = True
    has_supervisor = False

    def install(self, lab):
        return execute("dpkg-query", "-W", "-f", "${Version}", "coreutils")

    def foreground(self, cell):
        return f"nohup {shlex.join(cell.command())} >train.log 2>&1 </dev/null & echo $! >train.pid"

    def start(self, cell):
        cell.check(self.foreground(cell))

    def stop(self, cell):
        cell.check("kill $(cat train.pid)")

    def ask(self, cell):
        status, text = cell.shell('ps -p "$(cat "$1/train.pid")"', cell.asked_home)
        if status != 0:
            return Says(GONE, "no such process")
        line = " ".join(text.splitlines()[-1].split())
        return Says(GONE if "<defunct>" in line else RUNNING, line)


class Parallel(Peer):
    """GNU parallel with a job log; its own process lists the jobs at work."""

    name, title = "parallel", "GNU parallel"
    question = "`cat joblog`; for those at work `kill -USR1`"
    is_directory = has_queue = True

    def install(self, lab):
        self.program, version = debian("parallel", "parallel")
        return version

    def line(self, cell, *places):
        command, inputs = shlex.join(cell.command()[:2]), shlex.join(map(str, places))
        return f"{self.program} --will-cite -j1 --joblog joblog {command} ::: {inputs}"

    def background(self, cell, *places):
        cell.check(f"nohup {self.line(cell, *places)} >parallel.log 2>&1 & echo $! >parallel.pid")

    def start(self, cell):
        self.background(cell, cell.place)

    def foreground(self, cell):
        return self.line(cell, cell.place)

    def stop(self, cell):
        cell.check("kill $(cat parallel.pid)")

    def supervisor(self, cell):
        return int((cell.home / "parallel.pid").read_text())

    def queue(self, cell):
        self.background(cell, cell.place, cell.judged)
        cell.wait_for_steps()
        return [self.supervisor(cell)]

    def ask(self, cell):
        log = cell.asked_home / "joblog"
        rows = [line.split("\t") for line in log.read_text().splitlines()[1:]] if log.exists() else []
        for row in rows:
            if len(row) > 8 and str(cell.judged) in row[8]:
                words = f"Exitval {row[6]}, Signal {row[7]}"
                return Says(SIGNAL if row[7] != "0" else EXIT_0 if row[6] == "0" else FAILURE, words)
        # A copy has no process, and one that was started in a terminal prints its list there.
        if cell.asked_home != cell.home or not (cell.home / "parallel.pid").exists():
            return silent("no line in the joblog")
        pid = self.supervisor(cell)
        if not cell.parent(pid, "perl", "parallel"):
            return silent("no line in the joblog")

        def listed():
            lines = (cell.home / "parallel.log").read_text(errors="replace").splitlines()
            return [line for line in lines if line.startswith("parallel: ")]

        before = len(listed())
        cell.kill(pid, number=signal.SIGUSR1)
        try:
            wait_for("the list", lambda: len(listed()) > before, 5)
        except Failed:
            return silent("no line in the joblog; no answer to SIGUSR1")
        if str(cell.judged) in listed()[-1]:
            return Says(RUNNING, "no line in the joblog; lists it as running")
        return silent("no line in the joblog; does not list it as running")


class TaskSpooler(Peer):
    """task-spooler, on Debian `tsp`."""

    name, title, question = "tsp", "task-spooler", "`tsp`, `tsp -i ID`"
    has_client = has_queue = True

    def install(self, lab):
        self.program, version = debian("task-spooler", "tsp")
        return version

    def environment(self, cell):
        return {"TS_SOCKET": str(cell.home / "socket")}

    def start(self, cell):
        cell.data["id"] = cell.check(f"{self.program} {shlex.join(cell.command())}").strip()

    def foreground(self, cell):
        cell.data["id"] = "0"
        return f"{self.program} {shlex.join(cell.command())}"

    def stop(self, cell):
        cell.check(f'{self.program} -k "$1"', cell.data["id"])

    def supervisor(self, cell):
        # The server is the one that is no parent of the training, and no client that waits.
        clients = {self.client(cell)}
        return next(process.pid for process in cell.named("tsp") if process.pid not in clients)

    def client(self, cell):
        return cell.parent(cell.main, "tsp")

    def queue(self, cell):
        self.start(cell)
        cell.wait_for_steps()
        words = [*cell.command()[:2], str(cell.judged)]
        cell.data["id"] = cell.check(f"{self.program} {shlex.join(words)}").strip()
        last = str(cell.judged)
        return [process.pid for process in cell.named("tsp") if process.args.endswith(last)]

    def ask(self, cell):
        status, text = cell.shell(self.program, seconds=ASK_S)
        if status is None:
            return silent(text)
        for line in text.splitlines()[1:]:
            words = line.split()
            if words and words[0] == cell.data["id"]:
                break
        else:
            return silent("its list is empty" if status == 0 else first_line(text))
        if words[1] in ("queued", "running"):
            return Says(WAITING if words[1] == "queued" else RUNNING, words[1])
        level = words[3]
        _, more = cell.shell(f'{self.program} -i "$1"', cell.data["id"], seconds=ASK_S)
        said, why = f"{words[1]}, E-Level {level}", first_line(more, "Exit status")
        if "signal" in why:
            return Says(SIGNAL, f"{said}; {why}")
        return Says(EXIT_0 if level == "0" else FAILURE, said)


class Pueue(Peer):
    """pueue and its daemon, which is started again when it is gone, as the client asks to."""

    name, title, question = "pueue", "pueue", "`pueue status --json`, `pueued -d` before it if that is gone"
    has_queue = True

    def install(self, lab):
        self.bin, version = cargo("pueue")
        return version

    def environment(self, cell):
        return {"PATH": f"{self.bin}:{cell.lab.environment(cell.home)['PATH']}"}

    def prepare(self, cell):
        cell.check("pueued -d >pueued.log 2>&1")
        wait_for("pueued", lambda: cell.shell("pueue status")[0] == 0)

    def add(self, cell, words):
        return cell.check('pueue add --print-task-id -- "$@"', *words).strip()

    def start(self, cell):
        self.prepare(cell)
        cell.data["id"] = self.add(cell, cell.command())

    def foreground(self, cell):
        cell.data["id"] = "0"
        wait = "until pueue status >pueue.log 2>&1; do sleep 0.1; done"
        return f"pueued -d; {wait}; pueue add -- {shlex.join(cell.command())}"

    def stop(self, cell):
        cell.check('pueue kill --signal sigterm "$1"', cell.data["id"])

    def supervisor(self, cell):
        return cell.named("pueued")[0].pid

    def queue(self, cell):
        self.start(cell)
        cell.wait_for_steps()
        cell.data["id"] = self.add(cell, [*cell.command()[:2], str(cell.judged)])
        return [self.supervisor(cell)]

    def ask(self, cell):
        status, text = cell.shell("pueue status --json", seconds=ASK_S)
        if status is None:
            return silent(text)
        if status != 0:
            if "Did you start it" not in text:
                return silent(first_line(text))
            cell.data["before"] = "no daemon; after `pueued -d`: "
            cell.shell("pueued -d", seconds=ASK_S)
            pause(1)
            status, text = cell.shell("pueue status --json", seconds=ASK_S)
            if status != 0:
                return silent("no daemon, nor after `pueued -d`")
        before = cell.data.get("before", "")
        task = json.loads(text)["tasks"].get(cell.data["id"])
        if task is None:
            return silent(before + "no such task")
        state = task["status"]
        [word] = [state] if isinstance(state, str) else state
        if word != "Done":
            claims = {"Running": RUNNING, "Queued": WAITING, "Stashed": WAITING}
            return Says(claims.get(word, DOUBT), before + word)
        result = state["Done"]["result"]
        [word] = [result] if isinstance(result, str) else result
        if isinstance(result, dict):
            return Says(FAILURE, f"{before}{word} ({result[word]})")
        return Says({"Success": COMPLETED, "Killed": SIGNAL}.get(word, FAILURE), before + word)


class SystemdRun(Peer):
    """A transient unit of the user's manager, or of the system's for root."""

    name, title, question = "systemd-run", "systemd-run", "`systemctl show UNIT`"
    has_supervisor = False  # but for the manager, which is not to be killed

    def install(self, lab):
        if not Path("/run/systemd/system").exists():
            raise Missing("this machine was not booted with systemd")
        self.scope = "" if os.geteuid() == 0 else "--user "
        return execute("systemd-run", "--version").split()[1]

    def environment(self, cell):
        return {name: os.environ[name] for name in ("XDG_RUNTIME_DIR",) if name in os.environ}

    def unit(self, cell):
        return f"{cell.mark}.service"

    def line(self, cell):
        words = shlex.join(["--unit", self.unit(cell), "--working-directory", str(cell.home), *(
            f"--setenv={name}={value}" for name, value in cell.environment().items())])
        return f"systemd-run {self.scope}--quiet --remain-after-exit {words} {shlex.join(cell.command())}"

    def start(self, cell):
        cell.shell(self.line(cell))

    def foreground(self, cell):
        return self.line(cell)

    def stop(self, cell):
        cell.check(f'systemctl {self.scope}stop "$1"', self.unit(cell))

    def ask(self, cell):
        fields = "ActiveState,SubState,Result,ExecMainCode,ExecMainStatus,TasksCurrent"
        script = f'systemctl {self.scope}show -p "$1" "$2"'
        status, text = cell.shell(script, fields, self.unit(cell), seconds=ASK_S)
        if status != 0:
            return silent(first_line(text))
        found = dict(line.split("=", 1) for line in text.splitlines())
        words = f"{found['ActiveState']} ({found['SubState']}), Result {found['Result']}"
        if found["SubState"] == "running":
            return Says(RUNNING, words)
        if found["ExecMainCode"] == "0":
            return silent(words)  # the unit is forgotten
        words += f", status {found['ExecMainStatus']}"
        if found["TasksCurrent"] not in ("0", "[not set]"):
            return Says(DOUBT, f"{words}, {found['TasksCurrent']} tasks")
        if found["ExecMainCode"] != "1":
            return Says(SIGNAL, words)
        return Says(COMPLETED if found["ExecMainStatus"] == "0" else FAILURE, words)

    def clean(self, cell):
        for word in ("stop", "reset-failed"):
            cell.shell(f'systemctl {self.scope}{word} "$1"', self.unit(cell))
