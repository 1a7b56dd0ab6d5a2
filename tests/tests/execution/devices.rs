//! What graphics processors do is asked of one nvidia-smi that lives as long as the run: it is never waited for,
//! ended as a whole, and nothing of it is the run's.

use serde_json::{Value, json};
use std::fs;
use testkit::process::Signal;
use testkit::progress::fact;
use testkit::{Lab, await_end, lives, wait_for};

/// Answers as nvidia-smi does, about two GPUs; the process in `child` uses the first: a line for each, again
/// and again when `--loop` is given.
const NVIDIA_SMI: &str = r#"#!/bin/sh
echo "$$ $*" >> started
while :; do
    case $1 in
    --query-gpu=*)
        echo "GPU-1, 0, 87, 20480, 24564, 312.45, 65"
        echo "GPU-2, 1, [N/A], 1, 24564, [N/A], 40" ;;
    *) [ ! -e child ] || echo "$(cat child), GPU-1, 512"; echo "1, GPU-2, 999" ;;
    esac
    case $* in *--loop*) sleep 0.05 ;; *) exit ;; esac
done
"#;

/// Makes a lab with this nvidia-smi, and returns the path with it.
fn lab(nvidia_smi: &str) -> (Lab, String) {
    let lab = Lab::new();
    lab.write("bin/nvidia-smi", nvidia_smi);
    lab.set_mode("bin/nvidia-smi", 0o755);
    let path = lab.own_path();
    (lab, path)
}

fn samples(lab: &Lab, run: &str) -> Vec<Value> {
    let text = fs::read_to_string(lab.path(format!("{run}/.run/resources.jsonl"))).unwrap_or_default();
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn one_program_tells_of_the_processors_that_a_run_uses() {
    let (lab, path) = lab(NVIDIA_SMI);
    let run =
        lab.new_run("g", &["sh", "-c", "echo $$ > new; mv new child; until [ -e go ]; do sleep 0.02; done"]);
    let exec = lab.cmd("run-exec").env("PATH", &path).args(["--heartbeat", "20ms", &run]).spawn();
    lab.await_status(&run, "seen on a processor", |status| {
        status["resources"]["gpu_mem_max_bytes"] == 512 << 20
            && status["resources"]["gpu_seconds"].as_f64().is_some_and(|seconds| seconds > 0.2)
    });
    let shown = "utilization 87%, memory 20G of 24G, power 312 W, temperature 65 C";
    wait_for("its figures", || fact(&lab, "g", "gpu 0") == shown);
    assert_eq!(fact(&lab, "g", "gpu 1"), "", "another run's");
    lab.write("go", "");
    exec.wait().code(0);
    assert_eq!(fact(&lab, "g", "gpu 0"), "", "it is over");
    let samples = samples(&lab, &run);
    let state = json!([{"uuid": "GPU-1", "index": 0, "utilization": 87.0, "memory_bytes": 20480_u64 << 20,
        "memory_total_bytes": 24564_u64 << 20, "power_w": 312.45, "temperature_c": 65.0}]);
    assert!(samples.iter().any(|sample| sample["devices"] == state && sample["gpus"] == 1), "{samples:?}");
    // The command and its sleep are all that counts.
    assert!(samples.iter().all(|sample| sample["processes"].as_u64().unwrap() <= 2), "{samples:?}");
    assert_eq!(lab.status(&run)["reason"], Value::Null);
    let started = lab.read("started");
    assert_eq!(started.lines().count(), 2, "one for the processors and one for their processes: {started}");
    assert!(
        started.lines().all(|line| line.ends_with(" --format=csv,noheader,nounits --loop=1")),
        "{started}"
    );
    lab.nothing_left();
}

#[test]
fn without_a_process_that_is_seen_the_visible_processors_are_told_of() {
    let (lab, path) = lab(NVIDIA_SMI);
    let run = lab.new_run("g", &["sh", "-c", "until [ -e go ]; do sleep 0.02; done"]);
    let exec = lab
        .cmd("run-exec")
        .env("PATH", &path)
        .env("CUDA_VISIBLE_DEVICES", "1")
        .args(["--heartbeat", "20ms", &run])
        .spawn();
    wait_for("the state of the second processor", || {
        samples(&lab, &run).iter().any(|sample| {
            sample["gpus"] == 0
                && sample["devices"][0]["uuid"] == "GPU-2"
                && sample["devices"][0]["utilization"].is_null()
        })
    });
    // What the driver does not tell is left out.
    wait_for("its figures", || fact(&lab, "g", "gpu 1") == "memory 1.0M of 24G, temperature 40 C");
    lab.write("go", "");
    exec.wait().code(0);
    lab.nothing_left();
}

#[test]
fn a_driver_that_does_not_answer_is_never_waited_for() {
    // A script, whose child hangs, with a helper in the background.
    let (lab, path) = lab("#!/bin/sh\necho $$ >> started\nsleep 1000 &\nsleep 1000\necho\n");
    let run = lab.new_run("h", &["sh", "-c", "until [ -e go ]; do sleep 0.02; done"]);
    let exec = lab.cmd("run-exec").env("PATH", &path).args(["--heartbeat", "20ms", &run]).spawn();
    wait_for("both", || fs::read_to_string(lab.path("started")).is_ok_and(|text| text.lines().count() == 2));
    let count = samples(&lab, &run).len();
    wait_for("heartbeats", || samples(&lab, &run).len() > count + 3);
    lab.write("go", "");
    exec.wait().code(0);
    let end = lab.json("runs/h/.run/result.json");
    assert_eq!((&end["status"], &end["reason"]), (&json!("completed"), &Value::Null));
    assert_eq!(end["resources"]["gpu_seconds"], Value::Null);
    assert!(samples(&lab, &run).iter().all(|sample| sample["processes"].as_u64().unwrap() <= 2));
    lab.nothing_left();
}

#[test]
fn a_driver_that_fails_is_asked_no_more_and_costs_the_run_nothing() {
    let (lab, path) = lab(
        "#!/bin/sh\necho $$ >> started\npython3 -c \"b = bytearray(90 << 20)\nimport time\n\
                           while time.process_time() < 0.3: pass\"\necho 'NVIDIA-SMI has failed because'; exit 9\n",
    );
    let run = lab.new_run("f", &["sh", "-c", "until [ -e go ]; do sleep 0.3; done"]);
    let exec = lab.cmd("run-exec").env("PATH", &path).args(["--heartbeat", "20ms", &run]).spawn();
    let count = || fs::read_to_string(lab.path("started")).map_or(0, |text| text.lines().count());
    wait_for("the last of three", || count() >= 6);
    let beats = samples(&lab, &run).len();
    wait_for("heartbeats", || samples(&lab, &run).len() > beats + 100);
    lab.write("go", "");
    exec.wait().code(0);
    assert_eq!(count(), 6, "three times for each question");
    let used = lab.json("runs/f/.run/result.json")["resources"].clone();
    assert!(used["cpu_seconds"].as_f64().unwrap() < 1.0, "{used}");
    assert!(used["max_rss_bytes"].as_u64().unwrap() < 40 << 20, "{used}");
    lab.nothing_left();
}

#[test]
fn it_ends_with_a_supervisor_that_is_killed() {
    let (lab, path) = lab("#!/bin/sh\necho $$ >> started\nexec sleep 1000\n");
    let run = lab.new_run("k", &["sh", "-c", "until [ -e go ]; do sleep 0.02; done"]);
    let exec = lab.cmd("run-exec").env("PATH", &path).args(["--heartbeat", "20ms", &run]).spawn();
    wait_for("both", || fs::read_to_string(lab.path("started")).is_ok_and(|text| text.lines().count() == 2));
    let supervisor = testkit::pid(&lab.status(&run), "pid");
    exec.signal(Signal::KILL);
    testkit::signal(supervisor, Signal::KILL);
    await_end(supervisor);
    for pid in lab.read("started").lines().map(|pid| pid.parse().unwrap()) {
        wait_for("its end", || !lives(pid));
    }
    lab.cmd("run-stop").arg(&run).run().code(0);
    drop(exec);
    lab.nothing_left();
}
