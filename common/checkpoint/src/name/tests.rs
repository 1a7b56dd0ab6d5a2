//! Tests of the names of checkpoints.

use super::*;
use proptest::prelude::*;

fn file(name: &str) -> Option<u64> {
    of_file(name)?.step
}

fn directory(name: &str) -> Option<u64> {
    of_directory(name)?.step
}

#[test]
fn the_number_beside_a_step_counts_else_that_of_an_epoch_else_the_last() {
    assert_eq!(file("epoch=3-step=400.ckpt"), Some(400));
    assert_eq!(file("epoch_3_iter_500.pth"), Some(500));
    assert_eq!(file("epoch=03-val_loss=0.25.ckpt"), Some(3));
    assert_eq!(file("RL_Model_1000_steps.zip"), Some(1000));
    assert_eq!(file("checkpoint_3_5000.pt"), Some(5000));
    assert_eq!(file("checkpoint12.pt"), Some(12));
    assert_eq!(file("data2vec_200.pt"), Some(200));
    assert_eq!(file("200.pt"), Some(200));
    assert_eq!(directory("global_step1000"), Some(1000));
    assert_eq!(directory("epoch=3-step=400"), Some(400));
    assert_eq!(of_directory("step_final").unwrap().labels, [Label::Final]);
}

#[test]
fn a_number_is_a_name_among_models() {
    let among = |name: &str| of_file_in(name, DirectoryUse::Models).and_then(|name| name.step);
    assert_eq!(among("1000000.zip"), Some(1_000_000));
    assert_eq!(among("w_00010.h5"), Some(10));
    for name in ["classes_10.npy", "imagenet_2012.h5", "seed_0001.zip", "vocab.pkl", "w_10.h5"] {
        assert_eq!(among(name), None, "{name}");
    }
    assert_eq!((file("1000000.zip"), file("w_00010.h5")), (None, None));
}

#[test]
fn versions_scores_dates_and_parts_are_no_steps() {
    for name in [
        "loss-0.25.pt",
        "run_2024-01-28.pt",
        "m_20240128_143022.pt",
        "step_-9.pt",
        "optimizer_6.pt",
        "model-00001-of-00002.safetensors",
        "resnet50.pt",
        "logs_7.zip",
        "model_5.json",
    ] {
        let found = of_file(name).filter(|found| found.role != Role::Part);
        assert_eq!(found, None, "{name}");
    }
    for name in
        ["version_1", "step_20_math", "eval_step_20", "checkpoints", "5", "step_", "checkpoint_2024-01-28"]
    {
        assert_eq!(of_directory(name), None, "{name}");
    }
    let version = of_file("epoch=3-step=400-v12.ckpt").unwrap();
    assert_eq!((version.step, version.version), (Some(400), 12));
}

#[test]
fn temporary_names_are_told_from_others() {
    for name in [
        "x.tmp",
        "x.tmp12",
        "tmp-checkpoint-5",
        "x.pt.partial",
        "5.orbax-checkpoint-tmp-1",
        "x.PART",
        "a_tmp",
    ] {
        assert!(is_temporary(name), "{name}");
    }
    for name in ["template.pt", "x.tmpl", "x.parts", "attempt_5", ".metadata", "model.pt"] {
        assert!(!is_temporary(name), "{name}");
    }
}

/// Formats what a name contains: `step` or `epoch/step`, and the labels.
fn said(name: &str) -> String {
    let Some(found) = of_file(name) else { return "none".to_owned() };
    let count = match (found.epoch, found.step) {
        (Some(epoch), Some(step)) => format!("{epoch}/{step}"),
        (None, Some(step)) => step.to_string(),
        _ => String::new(),
    };
    let role = match found.role {
        Role::Main => "",
        Role::Second => " second",
        Role::Part => " part",
    };
    let labels: String = found.labels.iter().map(|label| format!(" {}", label.word())).collect();
    format!("{count}{labels}{role}").trim_start().to_owned()
}

#[test]
fn the_names_of_many_trainers_are_read() {
    for (name, expected) in [
        ("ep0-ba100-rank0.pt", "0/100"),
        ("ep0-it0-ba100-rank0.pt", "0/100"),
        ("ep0-ba100-rank3.pt", "none"),
        ("latest-rank0.pt", "last"),
        ("step_500_batch_32.pt", "500"),
        ("model010000.pt", "10000"),
        ("ema_0.9999_010000.pt", "10000 second"),
        ("opt010000.pt", "10000 part"),
        ("value_500.pt", "500 second"),
        ("teacher_500.pt", "500 second"),
        ("swa_model_500.pt", "500 second"),
        ("target_net_500.pt", "500 second"),
        ("replay_500.pt", "500 part"),
        ("model1000.pt", "1000"),
        ("checkpoint-2190-epoch-2.pt", "2/2190"),
        ("checkpoint_5_epoch.pt", "5"),
        ("epoch1_step100.pt", "1/100"),
        ("step10k.pt", "10000"),
        ("step_1.5M.pt", "1500000"),
        ("step_1e6.pt", "1000000"),
        ("checkpoint-10k.pt", "10000"),
        ("10k_steps.pt", "10000"),
        ("model_e20_s4000.pth", "20/4000"),
        ("0000100_adapters.safetensors", "100"),
        ("10_net_G.pth", "10"),
        ("10_net_D.pth", "10 second"),
        ("latest_net_G.pth", "last"),
        ("G_400.pth", "400"),
        ("D_400.pth", "400 second"),
        ("network-snapshot-000200.pkl", "200"),
        ("snapshot.pt", "last"),
        ("weights.05-0.12.hdf5", "5"),
        ("model.05.keras", "5"),
        ("cp-0005.weights.h5", "5"),
        ("checkpoint.model.keras", "last"),
        ("model_12_acc_0.95.pt", "12"),
        ("model-12-val_loss-0.25.pt", "12"),
        ("model_12_reward_250.pt", "12"),
        ("best_coco_bbox_mAP_epoch_12.pth", "12 best"),
        ("checkpoint_1_500.pt", "500"),
        ("5epoch.pth", "5"),
        ("model_state_epoch_5.th", "5"),
        ("training_state_epoch_5.th", "5 second"),
        ("lenet_iter_5000.caffemodel", "5000"),
        ("params_100.npz", "100"),
        ("policy_100.pkl", "100"),
        ("model_5.joblib", "5"),
        ("checkpoint.tar", "last"),
        ("state_7.msgpack", "7"),
        ("checkpoint-10.gguf", "10"),
        ("model-q4_0.gguf", "none"),
        ("rl_model_replay_buffer_1000_steps.pkl", "1000 part"),
        ("iter-000100-ckpt.pth", "100"),
        ("epoch_5_of_100.pt", "5"),
        ("Model Epoch 5.pt", "5"),
        ("modelEpoch7.h5", "7"),
        ("checkpoint_500", "500"),
        ("ckpt-500", "500"),
        ("megatron--val_loss=2.50-step=1000-consumed_samples=256000.0.ckpt", "1000"),
    ] {
        assert_eq!(said(name), expected, "{name}");
    }
}

#[test]
fn directories_are_named_by_few_words() {
    for (name, expected) in [
        ("checkpoint-2190-epoch-2", Some(2190)),
        ("ep0-ba100-rank0", Some(100)),
        ("step_10k", Some(10_000)),
        ("1000_steps", Some(1000)),
        ("checkpoint-500-best", Some(500)),
        ("step_best_500", Some(500)),
        ("best_epoch_3", Some(3)),
        ("best-500", None),
        ("500", None),
        ("model_500", None),
        ("checkpoint-0.5", None),
    ] {
        assert_eq!(directory(name), expected, "{name}");
    }
    assert_eq!(of_directory("checkpoint-500-best").unwrap().labels, [Label::Best]);
}

#[test]
fn other_numbers_are_no_steps() {
    for name in [
        "llama_7b.pt",
        "gpt2_125m.pt",
        "mobilenet_v2-b0353104.pth",
        "resnet50-0676ba61.pth",
        "model_fold_1.pt",
        "model_seed_42.pt",
        "model_v2.pt",
        "model_20240128.pt",
        "checkpoint_2024-01-28.pt",
        "20240128_model.pt",
        "lr1e-4.pt",
        "writer5.pt",
        "step_5",
        "checkpoint",
        "checkpoint_5_x",
        "vit_s16.pt",
        "samples_100.npy",
        "results_5.pkl",
        "episode_5.hdf5",
        "data_5.h5",
    ] {
        assert_eq!(said(name), "none", "{name}");
    }
}

#[test]
fn a_file_whose_name_says_nothing_looks_like_a_checkpoint_by_its_ending() {
    for name in ["model.pt", "resnet50.pth", "weights.npz", "model50.pt"] {
        assert!(looks_like_one(name), "{name}");
    }
    for name in
        ["model_5.pt", "optimizer.pt", "x.npz", "model-00001-of-00002.safetensors", "train.py", "data_5.pt"]
    {
        assert!(!looks_like_one(name), "{name}");
    }
}

#[test]
fn the_manual_lists_all_endings() {
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../../man/run-dir.5");
    let manual = std::fs::read_to_string(manual).unwrap();
    let block = |after: &str| {
        let text = manual.split(after).nth(1).unwrap().split(".Bd -filled -offset indent\n").nth(1).unwrap();
        let mut endings: Vec<String> = text
            .split(".Ed")
            .next()
            .unwrap()
            .split_whitespace()
            .map(|word| word.replace("\\&", ""))
            .collect();
        endings.sort();
        endings
    };
    let sorted = |endings: &[&str]| {
        let mut endings: Vec<String> = endings.iter().map(|&ending| ending.to_owned()).collect();
        endings.sort();
        endings
    };
    assert_eq!(block("Files with these endings are checkpoints"), sorted(&ENDINGS));
    assert_eq!(block("Files with these also need a word"), sorted(&SHARED_ENDINGS));
}

/// Spellings of a number. All but the first need a word before them that names the unit.
fn spellings(number: u64) -> Vec<String> {
    let mut all = vec![format!("{number:08}"), number.to_string(), format!("{number:04}")];
    if number.is_multiple_of(1000) && number > 0 {
        all.push(format!("{}k", number / 1000));
        all.push(format!("{}e3", number / 1000));
    }
    if number.is_multiple_of(100) && !number.is_multiple_of(1000) {
        all.push(format!("{}.{}k", number / 1000, number / 100 % 10));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_renamed_number_never_beats_a_greater_one(
        template in prop::sample::select(vec![
            "step{}.pt", "step_{}.pt", "step={}.ckpt", "{}_steps.zip", "model_step_{}-loss=0.25.pt", "iter{}.pth",
            "ep0-ba{}-rank0.pt", "epoch=3-step={}.ckpt", "checkpoint-{}.pt", "ckpt_{}_seed_9999.pt", "snapshot-{}.pkl",
            "checkpoint-{}-epoch-2.pt", "epoch_{}.h5", "net_epoch{}_acc_0.99.pt", "update_{}_v99999.pt", "{}_steps.npz",
        ]),
        padded in prop::sample::select(vec!["model{}.pt", "model_{}.pt", "{}_adapters.safetensors", "{}_net_G.pth", "w.{}-0.99.pt"]),
        numbers in prop::collection::vec(prop_oneof![0..2_000u64, (0..2_000u64).prop_map(|n| n * 100)], 2),
        ways in prop::collection::vec(0..5usize, 2),
    ) {
        let read = |template: &str, spelling: &str| of_file(&template.replace("{}", spelling)).and_then(|name| name.step);
        let (one, other) = (spellings(numbers[0]), spellings(numbers[1]));
        let (one, other) = (&one[ways[0] % one.len()], &other[ways[1] % other.len()]);
        prop_assert_eq!(read(template, one).cmp(&read(template, other)), numbers[0].cmp(&numbers[1]), "{} {} {}", template, one, other);
        let step = read(padded, &spellings(numbers[0])[0]);
        prop_assert_eq!(step, Some(numbers[0]), "{}", padded);
    }

    #[test]
    fn no_name_leads_to_a_panic(name in "\\PC{0,20}", known in "(step|epoch|ba|ep|rank|opt|[0-9]{1,21}|[-_=.vke]|0\\.){0,9}(\\.pt|\\.pkl|)") {
        for name in [name, known] {
            let _ = (of_file(&name), of_directory(&name), looks_like_one(&name), epoch_directory(&name), step_in(&name));
        }
    }
}
