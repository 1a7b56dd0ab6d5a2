//! What people do with a store: each a recipe of run-sync(1) or run-tools(7).

use std::fs;
use testkit::process::Signal;
use testkit::sync::torch_noise;
use testkit::{Cmd, Lab};

/// Trains up to step 6, saves each second one, and picks up where the last checkpoint is.
const TRAIN: &str = "
import json, os, struct, time
run = os.environ['RUN_DIR']
folder = os.path.join(run, 'checkpoints')
os.makedirs(folder, exist_ok=True)
done = sorted(int(name[5:-12]) for name in os.listdir(folder) if name.endswith('.safetensors'))
first = done[-1] + 1 if done else 1
print('from', first, flush=True)
for step in range(first, 7):
    with open(os.environ['RUN_METRICS'], 'a') as rows:
        rows.write(json.dumps({'step': step, 'loss': 1 / step}) + '\\n')
    if step % 2 == 0:
        for end in ('safetensors', 'optimizer'):
            name = os.path.join(folder, f'step_{step}.{end}')
            with open(name + '.tmp', 'wb') as file:
                if end == 'safetensors':
                    header = json.dumps({'w': {'dtype': 'U8', 'shape': [1000], 'data_offsets': [0, 1000]}}).encode()
                    file.write(struct.pack('<Q', len(header)) + header)
                file.write(bytes([step]) * 1000)
            os.rename(name + '.tmp', name)
    if step == 3 and not done:
        open(os.path.join(run, 'waits'), 'w').close()
        time.sleep(1000)
";

fn sync(lab: &Lab, args: &[&str]) -> Cmd {
    lab.cmd("run-sync").args(args).env("RUN_SYNC_URL", lab.path("store"))
}

#[test]
fn a_preempted_run_is_restored_elsewhere_resumed_and_backed_up_again() {
    let lab = Lab::new();
    lab.write("train.py", TRAIN);
    let train = lab.path("train.py").to_str().unwrap().to_owned();
    let run = lab.new_run("trial", &["python3", &train]);
    let exec = lab.cmd("run-exec").args(["-q", "trial"]).spawn();
    testkit::wait_for("step 3", || lab.path(format!("{run}/waits")).exists());
    lab.await_text(&format!("{run}/stdout.log"), "from 1");
    // It is being trained: its logs are stored as they are at one moment.
    sync(&lab, &["backup", "trial"]).run().code(0);
    // The machine goes away, with all that was on it.
    let supervisor = testkit::pid(&lab.status(&run), "pid");
    exec.kill_with(supervisor);
    lab.alive().into_iter().for_each(|pid| testkit::signal(pid, Signal::KILL));
    lab.await_nothing_left();
    fs::remove_dir_all(lab.path("runs")).unwrap();

    let elsewhere = lab.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    sync(&lab, &["restore", "trial"]).cwd(&elsewhere).run().code(0).stderr("");
    let status =
        lab.cmd("run-status").args(["--json", "trial"]).cwd(&elsewhere).run().code(0).json_lines().remove(0);
    assert!(["dead", "stale"].contains(&status["status"].as_str().unwrap()), "{status}");
    let resume = lab.cmd("run-exec").args(["-q", "--resume", "trial"]).cwd(&elsewhere);
    resume.run().code(0);
    let log = lab.read("elsewhere/runs/trial/stdout.log");
    assert_eq!(log.lines().collect::<Vec<_>>(), ["from 1", "from 3"]);
    sync(&lab, &["backup", "trial"]).cwd(&elsewhere).run().code(0).stderr("");
    sync(&lab, &["verify", "trial"]).run().code(0).stderr("");
    let rows = sync(&lab, &["list", "--history", "--json", "trial"]).run().code(0).json_lines();
    let rows: Vec<_> =
        rows.iter().map(|row| (row["number"].as_u64().unwrap(), row["fork"].as_bool().unwrap())).collect();
    assert_eq!(rows, [(1, false), (2, false)], "one history");
    fs::remove_dir_all(elsewhere.join("runs")).unwrap();
    sync(&lab, &["restore", "trial"]).cwd(&elsewhere).run().code(0);
    assert_eq!(lab.read("elsewhere/runs/trial/stdout.log"), log);
    assert!(lab.bytes("elsewhere/runs/trial/checkpoints/step_6.safetensors").ends_with(&[6; 1000]));
}

#[test]
fn a_run_of_a_directory_that_is_not_here_is_resumed_by_the_command_in_another() {
    let lab = Lab::new();
    let train = "import os\nprint('here', flush=True)\n";
    for directory in ["old", "new"] {
        lab.write(&format!("{directory}/train.py"), train);
    }
    let at = |directory: &str, tool: &str, args: &[&str]| lab.cmd(tool).args(args).cwd(lab.path(directory));
    at("old", "run-new", &["-n", "trial", "--", "python3", "train.py"]).run().code(0);
    at("old", "run-exec", &["-q", "trial"]).run().code(0);
    at("old", "run-sync", &["backup", "--to", "../store", "trial"]).run().code(0);
    let old = lab.path("old").canonicalize().unwrap();
    fs::remove_dir_all(&old).unwrap();
    at("new", "run-sync", &["restore", "--from", "../store", "trial"]).run().code(0);
    let said = at("new", "run-exec", &["-q", "--resume", "trial"]).run().code(125);
    let why = format!("run-exec: cannot enter '{}': there is no such directory\n", old.display());
    let hint = "run-exec: --resume with the command after -- executes it in the current directory\n";
    assert!(said.err().ends_with(&(why + hint)), "{}", said.err());
    at("new", "run-exec", &["-q", "--resume", "trial", "--", "python3", "train.py"]).run().code(0);
    assert_eq!(lab.read("new/runs/trial/stdout.log"), "here\nhere\n");
    let shown = at("new", "run-status", &["trial"]).run().code(0).out();
    let directory = shown.lines().find_map(|line| line.strip_prefix("directory:")).map(str::trim);
    assert_eq!(directory, lab.path("new").canonicalize().unwrap().to_str(), "{shown}");
}

#[test]
fn the_weights_alone_come_to_a_new_machine() {
    let lab = Lab::new();
    let run = lab.new_run("trial", &["true"]);
    lab.cmd("run-exec").args(["-q", "trial"]).run().code(0);
    for step in [100_u8, 200] {
        lab.write(&format!("{run}/checkpoints/step_{step}/model.safetensors"), [step; 100]);
        lab.write(&format!("{run}/checkpoints/step_{step}/optimizer.pt"), torch_noise(step.into(), 1000));
    }
    sync(&lab, &["backup", "trial"]).run().code(0);
    let args = ["restore", "--only", "*.safetensors", "--only", "config.*", "--into", "new", "trial"];
    sync(&lab, &args).run().code(0).stderr("").stdout("trial: backup 1, restored 2 files (200B)\n");
    assert_eq!(lab.bytes("new/trial/checkpoints/step_200/model.safetensors"), [200; 100]);
    let mut names: Vec<_> = fs::read_dir(lab.path("new/trial/checkpoints/step_100"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["model.safetensors"]);
    // One checkpoint, later.
    sync(&lab, &["restore", "--only", "checkpoints/step_200", "--into", "new", "trial"]).run().code(0);
    assert!(lab.path("new/trial/checkpoints/step_200/optimizer.pt").exists());
    assert!(!lab.path("new/trial/checkpoints/step_100/optimizer.pt").exists());
}

#[test]
fn completed_runs_are_archived_and_their_key_checkpoints_stay() {
    let lab = Lab::new();
    for (name, command, losses) in [
        ("good", "true", [3.0, 1.0, 2.0]),
        ("late", "true", [3.0, 2.0, 1.0]),
        ("broken", "false", [3.0, 2.0, 1.0]),
    ] {
        let run = lab.new_run(name, &[command]);
        lab.cmd("run-exec").args(["-q", name]).run();
        let mut rows = String::new();
        for (step, loss) in [100_u64, 200, 300].into_iter().zip(losses) {
            rows += &format!("{{\"step\": {step}, \"loss\": {loss}}}\n");
            lab.write(&format!("{run}/checkpoints/step_{step}/model.pt"), torch_noise(step, 2000));
            lab.write(&format!("{run}/checkpoints/step_{step}/optimizer.pt"), torch_noise(step + 1, 2000));
        }
        lab.write(&format!("{run}/metrics.jsonl"), rows);
    }
    lab.new_run("empty", &["true"]);
    lab.cmd("run-exec").args(["-q", "empty"]).run().code(0);
    lab.cmd("cp").args(["-a", "runs", "copy"]).run().code(0);
    let archive = "run-status -a --json | jq -c 'select(.status == \"completed\")' |
        run-sync backup --to archive --cleanup --keep latest,best:loss -";
    lab.cmd("bash").args(["-o", "pipefail", "-c", archive]).run().code(0).stderr("");
    let kept = |name: &str| {
        let found = lab.cmd("ls").arg(format!("runs/{name}/checkpoints")).run().code(0).out();
        found.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(kept("good"), "step_200 step_300");
    assert_eq!(kept("late"), "step_300");
    assert_eq!(kept("broken"), "step_100 step_200 step_300");
    // The archive has all of them; years later another machine brings one back.
    lab.cmd("run-sync").args(["verify", "--from", "archive", "--all"]).run().code(0).stderr("");
    let rows = lab.cmd("run-sync").args(["list", "--from", "archive", "--json"]).run().code(0).json_lines();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["empty", "good", "late"]);
    let restore = ["restore", "--from", "archive", "--into", "back", "--all"];
    lab.cmd("run-sync").args(restore).run().code(0).stderr("");
    for name in names {
        let diff = ["-r", "--no-dereference", &format!("copy/{name}"), &format!("back/{name}")];
        lab.cmd("diff").args(diff).run().code(0).stdout("");
    }
    // Again is no work, and removes nothing.
    let again = lab.cmd("bash").args(["-o", "pipefail", "-c", archive]).run().code(0).stderr("").out();
    assert_eq!(again.matches("nothing to remove").count(), 3, "{again}");
}

#[test]
fn every_night_what_has_ended_is_backed_up_and_nothing_else() {
    let lab = Lab::new();
    for (name, command) in [("good", "true"), ("broken", "false"), ("idle", "true")] {
        lab.new_run(name, &[command]);
    }
    lab.new_run("busy", &["sleep", "1000"]);
    for name in ["good", "broken"] {
        lab.cmd("run-exec").args(["-q", name]).run();
    }
    lab.cmd("run-exec").args(["--detach", "busy"]).run().code(0);
    lab.await_child("busy");
    // As cron(8) does it: by sh, with its own short environment.
    let line = "run-status -a --json | jq -c 'select(.end_time)' | run-sync backup --to store -";
    let night = || lab.cmd("sh").args(["-c", line]).run().code(0).stderr("").out();
    let names = || {
        let rows = lab.cmd("run-sync").args(["list", "--from", "store", "--json"]).run().code(0).json_lines();
        rows.iter()
            .map(|row| format!("{} {}", row["name"].as_str().unwrap(), row["number"]))
            .collect::<Vec<_>>()
    };
    night();
    assert_eq!(names(), ["broken 1", "good 1"]);
    let second = night();
    assert_eq!(second.matches("backup 1 is up to date").count(), 2, "{second}");
    lab.cmd("run-stop").arg("busy").run().code(0);
    night();
    assert_eq!(names(), ["broken 1", "busy 1", "good 1"]);
}

#[test]
fn checkpoints_of_a_machine_that_vanishes_are_in_the_store_and_training_continues_on_another() {
    let lab = Lab::new();
    lab.write("train.py", TRAIN);
    let train = lab.path("train.py").to_str().unwrap().to_owned();
    let run = lab.new_run("trial", &["python3", &train]);
    let exec = lab.cmd("run-exec").args(["-q", "trial"]).spawn();
    testkit::wait_for("the run", || lab.path(format!("{run}/.run/pid")).exists());
    let following = sync(&lab, &["backup", "--follow", "trial"]).spawn();
    let last = |step: &str| {
        let done = sync(&lab, &["list", "--files", "--json", "trial"]).run();
        done.code == 0
            && done
                .json_lines()
                .iter()
                .any(|row| row["file"] == format!("checkpoints/step_{step}.safetensors"))
    };
    testkit::wait_for("step 2 in the store", || last("2"));
    // The machine goes away, with all that was on it.
    let supervisor = testkit::pid(&lab.status(&run), "pid");
    following.signal(Signal::KILL);
    following.wait();
    exec.kill_with(supervisor);
    lab.alive().into_iter().for_each(|pid| testkit::signal(pid, Signal::KILL));
    fs::remove_dir_all(lab.path("runs")).unwrap();

    sync(&lab, &["restore", "trial"]).run().code(0).stderr("");
    let exec = lab.cmd("run-exec").args(["-q", "--detach", "--resume", "trial"]).run();
    exec.code(0);
    sync(&lab, &["backup", "--follow", "trial"]).run().code(0);
    assert_eq!(lab.status(&run)["status"], "completed");
    assert_eq!(lab.read(&format!("{run}/stdout.log")).lines().last(), Some("from 3"));
    assert!(last("6"));
}

#[test]
fn a_run_that_moves_to_another_host_is_resumed_there_and_has_one_history() {
    let lab = Lab::new();
    let command = "echo attempt $RUN_ATTEMPT; touch $RUN_DIR/step_$RUN_ATTEMPT";
    lab.new_run("trial", &["sh", "-c", command]);
    lab.cmd("run-exec").args(["-q", "trial"]).run().code(0);
    sync(&lab, &["backup", "trial"]).run().code(0).stderr("");
    let host = lab.path("host");
    fs::create_dir(&host).unwrap();
    lab.cmd("cp").args(["-a", "runs"]).arg(&host).run().code(0);
    fs::remove_dir_all(lab.path("runs")).unwrap();
    lab.cmd("run-exec").args(["-q", "--resume", "trial"]).cwd(&host).run().code(0);
    sync(&lab, &["backup", "trial"]).cwd(&host).run().code(0).stderr("");
    let rows = sync(&lab, &["list", "--history", "--json", "trial"]).run().code(0).json_lines();
    assert_eq!(rows.iter().map(|row| row["fork"].as_bool().unwrap()).collect::<Vec<_>>(), [false, false]);
    assert_ne!(rows[0]["writer"], rows[1]["writer"]);
    fs::remove_dir_all(host.join("runs")).unwrap();
    sync(&lab, &["restore", "trial"]).cwd(&host).run().code(0).stderr("");
    assert_eq!(lab.read("host/runs/trial/stdout.log"), "attempt 1\nattempt 2\n");
    assert_eq!(
        lab.cmd("run-status").args(["--json", "trial"]).cwd(&host).run().json_lines()[0]["attempt"],
        2
    );
}
