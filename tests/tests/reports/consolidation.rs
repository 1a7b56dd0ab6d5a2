//! The metrics of many runs as one table.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use testkit::reports::{by_duckdb, by_python, made, objects, ran, report};
use testkit::{Lab, checkout};

#[test]
fn six_trainers_do_not_mix() {
    let lab = Lab::new();
    made(&lab, "own", &[("metrics.jsonl", "{\"step\": 1, \"loss\": 1.5}\n{\"step\": 2, \"loss\": 1}\n")]);
    made(&lab, "sb3", &[("progress.csv", "time/total_timesteps,rollout/ep_rew_mean\n64,10.5\n128,\n")]);
    made(
        &lab,
        "lightning",
        &[("lightning_logs/version_0/metrics.csv", "epoch,step,train_loss,val_loss\n0,9,0.5,\n0,9,,0.25\n")],
    );
    made(
        &lab,
        "hf",
        &[(
            "checkpoint-2/trainer_state.json",
            "{\"global_step\": 2, \"log_history\": [{\"step\": 1, \"loss\": 3.5}, {\"step\": 2, \"eval_loss\": 4}]}",
        )],
    );
    made(&lab, "stealth", &[("metrics.jsonl", "{\"step\": 0, \"env/all/reward/total\": 0.5}\n")]);
    made(&lab, "tensorboard", &[]);
    let events = checkout().join("tests/fixtures/tensorboard");
    lab.cmd("cp").arg("-r").arg(events).arg("runs/tensorboard/logs").run().code(0);
    ran(&lab, "failed", &[], "exit 3");
    made(&lab, "created", &[]);
    let lines = objects(&lab, &[]);
    assert_eq!(lines.len(), 8);
    let of = |name: &str| lines.iter().find(|line| line["run"] == name).unwrap();
    assert_eq!((&of("own")["loss.last"], &of("hf")["loss.last"]), (&json!(1), &json!(3.5)));
    assert_eq!(of("sb3")["rollout/ep_rew_mean.count"], json!(1));
    assert_eq!(
        (&of("lightning")["val_loss.last"], &of("lightning")["loss.last"]),
        (&json!(0.25), &Value::Null)
    );
    assert_eq!(of("stealth")["env/all/reward/total.best"], json!(0.5));
    assert_eq!((&of("failed")["status"], &of("failed")["reason"]), (&json!("failed"), &json!("exit 3")));
    let columns: Vec<&String> = lines[0]
        .as_object()
        .unwrap()
        .keys()
        .filter(|key| key.rsplit_once('.').is_some_and(|(_, of)| of == "last"))
        .collect();
    for name in ["failed", "created"] {
        assert!(columns.iter().all(|column| of(name)[column.as_str()].is_null()), "{name}");
    }
    assert!(columns.iter().any(|column| !of("tensorboard")[column.as_str()].is_null()), "{lines:?}");
    let table =
        by_python(&lab, &report(&lab, &["--metrics", "own", "sb3", "lightning", "hf", "stealth", "created"]));
    let expected = json!([
        {"run": "own", "step": "1", "loss": "1.5"}, {"run": "own", "step": "2", "loss": "1"},
        {"run": "sb3", "step": "64", "time/total_timesteps": "64", "rollout/ep_rew_mean": "10.5"},
        {"run": "sb3", "step": "128", "time/total_timesteps": "128"},
        {"run": "lightning", "step": "9", "epoch": "0", "train_loss": "0.5"},
        {"run": "lightning", "step": "9", "epoch": "0", "val_loss": "0.25"},
        {"run": "hf", "step": "1", "loss": "3.5"}, {"run": "hf", "step": "2", "eval_loss": "4"},
        {"run": "stealth", "step": "0", "env/all/reward/total": "0.5"},
    ]);
    let filled = |row: &Value| -> Value {
        row.as_object()
            .unwrap()
            .iter()
            .filter(|(_, cell)| *cell != "")
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    };
    assert_eq!(Value::Array(table.as_array().unwrap().iter().map(filled).collect()), expected);
}

#[test]
fn a_resumed_run_is_one_series_without_zigzag() {
    let lab = Lab::new();
    let program = r#"a=1; b=5; [ $RUN_ATTEMPT = 2 ] && a=4 && b=8
        i=$a; while [ $i -le $b ]; do echo "{\"step\": $i, \"loss\": $RUN_ATTEMPT}" >> $RUN_METRICS; i=$((i + 1)); done
        [ $b = 8 ]"#;
    ran(&lab, "resumed", &[], program);
    lab.cmd("run-exec").args(["-q", "--resume", "resumed"]).run().code(0);
    let rows = report(&lab, &["--metrics"]);
    let steps: Vec<&str> = rows.lines().skip(1).collect();
    let expected: Vec<String> =
        (1..=8).map(|step| format!("resumed,{step},{}", if step < 4 { 1 } else { 2 })).collect();
    assert_eq!(steps, expected);
    // The curve is the same; the file has the rows of both attempts.
    let document: Value = serde_json::from_str(&report(&lab, &["--export", "-"])).unwrap();
    let curve = &document["runs"][0]["curves"][0];
    assert_eq!(curve["step"], json!([1, 2, 3, 4, 5, 6, 7, 8]));
    assert_eq!(curve["min"], json!([1, 1, 1, 2, 2, 2, 2, 2]));
    let written: Vec<Value> =
        lab.json_lines("runs/resumed/metrics.jsonl").iter().map(|row| row["step"].clone()).collect();
    assert_eq!(Value::from(written), json!([1, 2, 3, 4, 5, 4, 5, 6, 7, 8]));
}

#[test]
fn every_row_comes_back_from_the_csv() {
    let lab = Lab::new();
    let lines = r#"{"step": 1, "note": "a,b", "run": "x"}
{"step": 2, "note": "say \"hi\"\nthere", "loss": 0.1}
{"step": 3, "note": "=1+2", "loss": 12345678901234567890}
{"step": 4, "note": "", "tags": [1, "x"]}
{"loss": 1e-3, "ünï": -0.0}
{"step": 6, "loss": 1.0E+2, "ok": true, "none": null}
garbage
{"step": 7, "loss": "NaN"}
{"epoch": 2, "loss": -Infinity}
{"step": 8, "loss": 1"#;
    made(&lab, "odd, \"name\"", &[("metrics.jsonl", lines)]);
    let done = lab.cmd("run-report").arg("--metrics").run().code(0);
    assert!(
        done.err().contains("1 line of 'runs/odd, \"name\"' cannot be read and is left out"),
        "{}",
        done.err()
    );
    let rows = by_python(&lab, &done.out());
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 8);
    assert!(rows.iter().all(|row| row["run"] == "odd, \"name\""));
    let column = |name: &str| -> Vec<&str> { rows.iter().map(|row| row[name].as_str().unwrap()).collect() };
    assert_eq!(column("step"), ["1", "2", "3", "4", "5", "6", "7", "2"]);
    assert_eq!(column("note"), ["a,b", "say \"hi\"\nthere", "=1+2", "", "", "", "", ""]);
    assert_eq!(column("loss"), ["", "0.1", "12345678901234567890", "", "1e-3", "1.0E+2", "NaN", "-inf"]);
    assert_eq!(column("metric.run")[0], "x");
    assert_eq!(column("tags")[3], "[1,\"x\"]");
    assert_eq!(
        (column("ünï")[4], column("ok")[5], column("none")[5], column("epoch")[7]),
        ("-0.0", "true", "", "2")
    );
}

#[test]
fn two_columns_with_one_name_are_two_metrics() {
    let lab = Lab::new();
    made(
        &lab,
        "lines",
        &[(
            "metrics.jsonl",
            "{\"run\": \"x\\n\", \"metric.run\": 1, \"loss\": 2}\n{\"run\": 3, \"metric.run\": 4, \"loss\": 5}\n",
        )],
    );
    made(&lab, "table", &[("metrics.csv", "step,loss,loss\n1,2,3\n")]);
    let expected = "run,step,metric.run,loss,loss.1\nlines,1,1,2,\nlines,2,4,5,\ntable,1,,2,3\n";
    lab.cmd("run-report").arg("--metrics").run().code(0).stdout(expected).stderr("");
}

#[test]
fn a_header_may_grow_over_a_thousand_runs() {
    let lab = Lab::new();
    let model = lab.new_run("model", &["true"]);
    for number in 0..1000 {
        let run = format!("runs/r{number:04}");
        let copied = lab.path(&run).join(".run");
        fs::create_dir_all(&copied).unwrap();
        for file in ["meta.json", "status.json"] {
            fs::copy(lab.path(&model).join(".run").join(file), copied.join(file)).unwrap();
        }
        lab.write(
            &format!("{run}/metrics.jsonl"),
            format!("{{\"step\":1,\"loss\":{number}}}\n{{\"step\":2,\"k{number}\":{number}}}\n"),
        );
    }
    let csv = report(&lab, &["--metrics"]);
    assert_eq!(csv.lines().next().unwrap().split(',').count(), 2 + 1 + 1000);
    let rows = by_python(&lab, &csv);
    assert!(by_duckdb(&lab, &csv) == rows, "read otherwise");
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 2000);
    for (number, pair) in rows.chunks(2).enumerate() {
        let filled = |row: &Value| row.as_object().unwrap().values().filter(|cell| *cell != "").count();
        assert_eq!((filled(&pair[0]), filled(&pair[1])), (3, 3));
        assert_eq!(pair[0]["loss"], json!(number.to_string()));
        assert_eq!(pair[1][format!("k{number}")], json!(number.to_string()));
    }
}

#[test]
fn long_files_are_the_same_in_pieces() {
    let lab = Lab::new();
    let mut expected = String::from("run,step,loss,note\n");
    let mut lines = String::new();
    for step in 0..40_000 {
        // Lines of all lengths, so that pieces end everywhere in them.
        let note = "x".repeat(step % 97);
        if step % 3 == 0 {
            lines += &format!("{{\"step\": {step}, \"loss\": {step}.5, \"note\": \"{note}\"}}\n");
            expected += &format!("long,{step},{step}.5,{}\n", if note.is_empty() { "\"\"" } else { &note });
        } else {
            lines += &format!("{{\"step\": {step}, \"loss\": {step}}}\n");
            expected += &format!("long,{step},{step},\n");
        }
    }
    let huge = "y".repeat(700_000);
    lines += &format!("{{\"step\": 40000, \"note\": \"{huge}\"}}\n{{\"step\": 40001, \"loss\": 7}}\n");
    expected += &format!("long,40000,,{huge}\nlong,40001,7,\n");
    made(&lab, "long", &[("metrics.jsonl", &lines)]);
    made(&lab, "short", &[("metrics.jsonl", "{\"loss\": 1}\n{\"loss\": 2}\n")]);
    expected += "short,1,1,\nshort,2,2,\n";
    assert!(report(&lab, &["--metrics"]) == expected);
}

/// Prints all rows to a file that holds a line and cannot shrink; returns what comes after the line.
fn metrics_in_a_file(lab: &Lab) -> String {
    let file = memfd_create("out", MemfdFlags::ALLOW_SEALING).unwrap();
    fcntl_add_seals(&file, SealFlags::SHRINK).unwrap();
    let mut file = File::from(file);
    file.write_all(b"before\n").unwrap();
    lab.cmd("run-report").arg("--metrics").stdout_to(file.try_clone().unwrap()).run().code(0).stderr("");
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text.strip_prefix("before\n").unwrap().to_owned()
}

/// Bytes of a file that are read at a time, and of a line in the next test.
const PIECE: usize = 256 << 10;
const LINE: usize = 64;

#[test]
fn a_step_that_goes_back_where_a_piece_begins_supersedes_as_elsewhere() {
    let lab = Lab::new();
    // Each piece begins ten steps before the last one of the piece before it ended.
    let of_piece = |piece: usize, epoch: bool| {
        let start = piece * (PIECE / LINE - 10);
        let line = move |step: usize| {
            let text = if epoch {
                format!("{{\"step\": {step}, \"epoch\": {}, \"loss\": {piece}", step / 1000)
            } else {
                format!("{{\"step\": {step}, \"loss\": {piece}")
            };
            format!("{text:<width$}}}\n", width = LINE - 2)
        };
        (start..start + PIECE / LINE).map(line).collect::<String>()
    };
    let pieces = 6;
    for (name, epoch, has_attempts) in
        [("one", false, false), ("attempts", false, true), ("epochs", true, true), ("restarts", true, false)]
    {
        made(&lab, name, &[]);
        let text: String = (0..pieces).map(|piece| of_piece(piece, epoch)).collect();
        if has_attempts {
            let script =
                format!("head -c $((RUN_ATTEMPT * {PIECE})) rows | tail -c {PIECE} >>$RUN_METRICS; exit 1");
            lab.write("rows", &text);
            for attempt in 0..pieces {
                let options: &[&str] = if attempt > 0 { &["--resume"] } else { &[] };
                let exec = lab.cmd("run-exec").arg("-q").args(options);
                exec.args([name, "--", "sh", "-c", &script]).run().code(1);
            }
        } else {
            lab.write(&format!("runs/{name}/metrics.jsonl"), &text);
        }
        let done = lab.cmd("run-report").args(["--metrics", name]).run().code(0);
        let count = 10 * (pieces - 1);
        let said =
            format!("run-report: {count} rows of 'runs/{name}' are superseded by later ones and left out\n");
        assert_eq!(done.err(), said, "{name}");
        let out = done.out();
        let steps = out.lines().skip(1).map(|line| line.split(',').nth(1).unwrap().parse::<usize>().unwrap());
        let last = (pieces - 1) * (PIECE / LINE - 10) + PIECE / LINE;
        assert!(steps.eq(0..last), "{name}");
    }
}

#[test]
fn a_file_gets_what_a_pipe_gets_and_nothing_is_taken_back_from_it() {
    let lab = Lab::new();
    let rows = |middle: &str| {
        let row = |step: usize| format!("{{\"step\": {step}, \"loss\": 0.5}}\n");
        (0..10_000).map(|step| if step == 7_000 { middle.to_owned() } else { row(step) }).collect::<String>()
    };
    made(&lab, "first", &[]);
    made(&lab, "second", &[("metrics.jsonl", "{\"step\": 1, \"loss\": 2}\n{\"step\": 2, \"other\": 3}\n")]);
    // In the middle of a file: a column that is nowhere else; one that is elsewhere, but later; a row whose
    // number is its step.
    for (middle, header, row) in [
        ("{\"step\": 7000, \"rare\": 1}\n", "run,step,loss,rare,other", "first,7000,,1,"),
        ("{\"step\": 7000, \"b\": 1, \"other\": 2}\n", "run,step,loss,b,other", "first,7000,,1,2"),
        ("{\"step\": 7000, \"other\": 2, \"loss\": [1]}\n", "run,step,loss,other", "first,7000,[1],2"),
        ("{\"loss\": 1}\n", "run,step,loss,other", "first,7001,1,"),
    ] {
        lab.write("runs/first/metrics.jsonl", rows(middle));
        let printed = report(&lab, &["--metrics"]);
        let mut lines = printed.lines();
        assert_eq!((lines.next(), lines.nth(7_000)), (Some(header), Some(row)));
        assert!(metrics_in_a_file(&lab) == printed, "{header}");
    }
}

#[test]
fn one_bad_run_does_not_hide_the_others() {
    let lab = Lab::new();
    made(&lab, "good", &[("metrics.jsonl", "{\"step\": 1, \"loss\": 2}\n")]);
    made(&lab, "bad", &[(".run/status.json", "{")]);
    let done = lab.cmd("run-report").arg("--metrics").run().code(3).stdout("run,step,loss\ngood,1,2\n");
    assert!(done.err().contains("status.json"), "{}", done.err());
    lab.cmd("run-report")
        .args(["missing", "good", "--columns", "status"])
        .run()
        .code(3)
        .stdout("run   status\ngood  created\n");
    let names = "{\"path\":\"runs/good\"}\n";
    lab.cmd("run-report")
        .args(["-", "--columns", "loss.last"])
        .stdin(names)
        .run()
        .code(0)
        .stdout("run   loss.last\ngood  2\n");
    lab.cmd("run-report")
        .args(["-d", "nowhere"])
        .run()
        .code(0)
        .stderr("run-report: no runs: there is no directory 'nowhere'\n");
}

#[test]
fn metrics_that_cannot_be_read_are_said_in_every_mode() {
    let lab = Lab::new();
    made(&lab, "good", &[("metrics.jsonl", "{\"step\": 1, \"loss\": 2}\n{\"step\": 2, \"loss\": 1}\n")]);
    made(&lab, "secret", &[("metrics.jsonl", "{\"step\": 1, \"loss\": 2}\n")]);
    lab.set_mode("runs/secret/metrics.jsonl", 0);
    for words in [
        &[][..],
        &["--format", "csv"],
        &["--group-by", "status"],
        &["--compare", "good", "secret"],
        &["--metrics"],
        &["--plot", "loss"],
        &["--svg", "-"],
        &["--html", "-"],
        &["--export", "-"],
        &["--cost", "--rate", "1"],
    ] {
        let done = lab.cmd_by_somebody("run-report").args(words).run().code(3);
        let expected = "run-report: cannot read the metrics of 'runs/secret': Permission denied\n";
        assert_eq!(
            (done.err().as_str(), done.out().contains("good") || words[0] == "--group-by"),
            (expected, true),
            "{words:?}"
        );
    }
}

#[test]
fn damaged_lines_are_counted_in_every_mode() {
    let lab = Lab::new();
    let lines = "{\"step\": 1, \"loss\": 2}\n{\"step\": 2, \"lo\n{\"step\": 3, \"loss\": 1}\n\0\u{ff}\n";
    made(&lab, "a", &[("metrics.jsonl", lines)]);
    made(&lab, "b", &[("metrics.jsonl", "{\"step\": 1, \"loss\": 2}\n{\"step\": 1, \"lo")]);
    for words in [
        &[][..],
        &["--compare"],
        &["--metrics"],
        &["--plot", "loss"],
        &["--html", "-"],
        &["--export", "-"],
        &["--cost", "--rate", "1"],
    ] {
        let done = lab.cmd("run-report").args(words).run().code(0);
        assert_eq!(
            done.err(),
            "run-report: 2 lines of 'runs/a' cannot be read and are left out\n",
            "{words:?}"
        );
    }
}

#[test]
fn runs_are_called_the_same_and_count_once_however_they_are_named() {
    let lab = Lab::new();
    lab.write("base.yaml", "lr: 0\n");
    let sweep = ["-b=sweep", "--sweep", "lr=1,2", "base.yaml", "--", "true", "{set}"];
    lab.cmd("run-new").args(sweep).run().code(0);
    lab.new_run("one", &["true"]);
    let here = lab.dir().to_str().unwrap();
    let batch = "run\nsweep/base_lr-1\nsweep/base_lr-2\n";
    let lines = lab.cmd("run-status").args(["-a", "--json", "sweep"]).run().code(0).out();
    for (operands, stdin) in [
        (vec!["sweep"], ""),
        (vec!["runs/sweep"], ""),
        (vec!["./runs/sweep/"], ""),
        (vec![&format!("{here}/runs/sweep")], ""),
        (vec!["sweep", "base_lr-1", "runs/sweep/base_lr-2", "runs/../runs/sweep"], ""),
        (vec!["-"], "sweep\nruns/sweep/base_lr-2\n"),
        (vec!["-"], lines.as_str()),
        (vec!["-0", "-"], "base_lr-1\0base_lr-2\0"),
    ] {
        let words = operands.iter().chain(&["--format", "csv", "--columns", "run"]);
        lab.cmd("run-report").args(words).stdin(stdin).run().code(0).stdout(batch).stderr("");
    }
    // Elsewhere, too.
    let named = |cwd: &str, words: &[&str]| -> String {
        let words = [words, &["--format", "csv", "--columns", "run"]].concat();
        lab.cmd("run-report").args(words).cwd(lab.path(cwd)).run().code(0).out()
    };
    assert_eq!(named("runs/sweep/base_lr-1", &["."]), "run\nsweep/base_lr-1\n");
    assert_eq!(named("runs/one", &["./"]), "run\none\n");
    assert_eq!(named("runs", &["./sweep"]), batch);
    assert_eq!(named("runs", &["-d", "."]), format!("run\none\n{}", &batch[4..]));
    // Operands that name no run are reported.
    for mode in [&[][..], &["--metrics"], &["--cost"], &["--group-by", "status"]] {
        let done = lab.cmd("run-report").args(mode).arg("-").stdin("").run().code(0);
        assert_eq!(done.err(), "run-report: no runs: the operands name no run\n", "{mode:?}");
    }
}
