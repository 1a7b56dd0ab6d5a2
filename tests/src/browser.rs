//! A real browser: opens pages of the tools in a headless Chromium.

use crate::{Lab, checkout, wait_to_see};
use serde_json::{Value, json};

/// Opens a page (a file of the lab, or a URL) in Chromium, takes steps in it, and returns the value of each `eval` of
/// them. Nothing may go wrong in the page, and it may ask nothing of the network beside its own server. See
/// `tests/fixtures/page.py` for the steps.
pub fn browse(lab: &Lab, page: &str, size: (u32, u32), steps: &Value) -> Vec<Value> {
    let driver = checkout().join("tests/fixtures/page.py");
    let (width, height) = (size.0.to_string(), size.1.to_string());
    let words = [driver.to_str().unwrap(), page, &width, &height, "page.png"];
    let done = lab.cmd("python3").args(words).stdin(steps.to_string()).run().code(0);
    // Its crash handlers outlive it for a moment.
    wait_to_see("the browser to end", || lab.living(), |living| !living.contains("/chromium/"));
    let found: Value = serde_json::from_str(&done.out()).unwrap();
    assert_eq!((&found["network"], &found["errors"]), (&json!([]), &json!([])));
    assert!(lab.bytes("page.png").len() > 5_000);
    found["values"].as_array().unwrap().clone()
}
