//! Metrics that are read from the logs of ended runs, and warnings about metrics that were not found.

use serde_json::{Value, json};
use testkit::Lab;

const PATTERN: &str = r"^E(?<epoch>\d+) acc=(?<acc>\S+)$";

/// Executes a shell script in a run, with options.
fn ran(lab: &Lab, name: &str, options: &[&str], script: &str) {
    lab.new_run(name, &["sh", "-c", script]);
    lab.cmd("run-exec").arg("-q").args(options).arg(name).run();
}

/// Makes a run have begun this number of seconds earlier.
fn lengthen(lab: &Lab, name: &str, seconds: &str) {
    let path = format!("runs/{name}/.run/status.json");
    let mut record = lab.json(&path);
    let time = record["start_time"].as_str().unwrap().to_owned();
    let date =
        lab.cmd("date").args(["-u", "-d", &format!("{time} - {seconds} seconds"), "+%FT%T.000Z"]).run();
    record["start_time"] = date.code(0).out().trim_end().into();
    lab.write(&path, format!("{record}\n"));
}

#[test]
fn a_report_reads_metrics_off_the_logs_of_runs_that_have_ended() {
    let lab = Lab::new();
    ran(&lab, "a", &[], "for i in 1 2 3; do echo \"E$i acc=0.$i\"; done");
    ran(&lab, "b", &[], "echo 'E7 acc=0.5' >&2; exit 1");
    ran(&lab, "c", &[], "echo '{\"step\": 1, \"loss\": 2}' >>$RUN_METRICS");
    let report = |words: &[&str]| lab.cmd("run-report").args(words).run().code(0).stderr("");
    let expected = "run,step,epoch,acc\na,1,1,0.1\na,2,2,0.2\na,3,3,0.3\nb,7,7,0.5\n";
    let printed = report(&["--metrics", "--scrape", PATTERN, "a", "b"]).out();
    assert_eq!(printed.lines().count(), expected.lines().count(), "{printed}");
    assert!(printed.contains("0.3") && printed.contains("0.5"), "{printed}");
    let table = report(&["--format", "json", "--scrape", PATTERN]).json_lines();
    let last = |run: &str, metric: &str| {
        let line = table.iter().find(|line| line["run"] == run).unwrap();
        line.get(format!("{metric}.last")).cloned().unwrap_or(Value::Null)
    };
    assert_eq!([last("a", "acc"), last("b", "acc"), last("c", "loss")], [json!(0.3), json!(0.5), json!(2)]);
    assert!(report(&["--plot", "acc", "--scrape", PATTERN, "a"]).out().contains("acc"));
    // What a later attempt went over again counts once.
    let script = "for i in $(seq $((2 * RUN_ATTEMPT - 1)) 5); do echo E$i acc=0.$RUN_ATTEMPT; done";
    ran(&lab, "again", &[], script);
    lab.cmd("run-exec").args(["-q", "--resume", "again"]).run().code(0);
    let done = lab.cmd("run-report").args(["--metrics", "--scrape", PATTERN, "again"]).run().code(0);
    done.stderr_has("3 rows of 'runs/again' are superseded by later ones and left out");
    let printed = lab.cmd("run-report").args(["--metrics", "--scrape", PATTERN, "again"]).run().out();
    let values: Vec<&str> = printed.lines().skip(1).filter_map(|line| line.rsplit(',').next()).collect();
    assert_eq!(values, ["0.1", "0.1", "0.2", "0.2", "0.2"], "{printed}");
    // Nothing is written, and what is running is left to its supervisor.
    assert!(!lab.path("runs/a/.run/scraped.jsonl").exists());
    let exec = {
        lab.new_run("d", &["sh", "-c", "echo 'E1 acc=1'; while [ ! -e end ]; do sleep 0.02; done"]);
        lab.cmd("run-exec").args(["-q", "d"]).spawn()
    };
    lab.await_text("runs/d/stdout.log", "E1");
    let done = lab.cmd("run-report").args(["--metrics", "--scrape", PATTERN, "d"]).run().code(0);
    done.stderr_has("--scrape matches no line of stdout.log or stderr.log of the runs that have ended");
    lab.write("end", "");
    exec.wait().code(0);
    lab.cmd("run-report").args(["--scrape", "loss ("]).run().code(2).stderr_has("unclosed group");
}

#[test]
fn metrics_that_were_not_seen_are_said_with_the_ways_to_them() {
    let lab = Lab::new();
    let details = |name: &str| lab.cmd("run-status").arg(name).run().code(0).out();
    let advice =
        |said: &str| said.contains("no metric was seen") && said.contains("run-report --scrape PATTERN");
    ran(&lab, "prints", &[], "echo hello");
    assert!(advice(&details("prints")), "{}", details("prints"));
    for option in ["--plot=loss", "--columns=loss"] {
        let done = lab.cmd("run-report").args([option, "prints"]).run();
        assert!(done.code > 0 && advice(&done.err()), "{}", done.err());
    }
    ran(&lab, "fails", &[], "echo hello; exit 1");
    assert!(!details("fails").contains("no metric"), "it was too short");
    lengthen(&lab, "fails", "90");
    assert!(advice(&details("fails")));
    ran(&lab, "silent", &[], "true");
    lengthen(&lab, "silent", "90");
    assert!(!details("silent").contains("no metric"));
    ran(&lab, "writes", &[], "echo hello; echo '{\"step\": 1, \"loss\": 2}' >>$RUN_METRICS");
    lengthen(&lab, "writes", "90");
    assert!(!details("writes").contains("no metric"));
    // A pattern that never matched.
    let options = ["--scrape", PATTERN, "--scrape", "loss=(?<loss>[0-9.]+) at (?<step>[0-9]+)"];
    ran(&lab, "one", &options, "echo loss=0.5 at 7; echo E1 acc:0.5");
    let said = details("one");
    assert!(said.contains(r"--scrape '^E(?<epoch>\d+) acc=(?<acc>\S+)$' has matched no line"), "{said}");
    ran(&lab, "both", &options, "echo loss=0.5 at 7; echo E1 acc=0.5");
    assert!(!details("both").contains("has matched no line"));
}
