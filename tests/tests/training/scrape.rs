//! Metrics read from the output of programs: all of the numbers, and nothing else.

use serde_json::{Value, json};
use std::fs;
use testkit::{Lab, checkout};

/// What every program of these tests does besides its own printing: it echoes its own source, and
/// has lines that only look like metrics before and after each of its own.
const PRELUDE: &str = r#"import sys, os, time
source = open(__file__).read()
decoys = open(os.environ["DECOYS"]).read()
print(source)
def out(*lines, end="\n", to=sys.stdout):
    for line in lines:
        print(decoys, end="", file=sys.stderr)
        sys.stderr.flush()
        to.write(decoys + line + end)
        to.flush()
"#;

/// Executes a program in a run called `r`.
fn execute(lab: &Lab, program: &str, options: &[&str]) {
    if !lab.path("runs/r").exists() {
        lab.new_run("r", &["python3", "train.py"]);
    }
    lab.write("train.py", format!("{PRELUDE}{program}"));
    let decoys = checkout().join("tests/fixtures/decoys.txt");
    let done = lab.cmd("run-exec").arg("-q").args(options).arg("r").env("DECOYS", decoys).run().code(0);
    let is_known = |line: &str| line.ends_with("starts from the beginning: it has no checkpoint");
    assert!(done.err().lines().all(is_known), "{}", done.err());
}

fn rows(lab: &Lab) -> Vec<Value> {
    if lab.path("runs/r/.run/scraped.jsonl").exists() {
        lab.json_lines("runs/r/.run/scraped.jsonl")
    } else {
        Vec::new()
    }
}

/// Executes a program and expects these rows and no others, whatever the command's outputs are. The
/// program prints its rows to one of the two outputs: two pipes keep no order between them.
#[track_caller]
fn expect(program: &str, expected: &Value) {
    expect_step(program, expected, true);
}

/// Expects the same, and that the rows tell a step or none.
#[track_caller]
fn expect_step(program: &str, expected: &Value, has_step: bool) {
    for option in ["--heartbeat=5s", "--merge", "--pty"] {
        let lab = Lab::new();
        execute(&lab, program, &[option]);
        assert_eq!(Value::from(rows(&lab)), *expected, "{option}");
        let step = lab.json("runs/r/.run/result.json")["final_step"].clone();
        assert_eq!(step.is_number(), has_step, "{option}: {step}");
    }
}

#[test]
fn nanogpt_prints_two_lines_a_step_which_are_two_rows() {
    let program = r#"
for i in range(3):
    if i != 1: out(f"step {i}: train loss {4 - i:.4f}, val loss {4.5 - i:.4f}" + (", lr 0.001000" if i else ""))
    out(f"iter {i}: loss {3.1234 - i:.4f}, time {45.67:.2f}ms, mfu {-100:.2f}%")
"#;
    expect(
        program,
        &json!([
            {"step": 0, "train loss": 4, "val loss": 4.5},
            {"iter": 0, "loss": 3.1234, "time": 45.67, "mfu": -100},
            {"iter": 1, "loss": 2.1234, "time": 45.67, "mfu": -100},
            {"step": 2, "train loss": 2, "val loss": 2.5, "lr": 0.001},
            {"iter": 2, "loss": 1.1234, "time": 45.67, "mfu": -100},
        ]),
    );
}

#[test]
fn hugging_face_prints_dicts_between_two_bars_on_stderr() {
    let program = r#"
bar = sys.stderr
for i, loss in enumerate(["'3.683'", 3.5, "nan"]):
    bar.write(f"\r {i}%|#   | {i}/3 [00:00<?, ?it/s, loss=0.5]\n\rinner {i}\x1b[A"); bar.flush()
    bar.write("\r" + " " * 40 + "\r"); bar.flush()
    print("{'loss': %s, 'grad_norm': '1.251', 'learning_rate': 9.55e-05, 'epoch': '%s'}" % (loss, i / 10), flush=True)
out("{'eval_loss': 2.5, 'eval_runtime': 1.25, 'epoch': 1.0}")
"#;
    expect_step(
        program,
        &json!([
            {"loss": 3.683, "grad_norm": 1.251, "learning_rate": 9.55e-5, "epoch": 0},
            {"loss": 3.5, "grad_norm": 1.251, "learning_rate": 9.55e-5, "epoch": 0.1},
            {"loss": "NaN", "grad_norm": 1.251, "learning_rate": 9.55e-5, "epoch": 0.2},
            {"eval_loss": 2.5, "eval_runtime": 1.25, "epoch": 1},
        ]),
        false,
    );
}

#[test]
fn keras_draws_a_bar_of_which_the_last_state_counts() {
    let program = r#"
out("Epoch 1/2")
for i in range(1, 4):
    sys.stdout.write("\r" + f"{i}/3 [{'=' * i}{'.' * (3 - i)}] - " + ("ETA: 0s" if i < 3 else "14s 8ms/step") + f" - loss: {1 / i:.4f}"); sys.stdout.flush()
    time.sleep(0.01)
sys.stdout.write("\b" * 50 + "\r3/3 [===] - 14s 8ms/step - loss: 0.3333 - val_loss: 2.7e-04\n")
out("3/3 [===] - 1s 2ms/step - loss: 9.9000", "Epoch 2/2")
for i in range(1, 4):
    sys.stdout.write(f"\r\x1b[1m{i}/3\x1b[0m \x1b[32m{'━' * i}\x1b[0m\x1b[37m{'━' * (3 - i)}\x1b[0m \x1b[1m0s\x1b[0m 8ms/step - accuracy: 0.{i}000 - loss: {1 / i:.4f}"); sys.stdout.flush()
sys.stdout.write("\n")
"#;
    expect(
        program,
        &json!([
            {"epoch": 1, "loss": 0.3333, "val_loss": 2.7e-4},
            {"epoch": 2, "accuracy": 0.3, "loss": 0.3333},
        ]),
    );
}

#[test]
fn cleanrl_and_deepspeed_print_keys_and_values() {
    let program = r#"
out("global_step=22, episodic_return=[21.]", "global_step=28, episodic_return=29.5, episodic_length=28")
out("step=10, skipped=0, lr=[0.001, 0.002], mom=[[0.9, 0.999]]", to=sys.stderr)
out("[2024-07-17 19:44:06,829] [INFO] [logging.py:69:log_dist] [Rank 0] step=20, skipped=1, lr=[0.001], mom=[[0.9, 0.999]]")
"#;
    let lab = Lab::new();
    execute(&lab, program, &["--merge"]);
    assert_eq!(
        rows(&lab),
        [
            json!({"global_step": 22, "episodic_return": 21}),
            json!({"global_step": 28, "episodic_return": 29.5, "episodic_length": 28}),
            json!({"step": 10, "skipped": 0, "lr[0]": 0.001, "lr[1]": 0.002, "mom[0]": 0.9, "mom[1]": 0.999}),
            json!({"step": 20, "skipped": 1, "lr": 0.001, "mom[0]": 0.9, "mom[1]": 0.999}),
        ]
    );
}

#[test]
fn megatron_and_torchtitan_print_a_line_an_iteration() {
    let program = r#"
for i in (10, 20):
    out(" iteration {:8d}/{:8d} | consumed samples: {:12d} | elapsed time per iteration (ms): {:.1f} | lm loss: {:.6E} | number of nan iterations: {:3d} |".format(i, 1000, 32 * i, 812.3, 12.5 / i, 0))
"#;
    expect(
        program,
        &json!([
            {"iteration": 10, "consumed samples": 320, "elapsed time per iteration (ms)": 812.3, "lm loss": 1.25, "number of nan iterations": 0},
            {"iteration": 20, "consumed samples": 640, "elapsed time per iteration (ms)": 812.3, "lm loss": 0.625, "number of nan iterations": 0},
        ]),
    );
    // The second trainer prints through a logger, to stderr.
    let program = r#"
out("[rank0]:[titan] 2025-05-01 12:00:00,123 - root - INFO - \x1b[31mstep: 30  \x1b[32mloss:  4.12345  \x1b[36mmemory: 12.34GiB(45.67%)  \x1b[34mtps: 1,234  \x1b[35mmfu: 1.23%\x1b[39m", to=sys.stderr)
out("\x1b[31mstep: 40  \x1b[32mloss:  4.00000  \x1b[34mtps: 12,345,678\x1b[39m", to=sys.stderr)
"#;
    expect(
        program,
        &json!([
            {"step": 30, "loss": 4.12345, "memory": 12.34, "memory(%)": 45.67, "tps": 1234, "mfu": 1.23},
            {"step": 40, "loss": 4, "tps": 12_345_678},
        ]),
    );
}

#[test]
fn trainers_of_vision_print_through_loggers_and_bars() {
    let program = r#"
out("[01/29 12:00:00 d2.utils.events]:  eta: 0:01:10  iter: 19  total_loss: 3.25  loss_cls: 1.5    time: 0.5  lr: 2e-05  max_mem: 3000M")
out("08/21 02:58:41 - mmengine - INFO - Epoch(train) [2][ 5/25]  lr: 1.0000e-02  eta: 0:00:10  loss: 1.5")
out("08/21 02:58:42 - mmengine - INFO - Epoch(val) [2][25/25]    accuracy: 0.5")
out("      Epoch    GPU_mem   box_loss   cls_loss  Instances       Size")
for i in range(1, 5):
    sys.stdout.write("\r" + f"        1/3      2.5G      1.{i}      3.{i}         57        640: {25 * i}%|{'█' * i}{' ' * (4 - i)}| {i}/4 [00:01<00:00,  2.90it/s]"); sys.stdout.flush()
sys.stdout.write("\n")
out("                 Class     Images  Instances      Box(P          R      mAP50  mAP50-95): 100%|██████████| 4/4 [00:01<00:00,  2.90it/s]",
    "                   all        128        929       0.75        0.5      0.625      0.375")
out("Epoch 4, global step 320: 'val_loss' reached 0.25 (best 0.25), saving model to '/x/epoch=4.ckpt' as top 1")
sys.stdout.write("\rEpoch 5: 100%|██████████| 10/10 [00:01<00:00,  7.20it/s, v_num=0, train_loss=1.250]\n"); sys.stdout.flush()
"#;
    let expected = [
        json!({"iter": 19, "total_loss": 3.25, "loss_cls": 1.5, "time": 0.5, "lr": 2e-5, "max_mem": 3000}),
        json!({"epoch": 2, "step": 30, "lr": 0.01, "loss": 1.5}),
        json!({"epoch": 2, "step": 30, "accuracy": 0.5}),
        json!({"epoch": 1, "GPU_mem": 2.5, "train/box_loss": 1.4, "train/cls_loss": 3.4}),
        json!({"epoch": 1, "metrics/precision(B)": 0.75, "metrics/recall(B)": 0.5, "metrics/mAP50(B)": 0.625, "metrics/mAP50-95(B)": 0.375}),
        json!({"epoch": 4, "global_step": 320, "val_loss": 0.25}),
        json!({"epoch": 5, "train_loss": 1.25}),
    ];
    expect(program, &Value::from(expected.to_vec()));
}

#[test]
fn home_made_loops_and_lines_with_ranks_are_rows_too() {
    let program = r#"
out("epoch 1: loss 0.5, acc 0.25", "step     5 | loss: 2.500000 | lr 6.0000e-04 | dt: 338.50ms | tok/sec: 1,551")
out("[rank0]:step=10, loss=0.5", "[rank1]:step=10, loss=0.25")
for rank in range(2):
    out(f"[default{rank}]: iteration       20/infinity | lm loss: 1.5E+00 |", f"[default{rank}]: validation loss at iteration 20 | lm loss value: 2.5E+00 | ")
"#;
    let expected = [
        json!({"epoch": 1, "loss": 0.5, "acc": 0.25}),
        json!({"step": 5, "loss": 2.5, "lr": 0.0006, "dt": 338.5, "tok/sec": 1551}),
        json!({"step": 10, "loss": 0.5}),
        json!({"iteration": 20, "lm loss": 1.5}),
        json!({"iteration": 20, "validation lm loss value": 2.5}),
    ];
    expect(program, &Value::from(expected.to_vec()));
}

#[test]
fn stable_baselines_prints_tables() {
    let program = r#"
def table(values):
    lines, group = [], None
    for (tag, name), value in values.items():
        if tag != group: lines.append((tag + "/", "")); group = tag
        lines.append(("   " + name, str(value)))
    a, b = (max(len(line[i]) for line in lines) for i in (0, 1))
    rule = "-" * (a + b + 7)
    return "\n".join([rule] + [f"| {k:<{a}} | {v:<{b}} |" for k, v in lines] + [rule])
for i in (1, 2):
    print(decoys + table({("rollout", "ep_len_mean"): 20 + i, ("rollout", "ep_rew_mean"): 1.5 * i, ("time", "fps"): 170, ("time", "total_timesteps"): 2048 * i, ("train", "loss"): 1e-05, ("train", "explained_variance"): "nan"}))
    print(decoys + table({("some", "size"): 3, ("other", "table"): 4}))
"#;
    let row = |i: u32| {
        json!({"rollout/ep_len_mean": 20 + i, "rollout/ep_rew_mean": 1.5 * f64::from(i), "time/fps": 170,
               "time/total_timesteps": 2048 * i, "train/loss": 1e-5, "train/explained_variance": "NaN"})
    };
    let mut expected = json!([row(1), row(2)]);
    expected[1]["rollout/ep_rew_mean"] = json!(3);
    expect(program, &expected);
}

#[test]
fn json_objects_with_a_step_are_rows() {
    let program = r#"
out('{"step": 1, "loss": NaN, "phase": "warm-up"}', '{"epoch": 2, "loss": -Infinity}', to=sys.stderr)
"#;
    let expected = json!([{"step": 1, "loss": "NaN", "phase": "warm-up"}, {"epoch": 2, "loss": "-Infinity"}]);
    expect(program, &expected);
}

#[test]
fn what_was_read_off_is_in_the_status_while_the_program_writes_no_metrics() {
    let lab = Lab::new();
    let program = r#"
for i in range(1, 8): out(f"iter {i}: loss {'nan' if i == 3 else i / 2}, time {i}ms")
metrics = open(os.environ["RUN_METRICS"], "a")
while not os.path.exists("go"): time.sleep(0.01)
metrics.write('{"step": 900, "reward": 1}\n'); metrics.flush()
while not os.path.exists("end"): time.sleep(0.01)
"#;
    lab.new_run("r", &["python3", "train.py"]);
    lab.write("train.py", format!("{PRELUDE}{program}"));
    let decoys = checkout().join("tests/fixtures/decoys.txt");
    let exec = lab.cmd("run-exec").args(["-q", "--heartbeat", "50ms", "r"]).env("DECOYS", decoys).spawn();
    let status = lab.await_status("r", "at step 7", |status| status["step"] == 7);
    assert_eq!(status["metrics"]["loss"]["count"], 6);
    assert_eq!(status["metrics"]["loss"]["nonfinite"], 1);
    assert_eq!(status["metrics"]["time"]["max"], 7);
    assert_eq!(status["recent"].as_array().unwrap().len(), 5);
    assert_eq!(status["recent"][0], json!({"iter": 3, "loss": null, "time": 3}));
    lab.write("go", "");
    let status = lab.await_status("r", "at step 900", |status| status["step"] == 900);
    let names: Vec<&String> = status["metrics"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["reward"]);
    lab.write("end", "");
    exec.wait().code(0);
    assert_eq!(rows(&lab).len(), 7);
}

#[test]
fn rows_of_an_earlier_attempt_are_superseded_after_a_resume() {
    let lab = Lab::new();
    let program = |range: &str, loss: u32| {
        format!(
            "for i in range({range}):\n    if i % 2 == 0: out(f'step {{i}}: train loss {loss}, val loss {loss}')\n    out(f'iter {{i}}: loss {loss}, time 1ms')\n"
        )
    };
    execute(&lab, &program("0, 10", 100), &[]);
    execute(&lab, &program("6, 12", 1), &["--resume"]);
    lab.write("runs/r/progress.csv", "step,loss\n1,2\n");
    execute(&lab, &program("8, 9", 10), &["--resume"]);
    let status = lab.status("r");
    // Iterations 0 to 5 of the first attempt, 6 and 7 of the second, 8 of the third.
    let loss = &status["metrics"]["loss"];
    assert_eq!((&loss["count"], &loss["mean"]), (&json!(9), &json!(68)));
    assert_eq!((&loss["min"], &loss["last"]), (&json!(1), &json!(10)));
    assert_eq!(status["metrics"]["val loss"]["count"], 5);
    assert_eq!((&status["start_step"], &status["step"]), (&json!(11), &json!(8)));
    let starts: Vec<Value> = lab.json_lines("runs/r/.run/attempts.jsonl");
    let offsets: Vec<u64> =
        starts.iter().filter_map(|line| line["offsets"]["scraped.jsonl"].as_u64()).collect();
    assert_eq!(offsets[0], 0);
    let tables: Vec<&Value> = starts.iter().map(|line| &line["offsets"]["progress.csv"]).collect();
    assert_eq!(tables[4..], [&json!(14), &Value::Null]); // the last start and its end
    let scraped = lab.bytes("runs/r/.run/scraped.jsonl");
    for &offset in &offsets[1..] {
        let row = &scraped[usize::try_from(offset).unwrap()..];
        assert!(row.starts_with(b"{\"step\":6") || row.starts_with(b"{\"step\":8"));
    }
}

#[test]
fn a_torn_last_row_spoils_nothing_but_itself() {
    let lab = Lab::new();
    execute(&lab, "out('iter 1: loss 2, time 1ms')\n", &[]);
    let path = lab.path("runs/r/.run/scraped.jsonl");
    let mut scraped = fs::read(&path).unwrap();
    scraped.extend_from_slice(b"{\"iter\":2,\"lo");
    fs::write(&path, &scraped).unwrap();
    execute(&lab, "out('iter 3: loss 2, time 1ms')\n", &["--resume"]);
    scraped.extend_from_slice(b"\n{\"iter\":3,\"loss\":2,\"time\":1}\n");
    assert_eq!(lab.bytes("runs/r/.run/scraped.jsonl"), scraped);
    assert_eq!(lab.status("r")["metrics"]["loss"]["count"], 2);
}

#[test]
fn own_patterns_add_to_the_known_formats_or_replace_them() {
    let program = "out('E12 acc=0.5 n/a', 'iter 1: loss 2, time 3ms', 'lr is 1e-3 at step 7, and so on')\n";
    let own = [
        r"--scrape=^E(?<epoch>\d+) acc=(?<acc>\S+) (?<other>\S+)$",
        r"--scrape=^lr is (?P<lr>\S+) at step (?P<step>\d+)",
    ];
    let (first, second, third) = (
        json!({"epoch": 12, "acc": 0.5}),
        json!({"iter": 1, "loss": 2, "time": 3}),
        json!({"lr": 0.001, "step": 7}),
    );
    let lab = Lab::new();
    execute(&lab, program, &own);
    assert_eq!(rows(&lab), [first.clone(), second, third.clone()]);
    assert_eq!(lab.status("r")["step"], 7);
    let lab = Lab::new();
    execute(&lab, program, &[own[0], own[1], "--scrape", "none"]);
    assert_eq!(rows(&lab), [first, third]);
    let lab = Lab::new();
    execute(&lab, program, &["--scrape", "none"]);
    assert!(!lab.path("runs/r/.run/scraped.jsonl").exists());
}

#[test]
fn a_wrong_pattern_is_refused_before_anything_starts() {
    let lab = Lab::new();
    lab.new_run("r", &["touch", "started"]);
    for (spec, why) in [("loss (", "unclosed group"), ("loss", "must have a named group")] {
        let done = lab.cmd("run-exec").args(["--scrape", spec, "r"]).run().code(125);
        assert!(done.err().contains(why) && done.err().contains(spec), "{}", done.err());
    }
    assert_eq!(lab.status("r")["status"], "created");
    assert!(!lab.path("started").exists());
}

#[test]
fn only_whole_lines_of_a_sensible_length_are_looked_at() {
    let program = r#"
for piece in ("it", "er 1: lo", "ss 2.5, time 3", "ms\r", "\n"):
    sys.stdout.write(piece); sys.stdout.flush(); time.sleep(0.02)
sys.stderr.write("iter 2: loss 2.5, "); sys.stderr.flush()
sys.stdout.write("time 3ms\n"); sys.stdout.flush()
sys.stderr.write("time 4ms\n"); sys.stderr.flush()
row = '{"step": 3, "note": "%s"'
print(row % ("x" * 5000) + ', "loss": 1}')
print(row % ("x" * 40000) + ', "loss": 1}')
print("iter 4: loss 2.5, time 3ms", end="")
"#;
    let lab = Lab::new();
    execute(&lab, program, &[]);
    // Two pipes keep no order between them.
    let mut rows = rows(&lab);
    rows.sort_by_key(|row| row["iter"].as_u64());
    assert_eq!(
        rows,
        [json!({"iter": 1, "loss": 2.5, "time": 3}), json!({"iter": 2, "loss": 2.5, "time": 4})]
    );
}

#[test]
fn a_flood_is_read_as_a_trickle_is() {
    let program = r#"
block = "".join(f"iter {i}: loss {i}, time 1ms\n" + decoys for i in range(2000))
os.write(1, block.encode()[:0]); sys.stdout.write(block)
"#;
    let lab = Lab::new();
    execute(&lab, program, &[]);
    let iterations: Vec<u64> = rows(&lab).iter().filter_map(|row| row["iter"].as_u64()).collect();
    assert_eq!(iterations, (0..2000).collect::<Vec<_>>());
    assert_eq!(lab.status("r")["metrics"]["loss"]["count"], 2000);
}

#[test]
fn trees_and_loops_that_many_have_taken_over_are_known() {
    let program = r#"
for i in range(2):
    out(f"[{i}]\ttrain-rmse:{0.5 - i / 4}\teval-rmse:{0.5}")
    out(f"{i}:\tlearn: 0.5\ttest: 0.25\tbest: 0.25 (0)\ttotal: 60ms\tremaining: 1s")
    out(f"Train Epoch: {i + 1} [640/60000 (1%)]\tLoss: 2.500000")
    out(f"Epoch [{i + 1}/2], Step [100/600], Loss: 0.5000")
    out(f"(TaskRunner pid=7) step:{i} - actor/loss:0.5")
"#;
    let row = |i: u32, at: usize| match at {
        0 => json!({"iteration": i, "train-rmse": 0.5 - f64::from(i) / 4.0, "eval-rmse": 0.5}),
        1 => json!({"iteration": i, "learn": 0.5, "test": 0.25, "best": 0.25}),
        2 => json!({"epoch": i + 1, "step": 60_000 * i + 640, "Loss": 2.5}),
        3 => json!({"epoch": i + 1, "step": 600 * i + 100, "Loss": 0.5}),
        _ => json!({"step": i, "actor/loss": 0.5}),
    };
    expect(program, &(0..2).flat_map(|i| (0..5).map(move |at| row(i, at))).collect());
}

#[test]
fn the_plainest_loop_has_its_curve() {
    let lab = Lab::new();
    for (name, line) in [("a", "step $i loss 0.$i"), ("b", "step=$i loss=0.$i"), ("c", "Epoch $i Loss 0.$i")]
    {
        lab.new_run(name, &["sh", "-c", &format!("for i in 1 2 3; do echo \"{line}\"; done")]);
        lab.cmd("run-exec").args(["-q", name]).run().code(0);
        assert_eq!(lab.status(name)["step"], 3, "{line}");
        let metric = if name == "c" { "Loss" } else { "loss" };
        let drawn = lab.cmd("run-report").args(["--plot", metric, name]).run().code(0).stderr("").out();
        assert!(drawn.contains(metric), "{drawn}");
    }
}
