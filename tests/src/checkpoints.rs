//! Checkpoints as programs write them, and what is found of them.

use crate::{Lab, Random};
use run_checkpoint::{Checkpoint, Program, State, discover, discover_latest, latest};
use run_common::rundir::layout::Layout;
use run_common::rundir::meta;
use std::path::Path;

/// Looks at a lab as at a run whose program has ended.
pub fn find(lab: &Lab) -> Vec<Checkpoint> {
    found(lab.dir(), None)
}

/// Returns all that is found, and makes sure that a search for the latest tells the same of it.
pub fn found(run: &Path, recorded: Option<&meta::Checkpoint>) -> Vec<Checkpoint> {
    let all = discover(&Layout::new(run), recorded, Program::Ended).unwrap();
    let least = latest(&all).and_then(|latest| latest.step);
    let expected: Vec<&Checkpoint> =
        all.iter().filter(|one| one.step.is_none() || one.step >= least).collect();
    let newest = discover_latest(&Layout::new(run), recorded, Program::Ended).unwrap();
    assert_eq!(newest.iter().collect::<Vec<_>>(), expected);
    all
}

/// Finds those of a living run.
pub fn find_live(lab: &Lab) -> Vec<Checkpoint> {
    discover(&Layout::new(lab.dir()), None, Program::Lives).unwrap()
}

/// Makes what run-new records.
pub fn recorded(pattern: Option<&str>, requires: &[&str]) -> meta::Checkpoint {
    let requires = requires.iter().map(|&file| file.to_owned()).collect();
    meta::Checkpoint { pattern: pattern.map(str::to_owned), requires }
}

/// Finds by a pattern.
pub fn find_by(lab: &Lab, pattern: Option<&str>, requires: &[&str]) -> Vec<Checkpoint> {
    found(lab.dir(), Some(&recorded(pattern, requires)))
}

/// Returns a line for each: path, step, and why it is incomplete.
pub fn lines(all: &[Checkpoint]) -> Vec<String> {
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
pub fn torch_zip(entries: &[(&str, &[u8])], is_zip64: bool, comment: &[u8]) -> Vec<u8> {
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
pub fn torch() -> Vec<u8> {
    torch_zip(&[("archive/data.pkl", b"\x80\x02}."), ("archive/data/0", &[7; 300])], true, b"")
}

/// Makes a file of safetensors.
pub fn safetensors(bytes: usize) -> Vec<u8> {
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
pub fn hugging_face(lab: &Lab, step: u32) {
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

/// Returns whether a file of this name and content is complete, at once and later.
pub fn is_whole(lab: &Lab, name: &str, content: &[u8]) -> bool {
    lab.write(name, content);
    let all = find(lab);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].is_complete()
}

/// Cuts a file at every length if it is small, else at 200 random ones and those given.
pub fn never_whole_when_cut(name: &str, whole: &[u8], also: &[usize]) {
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
