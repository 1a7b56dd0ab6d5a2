//! `run-new --name` of several runs: the name is the prefix of their names.

use testkit::Lab;

#[test]
fn a_name_is_the_prefix_in_sweeps_and_batches() {
    let lab = Lab::new();
    for config in ["a.yaml", "b.yaml", "sub/a.yaml"] {
        lab.write(config, "seed: 1\n");
    }
    let made = |args: &[&str]| lab.cmd("run-new").args(args).run().code(0).stderr("").out();
    assert_eq!(made(&["-n", "x", "--sweep", "lr=0.1,0.2"]), "runs/x_lr-0.1\nruns/x_lr-0.2\n");
    assert_eq!(made(&["-n", "y", "a.yaml", "b.yaml", "sub/a.yaml"]), "runs/y_a\nruns/y_b\nruns/y_a-2\n");
    let both = made(&["-b=both", "-n", "z", "--sweep", "k=1..2", "a.yaml", "b.yaml"]);
    assert_eq!(both, "runs/both/z_a_k-1\nruns/both/z_a_k-2\nruns/both/z_b_k-1\nruns/both/z_b_k-2\n");
    assert_eq!(lab.json("runs/both/z_b_k-2/.run/meta.json")["run_name"], "z_b_k-2");
    let more = made(&["-b=both", "--exist-ok", "-n", "z", "--sweep", "k=1..3", "a.yaml", "b.yaml"]);
    assert_eq!(more.lines().count(), 6);
    assert_eq!(made(&["-n", "one=1", "a.yaml"]), "runs/one=1\n");
    assert_eq!(made(&["-b=single", "-n", "one", "a.yaml"]), "runs/single/one\n");
}

#[test]
fn a_taken_name_creates_nothing() {
    let lab = Lab::new();
    lab.write("runs/x_k-2/file", "");
    let done = lab.cmd("run-new").args(["-n", "x", "--sweep", "k=1..3"]).run().code(1).stdout("");
    done.stderr("run-new: cannot create 'x_k-2': a run of this name exists\n");
    assert!(!lab.path("runs/x_k-1").exists());
    // Names are cut, and stay different.
    let long = "n".repeat(199);
    let done = lab.cmd("run-new").args(["-n", &long, "--sweep", "k=1..3"]).run().code(0).out();
    assert!(done.lines().all(|path| path.len() <= "runs/".len() + 200), "{done}");
    for config in ["a.yaml", "b.yaml"] {
        lab.write(config, "");
    }
    let done = lab.cmd("run-new").args(["-n", &long, "a.yaml", "b.yaml"]).run().code(2).stdout("");
    done.stderr_has("give a shorter --name");
}
