//! The contract of launchers, by the launchers that there are, and runs that are executed through it.

use testkit::slurm::Cluster;
use testkit::sshd::Sshd;
use testkit::{Lab, wait_for};

/// Every point that examples/check-launcher tries.
const POINTS: usize = 13;

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
    lab.cmd("run-stop").arg("long").run().code(0).stdout("runs/long: stopped\n");
    assert_eq!(lab.read("runs/long/stdout.log"), "begun\ntold\n");
    // A host that nobody knows is found out before anything is queued.
    lab.new_run("r", &["true"]);
    let done =
        Sshd::with_examples(lab.cmd("run-exec")).args(["--launch", "ssh=no-such-host.invalid", "r"]).run();
    done.code(125).stderr_has("cannot start jobs on 'no-such-host.invalid'");
    assert_eq!(lab.status("r")["status"], "created");
    drop(sshd);
    wait_for("the jobs to end", || lab.alive().is_empty());
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
