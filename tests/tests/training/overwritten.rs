//! A checkpoint that the program writes again in place, such as nanoGPT's `ckpt.pt`: its step, and that all tools
//! take it like any other.

use serde_json::json;
use std::fs::File;
use std::time::{Duration, SystemTime};
use testkit::{Lab, checkout, wait_for};

/// Writes a file as `torch.save` does: an archive with a pickle of `{"model": {…}, "optimizer": {…}, KEY: VALUE}`.
const SAVE: &str = r#"
import collections, io, pickle, sys, types, zipfile
torch = types.ModuleType("torch._utils"); sys.modules["torch"] = sys.modules["torch._utils"] = torch
def _rebuild_tensor_v2(*a): pass
_rebuild_tensor_v2.__module__ = "torch._utils"; torch._rebuild_tensor_v2 = _rebuild_tensor_v2
class Storage:
    def __init__(self, key): self.key = key
class Tensor:
    def __init__(self, key): self.key = key
    def __reduce__(self): return _rebuild_tensor_v2, (Storage(self.key), 0, (2, 3), (3, 1), False, collections.OrderedDict())
class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        if isinstance(obj, Storage): return ("storage", "step", str(obj.key), "cpu", 6)
def dumps(tree, protocol):
    to = io.BytesIO(); Pickler(to, protocol).dump(tree); return to.getvalue()
def save(path, protocol=2, stored=True, **more):
    state = collections.OrderedDict((f"layer{i}.weight", Tensor(i)) for i in range(1500))
    inner = {"state": {i: {"step": 7, "iter_num": 8, "exp_avg": None} for i in range(3)}, "epoch": 9}
    tree = {"model": state, "optimizer": inner, "lr": 1e-3, **more, "config": {"step": 3}, "wide": (1, 2, [3], {4})}
    if stored is None:
        return open(path, "wb").write(dumps(tree, protocol))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED) as z:
        z.writestr("archive/data.pkl", dumps(tree, protocol))
        z.writestr("archive/data/0", b"x" * 5000)
"#;

fn save(lab: &Lab, path: &str, arguments: &str) {
    let script = format!("{SAVE}\nsave({path:?}, {arguments})");
    lab.cmd("python3").args(["-c", &script]).run().code(0);
}

fn run(lab: &Lab, name: &str, script: &str) {
    lab.cmd("run-new").args(["-n", name, "--total-steps", "100", "--", "sh", "-c", script]).run().code(0);
    lab.cmd("run-exec").args(["-q", name]).run().code(0);
}

/// Resumes a run; returns the step that it got, if any, and the checkpoint.
fn resumed(lab: &Lab, name: &str) -> String {
    lab.cmd("run-exec")
        .args([
            "-q",
            "--resume",
            name,
            "--",
            "sh",
            "-c",
            "echo $RUN_RESUME_STEP ${RUN_RESUME_FROM#$RUN_DIR/}",
        ])
        .run()
        .code(0);
    lab.read(&format!("runs/{name}/stdout.log")).lines().last().unwrap_or_default().to_owned()
}

#[test]
fn the_step_is_read_from_the_file_and_nothing_in_it_is_executed() {
    let lab = Lab::new();
    run(&lab, "r", "true");
    for (arguments, expected) in [
        ("iter_num=2000", "2000 ckpt.pt"),
        ("protocol=4, iter_num=70000", "70000 ckpt.pt"),
        ("protocol=5, stored=None, global_step=3000000000, epoch=2", "3000000000 ckpt.pt"),
        ("protocol=2, stored=None, step=40.0", "40 ckpt.pt"),
        ("epoch=12", "12 ckpt.pt"),
        ("epoch=12, step=500", "500 ckpt.pt"),
        ("step=-1", "ckpt.pt"),
        ("step=0.5", "ckpt.pt"),
        ("step=True", "ckpt.pt"),
        ("step='40'", "ckpt.pt"),
        ("step=1 << 70", "ckpt.pt"),
        ("stored=False, step=40", "ckpt.pt"),
        ("", "ckpt.pt"),
    ] {
        save(&lab, "runs/r/ckpt.pt", arguments);
        assert_eq!(resumed(&lab, "r"), expected, "{arguments}");
    }
    let evil = "import os, pickle\nclass Evil:\n  def __reduce__(self): return os.system, ('touch executed',)\n\
                pickle.dump({'a': Evil(), 'step': 60}, open('runs/r/ckpt.pt', 'wb'))";
    lab.cmd("python3").args(["-c", evil]).run().code(0);
    assert_eq!(resumed(&lab, "r"), "60 ckpt.pt");
    assert!(!lab.path("executed").exists());
}

#[test]
fn the_step_is_that_of_the_metrics_at_its_time_where_the_file_says_none() {
    let lab = Lab::new();
    let state = "printf '\\200\\004N.'";
    // All rows were written before it.
    run(&lab, "last", &format!("echo '{{\"step\": 40}}' >$RUN_METRICS; {state} >$RUN_DIR/ckpt.pt"));
    assert_eq!(resumed(&lab, "last"), "40 ckpt.pt");
    // The rows say when they were written, or those that were printed do, by the log.
    let row = |step: u32, time: i64| {
        format!("echo '{{\"step\": {step}, \"_timestamp\": {time}}}' >>$RUN_METRICS; ")
    };
    let now =
        i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let rows = row(10, now - 90) + &row(20, now - 60) + &row(30, now - 30);
    run(&lab, "timed", &format!("{state} >$RUN_DIR/ckpt.pt; {rows}"));
    let touch = |run: &str, ago: i64| {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(now - ago).unwrap());
        File::options()
            .write(true)
            .open(lab.path(format!("runs/{run}/ckpt.pt")))
            .unwrap()
            .set_modified(time)
            .unwrap();
    };
    touch("timed", 45);
    assert_eq!(resumed(&lab, "timed"), "20 ckpt.pt");
    touch("timed", 200);
    assert_eq!(resumed(&lab, "timed"), "ckpt.pt");
    // So do event files: the first value is ninety seconds old, the others a second younger each.
    let events = checkout().join("tests/fixtures/events.py").display().to_string();
    let (since, file) = (now - 90, "$RUN_DIR/events.out.tfevents.1.h");
    let write = format!("EVENTS_SINCE={since} python3 {events} {file} 10:loss=4 20:loss=3 30:loss=2");
    run(&lab, "events", &format!("{state} >$RUN_DIR/ckpt.pt; {write}"));
    touch("events", 89);
    assert_eq!(resumed(&lab, "events"), "20 ckpt.pt");
    // Of known lines, and of those that the run's own pattern finds.
    let own = ["--scrape", "at (?<step>[0-9]+) loss (?<loss>[0-9.]+)"];
    let line = |name: &str, step: u32| match name {
        "known" => format!("step {step}: train loss 1.5, val loss 2.5"),
        _ => format!("at {step} loss 2.5"),
    };
    for (name, options) in [("known", &[][..]), ("own", &own)] {
        let script = format!("echo '{}'; {state} >$RUN_DIR/ckpt.pt; echo '{}'", line(name, 5), line(name, 6));
        lab.cmd("run-new").args(["-n", name]).args(options).args(["--", "sh", "-c", &script]).run().code(0);
        lab.cmd("run-exec").args(["-q", name]).run().code(0);
        let logged =
            |time: &str, step: u32| format!("2026-01-29T00:00:{time}Z stdout F {}\n", line(name, step));
        let log = logged("01.999999", 40) + &logged("02.000000", 50) + &logged("02.000009", 60);
        lab.write(&format!("runs/{name}/combined.log"), log);
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_769_644_802_000_005);
        File::options()
            .write(true)
            .open(lab.path(format!("runs/{name}/ckpt.pt")))
            .unwrap()
            .set_modified(time)
            .unwrap();
        lab.cmd("run-eval").args([name, "--", "echo", "{\"x\": {step}}"]).run().code(0);
        let table = lab.read(&format!("eval_runs/{name}_eval/consolidated_metrics.csv"));
        assert_eq!(table, "step,x\n50,50\n", "{name}");
    }
    // Nothing tells: rows without times came after it.
    run(&lab, "none", &format!("{state} >$RUN_DIR/ckpt.pt; echo '{{\"step\": 40}}' >$RUN_METRICS"));
    touch("none", 45);
    assert_eq!(resumed(&lab, "none"), "ckpt.pt");
    lab.cmd("run-exec")
        .args(["--resume", "--additional-steps", "5", "none"])
        .run()
        .code(125)
        .stderr_has("its step is unknown");
}

#[test]
fn the_step_is_that_of_the_rows_before_it_though_others_came_after_it() {
    let lab = Lab::new();
    // The heartbeats are far apart: the look comes with the file.
    let script = "row() { echo \"{\\\"step\\\": $1}\" >>$RUN_METRICS; }
await() { until grep -q \"\\\"step\\\":$1,\" $RUN_DIR/.run/overwritten.json; do sleep 0.01; done 2>/dev/null; }
until grep -q '\"child_pid\":[0-9]' $RUN_DIR/.run/status.json; do sleep 0.01; done
row 10; printf '\\200\\004N.' >$RUN_DIR/ckpt.pt; await 10
for step in 20 30; do row $step; done
printf '\\200\\004NN.' >$RUN_DIR/ckpt.tmp; mv $RUN_DIR/ckpt.tmp $RUN_DIR/ckpt.pt; await 30
row 40; exit 1";
    lab.cmd("run-new").args(["-n", "r", "--", "sh", "-c", script]).run().code(0);
    lab.cmd("run-exec").args(["-q", "--heartbeat", "60s", "--timeout", "60s", "r"]).run().code(1);
    let size = std::fs::metadata(lab.path("runs/r/ckpt.pt")).unwrap();
    let modified = size.modified().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    let modified = u64::try_from(modified).unwrap();
    let expected = json!({"ckpt.pt": {"step": 30, "bytes": 5, "modified_ns": modified}});
    assert_eq!(lab.json("runs/r/.run/overwritten.json"), expected);
    let told = ["sh", "-c", "echo $RUN_TOTAL_STEPS $RUN_RESUME_STEP"];
    let resume = ["--resume", "--additional-steps", "5", "r", "--"];
    lab.cmd("run-exec").args(resume).args(told).run().code(0).stdout("35 30\n").stderr("");
    // A file that was written again since says nothing.
    lab.write("runs/r/ckpt.pt", b"\x80\x04N.");
    let time = SystemTime::now() - Duration::from_secs(60);
    File::options().write(true).open(lab.path("runs/r/ckpt.pt")).unwrap().set_modified(time).unwrap();
    let resume = ["--resume", "--additional-steps", "5", "r"];
    lab.cmd("run-exec").args(resume).run().code(125).stderr_has("its step is unknown");
}

#[test]
fn all_tools_take_it_like_any_other() {
    let lab = Lab::new();
    run(&lab, "r", "true");
    save(&lab, "runs/r/out-ckpt.pt.tmp", "iter_num=1");
    std::fs::create_dir(lab.path("runs/r/out")).unwrap();
    save(&lab, "runs/r/out/ckpt.pt", "iter_num=2000");
    let shown = lab.cmd("run-status").arg("r").run().code(0).stderr("").out();
    assert!(
        shown
            .lines()
            .any(|line| line.starts_with("out/ckpt.pt") && line.split_whitespace().nth(1) == Some("2000")),
        "{shown}"
    );
    lab.cmd("run-exec")
        .args([
            "--resume",
            "--additional-steps",
            "50",
            "r",
            "--",
            "sh",
            "-c",
            "echo $RUN_TOTAL_STEPS $RUN_RESUME_STEP",
        ])
        .run()
        .code(0)
        .stdout("2050 2000\n")
        .stderr("");
    let eval = |options: &[&str]| {
        lab.cmd("run-eval")
            .args(options)
            .args(["r", "--", "echo", "{\"x\": {step}}"])
            .run()
            .code(0)
            .stderr("");
        lab.read("eval_runs/r_eval/consolidated_metrics.csv")
    };
    assert_eq!(eval(&[]), "step,x\n2000,2000\n");
    // Each time that it is written it is another checkpoint.
    save(&lab, "runs/r/out/ckpt.pt", "iter_num=4000");
    assert_eq!(eval(&["--steps", "latest"]), "step,x\n2000,2000\n4000,4000\n");
    assert_eq!(lab.json("runs/r/.run/result.json")["final_checkpoint"], "out/ckpt.pt");
    // Where a name says the step, that is the one.
    save(&lab, "runs/r/model_4000.pt", "step=1");
    assert_eq!(resumed(&lab, "r"), "4000 model_4000.pt");
    save(&lab, "runs/r/out/ckpt.pt", "iter_num=4001");
    assert_eq!(resumed(&lab, "r"), "4001 out/ckpt.pt");
    // One without any step is evaluated by its name.
    run(&lab, "s", "true");
    lab.write("runs/s/snapshot.pt", b"\x80\x04N.");
    lab.cmd("run-eval").args(["s", "--", "echo", "{\"x\": 1}"]).run().code(0).stderr("");
    assert_eq!(lab.read("eval_runs/s_eval/consolidated_metrics.csv"), "step,x\n,1\n");
    assert!(lab.path("eval_runs/s_eval/step_last_eval").exists());
}

#[test]
fn what_is_written_while_it_is_evaluated_waits_and_the_last_counts() {
    let lab = Lab::new();
    let script = format!(
        "{SAVE}\nimport os, time\nfor step in 10, 20, 30:\n    save('new', step=step)\n    os.replace('new', os.environ['RUN_DIR'] + '/ckpt.pt')\n    \
         while not os.path.exists('begun10'): time.sleep(0.02)\n"
    );
    lab.write("train.py", script);
    lab.cmd("run-new").args(["-n", "r", "--", "python3", "train.py"]).run().code(0);
    let training = lab.cmd("run-exec").args(["-q", "r"]).spawn();
    lab.await_child("r");
    let evaluate =
        "touch begun$1; until [ -e go ]; do sleep 0.02; done; echo \"{\\\"x\\\": $1}\"; cat \"$2\" >seen$1";
    let following = lab
        .cmd("run-eval")
        .args(["--follow", "-j", "2", "r", "--", "sh", "-c", evaluate, "sh", "{step}", "{checkpoint}"])
        .spawn();
    training.wait().code(0);
    lab.write("go", "");
    following.wait().code(0).stderr("");
    assert_eq!(lab.read("eval_runs/r_eval/consolidated_metrics.csv"), "step,x\n10,10\n30,30\n");
    // Each was evaluated as it was.
    assert_ne!(lab.bytes("seen10"), lab.bytes("seen30"));
    assert_eq!(lab.bytes("seen30"), lab.bytes("runs/r/ckpt.pt"));
}

#[test]
fn each_time_that_it_is_written_it_is_evaluated_while_the_run_is_followed() {
    let lab = Lab::new();
    let script = format!(
        "{SAVE}\nimport os, time\nfor step in 10, 20, 30:\n    save('new', step=step)\n    os.replace('new', os.environ['RUN_DIR'] + '/ckpt.pt')\n    \
         while not os.path.exists(f'seen{{step}}'): time.sleep(0.02)\n"
    );
    lab.write("train.py", script);
    lab.cmd("run-new").args(["-n", "r", "--", "python3", "train.py"]).run().code(0);
    let training = lab.cmd("run-exec").args(["-q", "r"]).spawn();
    lab.await_child("r");
    let following = lab
        .cmd("run-eval")
        .args(["--follow", "r", "--", "sh", "-c", "echo \"{\\\"x\\\": $1}\"; touch seen$1", "sh", "{step}"])
        .spawn();
    wait_for("the last one", || lab.path("seen30").exists());
    training.wait().code(0);
    following.wait().code(0);
    assert_eq!(lab.read("eval_runs/r_eval/consolidated_metrics.csv"), "step,x\n10,10\n20,20\n30,30\n");
}
