//! Which files of trainers are taken for metrics: those of many, and none that only look like them.

use serde_json::{Value, json};
use testkit::Lab;
use testkit::progress::{fact, leaves, step};

#[test]
fn logs_with_metrics_of_one_name_are_told_apart() {
    let lab = leaves(&[
        ("logs/train.jsonl", "{\"step\": 1, \"loss\": 2}\n{\"step\": 2, \"loss\": 1}\n"),
        ("logs/valid.jsonl", "{\"step\": 2, \"loss\": 7}\n"),
    ]);
    let metrics = lab.status("r")["metrics"].clone();
    assert_eq!((&metrics["loss"]["last"], &metrics["valid/loss"]["last"]), (&json!(1), &json!(7)));
    let rows = lab.cmd("run-report").arg("--metrics").run().code(0).out();
    assert_eq!(rows, "run,step,loss,valid/loss\nr,1,2,\nr,2,1,\nr,2,,7\n");
}

#[test]
fn files_of_many_trainers_are_known() {
    let json_lines = "{\"iteration\": 19, \"total_loss\": 2.5}\n{\"iteration\": 39, \"total_loss\": 1.5}\n";
    let state = "{\"global_step\": 20, \"max_steps\": 40, \"log_history\": [{\"step\": 20, \"loss\": 1.5}]}";
    for (name, content, step, metric) in [
        (
            "train/results.csv",
            "                  epoch,      train/box_loss\n                  1,  2.4\n   2,  1.5\n",
            2,
            "train/box_loss",
        ),
        ("out/training.log", "epoch,accuracy,loss\n0,0.5,2.5\n1,0.75,1.5\n", 1, "loss"),
        ("log.csv", "epoch,loss\n0,2.5\n1,1.5\n", 1, "loss"),
        ("metrics.json", json_lines, 39, "total_loss"),
        (
            "work/vis_data/scalars.json",
            "{\"lr\": 0.1, \"loss\": 2.5, \"step\": 50}\n{\"loss\": 1.5, \"step\": 100}\n",
            100,
            "loss",
        ),
        ("0.monitor.csv", "#{\"t_start\": 1}\nr,l,t\n2.5,9,0.1\n1.5,9,0.2\n", 2, "r"),
        ("log/progress.csv", "time/total_timesteps,train/loss\n64,2.5\n128,1.5\n", 128, "train/loss"),
        ("nested/metrics.jsonl", "{\"step\": 3, \"loss\": 2.5}\n{\"step\": 4, \"loss\": 1.5}\n", 4, "loss"),
        ("checkpoint-20/trainer_state.json", state, 20, "loss"),
        ("lightning_logs/version_0/metrics.csv", "epoch,step,loss\n0,1,2.5\n0,2,1.5\n", 2, "loss"),
        ("work_dirs/net/20260129_120000/vis_data/scalars.json", "{\"step\": 9, \"loss\": 1.5}\n", 9, "loss"),
        // mmcv: what it was started with comes before the rows.
        (
            "20260129_120000.log.json",
            "{\"env_info\": \"x\", \"seed\": 0}\n{\"mode\": \"train\", \"epoch\": 1, \"iter\": 50, \"loss\": 1.5}\n",
            50,
            "loss",
        ),
        (
            "log.txt",
            "{\"train_loss\": 2.5, \"epoch\": 0}\n{\"train_loss\": 1.5, \"epoch\": 1}\n",
            1,
            "train_loss",
        ),
        ("output/train/net/summary.csv", "epoch,train_loss,eval_top1\n0,2.5,1\n1,1.5,2\n", 1, "train_loss"),
        ("progress.txt", "Epoch\tAverageEpRet\n0\t2.5\n1\t1.5\n", 1, "AverageEpRet"),
        ("loss.tsv", "EPOCH\tTIMESTAMP\tTRAIN_LOSS\n1\t10:00:00\t2.5\n2\t10:01:00\t1.5\n", 2, "TRAIN_LOSS"),
    ] {
        let lab = leaves(&[(name, content)]);
        assert_eq!(step_of_all(&lab, name), step, "{name}");
        assert_eq!(lab.status("r")["metrics"][metric]["last"], 1.5, "{name}");
        assert_eq!(fact(&lab, "r", "metrics"), name);
        let rows = lab.cmd("run-report").arg("--metrics").run().code(0).out();
        assert!(rows.lines().count() > 1 && rows.contains(metric), "{name}: {rows}");
    }
    let lab = leaves(&[("checkpoint-20/trainer_state.json", state)]);
    assert_eq!(lab.status("r")["total_steps"], 40);
}

/// Expects that all tools say the same step.
fn step_of_all(lab: &Lab, what: &str) -> Value {
    let found = step(lab);
    assert_eq!(lab.json("runs/r/.run/result.json")["final_step"], found, "{what}");
    found
}

#[test]
fn files_that_only_look_like_metrics_are_none() {
    let lab = leaves(&[
        ("training.log", "INFO epoch 1 begins\nloss, as ever, 3\n"),
        ("metrics.json", "{\n  \"accuracy\": 0.5,\n  \"step\": 7\n}\n"),
        ("data/train.jsonl", "{\"step\": 1, \"text\": \"x\"}\n"),
        ("logs/rollouts.jsonl", "{\"step\": 5, \"reward\": 1}\n"),
        ("logs/app.jsonl", "{\"level\": \"info\", \"msg\": \"step 3\"}\n"),
        ("results.csv", "name,score\na,1\n"),
        ("eval/metrics.csv", "step,acc\n1,2\n"),
        ("status.json", "{\"status\": \"running\"}"),
        ("log.txt", "epoch 1 begins\n{\"level\": \"info\"}\n"),
        ("summary.csv", "name,score\na,1\n"),
    ]);
    let status = lab.status("r");
    assert_eq!(
        (&status["step"], &status["metrics"], &status["metrics_from"]),
        (&Value::Null, &json!({}), &Value::Null)
    );
    assert_eq!(fact(&lab, "r", "metrics"), "");
}

#[test]
fn a_log_says_how_many_steps_there_are() {
    let rows = "{\"current_steps\": 5, \"total_steps\": 50, \"loss\": 2.5, \"epoch\": 0.1}\n\
                {\"current_steps\": 10, \"total_steps\": 50, \"loss\": 1.5, \"epoch\": 0.2}\n";
    let lab = leaves(&[("saves/trainer_log.jsonl", rows)]);
    assert_eq!((step(&lab), fact(&lab, "r", "metrics")), (json!(10), "saves/trainer_log.jsonl".to_owned()));
    assert_eq!(lab.status("r")["total_steps"], 50);
}

#[test]
fn files_that_no_attempt_has_touched_are_nobodys_progress() {
    let lab = Lab::new();
    lab.new_run("r", &["sh", "-c", "[ $RUN_ATTEMPT = 1 ] || echo 10,3 >>$RUN_DIR/old/metrics.csv"]);
    lab.write("runs/r/old/metrics.csv", "step,loss\n1,2\n9,1\n");
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let file = std::fs::File::options().append(true).open(lab.path("runs/r/old/metrics.csv")).unwrap();
    file.set_modified(hour_ago).unwrap();
    lab.cmd("run-exec").args(["-q", "r"]).run().code(0);
    let said = || {
        let report = lab.cmd("run-report").args(["--format", "json"]).run().code(0).json_lines();
        let rows = lab.cmd("run-report").arg("--metrics").run().code(0).out();
        (lab.status("r")["step"].clone(), report[0]["step"].clone(), rows)
    };
    assert_eq!(said(), (Value::Null, Value::Null, "run,step\n".to_owned()));
    lab.cmd("run-exec").args(["-q", "--resume", "r"]).run().code(0);
    let rows = "run,step,loss\nr,1,2\nr,9,1\nr,10,3\n".to_owned();
    assert_eq!(said(), (json!(10), json!(10), rows));
}
