//! Lines of trainers of boosted trees, and of widely copied training loops.

use super::rows;

#[test]
fn lines_of_boosted_trees() {
    assert_eq!(
        rows(
            "[0]\ttrain-rmse:0.5\teval-rmse:nan\n[10]\ttrain-mae:1.1+0.01\n[LightGBM] [Info] Total Bins 100\n\
             [10]\tvalid_0's l2: 0.24\ttraining's auc: 0.9\n[10]\tcv_agg's l2: 0.5 + 0.1\n\
             0:\tlearn: 0.5\ttotal: 60ms\tremaining: 1m\n\
             10:\tlearn: 0.5\ttest: 0.6\tbest: 0.6 (9)\ttotal: 100ms\tremaining: 1s\n"
        ),
        [
            r#"{"iteration":0,"train-rmse":0.5,"eval-rmse":"NaN"}"#,
            r#"{"iteration":10,"train-mae":1.1}"#,
            r#"{"iteration":10,"valid_0's l2":0.24,"training's auc":0.9}"#,
            r#"{"iteration":10,"cv_agg's l2":0.5}"#,
            r#"{"iteration":0,"learn":0.5}"#,
            r#"{"iteration":10,"learn":0.5,"test":0.6,"best":0.6}"#,
        ]
    );
}

#[test]
fn lines_of_loops_that_many_have_taken_over() {
    assert_eq!(
        rows(
            "Train Epoch: 2 [640/60000 (1%)]\tLoss: 2.213470\n\
             Train: 1 [  50/1251 (  4%)]  Loss: 6.95 (6.96)  Time: 1.2s,  100.1/s  LR: 1.000e-05\n\
             Epoch: [1][  10/5005]\tTime  5.0 ( 5.0)\tLoss 6.9e+00 (7.0e+00)\tAcc@1   0.50 (  0.10)\n\
             Epoch: [1]  [ 10/100]  eta: 0:01:00  lr: 0.020000  loss: 6.8 (7.0)  max mem: 3000\n\
             Training epoch 0, iteration 9/99 | lr: 1e-05 | global_step: 9 | train_step_timing in s: 6.5\n\
             Epoch [2/5], Step [100/600], Loss: 0.3\nEpoch 2/5, Batch 7/10, Loss: 0.3\n\
             step:1 - actor/loss:-0.1 - reward/mean@1:0.5\n(TaskRunner pid=12) step:2 - actor/loss:0.25\n"
        ),
        [
            r#"{"epoch":2,"step":60640,"Loss":2.21347}"#,
            r#"{"epoch":1,"step":1301,"Loss":6.95,"LR":0.00001}"#,
            r#"{"epoch":1,"step":5015,"Time":5,"Loss":6.9,"Acc@1":0.5}"#,
            r#"{"epoch":1,"step":110,"lr":0.02,"loss":6.8,"max mem":3000}"#,
            r#"{"epoch":0,"lr":0.00001,"global_step":9,"train_step_timing in s":6.5}"#,
            r#"{"epoch":2,"step":700,"Loss":0.3}"#,
            r#"{"epoch":2,"step":17,"Loss":0.3}"#,
            r#"{"step":1,"actor/loss":-0.1,"reward/mean@1":0.5}"#,
            r#"{"step":2,"actor/loss":0.25}"#,
        ]
    );
    assert_eq!(
        rows("step:125/1750 val_loss:10.82 train_time:100ms step_avg:nanms\n"),
        [r#"{"step":125,"val_loss":10.82,"train_time":100,"step_avg":"NaN"}"#]
    );
}

#[test]
fn lines_of_fairseq() {
    let line = "2026-01-29 12:00:00 | INFO | ";
    assert_eq!(
        rows(&format!(
            "{line}train_inner | epoch 001:    100 / 1000 loss=5.1, ppl=34.2, num_updates=100, lr=1e-05\n\
             {line}train | epoch 001 | loss 4.5 | ppl 22.6 | num_updates 1000\n\
             {line}valid | epoch 001 | valid on 'valid' subset | loss 4.25 | num_updates 1000\n\
             {line}fairseq.trainer | begin training epoch 1\n{line}train | epoch 001 | loss 4.5\n"
        )),
        [
            r#"{"epoch":1,"loss":5.1,"ppl":34.2,"step":100,"lr":0.00001}"#,
            r#"{"epoch":1,"train_loss":4.5,"train_ppl":22.6,"step":1000}"#,
            r#"{"epoch":1,"valid_loss":4.25,"step":1000}"#,
        ]
    );
}

#[test]
fn what_only_looks_like_these_is_none() {
    for decoy in [
        "[10]\ttrain rmse:0.5",
        "[10]\ta-b: yes",
        "[10] train-rmse:0.5",
        "[1]\thttp://example.org:80",
        "10:\tlearn: fast\ttotal: 1s",
        "10:\tlearn: 0.5",
        "12: Train set",
        "Train Epoch: 1 [640/60000 (1%)]",
        "Train Epoch: {} [{}/{} ({:.0f}%)]\tLoss: {:.6f}",
        "Train: 5000 samples",
        "Training epoch 1",
        "Training epoch 0, iteration 9/99 | lr: 1e-05",
        "Trainable params: 10",
        "Epoch: [0][  10/5005]\tTime  0.5 ( 1.0)",
        "Epoch: [0] Total time: 0:01:00",
        "Epoch [1/5], Step [100/600]",
        "step:1",
        "step:1 - ",
        "step:1 - see https://example.org:80",
        "step:1/10 loading",
        "step:1/10 a b:1",
        "2026-01-29 12:00:00 | INFO | train_inner | loading",
    ] {
        assert_eq!(rows(decoy), [""; 0], "{decoy}");
    }
}

#[test]
fn lines_of_names_and_values_alone() {
    for (line, expected) in [
        ("step 10 loss 0.5", r#"{"step":10,"loss":0.5}"#),
        ("step=3 loss=0.5", r#"{"step":3,"loss":0.5}"#),
        ("step: 3 loss: 0.5", r#"{"step":3,"loss":0.5}"#),
        ("epoch 3 loss 0.5", r#"{"epoch":3,"loss":0.5}"#),
        ("Step 3 Loss 0.5", r#"{"step":3,"Loss":0.5}"#),
        ("iter 3 loss nan", r#"{"iter":3,"loss":"NaN"}"#),
        ("Iteration 3 loss -inf", r#"{"iteration":3,"loss":"-Infinity"}"#),
        ("step 3 train_loss 0.3", r#"{"step":3,"train_loss":0.3}"#),
        ("step  3/100  train loss 0.3  val loss 0.4", r#"{"step":3,"train loss":0.3,"val loss":0.4}"#),
        (
            "epoch 1 step 20 lr 1e-3 loss 0.5 time 12ms",
            r#"{"epoch":1,"step":20,"lr":0.001,"loss":0.5,"time":12}"#,
        ),
        ("episode 7 reward -1.5 steps 200", r#"{"episode":7,"reward":-1.5,"steps":200}"#),
        ("step = 3 val/loss = 2.", r#"{"step":3,"val/loss":2}"#),
        ("step 3: loss 0.3 acc 0.5", r#"{"step":3,"loss":0.3,"acc":0.5}"#),
        ("[rank0]: step 3 loss 0.3", r#"{"step":3,"loss":0.3}"#),
    ] {
        assert_eq!(rows(line), [expected], "{line}");
    }
}

#[test]
fn sentences_that_begin_with_a_step_are_no_rows() {
    for decoy in [
        "step 5 took 3 seconds",
        "step 5 took 3s",
        "epoch 3 of 10",
        "epoch 3 loss",
        "epoch 3 of 10 loss 0.5",
        "epoch 3 loss went from 0.5 to 0.25",
        "epoch 3 loss improved 0.5",
        "epoch 3 best loss 0.5",
        "epoch 3 loss was 0.5",
        "step 5 lr 0.1",
        "step 5 exit 1",
        "step 5 errors 3",
        "step 5 loss 0.5 and more",
        "step 5 loss 0.5, saving",
        "step 5 loss 0.5 in 3",
        "step 5 loss 50%",
        "step 5 loss_scale",
        "step 5 account 3",
        "step five loss 0.5",
        "Step 5 of loss 0.5",
        "steps 5 loss 0.5",
        "train step 5 loss 0.5",
        "step 12345 loss 2.3456 acc 0.7812 lr 0.0003 stu",
        "step 5 loss 0.5s",
        "step 5loss 0.5",
        "epoch: 3, loss: 0.5",
    ] {
        assert_eq!(rows(decoy), [""; 0], "{decoy}");
    }
}
