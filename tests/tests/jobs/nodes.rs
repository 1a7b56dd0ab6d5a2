//! Runs on several nodes: srun, or a starter on each node, in the command of a run whose one supervisor is in the batch
//! script. The Slurm is a real one.

use std::thread;
use testkit::slurm::Cluster;
use testkit::slurm::jobs::{end, is};
use testkit::{Lab, wait_for};

/// A rank that works until SIGTERM, or does what its argument says of one of them: `dies` or `hangs`. The others
/// wait for that one then, deaf as in a collective operation.
const RANK: &str = r#"
import os, pathlib, signal, sys, time
rank = int(os.environ.get("RANK") or os.environ["SLURM_PROCID"])
what, who = (sys.argv[1:] + ["works", "0"])[:2]
def say(line):
    os.write(1, (line + "\n").encode())
def told(*_):
    say(f"told {rank}")
    sys.exit(0)
signal.signal(signal.SIGTERM, told)
say(f"begun {rank} on {os.environ['SLURMD_NODENAME']}")
say(f"first node {sys.argv[3]}" if len(sys.argv) > 3 else "")
pathlib.Path(f"begun-{rank}").touch()
while not all(pathlib.Path(f"begun-{other}").exists() for other in range(4)):
    time.sleep(0.02)
if what == "dies" and rank == int(who):
    raise ValueError("bad shard 7")
if what != "works":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(1000)
while not pathlib.Path("enough").exists():
    say(f"step {rank}")
    time.sleep(0.1)
"#;

/// Starts two ranks on its node, and ends them when one has failed, or at SIGTERM, as torchrun does. A further SIGTERM
/// does not keep it from that: Slurm would not find ranks without it, for it tracks processes by their parents here.
const STARTER: &str = r#"
import os, signal, subprocess, sys, time
def told(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(143)
signal.signal(signal.SIGTERM, told)
first = 2 * int(os.environ["SLURM_PROCID"])
ranks = [subprocess.Popen([sys.executable, *sys.argv[1:]], env={**os.environ, "RANK": str(first + n)}) for n in (0, 1)]
try:
    while any(rank.poll() is None for rank in ranks) and not any(rank.poll() for rank in ranks):
        time.sleep(0.05)
finally:
    ended = [rank.poll() for rank in ranks]
    for rank in ranks:
        rank.terminate()
    time.sleep(0.5)
    for rank in ranks:
        rank.kill()
failed = [n for n, status in enumerate(ended) if status]
if not failed:
    sys.exit()
class ChildFailedError(Exception):
    pass
ChildFailedError.__module__ = "torch.distributed.elastic.multiprocessing.errors"
raise ChildFailedError(f"""
============================================================
{sys.argv[1]} FAILED
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-01-01_10:00:00
  host      : {os.environ["SLURMD_NODENAME"]}
  rank      : {first + failed[0]} (local_rank: {failed[0]})
  exitcode  : {ended[failed[0]]} (pid: {ranks[failed[0]].pid})
============================================================""")
"#;

/// Has Slurm execute a run of four ranks on two nodes; returns its job.
fn submit(lab: &Lab, cluster: &Cluster, starter: bool, rank: &[&str], options: &[&str]) -> String {
    lab.write("rank.py", RANK);
    lab.write("starter.py", STARTER);
    let command: &[&str] = if starter {
        &["srun", "-l", "--ntasks=2", "--ntasks-per-node=1", "python3", "starter.py", "rank.py"]
    } else {
        &["srun", "-l", "python3", "rank.py"]
    };
    lab.new_run("r", &[command, rank].concat());
    let exec = cluster.cmd(lab, "run-exec").args(["-q", "--slurm=--nodes=2 --ntasks=4 --ntasks-per-node=2"]);
    let exec = exec.args(["--linger", "1s", "--heartbeat", "1s"]).args(options);
    exec.arg("r").run().code(0).stderr("");
    lab.json("runs/r/.run/launch.json")["job"].as_str().unwrap().to_owned()
}

/// Waits until all ranks work.
fn await_ranks(lab: &Lab) {
    wait_for("all ranks", || (0..4).all(|rank| lab.path(format!("begun-{rank}")).exists()));
}

/// Expects that nothing of the run lives, on any node.
fn nothing_lives(lab: &Lab, cluster: &Cluster, id: &str) {
    lab.await_nothing_left();
    wait_for("the job to end", || {
        let state = cluster.ask(&["squeue", "-h", "-t", "all", "-j", id, "-o", "%T"]);
        !["RUNNING\n", "COMPLETING\n"].contains(&state.as_str())
    });
}

/// Returns the node of a rank.
fn node_of(lab: &Lab, rank: u32) -> String {
    lab.await_text("runs/r/stdout.log", &format!("begun {rank} on n"));
    let log = lab.read("runs/r/stdout.log");
    let (_, rest) = log.split_once(&format!("begun {rank} on ")).unwrap();
    rest.lines().next().unwrap().to_owned()
}

/// Returns the lines of a rank.
fn lines_of(lab: &Lab, rank: u32) -> Vec<String> {
    let label = format!("{rank}: ");
    lab.read("runs/r/stdout.log")
        .lines()
        .filter_map(|line| line.strip_prefix(&label))
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_stop_reaches_all_ranks_and_their_lines_are_told_apart() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    let id = submit(&lab, cluster, false, &[], &[]);
    await_ranks(&lab);
    lab.await_text("runs/r/stdout.log", "step 3");
    cluster.cmd(&lab, "run-stop").arg("r").run().code(0).stdout("runs/r: stopped\n");
    for rank in 0..4 {
        let lines = lines_of(&lab, rank);
        assert!(lines[0].starts_with(&format!("begun {rank} on n")), "{lines:?}");
        assert_eq!(lines.last(), Some(&format!("told {rank}")));
    }
    let nodes: Vec<String> = (0..4).map(|rank| node_of(&lab, rank)).collect();
    assert!(nodes[0] == nodes[1] && nodes[2] == nodes[3] && nodes[0] != nodes[2], "{nodes:?}");
    nothing_lives(&lab, cluster, &id);
}

#[test]
fn ranks_of_a_starter_on_each_node_are_stopped_as_well() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    let id = submit(&lab, cluster, true, &[], &[]);
    await_ranks(&lab);
    cluster.cmd(&lab, "run-stop").arg("r").run().code(0).stdout("runs/r: stopped\n");
    let log = lab.read("runs/r/stdout.log");
    assert!((0..4).all(|rank| log.contains(&format!("told {rank}\n"))), "{log}");
    nothing_lives(&lab, cluster, &id);
}

#[test]
fn a_run_whose_ranks_all_complete_has_completed() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    let id = submit(&lab, cluster, false, &["works", "0", "{env:SLURMD_NODENAME}"], &[]);
    await_ranks(&lab);
    lab.await_text("runs/r/stdout.log", &format!("3: first node {}\n", node_of(&lab, 0)));
    lab.write("enough", "");
    assert_eq!(end(&lab, cluster, "r"), is("completed", ""));
    nothing_lives(&lab, cluster, &id);
}

#[test]
fn a_rank_that_dies_ends_the_others_and_is_the_reason() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    let id = submit(&lab, cluster, false, &["dies", "3"], &[]);
    let (status, reason) = end(&lab, cluster, "r");
    let node = node_of(&lab, 3);
    assert_eq!(
        (status, reason),
        is("failed", &format!("exit 1 of task 3 on {node}: ValueError: bad shard 7"))
    );
    nothing_lives(&lab, cluster, &id);
}

#[test]
fn a_rank_of_a_starter_that_dies_ends_those_on_the_other_node_too() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    let id = submit(&lab, cluster, true, &["dies", "2"], &[]);
    let (status, reason) = end(&lab, cluster, "r");
    assert_eq!(status, "failed");
    let node = node_of(&lab, 2);
    assert_eq!(reason, format!("exit 1 of task 1 on {node}: ValueError: bad shard 7"));
    nothing_lives(&lab, cluster, &id);
}

#[test]
fn ranks_that_hang_are_ended_by_the_stall_timeout() {
    for starter in [false, true] {
        let (lab, cluster) = (Lab::new(), Cluster::shared());
        let id = submit(&lab, cluster, starter, &["hangs", "1"], &["--stall-timeout", "3s", "--grace", "1s"]);
        let (status, reason) = end(&lab, cluster, "r");
        assert_eq!(status, "failed");
        assert!(reason.starts_with("stall timeout 3s"), "{reason}");
        nothing_lives(&lab, cluster, &id);
    }
}

#[test]
fn a_node_that_is_lost_ends_the_ranks_on_the_other() {
    let lose = |starter: bool, of_first_rank: bool| {
        let lab = Lab::new();
        let cluster = Cluster::start(&lab.path("slurm"), "");
        submit(&lab, &cluster, starter, &[], &["--grace", "2s"]);
        await_ranks(&lab);
        let first =
            lab.json_lines("runs/r/.run/attempts.jsonl")[0]["job"]["node"].as_str().unwrap().to_owned();
        assert_eq!(node_of(&lab, 0), first);
        cluster.crash(&if of_first_rank { first } else { node_of(&lab, 3) });
        lab.await_nothing_left();
        let expected =
            if of_first_rank { is("dead", "its supervisor is gone") } else { is("stopped", "node failed") };
        assert_eq!(end(&lab, &cluster, "r"), expected, "{starter}");
    };
    // Slurm takes its time to notice.
    thread::scope(|scope| {
        for (starter, of_first_rank) in [(false, true), (false, false), (true, true), (true, false)] {
            scope.spawn(move || lose(starter, of_first_rank));
        }
    });
}
