//! Tracebacks of Python: as written by the interpreter, of exception groups, in the boxes of rich, in the
//! colours of loguru, and in notebooks.

use super::lines::{HEADER, Line, closes_box, has_letter, indentation, is_aside, opens_box};
use super::report::{Report, Role, without_module};

/// Maximum number of lines between a traceback and its exception if processes write at the same time.
const INTERLEAVED: usize = 30;

/// Announces an exception that was caused by the one before.
const CHAINED: [&str; 2] =
    ["During handling of the above exception", "The above exception was the direct cause"];

/// Precedes the traceback of an exception that a program may survive.
const SIDE: [&str; 6] = [
    "Exception in thread ",
    "Exception in callback ",
    "Exception in Tkinter",
    "Task exception was never retrieved",
    "Future exception was never retrieved",
    "Error in ",
];

/// Beginning of the lines about an exception that the interpreter ignores.
const IGNORED: &str = "Exception ignored ";

/// Beginning of a report about an error inside the package logging.
const OF_LOGGING: &str = "--- Logging error ---";

/// The layout of a traceback.
enum Form {
    /// Indented by this number of blanks.
    Plain(usize),
    /// An exception group, whose frame is indented by this number of blanks.
    Group(usize),
    /// In a box; the exception follows below.
    Boxed,
    /// In a notebook, which names the exception before and after.
    Notebook(String),
}

/// Finds the tracebacks of a channel; of a chain of exceptions the last.
pub(super) fn tracebacks(channel: usize, lines: &[Line]) -> Vec<Report> {
    let mut found: Vec<Report> = Vec::new();
    let mut next = 0;
    for header in 0..lines.len() {
        if header < next {
            continue;
        }
        if let Some(report) = ignored_without_traceback(channel, lines, header) {
            next = report.last + 1;
            found.push(report);
            continue;
        }
        let Some(form) = Form::of(lines[header].text) else { continue };
        let Some((at, last)) = form.find_exception(lines, header) else { continue };
        let mut report = Report {
            role: Role::Main,
            error: named_error(lines, at, &form),
            channel,
            first: header,
            at,
            last,
            is_traceback: true,
        };
        match context(lines, header) {
            Context::Alone => {}
            Context::Of(role) => {
                report.role = role;
                let above = lines[..header].iter().rposition(|line| !line.text.trim().is_empty());
                report.first = above.unwrap_or(header);
            }
            Context::Chained => {
                if let Some(before) = found.pop() {
                    report.role = before.role;
                    // The cause of a worker's death is better than the fact of its death.
                    let is_of_worker = report.error.contains("exited unexpectedly")
                        && before.error.contains("DataLoader worker");
                    // Ray's exception has no information of its own.
                    if is_of_worker || report.error.starts_with("TrainingFailedError") {
                        report.error = before.error;
                    }
                }
            }
        }
        next = last + 1;
        found.push(report);
    }
    found.extend(syntax_error(channel, lines, &found));
    found
}

impl Form {
    /// Returns the layout of a traceback that begins with this line, if any.
    fn of(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(HEADER)?;
        let (head, after) = (before.trim(), after.trim());
        if opens_box(before) || head.starts_with("+-") {
            return Some(Self::Boxed);
        }
        match (head, after) {
            ("+ Exception Group", ":") => Some(Self::Group(indentation(before))),
            ("|", _) => None, // within a group whose beginning is cut off
            ("" | "Original" | "traceback :", ":") => Some(Self::Plain(indentation(before))),
            (name, "") if is_name(name) && before.ends_with("  ") => Some(Self::Notebook(name.to_owned())),
            (_, ":") => Some(Self::Plain(0)),
            _ => None,
        }
    }

    /// Returns the line with the exception, and the last line of the traceback.
    fn find_exception(&self, lines: &[Line], header: usize) -> Option<(usize, usize)> {
        let after = header + 1..lines.len();
        match self {
            Self::Plain(indented) => plain_exception(lines, header, *indented),
            Self::Boxed => {
                let bottom = after.clone().find(|&place| {
                    let line = lines[place].text.trim_start();
                    closes_box(line) || line.starts_with("+-")
                })?;
                plain_exception(lines, bottom, 0)
            }
            Self::Group(indented) => {
                let is_framed = |place: &usize| lines[*place].text.trim_start().starts_with(['|', '+']);
                let last = after.clone().take_while(is_framed).last()?;
                let names = |place: &usize| {
                    let line = lines[*place].text.get(*indented..).unwrap_or_default();
                    line.strip_prefix("| ").is_some_and(|rest| !rest.starts_with([' ', '\t']))
                };
                Some((after.take_while(|place| *place <= last).find(names)?, last))
            }
            Self::Notebook(name) => {
                let names = |place: &usize| {
                    let rest = lines[*place].text.strip_prefix(name.as_str());
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
                };
                after.clone().find(names).map(|place| (place, place))
            }
        }
    }
}

/// Finds the exception after a plain traceback: the first line that is not further indented. Skips lines that
/// other processes have written meanwhile.
fn plain_exception(lines: &[Line], header: usize, indented: usize) -> Option<(usize, usize)> {
    let mut first = None;
    let mut candidates = 0;
    for (place, line) in lines.iter().enumerate().skip(header + 1) {
        let text = line.text;
        if text.contains(HEADER) || candidates == INTERLEAVED {
            break;
        }
        let is_within = indentation(text) > indented || text.starts_with("> File ");
        if !has_letter(text) || is_within {
            continue;
        }
        if is_exception(text.trim_start()) {
            return Some((place, place));
        }
        first = first.or(Some((place, place)));
        candidates += 1;
    }
    first
}

/// Returns the exception in a line, with the next line if the message is there.
fn named_error(lines: &[Line], at: usize, form: &Form) -> String {
    let text = lines[at].text.trim_start();
    let text = if matches!(form, Form::Group(_)) { text.trim_start_matches(['|', ' ']) } else { text };
    let error = without_module(text).trim_end();
    let Some(before) = error.strip_suffix(':') else { return error.to_owned() };
    // A message may begin with blank lines, or continue below its first line.
    let is_named_alone = is_name(before);
    let blanks = lines[at + 1..].iter().take_while(|line| line.text.trim().is_empty()).count();
    let next = lines.get(at + 1 + blanks).map(|line| line.text).filter(|next| {
        let is_other = next.contains(HEADER) || CHAINED.iter().any(|words| next.starts_with(words));
        (blanks == 0 || is_named_alone) && has_letter(next) && !is_aside(next) && !is_other
    });
    match next {
        Some(next) => format!("{error} {}", next.trim()),
        None if is_named_alone => before.to_owned(),
        None => error.to_owned(),
    }
}

/// Returns whether a line contains an exception: `package.Type: message`, or only the type.
pub(super) fn is_exception(line: &str) -> bool {
    let (name, has_message) = match line.split_once(':') {
        Some((name, message)) => (name, message.is_empty() || message.starts_with(' ')),
        None => (line.trim_end(), true),
    };
    has_message && is_name(name)
}

/// Returns whether a word is the name of an exception, with or without its module.
fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        part == "<locals>" || !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    name.split('.').all(is_part)
}

/// The introduction of a traceback.
enum Context {
    /// None.
    Alone,
    /// Its owner, such as a thread.
    Of(Role),
    /// The exception that caused it.
    Chained,
}

/// Returns the introduction of the traceback that begins with a line.
fn context(lines: &[Line], header: usize) -> Context {
    if lines[header].text.trim_start().starts_with("Original ") {
        return Context::Chained;
    }
    let mut before =
        lines[..header].iter().rev().map(|line| line.text.trim()).filter(|line| !line.is_empty());
    let nearest = before.next().unwrap_or_default();
    let is_chain = CHAINED.iter().any(|words| nearest.starts_with(words));
    if is_chain || nearest.ends_with("terminated with the following error:") {
        return Context::Chained;
    }
    let is_side = |line: &str| {
        SIDE.iter().any(|words| line.starts_with(words))
            || line.starts_with("Process ") && line.ends_with(':')
    };
    let is_future = nearest.starts_with("future: <"); // below the introduction
    let above = before.next().filter(|_| is_future).unwrap_or(nearest);
    if nearest.starts_with(IGNORED) || nearest == OF_LOGGING {
        Context::Of(Role::Ignored)
    } else if is_side(above) {
        Context::Of(Role::Side)
    } else {
        Context::Alone
    }
}

/// Returns an ignored exception without a traceback.
fn ignored_without_traceback(channel: usize, lines: &[Line], first: usize) -> Option<Report> {
    lines[first].text.starts_with(IGNORED).then_some(())?;
    let at = first + 1;
    let line = lines.get(at)?.text;
    let report = Report {
        role: Role::Ignored,
        error: without_module(line).to_owned(),
        channel,
        first,
        at,
        last: at,
        is_traceback: false,
    };
    (!line.contains(HEADER) && is_exception(line)).then_some(report)
}

/// Finds the syntax error of a main script, which comes without the header.
fn syntax_error(channel: usize, lines: &[Line], found: &[Report]) -> Option<Report> {
    let kinds = ["SyntaxError:", "IndentationError:", "TabError:"];
    let at = lines.iter().rposition(|line| kinds.iter().any(|kind| line.text.starts_with(kind)))?;
    let is_known = found.iter().any(|report| report.at == at);
    let first = at.saturating_sub(4);
    let first = lines[first..at].iter().position(|line| line.text.starts_with("  File "))? + first;
    let error = lines[at].text.to_owned();
    let report = Report { role: Role::Main, error, channel, first, at, last: at, is_traceback: true };
    (!is_known).then_some(report)
}
