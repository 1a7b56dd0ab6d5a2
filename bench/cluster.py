"""cluster: how long it takes to hand a thousand runs to Slurm, and to say what a thousand jobs of it do."""

from dataclasses import asdict, dataclass

from harness import BENCH, Failed, Goal, median, rounds, spread
from listing import installed
from slurm import Cluster

PROGRAMS = ["dash", "munged", "sbatch", "slurmctld", "slurmd"]
JOBS = 1000
OURS, SUBMITIT, LOOP, ARRAY = "run-exec --slurm", "submitit map_array", "a loop of sbatch", "one sbatch --array"
SKETCH = "C sketch of the record, one sbatch --array"
STATUS, SQUEUE, SACCT, READS = "run-status --json", "squeue", "sacct", "squeue, and C reads, 1 thread"
COLUMNS = "%i|%U|%T|%S|%r"


@dataclass(frozen=True)
class Peer:
    """A way to submit jobs, or to ask about them."""

    name: str
    command: tuple


def batch(lab, cwd, count, command):
    """Makes a batch of runs, and returns its path."""
    runs = [lab.binaries / "run-new", "-d", "runs", "-b=bench", "--sweep", f"x=1..{count}", "--", *command]
    first = lab.output(runs, cwd).splitlines()[0]
    return first.rpartition("/")[0]


def submission(lab, cluster, repeat, count, python):
    """Submits held jobs by each peer; returns a table, goals and raw numbers."""
    peers = [Peer(LOOP, ()), Peer(ARRAY, ())]
    if lab.binaries:
        peers += [Peer(SKETCH, ()), Peer(OURS, ())]
    if python:
        peers.append(Peer(SUBMITIT, ()))
    timings, raw = {peer.name: [] for peer in peers}, []
    env = ("env", f"SLURM_CONF={cluster.conf}")
    array = ("sbatch", "-Q", "-H", "-o", "/dev/null", f"--array=0-{count - 1}", "--wrap", "true")
    for turn, peer in rounds(peers, repeat, f"cluster, {count} submissions"):
        cwd = lab.fresh("submit")
        loop = 'n=0; while [ $n -lt "$1" ]; do sbatch -Q -H -o /dev/null --wrap true || exit 1; n=$((n + 1)); done'
        if peer.name == LOOP:
            command = ("dash", "-c", loop, "dash", str(count))
        elif peer.name == ARRAY:
            command = array
        elif peer.name == SKETCH:
            command = (lab.program("queue"), cwd / batch(lab, cwd, count, ["true", "{set}"]), *array)
        elif peer.name == SUBMITIT:
            command = (python, str(BENCH / "sketch/submit_submitit.py"), str(count), str(cwd))
        else:
            made = batch(lab, cwd, count, ["true", "{set}"])
            command = (str(lab.binaries / "run-exec"), "-q", "-d", "runs", "--slurm=--hold", made)
        timing = lab.time(peer.name, (*env, f"XDG_RUNTIME_DIR={cwd}", *command), cwd)
        jobs = (cluster.ask("squeue", "--noheader", "--array", "--states=all") or "").count("\n")
        if jobs != count:
            raise Failed(f"{peer.name}: {jobs} jobs instead of {count}")
        cluster.clear()
        lab.discard(cwd)
        if turn > 0:
            timings[peer.name].append(timing)
            raw.append({"peer": peer.name, "jobs": count, "round": turn, **asdict(timing)})
    walls = {name: median(timing.wall_s for timing in found) for name, found in timings.items()}
    rows = [
        [
            peer.name,
            walls[peer.name],
            spread(timing.wall_s for timing in timings[peer.name]),
            walls[peer.name] / walls[SUBMITIT] if SUBMITIT in walls else None,
            median(timing.cpu_s for timing in timings[peer.name]),
        ]
        for peer in peers
    ]
    goals = []
    if OURS in walls and SUBMITIT in walls:
        goals.append(Goal(f"{count:,} submissions, time beside submitit", walls[OURS] / walls[SUBMITIT], 0.5))
    return (f"{count:,} submissions", ("", "wall s", "range", "× submitit", "CPU s"), rows), goals, raw


def status(lab, cluster, repeat, count):
    """Asks about queued and running jobs by each peer; returns a table, goals and raw numbers."""
    cwd = lab.fresh("status")
    made = batch(lab, cwd, count, ["dash", "-c", "exec sleep 10000", "{set}"])
    env = ("env", f"SLURM_CONF={cluster.conf}")
    lab.output([*env, lab.binaries / "run-exec", "-q", "-d", "runs", "--slurm", made], cwd)
    ours = (str(lab.binaries / "run-status"), "-d", "runs", "-a", "--json")

    def running():
        told = lab.output([*env, f"XDG_RUNTIME_DIR={cwd}", *ours], cwd)
        return told.count('"status":"running"') == 24  # as many as the nodes have CPUs
    cluster.until("the first jobs to run", running)
    squeue = ("squeue", "--noheader", "--array", "--states=all", f"--format={COLUMNS}")
    both = '"$@" & "$0" 1 "$BATCH" meta.json status.json launch.json && wait'
    reads = ("env", f"BATCH={made}", "dash", "-c", both, lab.program("read_status"), *squeue)
    peers = [Peer(SQUEUE, squeue), Peer(READS, reads), Peer(STATUS, ours)]
    if cluster.has_accounts:
        peers.append(Peer(SACCT, ("sacct", "--noheader", "--allocations", "--format=JobID,State")))
    timings, raw = {peer.name: [] for peer in peers}, []
    for turn, peer in rounds(peers, repeat, f"cluster, status of {count} jobs"):
        own = lab.fresh("answers")  # so that run-status asks, instead of using its last answer
        timing = lab.time(peer.name, (*env, f"XDG_RUNTIME_DIR={own}", *peer.command), cwd)
        if turn > 0:
            timings[peer.name].append(timing)
            raw.append({"peer": peer.name, "jobs": count, "round": turn, **asdict(timing)})
    cluster.clear()
    walls = {name: median(timing.wall_s for timing in found) for name, found in timings.items()}
    rows = [
        [
            peer.name,
            walls[peer.name] * 1000,
            spread(timing.wall_s * 1000 for timing in timings[peer.name]),
            walls[peer.name] / walls[SQUEUE],
            median(timing.cpu_s for timing in timings[peer.name]) * 1000,
        ]
        for peer in peers
    ]
    title = f"Status of {count:,} queued and running jobs"
    goal = Goal(f"{title}, time beside squeue", walls[STATUS] / walls[SQUEUE], 1.2)
    return (title, ("", "wall ms", "range", "× squeue", "CPU ms"), rows), [goal], raw


def run(lab, repeat, quick):
    """Measures both; returns title, tables, notes, goals and raw numbers."""
    count = 30 if quick else JOBS
    venv, note = (None, "submitit is left out of a quick run") if quick else installed(lab, "submitit", "submitit")
    python = str(venv / "bin/python") if venv else None
    notes = [f"{note}. All jobs are held while they are submitted. Slurm runs on the same machine."]
    with Cluster(lab.root / "slurm", count) as cluster:
        table, goals, raw = submission(lab, cluster, repeat, count, python)
        tables = [table]
        if lab.binaries:
            table, more_goals, more_raw = status(lab, cluster, repeat, count)
            tables.append(table)
            goals += more_goals
            raw += more_raw
            notes.append("24 of the jobs are running, and write a heartbeat each 5 s. run-status asks squeue once, and "
                         "reads the record of each run; the C sketch reads it while squeue runs.")
        if not cluster.has_accounts:
            notes.append("sacct is left out: it needs mariadb-server, slurmdbd and slurm-wlm-mysql-plugin.")
    return "Clusters", tables, notes, goals, raw
