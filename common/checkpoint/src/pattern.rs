//! Recorded patterns of a run: for the paths of its checkpoints, and for the files that each checkpoint needs.
//! - `{step}` matches the step, one or more decimal digits;
//! - `*` matches any number of characters except `/`, and `?` matches one;
//! - `**` as a whole component matches any number of components.
//!
//! All other characters match themselves. A leading `./` and a trailing `/` are ignored.

use crate::checkpoint::Label;
use crate::name::{Name, epoch_in, is_temporary, labels_in, step_in, without_mark};
use regex::{Captures, Regex};
use run_common::error::{Error, Exit};

/// Maximum length of a pattern, in bytes.
const LONGEST: usize = 4096;

/// Patterns with more wildcards are refused, because the time of a match grows with each.
const MOST_WILDCARDS: usize = 64;

const STEP: &str = "{step}";

/// The pattern of the paths of checkpoints below a run. Names that begin with `.` never match.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    compiled: Compiled,
    depth: Option<usize>,
    holder: Option<String>,
    /// Whether it can match more than one path.
    is_wild: bool,
}

impl Pattern {
    /// Reads a pattern; a pattern that leads out of the run is an error.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        Self::new(text)
            .map_err(|why| Error::new(Exit::BadRun, format!("the checkpoint pattern '{text}' {why}")))
    }

    /// Reads a pattern; the error says why it can match nothing.
    fn new(text: &str) -> Result<Self, &'static str> {
        let components = components(text);
        if components.is_empty() || text.starts_with('/') || components.contains(&"..") {
            return Err("matches nothing below the run");
        }
        if components.iter().any(|part| part.starts_with('.')) {
            return Err("names a hidden file or directory, which is never searched for checkpoints");
        }
        let compiled = Compiled::new(&components, r"\z")?;
        Ok(Self {
            compiled,
            depth: (!components.contains(&"**")).then_some(components.len()),
            holder: Some(components[0])
                .filter(|first| components.len() > 1 && !is_pattern(first))
                .map(str::to_owned),
            is_wild: is_pattern(text),
        })
    }

    /// Returns the maximum depth of a match below the run; `None` for any depth.
    pub(crate) fn depth(&self) -> Option<usize> {
        self.depth
    }

    /// Returns the top-level directory of all matches, if the pattern begins with one without a wildcard.
    pub(crate) fn holder(&self) -> Option<&str> {
        self.holder.as_deref()
    }

    /// Matches a path of components; `None` if it does not match. Without `{step}` the step is read from the
    /// text of each `*`, the last one first; a path without any number there has no step. The last component
    /// is also matched without a temporary suffix, so that a checkpoint that is being written is listed as
    /// such.
    pub(crate) fn read(&self, path: &[String]) -> Option<Name> {
        let (last, above) = path.split_last()?;
        let unmarked = Some(without_mark(last)).filter(|(_, was_marked)| *was_marked).map(|(base, _)| base);
        let names = [Some(last.as_str()), unmarked.as_deref()];
        let step = names.into_iter().flatten().find_map(|name| {
            let path = joined(above, name);
            let wildcards = self.compiled.regex.captures(&path)?;
            Some(self.compiled.step(&wildcards))
        })?;
        let mut labels = labels_in(last);
        if !self.is_wild {
            labels.push(Label::Last); // a fixed path: the program overwrites it in place
        }
        Some(Name { step, epoch: epoch_in(last), labels, temporary: is_temporary(last), ..Name::default() })
    }
}

/// Checks the pattern of a command line: all tools accept the same patterns.
pub fn checkpoint_pattern(text: &str) -> Result<String, String> {
    if let Some(slip) = slip(text) {
        return Err(format!(
            "'{slip}' has no meaning in a pattern; use {STEP} for the step and * for any characters"
        ));
    }
    match Pattern::new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(why) => Err(format!("it {why}")),
    }
}

/// Returns a mistaken notation for a number in a pattern, such as `{step:06d}`, `{epoch}`, `%d` or `[0-9]`.
fn slip(text: &str) -> Option<&str> {
    let rest = |at: usize, end: char| text[at..].find(end).map(|length| &text[at..=at + length]);
    let braced = text.match_indices('{').filter_map(|(at, _)| rest(at, '}')).find(|braced| *braced != STEP);
    let printf = || text.match_indices('%').find_map(|(at, _)| printf(&text[at..]));
    let class = || text.match_indices("[0-9").find_map(|(at, _)| rest(at, ']'));
    braced.or_else(printf).or_else(class)
}

/// Returns the `%d` or `%06d` at the beginning of a text.
fn printf(text: &str) -> Option<&str> {
    let kind = text[1..].trim_start_matches(|c: char| c.is_ascii_digit());
    let is_apart = !kind[kind.len().min(1)..].starts_with(|c: char| c.is_ascii_alphabetic());
    (kind.starts_with('d') && is_apart).then(|| &text[..=text.len() - kind.len()])
}

/// Returns whether a text is a pattern rather than a path.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?']) || text.contains(STEP)
}

/// A required file of a checkpoint, or several: a path below the checkpoint, or the path of a directory above
/// the files.
#[derive(Clone, Debug)]
pub(crate) struct Required {
    text: String,
    /// `None` if it can match nothing.
    compiled: Option<Compiled>,
}

impl Required {
    /// Reads the recorded requirements; leaves out empty ones.
    pub(crate) fn all(recorded: &[String]) -> Vec<Self> {
        let said = recorded.iter().filter(|text| !text.is_empty());
        said.map(|text| Self { text: text.clone(), compiled: Self::compile(text) }).collect()
    }

    fn compile(text: &str) -> Option<Compiled> {
        let components = components(text);
        if components.is_empty() { None } else { Compiled::new(&components, r"(?:/|\z)").ok() }
    }

    /// Returns the recorded text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns whether a path below a checkpoint, or one of its parent directories, matches.
    pub(crate) fn covers(&self, path: &str) -> bool {
        self.compiled.as_ref().is_some_and(|compiled| compiled.regex.is_match(&format!("/{path}")))
    }
}

/// Splits a pattern.
fn components(text: &str) -> Vec<&str> {
    text.split('/').filter(|part| !matches!(*part, "" | ".")).collect()
}

/// A compiled pattern, for paths in which each component has a `/` before it.
#[derive(Clone, Debug)]
struct Compiled {
    regex: Regex,
    /// The group of `{step}`, if there is one: of several, the first in the last component that has any.
    step: Option<usize>,
}

impl Compiled {
    /// Compiles components, after which the path must match `end`; the error says why that is impossible.
    fn new(components: &[&str], end: &str) -> Result<Self, &'static str> {
        const TOO_LONG: &str = "is too long";
        if components.iter().map(|part| part.len()).sum::<usize>() > LONGEST {
            return Err(TOO_LONG);
        }
        let mut text = r"\A".to_owned();
        let (mut groups, mut step) = (0, None);
        for part in components {
            if *part == "**" {
                text.push_str("(?:/[^/]+)*");
                continue;
            }
            text.push('/');
            let (mut rest, mut has_step) = (*part, false);
            while let Some(first) = rest.chars().next() {
                if let Some(after) = rest.strip_prefix(STEP) {
                    text.push_str("([0-9]+)");
                    groups += 1;
                    if !has_step {
                        (step, has_step) = (Some(groups), true);
                    }
                    rest = after;
                    continue;
                }
                match first {
                    '*' => {
                        text.push_str("([^/]*?)");
                        groups += 1;
                        rest = rest.trim_start_matches('*'); // several in a row are the same as one
                        continue;
                    }
                    '?' => text.push_str("[^/]"),
                    _ => text.push_str(&regex::escape(&rest[..first.len_utf8()])),
                }
                rest = &rest[first.len_utf8()..];
            }
        }
        if groups > MOST_WILDCARDS {
            return Err("has too many wildcards");
        }
        text.push_str(end);
        Ok(Self { regex: Regex::new(&text).map_err(|_| TOO_LONG)?, step })
    }

    /// Returns the step of a path from the text of its wildcards.
    fn step(&self, wildcards: &Captures) -> Option<u64> {
        let text = |group: usize| wildcards.get(group).map(|found| found.as_str());
        match self.step {
            Some(group) => text(group)?.parse().ok(),
            None => (1..wildcards.len()).rev().filter_map(text).find_map(step_in),
        }
    }
}

/// Formats a path for matching.
fn joined(above: &[String], last: &str) -> String {
    let mut path = String::new();
    for part in above.iter().map(String::as_str).chain([last]) {
        path.push('/');
        path.push_str(part);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::slice;

    /// The matches of the wildcards of a component, in order: whether each is `{step}`, and its text.
    type Stands = Vec<(bool, String)>;

    /// Matches a component by trying everything: the longest digits, the shortest texts.
    fn naive_name(pattern: &str, name: &str) -> Option<Stands> {
        let with = |is_step: bool, rest: &str, at: usize| {
            let mut stands = naive_name(rest, &name[at..])?;
            stands.insert(0, (is_step, name[..at].to_owned()));
            Some(stands)
        };
        let first = pattern.chars().next();
        let ends = || name.char_indices().map(|(at, _)| at).chain([name.len()]);
        if let Some(rest) = pattern.strip_prefix("{step}") {
            let digits = name.len() - name.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            return (1..=digits).rev().find_map(|at| with(true, rest, at));
        }
        match (first, name.chars().next()) {
            (None, None) => Some(Vec::new()),
            (Some('*'), _) => ends().find_map(|at| with(false, &pattern[1..], at)),
            (Some('?'), Some(c)) => naive_name(&pattern[1..], &name[c.len_utf8()..]),
            (Some(p), Some(c)) if p == c => naive_name(&pattern[p.len_utf8()..], &name[c.len_utf8()..]),
            _ => None,
        }
    }

    /// Matches a path by trying everything: the first `**` takes as much as it can.
    fn naive(pattern: &[&str], path: &[String]) -> Option<Vec<Stands>> {
        match pattern.split_first() {
            None => path.is_empty().then(Vec::new),
            Some((&"**", rest)) => (0..=path.len()).rev().find_map(|at| naive(rest, &path[at..])),
            Some((part, rest)) => {
                let (name, below) = path.split_first()?;
                let mut all = naive(rest, below)?;
                all.insert(0, naive_name(part, name)?);
                Some(all)
            }
        }
    }

    /// Formats a step.
    fn told(step: Option<u64>) -> String {
        step.map_or("no step".to_owned(), |step| step.to_string())
    }

    /// Reads the step of a path by trying everything.
    fn naive_step(pattern: &str, path: &[String]) -> Option<String> {
        let all = naive(&components(pattern), path)?;
        let first_step =
            |part: &Stands| part.iter().find(|(is_step, _)| *is_step).map(|(_, digits)| digits.clone());
        Some(told(match all.iter().rev().find_map(first_step) {
            Some(digits) => digits.parse().ok(),
            None => all.iter().flatten().rev().find_map(|(_, text)| step_in(text)),
        }))
    }

    /// Replaces the wildcards of a pattern by texts, so that many paths match.
    fn filled(pattern: &str, texts: &[String]) -> Vec<String> {
        let mut texts = texts.iter().cycle();
        let mut path = Vec::new();
        for part in components(pattern) {
            let mut text = || texts.next().cloned().unwrap_or_default();
            if part == "**" {
                path.extend([text(), text()].into_iter().filter(|name| name.len() > 1));
                continue;
            }
            let mut name = String::new();
            let mut rest = part;
            while let Some(first) = rest.chars().next() {
                let length = if rest.starts_with(STEP) { STEP.len() } else { first.len_utf8() };
                name += &match first {
                    '{' => text().bytes().map(|byte| char::from(b'0' + byte % 10)).chain(['7']).collect(),
                    '*' => text(),
                    '?' => "x".to_owned(),
                    _ => rest[..length].to_owned(),
                };
                rest = &rest[length..];
            }
            path.push(name);
        }
        path.retain(|name| !name.is_empty());
        path
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_regex_agrees_with_a_matcher_that_tries_everything(
            pattern in "(\\{step\\}|\\*\\*/|/\\*\\*/|\\*|\\?|/|a|1|_|step|\\.|\\[|\\+|\\\\|é|\n){1,8}",
            texts in prop::collection::vec("(a|1|25|_|step|epoch|\\.|-|\\[|é|\n){0,4}", 1..6),
            others in prop::collection::vec("(a|1|2|_|step|\\.|\\[|\\+|\\\\|é|\n){1,4}", 1..4),
        ) {
            let parsed = Pattern::parse(&pattern);
            let is_hidden = |part: &&str| part.starts_with('.');
            let is_refused = components(&pattern).is_empty() || pattern.starts_with('/') || components(&pattern).iter().any(is_hidden);
            prop_assert_eq!(parsed.is_err(), is_refused);
            let required = Required::all(slice::from_ref(&pattern));
            for path in [filled(&pattern, &texts), others] {
                if path.is_empty() {
                    continue;
                }
                if let Ok(parsed) = &parsed {
                    prop_assert_eq!(parsed.read(&path).map(|name| told(name.step)), naive_step(&pattern, &path), "{:?}", path);
                }
                let components = components(&pattern);
                let is_covered = !components.is_empty()
                    && (1..=path.len()).any(|length| naive(&components, &path[..length]).is_some());
                prop_assert_eq!(required[0].covers(&path.join("/")), is_covered, "{:?}", path);
            }
        }
    }

    #[test]
    fn each_wildcard_stands_for_what_the_manual_says() {
        for (pattern, path, expected) in [
            ("ckpt/{step}.bin", "ckpt/0040.bin", "40"),
            ("ckpt/{step}.bin", "ckpt/x.bin", "no match"),
            ("./ckpt/*.bin/", "ckpt/a 7.bin", "7"),
            ("*", "a/b", "no match"),
            ("m?.x", "mé.x", "no step"),
            ("m?.x", "m.x", "no match"),
            ("**/w", "w", "no step"),
            ("**/{step}/**/w", "5/a/b/w", "5"),
            ("a**b", "a/b", "no match"), // `**` is special only as a whole component
            ("a.b+(c)", "a.b+(c)", "no step"),
            ("a.b", "axb", "no match"),
            ("x{step}y*", "x99999999999999999999y5", "no step"), // exceeds a 64-bit number
        ] {
            let path: Vec<String> = path.split('/').map(str::to_owned).collect();
            let read = Pattern::parse(pattern).unwrap().read(&path);
            assert_eq!(read.map_or("no match".to_owned(), |name| told(name.step)), expected, "{pattern}");
        }
    }

    #[test]
    fn what_is_being_written_is_matched_by_its_later_name() {
        let read = |path: &str| Pattern::parse("m_{step}.x").unwrap().read(&[path.to_owned()]);
        assert_eq!(read("m_5.x.tmp").map(|name| (name.step, name.temporary)), Some((Some(5), true)));
        assert_eq!(read("m_5.x").map(|name| (name.step, name.temporary)), Some((Some(5), false)));
        assert_eq!(read("m_5.xy.tmp"), None);
    }

    #[test]
    fn a_pattern_takes_no_long_time() {
        let pattern = Pattern::parse(&"*a".repeat(MOST_WILDCARDS)).unwrap();
        for path in ["a".repeat(254) + "b", "a".repeat(255)] {
            assert_eq!(pattern.read(slice::from_ref(&path)).is_some(), path.ends_with('a'));
        }
        for (refused, why) in [("*a".repeat(65), "has too many wildcards"), ("?".repeat(5000), "is too long")]
        {
            assert!(Pattern::parse(&refused).unwrap_err().to_string().ends_with(why));
            assert!(!Required::all(&[refused])[0].covers("a"));
        }
        assert_eq!(Pattern::parse(&"*".repeat(4000)).unwrap().read(&["x".to_owned()]).unwrap().step, None);
    }
}
