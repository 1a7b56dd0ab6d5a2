//! The lines of a log's end as a person sees them, separated by process.

use run_common::text::without_escapes;
use std::collections::HashMap;

/// The header of a Python traceback.
pub(super) const HEADER: &str = "Traceback (most recent call last)";

/// Returns the lines of a text in their final state on a terminal.
pub(super) fn shown(text: &str) -> Vec<String> {
    let last_drawn = |line: &str| {
        let line = line.trim_end_matches('\r');
        without_escapes(line.rsplit('\r').next().unwrap_or(line))
    };
    text.split('\n').map(last_drawn).collect()
}

/// A line of a channel, that is, of a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    /// Its line number in the log's end.
    pub(super) number: usize,
    /// Its text without the name of the channel.
    pub(super) text: &'a str,
}

/// The lines of a process, as far as the launcher's labels separate processes.
#[derive(Debug, Default)]
pub(super) struct Channel<'a> {
    /// The label before each line, such as `[rank1]:`; empty for lines without a label.
    pub(super) name: String,
    pub(super) lines: Vec<Line<'a>>,
}

impl Channel<'_> {
    /// Returns the rank of the process, if the label contains it.
    pub(super) fn rank(&self) -> Option<u32> {
        let digits = self.name.trim_end_matches([']', ':', ' ']);
        let start = digits.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |last| last + 1);
        digits[start..].parse().ok()
    }

    /// Returns the task of srun that the process belongs to, if srun has put its number before the lines.
    pub(super) fn task(&self) -> Option<u32> {
        let (digits, _) = self.name.split_once(':')?;
        digits.trim_start().parse().ok()
    }

    /// Returns whether the process has died of the error in its lines: PyTorch puts the rank only before the
    /// traceback that a process dies of.
    pub(super) fn is_of_dead(&self) -> bool {
        let name =
            self.task().and_then(|_| self.name.split_once(": ")).map_or(self.name.as_str(), |(_, name)| name);
        name.starts_with("[rank")
    }
}

/// Separates lines by the labels of launchers. Lines without a label come first.
pub(super) fn channels(lines: &[String]) -> Vec<Channel<'_>> {
    let labels = labels(lines);
    let mut channels = vec![Channel::default()];
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    for (number, line) in lines.iter().enumerate() {
        let label = labels.iter().map(String::as_str).filter(|label| line.starts_with(label.trim_end()));
        let label = label.max_by_key(|label| label.len()); // a launcher may start another
        let (name, text) = match label {
            Some(label) => (label.trim_end(), after_label(line, label)),
            None => label_of_rank(line)
                .map_or(("", line.as_str()), |length| (line[..length].trim_end(), &line[length..])),
        };
        let channel = match name {
            "" => 0,
            _ => *numbers.entry(name).or_insert_with(|| {
                channels.push(Channel { name: name.to_owned(), lines: Vec::new() });
                channels.len() - 1
            }),
        };
        channels[channel].lines.push(Line { number, text });
    }
    channels
}

/// Returns the text before the headers of tracebacks, and before the lines after them: the label of a
/// process, with its trailing blanks.
fn labels(lines: &[String]) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for (line, next) in lines.iter().zip(lines.iter().skip(1)) {
        let Some((label, "" | ":")) = line.split_once(HEADER) else { continue };
        let name = label.trim_end();
        let ends_label = name.ends_with([':', ']', ')', '>', '|']) && name.chars().any(char::is_alphanumeric);
        if ends_label && next.starts_with(name) && !labels.iter().any(|known| known == label) {
            labels.push(label.to_owned());
        }
    }
    labels
}

/// Removes the label of a line, and as many blanks after it as it has.
fn after_label<'a>(line: &'a str, label: &str) -> &'a str {
    let name = label.trim_end();
    let blanks = label.len() - name.len();
    let rest = &line[name.len()..];
    let dropped = rest.bytes().take(blanks).take_while(|&byte| byte == b' ').count();
    &rest[dropped..]
}

/// Returns the length of a rank's label: `[rank0]: ` with PyTorch, `[default0]:` with torchrun.
fn label_of_rank(line: &str) -> Option<usize> {
    let (role, _) = line.strip_prefix('[')?.split_once("]:")?;
    let word = role.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_label = word.len() < role.len() && matches!(word, "rank" | "default" | "trainer" | "worker");
    let length = role.len() + 3;
    let blanks = usize::from(word == "rank" && line[length..].starts_with(' '));
    // The log lines of NCCL begin like this, too, and are not tracebacks.
    (is_label && !line[length..].starts_with('[')).then_some(length + blanks)
}

/// Returns whether a line has any content.
pub(super) fn has_letter(line: &str) -> bool {
    line.chars().any(char::is_alphabetic)
}

/// Returns the indentation of a line.
pub(super) fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '\t']).len()
}

/// Beginnings of lines that are not an error, at the end of a program that died of one.
const ASIDE: [&str; 37] = [
    "wandb:",
    "note: run with `RUST_BACKTRACE",
    "note: Some details are omitted",
    "Node.js v",
    "Execution halted",
    "Calls: ",
    "Set the environment variable HYDRA_FULL_ERROR",
    "    full_key:",
    "    object_type=",
    "Pass --helpshort or --helpfull",
    "For full helptext,",
    "frame #",
    "srun: ",
    "slurmstepd: ",
    "slurmstepd-",
    "in expression starting at ",
    "Aborted!",
    "exit status ",
    "make: *** ",
    "npm ERR!",
    "npm error",
    "error: Recipe `",
    "error Command failed with exit code",
    "task: Failed to run task",
    "(Use `node --",
    "Primary job  terminated",
    "a non-zero exit code. Per user-direction",
    "mpirun ",
    "prterun ",
    "the job to be terminated. The first process",
    "  Process name: [",
    "  Exit code: ",
    "MPI_ABORT was invoked",
    "NOTE: invoking MPI_ABORT",
    "You may or may not see output",
    "exactly when Open MPI kills",
    "\t [[{{node ",
];

/// Parts of lines that are not an error.
const ASIDE_WORDS: [&str; 10] = [
    "resource_tracker: There appear to be",
    "semaphore_tracker: There appear to be",
    "len(cache))",
    "warnings.warn(",
    "closing signal SIGTERM",
    "torch.distributed.elastic",
    "torch/distributed/elastic",
    "sigkill_handler",
    "destroy_process_group() was not called",
    "conda.cli.main_run",
];

/// Returns whether a line is not the program's own: a launcher's last words, advice, a warning, a bar, or a
/// log line of a C++ library.
pub(super) fn is_aside(line: &str) -> bool {
    let is_glog = || {
        let line = after_time(line.strip_prefix('[').unwrap_or(line));
        let mut bytes = line.bytes();
        matches!(bytes.next(), Some(b'I' | b'W' | b'E'))
            && bytes.next().is_some_and(|byte| byte.is_ascii_digit() || byte == b' ')
            && line.contains(']')
    };
    ASIDE.iter().any(|start| line.starts_with(start))
        || ASIDE_WORDS.iter().any(|word| line.contains(word))
        || is_bar(line)
        || is_glog()
}

/// Removes the time that TensorFlow puts before its log lines, `2026-01-29 12:00:00.123456: `.
pub(super) fn after_time(line: &str) -> &str {
    let (time, rest) = line.split_once(": ").unwrap_or(("", line));
    let is_time = time.len() > 18 && time.chars().all(|c| c.is_ascii_digit() || "-:. ".contains(c));
    if is_time { rest } else { line }
}

/// Returns whether a line only reports the exit status of another program.
pub(super) fn is_of_status(line: &str) -> bool {
    let words = ["exited with ", "exit code ", "return code "];
    let is_last = |word: &str| {
        line.rsplit_once(word).is_some_and(|(_, rest)| {
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_lowercase() || "- :[".contains(c));
            !rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit() || ".])".contains(c))
        })
    };
    words.iter().any(|word| is_last(word))
}

/// Returns the line numbers of Python warnings: the place with the warning, and the code below it.
pub(super) fn warnings(lines: &[Line]) -> Vec<usize> {
    let warns = |line: &str| {
        let mut parts = line.splitn(4, ':');
        let (Some(_), Some(number), Some(kind)) = (parts.next(), parts.next(), parts.next()) else {
            return false;
        };
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number && kind.starts_with(' ') && kind.ends_with("Warning") && !kind.trim_start().contains(' ')
    };
    let mut found = Vec::new();
    for (place, line) in lines.iter().enumerate().filter(|(_, line)| warns(line.text)) {
        found.push(line.number);
        found.extend(lines.get(place + 1).filter(|next| indentation(next.text) > 0).map(|next| next.number));
    }
    found
}

/// Returns whether a line is a progress bar, as drawn by tqdm and pip.
fn is_bar(line: &str) -> bool {
    let has_rate = ["it/s", "s/it", "B/s", "?it"].iter().any(|unit| line.contains(unit));
    has_rate && (line.contains("%|") || line.contains('[') && line.contains('<')) || line.contains('━')
}

/// Returns the shape of a line, which is the same for lines of the same kind: without numbers, and without
/// characters that are not letters.
pub(super) fn shape(line: &str) -> String {
    line.chars().filter(|c| c.is_alphabetic()).collect()
}

/// Returns the text inside the frame of a box, as drawn by rich and tyro; `None` for a line without a frame.
pub(super) fn inside(line: &str) -> Option<&str> {
    let line = line.trim();
    let bars = ['│', '┃', '║'];
    line.strip_prefix(bars).map(|inner| inner.strip_suffix(bars).unwrap_or(inner))
}

/// Returns whether a line begins a box.
pub(super) fn opens_box(line: &str) -> bool {
    line.trim_start().starts_with(['╭', '┌', '┏', '╔'])
}

/// Returns whether a line ends a box.
pub(super) fn closes_box(line: &str) -> bool {
    line.trim_start().starts_with(['╰', '└', '┗', '╚'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_told_apart_by_what_stands_before_their_lines() {
        let text = "plain\n[rank1]: a\n[default0]:  b\n[rank0]:[W1127 x.cpp:1] c\nn-1: Traceback (most recent call last):\n\
                    n-1:   File\n[rank1]:\nn-2: d";
        let lines = shown(text);
        let found: Vec<(String, Vec<&str>)> = channels(&lines)
            .iter()
            .map(|channel| (channel.name.clone(), channel.lines.iter().map(|line| line.text).collect()))
            .collect();
        let expected = [
            ("", vec!["plain", "[rank0]:[W1127 x.cpp:1] c", "n-2: d"]),
            ("[rank1]:", vec!["a", ""]),
            ("[default0]:", vec!["  b"]),
            ("n-1:", vec!["Traceback (most recent call last):", "  File"]),
        ];
        assert_eq!(found, expected.map(|(name, lines)| (name.to_owned(), lines)));
        assert_eq!(
            channels(&lines).iter().map(Channel::rank).collect::<Vec<_>>(),
            [None, Some(1), Some(0), Some(1)]
        );
    }

    #[test]
    fn what_is_no_word_of_the_program_is_known() {
        for aside in [
            "wandb: Synced 5 files",
            " 20%|██        | 20/100 [00:01<00:04, 19.9it/s]",
            "W0101 10:00:00.100000 140 torch/run.py:1] Sending process 12 closing signal SIGTERM",
            "[E1127 10:00:00 ProcessGroupNCCL.cpp:1] watchdog",
            "srun: error: gpu3: task 0: Exited with exit code 1",
        ] {
            assert!(is_aside(aside), "{aside}");
        }
        for own in ["Error: no such shard", "Epoch 3: loss [0.1]", "[Epoch 3] loss 0.1", "Invalid value [x]"]
        {
            assert!(!is_aside(own), "{own}");
        }
        assert_eq!(inside("│ No such option: --foo   │"), Some(" No such option: --foo   "));
    }
}
