//! Lines of toolkits for translation, speech and reinforcement learning.

use super::rows;

#[test]
fn opennmt() {
    assert_eq!(
        rows(
            "[2019-12-04 15:33:53,389 INFO] Step 50/10000; acc:   0.01; ppl: 9227.77; xent: 9.13; lr: 0.00001; 6909/7255 tok/s;    206 sec\n\
             [2019-12-09 17:54:47,997 INFO] Step 100/ 5000; acc:   5.35; ppl:   nan; xent:  nan; lr: 1.00000;  84/336 tok/s;    890 sec\n\
             [2025-03-06 13:49:38,771 INFO] Step 400/12000; acc: 17.9; ppl: 1441.5; xent: 7.3; lr: 0.00002; sents:  530183; bsz: 1241/1532/166; 11915/14711 tok/s;   2684 sec;\n\
             [2019-03-21 18:35:23,631 INFO] Loading dataset from x.train.0.pt, number of examples: 66620\n\
             [2019-03-21 18:35:23,631 INFO] Step size is 5; x: 3\n"
        ),
        [
            r#"{"step":50,"acc":0.01,"ppl":9227.77,"xent":9.13,"lr":0.00001}"#,
            r#"{"step":100,"acc":5.35,"ppl":"NaN","xent":"NaN","lr":1}"#,
            r#"{"step":400,"acc":17.9,"ppl":1441.5,"xent":7.3,"lr":0.00002,"sents":530183}"#,
        ]
    );
}

#[test]
fn espnet() {
    assert_eq!(
        rows(
            "[gpu01:0/2] 2020-07-19 08:49:04,080 (trainer:464) INFO: 1epoch:train:1-682batch: iter_time=2.878e-04, loss=123.963, acc=0.013, lr_0=3.460e-06\n\
             [PC] 2020-11-11 16:30:18,406 (trainer:243) INFO: 1epoch results: [train] iter_time=0.001, loss=2.853, time=1 minute and 42.6 seconds, total_count=7507, [valid] loss=2.387, time=3 seconds, total_count=240, [att_plot] time=0.28 seconds, total_count=0\n\
             [PC] 2020-11-11 16:30:18,969 (trainer:184) INFO: 2/20epoch started. Estimated time to finish: 33 minutes and 42.59 seconds\n\
             [PC] 2020-11-11 16:30:18,969 (trainer:286) INFO: The best model has been updated: valid.loss\n"
        ),
        [
            r#"{"epoch":1,"step":682,"iter_time":0.0002878,"loss":123.963,"acc":0.013,"lr_0":3.46e-6}"#,
            r#"{"epoch":1,"valid_loss":2.387,"valid_total_count":240}"#,
        ]
    );
}

#[test]
fn speechbrain() {
    assert_eq!(
        rows(
            "speechbrain.utils.train_logger - epoch: 1, lr: 1.00e+00 - train loss: 9.45e-01 - valid loss: 1.23, valid CER: 35.42\n\
             epoch: 2, lr: 7.19e-05, steps: 3594, optimizer: Adam - train loss: 2.54e+02 - valid loss: 1.69e+02, valid ACC: 2.58e-01   \n\
             Epoch: 3, lr: 1.00e-03 - train si-snr: 2.5 - valid si-snr: -3.86e+00\n\
             speechbrain.utils.epoch_loop - Going into epoch 2\n\
             epoch: 2, lr: 0.5 - saved to: 3\n"
        ),
        [
            r#"{"epoch":1,"lr":1,"train loss":0.945,"valid loss":1.23,"valid CER":35.42}"#,
            r#"{"epoch":2,"lr":0.0000719,"steps":3594,"train loss":254,"valid loss":169,"valid ACC":0.258}"#,
            r#"{"epoch":3,"lr":0.001,"train si-snr":2.5,"valid si-snr":-3.86}"#,
        ]
    );
}

#[test]
fn spacy() {
    let table = "E    #       LOSS TOK2VEC  LOSS NER  ENTS_F  SCORE \n\
                 ---  ------  ------------  --------  ------  ------\n  \
                   0       0         31.00     51.10    0.00    0.00\n  \
                   7     200       1400.28   3114.39   63.12    0.63\n  \
                   8     400    another line in it\n";
    assert_eq!(
        rows(&format!("  1  2  3  4  5  6\n{table}  1  2  3\n")),
        [
            r#"{"epoch":0,"step":0,"LOSS TOK2VEC":31,"LOSS NER":51.1,"ENTS_F":0,"SCORE":0}"#,
            r#"{"epoch":7,"step":200,"LOSS TOK2VEC":1400.28,"LOSS NER":3114.39,"ENTS_F":63.12,"SCORE":0.63}"#,
        ]
    );
    assert_eq!(rows("E    #       LOSS  OTHER\n  0       0     31.00    0.00\n"), [""; 0]);
}

#[test]
fn rsl_rl() {
    let block = |iteration: u32, reward: f64| {
        format!(
            "{}\n{:^80}\n\n{:>35} 26133 steps/s (collection: 3.552s, learning 0.211s)\n{:>35} 0.0123\n\
             {:>35} {reward:.2}\n{:>35} 0.2500\n{}\n{:>35} 98304\n{:>35} 3.76s\n\n",
            "#".repeat(80),
            format!(" \x1b[1m Learning iteration {iteration}/1500 \x1b[0m "),
            "Computation:",
            "Value function loss:",
            "Mean reward:",
            "Mean episode rew_tracking:",
            "-".repeat(80),
            "Total timesteps:",
            "Iteration time:",
        )
    };
    let text = block(0, 1.5) + &block(1, 2.5) + "   Mean reward: 9\n" + &"-".repeat(80) + "\n";
    assert_eq!(
        rows(&text),
        [
            r#"{"iteration":0,"Value function loss":0.0123,"Mean reward":1.5,"Mean episode rew_tracking":0.25}"#,
            r#"{"iteration":1,"Value function loss":0.0123,"Mean reward":2.5,"Mean episode rew_tracking":0.25}"#,
        ]
    );
}

#[test]
fn tianshou() {
    assert_eq!(
        rows(
            "Epoch #1: 50001it [00:40, 1244.54it/s, env_step=50000, len=200, loss=-0.562, loss/clip=-0.584, n/ep=7, rew=200.00]\n\
             Epoch #1: test_reward: 200.000000 ± 0.500000, best_reward: 200.000000 ± 0.500000 in #1\n\
             Epoch #2: test_reward: -10.5, best_reward: 1 in #1 of all\n\
             Epoch #3: done [see the log, env_step=5]\n"
        ),
        [
            r#"{"epoch":1,"env_step":50000,"len":200,"loss":-0.562,"loss/clip":-0.584,"n/ep":7,"rew":200}"#,
            r#"{"epoch":1,"test_reward":200,"best_reward":200}"#,
        ]
    );
}
