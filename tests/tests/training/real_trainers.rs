//! Real trainers, which tests/setup installs: how far each is, by its own files alone, while it trains, when it
//! was killed, and when it has gone on in the loop of training and evaluation.

use serde_json::{Value, json};
use testkit::process::Signal;
use testkit::progress::{fact, step};
use testkit::{Cmd, Lab, checkout, pid, signal};

/// A training in two rounds: in the first its program is killed, and goes on from its last checkpoint.
struct Training<'a> {
    /// The program below `tests/fixtures/trainers`, and its arguments.
    command: &'a [&'a str],
    /// Options of run-new, beside the number of steps.
    options: &'a [&'a str],
    /// Steps of each round.
    rounds: [u64; 2],
    /// Where the program waits to be killed, and which step it is known to be at there.
    pause: [u64; 2],
    /// How the name of the file begins that its metrics are read from.
    metrics: &'a str,
    /// A metric, and how many values of it count where it waits and at the end; none without metrics.
    metric: (&'a str, [u64; 2]),
    /// Checkpoints that are the last ones where it waits and at the end, and the step of the former.
    checkpoints: [&'a str; 2],
    saved: u64,
    /// Steps that are evaluated.
    evaluated: &'a [u64],
}

impl Training<'_> {
    /// Trains, and checks the state at every turn.
    fn run(&self) {
        let lab = Lab::new();
        self.create(&lab);
        self.train_until_killed(&lab);
        self.go_on(&lab);
        self.look_back(&lab);
        lab.nothing_left();
    }

    fn create(&self, lab: &Lab) {
        let python = checkout().join("target/trainers/bin/python3");
        assert!(python.exists(), "the trainers are not installed: tests/setup installs them");
        let program = checkout().join("tests/fixtures/trainers").join(self.command[0]);
        let new = lab.cmd("run-new").args(["-n", "r", "--total-steps", &self.rounds[0].to_string()]);
        let new = new.args(self.options).arg("--").arg(python).arg(program).args(&self.command[1..]);
        new.run().code(0).stderr("");
    }

    fn train_until_killed(&self, lab: &Lab) {
        let [pause, at] = self.pause;
        let exec = lab.cmd("run-exec").args(["-q", "--heartbeat", "200ms", "r"]);
        let exec = alone(lab, exec).env("PAUSE_AT", pause.to_string()).spawn();
        let status = lab.await_status("r", "where it waits", |status| {
            let from = status["metrics_from"][0].as_str().unwrap_or_default();
            status["step"] == at && self.count(status) == self.metric.1[0] && from.starts_with(self.metrics)
        });
        assert_eq!((status["total_steps"].as_u64(), step(lab)), (Some(self.rounds[0]), json!(at)));
        assert!(status["eta_s"].as_f64().is_some(), "{status}");
        assert!(fact(lab, "r", "step").starts_with(&format!("{at}/{} (", self.rounds[0])));
        assert!(fact(lab, "r", "metrics").starts_with(self.metrics), "{}", fact(lab, "r", "metrics"));
        let watch = lab.cmd("run-status").args(["--watch=1", "--json", "r"]).spawn();
        signal(pid(&status, "child_pid"), Signal::KILL);
        exec.wait().code(137);
        let watched = watch.wait().json_lines();
        let end = lab.json("runs/r/.run/result.json");
        for (status, step) in
            [(&lab.status("r"), "step"), (&watched[watched.len() - 1], "step"), (&end, "final_step")]
        {
            let found = [&status["status"], &status["reason"], &status[step]];
            assert_eq!(found, [&json!("failed"), &json!("signal 9 (KILL)"), &json!(at)]);
        }
        assert_eq!(end["final_checkpoint"], self.checkpoints[0]);
    }

    /// Ends the first round and trains another one, as a user would.
    fn go_on(&self, lab: &Lab) {
        let eval = "echo \"{\\\"bytes\\\": $(du -sb \"$1\" | cut -f 1)}\"";
        let [first, next] = self.rounds;
        let script = alone(lab, lab.cmd(checkout().join("examples/loop")));
        let script = script.args(["r", &next.to_string(), &(first + next).to_string(), "sh", "-c", eval]);
        script.args(["sh", "{checkpoint}"]).run().code(0);
    }

    /// Looks at what the record, the report and the evaluations tell in the end.
    fn look_back(&self, lab: &Lab) {
        let [first, next] = self.rounds;
        let (status, end) = (lab.status("r"), json!(first + next));
        let found = ["status", "reason", "step", "total_steps"].map(|key| &status[key]);
        assert_eq!(found, [&json!("completed"), &Value::Null, &end, &end]);
        assert_eq!((self.count(&status), step(lab)), (self.metric.1[1], end.clone()));
        let result = lab.json("runs/r/.run/result.json");
        assert_eq!([&result["final_step"], &result["final_checkpoint"]], [&end, &json!(self.checkpoints[1])]);
        let attempts = lab.json_lines("runs/r/.run/attempts.jsonl");
        let starts = attempts.iter().filter(|line| line["event"] == "start");
        let resumed: Vec<_> = starts.map(|start| start["resume_step"].as_u64()).collect();
        assert_eq!(resumed, [None, Some(self.saved), Some(first)]);
        let table = lab.read("eval_runs/r_eval/consolidated_metrics.csv");
        let evaluated = table.lines().skip(1).map(|line| line.split(',').next().unwrap().parse().unwrap());
        assert_eq!(evaluated.collect::<Vec<u64>>(), self.evaluated);
        // Every step is there once.
        let rows = lab.cmd("run-report").args(["--metrics", "r"]).run().code(0).out();
        let mut rows = rows.lines().map(|row| row.split(',').collect::<Vec<_>>());
        let names = rows.next().unwrap();
        let Some(metric) = names.iter().position(|name| *name == self.metric.0) else { return };
        let steps: Vec<u64> =
            rows.filter(|row| !row[metric].is_empty()).map(|row| row[1].parse().unwrap()).collect();
        assert!(steps.is_sorted_by(|one, next| one < next), "{steps:?}");
        assert_eq!(steps.len() as u64, self.metric.1[1]);
    }

    /// Returns how many values of the metric count.
    fn count(&self, status: &Value) -> u64 {
        status["metrics"][self.metric.0]["count"].as_u64().unwrap_or_default()
    }
}

/// Has a trainer use one core, and leave nothing elsewhere.
fn alone(lab: &Lab, command: Cmd) -> Cmd {
    command.env("OMP_NUM_THREADS", "1").env("TMPDIR", lab.dir())
}

#[test]
fn one_that_prints_nothing() {
    let training = Training {
        command: &["silent.py"],
        options: &[],
        rounds: [40, 20],
        pause: [35, 30],
        metrics: "",
        metric: ("", [0, 0]),
        checkpoints: ["checkpoints/model_30.pt", "checkpoints/model_60.pt"],
        saved: 30,
        evaluated: &[10, 20, 30, 40, 50, 60],
    };
    training.run();
}

#[test]
fn one_that_overwrites_its_checkpoint() {
    let training = Training {
        command: &["nanogpt.py", "--out_dir={run}", "--max_iters={total_steps}", "{resume}"],
        options: &["--resume-args", "--init_from=resume"],
        rounds: [40, 20],
        pause: [35, 35],
        metrics: ".run/scraped.jsonl",
        metric: ("loss", [36, 61]),
        checkpoints: ["ckpt.pt", "ckpt.pt"],
        saved: 30,
        evaluated: &[40, 60],
    };
    training.run();
}

#[test]
fn one_that_prints_only_epochs_and_saves_with_orbax() {
    let training = Training {
        command: &["flax_epochs.py"],
        options: &[],
        rounds: [40, 20],
        pause: [35, 35],
        metrics: ".run/scraped.jsonl",
        metric: ("loss", [35, 60]),
        checkpoints: ["checkpoints/30", "checkpoints/60"],
        saved: 30,
        evaluated: &[10, 20, 30, 40, 50, 60],
    };
    training.run();
}

#[test]
fn dqn_of_stable_baselines_with_a_status_of_its_own() {
    let training = Training {
        command: &["sb3_status.py"],
        options: &[],
        rounds: [400, 200],
        pause: [250, 250],
        metrics: "status.json",
        metric: ("epsilon", [1, 1]),
        checkpoints: ["models/rl_model_200_steps.zip", "models/rl_model_600_steps.zip"],
        saved: 200,
        evaluated: &[100, 200, 300, 400, 500, 600],
    };
    training.run();
}

#[test]
fn ppo_of_stable_baselines_with_its_tables() {
    let training = Training {
        command: &["sb3_ppo.py"],
        options: &[],
        rounds: [400, 200],
        pause: [300, 300],
        metrics: "progress.csv",
        metric: ("train/loss", [2, 1]),
        checkpoints: ["checkpoints/rl_model_300_steps.zip", "checkpoints/rl_model_600_steps.zip"],
        saved: 300,
        evaluated: &[100, 200, 300, 400, 500, 600],
    };
    training.run();
}

#[test]
fn lightning_with_its_csv_logger() {
    let training = Training {
        command: &["lightning_fit.py", "csv"],
        options: &[],
        rounds: [40, 20],
        pause: [35, 33],
        metrics: "lightning_logs/version_0/metrics.csv",
        // After a resume Lightning counts the rows from one less than its steps.
        metric: ("train_loss", [34, 58]),
        checkpoints: [
            "lightning_logs/version_0/checkpoints/epoch=3-step=30.ckpt",
            "lightning_logs/version_2/checkpoints/epoch=7-step=60.ckpt",
        ],
        saved: 30,
        evaluated: &[10, 20, 30, 40, 50, 60],
    };
    training.run();
}

#[test]
fn lightning_with_event_files() {
    let training = Training {
        command: &["lightning_fit.py", "tensorboard"],
        options: &[],
        rounds: [40, 20],
        pause: [35, 33],
        metrics: "lightning_logs/version_0/events.out.tfevents.",
        // After a resume Lightning counts the rows from one less than its steps.
        metric: ("train_loss", [34, 58]),
        checkpoints: [
            "lightning_logs/version_0/checkpoints/epoch=3-step=30.ckpt",
            "lightning_logs/version_2/checkpoints/epoch=7-step=60.ckpt",
        ],
        saved: 30,
        evaluated: &[10, 20, 30, 40, 50, 60],
    };
    training.run();
}

#[test]
fn a_trainer_of_hugging_face() {
    let training = Training {
        command: &["transformers_trainer.py", "--output_dir={run}", "--max_steps={total_steps}", "{resume}"],
        options: &["--resume-args", "--resume_from_checkpoint", "{checkpoint}"],
        rounds: [40, 20],
        pause: [35, 35],
        metrics: ".run/scraped.jsonl",
        metric: ("loss", [6, 12]),
        checkpoints: ["checkpoint-20", "checkpoint-60"],
        saved: 20,
        evaluated: &[20, 40, 60],
    };
    training.run();
}

#[test]
fn keras_with_its_csv_logger() {
    let training = Training {
        command: &["keras_fit.py"],
        options: &[],
        rounds: [10, 5],
        pause: [7, 7],
        metrics: "training.log",
        metric: ("val_loss", [7, 15]),
        checkpoints: ["checkpoints/model.07.keras", "checkpoints/model.15.keras"],
        saved: 7,
        evaluated: &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    };
    training.run();
}

#[test]
fn a_loop_with_accelerate_and_logs_in_json() {
    let training = Training {
        command: &["accelerate_jsonl.py"],
        options: &[],
        rounds: [40, 20],
        pause: [35, 35],
        metrics: "logs/train_log.jsonl",
        metric: ("train/loss", [35, 60]),
        checkpoints: ["checkpoints/step_30", "checkpoints/step_60"],
        saved: 30,
        evaluated: &[10, 20, 30, 40, 50, 60],
    };
    training.run();
}

#[test]
fn xgboost_with_a_pattern_for_its_lines_and_its_models() {
    let training = Training {
        command: &["boosting.py"],
        options: &[
            "--scrape",
            r"^\[\d+\]\ttrain-rmse:(?<rmse>\S+)",
            "--checkpoint",
            "checkpoints/model_{step}.json",
        ],
        rounds: [40, 20],
        pause: [35, 30],
        metrics: ".run/scraped.jsonl",
        metric: ("rmse", [35, 65]),
        checkpoints: ["checkpoints/model_30.json", "checkpoints/model_60.json"],
        saved: 30,
        evaluated: &[10, 20, 30, 40, 50, 60],
    };
    training.run();
}
