//! What runs of other systems do, where one file alone would tell it wrongly: half-written checkpoints, changes deep
//! below a run, tasks of jobs, results of a training before, files that cannot be read.

use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};
use testkit::foreign::{age, connect4, connect4_status, rl_practice};
use testkit::trackers::listed;
use testkit::{Lab, lives};

/// Returns what run-status says of a run.
fn status(lab: &Lab, run: &str) -> Value {
    lab.cmd("run-status").args(["--json", run]).run().json_lines().remove(0)
}

/// Sets the time of a file to that many seconds ago.
fn set_age(lab: &Lab, name: &str, seconds: u64) {
    let time = SystemTime::now() - Duration::from_secs(seconds);
    File::open(lab.path(name)).unwrap().set_modified(time).unwrap();
}

#[test]
fn a_final_checkpoint_that_is_half_written_ends_no_run() {
    let lab = Lab::new();
    rl_practice(&lab, "all", "run_2025-08-19_12-34-56", &["10", "final"], 3);
    let run = "all/training_runs/run_2025-08-19_12-34-56";
    let last = format!("{run}/training_state/step_final/training_info.json");
    age(&lab, "all", 3600);
    assert_eq!(status(&lab, run)["status"], "completed");
    let ended = status(&lab, run)["end_time"].clone();
    // A copy has the times of files, not of directories.
    set_age(&lab, &format!("{run}/training_state/step_final"), 0);
    assert_eq!(status(&lab, run)["end_time"], ended);
    fs::remove_file(lab.path(&last)).unwrap();
    age(&lab, "all", 10);
    assert_eq!(status(&lab, run)["status"], "running");
    age(&lab, "all", 3600);
    assert_eq!(status(&lab, run)["status"], "stale");
    // Before there was such a file, the directory alone was made first, too.
    fs::create_dir(lab.path(format!("{run}/ckpt_final"))).unwrap();
    assert_eq!(status(&lab, run)["status"], "running");
    lab.write(&format!("{run}/ckpt_final/model.pt"), "x");
    assert_eq!(status(&lab, run)["status"], "completed");
}

#[test]
fn changes_are_seen_three_directories_deep() {
    for (marks, deep) in [
        (
            &["out/checkpoint-5/trainer_state.json"][..],
            "out/runs/Jan29_h/events.out.tfevents.1769688000.h.1.0",
        ),
        (
            &["outputs/2026-01-29/12-00-00/.hydra/config.yaml"],
            "outputs/2026-01-29/12-00-00/csv/a/version_0/metrics.csv",
        ),
        (&["out/ckpt.pt"], "out/logs/a/b/log.txt"),
    ] {
        let lab = Lab::new();
        for file in marks.iter().chain([&deep]) {
            lab.write(&format!("proj/{file}"), "{}\n");
        }
        age(&lab, "proj", 600);
        let told = || listed(&lab, "proj").into_values().next().unwrap();
        assert_eq!(told()["status"], "stale", "{deep}");
        let seen = File::create(lab.path("seen")).unwrap();
        let words = ["--watch=0.1", "--json", "-a", "-d", "proj"];
        let watching = lab.cmd("run-status").args(words).stdout_to(seen).spawn();
        lab.await_text("seen", "\"stale\"");
        // An append changes the time of no directory.
        set_age(&lab, &format!("proj/{deep}"), 1);
        lab.await_text("seen", "\"running\"");
        drop(watching);
        assert_eq!(told()["status"], "running", "{deep}");
    }
}

#[test]
fn a_job_of_several_tasks_has_ended_when_each_has() {
    let lab = Lab::new();
    lab.write("all/jobs/12_submitted.pkl", "x");
    lab.write("all/jobs/12_0_submitted.pkl", "x"); // of an array
    lab.write("all/jobs/12_0_0_log.out", "printed\n");
    lab.write("all/jobs/12_0_0_result.pkl", "\u{4}\u{95}\u{7}success");
    for task in 0..8 {
        lab.write(&format!("all/jobs/12_{task}_log.out"), "iter 5: loss 2.5, time 1.00ms, mfu 1.00%\n");
    }
    for task in 0..8 {
        assert_eq!(status(&lab, "all/jobs")["status"], "running", "{task}");
        lab.write(&format!("all/jobs/12_{task}_result.pkl"), "\u{4}\u{95}\u{7}success");
    }
    assert_eq!(status(&lab, "all/jobs")["status"], "completed");
    lab.write("all/jobs/12_3_result.pkl", "\u{4}\u{95}\u{7}error");
    assert_eq!(status(&lab, "all/jobs")["status"], "failed");
}

#[test]
fn a_training_that_goes_on_has_not_ended() {
    let lab = Lab::new();
    let state =
        |step: u32, most: u32| json!({"global_step": step, "max_steps": most, "log_history": []}).to_string();
    let event = |seconds_ago: u64| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        format!("all/hf/runs/{seconds_ago}_h/events.out.tfevents.{}.h.1.0", now - seconds_ago)
    };
    lab.write("all/hf/checkpoint-20/trainer_state.json", state(20, 20));
    lab.write("all/hf/trainer_state.json", state(20, 20));
    lab.write("all/hf/all_results.json", r#"{"train_loss": 1}"#);
    lab.write(&event(4000), "");
    age(&lab, "all/hf", 3600);
    assert_eq!(status(&lab, "all/hf")["status"], "completed");
    // It is started again with more steps, by another process.
    lab.write(&event(30), "");
    assert_eq!(
        (&status(&lab, "all/hf")["status"], &status(&lab, "all/hf")["step"]),
        (&json!("running"), &json!(20))
    );
    lab.write("all/hf/checkpoint-30/trainer_state.json", state(30, 40));
    set_age(&lab, "all/hf/checkpoint-30/trainer_state.json", 20);
    let run = status(&lab, "all/hf");
    assert_eq!(
        (&run["status"], &run["step"], &run["total_steps"]),
        (&json!("running"), &json!(30), &json!(40))
    );
    age(&lab, "all/hf", 3000);
    assert_eq!(status(&lab, "all/hf")["status"], "stale");
    // The results of another evaluation end no training; its own do.
    lab.write("all/hf/all_results.json", r#"{"eval_loss": 1}"#);
    assert_eq!(status(&lab, "all/hf")["status"], "running");
    lab.write("all/hf/all_results.json", r#"{"eval_loss": 1, "train_loss": 1}"#);
    assert_eq!(status(&lab, "all/hf")["status"], "completed");
    // A copy has other times; the steps tell what was saved last.
    age(&lab, "all/hf", 3000);
    set_age(&lab, "all/hf/trainer_state.json", 10);
    assert_eq!(status(&lab, "all/hf")["step"], 30);

    lab.write("all/yolo/args.yaml", "epochs: 9\n");
    lab.write("all/yolo/results.csv", "epoch,loss\n1,1\n2,0.5\n");
    lab.write("all/yolo/results.png", "");
    assert_eq!(status(&lab, "all/yolo")["status"], "completed");
    set_age(&lab, "all/yolo/results.png", 600);
    assert_eq!(status(&lab, "all/yolo")["status"], "running");
}

#[test]
fn a_training_of_yolo_that_was_resumed_has_its_pace_from_then_on() {
    let lab = Lab::new();
    for (name, header, is_known) in
        [("new", "epoch,time", true), ("old", "   epoch,   train/box_loss", false)]
    {
        lab.write(
            &format!("all/{name}/args.yaml"),
            "epochs: 100\nresume: runs/detect/train/weights/last.pt\n",
        );
        lab.write(
            &format!("all/{name}/results.csv"),
            format!("{header}\n1,5.5\n2,11\n60,330\n61,4\n62,8\n70,40\n"),
        );
        set_age(&lab, &format!("all/{name}/args.yaml"), 100);
        let run = status(&lab, &format!("all/{name}"));
        assert_eq!((&run["status"], &run["step"]), (&json!("running"), &json!(70)));
        let start = if is_known { json!(60) } else { json!(null) };
        assert_eq!(run["start_step"], start, "{run}");
        // 30 epochs are left, at 10 s each, or at 100 s for all 70.
        let left = run["eta_s"].as_f64().unwrap();
        assert_eq!(left > 200.0, is_known, "{left}");
    }
}

#[test]
fn what_cannot_be_read_proves_no_death() {
    let lab = Lab::new();
    // Of each of these nothing is known, also for root.
    for put in ["link", "directory", "dangling"] {
        let run = format!("runs/{put}");
        connect4(&lab, &run, &connect4_status("running", 1), None);
        let pid = lab.path(format!("{run}/pid"));
        lab.write("elsewhere", "999999999");
        match put {
            "link" => symlink(lab.path("elsewhere"), pid).unwrap(),
            "directory" => fs::create_dir(pid).unwrap(),
            _ => symlink("nowhere", pid).unwrap(),
        }
        assert_eq!(status(&lab, &run)["status"], "running", "{put}");
        let asked = lab.cmd("run-stop").args(["--no-wait", &run]).run().code(0);
        assert!(asked.err().contains("its pid file cannot be read, or is no file"), "{}", asked.err());
        assert!(lab.path(format!("{run}/stop")).exists());
        connect4(&lab, &run, &connect4_status("running", 600), None);
        assert_eq!(status(&lab, &run)["status"], "stale", "{put}");
    }
    lab.write(".guild/runs/0a/.guild/attrs/started", "1769688000000000");
    fs::create_dir(lab.path(".guild/runs/0a/.guild/LOCK")).unwrap();
    assert_eq!(status(&lab, ".guild/runs/0a")["status"], "running");
}

#[test]
fn a_file_that_may_not_be_read_proves_no_death() {
    let lab = Lab::new();
    connect4(&lab, "runs/c4", &connect4_status("running", 1), Some("999999999"));
    lab.set_mode("runs/c4/pid", 0o000);
    let by_somebody =
        lab.cmd_by_somebody("run-status").args(["--json", "runs/c4"]).run().json_lines().remove(0);
    assert_eq!(by_somebody["status"], "running");
    lab.set_mode("runs/c4/pid", 0o644);
    assert_eq!(status(&lab, "runs/c4")["status"], "dead");
}

#[test]
fn a_link_leads_to_no_process_of_another_run() {
    let lab = Lab::new();
    let victim = lab.cmd("sleep").arg("1000").spawn();
    let meta = json!({"start_time_iso": testkit::foreign::iso(0), "command": "sleep 1000"}).to_string();
    lab.write("theirs/pid", victim.pid().to_string());
    lab.write("theirs/meta.json", &meta);
    for (name, is_link) in [("pid", [true, false]), ("meta", [false, true])] {
        let run = format!("runs/{name}");
        connect4(&lab, &run, &connect4_status("running", 1), None);
        for (file, is_link) in ["pid", "meta.json"].iter().zip(is_link) {
            let path = lab.path(format!("{run}/{file}"));
            let _ = fs::remove_file(&path);
            if is_link {
                symlink(lab.path(format!("theirs/{file}")), path).unwrap();
            } else {
                fs::copy(lab.path(format!("theirs/{file}")), path).unwrap();
            }
        }
        let asked = lab.cmd("run-stop").args(["--no-wait", &run]).run().code(0);
        assert!(asked.err().contains("is not signalled"), "{}", asked.err());
        assert!(lives(victim.pid()), "{name}");
    }
}

#[test]
fn a_trial_that_is_tried_again_has_not_failed() {
    let lab = Lab::new();
    let row = |done: bool, more: &str| {
        format!("{{\"loss\": NaN, \"done\": {done}, \"timestamp\": 1769688000{more}}}\n")
    };
    lab.write("ray/t/params.json", "{}");
    lab.write("ray/t/result.json", row(false, ""));
    lab.write("ray/t/error.txt", "Traceback (most recent call last):\nValueError: x\n");
    age(&lab, "ray", 600);
    let told = || (status(&lab, "ray/t")["status"].clone(), status(&lab, "ray/t")["reason"].clone());
    assert_eq!(told(), (json!("failed"), json!("ValueError: x")));
    lab.write("ray/t/result.json", row(false, "").repeat(2));
    assert_eq!(told().0, json!("running"));
    // A line of RLlib holds the whole config.
    let config = format!(", \"config\": \"{}\"", "x".repeat(200_000));
    lab.write("ray/t/result.json", row(false, "") + &row(true, &config));
    assert_eq!(told(), (json!("completed"), json!(null)));
    lab.write("ray/t/error.txt", "ValueError: before\n");
    assert_eq!(told().0, json!("completed"));
}

#[test]
fn a_run_is_the_same_from_within() {
    let lab = Lab::new();
    let name = "training_runs/run_2025-08-19_12-34-56";
    rl_practice(&lab, "all", "run_2025-08-19_12-34-56", &["10"], 3);
    lab.write("all/lightning_logs/version_0/metrics.csv", "epoch,step,loss\n0,1,0.5\n");
    age(&lab, "all", 600);
    for run in [&format!("all/{name}"), "all/lightning_logs/version_0"] {
        let outside = status(&lab, run);
        let below = if run.ends_with("version_0") { "x" } else { "logs" };
        fs::create_dir_all(lab.path(format!("{run}/{below}"))).unwrap();
        age(&lab, "all", 600);
        for (from, word) in [(run.to_owned(), "."), (format!("{run}/{below}"), ".."), (run.to_owned(), "./.")]
        {
            let words = ["-c", "cd \"$1\" && exec run-status --json \"$2\"", "sh", &from, word];
            let inside = lab.cmd("sh").args(words).run().code(0).json_lines().remove(0);
            for key in ["path", "run_name", "layout", "status", "start_time", "step", "run_id"] {
                assert_eq!(inside[key], outside[key], "{run} {word} {key}");
            }
        }
    }
}

#[test]
fn a_byte_order_mark_is_no_damage() {
    let lab = Lab::new();
    lab.write("all/s/run_metadata.json", "\u{feff}{\"status\": \"completed\"}\r\n");
    lab.write("all/h/.hydra/config.yaml", "\u{feff}seed: 7\r\nlr: 0.5\r\n");
    let runs = listed(&lab, "all"); // without damage
    assert_eq!(runs["s"]["status"], "completed");
    let details = lab.cmd("run-status").arg("all/h").run().code(0).stderr("").out();
    assert!(details.lines().any(|line| line.split_whitespace().eq(["seed:", "7"])), "{details}");
}
