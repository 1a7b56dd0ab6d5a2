//! `examples/run-launch-kubernetes`, with a kubectl that stands for a cluster: see the testkit.

use serde_json::{Value, json};
use testkit::kubectl::{reached_by, set_up};
use testkit::{Cmd, Lab};

/// Every point that examples/check-launcher tries.
const POINTS: usize = 19;

fn lab() -> Lab {
    let lab = Lab::new();
    set_up(&lab);
    lab
}

fn cmd(lab: &Lab, program: &str) -> Cmd {
    reached_by(lab, lab.cmd(program))
}

fn status(lab: &Lab, run: &str) -> Value {
    cmd(lab, "run-status").args(["--json", run]).run().code(0).json_lines()[0].clone()
}

#[test]
fn kubernetes_keeps_the_contract_of_launchers() {
    let lab = lab();
    let done = cmd(&lab, "check-launcher").args(["kubernetes", "job.json", "-n", "team"]).run();
    let told = done.out();
    done.code(0).stderr("");
    assert_eq!(told.lines().filter(|line| line.starts_with("ok: ")).count(), POINTS, "{told}");
}

#[test]
fn a_run_becomes_a_job_and_is_executed_and_stopped() {
    let lab = lab();
    let exec = |args: &[&str]| {
        cmd(&lab, "run-exec").args(["-q", "--launch", "kubernetes=job.json -n team"]).args(args)
    };
    lab.new_run("A 1", &["sh", "-c", "echo '$(HOME)' '$$' done"]);
    lab.new_run(
        "long",
        &["sh", "-c", "trap 'echo told; exit 0' TERM; echo begun; while :; do sleep 0.1; done"],
    );
    exec(&["--wait", "A 1"]).run().code(0).stderr("");
    assert_eq!(lab.read("runs/A 1/stdout.log"), "$(HOME) $$ done\n");
    exec(&["--grace", "7500ms", "--linger", "1s", "--requeue", "long"]).run().code(0).stderr("");
    let launch = lab.json("runs/long/.run/launch.json");
    let name = launch["job"].as_str().unwrap();
    assert!(name.starts_with("run-long-"), "{name}");
    let job = lab.json(&format!("kube/{name}.json"));
    assert_eq!(
        job["metadata"]["annotations"],
        json!({"run-tools/run": "long", "run-tools/run-id": launch["run_id"]})
    );
    let spec = &job["spec"];
    assert_eq!(
        (&spec["backoffLimit"], &spec["completions"], &spec["ttlSecondsAfterFinished"]),
        (&json!(20), &json!(1), &json!(86400))
    );
    let pod = &spec["template"]["spec"];
    // The grace, twice the linger, and five seconds for the record.
    assert_eq!((&pod["terminationGracePeriodSeconds"], &pod["restartPolicy"]), (&json!(15), &json!("Never")));
    assert_eq!(
        (&pod["containers"][0]["image"], &pod["containers"][0]["args"]),
        (&json!("team/train"), &Value::Null)
    );
    lab.await_text("runs/long/stdout.log", "begun");
    let start = &lab.json_lines("runs/long/.run/attempts.jsonl")[0];
    assert_eq!((&start["job"]["launcher"], &start["job"]["id"]), (&json!("kubernetes"), &json!(name)));
    cmd(&lab, "run-stop").arg("long").run().code(0).stdout("runs/long: stopped\n");
    assert_eq!(lab.read("runs/long/stdout.log"), "begun\ntold\n");
    lab.await_nothing_left();
}

#[test]
fn a_run_that_no_node_takes_waits_and_says_why_and_a_cluster_that_is_down_is_said() {
    let lab = lab();
    lab.new_run("r", &["true"]);
    cmd(&lab, "run-exec").args(["-q", "--launch", "kubernetes=full.json", "r"]).run().code(0).stderr("");
    let job = lab.json("runs/r/.run/launch.json")["job"].as_str().unwrap().to_owned();
    let now = status(&lab, "r");
    assert_eq!(
        (&now["status"], &now["reason"]),
        (&json!("queued"), &json!(format!("job {job} is pending: Unschedulable")))
    );
    cmd(&lab, "run-stop").arg("r").run().code(0).stdout("runs/r: stopped\n");
    assert!(!lab.path(format!("kube/{job}.json")).exists());
    lab.write("kube/down", "");
    let query = cmd(&lab, "run-launch-kubernetes").args(["query", "full.json"]);
    let done = query.stdin(json!({"job": job}).to_string() + "\n").run().code(0);
    let why = "error: Unable to connect to the server: dial tcp 10.0.0.1:6443: connect: connection refused";
    assert_eq!(done.json_lines(), [json!({"job": job, "state": "unknown", "reason": why})]);
}

#[test]
fn what_the_cluster_does_not_take_is_refused_before_anything_is_queued() {
    let lab = lab();
    lab.new_run("r", &["true"]);
    lab.write("other.json", "{\"kind\": \"Pod\"}");
    for (options, args, why) in [
        ("none.yaml", &[][..], "there is no file 'none.yaml' with a Job"),
        ("other.json", &[], "'other.json' is no Job with a container"),
        ("forbidden.json", &[], "is forbidden: exceeded quota"),
        (
            "job.json",
            &["-j", "2"],
            "Kubernetes cannot limit how many of its Jobs run at once: use a queue or a quota, and leave out -j",
        ),
    ] {
        let exec = cmd(&lab, "run-exec").args(["--launch", &format!("kubernetes={options}"), "r"]).args(args);
        exec.run().code(125).stderr_has(why);
        assert_eq!(lab.status("r")["status"], "created", "{options}");
    }
}
