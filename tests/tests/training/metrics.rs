//! Metric files as no sane program writes them: lines of forty megabytes, rows of a million columns.

use serde_json::json;
use std::fs::{self, OpenOptions};
use std::io::Write;
use testkit::Lab;

/// Lines that make metrics.jsonl of rows, with a line of 40 MiB after the first.
const LONG: &str = "import os
f = open(os.environ['RUN_METRICS'], 'w')
f.write('{\"step\": 1, \"loss\": 4}\\n')
f.write('{\"step\": 2, \"loss\": 3, \"text\": \"' + 'x' * (40 << 20) + '\"}\\n')
for step in range(3, 103): f.write('{\"step\": %d, \"loss\": 2}\\n' % step)
";

#[test]
fn a_line_that_is_too_long_hides_no_row_after_it() {
    let lab = Lab::new();
    let run = lab.new_run("r", &["python3", "-c", LONG]);
    let said = |path: &str| format!("1 line of '{path}' cannot be read and is left out\n");
    let path = lab.path("runs/r/metrics.jsonl");
    let err = format!("run-exec: {}", said(path.to_str().unwrap()));
    lab.cmd("run-exec").args(["--heartbeat", "1h", &run]).run().code(0).stderr(&err);
    let status = lab.status("r");
    assert_eq!((&status["step"], &status["metrics"]["loss"]["count"]), (&json!(102), &json!(101)));
    assert_eq!(lab.json("runs/r/.run/result.json")["final_step"], 102);
    let err = format!("run-report: {}", said("runs/r"));
    let done = lab.cmd("run-report").arg("--metrics").run().code(0).stderr(&err);
    assert_eq!(done.out().lines().count(), 1 + 101);
    assert_eq!(done.out().lines().last(), Some("r,102,2"));
    let done = lab.cmd("run-report").args(["--export", "-"]).run().code(0).stderr(&err);
    let page: serde_json::Value = serde_json::from_str(&done.out()).unwrap();
    assert_eq!(page["runs"][0]["curves"][0]["rows"], 101);
    // A table of a trainer likewise.
    fs::remove_file(&path).unwrap();
    lab.write("runs/r/metrics.csv", format!("step,loss\n1,4\n2,{}\n3,2\n", "x".repeat(40 << 20)));
    lab.cmd("run-report").arg("--metrics").run().code(0).stderr(&err).stdout("run,step,loss\nr,1,4\nr,3,2\n");
}

#[test]
fn a_line_without_end_that_grows_hides_no_row_after_it() {
    let lab = Lab::new();
    let run = lab.new_run("r", &["sh", "-c", "until [ -e done ]; do sleep 0.02; done"]);
    let exec = lab.cmd("run-exec").args(["-q", "--heartbeat", "100ms", &run]).spawn();
    lab.await_child("r");
    let mut file =
        OpenOptions::new().append(true).create(true).open(lab.path("runs/r/metrics.jsonl")).unwrap();
    file.write_all(b"{\"step\": 1, \"loss\": 4}\n{\"step\": 2, ").unwrap();
    lab.await_status("r", "at step 1", |status| status["step"] == 1);
    for _ in 0..5 {
        let beat = lab.status("r")["last_heartbeat"].clone();
        file.write_all(&vec![b'x'; 9 << 20]).unwrap();
        lab.await_status("r", "seen", |status| status["last_heartbeat"] != beat);
    }
    file.write_all(b"\n{\"step\": 7, ").unwrap();
    file.write_all(b"\"loss\": 1}\n").unwrap();
    lab.await_status("r", "at step 7", |status| status["step"] == 7);
    lab.write("done", "");
    exec.wait().code(0).stderr_has("1 line of '");
    assert_eq!(lab.status("r")["metrics"]["loss"]["count"], 2);
}

#[test]
fn a_line_on_stdout_that_is_too_long_hides_no_row_after_it() {
    let lab = Lab::new();
    let program = "print('{\"step\": 1, \"loss\": 4}')\nprint('{\"step\": 2, \"loss\": ' + '3' * (40 << 20) + '}')\nprint('{\"step\": 3, \"loss\": 2}')";
    let run = lab.new_run("r", &["python3", "-c", program]);
    lab.cmd("run-exec").args(["-q", &run]).run().code(0).stderr("");
    assert_eq!(lab.read("runs/r/.run/scraped.jsonl"), "{\"step\":1,\"loss\":4}\n{\"step\":3,\"loss\":2}\n");
    assert_eq!(lab.status("r")["metrics"]["loss"]["count"], 2);
}

#[test]
fn a_line_of_a_gigabyte_takes_no_gigabyte_of_memory() {
    let lab = Lab::new();
    let program = "truncate -s 1G $RUN_METRICS; printf '\\n{\"step\": 2, \"loss\": 1}\\n' >>$RUN_METRICS";
    let run = lab.new_run("r", &["sh", "-c", program]);
    let limited = |words: &str| lab.cmd("sh").args(["-c", &format!("ulimit -v 600000; exec {words}")]).run();
    limited(&format!("run-exec -q {run}")).code(0).stderr_has("1 line of '");
    assert_eq!(lab.status("r")["step"], 2);
    limited("run-report --metrics").code(0).stdout("run,step,loss\nr,2,1\n");
    limited("run-report --export -").code(0);
}

/// Without an index of the columns, each of these would take minutes, and be given up.
#[test]
fn very_many_columns_are_no_harder_to_find_than_few() {
    const COLUMNS: usize = 200_000;
    const RECORDED: usize = 10_000;
    let lab = Lab::new();
    let program = format!(
        "import os\nf = open(os.environ['RUN_METRICS'], 'w')\n\
         for step in (1, 2): print('{{\"step\": %d' % step + ''.join(', \"c%d\": %d' % (n, step) for n in range({COLUMNS})) + '}}', file=f)"
    );
    let run = lab.new_run("json", &["python3", "-c", &program]);
    lab.cmd("run-exec").args(["-q", "--heartbeat", "1h", &run]).run().code(0).stderr("");
    let line = |cell: &dyn Fn(usize) -> String| (0..COLUMNS).map(cell).collect::<Vec<_>>().join(",");
    let header = line(&|number| format!("c{number}"));
    lab.new_run("csv", &["true"]);
    let rows = ["1", "2", "x"].map(|cell| line(&|_| cell.to_owned()));
    lab.write(
        "runs/csv/metrics.csv",
        format!("step,{header}\n1,{}\n2,{}\nx,{}\n", rows[0], rows[1], rows[2]),
    );
    let status = lab.status("json");
    assert_eq!((&status["step"], status["metrics"].as_object().unwrap().len()), (&json!(2), RECORDED));
    let details = lab.cmd("run-status").arg("json").run().code(0).out();
    assert_eq!(details.lines().filter(|line| line.starts_with('c')).count(), RECORDED + 2); // command, checkpoint
    let table = lab.cmd("run-report").args(["--format", "csv"]).run().code(0).out();
    let head = table.lines().next().unwrap();
    assert_eq!(head.matches(".last,").count(), COLUMNS);
    let all = lab.cmd("run-report").arg("--metrics").run().code(0).out();
    let widths: Vec<usize> = all.lines().map(|line| line.split(',').count()).collect();
    assert_eq!(widths, [COLUMNS + 2; 6]);
}

#[test]
fn large_rows_make_no_record_that_is_too_large_to_be_read() {
    let lab = Lab::new();
    let program = "import os
f = open(os.environ['RUN_METRICS'], 'w')
for step in range(6): f.write('{\"step\": %d, \"image\": \"%s\", \"loss\": 1, \"phase\": \"x\"}\\n' % (step, 'x' * (5 << 20)))
";
    let run = lab.new_run("r", &["python3", "-c", program]);
    lab.cmd("run-exec").args(["-q", &run]).run().code(0).stderr("");
    let done = lab.cmd("run-status").args(["--json", "--full", "r"]).run().code(0);
    let status: serde_json::Value = serde_json::from_str(&done.out()).unwrap();
    assert_eq!(status["recent"][4], json!({"step": 5, "loss": 1, "phase": "x"}));
    assert_eq!(lab.status("r")["metrics"]["loss"]["count"], 6);
}

#[test]
fn a_row_that_was_cut_off_costs_the_next_attempt_none() {
    let lab = Lab::new();
    let script = "if [ $RUN_ATTEMPT = 1 ]; then printf '{\"step\": 1, \"loss\": 3}\\n{\"step\": 2, \"lo' >>$RUN_METRICS; exit 1; fi
                  for i in 2 3; do echo \"{\\\"step\\\": $i, \\\"loss\\\": 1}\" >>$RUN_METRICS; done";
    lab.new_run("r", &["sh", "-c", script]);
    lab.cmd("run-exec").args(["-q", "r"]).run().code(1);
    lab.cmd("run-exec").args(["-q", "--resume", "r"]).run().code(0);
    let done = lab.cmd("run-report").args(["--metrics", "r"]).run().code(0);
    assert_eq!(done.out(), "run,step,loss\nr,1,3\nr,2,1\nr,3,1\n", "{}", done.err());
}

#[test]
fn numbers_in_quotes_count_in_every_tool() {
    let lab = Lab::new();
    let row =
        |step: u32, loss: &str| format!(r#"{{\"step\": \"{step}\", \"loss\": \"{loss}\", \"id\": \"007\"}}"#);
    let script = format!(
        "if [ $RUN_ATTEMPT = 1 ]; then echo \"{}\" >>$RUN_METRICS; echo \"{}\" >>$RUN_METRICS; exit 1; fi
         echo \"{}\" >>$RUN_METRICS",
        row(1, "0.5"),
        row(2, "0.25"),
        row(2, "1e-3")
    );
    lab.new_run("r", &["sh", "-c", &script]);
    lab.cmd("run-exec").args(["-q", "r"]).run().code(1);
    lab.cmd("run-exec").args(["-q", "--resume", "r"]).run().code(0);
    let status = lab.status("r");
    assert_eq!((&status["step"], &status["metrics"]["loss"]["last"]), (&json!(2), &json!(0.001)));
    assert!(status["metrics"].get("id").is_none());
    let superseded = "run-report: 1 row of 'runs/r' is superseded by a later one and left out\n";
    let done = lab.cmd("run-report").args(["--metrics", "r"]).run().code(0).stderr(superseded);
    assert_eq!(done.out(), "run,step,loss,id\nr,1,0.5,007\nr,2,1e-3,007\n");
    let table = lab.cmd("run-report").args(["--columns", "loss", "--format", "csv"]).run().code(0).out();
    assert!(table.contains("r,0.001,0.001,"), "{table}");
}
