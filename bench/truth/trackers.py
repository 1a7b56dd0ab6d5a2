"""Experiment trackers and Python launchers: MLflow, W&B offline, Guild AI, submitit."""

import json
import re
import shutil
import time

from truth.cell import HERE, TRAINER, pause, stat, wait_for
from truth.install import python
from truth.judge import (COMPLETED, FAILURE, GONE, QUIET, RUNNING, SIGNAL, STOPPED, WAITING, Says)
from truth.peer import Peer, first_line, silent

SLOW_S = 90  # mlflow takes seconds to be imported; submitit waits 15 s for a result that is not there
MLFLOW_STATUS = "import mlflow, sys; print(mlflow.MlflowClient().get_run(sys.argv[1]).info.status)"


class Mlflow(Peer):
    """A script with mlflow.start_run(), in the background by nohup; the store is MLflow's default, SQLite."""

    name, title = "mlflow", "MLflow"
    question = "`MlflowClient().get_run(ID).info.status`"
    has_supervisor = False
    is_heavy = True

    def install(self, lab):
        self.bin, version = python("mlflow")
        # A store that exists already, as usual: making one takes seconds.
        self.store = lab.root / "mlflow.db"
        if not self.store.exists():
            command = [self.bin / "python", "-c", "import mlflow; mlflow.search_runs()"]
            lab.output(["env", "MLFLOW_DISABLE_TELEMETRY=true", *command], lab.root)
        return version

    def environment(self, cell):
        path = f"{self.bin}:{cell.lab.environment(cell.home)['PATH']}"
        return {"PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"}

    def line(self, cell):
        shutil.copy(self.store, cell.home)
        return " ".join(cell.command("python", "mlflow"))

    def foreground(self, cell):
        return self.line(cell)

    def start(self, cell):
        cell.check(f"nohup {self.line(cell)} >train.log 2>&1 </dev/null & echo $! >train.pid")

    def run_id(self, cell):
        file = cell.place / "run-id"
        return file.read_text() if file.exists() else None

    def ask(self, cell):
        run = self.run_id(cell)
        if run is None:
            return silent("has no run")
        status, text = cell.shell('python -c "$1" "$2"', MLFLOW_STATUS, run, seconds=SLOW_S)
        if status != 0:
            return silent(text.strip().splitlines()[-1] if text.strip() else "no answer")
        word = text.strip().splitlines()[-1]
        claims = {"RUNNING": RUNNING, "SCHEDULED": WAITING, "FINISHED": COMPLETED, "FAILED": FAILURE,
                  "KILLED": STOPPED}
        return Says(claims[word], word)


class MlflowRun(Mlflow):
    """The same as an MLflow project, where `mlflow run` waits for the script and records its end, too."""

    name, title = "mlflow-run", "mlflow run"
    has_supervisor = True

    def line(self, cell):
        shutil.copy(self.store, cell.home)
        project = cell.home / "project"
        project.mkdir()
        command = json.dumps(" ".join(cell.command("python", "mlflow")))
        (project / "MLproject").write_text(f"name: truth\nentry_points:\n  main:\n    command: {command}\n")
        return "mlflow run project --env-manager local"

    def start(self, cell):
        cell.check(f"nohup {self.line(cell)} >run.log 2>&1 </dev/null & echo $! >run.pid")

    def supervisor(self, cell):
        return int((cell.home / "run.pid").read_text())

    def run_id(self, cell):
        run = super().run_id(cell)
        log = cell.home / "run.log"
        if run is None and log.exists():  # it ended before it began, but has a run
            run = next((line.rpartition("ID '")[2].partition("'")[0] for line in log.read_text().splitlines()
                        if "ID '" in line), None)
        return run


class Wandb(Peer):
    """A script with wandb.init(mode="offline"), in the background by nohup."""

    name, title, question = "wandb", "W&B offline", "`wandb leet inspect --summary`"
    writes_late = is_directory = True

    def install(self, lab):
        self.bin, version = python("wandb")
        return version

    def environment(self, cell):
        path = f"{self.bin}:{cell.lab.environment(cell.home)['PATH']}"
        return {"PATH": path, "WANDB_ERROR_REPORTING": "false"}

    def foreground(self, cell):
        return " ".join(cell.command("python", "wandb"))

    def start(self, cell):
        cell.check(f"nohup {self.foreground(cell)} >train.log 2>&1 </dev/null & echo $! >train.pid")

    def supervisor(self, cell):
        return cell.named("wandb-core")[0].pid

    def ask(self, cell):
        if not list(cell.asked_home.glob("wandb/offline-run-*")):
            return silent("has no run")
        script = 'wandb leet inspect --summary "$1"'
        status, text = cell.shell(script, cell.asked_home / "wandb", seconds=SLOW_S)
        line = first_line(text, "state ") if status == 0 else ""
        if not line.startswith("state"):
            return silent(first_line(text))
        words = " ".join(line.split()[1:])
        word = words.split()[0]
        if word == "running":
            is_quiet = re.search(r"last write \d+[mh]", words)  # a minute ago or more
            return Says(QUIET if is_quiet else RUNNING, words)
        claims = {"finished": COMPLETED, "failed": FAILURE, "crashed": FAILURE}
        return Says(claims[word], words) if word in claims else silent(words)


class Guild(Peer):
    """An operation of a Guild file."""

    name, title, question = "guild", "Guild AI", "`guild runs --json`"
    is_directory = has_queue = True

    def install(self, lab):
        self.bin, version = python("guildai")
        return version

    def environment(self, cell):
        path = f"{self.bin}:{cell.lab.environment(cell.home)['PATH']}"
        return {"PATH": path, "GUILD_HOME": str(cell.asked_home / "guild")}

    def prepare(self, cell):
        project = cell.home / "project"  # of its own: a run gets a copy of what lies beside its program
        project.mkdir()
        (cell.home / "guild").mkdir()
        shutil.copy(TRAINER, project)
        train = f"main: train {cell.place}" if cell.found else "exec: no-such-program"
        wait = f"main: train {cell.judged}"
        (project / "guild.yml").write_text(f"train:\n  {train}\nlater:\n  {wait}\n")
        cell.data["operation"] = "train"

    def start(self, cell):
        self.prepare(cell)
        cell.check("cd project && guild run train -y --background >../guild.log 2>&1")

    def foreground(self, cell):
        self.prepare(cell)
        return "cd project && guild run train -y"

    def stop(self, cell):
        cell.check("cd project && guild stop -y 1")

    def supervisor(self, cell):
        return int(stat(cell.main)[1])

    def queue(self, cell):
        self.prepare(cell)
        cell.data["operation"] = "later"
        script = "cd project && guild run %s -y %s >>../guild.log 2>&1"
        cell.check(script % ("train", "--stage"))
        cell.check(script % ("later", "--stage"))
        cell.check(script % ("queue", "--background"))
        cell.wait_for_steps()
        return [process.pid for process in cell.processes() if "queue" in process.args]

    def ask(self, cell):
        status, text = cell.shell("guild runs --json", seconds=SLOW_S)
        if status != 0:
            return silent(first_line(text))
        operation = cell.data["operation"]
        runs = [run for run in json.loads(text) if run["opref"].split()[-1] == operation]
        if not runs:
            return silent("has no run")
        word, code = runs[0]["status"], runs[0]["exit_status"]
        claims = {"running": RUNNING, "completed": COMPLETED, "terminated": SIGNAL, "error": FAILURE,
                  "pending": WAITING, "staged": WAITING}
        return Says(claims[word], word if code is None else f"{word}, exit_status {code}")


class Submitit(Peer):
    """A function that submitit's local executor executes; the script that submitted it waits for it."""

    name, title, question = "submitit", "submitit, local", "`job.state`, then `job.exception()`"
    is_directory = has_client = True

    def install(self, lab):
        self.bin, version = python("submitit")
        return version

    def environment(self, cell):
        return {"PYTHONPATH": str(HERE)}

    def foreground(self, cell):
        words = [str(cell.place)] if cell.found else ["--not-found"]
        return f"{self.bin}/python {HERE}/submit.py submit jobs {' '.join(words)}"

    def start(self, cell):
        cell.check(f"nohup {self.foreground(cell)} >submit.log 2>&1 </dev/null & echo $! >submit.pid")
        wait_for("the job", (cell.home / "job").exists)

    def stop(self, cell):
        (cell.home / "cancel").touch()  # the script calls job.cancel()
        wait_for("the request", lambda: not (cell.home / "cancel").exists())

    def supervisor(self, cell):
        return int((cell.home / "job").read_text())

    def client(self, cell):
        return int((cell.home / "submit.pid").read_text())

    def ask(self, cell):
        # The script that has the job knows more than one that opens it anew.
        if cell.asked_home == cell.home and (cell.home / "submit.pid").exists() and stat(self.client(cell)):
            (cell.home / "question").touch()
            deadline = time.monotonic() + SLOW_S
            while (cell.home / "question").exists() and time.monotonic() < deadline:
                pause(0.1)
            if not (cell.home / "question").exists():
                return self.says((cell.home / "answer").read_text())
            (cell.home / "question").unlink()
        if not (cell.home / "job").exists():
            return silent("has no job")
        job = (cell.home / "job").read_text()
        script = f'{self.bin}/python {HERE}/submit.py ask "$1" "$2"'
        status, text = cell.shell(script, cell.asked_home / "jobs", job, seconds=SLOW_S)
        return self.says(text, "opened anew: ") if status == 0 else silent(first_line(text))

    def says(self, text, before=""):
        state, error = json.loads(text.strip().splitlines()[-1])
        if state == "FINISHED":
            words = f"{before}{state}; {error}" if error else before + state
            return Says(FAILURE if error else COMPLETED, words)
        claims = {"RUNNING": RUNNING, "INTERRUPTED": SIGNAL, "NO PROCESS AND NO RESULT": GONE}
        return Says(claims[state], before + state) if state in claims else silent(before + state)
