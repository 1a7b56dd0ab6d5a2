//! `run-status --watch` in a real terminal (tmux) and on a pipe, and `--wait`.

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use testkit::process::Signal;
use testkit::terminal::Terminal;
use testkit::{Lab, pid, signal, wait_for};

/// Returns whether details have a fact with this value.
fn has_fact(shown: &str, key: &str, value: &str) -> bool {
    shown.lines().any(|line| line.split_whitespace().eq([key, value]))
}

/// Creates runs that have not started.
fn create(lab: &Lab, names: &[&str]) {
    for name in names {
        lab.new_run(name, &["sleep", "1000"]);
    }
}

#[test]
fn a_list_is_redrawn_in_place_fits_the_terminal_and_leaves_it_as_it_was() {
    let lab = Lab::new();
    create(&lab, &["one", "two", "three \u{1f680}"]);
    let terminal = Terminal::open(&lab, 70, 20);
    terminal.keys(&["echo before; run-status --watch=0.2", "Enter"]);
    let shown = terminal.await_text("3 created");
    assert!(!shown.contains("before") && shown.contains("three 🚀  created"), "{shown}");
    assert_eq!(shown.lines().filter(|line| line.contains("created")).count(), 4, "{shown}");
    // What happens is shown, in its place.
    let exec = lab.cmd("run-exec").args(["-q", "one"]).spawn();
    let shown = terminal.await_text("1 running");
    assert!(shown.contains("one       running") && shown.contains("2 created"), "{shown}");
    create(&lab, &["four"]);
    terminal.await_text("3 created");
    // It fits: rows that have no room are counted, and long ones cut.
    terminal.tmux(&["resize-window", "-x", "40", "-y", "6"]);
    let shown = terminal.await_text("and 1 more");
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines.len() <= 6 && lines.iter().all(|line| line.chars().count() <= 40), "{shown}");
    assert!(lines[2].starts_with("one") || lines[3].starts_with("one"), "{shown}");
    terminal.tmux(&["resize-window", "-x", "100", "-y", "30"]);
    wait_for("all rows to be back", || {
        terminal.text().contains("three 🚀") && !terminal.text().contains("more")
    });
    // It can be suspended and comes back.
    terminal.keys(&["C-z"]);
    terminal.await_text("Stopped");
    terminal.is_as_it_was();
    terminal.keys(&["fg", "Enter"]);
    terminal.await_text("1 running");
    terminal.keys(&["q"]);
    terminal.await_text("before");
    terminal.is_as_it_was();
    exec.signal(Signal::TERM);
    exec.wait();
}

#[test]
fn the_terminal_is_restored_however_it_ends() {
    let lab = Lab::new();
    create(&lab, &["one"]);
    let terminal = Terminal::open(&lab, 80, 24);
    for end in ["C-c", "TERM", "HUP"] {
        terminal.keys(&["clear", "Enter"]);
        terminal.keys(&["run-status --watch; echo ended $?", "Enter"]);
        terminal.await_text("1 created");
        if end == "C-c" {
            terminal.keys(&["C-c"]);
        } else {
            let is_watch = |pid: &i32| {
                fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words == b"run-status\0--watch\0")
            };
            let watching = lab.alive().into_iter().find(is_watch).expect("a watch");
            signal(watching, if end == "TERM" { Signal::TERM } else { Signal::HUP });
        }
        let status = match end {
            "C-c" => "ended 0",
            "TERM" => "ended 143",
            _ => "ended 129",
        };
        terminal.await_text(status);
        terminal.is_as_it_was();
    }
}

#[test]
fn one_run_is_watched_until_it_ends_with_its_figures_and_its_curve() {
    let lab = Lab::new();
    lab.write("base.yaml", "seed: 7\n");
    let program = "for i in 1 2 3 4 5 6 7 8; do echo \"{\\\"step\\\": $i, \\\"loss\\\": $((9 - i))}\" >> $RUN_METRICS; done; \
                   while [ ! -e go ]; do sleep 0.05; done";
    lab.cmd("run-new")
        .args([
            "-n",
            "r",
            "-s",
            "lr=1e-3",
            "--set-by-env",
            "--total-steps",
            "16",
            "base.yaml",
            "--",
            "sh",
            "-c",
            program,
        ])
        .run()
        .code(0);
    let exec = lab.cmd("run-exec").args(["-q", "--heartbeat", "100ms", "r"]).spawn();
    let terminal = Terminal::open(&lab, 90, 28);
    terminal.keys(&["clear; run-status --watch=0.2 r", "Enter"]);
    let shown = terminal.await_text("loss  █▇▆▅▄▃▂▁  1");
    for part in ["running", "8/16 (50.0%)", "lr=1e-3", "base.yaml", "duration:", "eta:"] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    let rows: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(
        rows.contains(&vec!["8", "1"]) && rows.contains(&vec!["4", "5"]) && !rows.contains(&vec!["3", "6"])
    );
    assert!(rows.contains(&vec!["loss", "1.000", "1.000", "8.000", "4.500", "2.449", "8"]), "{shown}");
    lab.write("go", "");
    exec.wait().code(0);
    // It ends with the run, and what it said last stays.
    wait_for("the end", || has_fact(&terminal.text(), "status:", "completed"));
    let shown = terminal.text();
    assert!(shown.contains("loss  █▇▆▅▄▃▂▁  1"), "{shown}");
    terminal.is_as_it_was();
}

#[test]
fn the_curve_is_that_of_the_file_that_the_trainer_writes() {
    let lab = Lab::new();
    let program = "for i in 1 2 3 4; do echo $i,$((5 - i)); done | { echo step,loss; cat; } > $RUN_DIR/metrics.csv; \
                   while [ ! -e go ]; do sleep 0.05; done; echo 5,1 >> $RUN_DIR/metrics.csv";
    let run = lab.new_run("r", &["sh", "-c", program]);
    let exec = lab.cmd("run-exec").args(["-q", "--heartbeat", "100ms", &run]).spawn();
    let terminal = Terminal::open(&lab, 90, 26);
    terminal.keys(&["clear; run-status --watch=0.2 r", "Enter"]);
    let shown = terminal.await_text("loss  █▆▃▁  1");
    assert!(has_fact(&shown, "step:", "4"), "{shown}");
    wait_for("the record to name the file", || has_fact(&terminal.text(), "metrics:", "metrics.csv"));
    lab.write("go", "");
    exec.wait().code(0);
    wait_for("the end", || has_fact(&terminal.text(), "status:", "completed"));
    let shown = terminal.text();
    assert!(shown.contains("loss  █▆▃▁▁  1"), "{shown}");
    terminal.is_as_it_was();
}

#[test]
fn details_use_the_height_and_are_as_new_as_the_rows_in_every_part() {
    let lab = Lab::new();
    let program = "for i in 1 2 3 4; do echo \"{\\\"step\\\": $i, \\\"loss\\\": $((9 - i)).5}\" >> $RUN_METRICS; done; echo begun; \
                   while [ ! -e more ]; do sleep 0.05; done; \
                   for i in 5 6; do echo \"{\\\"step\\\": $i, \\\"loss\\\": $((9 - i)).5}\" >> $RUN_METRICS; done; \
                   while [ ! -e go ]; do sleep 0.05; done";
    lab.cmd("run-new").args(["-n", "r", "--total-steps", "16", "--", "sh", "-c", program]).run().code(0);
    // The record is written at the start, and not again before the end.
    let exec = lab.cmd("run-exec").args(["-q", "--heartbeat", "1h", "r"]).spawn();
    lab.await_text("runs/r/stdout.log", "begun");
    let terminal = Terminal::open(&lab, 90, 45);
    terminal.keys(&["clear; run-status --watch=0.2 r", "Enter"]);
    let is_of = |shown: &str, step: u32| {
        let last = format!("{}.500", 9 - step);
        let rows: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        let starts = |words: &[&str]| rows.iter().any(|row| row.starts_with(words));
        starts(&["step:", &format!("{step}/16")])
            && starts(&["loss", &last])
            && starts(&[&step.to_string(), &last])
            && starts(&["loss", &last, &last, "8.500"])
            && starts(&["1", "step", &step.to_string()])
    };
    let mut shown = String::new();
    wait_for("all parts to tell of step 4", || {
        shown = terminal.text();
        is_of(&shown, 4)
    });
    assert!(shown.contains("8.500 ┤") && shown.contains("stdout.log:\nbegun\n"), "{shown}");
    lab.write("more", "");
    wait_for("all parts to tell of step 6", || {
        shown = terminal.text();
        is_of(&shown, 6)
    });
    assert!(shown.contains("eta:") && !has_fact(&shown, "eta:", "0s"), "{shown}");
    lab.write("go", "");
    exec.wait().code(0);
    wait_for("the end", || has_fact(&terminal.text(), "status:", "completed"));
    let shown = terminal.text();
    assert!(is_of(&shown, 6) && shown.contains("resources:"), "{shown}");
    terminal.is_as_it_was();
}

#[test]
fn a_list_is_as_new_as_the_rows_of_each_run() {
    let lab = Lab::new();
    let program = "echo '{\"step\": 1, \"loss\": 8.5}' >> $RUN_METRICS; echo begun; while [ ! -e $NEXT ]; do sleep 0.05; done; \
                   echo '{\"step\": 2, \"loss\": 7.5}' >> $RUN_METRICS; while [ ! -e go ]; do sleep 0.05; done";
    // The record is written at the start, and not again before the end.
    let exec = |name: &'static str| {
        lab.cmd("run-new").args(["-n", name, "--total-steps", "16", "--", "sh", "-c", program]).run().code(0);
        let exec = lab.cmd("run-exec").args(["-q", "--heartbeat", "1h", name]).env("NEXT", name).spawn();
        lab.await_text(&format!("runs/{name}/stdout.log"), "begun");
        exec
    };
    let running = ["a", "b"].map(exec);
    let terminal = Terminal::open(&lab, 100, 20);
    terminal.keys(&["clear; run-status --watch=0.2", "Enter"]);
    let is_of = |shown: &str, name: &str, step: u32| {
        let words = [name, "running", &format!("{step}/16"), &format!("loss={}.500", 9 - step)];
        let has = |line: &str| {
            let mut rest = line.split_whitespace();
            words.iter().all(|word| rest.any(|other| other == *word))
        };
        shown.lines().any(has)
    };
    let await_steps = |steps: [u32; 2]| {
        let both =
            || ["a", "b"].into_iter().zip(steps).all(|(name, step)| is_of(&terminal.text(), name, step));
        wait_for(&format!("steps {steps:?}"), both);
    };
    await_steps([1, 1]);
    lab.write("b", "");
    await_steps([1, 2]);
    lab.write("a", "");
    await_steps([2, 2]);
    // The time left follows from these steps.
    let shown = terminal.text();
    let heads = shown.lines().find(|line| line.starts_with("RUN ")).unwrap();
    let place = |head: &str| heads.find(head).unwrap_or_else(|| panic!("{shown}"));
    for line in shown.lines().filter(|line| line.contains("2/16")) {
        let left = line[place("DURATION") + "DURATION".len()..place("ETA") + "ETA".len()].trim();
        assert!(left.ends_with('s') && left != "0s", "{shown}");
    }
    lab.write("go", "");
    for exec in running {
        exec.wait().code(0);
    }
    terminal.await_text("2 completed");
    terminal.keys(&["q"]);
    terminal.is_as_it_was();
}

#[test]
fn keys_show_another_run_and_its_log_and_stop_it_after_a_question() {
    let lab = Lab::new();
    lab.new_run("a", &["sh", "-c", "echo 'a line of the log'; sleep 1000"]);
    create(&lab, &["b"]);
    let exec = lab.cmd("run-exec").args(["-q", "a"]).spawn();
    lab.await_text("runs/a/stdout.log", "a line");
    let terminal = Terminal::open(&lab, 80, 30);
    terminal.keys(&["clear; run-status --watch=0.2", "Enter"]);
    let shown = terminal.await_text("n details   q quit");
    assert!(shown.contains("1 created, 1 running"), "{shown}");
    terminal.keys(&["n"]);
    let shown = terminal.await_text("n next run   l log   s stop   q quit");
    assert!(has_fact(&shown, "run:", "a") && shown.trim_end().ends_with("q quit"), "{shown}");
    terminal.keys(&["l"]);
    let shown = terminal.await_text("l details");
    assert!(shown.starts_with("stdout.log:\na line of the log\n") && !shown.contains("run: "), "{shown}");
    // Any key but y takes the stop back.
    terminal.keys(&["s"]);
    terminal.await_text("stop 'a'? y yes   any other key no");
    terminal.keys(&["n"]);
    terminal.await_text("l details");
    assert_eq!(lab.status("a")["status"], "running");
    terminal.keys(&["s"]);
    terminal.await_text("stop 'a'? y yes");
    terminal.keys(&["y"]);
    terminal.await_text("asked 'a' to stop");
    exec.wait();
    let reason = lab.status("a")["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("stopped by "), "{reason}");
    // A run that has ended is not stopped again.
    terminal.keys(&["l"]);
    wait_for("the end", || {
        let shown = terminal.text();
        has_fact(&shown, "status:", "stopped")
            && shown.lines().any(|line| line.starts_with("reason:") && line.ends_with(&reason))
    });
    terminal.keys(&["s"]);
    // The next run, and the list again.
    terminal.keys(&["n"]);
    wait_for("the next run", || has_fact(&terminal.text(), "run:", "b"));
    terminal.keys(&["n"]);
    terminal.await_text("n details   q quit");
    terminal.keys(&["q"]);
    terminal.is_as_it_was();
}

#[test]
fn a_question_lapses_with_the_end_of_the_run() {
    let lab = Lab::new();
    lab.new_run("a", &["sh", "-c", "while [ ! -e go ]; do sleep 0.05; done"]);
    let exec = lab.cmd("run-exec").args(["-q", "a"]).spawn();
    lab.await_child("a");
    let terminal = Terminal::open(&lab, 80, 30);
    terminal.keys(&["clear; run-status --watch=0.2", "Enter"]);
    terminal.await_text("n details   q quit");
    terminal.keys(&["n"]);
    terminal.await_text("s stop");
    terminal.keys(&["s"]);
    terminal.await_text("stop 'a'? y yes");
    lab.write("go", "");
    exec.wait();
    let shown = terminal.await_text("n next run   l log   s stop   q quit");
    assert!(!shown.contains("stop 'a'?"), "{shown}");
    // The key is no answer any more.
    terminal.keys(&["y"]);
    terminal.keys(&["l"]);
    terminal.await_text("l details");
    assert_eq!(lab.status("a")["status"], "completed");
    terminal.keys(&["q"]);
    terminal.is_as_it_was();
}

#[test]
fn what_a_run_has_cost_so_far_is_watched() {
    let lab = Lab::new();
    lab.new_run(
        "r",
        &[
            "sh",
            "-c",
            "[ $RUN_ATTEMPT = 2 ] || { sleep 0.1; exit 1; }; while [ ! -e go ]; do sleep 0.05; done",
        ],
    );
    lab.cmd("run-exec").args(["-q", "r"]).env("RUN_RATE", "36000").run().code(1);
    let first = lab.json("runs/r/.run/result.json")["cost_usd"].as_f64().unwrap();
    let exec = lab.cmd("run-exec").args(["-q", "--resume", "r"]).env("RUN_RATE", "36000").spawn();
    lab.await_status("r", "running", |status| status["status"] == "running");
    let terminal = Terminal::open(&lab, 90, 40);
    terminal.keys(&["clear; RUN_RATE=36000 run-status --watch=0.2 r", "Enter"]);
    let shown = |text: &str| -> Option<(f64, String)> {
        let line = text.lines().find_map(|line| line.strip_prefix("cost:"))?.trim().to_owned();
        let dollars = line.trim_start_matches('$').split(',').next()?.parse().ok()?;
        Some((dollars, line))
    };
    // Ten dollars a second, and those of the first attempt, which were lost.
    let (start, line) = shown(&terminal.await_text("cost:")).unwrap();
    assert!(start > first && line.ends_with(&format!(", ${first:.2} of it wasted")), "{line}");
    wait_for("the cost to grow", || shown(&terminal.text()).is_some_and(|(now, _)| now > start + 5.0));
    lab.write("go", "");
    exec.wait().code(0);
    terminal.await_text("completed");
    let attempts = lab.json_lines("runs/r/.run/attempts.jsonl");
    let both: f64 = attempts.iter().filter_map(|line| line["cost_usd"].as_f64()).sum();
    assert_eq!(shown(&terminal.text()).unwrap().1, format!("${both:.2}, ${first:.2} of it wasted"));
}

#[test]
fn on_a_pipe_it_prints_what_changed() {
    let lab = Lab::new();
    create(&lab, &["a", "b"]);
    let mut watch = lab.cmd("run-status").args(["--watch=0.1"]).spawn();
    let mut lines = BufReader::new(watch.child.stdout.take().unwrap()).lines();
    let mut next = || {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let word = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        (word("run_name"), word("status"), word("reason"))
    };
    let line = |name: &str, status: &str| (name.to_owned(), status.to_owned(), String::new());
    assert_eq!((next(), next()), (line("a", "created"), line("b", "created")));
    let exec = lab.cmd("run-exec").args(["-q", "--heartbeat", "20ms", "b"]).spawn();
    assert_eq!(next(), line("b", "running"));
    lab.await_child("b");
    create(&lab, &["c"]);
    // Heartbeats alone are no news; that the command's pid is known may be.
    let mut after = next();
    if after == line("b", "running") {
        after = next();
    }
    assert_eq!(after, line("c", "created"));
    exec.signal(Signal::TERM);
    exec.wait();
    let mut seen = next();
    while seen.1 == "running" {
        seen = next();
    }
    assert_eq!((seen.0.as_str(), seen.1.as_str()), ("b", "stopped"));
    watch.signal(Signal::TERM); // SIGINT is ignored by what a shell starts in the background
    assert_eq!(watch.wait().code, 1015);
    // Runs that were named end it.
    let done = lab.cmd("run-status").args(["--watch=0.1", "b"]).run().code(0).out();
    assert_eq!(done.lines().count(), 1);
}

#[test]
fn waiting_ends_with_the_last_run_and_says_how_each_ended() {
    let lab = Lab::new();
    lab.new_run("good", &["sh", "-c", "while [ ! -e go ]; do sleep 0.02; done"]);
    lab.new_run("bad", &["sh", "-c", "while [ ! -e go ]; do sleep 0.02; done; exit 3"]);
    let wait = lab.cmd("run-status").args(["--wait", "good", "bad"]).spawn();
    let good = lab.cmd("run-exec").args(["-q", "good"]).spawn();
    let bad = lab.cmd("run-exec").args(["-q", "bad"]).spawn();
    let only_good = lab.cmd("run-status").args(["--wait", "--json", "good"]).spawn();
    lab.await_status("bad", "running", |status| status["status"] == "running");
    lab.cmd("run-status")
        .args(["--wait", "--timeout", "100ms", "good", "bad"])
        .run()
        .code(1)
        .stdout("")
        .stderr_has("2 runs have not ended after 0.1s, such as 'runs/good'");
    lab.write("go", "");
    good.wait().code(0);
    bad.wait().code(3);
    let done = wait.wait().code(1);
    let mut lines: Vec<String> = done.out().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["runs/bad: failed", "runs/good: completed"]);
    let line: Value = serde_json::from_str(&only_good.wait().code(0).out()).unwrap();
    assert_eq!(line["status"], "completed");
    // No run is active: nothing is waited for.
    lab.cmd("run-status").arg("--wait").run().code(0).stdout("");
    lab.cmd("run-status").args(["--wait", "nope"]).run().code(3);
}

#[test]
fn it_waits_by_handles_on_supervisors_and_by_notices_of_records() {
    let lab = Lab::new();
    lab.new_run("active", &["sleep", "1000"]);
    create(&lab, &["new"]);
    lab.cmd("run-exec").args(["--detach", "active"]).run().code(0);
    let supervisor = lab.status("active")["pid"].to_string();
    let wait = lab.cmd("run-status").args(["--wait", "active", "new"]).spawn();
    let facts = || {
        let directory = fs::read_dir(format!("/proc/{}/fdinfo", wait.pid())).unwrap();
        let facts = directory.filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok());
        facts.collect::<String>()
    };
    let has_pidfd = |facts: &str| {
        let pids = facts.lines().filter_map(|line| line.strip_prefix("Pid:"));
        pids.map(str::trim).any(|pid| pid == supervisor)
    };
    wait_for("it to hold both", || {
        let facts = facts();
        has_pidfd(&facts) && facts.lines().any(|line| line.starts_with("inotify "))
    });
    lab.cmd("run-stop").args(["active", "new"]).run().code(0);
    lab.cmd("run-exec").args(["-q", "new"]).run().code(125);
    wait.wait().code(1).stdout("runs/active: stopped\nruns/new: stopped\n");
}

#[test]
fn a_supervisor_and_monitor_that_are_killed_end_a_wait() {
    let lab = Lab::new();
    lab.new_run("r", &["sleep", "1000"]);
    let exec = lab.cmd("run-exec").args(["-q", "r"]).spawn();
    let status = lab.await_child("r");
    let wait = lab.cmd("run-status").args(["--wait", "r"]).spawn();
    exec.kill_with(pid(&status, "pid"));
    testkit::signal(pid(&status, "child_pid"), Signal::KILL);
    wait.wait().code(1).stdout("runs/r: dead\n");
}

#[test]
fn a_reader_that_leaves_ends_a_watch_that_has_nothing_to_say() {
    let lab = Lab::new();
    create(&lab, &["a"]);
    let script = "run-status --watch=1000 | head -1 >/dev/null; echo ${PIPESTATUS[0]}";
    lab.cmd("bash").args(["-c", script]).run().code(0).stdout("0\n").stderr("");
}

#[test]
fn several_runs_have_a_line_of_progress_that_is_gone_in_the_end() {
    let lab = Lab::new();
    for name in ["a", "b", "c"] {
        lab.new_run(
            name,
            &["sh", "-c", &format!("while [ ! -e go-{name} ]; do sleep 0.02; done; [ {name} != a ]")],
        );
    }
    let terminal = Terminal::open(&lab, 80, 24);
    terminal.keys(&["clear; run-exec -q a b c; echo ended $?", "Enter"]);
    terminal.await_text("0 of 3 done, 1 running, 2 to do");
    lab.write("go-a", "");
    let shown = terminal.await_text("0 of 3 done, 1 failed, 1 running, 1 to do, eta ");
    assert_eq!(shown.lines().filter(|line| line.contains(" to do")).count(), 1, "{shown}");
    lab.write("go-b", "");
    lab.write("go-c", "");
    let shown = terminal.await_text("ended 1");
    assert!(!shown.contains("done"), "{shown}");
    // What stays is a line for each start and end, and a summary.
    let lines: Vec<&str> = shown.lines().filter_map(|line| line.strip_prefix("run-exec: ")).collect();
    let without_time = |line: &&str| line.split(" (").next().unwrap_or_default().to_owned();
    let expected = [
        "run started: a",
        "run ended: a: failed: exit 1",
        "run started: b",
        "run ended: b: completed",
        "run started: c",
        "run ended: c: completed",
    ];
    assert_eq!(lines[..6].iter().map(without_time).collect::<Vec<_>>(), expected, "{shown}");
    assert!(
        lines[6].starts_with("3 runs ended in ") && lines[6].ends_with("s: 2 completed, 1 failed"),
        "{shown}"
    );
    terminal.is_as_it_was();
    // On no terminal there is none of this.
    let done = lab.cmd("run-exec").args(["-q", "--resume", "a", "b"]).run().code(1);
    assert!(!done.err().contains("done") && !done.err().contains("ended"), "{}", done.err());
}

#[test]
fn the_line_of_progress_has_a_total_when_a_pipe_names_the_runs() {
    let lab = Lab::new();
    let wait = ["while [ ! -e go-$RUN_NAME ]; do sleep 0.02; done"];
    for name in ["a", "b", "c"] {
        lab.new_run(name, &["sh", "-c", wait[0]]);
    }
    let terminal = Terminal::open(&lab, 80, 24);
    lab.write("todo", "a\nb\n\nc\n");
    terminal.keys(&["clear; run-exec -q - <todo; echo ended $?", "Enter"]);
    terminal.await_text("0 of 3 done, 1 running, 2 to do");
    lab.write("go-a", "");
    terminal.await_text("1 of 3 done, 1 running, 1 to do, eta ");
    lab.write("go-b", "");
    lab.write("go-c", "");
    terminal.await_text("ended 0");
    // While a pipe is open, the runs count that the batch was created for.
    let args = ["-b=batch", "--sweep", "seed=1..4", "--", "sh", "-c", wait[0], "sh", "{set}"];
    lab.write("todo", lab.cmd("run-new").args(args).run().code(0).out());
    let feed = "clear; (head -n 1 todo; until [ -e on ]; do sleep 0.02; done; sed 1d todo) | run-exec -q -; echo ended $?";
    terminal.keys(&[feed, "Enter"]);
    terminal.await_text("0 of 4 done, 1 running, 3 to do");
    lab.write("on", "");
    for run in lab.read("todo").lines() {
        lab.write(&format!("go-{}", run.rsplit('/').next().unwrap()), "");
    }
    terminal.await_text("ended 0");
    // Runs of several batches, or of none, have no total until the pipe is closed.
    let feed =
        "clear; (echo d; until [ -e off ]; do sleep 0.02; done; echo e) | run-exec -q -; echo ended $?";
    for name in ["d", "e"] {
        lab.new_run(name, &["sh", "-c", wait[0]]);
    }
    terminal.keys(&[feed, "Enter"]);
    terminal.await_text("0 done, 1 running");
    lab.write("off", "");
    terminal.await_text("0 of 2 done, 1 running, 1 to do");
    lab.write("go-d", "");
    lab.write("go-e", "");
    terminal.await_text("ended 0");
    // Before the first run, the terminal is left to the other programs of the pipe.
    let feed = "clear; (until [ -e say ]; do sleep 0.02; done; echo told >&2; echo f) | run-exec -q -; echo ended $?";
    lab.new_run("f", &["true"]);
    terminal.keys(&[feed, "Enter"]);
    let waits = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains("(run-exec) S")
    };
    wait_for("run-exec to wait", || lab.alive().iter().any(waits));
    lab.write("say", "");
    let shown = terminal.await_text("ended 0");
    assert!(shown.starts_with("told\n") && !shown.contains("0 done"), "{shown}");
}

/// Returns the chosen run of a list, which is shown in reverse.
fn chosen(terminal: &Terminal) -> Option<String> {
    let shown = terminal.tmux(&["capture-pane", "-p", "-e"]);
    let (_, after) = shown.split_once("\u{1b}[7m")?;
    Some(after.split('\u{1b}').next()?.trim().to_owned())
}

fn await_chosen(terminal: &Terminal, name: &str) {
    wait_for(&format!("'{name}' to be chosen"), || chosen(terminal).as_deref() == Some(name));
}

#[test]
fn a_run_of_the_list_is_chosen_with_the_arrows_and_stays_in_sight() {
    let lab = Lab::new();
    let names: Vec<String> = (0..40).map(|number| format!("r{number:02}")).collect();
    create(&lab, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let terminal = Terminal::open(&lab, 80, 24);
    terminal.keys(&["clear; NO_COLOR=1 run-status --watch=0.2", "Enter"]);
    let shown = terminal.await_text("↑ ↓ choose   a all runs   n details   q quit");
    assert!(shown.contains("r19") && !shown.contains("r20") && shown.contains("and 20 more"), "{shown}");
    assert_eq!(chosen(&terminal), None);
    terminal.keys(&["Down"]);
    await_chosen(&terminal, "r00");
    // Keys that come together count each.
    terminal.keys(&["Down", "j", "Down", "Up", "k", "Down"]);
    await_chosen(&terminal, "r02");
    for (key, name) in
        [("End", "r39"), ("Down", "r39"), ("PPage", "r29"), ("PPage", "r19"), ("Home", "r00"), ("Up", "r00")]
    {
        terminal.keys(&[key]);
        await_chosen(&terminal, name);
    }
    terminal.keys(&["NPage", "NPage"]);
    await_chosen(&terminal, "r20");
    let shown = terminal.text();
    assert!(["r10", "r29"].iter().all(|name| shown.contains(name)) && !shown.contains("r09"), "{shown}");
    // Its details, those of its neighbours, and the list again, where the last one is chosen.
    terminal.keys(&["Enter"]);
    wait_for("its details", || has_fact(&terminal.text(), "run:", "r20"));
    terminal.keys(&["p", "Up", "n"]);
    wait_for("its neighbour", || has_fact(&terminal.text(), "run:", "r19"));
    terminal.await_text("Enter list   p previous   n next run   l log   s stop   q quit");
    terminal.keys(&["BSpace"]);
    await_chosen(&terminal, "r19");
    // It is stopped in the list.
    terminal.tmux(&["resize-window", "-x", "60", "-y", "12"]);
    let exec = lab.cmd("run-exec").args(["-q", "r19"]).spawn();
    lab.await_child("r19");
    terminal.await_text("↑ ↓ choose   a all runs   s stop   n details   q quit");
    // What is typed or pasted before the question is seen is no answer.
    terminal.keys(&["s", "y"]);
    terminal.await_text("stop 'r19'? y yes");
    terminal.keys(&["x"]);
    terminal.await_text("↑ ↓ choose");
    terminal.tmux(&["set-buffer", "sy"]);
    terminal.tmux(&["paste-buffer", "-p"]);
    terminal.keys(&["End", "Up", "s", "Home"]);
    terminal.await_text("stop 'r38'? y yes");
    // A key without a meaning is an answer, too.
    terminal.keys(&["N", "Home"]);
    await_chosen(&terminal, "r00");
    assert_eq!(lab.status("r19")["status"], "running");
    terminal.keys(&["Down", "NPage", "Down", "Down", "Down", "Down", "Down", "Down", "Down", "Down"]);
    await_chosen(&terminal, "r19");
    terminal.keys(&["s"]);
    terminal.await_text("stop 'r19'? y yes");
    terminal.keys(&["y"]);
    exec.wait();
    assert_eq!(lab.status("r19")["status"], "stopped");
    // What needs no attention any more leaves the list, unless all are asked for.
    wait_for("it to leave the list", || chosen(&terminal).is_none());
    terminal.keys(&["a"]);
    await_chosen(&terminal, "r19");
    let is_stopped = |line: &str| line.split_whitespace().take(2).eq(["r19", "stopped"]);
    assert!(terminal.await_text("a fewer runs").lines().any(is_stopped), "{}", terminal.text());
    // A run whose directory is gone leaves its details, too.
    terminal.keys(&["Enter"]);
    wait_for("its details", || has_fact(&terminal.text(), "run:", "r19"));
    fs::remove_dir_all(lab.path("runs/r19")).unwrap();
    terminal.await_text("↑ ↓ choose");
    terminal.keys(&["Down"]);
    await_chosen(&terminal, "r00");
    terminal.keys(&["q"]);
    terminal.is_as_it_was();
}

#[test]
fn runs_that_have_all_completed_are_listed_on_request() {
    let lab = Lab::new();
    lab.new_run("done", &["true"]);
    lab.cmd("run-exec").args(["-q", "done"]).run().code(0);
    let terminal = Terminal::open(&lab, 80, 24);
    terminal.keys(&["clear; run-status --watch=0.2", "Enter"]);
    let shown = terminal.await_text("a all runs");
    assert!(shown.contains("1 completed") && !shown.contains("RUN"), "{shown}");
    terminal.keys(&["a"]);
    wait_for("the run", || terminal.text().lines().any(|line| line.starts_with("done")));
    terminal.keys(&["q"]);
    terminal.is_as_it_was();
    // Where nothing is left out, there is no such key.
    terminal.keys(&["clear; run-status -a --watch=0.2", "Enter"]);
    let shown = terminal.await_text("n details");
    assert!(!shown.contains("all runs"), "{shown}");
    terminal.keys(&["q"]);
    terminal.is_as_it_was();
}
