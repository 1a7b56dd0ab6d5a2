//! run-status: what it says of runs, good and damaged.

use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};
use testkit::Lab;
use testkit::process::Signal;

#[test]
fn an_empty_list_says_why() {
    let lab = Lab::new();
    let empty = |expected: &str| lab.cmd("run-status").run().code(0).stdout("").stderr(expected);
    empty("run-status: no runs: there is no directory 'runs'\n");
    fs::create_dir(lab.path("runs")).unwrap();
    empty("run-status: no runs: 'runs' is empty\n");
    fs::create_dir_all(lab.path("runs/a/b")).unwrap();
    fs::create_dir_all(lab.path("runs/c")).unwrap();
    empty("run-status: no runs: 'runs' holds 2 directories that are not runs\n");
    lab.new_run("r", &["true"]);
    lab.cmd("run-exec").arg("r").run().code(0);
    empty("run-status: 1 run in 'runs' not shown; -a shows all\n");
    lab.cmd("run-status").args(["--status", "failed"]).run().code(1).stdout("");
    lab.cmd("run-status").args(["--status", "completed"]).run().code(0).stderr("");
    lab.cmd("run-status").args(["--status", "nonsense"]).run().code(2).stderr_has("nonsense");
}

#[test]
fn an_option_that_would_do_nothing_is_refused() {
    let lab = Lab::new();
    for words in [
        "--timeout 1s",
        "--watch --timeout 1s",
        "--status running --timeout 1s",
        "-f r",
        "-f --json r",
        "-f --wait r",
        "--log --json r",
    ] {
        lab.cmd("timeout").args(["10", "run-status"]).args(words.split(' ')).run().code(2).stdout("");
    }
}

#[test]
fn the_table_has_a_row_for_each_run_that_needs_an_eye() {
    let lab = Lab::new();
    lab.cmd("run-new").args(["-n", "new one"]).run().code(0);
    lab.cmd("run-new").args(["-n", "bad", "--total-steps", "50", "--", "sh", "-c"])
        .arg("echo '{\"step\": 10, \"loss\": 0.123456, \"acc\": 0.5, \"lr\": 1e-5, \"more\": 1}' >> $RUN_METRICS; echo oh >&2; exit 2")
        .run().code(0);
    lab.cmd("run-exec").args(["-q", "bad"]).run().code(2);
    lab.new_run("good", &["true"]);
    lab.cmd("run-exec").args(["-q", "good"]).run().code(0);
    let table = lab.cmd("run-status").run().code(0).stderr("").out();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[0].starts_with("RUN      STATUS   STEP           METRICS"), "{table}");
    assert!(
        lines[1].starts_with("bad      failed   10/50 (20.0%)  loss=0.1235 acc=0.5000 lr=1.000e-5"),
        "{table}"
    );
    assert!(lines[1].ends_with("exit 2: oh"), "{table}");
    assert_eq!(lines[2], "new one  created");
    assert_eq!(lab.cmd("run-status").arg("-a").run().code(0).out().lines().count(), 4);
    let only = lab.cmd("run-status").args(["--columns", "more", "bad", "good"]).run().code(0).out();
    assert!(only.lines().nth(1).unwrap().contains("  more=1  "), "{only}");
}

#[test]
fn json_is_strict_and_a_list_of_runs_in_itself() {
    let lab = Lab::new();
    for name in ["a b", "it's", "🚀", "x\u{85}y"] {
        if name.contains('\u{85}') {
            lab.cmd("run-new").args(["-n", name]).run().code(2);
            continue;
        }
        lab.new_run(name, &["true"]);
    }
    let listed = lab.cmd("run-status").args(["-a", "--json"]).run().code(0).out();
    assert_eq!(listed.lines().count(), 3);
    let again = lab.cmd("run-status").args(["--json", "-"]).stdin(&listed).run().code(0).out();
    assert_eq!(again, listed);
    let line: Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    assert_eq!(line["path"], lab.path("runs/a b").to_str().unwrap());
    for key in ["quiet_s", "duration_s", "eta_s", "reason", "step"] {
        assert_eq!(line.get(key), Some(&Value::Null), "{key}");
    }
    let names = lab.cmd("run-status").args(["--json", "-0", "-"]).stdin("a b\0🚀\0").run().code(0).out();
    assert_eq!(names.lines().count(), 2);
    lab.cmd("run-status").arg("-").stdin("a b\n\nnope\n{\"k\": 1}\n").run().code(3).stderr(
        "run-status: no run 'nope' below 'runs'\nrun-status: list all runs with run-status -a, or choose another runs directory with -d\n\
         run-status: a JSON object on stdin has no \"path\"\n",
    );
}

#[test]
fn a_damaged_run_is_one_clear_line_and_hides_no_other() {
    let lab = Lab::new();
    for name in ["good", "cut", "newer", "gone", "unreadable"] {
        lab.new_run(name, &["true"]);
    }
    let record = lab.read("runs/cut/.run/status.json");
    lab.write("runs/cut/.run/status.json", &record[..record.len() / 2]);
    let mut newer: Value = serde_json::from_str(&record).unwrap();
    newer["schema"] = 7.into();
    lab.write("runs/newer/.run/status.json", newer.to_string());
    fs::remove_file(lab.path("runs/gone/.run/status.json")).unwrap();
    let odd = lab.path("runs").join(OsStr::from_bytes(b"bad\xff\x1b[31m"));
    fs::create_dir_all(odd.join(".run")).unwrap();
    fs::copy(lab.path("runs/good/.run/meta.json"), odd.join(".run/meta.json")).unwrap();
    lab.set_mode("runs/unreadable/.run", 0o000);
    let done = lab.cmd_by_somebody("run-status").arg("-a").run();
    lab.set_mode("runs/unreadable/.run", 0o755);
    let done = done.code(3);
    let lines: Vec<String> =
        done.err().lines().map(|line| line.split(" at line").next().unwrap().to_owned()).collect();
    let expected = [
        "run-status: cannot read 'runs/bad\u{fffd}?[31m': its name is not UTF-8",
        "run-status: cannot read 'runs/cut/.run/status.json': it is damaged: EOF while parsing",
        "run-status: cannot read 'runs/gone/.run/status.json': No such file or directory",
        "run-status: cannot read 'runs/newer/.run/status.json': its schema is 7, but this version supports 1",
        "run-status: it was written by a newer version; update run-tools",
        "run-status: cannot read 'runs/unreadable/.run': Permission denied",
    ];
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}\n{expected}");
    }
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    assert_eq!(done.out().lines().count(), 2);
    assert!(done.out().lines().nth(1).unwrap().starts_with("good  created"));
    // What is damaged is refused, not repaired, by those who write, too.
    lab.cmd("run-exec").arg("cut").run().code(125).stderr_has("it is damaged");
    lab.cmd("run-stop").arg("newer").run().code(3).stderr_has("its schema is 7");
}

#[test]
fn the_details_of_a_run_list_its_checkpoints() {
    let lab = Lab::new();
    lab.new_run("r", &["true"]);
    lab.cmd("run-exec").args(["-q", "r"]).run().code(0);
    for (name, content, hours) in [
        ("model_5.pt", &b"\x80\x04N."[..], 2),
        ("model_100.pt", b"\x80\x04", 49),
        ("step_20/w.bin", &[1; 3 << 10], 24),
    ] {
        let path = lab.write(&format!("runs/r/{name}"), content);
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(hours * 3600 + 60)).unwrap();
    }
    std::os::unix::fs::symlink("step_30", lab.path("runs/r/step_latest")).unwrap();
    let shown = lab.cmd("run-status").arg("r").run().code(0).out();
    let block = shown.split("\n\n").find(|block| block.starts_with("CHECKPOINT")).unwrap();
    let lines: Vec<String> =
        block.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let expected = [
        "CHECKPOINT STEP SIZE AGE STATE REASON",
        "model_5.pt 5 4B 2h01m complete",
        "step_20 20 3.0K 1d complete",
        "model_100.pt 100 2B 2d01h incomplete is cut short, or no pickle",
    ];
    assert_eq!(lines[..4], expected);
    assert!(
        lines[4].starts_with("step_latest 0B ")
            && lines[4].ends_with("incomplete is a link that leads nowhere")
    );
    assert_eq!(lines.len(), 5);
}

#[test]
fn a_name_is_looked_up_and_an_ambiguous_one_is_refused() {
    let lab = Lab::new();
    lab.new_run("a", &["true"]);
    lab.cmd("run-new").args(["-d", "runs/batch", "-n", "a"]).run().code(0);
    lab.cmd("run-new").args(["-d", "runs/batch", "-n", "b"]).run().code(0);
    lab.cmd("run-status").arg("a").run().code(2).stderr(
        "run-status: 'a' names 2 runs: 'runs/a' and 'runs/batch/a'\nrun-status: name one by its path\n",
    );
    assert_eq!(lab.status("b")["path"], lab.path("runs/batch/b").to_str().unwrap());
    assert_eq!(lab.status("runs/a")["run_name"], "a");
    assert_eq!(
        lab.cmd("run-status")
            .args(["--json", "."])
            .cwd(lab.path("runs/a"))
            .run()
            .code(0)
            .out()
            .lines()
            .count(),
        1
    );
    lab.cmd("run-status")
        .arg("nope/x")
        .run()
        .code(3)
        .stderr("run-status: no run 'nope/x': no such directory\n");
    lab.cmd("run-status").arg("runs/batch").run().code(3).stderr_has("the directory has no .run/meta.json");
    let by_variable =
        lab.cmd("run-status").env("RUNS_DIR", "runs/batch").args(["--json", "-a"]).run().code(0).out();
    assert_eq!(by_variable.lines().count(), 2);
    // A loop of links is no endless list.
    std::os::unix::fs::symlink("..", lab.path("runs/loop")).unwrap();
    std::os::unix::fs::symlink("a", lab.path("runs/Latest")).unwrap();
    std::os::unix::fs::symlink("nowhere", lab.path("runs/dangling")).unwrap();
    assert_eq!(
        lab.cmd("run-status").args(["--json", "-a"]).run().code(0).stderr("").out().lines().count(),
        3
    );
}

#[test]
fn details_of_a_run_say_what_it_is_and_how_it_went() {
    let lab = Lab::new();
    lab.write("base.yaml", "seed: 7\n");
    let program = "for i in 1 2 3 4 5 6 7; do echo \"{\\\"step\\\": $i, \\\"loss\\\": 0.$i}\" >> $RUN_METRICS; done; exit $((2 - RUN_ATTEMPT))";
    lab.cmd("run-new")
        .args([
            "-n",
            "r",
            "-s",
            "lr=1e-3",
            "--set-by-env",
            "--tag",
            "t1",
            "--note",
            "a note",
            "base.yaml",
            "--",
            "sh",
            "-c",
            program,
        ])
        .run()
        .code(0);
    lab.cmd("run-exec").args(["-q", "r"]).run().code(1);
    lab.cmd("run-exec").args(["-q", "--resume", "r"]).run().code(0);
    let details = lab.cmd("run-status").arg("r").run().code(0).stderr("").out();
    for part in [
        "run:        r\n",
        "status:     completed\n",
        "overrides:  lr=1e-3\n",
        "seed:       7\n",
        "tags:       t1\n",
        "note:       a note\n",
    ] {
        assert!(details.contains(part), "{part}\n{details}");
    }
    let rows: Vec<Vec<&str>> = details.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(rows.contains(&vec!["loss", "0.7000", "0.1000", "0.7000", "0.4000", "0.2160", "7"]), "{details}");
    assert!(rows.contains(&vec!["7", "0.7000"]) && !rows.contains(&vec!["2", "0.2000"]), "{details}");
    assert_eq!(
        rows.iter().filter(|row| row.first() == Some(&"1") && row.contains(&"failed")).count(),
        1,
        "{details}"
    );
}

#[test]
fn a_run_is_shown_by_its_name_however_it_was_named() {
    let lab = Lab::new();
    lab.new_run("r", &["true"]);
    for path in [".", "./", "../r"] {
        let details = lab.cmd("run-status").arg(path).cwd(lab.path("runs/r")).run().code(0).out();
        assert!(details.starts_with("run:        r\n"), "{details}");
    }
}

#[test]
fn a_status_that_no_run_has_is_told_by_the_exit_status_alone() {
    let lab = Lab::new();
    lab.new_run("r", &["true"]);
    for options in [&[][..], &["--json"], &["--full"], &["-a"], &["r"], &["--columns", "loss"]] {
        let ask = |status: &str| lab.cmd("run-status").args(["--status", status]).args(options).run();
        ask("dead,stale").code(1).stdout("").stderr("");
        ask("created").code(0);
    }
    let said = "run-status: no runs: there is no directory 'rusn'\n";
    lab.cmd("run-status").args(["-d", "rusn", "--status", "dead"]).run().code(1).stdout("").stderr(said);
    // In a pipe nothing is left to do, which nobody has to hear of.
    let cron = "run-status --status dead --json | run-exec -q --resume -";
    lab.cmd("sh").args(["-c", cron]).run().code(0).stdout("").stderr("");
}

#[test]
fn a_run_of_another_host_is_judged_by_its_heartbeat() {
    let lab = Lab::new();
    lab.new_run("r", &["sleep", "1000"]);
    let exec = lab.cmd("run-exec").args(["-q", "r"]).spawn();
    lab.await_child("r");
    // A copy of the record, as another host would have written it to a shared directory.
    fs::create_dir_all(lab.path("runs/far/.run")).unwrap();
    fs::copy(lab.path("runs/r/.run/meta.json"), lab.path("runs/far/.run/meta.json")).unwrap();
    let mut record = lab.json("runs/r/.run/status.json");
    record["host"] = "elsewhere".into();
    record["boot_id"] = "another".into();
    let mut beat = |time: &str| {
        record["last_heartbeat"] = time.into();
        lab.write("runs/far/.run/status.json", record.to_string());
        let status = lab.status("far");
        (status["status"].as_str().unwrap().to_owned(), status["reason"].clone())
    };
    assert_eq!(beat("2100-01-01T00:00:00.000Z"), ("running".to_owned(), Value::Null));
    let (status, reason) = beat("2020-01-01T00:00:00.000Z");
    assert_eq!(status, "stale");
    assert!(reason.as_str().unwrap().starts_with("no heartbeat from elsewhere for "), "{reason}");
    // It is reached by the file alone, and no process here is signalled.
    lab.cmd("run-stop").arg("far").run().code(1).stdout("runs/far: stale\n");
    assert!(lab.path("runs/far/stop").exists());
    assert_eq!(lab.status("r")["status"], "running");
    // Another boot of this host is proof.
    let mut rebooted = lab.json("runs/r/.run/status.json");
    rebooted["boot_id"] = "another".into();
    lab.write("runs/far/.run/status.json", rebooted.to_string());
    let status = lab.status("far");
    assert_eq!((&status["status"], &status["reason"]), (&json!("dead"), &json!("the host was restarted")));
    exec.signal(Signal::TERM);
    exec.wait().code(143);
}

#[test]
fn a_closed_pipe_ends_a_listing_silently() {
    let lab = Lab::new();
    for name in ["a", "b", "c"] {
        lab.new_run(name, &["true"]);
    }
    let script = "run-status -a --json | head -c 1 >/dev/null; exit ${PIPESTATUS[0]}";
    lab.cmd("bash").args(["-c", script]).run().code(0).stderr("");
    let full = lab.cmd("sh").args(["-c", "run-status -a > /dev/full"]).run().code(5);
    assert_eq!(full.err(), "run-status: cannot write to stdout: No space left on device\n");
}

#[test]
fn every_tool_prints_completions_and_its_version() {
    let lab = Lab::new();
    for tool in ["run-new", "run-exec", "run-status", "run-stop", "run-eval", "run-report"] {
        for shell in ["bash", "zsh", "fish"] {
            let script = lab.cmd(tool).args(["--generate-completions", shell]).run().code(0).out();
            assert!(script.contains(&format!("command {tool} --complete {shell}")), "{tool} {shell}");
        }
        lab.cmd(tool).args(["--generate-completions", "x"]).run().code(2);
        lab.cmd(tool)
            .arg("--version")
            .run()
            .code(0)
            .stdout(format!("{tool} {}\n", env!("CARGO_PKG_VERSION")));
        let help = lab.cmd(tool).arg("--help").run().code(0).stderr("").out();
        assert!(help.contains("Examples:\n  run-"), "{help}");
    }
}

#[test]
fn a_listing_is_whole_and_strict_while_runs_start_beat_and_end() {
    let lab = Lab::new();
    let command =
        "echo \"{\\\"step\\\": 1, \\\"loss\\\": NaN}\" >> $RUN_METRICS; sleep 0.0$((RUN_ATTEMPT % 7))";
    let names: Vec<String> = (0..20).map(|number| format!("r{number:02}")).collect();
    for name in &names {
        lab.new_run(name, &["sh", "-c", command]);
    }
    let script = "while [ ! -e over ]; do run-exec -q -j 20 --resume --heartbeat 5ms -; done < /dev/null";
    let script = script.replace("-; done < /dev/null", &format!("{}; done", names.join(" ")));
    let exec = lab
        .cmd("sh")
        .args(["-c", &script])
        .stderr_to(fs::File::create(lab.path("messages")).unwrap())
        .spawn();
    let known = ["created", "running", "completed", "failed", "stopped", "dead", "stale"];
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..300 {
        let lines = lab.cmd("run-status").args(["-a", "--json"]).run().code(0).stderr("").json_lines();
        let found: Vec<&str> = lines.iter().map(|line| line["run_name"].as_str().unwrap()).collect();
        assert_eq!(found, names);
        for line in &lines {
            let status = line["status"].as_str().unwrap().to_owned();
            assert!(known.contains(&status.as_str()), "{line}");
            // Nobody was killed: nothing is dead, in doubt or failed.
            assert!(!["failed", "stopped", "dead", "stale"].contains(&status.as_str()), "{line}");
            *seen.entry(status).or_insert(0) += 1;
        }
    }
    lab.write("over", "");
    exec.wait();
    assert!(seen["running"] > 100 && seen["completed"] > 100, "{seen:?}");
    let messages = lab.read("messages");
    let known = ["no attempt has been made yet", "it has no checkpoint"];
    assert!(messages.lines().all(|line| known.iter().any(|end| line.ends_with(end))), "{messages}");
}

#[test]
fn a_thousand_runs_can_be_cut_short_and_odd_names_come_through() {
    let lab = Lab::new();
    let names = ["a b", "it's \"x\"", "\u{1f680} = 1", "$(touch hacked)", "x;y&z", "{\"path\""];
    for name in names {
        lab.new_run(name, &["true"]);
    }
    // What would harm a terminal is no name; a record that has it all the same does no harm.
    let record = lab.read("runs/a b/.run/status.json");
    lab.write(
        "runs/a b/.run/status.json",
        record.replace("\"reason\":null", "\"reason\":\"\\u001b[31mred\\u0007\""),
    );
    let table = lab.cmd("run-status").arg("-a").run().code(0).stderr("").out();
    assert!(
        names.iter().all(|name| table.contains(name))
            && !table.contains('\u{1b}')
            && !table.contains('\u{7}')
    );
    let listed = lab.cmd("run-status").args(["-a", "--json"]).run().code(0).out();
    let mut found: Vec<String> = listed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["run_name"].as_str().unwrap().to_owned())
        .collect();
    found.sort();
    let mut expected = names.map(str::to_owned);
    expected.sort();
    assert_eq!(found, expected);
    let pipe = "run-status -a --json | jq -r .path | tr '\\n' '\\0' | run-status -0 --json - | jq -c . | run-stop - | wc -l";
    lab.cmd("bash").args(["-o", "pipefail", "-c", pipe]).run().code(0).stdout("6\n");
    assert!(!lab.path("hacked").exists());
}
