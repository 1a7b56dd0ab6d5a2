//! Checkpoints: which are found, in which order, and that none counts before it is whole.

use proptest::prelude::*;
use run_checkpoint::{
    Checkpoint, Label, Program, QUIET, State, discover, discover_latest, latest, passed_over,
};
use run_common::rundir::layout::Layout;
use run_common::rundir::meta;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};
use testkit::{Lab, Random};

/// Looks at a lab as at a run whose program has ended.
fn find(lab: &Lab) -> Vec<Checkpoint> {
    found(lab.dir(), None)
}

/// Returns all that is found, and makes sure that a search for the latest tells the same of it.
fn found(run: &Path, recorded: Option<&meta::Checkpoint>) -> Vec<Checkpoint> {
    let all = discover(&Layout::new(run), recorded, Program::Ended).unwrap();
    let least = latest(&all).and_then(|latest| latest.step);
    let expected: Vec<&Checkpoint> =
        all.iter().filter(|one| one.step.is_none() || one.step >= least).collect();
    let newest = discover_latest(&Layout::new(run), recorded, Program::Ended).unwrap();
    assert_eq!(newest.iter().collect::<Vec<_>>(), expected);
    all
}

fn find_live(lab: &Lab) -> Vec<Checkpoint> {
    discover(&Layout::new(lab.dir()), None, Program::Lives).unwrap()
}

fn recorded(pattern: Option<&str>, requires: &[&str]) -> meta::Checkpoint {
    let requires = requires.iter().map(|&file| file.to_owned()).collect();
    meta::Checkpoint { pattern: pattern.map(str::to_owned), requires }
}

fn find_by(lab: &Lab, pattern: Option<&str>, requires: &[&str]) -> Vec<Checkpoint> {
    found(lab.dir(), Some(&recorded(pattern, requires)))
}

/// Returns a line for each: path, step, and why it is incomplete.
fn lines(all: &[Checkpoint]) -> Vec<String> {
    let line = |one: &Checkpoint| {
        let step = one.step.map_or("-".to_owned(), |step| step.to_string());
        let path = one.path.display();
        match &one.state {
            State::Complete => format!("{path} {step}"),
            State::Incomplete(why) => format!("{path} {step}: {why}"),
        }
    };
    all.iter().map(line).collect()
}

/// A writer of zip archives as torch writes them: stored, contents aligned to 64 bytes, with or
/// without the records of zip64.
fn torch_zip(entries: &[(&str, &[u8])], is_zip64: bool, comment: &[u8]) -> Vec<u8> {
    fn count(number: usize) -> [u8; 4] {
        u32::try_from(number).unwrap().to_le_bytes()
    }
    let (mut file, mut central) = (Vec::new(), Vec::new());
    for (name, content) in entries {
        let offset = file.len();
        let unpadded = offset + 30 + name.len() + 4;
        let padding = unpadded.next_multiple_of(64) - unpadded;
        let mut header = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
        header.extend(count(content.len()));
        header.extend(count(content.len()));
        header.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        file.extend(b"PK\x03\x04");
        file.extend(&header);
        file.extend(u16::try_from(padding + 4).unwrap().to_le_bytes());
        file.extend(name.as_bytes());
        file.extend(b"FB");
        file.extend(u16::try_from(padding).unwrap().to_le_bytes());
        file.extend(vec![b'Z'; padding]);
        file.extend(*content);
        central.extend(b"PK\x01\x02\x14\0");
        central.extend(&header);
        central.extend([0; 12]);
        central.extend(count(offset));
        central.extend(name.as_bytes());
    }
    let offset = file.len();
    let size = central.len();
    file.extend(central);
    if is_zip64 {
        let end = file.len() as u64;
        file.extend(b"PK\x06\x06");
        file.extend(44u64.to_le_bytes());
        file.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for number in [entries.len(), entries.len(), size, offset] {
            file.extend((number as u64).to_le_bytes());
        }
        file.extend(b"PK\x06\x07\0\0\0\0");
        file.extend(end.to_le_bytes());
        file.extend([1, 0, 0, 0]);
    }
    file.extend(b"PK\x05\x06\0\0\0\0");
    let number = u16::try_from(entries.len()).unwrap().to_le_bytes();
    file.extend(number);
    file.extend(number);
    file.extend(if is_zip64 { [0xff; 4] } else { count(size) });
    file.extend(if is_zip64 { [0xff; 4] } else { count(offset) });
    file.extend(u16::try_from(comment.len()).unwrap().to_le_bytes());
    file.extend(comment);
    file
}

/// A small file as torch.save writes it.
fn torch() -> Vec<u8> {
    torch_zip(&[("archive/data.pkl", b"\x80\x02}."), ("archive/data/0", &[7; 300])], true, b"")
}

fn safetensors(bytes: usize) -> Vec<u8> {
    let half = bytes / 2;
    let header = format!(
        r#"{{"__metadata__":{{"format":"pt"}},"a":{{"dtype":"U8","shape":[{half}],"data_offsets":[0,{half}]}},"b":{{"dtype":"U8","shape":[{}],"data_offsets":[{half},{bytes}]}}}}"#,
        bytes - half
    );
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(vec![1; bytes]);
    file
}

/// Writes a checkpoint as Hugging Face's trainer does.
fn hugging_face(lab: &Lab, step: u32) {
    let dir = format!("checkpoint-{step}");
    lab.write(&format!("{dir}/config.json"), "{}");
    lab.write(&format!("{dir}/model.safetensors"), safetensors(64));
    lab.write(&format!("{dir}/optimizer.pt"), torch());
    lab.write(&format!("{dir}/scheduler.pt"), torch());
    let state = format!(
        "{{\n  \"global_step\": {step},\n  \"log_history\": [{{\"loss\": NaN, \"step\": {step}}}]\n}}"
    );
    lab.write(&format!("{dir}/trainer_state.json"), state);
}

/// Says whether a file of this name and content is complete, at once and later.
fn is_whole(lab: &Lab, name: &str, content: &[u8]) -> bool {
    lab.write(name, content);
    let all = find(lab);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].is_complete()
}

/// Cuts a file at every length if it is small, else at 200 random ones and those given.
fn never_whole_when_cut(name: &str, whole: &[u8], also: &[usize]) {
    let lab = Lab::new();
    assert!(is_whole(&lab, name, whole), "{name}");
    let mut random = Random::new(7);
    let mut lengths: Vec<usize> = match whole.len() {
        0..=2000 => (0..whole.len()).collect(),
        length => (0..200).map(|_| usize::try_from(random.below(length as u64)).unwrap()).collect(),
    };
    lengths.extend(also);
    lengths.extend(whole.len().saturating_sub(30)..whole.len());
    for length in lengths {
        assert!(!is_whole(&lab, name, &whole[..length]), "{name} cut at {length} of {}", whole.len());
    }
}

#[test]
fn the_latest_is_the_complete_one_with_the_greatest_step() {
    let lab = Lab::new();
    for step in [200, 40, 160, 80, 120] {
        hugging_face(&lab, step);
    }
    hugging_face(&lab, 240);
    fs::remove_file(lab.path("checkpoint-240/model.safetensors")).unwrap();
    hugging_face(&lab, 280);
    fs::rename(lab.path("checkpoint-280"), lab.path("checkpoint-280.tmp")).unwrap();
    fs::create_dir(lab.path("checkpoint-320")).unwrap();
    symlink("checkpoint-360", lab.path("step_latest")).unwrap();
    let touched = File::open(lab.path("checkpoint-40/model.safetensors")).unwrap();
    touched.set_modified(SystemTime::now() + Duration::from_secs(60)).unwrap();

    for all in [find(&lab), find_live(&lab)] {
        assert_eq!(
            lines(&all),
            [
                "checkpoint-40 40",
                "checkpoint-80 80",
                "checkpoint-120 120",
                "checkpoint-160 160",
                "checkpoint-200 200",
                "checkpoint-240 240: holds no weights",
                "checkpoint-280.tmp 280: has a temporary name",
                "checkpoint-320 320: is empty",
                "step_latest -: is a link that leads nowhere",
            ]
        );
        assert_eq!(latest(&all).unwrap().step, Some(200));
        let passed: Vec<_> = passed_over(&all).map(|(one, _)| one.step).collect();
        assert_eq!(passed, [Some(240), Some(280), Some(320), None]);
        assert!(all[0].modified() > all[4].modified());
        assert!(all[0].size.bytes > 900 && all[0].size.files == 5, "{:?}", all[0].size);
    }
}

#[test]
fn steps_are_numbers() {
    let lab = Lab::new();
    for step in ["1000", "200", "0000300", "9"] {
        lab.write(&format!("checkpoints/model_{step}.pt"), torch());
    }
    let steps: Vec<_> = find(&lab).iter().map(|one| one.step.unwrap()).collect();
    assert_eq!(steps, [9, 200, 300, 1000]);
}

#[test]
fn a_zip_that_was_cut_is_never_complete() {
    never_whole_when_cut("model_5.pt", &torch(), &[]);
    let inner = torch();
    let large: Vec<u8> = (0..20_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let entries: [(&str, &[u8]); 3] =
        [("archive/data.pkl", b"\x80\x02}."), ("archive/data/0", &large), ("archive/data/1", &inner)];
    for is_zip64 in [false, true] {
        let whole = torch_zip(&entries, is_zip64, b"");
        let at = whole.windows(inner.len()).position(|part| part == inner).unwrap();
        never_whole_when_cut(
            "model_5.pth",
            &whole,
            &[at, at + inner.len() - 1, at + inner.len(), at + inner.len() + 1],
        );
    }
    // The end record of another archive in the comment, and one as the first thing in the file.
    let comment = &inner[inner.len() - 22..];
    never_whole_when_cut("last.ckpt", &torch_zip(&[("a", b"x"), ("b", &inner)], false, comment), &[]);
    never_whole_when_cut("rl_model_5_steps.zip", &torch_zip(&[("inner.zip", &inner)], true, b"SB3"), &[]);
}

#[test]
fn archives_of_other_writers_are_whole_until_they_are_cut() {
    let lab = Lab::new();
    let script = r#"
import io, os, zipfile
inner = io.BytesIO()
with zipfile.ZipFile(inner, "w") as z: z.writestr("data", b"inner" * 10)
for name, method in ("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(name, "w", method) as z:
        z.writestr("data.pkl", b"x" * 50)
        with z.open("data/0", "w", force_zip64=True) as f: f.write(os.urandom(3000))
        z.writestr("nested", inner.getvalue())
with zipfile.ZipFile("streamed.tmp", "w") as z: pass
class Pipe(io.RawIOBase):
    def __init__(self): self.all = b""
    def writable(self): return True
    def write(self, b): self.all += bytes(b); return len(b)
pipe = Pipe()
with zipfile.ZipFile(pipe, "w") as z:
    z.writestr("a", inner.getvalue()); z.writestr("b", b"2" * 99); z.comment = b"said"
open("streamed", "wb").write(pipe.all)
"#;
    lab.cmd("python3").args(["-c", script]).run().code(0);
    for name in ["stored", "deflated", "streamed"] {
        never_whole_when_cut("model_9.pt", &lab.bytes(name), &[]);
    }
}

#[test]
fn an_archive_beyond_four_gigabytes_is_whole_until_it_is_cut() {
    const HOLE: u64 = 5 << 30; // the file is sparse
    let lab = Lab::new();
    let local = |size: u32| {
        [b"PK\x03\x04", &[0; 14][..], &size.to_le_bytes(), &size.to_le_bytes(), b"\x01\0\0\0a"].concat()
    };
    let entry = |size: u32, offset: u32, extra: &[u64]| {
        let length = if extra.is_empty() { 0 } else { u8::try_from(4 + 8 * extra.len()).unwrap() };
        let mut entry =
            [b"PK\x01\x02", &[0; 16][..], &size.to_le_bytes(), &size.to_le_bytes(), b"\x01\0", &[length, 0]]
                .concat();
        entry.extend([0; 10]);
        entry.extend(offset.to_le_bytes());
        entry.push(b'a');
        if !extra.is_empty() {
            entry.extend([1, 0, length - 4, 0]);
            entry.extend(extra.iter().flat_map(|number| number.to_le_bytes()));
        }
        entry
    };
    let second = 31 + HOLE;
    let central = [entry(u32::MAX, 0, &[HOLE, HOLE]), entry(2, u32::MAX, &[second])].concat();
    let offset = second + 31 + 2;
    let mut end = [local(2), b"zz".to_vec(), central.clone(), b"PK\x06\x06".to_vec()].concat();
    end.extend(44u64.to_le_bytes());
    end.extend([0; 12]);
    end.extend([2, 2, central.len() as u64, offset].iter().flat_map(|number| number.to_le_bytes()));
    end.extend(b"PK\x06\x07\0\0\0\0");
    end.extend((offset + central.len() as u64).to_le_bytes());
    end.extend([1, 0, 0, 0]);
    end.extend(b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0");
    let path = lab.write("model_5.pt", local(u32::MAX));
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&end, second).unwrap();
    assert_eq!(lines(&find(&lab)), ["model_5.pt 5"]);
    for length in [second + end.len() as u64 - 1, offset, second, 4 << 30, 31] {
        file.set_len(length).unwrap();
        assert!(!find(&lab)[0].is_complete(), "{length}");
    }
}

#[test]
fn safetensors_that_were_cut_are_never_complete() {
    never_whole_when_cut("model_5.safetensors", &safetensors(100), &[]);
    never_whole_when_cut("model_5.safetensors", &safetensors(50_000), &[]);
    let lab = Lab::new();
    let mut longer = safetensors(10);
    longer.push(0);
    assert!(!is_whole(&lab, "model_5.safetensors", &longer));
    let mut huge = u64::MAX.to_le_bytes().to_vec();
    huge.extend(b"{}");
    assert!(!is_whole(&lab, "model_5.safetensors", &huge));
}

#[test]
fn pickles_that_were_cut_are_never_complete_and_files_of_old_torch_prove_nothing() {
    let lab = Lab::new();
    // What torch wrote before 1.6: five pickles, then each storage with its number of elements.
    let script = r#"
import pickle, struct, sys, tarfile, types, io, collections
torch = types.ModuleType("torch"); sys.modules["torch"] = torch
for name in "FloatStorage", "LongStorage":
    setattr(torch, name, type(name, (), {"__module__": "torch", "__qualname__": name}))
class Storage:
    def __init__(self, kind, key, count, size): self.kind, self.key, self.count, self.size = kind, key, count, size
stores = [Storage(torch.FloatStorage, "94120", 70, 4), Storage(torch.LongStorage, "94121", 3, 8),
          Storage(torch.FloatStorage, "94122", 300, 4)]
for protocol in 2, 4:
    with open(f"legacy{protocol}", "wb") as f:
        for value in 0x1950a86a20f9469cfc6c, 1001, dict(protocol_version=1001, little_endian=True, type_sizes=dict(short=2)):
            pickle.dump(value, f, protocol=protocol)
        class Pickler(pickle.Pickler):
            def persistent_id(self, obj):
                if isinstance(obj, Storage): return ("storage", obj.kind, obj.key, "cpu", obj.count, None)
        state = collections.OrderedDict((f"layer{i}.weight", [s, (2, 3), 0.5, s]) for i, s in enumerate(stores))
        Pickler(f, protocol=protocol).dump({"model": state, "step": 5, "names": ["x"] * 100, "big": 1 << 80})
        pickle.dump([s.key for s in stores], f, protocol=protocol)
        for s in stores: f.write(struct.pack("<q", s.count) + b"." * (s.count * s.size))
    with open(f"plain{protocol}", "wb") as f:
        pickle.dump({"weights": [0.5, 1.5, -2] * 40, "text": "a.b." * 90, "blob": b"." * 400, "none": None,
                     "set": {1, 2}, "tuple": (1, 2, 3, 4), "od": collections.OrderedDict(a=1)}, f, protocol=protocol)
with tarfile.open("tar", "w") as t:
    for name, body in ("pickle", b"1" * 700), ("storages", bytes(5000)):
        info = tarfile.TarInfo(name); info.size = len(body); t.addfile(info, io.BytesIO(body))
"#;
    lab.cmd("python3").args(["-c", script]).run().code(0);
    for name in ["plain2", "plain4"] {
        never_whole_when_cut("model_9.pt", &lab.bytes(name), &[]);
    }
    // Nothing tells whether they are whole, so they have to be left alone while the program lives.
    let work = Lab::new();
    for name in ["legacy2", "legacy4", "tar"] {
        let whole = lab.bytes(name);
        for content in [&whole[..], &whole[..whole.len() - 1], &whole[..600]] {
            assert!(is_whole(&work, "model_9.pth", content), "{name}");
            assert_eq!(
                lines(&find_live(&work)),
                ["model_9.pth 9: may still be written: it was changed within 10 seconds"]
            );
            let file = File::options().write(true).open(work.path("model_9.pth")).unwrap();
            file.set_modified(SystemTime::now() - QUIET).unwrap();
            assert_eq!(lines(&find_live(&work)), ["model_9.pth 9"], "{name}");
        }
        assert!(!is_whole(&work, "model_9.pth", &whole[..12]), "{name}"); // too short to be known
    }
}

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
        "a/b/c/d/e/f/g/model_10.pt",
        "model.pt",
        "step_11.txt",
        "model_12.pt.bak",
        "step_13_math/model.pt",
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
        assert!(error.unwrap_err().to_string().contains("names nothing below the run"), "{wrong}");
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
