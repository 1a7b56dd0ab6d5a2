//! Where checkpoints are found, and what is none.

use proptest::prelude::*;
use run_checkpoint::{Label, Program, QUIET, discover, latest, passed_over};
use run_common::rundir::layout::Layout;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};
use testkit::Lab;
use testkit::checkpoints::{
    find, find_by, find_live, found, hugging_face, lines, recorded, safetensors, torch,
};

#[test]
fn a_tracker_has_to_have_reached_the_step() {
    let lab = Lab::new();
    for step in [900, 1000, 1100] {
        lab.write(&format!("global_step{step}/mp_rank_00_model_states.pt"), torch());
    }
    lab.write("latest", "global_step1000");
    assert_eq!(
        lines(&find(&lab)),
        [
            "global_step900 900",
            "global_step1000 1000",
            "global_step1100 1100: 'latest' names neither it nor a later one"
        ]
    );
    fs::remove_file(lab.path("latest")).unwrap();
    symlink("global_step1100", lab.path("latest")).unwrap();
    assert_eq!(latest(&find(&lab)).unwrap().step, Some(1100));
}

#[test]
fn temporary_names_are_never_complete() {
    let lab = Lab::new();
    for name in [
        "model_1.pt.tmp",
        "tmp_model_2.pt",
        "model_3.tmp.pt",
        "model_4.pt.partial",
        "model_5.pt.tmp.1234",
        "model_6_tmp.pt",
    ] {
        lab.write(name, torch());
    }
    for name in [
        "tmp-checkpoint-7",
        "step_8.incomplete",
        "9.orbax-checkpoint-tmp-1700000000",
        "checkpoint_10.orbax-checkpoint-tmp",
    ] {
        lab.write(&format!("{name}/model.safetensors"), safetensors(4));
    }
    lab.write("step_11/model.safetensors", safetensors(4));
    lab.write("step_11/state.orbax-checkpoint-tmp-3/x", "x");
    let all = find(&lab);
    let steps: Vec<_> = all.iter().map(|one| one.step.unwrap()).collect();
    assert_eq!(steps, (1..=11).collect::<Vec<u64>>());
    assert!(all.iter().all(|one| !one.is_complete()), "{:?}", lines(&all));
    assert_eq!(latest(&all), None);
}

#[test]
fn what_is_no_checkpoint_is_not_listed() {
    let lab = Lab::new();
    for name in [
        ".run/model_1.pt",
        ".eval/step_2/model.pt",
        "eval/step_3/model.pt",
        "eval_runs/x/step_4/model.pt",
        "checkpoints/.hidden_5.pt",
        "optimizer_6.pt",
        "replay_buffer_7.pt",
        "model-00001-of-00002.safetensors",
        "data_8.zip",
        "resnet50.pt",
        "run_2024-01-28.pt",
        "model_20240128_143022.pt",
        "weights-0.25.pt",
        "step_-9.pt",
        "model_99999999999999999999999.pt",
        "a/b/c/d/e/f/g/h/i/model_10.pt",
        "model.pt",
        "step_11.txt",
        "model_12.pt.bak",
        "step_13_math/scores.csv",
        "version_14/model.pt",
        "15/model.pt",
        "checkpoints/final_checkpoint_info.json",
    ] {
        lab.write(name, torch());
    }
    lab.write("samples/step_16/0.png", "x");
    lab.write("best/plot.txt", "x");
    lab.write("latest", "global_step17");
    lab.write("latest_checkpointed_iteration.txt", "18");
    assert_eq!(lines(&find(&lab)), [""; 0]);
}

#[test]
fn a_directory_of_checkpoints_is_none() {
    let lab = Lab::new();
    lab.write("epoch_1/step_500/model.pt", torch());
    lab.write("epoch_1/step_600/model.pt", torch());
    symlink("step_600", lab.path("epoch_1/latest")).unwrap();
    lab.write("best/checkpoint-7/x", "x");
    lab.write("step_700/global_step700/x", "x");
    lab.write("step_700/latest", "global_step700");
    assert_eq!(
        lines(&find(&lab)),
        [
            "best/checkpoint-7 7: 'trainer_state.json' is missing",
            "epoch_1/step_500 500",
            "epoch_1/step_600 600",
            "step_700 700"
        ]
    );
}

#[test]
fn names_without_a_step_are_listed_and_latest_only_by_their_own_record() {
    let lab = Lab::new();
    for name in ["ckpt.pt", "best_model.pt", "connect4_final.pt", "last-v1.ckpt", "model_best.pth.tar"] {
        lab.write(name, torch());
    }
    lab.write("final/model.safetensors", safetensors(4));
    lab.write("model_40.pt", torch());
    let all = find(&lab);
    assert_eq!(
        lines(&all),
        [
            "model_40.pt 40",
            "best_model.pt -",
            "ckpt.pt -",
            "connect4_final.pt -",
            "final -",
            "last-v1.ckpt -",
            "model_best.pth.tar -"
        ]
    );
    let labels: Vec<_> = all[1..].iter().flat_map(|one| one.labels.clone()).collect();
    assert_eq!(labels, [Label::Best, Label::Last, Label::Final, Label::Final, Label::Last, Label::Best]);
    assert_eq!(latest(&all).unwrap().step, Some(40));

    for (record, content) in [
        ("final/training_info.json", r#"{"step": -5, "global_step": 90}"#),
        ("final/trainer_state.json", r#"{"global_step": 90, "x": Infinity}"#),
    ] {
        lab.write(record, content);
        let all = find(&lab);
        assert_eq!(lines(&all)[1], "final 90");
        assert_eq!(latest(&all).unwrap().labels, [Label::Final]);
        fs::remove_file(lab.path(record)).unwrap();
    }
    lab.write("final/training_info.json", r#"{"step": -5}"#);
    assert_eq!(latest(&find(&lab)).unwrap().step, Some(40));
}

#[test]
fn links_are_looked_at_and_nothing_is_counted_twice() {
    let (lab, elsewhere) = (Lab::new(), Lab::new());
    elsewhere.write("model_900.pt", torch());
    elsewhere.write("checkpoint-901/x", "x");
    lab.write("training_state/step_20/model/a", "x");
    lab.write("models/model_30.pt", torch());
    lab.write("models/weights.pt", torch());
    lab.write(".hidden/model_31.pt", torch());
    symlink("step_20", lab.path("training_state/step_latest")).unwrap();
    symlink("models/model_30.pt", lab.path("best.pt")).unwrap();
    symlink("models/weights.pt", lab.path("final.pt")).unwrap();
    fs::hard_link(lab.path("models/model_30.pt"), lab.path("last.ckpt")).unwrap();
    symlink(".hidden/model_31.pt", lab.path("model_31.pt")).unwrap();
    symlink(elsewhere.path("model_900.pt"), lab.path("model_900.pt")).unwrap();
    symlink(elsewhere.dir(), lab.path("data")).unwrap();
    symlink("..", lab.path("models/up")).unwrap();
    symlink("loop_1", lab.path("loop_1")).unwrap();
    symlink(".", lab.path("step_50")).unwrap();
    symlink("ckpt_51.pt", lab.path("ckpt_51.pt")).unwrap();
    let all = find(&lab);
    let out = "is a link that leads out of the run";
    assert_eq!(
        lines(&all),
        [
            "training_state/step_20 20: 'optimizer.pt' is missing or empty".to_owned(),
            "models/model_30.pt 30".to_owned(),
            format!("model_31.pt 31: {out}"),
            format!("step_50 50: {out}"),
            "ckpt_51.pt 51: is a link that leads nowhere".to_owned(),
            format!("model_900.pt 900: {out}"),
            "final.pt -".to_owned(),
        ]
    );
    assert_eq!(all[0].labels, [Label::Last]);
    assert_eq!(all[1].labels, [Label::Best, Label::Last]);
}

#[test]
fn checkpoints_that_are_put_on_another_disk_by_a_link_are_found() {
    let (lab, disk) = (Lab::new(), Lab::new());
    for step in [10, 20] {
        disk.write(&format!("ckpts/model_{step}.pt"), torch());
    }
    disk.write("ckpts/deeper/model_30.pt", torch());
    disk.write("ckpts/.hidden/model_40.pt", torch());
    disk.write("model_50.pt", torch());
    symlink("model_20.pt", disk.path("ckpts/last.ckpt")).unwrap();
    symlink("../model_50.pt", disk.path("ckpts/model_51.pt")).unwrap();
    symlink(".", disk.path("ckpts/models")).unwrap(); // no link behind the link is followed
    symlink("..", disk.path("ckpts/checkpoints")).unwrap();
    let run = lab.path("runs/r");
    fs::create_dir_all(&run).unwrap();
    let link = |to: &Path, name: &str| symlink(to, run.join(name)).unwrap();
    link(Path::new("checkpoints/model_10.pt"), "best.pt"); // of a name before that of the directory
    link(&disk.path("ckpts"), "checkpoints");
    link(&disk.path("ckpts"), "ckpts"); // the same once more
    for input in ["data", "models", "weights", "saved_models", "snapshots"] {
        link(disk.dir(), input);
    }
    link(Path::new(".."), "ckpt"); // the run itself is in it
    link(Path::new("ckpt"), "training_state");
    link(Path::new("/not/mounted"), "checkpoint");
    link(Path::new("/not/mounted"), "gone");
    let expected = [
        "checkpoints/model_10.pt 10",
        "checkpoints/model_20.pt 20",
        "checkpoints/deeper/model_30.pt 30",
        "checkpoints/model_51.pt 51: is a link that leads out of the run",
        "checkpoint -: cannot be read: No such file or directory",
    ];
    let all = found(&run, None);
    assert_eq!(lines(&all), expected);
    assert_eq!((&all[0].labels[..], &all[1].labels[..]), (&[Label::Best][..], &[Label::Last][..]));
    // A pattern says which link leads to checkpoints.
    disk.write("7.bin", "state");
    for (pattern, expected) in [
        ("data/{step}.bin", &["data/7.bin 7"][..]),
        ("gone/{step}.bin", &["gone -: cannot be read: No such file or directory"][..]),
        ("*/{step}.bin", &[][..]),
        ("d?ta/{step}.bin", &[][..]),
        ("**/{step}.bin", &[][..]),
    ] {
        assert_eq!(lines(&found(&run, Some(&recorded(Some(pattern), &[])))), expected, "{pattern}");
    }
}

#[test]
fn a_run_behind_a_link_is_looked_at_all_the_same() {
    let lab = Lab::new();
    lab.write("disk/run/model_30.pt", torch());
    symlink("model_30.pt", lab.path("disk/run/best.pt")).unwrap();
    symlink("disk/run", lab.path("run")).unwrap();
    let all = found(&lab.path("run"), None);
    assert_eq!(lines(&all), ["model_30.pt 30"]);
    assert!(discover(&Layout::new(lab.path("none")), None, Program::Ended).is_err());
}

#[test]
fn a_recorded_pattern_stands_in_place_of_the_known_names() {
    let lab = Lab::new();
    for name in
        ["ckpt/100.bin", "ckpt/20.bin", "ckpt/30.bin.tmp", "ckpt/final.bin", "ckpt/sub/7.bin", "model_900.pt"]
    {
        lab.write(name, "state");
    }
    let all = find_by(&lab, Some("ckpt/*.bin"), &[]);
    let expected = [
        "ckpt/20.bin 20",
        "ckpt/30.bin.tmp 30: has a temporary name",
        "ckpt/100.bin 100",
        "ckpt/final.bin -",
    ];
    assert_eq!(lines(&all), expected);
    assert_eq!(all[3].labels, [Label::Final]);
    assert_eq!(lines(&find_by(&lab, Some("./ckpt/{step}.bin/"), &[])), expected[..3]);
    assert_eq!(lines(&find_by(&lab, Some("**/{step}.bin"), &[])).len(), 4);
    assert_eq!(
        lines(&find_by(&lab, Some("ckpt/??.bin"), &[])),
        ["ckpt/20.bin -", "ckpt/30.bin.tmp -: has a temporary name"]
    );
    for wrong in ["/ckpt/*", "../x_*", "", "a/../b", "./"] {
        let error = discover(&Layout::new(lab.dir()), Some(&recorded(Some(wrong), &[])), Program::Ended);
        assert!(error.unwrap_err().to_string().contains("matches nothing below the run"), "{wrong}");
    }
}

#[test]
fn the_step_of_a_pattern_is_where_its_wildcards_say() {
    let lab = Lab::new();
    for (pattern, path, step) in [
        ("net_{step}_of_9.x", "net_0040_of_9.x", "40"),
        ("*/{step}/w", "seed3/12/w", "12"),
        ("out/*", "out/epoch=3-step=400-loss=0.25", "400"),
        ("e*-loss*.x", "e12-loss0.31.x", "12"),
        ("run_*/it_*.x", "run_7/it_8.x", "8"),
        ("*{step}.x", "model-77.x", "77"),
        ("fixed.x", "fixed.x", "-"),
        ("step_*/model*.x", "step_50/model.x", "50"),
    ] {
        lab.write(path, "state");
        assert_eq!(lines(&find_by(&lab, Some(pattern), &[])), [format!("{path} {step}")], "{pattern}");
        fs::remove_file(lab.path(path)).unwrap();
    }
}

#[test]
fn recorded_files_are_required() {
    let lab = Lab::new();
    lab.write("step_20/model.pt", torch());
    lab.write("step_20/rng/0", "x");
    assert_eq!(lines(&find_by(&lab, None, &["model.pt", "rng"])), ["step_20 20"]);
    assert_eq!(lines(&find_by(&lab, None, &["model.pt", "opt*.pt"])), ["step_20 20: 'opt*.pt' is missing"]);
    lab.write("step_20/optim.pt", "");
    assert_eq!(lines(&find_by(&lab, None, &["opt*.pt"])), ["step_20 20: 'opt*.pt' is empty"]);
    // With a pattern, they stand in place of what the name is known to need.
    lab.write("checkpoint-30/optimizer.bin", "x");
    let why = "checkpoint-30 30: 'trainer_state.json' is missing";
    assert_eq!(lines(&find_by(&lab, Some("checkpoint-*"), &[])), [why]);
    assert_eq!(lines(&find_by(&lab, Some("checkpoint-*"), &["optimizer.bin"])), ["checkpoint-30 30"]);
    assert_eq!(lines(&find_by(&lab, None, &["optimizer.bin"]))[1], why);
}

#[test]
fn while_the_program_lives_what_proves_nothing_has_to_be_left_alone() {
    let lab = Lab::new();
    let proof = ["ckpt_1.pt", "checkpoint-2"];
    lab.write(proof[0], torch());
    hugging_face(&lab, 2);
    let file = lab.write("step_3/state.bin", "x");
    assert_eq!(lines(&find(&lab))[2], "step_3 3");
    let at = |time: SystemTime| {
        File::open(&file).unwrap().set_modified(time).unwrap();
        let all = find_live(&lab);
        assert!(all[0].is_complete() && all[1].is_complete());
        lines(&all)[2].clone()
    };
    let now = SystemTime::now();
    assert_eq!(at(now), "step_3 3: may still be written: it was changed within 10 seconds");
    assert_eq!(at(now - QUIET), "step_3 3");
    assert_eq!(at(now + Duration::from_secs(86400)), "step_3 3");
    // Named files that tell of themselves prove enough.
    let file = lab.write("step_3/model.pt", torch());
    let requires = recorded(None, &["model.pt"]);
    let all = discover(&Layout::new(lab.dir()), Some(&requires), Program::Lives).unwrap();
    assert_eq!(lines(&all)[2], "step_3 3");
    // Two looks tell growth.
    let before = all[2].size;
    fs::write(file, [torch(), torch()].concat()).unwrap();
    assert_ne!(find(&lab)[2].size, before);
}

#[test]
fn what_cannot_be_read_is_incomplete() {
    let lab = Lab::new();
    lab.cmd("mkfifo").arg("model_1.pt").run().code(0);
    lab.write("step_2/x", "x");
    symlink("nowhere", lab.path("step_2/optimizer.pt")).unwrap();
    lab.write("step_3/optimizer.pt/x", "x");
    let name = OsStr::from_bytes(b"m\xff_4.pt");
    fs::write(lab.dir().join(name), torch()).unwrap();
    let all = find(&lab);
    assert_eq!(
        lines(&all)[..3],
        [
            "model_1.pt 1: is no regular file",
            "step_2 2: 'optimizer.pt' is a link that leads nowhere",
            "step_3 3"
        ]
    );
    assert!(all[3].path == Path::new(name) && all[3].is_complete());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_content_leads_to_a_panic(
        head in prop::sample::select(vec![
            &b""[..], b"PK\x03\x04", b"PK\x05\x06", b"\x80\x02", b"\x80\x04\x95", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
            b"\x10\0\0\0\0\0\0\0{", b"{\"weight_map\":{\"a\":\"b\"}", b"{\"step\":",
        ]),
        middle in prop::collection::vec(any::<u8>(), 0..300),
        tail in prop::sample::select(vec![
            &b""[..], b"PK\x05\x06\0\0\0\0\x01\0\x01\0\x2e\0\0\0\0\0\0\0\0\0", b"PK\x06\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0PK\x05\x06\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0", b".", b"}",
        ]),
    ) {
        let content = [head, &middle, tail].concat();
        let lab = Lab::new();
        for name in ["m_1.pt", "m_2.safetensors", "m_3.ckpt", "checkpoint-4/model.safetensors.index.json", "checkpoint-4/trainer_state.json",
            "training_state/step_5/training_info.json", "final/model.bin", "final/training_info.json", "global_step6/x", "latest",
            "7/_CHECKPOINT_METADATA", "model.ckpt-8.data-00000-of-00001", "step-9/.metadata"] {
            lab.write(name, &content);
        }
        for program in [Program::Lives, Program::Ended] {
            let all = discover(&Layout::new(lab.dir()), Some(&recorded(None, &[])), program).unwrap();
            prop_assert_eq!(all.len(), 10);
        }
        find(&lab);
    }

    #[test]
    fn no_name_leads_to_a_panic(
        names in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 1..20),
            "(step|epoch|tmp|model|ckpt|final|\\.tmp|\\.data-|\\.index|-of-|[0-9]{1,21}|[-_=.v]){1,7}(\\.pt|\\.ckpt|)".prop_map(String::into_bytes),
        ], 1..8),
        pattern in "(step|\\{step\\}|\\*|\\*\\*|\\?|/|[a-z0-9_.]){0,9}",
        requires in "(\\*|\\?|/|[a-z.]){0,6}",
    ) {
        let lab = Lab::new();
        for (at, name) in names.iter().enumerate() {
            let path = lab.dir().join(OsStr::from_bytes(name));
            if at % 2 == 0 { let _ = fs::write(path, "x"); } else { let _ = fs::create_dir_all(path); }
        }
        let requires = [requires.as_str()];
        for recorded in [recorded(None, &requires), recorded(Some(&pattern), &requires)] {
            if let Ok(all) = discover(&Layout::new(lab.dir()), Some(&recorded), Program::Ended) {
                prop_assert!(all.is_sorted_by_key(|one| (one.step.is_none(), one.step)));
                let _ = passed_over(&all).count();
                prop_assert_eq!(found(lab.dir(), Some(&recorded)), all);
            }
        }
    }
}
