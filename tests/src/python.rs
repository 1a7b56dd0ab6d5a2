//! Programs of Python with packages that tests/setup installs: other systems, asked for what they read.

use crate::{Lab, checkout};
use serde_json::Value;

/// Returns the JSON that a program prints, by the interpreter of a directory below `target`.
pub fn asked(lab: &Lab, of: &str, program: &str, args: &[&str]) -> Value {
    let python = checkout().join("target").join(of).join("bin/python3");
    assert!(python.exists(), "'make setup' installs target/{of}");
    let done = lab.cmd(python).args(["-c", program]).args(args).run();
    assert_eq!(done.code, 0, "{}\n{}", done.out(), done.err());
    let out = done.out();
    let last = out.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {out}"))
}
