//! The requirements of directory formats, and the marker files they write last.

use crate::contents::{Contents, Item, quoted};
use crate::document;
use crate::hugging_face;
use crate::integrity::Proof;
use crate::name::{deepspeed_step, ends_in};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Files of a training state, in the order of writing.
const TRAINING_STATE: [&str; 4] = ["model", "optimizer.pt", "scheduler.pt", "training_info.json"];

/// Checks the requirements of a directory's format.
pub(crate) fn directory(path: &Path, contents: &Contents) -> Result<Proof, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut proof = Proof::None;
    let digits = |prefix: &str| {
        name.strip_prefix(prefix).filter(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    for record in ["trainer_state.json", "training_info.json"] {
        if let Some(item) = contents.item(record) {
            document::record(&item.path).map_err(|why| format!("'{record}' {why}"))?;
        }
    }
    if contents.item("_CHECKPOINT_METADATA").is_some() {
        orbax(parent, contents)?;
        proof = Proof::Shown;
    } else if digits("checkpoint-").is_some() {
        proof = hugging_face::check(path, contents)?;
    } else if name.starts_with("step_") && parent.file_name().is_some_and(|parent| parent == "training_state")
    {
        for required in TRAINING_STATE {
            if !contents.holds(required) {
                return Err(format!("'{required}' is missing or empty"));
            }
        }
        proof = Proof::Shown;
    }
    if distributed(contents)? {
        proof = Proof::Shown;
    }
    if trackers(&name, parent)? {
        proof = Proof::Shown;
    }
    Ok(proof)
}

/// Orbax renames a checkpoint to its final name last; in a store without renames it writes a marker file
/// last.
fn orbax(parent: &Path, contents: &Contents) -> Result<(), String> {
    const MARK: &str = "commit_success.txt";
    if contents.item(MARK).is_some() {
        return Ok(());
    }
    let siblings = fs::read_dir(parent).into_iter().flatten().flatten();
    if siblings.into_iter().any(|sibling| sibling.path().join(MARK).is_file()) {
        return Err(format!("'{MARK}' is missing"));
    }
    Ok(())
}

/// torch's distributed checkpoints: `.metadata` is written after all ranks have written. Returns whether the
/// directory itself is such a checkpoint.
fn distributed(contents: &Contents) -> Result<bool, String> {
    let mut is_one = false;
    let above: BTreeSet<&str> = contents
        .items
        .iter()
        .filter(|item| item.name.ends_with(".distcp"))
        .map(|item| item.name.rsplit_once('/').map_or("", |(above, _)| above))
        .collect();
    for above in above {
        let metadata = if above.is_empty() { ".metadata".to_owned() } else { format!("{above}/.metadata") };
        match contents.item(&metadata) {
            None => return Err(format!("{} is missing", quoted(&metadata))),
            Some(item) if item.len == 0 => return Err(format!("{} is empty", quoted(&metadata))),
            Some(_) => is_one |= above.is_empty(),
        }
    }
    Ok(is_one)
}

/// The trackers of Megatron and verl.
const MEGATRON: &str = "latest_checkpointed_iteration.txt";

/// A tracker beside a checkpoint is written after it: the checkpoint counts if the tracker names it or a
/// later one. Returns whether there is a tracker.
fn trackers(name: &str, parent: &Path) -> Result<bool, String> {
    let number = |text: &str| text.trim_start_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().ok();
    if let Some(step) = deepspeed_step(name) {
        // `latest` may also be a link to the directory.
        let path = parent.join("latest");
        let named = match fs::read_link(&path) {
            Ok(target) => target.file_name().map(|name| name.to_string_lossy().into_owned()),
            Err(_) => document::word(&path),
        };
        let reached = named.as_deref().and_then(deepspeed_step).is_some_and(|latest| latest >= step);
        return if reached { Ok(true) } else { Err("'latest' names neither it nor a later one".to_owned()) };
    }
    let path = parent.join(MEGATRON);
    let is_megatron =
        name.strip_prefix("iter_").is_some_and(|rest| rest.len() >= 7 && number(rest).is_some());
    let is_tracked = is_megatron || name.starts_with("global_step_") && path.exists();
    let Some(step) = number(name).filter(|_| is_tracked) else { return Ok(false) };
    match document::word(&path).and_then(|word| word.parse::<u64>().ok()) {
        Some(latest) if latest >= step => Ok(true),
        _ => Err(format!("'{MEGATRON}' names neither it nor a later one")),
    }
}

/// Checks that the shards of an index exist, and that shards have an index. Returns whether the directory
/// itself has an index.
pub(crate) fn indexes(contents: &Contents) -> Result<bool, String> {
    const END: &str = ".index.json";
    let mut is_one = false;
    for index in contents.items.iter().filter(|item| item.name.ends_with(END)) {
        let shards = match document::shards(&index.path) {
            Ok(shards) => shards,
            Err(why) => return Err(format!("{} {why}", quoted(&index.name))),
        };
        let above = index.name.rsplit_once('/').map_or(String::new(), |(above, _)| format!("{above}/"));
        for shard in &shards {
            match contents.item(&format!("{above}{shard}")) {
                None => return Err(format!("{} is missing", quoted(shard))),
                Some(item) if item.len == 0 => return Err(format!("{} is empty", quoted(shard))),
                Some(_) => {}
            }
        }
        is_one |= above.is_empty() && !shards.is_empty();
    }
    let any = contents.items.iter().any(|item| item.name.ends_with(END));
    let is_shard = |item: &&Item| {
        let stem = item.name.strip_suffix(".safetensors").or_else(|| item.name.strip_suffix(".bin"));
        // Other trainers' names contain the ranks, as in `tp-rank-0-of-1`, and need no index.
        let of = stem.and_then(|stem| stem.rsplit_once("-of-")).map(|(_, of)| of);
        of.is_some_and(|of| of.len() >= 5 && of.parse::<u64>().is_ok())
    };
    match contents.items.iter().find(is_shard) {
        Some(shard) if !any => Err(format!("{} has no index of shards", quoted(&shard.name))),
        _ => Ok(is_one),
    }
}

/// torchtitan's name for a checkpoint: its index is written after all shards.
pub(crate) fn is_step_dash(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"step-"))
}

/// A TensorFlow checkpoint: an index, and as many shards as the name of each says.
pub(crate) fn tensorflow(contents: &Contents) -> Result<Proof, String> {
    let shard = |item: &Item| {
        let (at, of) = item.name.rsplit_once(".data-")?.1.split_once("-of-")?;
        Some((at.parse::<u64>().ok()?, of.parse::<u64>().ok()?))
    };
    if let Some(empty) = contents.items.iter().find(|item| item.len == 0) {
        return Err(format!("{} is empty", quoted(&empty.name)));
    }
    if !contents.items.iter().any(|item| ends_in(&item.name, &[".index"])) {
        return Err("its '.index' is missing".to_owned());
    }
    let shards: BTreeSet<(u64, u64)> = contents.items.iter().filter_map(shard).collect();
    let Some(&(_, of)) = shards.first() else { return Err("its '.data' files are missing".to_owned()) };
    let there = shards.iter().filter(|shard| shard.1 == of && shard.0 < of).count() as u64;
    if there == of { Ok(Proof::Shown) } else { Err(format!("{there} of {of} '.data' files are there")) }
}
