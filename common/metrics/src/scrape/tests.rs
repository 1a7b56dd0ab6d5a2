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
    // A blank at the end of a line is the one thing that is overlooked.
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
}

#[test]
fn an_expression_that_cannot_work_is_refused() {
    assert_eq!(Pattern::new("loss (").unwrap_err(), "unclosed group");
    assert!(Pattern::new("loss (.*)").unwrap_err().starts_with("it has no named group"));
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
