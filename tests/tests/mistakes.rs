//! Command lines with a mistake that many people make: a line says how to write it.

use testkit::Lab;

#[test]
fn run_new_without_anything_prints_its_usage() {
    let lab = Lab::new();
    let done = lab.cmd("run-new").run().code(2).stdout("");
    assert!(done.err().starts_with("Usage: run-new [OPTIONS]"), "{}", done.err());
    done.stderr_has("run-new base.yaml -- python train.py {config} | run-exec -\n\nsee 'run-new --help'\n");
    assert!(!lab.path("runs").exists());
    lab.cmd("run-new").args(["--note", "bare"]).run().code(0);
}
