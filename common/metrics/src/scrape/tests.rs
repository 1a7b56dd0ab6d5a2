mod loops;
mod toolkits;

use super::*;
use proptest::prelude::*;

fn scrape(scraper: &mut Scraper, text: &str) -> Vec<String> {
    let rows = text.lines().filter_map(|line| scraper.line(line.as_bytes()));
    rows.map(|row| {
        let mut line = Vec::new();
        row.write_line(&mut line);
        String::from_utf8(line).unwrap().trim_end().to_owned()
    })
    .collect()
}

fn rows(text: &str) -> Vec<String> {
    scrape(&mut Scraper::new(Patterns::default()), text)
}

fn with(expressions: &[&str], known: bool) -> Scraper {
    let own = expressions.iter().map(|expression| Pattern::new(expression).unwrap()).collect();
    Scraper::new(Patterns { known, own })
}

#[test]
fn nanogpt() {
    assert_eq!(
        rows(
            "step 0: train loss 4.2874, val loss 4.2823\niter 0: loss 4.2664, time 302.15ms, mfu -100.00%\n\
              iter 10: loss nan, time 3.00ms\nstep 5: train loss 1.7432, val loss 1.9012, lr 0.001000\n"
        ),
        [
            r#"{"step":0,"train loss":4.2874,"val loss":4.2823}"#,
            r#"{"iter":0,"loss":4.2664,"time":302.15,"mfu":-100}"#,
            r#"{"iter":10,"loss":"NaN","time":3}"#,
            r#"{"step":5,"train loss":1.7432,"val loss":1.9012,"lr":0.001}"#,
        ]
    );
}

#[test]
fn hugging_face() {
    assert_eq!(
        rows(
            "{'loss': '3.683', 'grad_norm': '1.251', 'learning_rate': '9.55e-05', 'epoch': '0.1'}\n\
              {'loss': 3.5, 'grad_norm': nan, 'learning_rate': 0.0, 'epoch': 0.2}\n\
              {'eval_loss': 3.1, 'eval_runtime': 1.25, \"eval_it's\": 2, 'epoch': 1.0}   \n\
              {'loss': 3.25, 'grad_norm': None, 'memory/max_active (GiB)': '17.18', 'epoch': 1.5}\n\
              {'train_runtime': 12.3, 'epoch': 2.0}\n"
        ),
        [
            r#"{"loss":3.683,"grad_norm":1.251,"learning_rate":0.0000955,"epoch":0.1}"#,
            r#"{"loss":3.5,"grad_norm":"NaN","learning_rate":0,"epoch":0.2}"#,
            r#"{"eval_loss":3.1,"eval_runtime":1.25,"eval_it's":2,"epoch":1}"#,
            r#"{"loss":3.25,"memory/max_active (GiB)":17.18,"epoch":1.5}"#,
            r#"{"train_runtime":12.3,"epoch":2}"#,
        ]
    );
}

#[test]
fn keras() {
    assert_eq!(
        rows(
            "313/313 [===] - 1s 2ms/step - loss: 9.9\nEpoch 1/2\n\
              10/20 [=====>.....] - ETA: 0s - loss: 0.5\n\
              1770/1770 [==============================] - 14s 8ms/step - loss: 0.39 - val_loss: 2.7e-04\n\
              313/313 [====] - 1s 2ms/step - loss: 0.07\nEpoch 2/2\n\
              \x1b[1m4/4\x1b[0m \x1b[32m━━━━\x1b[0m\x1b[37m\x1b[0m \x1b[1m0s\x1b[0m 8ms/step - accuracy: 0.5000 - loss: nan\n\
              Epoch 3/9\n4/4 - 1s - 8ms/step - accuracy: 0.5 - loss: 0.25\n\
              Epoch 4/9\n4/4 - 1s - loss: 0.125 - 1s/epoch - 8ms/step\n"
        ),
        [
            r#"{"epoch":1,"loss":0.39,"val_loss":0.00027}"#,
            r#"{"epoch":2,"accuracy":0.5,"loss":"NaN"}"#,
            r#"{"epoch":3,"accuracy":0.5,"loss":0.25}"#,
            r#"{"epoch":4,"loss":0.125}"#,
        ]
    );
}

#[test]
fn keys_and_values() {
    assert_eq!(
        rows(
            "global_step=22, episodic_return=[21.]\nglobal_step=28, episodic_return=29.0, episodic_length=28\n\
              step=10, skipped=0, lr=[0.001, 0.002], mom=[[0.9, 0.999]]\n\
              [2024-07-17 19:44:06,829] [INFO] [logging.py:69:log_dist] [Rank 0] step=20, skipped=0, lr=[0.001], mom=[(0.9, 0.95), (0.8, 0.9)]\n"
        ),
        [
            r#"{"global_step":22,"episodic_return":21}"#,
            r#"{"global_step":28,"episodic_return":29,"episodic_length":28}"#,
            r#"{"step":10,"skipped":0,"lr[0]":0.001,"lr[1]":0.002,"mom[0]":0.9,"mom[1]":0.999}"#,
            r#"{"step":20,"skipped":0,"lr":0.001,"mom[0][0]":0.9,"mom[0][1]":0.95,"mom[1][0]":0.8,"mom[1][1]":0.9}"#,
        ]
    );
}

#[test]
fn megatron() {
    let fields = "consumed samples:          320 | elapsed time per iteration (ms): 812.3 | learning rate: 1.500000E-04 | lm loss: 1.212345E+01 | number of nan iterations:   0 |";
    let expected = r#"{"iteration":10,"consumed samples":320,"elapsed time per iteration (ms)":812.3,"learning rate":0.00015,"lm loss":12.12345,"number of nan iterations":0}"#;
    assert_eq!(rows(&format!(" iteration       10/    1000 | {fields}\n")), [expected]);
    let stamped = format!(" [2025-01-02 03:04:05] iteration       10/    1000 | {fields}\n");
    assert_eq!(rows(&stamped), [expected]);
}

#[test]
fn torchtitan() {
    let colours = "\x1b[31mstep: 10  \x1b[32mloss:  4.1234  \x1b[38;2;180;60;0mgrad_norm:  1.5000  \x1b[36mmemory: 12.34GiB(45.67%)  \x1b[34mtps: 1,234  \x1b[36mtflops: 5.60  \x1b[35mmfu: 1.23%\x1b[39m";
    let expected = r#"{"step":10,"loss":4.1234,"grad_norm":1.5,"memory":12.34,"memory(%)":45.67,"tps":1234,"tflops":5.6,"mfu":1.23}"#;
    assert_eq!(rows(colours), [expected]);
    for prefix in [
        "[titan] 2025-05-01 12:00:00,123 - root - INFO - ",
        "[rank0]:[titan] 2025-05-01 12:00:00,123 - root - INFO - ",
    ] {
        assert_eq!(rows(&format!("{prefix}{colours}")), [expected]);
    }
    assert_eq!(
        rows(
            "[titan] 2025-05-01 12:00:00,123 - root - INFO - \x1b[33mvalidate step: 10  \x1b[32mloss:  4.5000  \x1b[34mtps: 99\x1b[39m"
        ),
        [r#"{"step":10,"validate loss":4.5,"validate tps":99}"#]
    );
}

const TABLE: &str = "\
----------------------------------
| rollout/            |          |
|    ep_len_mean      | 235      |
|    ep_rew_mean      | 1.86     |
| time/               |          |
|    fps              | 286      |
|    total_timesteps  | 8613     |
| train/              |          |
|    loss             | 0.000108 |
|    entropy          | nan      |
----------------------------------
";

#[test]
fn stable_baselines() {
    let expected = r#"{"rollout/ep_len_mean":235,"rollout/ep_rew_mean":1.86,"time/fps":286,"time/total_timesteps":8613,"train/loss":0.000108,"train/entropy":"NaN"}"#;
    assert_eq!(rows(&format!("{TABLE}{TABLE}")), [expected, expected]);
    assert_eq!(rows(&TABLE.replace("| 235 ", "|235 ")), [""; 0]);
    assert_eq!(rows(&TABLE.replace("total_timesteps ", "total timesteps ")), [""; 0]);
}

#[test]
fn json() {
    assert_eq!(
        rows(
            "{\"step\": 3, \"loss\": NaN, \"note\": \"x\"}\n{\"lr\": 0.1}\n{\"step\": 3}\n{\"epoch\": \"one\", \"a\": 1}\n"
        ),
        [r#"{"step":3,"loss":"NaN","note":"x"}"#]
    );
}

#[test]
fn what_only_looks_like_a_metric_is_none() {
    let decoys = r#"
SPS: 1107
n_layer = 2
step = 10
step: 10
epoch: 3, loss: 0.5
tokens per iteration will be: 16,384
found vocab_size = 65 (inside data/meta.pkl)
number of parameters: 10.65M
107,904
time 302.15ms
iter 10: loss 3.1234
iter 10: loss 3.1234, time 45.67ms, mfu -100.00% 
iter {iter_num}: loss {lossf:.4f}, time {dt*1000:.2f}ms, mfu {running_mfu*100:.2f}%
# iter 10: loss 3.1234, time 45.67ms, mfu 1.00%
    print(f"iter {iter_num}: loss {lossf:.4f}, time {dt*1000:.2f}ms, mfu {running_mfu*100:.2f}%")
"iter 10: loss 3.1234, time 45.67ms, mfu 1.00%"
  iter 10: loss 3.1234, time 45.67ms, mfu 1.00%
step 500: saving checkpoint
step 500: train loss 1.7, val loss 1.9 (best)
step 500: train loss 1.7432, val loss 1.9012 and so on
step=10
step=10, loss=loss
step=10,
    step=10, loss=0.5
global_step=22 episodic_return=21
epoch=0/micro_step=34/global_step=34, RunningAvgSamplesPerSec=7.86
evaluate(step=10, loss=0.5)
{'batch_size': 32, 'epoch': 10, 'lr': 0.1}
{'train_batch_size': 32, 'eval_batch_size': 8, 'eval_steps': 500, 'epoch': 3}
{'loss': None, 'epoch': 10, 'lr': 0.1}
{'loss': 'mse', 'epoch': 10}
{'loss': 0.5}
{'loss': 0.5, 'epoch': 1}, {'loss': 0.25, 'epoch': 2}
log({'loss': 0.5, 'epoch': 1})
{"epoch": 10
{'loss': 0.5, 'epoch': 
 45%|████      | 450/1000 [01:02<01:15, 7.2it/s, loss=0.12]
100%|██████████| 1000/1000 [01:02<00:00, 7.2it/s, loss=0.12]
Epoch 3: 100%|██████████| 10/10 [00:01<00:00, 7.2it/s, v_num=0, train_loss=1.2]
Epoch 3/10 - loss: 0.5
Epoch 3/10
450/1000 [=====>.......] - ETA: 5s - loss: 0.12
1000/1000 files copied - loss: none
10/10 tests passed
 iteration 10/1000
 iteration       10/    1000 | and so on |
| step | loss |
|------|------|
| 10   | 0.5  |
-----------------
| step  | loss  |
| 10    | 0.5   |
-----------------
-1.5, 2.5
3 - loss: 0.5
time (ms) | forward: 652.42 | backward: 2164.53
"#;
    let mut found = rows(decoys);
    // Only a blank at the end of a line is ignored.
    assert_eq!(found.remove(0), r#"{"iter":10,"loss":3.1234,"time":45.67,"mfu":-100}"#);
    assert_eq!(found, [""; 0]);
}

#[test]
fn own_patterns_come_first_and_may_be_alone() {
    let line = "E12 | loss=0.5 acc=n/a\niter 10: loss 3.5, time 4.00ms\n";
    let own = r"^E(?<epoch>\d+) \| loss=(?<loss>\S+) acc=(?<acc>\S+)$";
    let (first, second) = (r#"{"epoch":12,"loss":0.5}"#, r#"{"iter":10,"loss":3.5,"time":4}"#);
    assert_eq!(scrape(&mut with(&[own], true), line), [first, second]);
    assert_eq!(scrape(&mut with(&[own], false), line), [first]);
    let other = r"(?i)LOSS=(?<é_1>\w+.\d)";
    assert_eq!(scrape(&mut with(&[other], false), "é loss=0.5é\n"), [r#"{"é_1":0.5}"#]);
    let both = r"iter (?<iter>\d+): loss (?<mine>\S+),";
    assert_eq!(scrape(&mut with(&[own, both], true), line), [first, r#"{"iter":10,"mine":3.5}"#]);
    let grouped = r"^(?<step>[\d,]+) of [\d,]+ (?<loss>[\d,.]+) (?<x>\S+)$";
    assert_eq!(
        scrape(&mut with(&[grouped], false), "1,000 of 20,000 1,234.5 12,34\n"),
        [r#"{"step":1000,"loss":1234.5}"#]
    );
}

#[test]
fn an_expression_that_cannot_work_is_refused() {
    assert_eq!(Pattern::new("loss (").unwrap_err(), "unclosed group");
    assert!(Pattern::new("loss (.*)").unwrap_err().starts_with("must have a named group"));
}

proptest! {
    #[test]
    fn any_lines_are_rows_or_none(lines: Vec<Vec<u8>>) {
        let mut scraper = with(&["(?<a>.+)"], true);
        for line in lines {
            scraper.line(&line);
        }
    }

    #[test]
    fn damaged_lines_do_no_harm(cut in 0usize..400, byte: u8) {
        let good = "Epoch 1/2\n1/1 [=] - 14s 8ms/step - loss: 0.39\n{'loss': '3.683', 'epoch': '0.1'}\nstep=10, lr=[[0.1, (2)]], a=1\n iteration       10/    1000 | lm loss: 1.2E+00 |\nstep: 10  loss:  4.12345  memory: 1GiB(2%)\niter 1: loss 1, time 1ms\nstep 1: train loss 1, val loss 2\n";
        let mut bytes = format!("{TABLE}{good}").into_bytes();
        let at = cut % bytes.len();
        bytes[at] = byte;
        let mut scraper = Scraper::new(Patterns::default());
        let rows = bytes.split(|&byte| byte == b'\n').filter_map(|line| scraper.line(line)).count();
        prop_assert!((6..=8).contains(&rows), "{}", rows);
    }
}

#[test]
fn the_lines_of_one_rank_count_whatever_launcher_names_it() {
    let row = r#"{"step":10,"loss":0.5}"#;
    for line in [
        "[rank0]:step=10, loss=0.5",
        "[default0]:step=10, loss=0.5",
        "[default0]: step=10, loss=0.5",
        "0: step=10, loss=0.5",
        " 7: step=10, loss=0.5",
        "[1,3]<stdout>:step=10, loss=0.5",
        "(RayTrainWorker pid=17, ip=10.0.0.1) step=10, loss=0.5",
    ] {
        assert_eq!(rows(line), [row], "{line}");
    }
    // With Megatron the last rank prints; in general, the first rank that prints a row counts.
    let all = "1: step=10, loss=0.5\n0: step=10, loss=0.25\n1: step=20, loss=0.5\n0: x\nstep=30, loss=0.5\n";
    assert_eq!(rows(all), [row, r#"{"step":20,"loss":0.5}"#, r#"{"step":30,"loss":0.5}"#]);
    let own = r"^loss=(?<loss>\S+) at (?<step>\d+)$";
    assert_eq!(scrape(&mut with(&[own], false), "[rank0]: loss=0.5 at 10\n"), [r#"{"loss":0.5,"step":10}"#]);
}

#[test]
fn megatron_without_an_end_and_at_a_validation() {
    let line = " iteration       10/infinity | lm loss: 1.212345E+01 | loss scale: 1.0 |";
    assert_eq!(rows(line), [r#"{"iteration":10,"lm loss":12.12345,"loss scale":1}"#]);
    assert_eq!(rows(&format!("[default7]:{line}")), rows(line));
    assert_eq!(
        rows(
            " validation loss at iteration 1000 | lm loss value: 2.5E+00 | lm loss PPL: 1.2E+01 | \n\
              \x20validation loss at iteration 1000 on validation set | lm loss value: 2.5E+00 | \n\
              \x20validation loss at iteration 2000 on test set | lm loss value: 3.5E+00 | \n\
              \x20samples/sec: 12.500 | iteration       20/  320000 | lm loss: 1.5E+00 | number of skipped iterations:   0 |\n"
        ),
        [
            r#"{"iteration":1000,"validation lm loss value":2.5,"validation lm loss PPL":12}"#,
            r#"{"iteration":1000,"validation lm loss value":2.5}"#,
            r#"{"iteration":2000,"test lm loss value":3.5}"#,
            r#"{"iteration":20,"samples/sec":12.5,"lm loss":1.5,"number of skipped iterations":0}"#,
        ]
    );
}

#[test]
fn detectron2() {
    let line = "[01/29 12:00:00 d2.utils.events]:  eta: 0:01:10  iter: 19  total_loss: 3.32  loss_cls: 1.2    time: 0.5203  data_time: 0.0212  lr: 1.9981e-05  max_mem: 3000M";
    let expected = r#"{"iter":19,"total_loss":3.32,"loss_cls":1.2,"time":0.5203,"data_time":0.0212,"lr":0.000019981,"max_mem":3000}"#;
    assert_eq!(rows(line), [expected]);
    let coloured =
        line.replace("[01/29 12:00:00 d2.utils.events]", "\x1b[32m[01/29 12:00:00 d2.utils.events]\x1b[0m");
    assert_eq!(rows(&coloured), [expected]);
    let last = "[01/29 12:00:00 d2.utils.events]:  iter: 20  total_loss: 3  lr: N/A  ";
    assert_eq!(rows(last), [r#"{"iter":20,"total_loss":3}"#]);
    assert_eq!(rows("[01/29 12:00:00 d2.data.build]: Using training sampler TrainingSampler"), [""; 0]);
}

#[test]
fn open_mmlab() {
    assert_eq!(
        rows(
            "08/21 02:58:41 - mmengine - INFO - Epoch(train) [1][10/25]  lr: 1.0000e-02  eta: 0:00:00  time: 0.0019  data_time: 0.0004  loss1: 0.5  loss: 1.75\n\
              08/21 02:58:41 - mmengine - INFO - Epoch(train)  [2][  5/ 25]  lr: 1.0000e-02  eta: 1 day, 2:00:00  loss: 1.5\n\
              08/21 02:58:41 - mmengine - INFO - Epoch(val) [2][25/25]    accuracy: 0.5  data_time: 0.1  time: 0.2\n\
              2023/05/01 10:00:00 - mmengine - INFO - Iter(train) [   50/160000]  base_lr: 1.0e-03 lr: 1.0e-03  eta: 3:00:00  memory: 3000  loss: 0.25\n\
              2021-05-01 10:00:00,123 - mmdet - INFO - Epoch [2][50/7330]\tlr: 1.978e-03, eta: 4 days, 19:00:00, time: 0.8, memory: 3000, loss: 1.25\n\
              2021-05-01 10:00:00,123 - mmdet - INFO - Saving checkpoint at 1 epochs\n\
              2021-05-01 10:00:00,123 - mmdet - INFO - Epoch(val) [1][5000]\tbbox_mAP: 0.375\n"
        ),
        [
            r#"{"epoch":1,"step":10,"lr":0.01,"time":0.0019,"data_time":0.0004,"loss1":0.5,"loss":1.75}"#,
            r#"{"epoch":2,"step":30,"lr":0.01,"loss":1.5}"#,
            r#"{"epoch":2,"step":30,"accuracy":0.5,"data_time":0.1,"time":0.2}"#,
            r#"{"step":50,"memory":3000,"loss":0.25}"#,
            r#"{"epoch":2,"step":7380,"lr":0.001978,"time":0.8,"memory":3000,"loss":1.25}"#,
            r#"{"epoch":1,"step":7380,"bbox_mAP":0.375}"#,
        ]
    );
}

#[test]
fn yolo() {
    let training = "      Epoch    GPU_mem   box_loss   cls_loss   dfl_loss  Instances       Size
\r        1/3      2.18G      1.1      3.3      1.1         57        640:  50%|█████     | 2/4 [00:01<00:00,  2.90it/s]\r        1/3      2.18G      1.216      3.402      1.331         57        640: 100%|██████████| 4/4 [00:01<00:00,  2.90it/s]
                 Class     Images  Instances      Box(P          R      mAP50  mAP50-95): 100%|██████████| 4/4 [00:01<00:00,  2.90it/s]
                   all        128        929      0.652      0.548      0.618      0.458
                person        128        254      0.652      0.548      0.618      0.458
";
    let expected = [
        r#"{"epoch":1,"GPU_mem":2.18,"train/box_loss":1.216,"train/cls_loss":3.402,"train/dfl_loss":1.331}"#,
        r#"{"epoch":1,"metrics/precision(B)":0.652,"metrics/recall(B)":0.548,"metrics/mAP50(B)":0.618,"metrics/mAP50-95(B)":0.458}"#,
    ];
    // The lines in their last drawn state.
    let drawn: String =
        training.lines().map(|line| line.rsplit('\r').next().unwrap().to_owned() + "\n").collect();
    assert_eq!(rows(&drawn), expected);
    let without_names: String = drawn.lines().skip(1).map(|line| line.to_owned() + "\n").collect();
    assert_eq!(rows(&without_names), [""; 0]);
}

#[test]
fn lightning() {
    assert_eq!(
        rows(
            "Epoch 3: 100%|██████████| 10/10 [00:01<00:00,  7.20it/s, v_num=0, train_loss=1.200, val_loss=1.500]\n\
              Epoch 3:  90%|█████████ | 9/10 [00:01<00:00,  7.20it/s, v_num=0, train_loss=1.200]\n\
              Epoch 3: 100%|██████████| 10/10 [00:01<00:00,  7.20it/s, v_num=0]\n\
              Epoch 4, global step 320: 'val_loss' reached 0.27113 (best 0.27113), saving model to '/x/epoch=4.ckpt' as top 1\n\
              Epoch 5, global step 384: 'val_loss' was not in top 1\n"
        ),
        [
            r#"{"epoch":3,"train_loss":1.2,"val_loss":1.5}"#,
            r#"{"epoch":4,"global_step":320,"val_loss":0.27113}"#,
        ]
    );
}

#[test]
fn home_made_loops() {
    for (line, expected) in [
        ("epoch 1: loss 0.1", r#"{"epoch":1,"loss":0.1}"#),
        (
            "Epoch 1/10: train loss 0.5, val loss: 0.25, acc=0.75",
            r#"{"epoch":1,"train loss":0.5,"val loss":0.25,"acc":0.75}"#,
        ),
        ("Epoch [1/10], Loss: 0.5", r#"{"epoch":1,"Loss":0.5}"#),
        ("Epoch: 3, loss: 0.5", r#"{"epoch":3,"loss":0.5}"#),
        ("episode 7: return 21.5, length 200", r#"{"episode":7,"return":21.5,"length":200}"#),
        ("step 5 | loss: 2.5", r#"{"step":5,"loss":2.5}"#),
        (
            "step     5 | loss: 10.955000 | lr 6.0000e-04 | norm: 15.3600 | dt: 338.50ms | tok/sec: 1551.20",
            r#"{"step":5,"loss":10.955,"lr":0.0006,"norm":15.36,"dt":338.5,"tok/sec":1551.2}"#,
        ),
        (
            "step 00010/21400 (0.05%) | loss: 10.5 | dt: 338.50ms | tok/sec: 1,551 | mfu: 48.30 | total time: 0.50m",
            r#"{"step":10,"loss":10.5,"dt":338.5,"tok/sec":1551,"mfu":48.3,"total time":0.5}"#,
        ),
        (
            "step   10/19560 | loss 7.125000 (+1.23z)| norm 1.2500 (+0.12z)| lr 6.00e-04 | 338.51 ms | 50.2% bf16 MFU | 1551234 tok/s",
            r#"{"step":10,"loss":7.125,"norm":1.25,"lr":0.0006}"#,
        ),
        (
            "Iter 10: Train loss 2.5, Learning Rate 1.0e-05, It/sec 3.5, Peak mem 4.5 GB",
            r#"{"iter":10,"Train loss":2.5,"Learning Rate":0.00001,"It/sec":3.5,"Peak mem":4.5}"#,
        ),
        ("Iter 200: Val loss 1.5, Val took 3.2s", r#"{"iter":200,"Val loss":1.5}"#),
    ] {
        assert_eq!(rows(line), [expected], "{line}");
    }
    for decoy in [
        "epoch 1: loss is 0.5",
        "epoch 1: the loss went from 0.5 to 0.25",
        "epoch 1: loss 0.5 and more",
        "epoch 1: lr 0.1",
        "step 5 | lr: 0.1",
        "step 5 | loss",
        "Step 5 of 10: loss 0.5",
        "epoch 1: loss",
        "epoch one: loss 0.5",
        "my epoch 1: loss 0.5",
        "epoch 1: loss 0.5, saving to x",
    ] {
        assert_eq!(rows(decoy), [""; 0], "{decoy}");
    }
}
