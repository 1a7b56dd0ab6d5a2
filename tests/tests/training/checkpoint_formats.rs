//! The formats of checkpoints that are known, and what each needs to be complete.

use run_checkpoint::{latest, passed_over};
use std::fs;
use testkit::Lab;
use testkit::checkpoints::{find, lines, safetensors, torch};

/// What a row of the table of formats needs: files, which of them are taken away or cut, and the
/// reason that is then given.
type Row<'a> = (&'a str, u64, Vec<(&'a str, Vec<u8>)>, Vec<(&'a str, &'a str)>);

#[test]
fn every_known_format_is_found_and_needs_what_it_needs() {
    let text = |text: &str| text.as_bytes().to_vec();
    let index = text(
        r#"{"metadata": {}, "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#,
    );
    let cut = "is cut short, or no zip archive";
    let rows: Vec<Row> = vec![
        (
            "checkpoint-500",
            500,
            vec![
                ("checkpoint-500/model.safetensors.index.json", index.clone()),
                ("checkpoint-500/model-00001-of-00002.safetensors", safetensors(9)),
                ("checkpoint-500/model-00002-of-00002.safetensors", safetensors(9)),
                ("checkpoint-500/trainer_state.json", text("{}")),
            ],
            vec![
                ("checkpoint-500/trainer_state.json", "'trainer_state.json' is missing"),
                ("checkpoint-500/trainer_state.json <", "'trainer_state.json' is empty"),
                (
                    "checkpoint-500/model-00001-of-00002.safetensors",
                    "'model-00001-of-00002.safetensors' is missing",
                ),
                (
                    "checkpoint-500/model-00002-of-00002.safetensors <",
                    "'model-00002-of-00002.safetensors' is empty",
                ),
                (
                    "checkpoint-500/model.safetensors.index.json",
                    "'model-00001-of-00002.safetensors' has no index of shards",
                ),
            ],
        ),
        (
            "checkpoint-8",
            8,
            vec![
                ("checkpoint-8/unet/diffusion_pytorch_model.safetensors", safetensors(9)),
                ("checkpoint-8/optimizer.bin", torch()),
                ("checkpoint-8/random_states_0.pkl", torch()),
            ],
            vec![
                ("checkpoint-8/random_states_0.pkl", "'trainer_state.json' is missing"),
                ("checkpoint-8/random_states_0.pkl <", "'random_states_0.pkl' is empty"),
                ("checkpoint-8/unet/diffusion_pytorch_model.safetensors", "holds no weights"),
            ],
        ),
        (
            "checkpoint-7",
            7,
            vec![
                ("checkpoint-7/pytorch_model_fsdp_0/.metadata", text("m")),
                ("checkpoint-7/pytorch_model_fsdp_0/__0_0.distcp", text("x")),
                ("checkpoint-7/trainer_state.json", text("{}")),
            ],
            vec![(
                "checkpoint-7/pytorch_model_fsdp_0/.metadata",
                "'pytorch_model_fsdp_0/.metadata' is missing",
            )],
        ),
        (
            "epoch=3-step=400-v1.ckpt",
            400,
            vec![("epoch=3-step=400-v1.ckpt", torch())],
            vec![("epoch=3-step=400-v1.ckpt <", "is empty")],
        ),
        (
            "epoch=3-step=400.ckpt",
            400,
            vec![("epoch=3-step=400.ckpt/checkpoint/mp_rank_00_model_states.pt", torch())],
            vec![(
                "epoch=3-step=400.ckpt/checkpoint/mp_rank_00_model_states.pt -",
                "'checkpoint/mp_rank_00_model_states.pt' is cut short, or no zip archive",
            )],
        ),
        (
            "global_step1000",
            1000,
            vec![
                ("global_step1000/mp_rank_00_model_states.pt", torch()),
                ("latest", text("global_step1000\n")),
            ],
            vec![
                ("latest", "'latest' names neither it nor a later one"),
                (
                    "global_step1000/mp_rank_00_model_states.pt -",
                    "'mp_rank_00_model_states.pt' is cut short, or no zip archive",
                ),
            ],
        ),
        (
            "iter_0000100",
            100,
            vec![
                ("iter_0000100/mp_rank_00/model_optim_rng.pt", torch()),
                ("latest_checkpointed_iteration.txt", text("200")),
            ],
            vec![(
                "latest_checkpointed_iteration.txt",
                "'latest_checkpointed_iteration.txt' names neither it nor a later one",
            )],
        ),
        (
            "global_step_60",
            60,
            vec![
                ("global_step_60/actor/model_world_size_1_rank_0.pt", torch()),
                ("latest_checkpointed_iteration.txt", text("60")),
            ],
            vec![(
                "latest_checkpointed_iteration.txt <",
                "'latest_checkpointed_iteration.txt' names neither it nor a later one",
            )],
        ),
        (
            "step-20",
            20,
            vec![
                ("step-20/.metadata", text("m")),
                ("step-20/__0_0.distcp", text("x")),
                ("step-20/__1_0.distcp", text("x")),
            ],
            vec![
                ("step-20/.metadata", "'.metadata' is missing"),
                ("step-20/.metadata <", "'.metadata' is empty"),
            ],
        ),
        (
            "step-30",
            30,
            vec![
                ("step-30/model.safetensors.index.json", index),
                ("step-30/model-00001-of-00002.safetensors", safetensors(9)),
                ("step-30/model-00002-of-00002.safetensors", safetensors(9)),
            ],
            vec![(
                "step-30/model.safetensors.index.json",
                "'model-00001-of-00002.safetensors' has no index of shards",
            )],
        ),
        (
            "dcp/run_70",
            70,
            vec![("dcp/run_70/.metadata", text("m")), ("dcp/run_70/__0_0.distcp", text("x"))],
            vec![("dcp/run_70/.metadata", "'.metadata' is missing")],
        ),
        (
            "ckpt/5",
            5,
            vec![("ckpt/5/_CHECKPOINT_METADATA", text("{}")), ("ckpt/5/default/d/1", text("x"))],
            vec![],
        ),
        (
            "ckpt/state_6",
            6,
            vec![
                ("ckpt/state_6/_CHECKPOINT_METADATA", text("{}")),
                ("ckpt/state_6/commit_success.txt", text("x")),
                ("ckpt/other/commit_success.txt", text("x")),
            ],
            vec![("ckpt/state_6/commit_success.txt", "'commit_success.txt' is missing")],
        ),
        (
            "rl_model_1000_steps.zip",
            1000,
            vec![("rl_model_1000_steps.zip", torch())],
            vec![("rl_model_1000_steps.zip -", cut)],
        ),
        ("epoch_12.pth", 12, vec![("epoch_12.pth", torch())], vec![("epoch_12.pth -", cut)]),
        (
            "iter_8000.pth",
            8000,
            vec![("iter_8000.pth", torch()), ("last_checkpoint", text("iter_8000.pth"))],
            vec![("iter_8000.pth -", cut)],
        ),
        (
            "checkpoint_000010",
            10,
            vec![("checkpoint_000010/model.pt", torch())],
            vec![
                ("checkpoint_000010/model.pt -", "'model.pt' is cut short, or no zip archive"),
                ("checkpoint_000010/model.pt <", "is empty"),
            ],
        ),
        (
            "model_0004999.pth",
            4999,
            vec![("model_0004999.pth", torch()), ("last_checkpoint", text("model_0004999.pth"))],
            vec![("model_0004999.pth -", cut)],
        ),
        (
            "model.ckpt-500",
            500,
            vec![
                ("model.ckpt-500.index", text("x")),
                ("model.ckpt-500.meta", text("x")),
                ("model.ckpt-500.data-00000-of-00002", text("x")),
                ("model.ckpt-500.data-00001-of-00002", text("x")),
                ("checkpoint", text("model_checkpoint_path: \"model.ckpt-500\"")),
            ],
            vec![
                ("model.ckpt-500.index", "its '.index' is missing"),
                ("model.ckpt-500.data-00001-of-00002", "1 of 2 '.data' files are there"),
                ("model.ckpt-500.data-00001-of-00002 <", "'model.ckpt-500.data-00001-of-00002' is empty"),
            ],
        ),
        (
            "checkpoints/dqn_200.pt",
            200,
            vec![("checkpoints/dqn_200.pt", torch())],
            vec![("checkpoints/dqn_200.pt -", cut)],
        ),
        (
            "experiment/ckpt_remasking_binary_250.pt",
            250,
            vec![("experiment/ckpt_remasking_binary_250.pt", torch())],
            vec![("experiment/ckpt_remasking_binary_250.pt -", cut)],
        ),
        (
            "training_state/step_20",
            20,
            vec![
                ("training_state/step_20/model/model.safetensors", safetensors(8)),
                ("training_state/step_20/optimizer.pt", torch()),
                ("training_state/step_20/scheduler.pt", torch()),
                ("training_state/step_20/training_info.json", text(r#"{"step": 20}"#)),
            ],
            vec![
                ("training_state/step_20/model/model.safetensors", "'model' is missing or empty"),
                ("training_state/step_20/model/model.safetensors <", "'model' is missing or empty"),
                ("training_state/step_20/optimizer.pt", "'optimizer.pt' is missing or empty"),
                ("training_state/step_20/scheduler.pt <", "'scheduler.pt' is missing or empty"),
                ("training_state/step_20/scheduler.pt -", "'scheduler.pt' is cut short, or no zip archive"),
                ("training_state/step_20/training_info.json", "'training_info.json' is missing or empty"),
                ("training_state/step_20/training_info.json -", "'training_info.json' does not parse"),
            ],
        ),
    ];
    for (path, step, files, faults) in rows {
        let lab = Lab::new();
        for (name, content) in &files {
            lab.write(name, content);
        }
        let all = find(&lab);
        assert_eq!(lines(&all), [format!("{path} {step}")]);
        assert_eq!(latest(&all), Some(&all[0]));
        for (fault, why) in faults {
            let (name, how) = fault.split_once(' ').unwrap_or((fault, ""));
            let content = &files.iter().find(|(file, _)| *file == name).unwrap().1;
            match how {
                "<" => _ = lab.write(name, ""),
                "-" => _ = lab.write(name, &content[..content.len() - 1]),
                _ => fs::remove_file(lab.path(name)).unwrap(),
            }
            assert_eq!(lines(&find(&lab)), [format!("{path} {step}: {why}")], "{fault}");
            assert_eq!(passed_over(&find(&lab)).count(), 1);
            lab.write(name, content);
        }
        assert_eq!(lines(&find(&lab)), lines(&all));
    }
}
