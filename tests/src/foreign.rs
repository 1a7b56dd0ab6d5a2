//! Runs in the layouts of the four systems that the suite takes over from, in the formats that these write.

use crate::Lab;
use crate::checkpoints::torch_zip;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::SystemTime;

/// Makes a run of `StealthRL`, whose metadata has these fields instead, or not at all where they are null.
pub fn stealthrl(lab: &Lab, run: &str, change: &Value, metrics: &str) {
    let mut metadata = json!({
        "run_name": run.rsplit('/').next(), "start_time": "2024-01-15T14:30:22",
        "end_time": "2024-01-15T14:45:10.250000", "status": "completed", "data_path": "data/tinker",
        "num_epochs": 3, "batch_size": 8, "config_file": null,
    });
    for (key, value) in change.as_object().unwrap() {
        metadata[key] = value.clone();
    }
    lab.write(&format!("{run}/run_metadata.json"), format!("{metadata:#}"));
    lab.write(&format!("{run}/metrics.jsonl"), metrics);
    lab.write(&format!("{run}/training.log"), "loading\nstep 1\n");
}

/// Rows with the short names of `StealthRL`: rewards 0.1, 0.2 and so on.
pub fn short_rows(count: usize) -> String {
    let row = |step: usize| {
        format!(
            "{{\"step\": {step}, \"reward\": 0.{}, \"kl_divergence\": 0.5, \"timestamp\": \"2024-01-15T14:3{step}:00.5\"}}\n",
            step + 1
        )
    };
    (0..count).map(row).collect()
}

/// Rows with its names that have slashes.
pub fn slash_rows(count: usize) -> String {
    let row = |step: usize| {
        format!(
            "{{\"step\": {step}, \"env/all/reward/total\": 0.{}, \"env/all/kl\": NaN, \"optim/entropy\": 1.5}}\n",
            step + 1
        )
    };
    (0..count).map(row).collect()
}

/// Makes a batch of the experiment runner: `easy` has completed, `moderate` failed, `hard` raised an error in the
/// runner, and `last` is running.
pub fn experiments(lab: &Lab, batch: &str) {
    lab.write(&format!("{batch}/master_log.txt"), "2024-01-28 14:30:22,123 - ExperimentRunner - INFO - go\n");
    for (name, result) in [
        ("easy", json!({"status": "completed", "return_code": 0, "error": null})),
        (
            "moderate",
            json!({"status": "failed", "return_code": 1, "error": "Training failed with return code 1"}),
        ),
        ("hard", json!({"status": "error", "error": "invalid start byte", "traceback": "Traceback\n"})),
        ("last", Value::Null),
    ] {
        let run = format!("{batch}/{name}");
        let directory = lab.path(&run);
        let metadata = json!({
            "config_path": format!("config/{name}.py"),
            "command": ["python", "train_run.py", format!("config/{name}.py"), format!("--out_dir={}", directory.display()), "--max_iters=1000", "--compile=False"],
            "global_overrides": {"max_iters": 1000, "compile": false, "device": null},
            "start_time": "2024-01-28T14:30:22.500000", "python_executable": "/usr/bin/python3", "working_directory": "/work",
        });
        lab.write(&format!("{run}/experiment_metadata.json"), format!("{metadata:#}"));
        lab.write(
            &format!("{run}/config_used.py"),
            "max_iters = 5000\nseed = 7 # not read\nlearning_rate = 1e-3\n",
        );
        let log = "n_layer = 2\niter 0: loss 4.2, time 45.67ms, mfu -100.00%\n# step 7: train loss 9\nstep 500: train loss 1.75, val loss 1.9\niter 500: loss 1.5, time 40.00ms, mfu 1.00%\n";
        lab.write(&format!("{run}/stdout.log"), log);
        lab.write(&format!("{run}/stderr.log"), "warning\nRuntimeError: boom\n");
        lab.write(&format!("{run}/combined.log"), "[STDOUT] n_layer = 2\n[STDERR] warning\n");
        lab.write(&format!("{run}/ckpt_unmasking_500.pt"), zip());
        if let Value::Object(mut result) = result {
            for (key, value) in [
                ("config_name", json!(name)),
                ("start_time", metadata["start_time"].clone()),
                ("duration_seconds", json!(90.5)),
                ("end_time", json!("2024-01-28T14:31:53")),
                ("final_checkpoint", json!("ckpt_unmasking_500.pt")),
            ] {
                result.insert(key.to_owned(), value);
            }
            lab.write(&format!("{run}/experiment_result.json"), format!("{:#}", Value::from(result)));
        }
    }
}

/// Makes a run of the Connect4 pipeline, whose status and pid are these; null for none.
pub fn connect4(lab: &Lab, run: &str, status: &Value, pid: Option<&str>) {
    let meta = json!({
        "git_commit": "0123456789abcdef0123456789abcdef01234567", "git_dirty": true,
        "command": "python -m src.cli.train --config configs/dqn_connect4.yaml",
        "start_time_iso": "2026-01-29T12:00:00.000000+00:00", "seed": 42, "device": "cpu",
        "python_version": "3.11.4", "torch_version": null, "config_path": "/data/configs/dqn_connect4.yaml",
    });
    lab.write(&format!("{run}/meta.json"), format!("{meta:#}"));
    lab.write(&format!("{run}/config.yaml"), "seed: 42\ngame: {id: connect4}\ntrain: {total_steps: 50000}\n");
    lab.write(&format!("{run}/metrics.csv"), "step,episode,reward,epsilon\n100,5,0.5,0.9\n200,9,nan,0.8\n");
    lab.write(&format!("{run}/checkpoints/model_200.pt"), zip());
    if !status.is_null() {
        lab.write(&format!("{run}/status.json"), status.to_string());
    }
    if let Some(pid) = pid {
        lab.write(&format!("{run}/pid"), pid);
    }
}

/// Returns a status of that pipeline, with a heartbeat of that age in seconds.
pub fn connect4_status(status: &str, age: u64) -> Value {
    json!({
        "status": status, "step": 12345, "total_steps": 50000, "episode": 678, "epsilon": 0.42,
        "start_time": "2026-01-29T12:00:00+00:00", "last_heartbeat": iso(age),
    })
}

/// Returns the time that number of seconds ago as Python writes it in UTC.
pub fn iso(age: u64) -> String {
    let seconds = now() - age;
    let (days, of_day) = (seconds / 86400, seconds % 86400);
    // Days to a date of the Gregorian calendar, counted from March of the year 0.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) =
        (year_of_era + era * 400 + u64::from(month >= 10), if month < 10 { month + 3 } else { month - 9 });
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}+00:00")
}

/// Returns seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// Makes a run of RL practice below `<root>/training_runs`, with these checkpoints and as many rows as steps.
pub fn rl_practice(lab: &Lab, root: &str, name: &str, checkpoints: &[&str], steps: usize) {
    let run = format!("{root}/training_runs/{name}");
    lab.write(&format!("{run}/config.yaml"), "total_steps: 40\nbackbone: qwen\nlr: 1.0e-5\n");
    let mut rows = String::new();
    for step in 1..=steps {
        let reward = if step == 2 { "NaN".to_owned() } else { format!("0.{step}") };
        writeln!(
            rows,
            "{{\"step\": {step}, \"loss\": 0.25, \"entropy\": 1.5, \"kl\": 0.01, \"r_mean\": {reward}}}"
        )
        .unwrap();
    }
    lab.write(&format!("{run}/logs/train_log.jsonl"), rows);
    lab.write(
        &format!("{run}/logs/rollouts.jsonl"),
        "{\"step\": 900, \"text\": \"no metric\", \"reward\": 1}\n",
    );
    lab.write(&format!("{run}/logs/ratios.jsonl"), "{\"step\": 1, \"ratio_max\": 1.25}\n");
    for step in checkpoints {
        let state = format!("{run}/training_state/step_{step}");
        lab.write(&format!("{state}/model/adapter_config.json"), "{}");
        lab.write(&format!("{state}/model/adapter_model.bin"), zip());
        lab.write(&format!("{state}/optimizer.pt"), zip());
        lab.write(&format!("{state}/scheduler.pt"), zip());
        lab.write(
            &format!("{state}/training_info.json"),
            json!({"step": step, "global_step": 7}).to_string(),
        );
    }
    if let Some(last) = checkpoints.last() {
        symlink(format!("step_{last}"), lab.path(format!("{run}/training_state/step_latest"))).unwrap();
    }
}

/// Makes evaluations of such a run as the document has them, or as they really are.
pub fn rl_evaluations(lab: &Lab, root: &str, name: &str, dataset: &str, is_documented: bool) {
    let top = format!("{root}/eval_runs/{name}_{dataset}");
    let config =
        format!("backbone: qwen\neval_dataset: {dataset}\ntraining_run: {name}\nsteps_evaluated: all\n");
    lab.write(&format!("{top}/eval_config.yaml"), config);
    for (step, rate) in [(10, "0.25"), (20, "0.75")] {
        let place = if is_documented {
            format!("{top}/step_{step}_{dataset}")
        } else {
            format!("{top}/qwen_lora_finetuned/step_{step}_{dataset}/temp0.7_p1.0_r8")
        };
        let table = format!("q_idx,pass_rate,pass@1\n0,{rate},1.0\n1,{rate},\n2,{rate},0.0\n");
        lab.write(&format!("{place}/metrics.csv"), table);
        lab.write(&format!("{place}/summary.json"), "{}");
    }
}

/// Sets the time of everything below a path, as of what was written that number of seconds ago.
pub fn age(lab: &Lab, path: &str, seconds: u64) {
    fn set(path: &Path, time: Timespec) {
        let Ok(found) = fs::symlink_metadata(path) else { return };
        if found.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                set(&entry.unwrap().path(), time);
            }
        }
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
    let then = now() - seconds;
    set(&lab.path(path), Timespec { tv_sec: then.try_into().unwrap(), tv_nsec: 0 });
}

/// Returns a checkpoint as torch writes it.
fn zip() -> Vec<u8> {
    torch_zip(&[("archive/data.pkl", b"\x80\x02}q\x00."), ("archive/version", b"3\n")], false, b"")
}
