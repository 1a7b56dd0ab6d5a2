//! Operands of every tool that takes runs: names, paths and what stdin brings.

use testkit::Lab;

#[test]
fn a_stdin_that_cannot_be_read_is_said_once() {
    let lab = Lab::new();
    lab.new_run("r", &["true"]);
    for (tool, code) in [("run-status", 5), ("run-stop", 5), ("run-report", 5), ("run-exec", 5)] {
        let script = format!("timeout 20 {tool} r - < . > /dev/null");
        let done = lab.cmd("sh").args(["-c", &script]).run().code(code);
        assert_eq!(done.err().matches("cannot read stdin: Is a directory").count(), 1, "{}", done.err());
    }
}

#[test]
fn names_of_runs_that_are_created_meanwhile_are_found() {
    let lab = Lab::new();
    let create = |batch: &str, name: &str| {
        format!("run-new --batch={batch} --exist-ok -n {name} -- true > /dev/null; ")
    };
    let has_run =
        |run: &str| format!("until grep -q completed runs/{run}/.run/status.json; do sleep 0.02; done; ");
    let script = ["a", "b", "c"]
        .map(|name| create("one", name) + &format!("echo {name}; ") + &has_run(&format!("one/{name}")))
        .concat();
    let pipe = format!("{{ {script} {} echo a; }} | run-exec -q -", create("two", "a"));
    let done = lab.cmd("bash").args(["-o", "pipefail", "-c", &pipe]).run().code(2);
    done.stderr_has("'a' names 2 runs: 'runs/one/a' and 'runs/two/a'");
    assert_eq!(lab.status("two/a")["status"], "created");
}
