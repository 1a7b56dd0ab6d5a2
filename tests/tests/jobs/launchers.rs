//! The contract of launchers, by the launchers that there are, and runs that are executed through it.

use serde_json::Value;
use testkit::slurm::Cluster;
use testkit::sshd::Sshd;
use testkit::{Lab, wait_for};

/// Every point that examples/check-launcher tries.
const POINTS: usize = 22;

#[test]
fn slurm_keeps_the_contract_of_launchers() {
    let (lab, cluster) = (Lab::new(), Cluster::shared());
    let check = Sshd::with_examples(cluster.cmd(&lab, "check-launcher")).args(["slurm", "-p", "debug"]);
    let done = check.run();
    let told = done.out();
    done.code(0).stderr("");
    assert_eq!(told.lines().filter(|line| line.starts_with("ok: ")).count(), POINTS, "{told}");
}

#[test]
fn ssh_keeps_the_contract_of_launchers() {
    let lab = Lab::new();
    let sshd = Sshd::start(&lab);
    let check = Sshd::with_examples(lab.cmd("check-launcher"));
    let done = check.args(["ssh", "gpu1", "gpu2", "-F", &sshd.config()]).run();
    let told = done.out();
    done.code(0).stderr("");
    assert_eq!(told.lines().filter(|line| line.starts_with("ok: ")).count(), POINTS, "{told}");
}

#[test]
fn a_launcher_that_does_not_keep_the_contract_is_told_so() {
    let lab = Lab::new();
    lab.write("bin/run-launch-bad", "#!/bin/sh\n[ $1 = limits ] || cat >/dev/null\necho '{}'\n");
    lab.set_mode("bin/run-launch-bad", 0o755);
    let examples = testkit::checkout().join("examples");
    let path = format!("{}:{}:/usr/bin:/bin", lab.path("bin").display(), examples.display());
    let done =
        lab.cmd(examples.join("check-launcher")).arg("bad").env("PATH", path).env("PATIENCE", "0").run();
    let told = done.code(1).out();
    assert!(told.contains("MISSED: submit answers for each, by its run_id\n"), "{told}");
}

#[test]
fn runs_are_executed_by_ssh_and_stopped_wherever_they_are() {
    let lab = Lab::new();
    let sshd = Sshd::start(&lab);
    let launch = format!("ssh=gpu1 gpu2 -F {}", sshd.config());
    let exec =
        |args: &[&str]| Sshd::with_examples(lab.cmd("run-exec")).args(["-q", "--launch", &launch]).args(args);
    lab.new_run("a b", &["sh", "-c", "echo done"]);
    exec(&["--wait", "a b"]).run().code(0).stderr("");
    assert_eq!(lab.read("runs/a b/stdout.log"), "done\n");
    lab.new_run(
        "long",
        &["sh", "-c", "trap 'echo told; exit 0' TERM; echo begun; while :; do sleep 0.1; done"],
    );
    exec(&["long"]).run().code(0).stderr("");
    lab.await_text("runs/long/stdout.log", "begun");
    let status = lab.status("long");
    assert_eq!(status["status"], "running");
    let job = lab.json("runs/long/.run/launch.json")["job"].as_str().unwrap().to_owned();
    assert!(job.starts_with("gpu1:"), "{job}");
    let start = &lab.json_lines("runs/long/.run/attempts.jsonl")[0];
    assert_eq!((&start["job"]["launcher"], &start["job"]["id"]), (&"ssh".into(), &job.as_str().into()));
    lab.cmd("run-stop").arg("long").run().code(0).stdout("runs/long: stopped\n");
    assert_eq!(lab.read("runs/long/stdout.log"), "begun\ntold\n");
    // A host that nobody knows is found out before anything is queued.
    lab.new_run("r", &["true"]);
    let done =
        Sshd::with_examples(lab.cmd("run-exec")).args(["--launch", "ssh=no-such-host.invalid", "r"]).run();
    done.code(125).stderr_has("cannot start jobs on 'no-such-host.invalid'");
    assert_eq!(lab.status("r")["status"], "created");
    drop(sshd);
    lab.await_nothing_left();
}

#[test]
fn a_run_that_waits_for_its_turn_on_a_host_is_queued() {
    let lab = Lab::new();
    let sshd = Sshd::start(&lab);
    let tool = |program: &str| Sshd::with_examples(lab.cmd(program)).env("XDG_RUNTIME_DIR", lab.dir());
    for run in ["a", "b"] {
        lab.new_run(run, &["sh", "-c", "until [ -e go ]; do sleep 0.05; done"]);
    }
    let launch = format!("ssh=gpu1 -F {}", sshd.config());
    tool("run-exec").args(["-q", "-j", "1", "--launch", &launch, "a", "b"]).run().code(0).stderr("");
    let job =
        |run: &str| lab.json(&format!("runs/{run}/.run/launch.json"))["job"].as_str().unwrap().to_owned();
    let expected = |first: &str, other: &str| {
        [
            (first.to_owned(), "running".to_owned(), String::new()),
            (other.to_owned(), "queued".to_owned(), format!("job {} is pending", job(other))),
        ]
    };
    // Either may come first.
    wait_for("one to run and the other to wait", || {
        let rows = tool("run-status").args(["--json", "a", "b"]).run().code(0).stderr("").json_lines();
        let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let mut seen: Vec<_> = rows
            .iter()
            .map(|row| (text(row, "run_name"), text(row, "status"), text(row, "reason")))
            .collect();
        seen.sort_by_key(|(_, status, _)| status == "queued");
        seen == expected("a", "b") || seen == expected("b", "a")
    });
    lab.write("go", "");
    tool("run-status").args(["--wait", "a", "b"]).run().code(0);
    lab.await_nothing_left();
}

#[test]
fn a_launcher_that_is_missing_or_says_nothing_of_use_leaves_the_runs_as_they_were() {
    let lab = Lab::new();
    lab.new_run("r", &["true"]);
    let done = lab.cmd("run-exec").args(["--launch", "none", "r"]).run().code(125);
    done.stderr("run-exec: cannot find 'run-launch-none': it is not on the PATH\n");
    for (answer, why) in [
        ("echo nonsense", "run-exec: cannot understand 'run-launch-bad submit': 'nonsense': "),
        (
            "echo 'the queue is closed' >&2; exit 3",
            "run-exec: 'run-launch-bad submit' failed: the queue is closed",
        ),
        ("true", "run-exec: 1 run was not queued: 'run-launch-bad submit' said nothing of it"),
    ] {
        let script = format!("#!/bin/sh\ncase $1$2 in submit) {answer} ;; esac\n");
        lab.write("bin/run-launch-bad", script);
        lab.set_mode("bin/run-launch-bad", 0o755);
        let path = format!("{}:/usr/bin:/bin", lab.path("bin").display());
        let done =
            lab.cmd(testkit::bin().join("run-exec")).args(["--launch", "bad", "r"]).env("PATH", path).run();
        assert_ne!(done.code, 0);
        done.stderr_has(why);
        assert_eq!(lab.status("r")["status"], "created", "{answer}");
    }
}

/// Executes a command on this machine, as the host that is named.
const SSH: &str = r#"#!/bin/sh
while :; do
    case $1 in -o) shift 2 ;; -*) shift ;; *) break ;; esac
done
export FAKE_HOST="$1"
shift
exec sh -c "$*"
"#;

/// Answers as nvidia-smi does on a host: `gpus.HOST` lists the GPUs, `used.HOST` those in use.
const NVIDIA_SMI: &str = r#"#!/bin/sh
case $1 in
--query-gpu=uuid) cat "$LAB_DIR/gpus.$FAKE_HOST" ;;
--query-compute-apps=*) cat "$LAB_DIR/used.$FAKE_HOST" ;;
*) exit 9 ;;
esac
"#;

#[test]
fn runs_go_to_hosts_with_a_free_gpu() {
    let lab = Lab::new();
    for (name, script) in [("ssh", SSH), ("nvidia-smi", NVIDIA_SMI)] {
        lab.write(&format!("bin/{name}"), script);
        lab.set_mode(&format!("bin/{name}"), 0o755);
    }
    for (host, gpus, used) in [("gpu1", "GPU-1\n", "GPU-1\n"), ("gpu2", "GPU-2\nGPU-3\n", "")] {
        lab.write(&format!("gpus.{host}"), gpus);
        lab.write(&format!("used.{host}"), used);
    }
    let examples = testkit::checkout().join("examples");
    let bins = [lab.path("bin"), testkit::bin(), examples].map(|bin| bin.display().to_string());
    let path = format!("{}:/usr/bin:/bin", bins.join(":"));
    let tool = |program: &str| {
        let tool = lab.cmd(program).env("PATH", &path).env("LAB_DIR", lab.dir());
        tool.env("TMPDIR", lab.dir()).env("XDG_RUNTIME_DIR", lab.dir())
    };
    let execute = |run: &str, hosts: &str| {
        lab.new_run(
            run,
            &["sh", "-c", "echo on $FAKE_HOST $CUDA_VISIBLE_DEVICES; until [ -e go ]; do sleep 0.1; done"],
        );
        tool("run-exec").args(["-q", "--launch", &format!("ssh={hosts}"), run]).run().code(0).stderr("");
        lab.json(&format!("runs/{run}/.run/launch.json"))["job"].as_str().unwrap().to_owned()
    };
    for (run, gpu) in [("a", "GPU-2"), ("b", "GPU-3")] {
        execute(run, "cpu gpu1 gpu2");
        lab.await_text(&format!("runs/{run}/stdout.log"), &format!("on gpu2 {gpu}\n"));
    }
    // All are in use: the job waits on a host that has some.
    let job = execute("c", "cpu gpu1 gpu2");
    assert!(job.starts_with("gpu1:"), "{job}");
    let status = &tool("run-status").args(["--json", "c"]).run().code(0).json_lines()[0];
    assert_eq!(status["reason"], format!("job {job} is pending"));
    // No host has a GPU: they take turns.
    execute("d", "cpu other");
    lab.await_text("runs/d/stdout.log", "on cpu\n");
    tool("run-stop").arg("c").run().code(0);
    lab.write("go", "");
    tool("run-status").args(["--wait", "a", "b", "d"]).run().code(0);
    lab.await_nothing_left();
}

#[test]
fn an_option_that_a_launcher_does_not_carry_out_is_refused() {
    let lab = Lab::new();
    lab.new_run("r", &["true"]);
    for launcher in ["--slurm", "--launch=ssh"] {
        let done = lab.cmd("run-exec").args([launcher, "--fail-fast", "r"]).run().code(125);
        done.stderr_has("--fail-fast").stderr_has("cannot be used with");
    }
    assert_eq!(lab.status("r")["status"], "created");
}
