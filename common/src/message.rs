//! Messages for people: one line each on stderr, after the name of the tool.

use crate::error::Error;
use crate::text::printable;
use std::io::Write;
use std::sync::OnceLock;

static TOOL: OnceLock<&'static str> = OnceLock::new();

/// Names the tool that speaks.
pub(crate) fn set_tool(tool: &'static str) {
    let _ = TOOL.set(tool); // the first one counts
}

/// Returns the name of the tool that speaks.
pub fn tool() -> &'static str {
    TOOL.get().copied().unwrap_or("run-tools")
}

/// Says something. A stderr that is gone or full changes nothing.
pub fn warn(message: &str) {
    let line = format!("{}: {}\n", tool(), printable(message));
    let _ = std::io::stderr().write_all(line.as_bytes()); // in one write, and there is nobody else to tell
}

/// Says what failed, and its advice.
pub fn complain(error: &Error) {
    warn(&error.to_string());
    if let Some(advice) = error.advice() {
        warn(advice);
    }
}
