//! Redacts the arguments of a command.

use super::hint::may_hold_secret;
use super::scan::Scanner;
use super::text::Extent;

/// Returns a command for the record. `{env:NAME}` is not a secret, and stays.
pub fn redact_command(command: &[String]) -> Vec<String> {
    if !command.iter().any(|argument| may_hold_secret(argument)) {
        return command.to_vec();
    }
    let mut scanner = Scanner::default();
    let mut is_script = false;
    let redact = |argument: &String| {
        let extent = if std::mem::take(&mut is_script) { Extent::Word } else { Extent::Whole };
        is_script = takes_script(argument);
        scanner.scan(argument, extent).into_owned()
    };
    command.iter().map(redact).collect()
}

/// Returns whether a script follows an option: of a shell, as in `bash -lc`, or of a scheduler.
fn takes_script(option: &str) -> bool {
    let letters = option.strip_prefix('-').and_then(|rest| rest.strip_suffix('c'));
    letters.is_some_and(|letters| letters.bytes().all(|byte| byte.is_ascii_lowercase())) || option == "--wrap"
}
