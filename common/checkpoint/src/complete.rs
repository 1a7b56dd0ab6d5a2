//! Whether a checkpoint is complete.

use super::name::{covers, deepspeed_step, ends_in, is_temporary};
use super::whole::{self, Proof, concerns, holds_state};
use super::{Program, QUIET, Size, State};
use run_common::error::plain;
use run_common::text::printable;
use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use walkdir::WalkDir;

/// Something that may be a checkpoint, to be looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    /// Where it is.
    pub(super) path: &'a Path,
    /// It is known that a regular file is at `path`.
    pub(super) is_file: bool,
    /// The files that it consists of, when it is not what is at `path`.
    pub(super) shards: Option<&'a [PathBuf]>,
    /// Its name is a temporary one.
    pub(super) temporary: bool,
    /// Files that were recorded as required.
    pub(super) requires: &'a [String],
    /// Whether these stand in place of those that its format is known for.
    pub(super) requires_alone: bool,
    /// Whether something may still write to it.
    pub(super) program: Program,
}

/// Files of training states, in the order in which they are written.
const TRAINING_STATE: [&str; 4] = ["model", "optimizer.pt", "scheduler.pt", "training_info.json"];

/// A file in a checkpoint.
#[derive(Debug)]
struct Item {
    /// Its path below the checkpoint, as text.
    name: String,
    path: PathBuf,
    len: u64,
}

/// The contents of a checkpoint.
#[derive(Debug, Default)]
struct Contents {
    size: Size,
    items: Vec<Item>,
    directories: Vec<String>,
    /// A link that leads nowhere.
    broken: Option<String>,
}

impl Contents {
    fn add(&mut self, name: String, path: &Path, meta: &Metadata) {
        self.size.bytes = self.size.bytes.saturating_add(meta.len());
        self.size.files += 1;
        let modified = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
        self.size.modified_ns =
            if self.size.files == 1 { modified } else { self.size.modified_ns.max(modified) };
        self.items.push(Item { name, path: path.to_owned(), len: meta.len() });
    }

    /// Returns a file that is open.
    fn of(file: &whole::Bytes) -> Self {
        let mut found = Self::default();
        found.add(String::new(), Path::new(""), file.meta());
        found
    }

    /// Reads what is there; links to files count as the files, links to directories as such.
    fn read(subject: &Subject) -> Result<Self, (io::ErrorKind, String)> {
        let failed = |path: &Path, error: &io::Error| {
            let name = path.strip_prefix(subject.path).unwrap_or(path);
            let why = plain(error);
            let why = if name.as_os_str().is_empty() {
                format!("cannot be read: {why}")
            } else {
                format!("{} cannot be read: {why}", quoted(&name.to_string_lossy()))
            };
            (error.kind(), why)
        };
        let mut found = Self::default();
        if let Some(shards) = subject.shards {
            for path in shards {
                let meta = fs::metadata(path).map_err(|error| failed(path, &error))?;
                found.add(path.file_name().unwrap_or_default().to_string_lossy().into_owned(), path, &meta);
            }
            return Ok(found);
        }
        let meta = fs::metadata(subject.path).map_err(|error| failed(subject.path, &error))?;
        if !meta.is_dir() {
            found.add(String::new(), subject.path, &meta);
            return Ok(found);
        }
        let modified = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
        for entry in WalkDir::new(subject.path).min_depth(1).sort_by_file_name() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let path = error.path().unwrap_or(subject.path).to_owned();
                    let error = error.into_io_error().unwrap_or_else(|| io::ErrorKind::Other.into());
                    return Err(failed(&path, &error));
                }
            };
            let path = entry.path();
            let name = path.strip_prefix(subject.path).unwrap_or(path).to_string_lossy().into_owned();
            if entry.file_type().is_dir() {
                found.directories.push(name);
                continue;
            }
            match fs::metadata(path) {
                Ok(meta) if meta.is_dir() => found.directories.push(name),
                Ok(meta) => found.add(name, path, &meta),
                Err(_) if entry.path_is_symlink() => {
                    found.broken.get_or_insert(name);
                }
                Err(error) => return Err(failed(path, &error)),
            }
        }
        if found.items.is_empty() {
            found.size.modified_ns = modified;
        }
        Ok(found)
    }

    /// Says whether there is a file, not empty, that a glob covers, or below a directory that it does.
    fn holds(&self, glob: &str) -> bool {
        self.items.iter().any(|item| item.len > 0 && covers(glob, &item.name))
    }

    fn item(&self, name: &str) -> Option<&Item> {
        self.items.iter().find(|item| item.name == name)
    }

    /// Says whether there is something that a training could go on from.
    fn holds_state(&self) -> bool {
        self.items.iter().any(|item| holds_state(&item.name.to_ascii_lowercase()))
            || self.item("_CHECKPOINT_METADATA").is_some()
    }

    /// Says whether there is nothing but pictures and such: samples of a step, not its checkpoint.
    fn is_media(&self) -> bool {
        const MEDIA: [&str; 15] = [
            ".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg", ".mp4", ".webm", ".avi", ".wav", ".mp3",
            ".flac", ".html", ".pdf", ".csv",
        ];
        let is_media = |item: &Item| ends_in(&item.name.to_ascii_lowercase(), &MEDIA);
        !self.items.is_empty() && self.items.iter().all(is_media)
    }
}

/// Which directories are no checkpoints after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// Anything, for a pattern was recorded.
    Nothing,
    /// Not only pictures: the name carries a step.
    Step,
    /// Files that can hold state: the name is `best` or the like.
    Label,
}

/// Looks at a checkpoint; `None` when it is gone, or none after all.
pub(super) fn judge(subject: &Subject, demand: Demand) -> Option<(Size, State)> {
    // A file is asked through itself: each question by its name costs as much as opening it.
    let open = if subject.is_file { whole::Bytes::open(subject.path).ok() } else { None };
    let contents = match open.as_ref().map_or_else(|| Contents::read(subject), |file| Ok(Contents::of(file)))
    {
        Ok(contents) => contents,
        Err((io::ErrorKind::NotFound, _)) if fs::symlink_metadata(subject.path).is_err() => return None,
        Err((_, why)) => return Some((Size::default(), State::Incomplete(why))),
    };
    let is_file = subject.shards.is_some() || contents.items.iter().any(|item| item.name.is_empty());
    let is_none = match demand {
        _ if is_file => false,
        Demand::Nothing => false,
        Demand::Step => contents.is_media(),
        Demand::Label => !contents.holds_state(),
    };
    if is_none {
        return None;
    }
    let proof = if subject.temporary {
        Err("has a temporary name".to_owned())
    } else if subject.shards.is_some() {
        tensorflow(&contents)
    } else if is_file {
        open.map_or_else(|| whole::look(subject.path), |file| file.look(subject.path))
    } else {
        directory(subject, &contents)
    };
    let proof = proof.and_then(|proof| match subject.program {
        Program::Ended => Ok(proof),
        Program::Lives => settled(subject, &contents, proof),
    });
    if proof.is_err() && subject.shards.is_none() && fs::symlink_metadata(subject.path).is_err() {
        return None; // rotated away meanwhile
    }
    Some((contents.size, proof.map_or_else(State::Incomplete, |_| State::Complete)))
}

/// Refuses what changes before our eyes, and what proves nothing and was changed just now.
fn settled(subject: &Subject, contents: &Contents, proof: Proof) -> Result<Proof, String> {
    let again = Contents::read(subject).map_err(|(_, why)| why)?;
    if again.size != contents.size {
        return Err("is being written".to_owned());
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = i128::try_from(now.as_nanos()).unwrap_or(i128::MAX);
    // A time in the future says nothing, or else it would do so for ever.
    let quiet = i128::try_from(QUIET.as_nanos()).unwrap_or(0);
    if proof == Proof::None && (now - contents.size.modified_ns).abs() < quiet {
        return Err(format!("may still be written: it was changed within {} seconds", QUIET.as_secs()));
    }
    Ok(proof)
}

/// A TensorFlow checkpoint: an index, and as many shards as the name of each says.
fn tensorflow(contents: &Contents) -> Result<Proof, String> {
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

/// A directory: what its format demands, what was recorded, and each file that tells of itself.
fn directory(subject: &Subject, contents: &Contents) -> Result<Proof, String> {
    if contents.size.bytes == 0 {
        return Err("is empty".to_owned());
    }
    let names = contents.directories.iter().chain(contents.items.iter().map(|item| &item.name));
    for name in names {
        if is_temporary(name.rsplit('/').next().unwrap_or(name)) {
            return Err(format!("{} has a temporary name", quoted(name)));
        }
    }
    if let Some(link) = &contents.broken {
        return Err(format!("{} is a link that leads nowhere", quoted(link)));
    }
    let required = requirements(subject, contents)?;
    let format = if subject.requires_alone { Proof::None } else { format(subject, contents)? };
    let indexed = indexes(contents)?;
    let mut shown = BTreeSet::new();
    for item in &contents.items {
        let lower = item.name.to_ascii_lowercase();
        if item.len == 0 && holds_state(&lower) && !lower.ends_with(".distcp") {
            return Err(format!("{} is empty", quoted(&item.name)));
        }
        if concerns(&lower) {
            match whole::look(&item.path) {
                Ok(Proof::Shown) => _ = shown.insert(item.name.as_str()),
                Ok(Proof::None) => {}
                Err(why) => return Err(format!("{} {why}", quoted(&item.name))),
            }
        }
    }
    // Named files prove as much as each proves of itself.
    let all_shown = !required.is_empty()
        && required.iter().all(|item| {
            shown.contains(item.name.as_str())
                || ends_in(&item.name, &[".json"]) && whole::record(&item.path).is_ok()
        });
    let is_shown = format == Proof::Shown || all_shown || indexed && is_step_dash(subject.path);
    Ok(if is_shown { Proof::Shown } else { Proof::None })
}

/// Finds the files that were recorded as required.
fn requirements<'a>(subject: &Subject, contents: &'a Contents) -> Result<Vec<&'a Item>, String> {
    let mut found = Vec::new();
    for glob in subject.requires.iter().filter(|glob| !glob.is_empty()) {
        if !contents.holds(glob) {
            let there = contents.items.iter().any(|item| covers(glob, &item.name));
            return Err(format!("{} is {}", quoted(glob), if there { "empty" } else { "missing" }));
        }
        found.extend(contents.items.iter().filter(|item| covers(glob, &item.name)));
    }
    Ok(found)
}

/// Demands what the format of a directory is known for.
fn format(subject: &Subject, contents: &Contents) -> Result<Proof, String> {
    let name = subject.path.file_name().unwrap_or_default().to_string_lossy();
    let parent = subject.path.parent().unwrap_or(Path::new("."));
    let mut proof = Proof::None;
    let digits = |prefix: &str| {
        name.strip_prefix(prefix).filter(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    for record in ["trainer_state.json", "training_info.json"] {
        if let Some(item) = contents.item(record) {
            whole::record(&item.path).map_err(|why| format!("'{record}' {why}"))?;
        }
    }
    if contents.item("_CHECKPOINT_METADATA").is_some() {
        orbax(parent, contents)?;
        proof = Proof::Shown;
    } else if digits("checkpoint-").is_some() {
        let is_trainers = contents.item("trainer_state.json").is_some();
        if !is_trainers && !contents.items.iter().any(is_of_accelerate) {
            return Err("'trainer_state.json' is missing".to_owned());
        }
        if !contents.items.iter().any(is_weights) {
            return Err("holds no weights".to_owned());
        }
        if is_trainers {
            proof = Proof::Shown;
        }
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

/// Weights by the names that Hugging Face's trainer, and what it drives, gives them.
fn is_weights(item: &Item) -> bool {
    let name = item.name.to_ascii_lowercase();
    let (above, file) = name.rsplit_once('/').unwrap_or(("", &name));
    let known = ["model", "pytorch_model", "adapter_model", "tf_model", "flax_model", "consolidated"];
    item.len > 0
        && (file.ends_with(".safetensors")
            || file.ends_with("model_states.pt")
            || file.ends_with(".distcp") && !above.contains("optim")
            || holds_state(file) && known.iter().any(|known| file.starts_with(known)))
}

/// Says whether a file is what Accelerate writes at last, each process one: `save_accelerator_state` of its
/// `checkpointing.py`. Scripts such as those of Diffusers name its states as Hugging Face's trainer does.
fn is_of_accelerate(item: &Item) -> bool {
    let rank = item.name.strip_prefix("random_states_").and_then(|rest| rest.strip_suffix(".pkl"));
    rank.is_some()
}

/// Orbax gives a checkpoint its name last; in a store that cannot rename it writes a file last.
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

/// torch's distributed checkpoints: `.metadata` is written when all ranks have written. Says
/// whether the directory itself is such a one.
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

/// Megatron's tracker, and verl's.
const MEGATRON: &str = "latest_checkpointed_iteration.txt";

/// A tracker beside a checkpoint is written after it: the checkpoint counts when the tracker names
/// it or a later one. Says whether one was asked.
fn trackers(name: &str, parent: &Path) -> Result<bool, String> {
    let number = |text: &str| text.trim_start_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().ok();
    if let Some(step) = deepspeed_step(name) {
        // A link to the directory does as well as a text.
        let path = parent.join("latest");
        let named = match fs::read_link(&path) {
            Ok(target) => target.file_name().map(|name| name.to_string_lossy().into_owned()),
            Err(_) => whole::word(&path),
        };
        let reached = named.as_deref().and_then(deepspeed_step).is_some_and(|latest| latest >= step);
        return if reached { Ok(true) } else { Err("'latest' names neither it nor a later one".to_owned()) };
    }
    let path = parent.join(MEGATRON);
    let is_megatron =
        name.strip_prefix("iter_").is_some_and(|rest| rest.len() >= 7 && number(rest).is_some());
    let is_tracked = is_megatron || name.starts_with("global_step_") && path.exists();
    let Some(step) = number(name).filter(|_| is_tracked) else { return Ok(false) };
    match whole::word(&path).and_then(|word| word.parse::<u64>().ok()) {
        Some(latest) if latest >= step => Ok(true),
        _ => Err(format!("'{MEGATRON}' names neither it nor a later one")),
    }
}

/// Demands the shards that indexes name, and an index where there are shards. Says whether the
/// directory itself has an index.
fn indexes(contents: &Contents) -> Result<bool, String> {
    const END: &str = ".index.json";
    let mut is_one = false;
    for index in contents.items.iter().filter(|item| item.name.ends_with(END)) {
        let shards = match whole::shards(&index.path) {
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
        stem.and_then(|stem| stem.rsplit_once("-of-")).is_some_and(|(_, of)| of.parse::<u64>().is_ok())
    };
    match contents.items.iter().find(is_shard) {
        Some(shard) if !any => Err(format!("{} has no index of shards", quoted(&shard.name))),
        _ => Ok(is_one),
    }
}

/// torchtitan's name for a checkpoint: its index is written when all shards have been.
fn is_step_dash(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"step-"))
}

/// Puts a name into quotes, safe for a line of text.
fn quoted(name: &str) -> String {
    format!("'{}'", printable(name))
}
