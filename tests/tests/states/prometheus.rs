//! Runs as metrics of Prometheus.

use testkit::Lab;
use testkit::reports::ran;

#[test]
fn prometheus_accepts_the_runs() {
    let lab = Lab::new();
    ran(
        &lab,
        "odd \"one\\",
        &[],
        "printf '%s\\n' '{\"step\": 3, \"loss\": NaN, \"a\\\"b\\\\c\": 0.5}' >>$RUN_METRICS",
    );
    ran(&lab, "failed", &[], "exit 3");
    lab.new_run("new", &["true"]);
    let text = |words: &[&str]| {
        let done =
            lab.cmd("run-status").args(["--format", "prometheus"]).args(words).run().code(0).stderr("");
        let text = done.out();
        lab.cmd("promtool").args(["check", "metrics"]).stdin(&text).run().code(0);
        text
    };
    let told = text(&["-a"]);
    for line in [
        "runs{status=\"completed\"} 1",
        "runs{status=\"dead\"} 0",
        "run_status{run=\"failed\",status=\"failed\"} 1",
        "run_status{run=\"odd \\\"one\\\\\",status=\"completed\"} 1",
        "run_step{run=\"odd \\\"one\\\\\"} 3",
        "run_metric{run=\"odd \\\"one\\\\\",metric=\"loss\"} NaN",
        "run_metric{run=\"odd \\\"one\\\\\",metric=\"a\\\"b\\\\c\"} 0.5",
        "run_attempts{run=\"new\"} 0",
    ] {
        assert!(told.lines().any(|known| known == line), "{line}\n{told}");
    }
    // The runs that need attention, unless all were asked for.
    assert!(!text(&[]).contains("odd"));
    assert!(
        text(&["--status", "dead"]).lines().all(|line| line.starts_with('#') || line.starts_with("runs{"))
    );
    lab.cmd("run-status").args(["--format", "prometheus", "--json"]).run().code(2);
    lab.cmd("run-status").args(["--format", "x"]).run().code(2);
}
