//! Trees of checkpoints as many trainers leave them: which is the latest, and what is none.

use run_checkpoint::{Names, Program, at, checkpoint_pattern, latest};
use run_common::rundir::layout::Layout;
use run_common::rundir::meta;
use std::path::Path;
use testkit::Lab;
use testkit::checkpoints::{find, lines, recorded, safetensors, torch};

/// Makes files of these names, with contents that fit them.
fn tree(names: &[&str]) -> Lab {
    let lab = Lab::new();
    for name in names {
        let content = match name.rsplit('.').next() {
            Some("safetensors") => safetensors(4),
            Some("json") => b"{}".to_vec(),
            Some("txt") if name.ends_with("latest_checkpointed_iteration.txt") => b"20".to_vec(),
            Some("ubj" | "cbm" | "distcp" | "metadata" | "hdf5") => b"x".to_vec(),
            _ if name.ends_with("latest") => b"global_step100".to_vec(),
            _ => torch(),
        };
        lab.write(name, content);
    }
    lab
}

/// Checks which is the latest of a tree: the path and the step, or `none`.
#[track_caller]
fn latest_is(names: &[&str], expected: &str) {
    let all = find(&tree(names));
    let found = latest(&all).map(|one| format!("{} {}", one.path.display(), one.step.unwrap()));
    assert_eq!(found.as_deref().unwrap_or("none"), expected, "{:?}", lines(&all));
}

#[test]
fn a_numbered_directory_may_have_its_state_in_directories() {
    // LeRobot, nanotron, and Orbax before it wrote its metadata at the top.
    let lerobot = |step: &str| {
        let files = ["pretrained_model/model.safetensors", "training_state/optimizer_state.safetensors"];
        files.map(|file| format!("checkpoints/{step}/{file}"))
    };
    let names: Vec<String> = ["000100", "000200"].into_iter().flat_map(lerobot).collect();
    latest_is(&names.iter().map(String::as_str).collect::<Vec<_>>(), "checkpoints/000200 200");
    latest_is(
        &[
            "checkpoints/20/model/model/decoder/0/w_pp-rank-0-of-1_tp-rank-0-of-1.safetensors",
            "checkpoints/20/optimizer/optimizer_pp-0-of-1.pt",
            "checkpoints/20/checkpoint_metadata.json",
        ],
        "checkpoints/20 20",
    );
    latest_is(
        &["checkpoints/1000/default/manifest.ocdbt", "checkpoints/1000/default/d/1f"],
        "checkpoints/1000 1000",
    );
    // Those of seeds hold checkpoints.
    latest_is(&["checkpoints/1/best.pt", "checkpoints/2/best.pt"], "none");
    latest_is(&["checkpoints/7/epochs/epoch_5.pt"], "checkpoints/7/epochs/epoch_5.pt 5");
}

#[test]
fn a_directory_with_other_words_in_its_name_is_one_when_it_holds_state() {
    latest_is(
        &["step1000-unsharded/model.pt", "step1000-unsharded/optim.pt", "step500-unsharded/model.pt"],
        "step1000-unsharded 1000",
    );
    let nemo = "checkpoints/m--val_loss=2.34-step=99-consumed_samples=128.0/weights";
    latest_is(
        &[&format!("{nemo}/.metadata"), &format!("{nemo}/__0_0.distcp")],
        "checkpoints/m--val_loss=2.34-step=99-consumed_samples=128.0 99",
    );
    // The weights alone of a checkpoint that is there are no second one.
    latest_is(
        &["global_step100/mp_rank_00_model_states.pt", "global_step100_hf/model.safetensors", "latest"],
        "global_step100 100",
    );
    // Directories of trainings, and of what a step has made.
    latest_is(&["epochs_10_lr_0.1/model.pt", "max_step_10_x/model.pt"], "none");
    latest_is(&["eval_step_20/model.pt", "step_20_samples/a.npy"], "none");
    latest_is(&["step_20_run/model.pt", "step_20_run/train.log"], "none");
}

#[test]
fn a_directory_that_is_named_by_its_path_says_its_step() {
    let lab = tree(&["x/step1000-unsharded/model.pt", "x/000200/model.pt", "x/model/model.pt"]);
    let step = |name: &str| at(&lab.path(name), Program::Ended).unwrap().step;
    assert_eq!(
        (step("x/step1000-unsharded"), step("x/000200"), step("x/model")),
        (Some(1000), Some(200), None)
    );
}

#[test]
fn a_directory_checkpoint_n_of_another_program_needs_no_state_of_the_trainer() {
    latest_is(
        &["checkpoint-500/model.safetensors", "checkpoint-1000/model.safetensors"],
        "checkpoint-1000 1000",
    );
    let simple = [
        "checkpoint-500/pytorch_model.bin",
        "checkpoint-500/training_args.bin",
        "checkpoint-500/model_args.json",
    ];
    latest_is(&simple, "checkpoint-500 500");
    // The trainer's, or perhaps so.
    for names in [
        &["checkpoint-500/model.safetensors"][..],
        &[
            "checkpoint-500/model.safetensors",
            "checkpoint-500/training_args.bin",
            "checkpoint-1000/model.safetensors",
        ],
    ] {
        latest_is(names, "none");
    }
    latest_is(
        &[
            "checkpoint-500/model.safetensors",
            "checkpoint-500/trainer_state.json",
            "checkpoint-1000/model.safetensors",
        ],
        "checkpoint-500 500",
    );
    for weights in ["unet/diffusion_pytorch_model.bin", "pytorch_lora_weights.bin"] {
        let weights = format!("checkpoint-500/{weights}");
        latest_is(&[&weights, "checkpoint-500/random_states_0.pkl"], "checkpoint-500 500");
    }
    latest_is(&["checkpoint-500/optimizer.bin", "checkpoint-500/random_states_0.pkl"], "none");
}

#[test]
fn names_of_many_trainers_say_which_is_the_latest() {
    for (names, expected) in [
        (&["model_500.pt", "value_500.pt", "replay_500.pt"][..], "model_500.pt 500"),
        (&["student_500.pt", "teacher_500.pt", "swa_500.pt"], "student_500.pt 500"),
        (
            &["recovery-1-500.pth.tar", "recovery-1-1000.pth.tar", "model_best.pth.tar"],
            "recovery-1-1000.pth.tar 1000",
        ),
        (
            &["model_state_e1_b500.th", "training_state_e1_b500.th", "model_state_e0_b400.th"],
            "model_state_e1_b500.th 500",
        ),
        (
            &["model_0012499.rank_0.pth", "model_0024999.rank_0.pth", "model_0024999.rank_1.pth"],
            "model_0024999.rank_0.pth 24999",
        ),
        (
            &["checkpoints/5000_raft-things.pth", "checkpoints/10000_raft-things.pth"],
            "checkpoints/10000_raft-things.pth 10000",
        ),
        (&["snapshot_iter_1000", "snapshot_iter_500"], "snapshot_iter_1000 1000"),
        (
            &["checkpoints/ckpt.9", "checkpoints/ckpt.10", "checkpoints/sentinel_checkpoint_complete.10"],
            "checkpoints/ckpt.10 10",
        ),
        (&["neat-checkpoint-9", "neat-checkpoint-49"], "neat-checkpoint-49 49"),
        (&["1.pt", "3.pt", "avg_30.pt", "avg30.pt"], "3.pt 3"),
        (&["model_10.ubj", "model_20.ubj"], "model_20.ubj 20"),
        (&["model_10.cbm", "model_20.cbm"], "model_20.cbm 20"),
        (
            &["log/model_00000250.bin", "log/model_00019560.bin", "log/state_00019560_00000.bin"],
            "log/model_00019560.bin 19560",
        ),
        (
            &["learned_embeds-steps-500.bin", "learned_embeds-steps-1000.bin"],
            "learned_embeds-steps-1000.bin 1000",
        ),
        (
            &["m--val_loss=0.5-step=1000-consumed_samples=100.0.ckpt"],
            "m--val_loss=0.5-step=1000-consumed_samples=100.0.ckpt 1000",
        ),
        (
            &["data/x/x_s0/pyt_save/model1000.pt", "data/x/x_s0/pyt_save/model100.pt"],
            "data/x/x_s0/pyt_save/model1000.pt 1000",
        ),
        (&["checkpoints/train.9.pth", "checkpoints/train.10.pth"], "checkpoints/train.10.pth 10"),
        (&["10epoch.pth", "valid.acc.ave_10best.pth", "valid.acc.ave_50best.pth"], "10epoch.pth 10"),
        // Hydra's directories, and Lightning's in them.
        (
            &["multirun/2026-01-29/12-00-00/0/lightning_logs/version_0/checkpoints/epoch=1-step=20.ckpt"],
            "multirun/2026-01-29/12-00-00/0/lightning_logs/version_0/checkpoints/epoch=1-step=20.ckpt 20",
        ),
    ] {
        latest_is(names, expected);
    }
}

#[test]
fn an_optimizer_with_an_ending_of_its_own_is_a_part() {
    for (model, optimizer) in [
        ("10.pdparams", "10.pdopt"),
        ("net_iter_10.caffemodel", "net_iter_10.solverstate"),
        ("m-0010.params", "m-0010.states"),
    ] {
        let lab = tree(&[model]);
        lab.write(optimizer, "x");
        let all = find(&lab);
        assert_eq!(lines(&all), [format!("{model} 10")]);
        assert_eq!(all[0].parts, [Path::new(model), Path::new(optimizer)]);
    }
    assert_eq!(lines(&find(&tree(&["x_iter_10.solverstate"]))), [""; 0]);
}

#[test]
fn what_a_model_has_read_or_made_is_no_checkpoint() {
    latest_is(&["model_500.pt", "samples_500.pt", "samples_600.pt", "preds_step_700.pt"], "model_500.pt 500");
    latest_is(
        &["model_5.pt", "train_1000.pt", "val_1000.pt", "tokens_1000.pt", "step_100_images.pt"],
        "model_5.pt 5",
    );
    latest_is(
        &[
            "model_5.pt",
            "data/corpus_5000.pt",
            "cache/a_9999.pt",
            "train_1000.npz",
            "corpus_train_000001.bin",
        ],
        "model_5.pt 5",
    );
    latest_is(
        &["model_5.pt", "samples/step_500/out.npy", "predictions/epoch_900.pt", "out/step_600/metrics.json"],
        "model_5.pt 5",
    );
    latest_is(&["model_5.pt", "trial_40.pt", "client_7.pt"], "model_5.pt 5");
    latest_is(&["step_20/q_table.json"], "step_20 20");
    // What is made of these is a model all the same.
    latest_is(&["image_encoder_500.pt"], "image_encoder_500.pt 500");
}

fn doubts(lab: &Lab, recorded: Option<&meta::Checkpoint>) -> Vec<String> {
    Names::below(&Layout::new(lab.dir()), recorded).unwrap().doubts()
}

#[test]
fn epochs_beside_numbers_of_which_nothing_tells_what_they_count_are_said() {
    let lab = tree(&["epoch-1.pt", "epoch-2.pt", "checkpoint-10000.pt"]);
    assert_eq!(
        doubts(&lab, None),
        [
            "'epoch-1.pt', 'epoch-2.pt' count epochs and 'checkpoint-10000.pt' something else; taking the greatest \
          number as the latest; choose with --checkpoint"
        ]
    );
}

#[test]
fn a_pattern_that_matches_nothing_is_said_and_slips_are_refused() {
    let lab = tree(&["ckpt/net-5.foo.pt"]);
    let with = |pattern: &str| doubts(&lab, Some(&recorded(Some(pattern), &[])));
    assert_eq!(
        with("ckpts/net-{step}.foo.pt"),
        [
            "nothing matches the checkpoint pattern 'ckpts/net-{step}.foo.pt', but there is 'ckpt/net-5.foo.pt'"
        ]
    );
    assert_eq!(with("ckpt/net-{step}.foo.pt"), [""; 0]);
    assert_eq!(doubts(&tree(&[]), Some(&recorded(Some("x{step}"), &[]))), [""; 0]);
    for (pattern, slip) in [
        ("net-{step:06d}.pt", "{step:06d}"),
        ("net-{STEP}.pt", "{STEP}"),
        ("e{epoch}/net-{step}.pt", "{epoch}"),
        ("net.{pt,pth}", "{pt,pth}"),
        ("net-%06d.pt", "%06d"),
        ("net-[0-9]*.pt", "[0-9]"),
    ] {
        let why = checkpoint_pattern(pattern).unwrap_err();
        assert!(why.starts_with(&format!("'{slip}' has no meaning in a pattern; ")), "{why}");
    }
    for pattern in ["net-{step}.pt", "50%done_{step}.pt", "net[1]/*.pt"] {
        assert_eq!(checkpoint_pattern(pattern).as_deref(), Ok(pattern));
    }
}
