//! Options of run-exec that later attempts inherit: an attempt has the options of the last one, unless an
//! option is given again. Recorded in the start lines of attempts.jsonl, and in meta.json as given to
//! run-new.

use crate::provenance::redact::redact_text;
use serde::{Deserialize, Serialize};

/// The given and inherited options of an attempt. An option that was never given is absent, and has its
/// default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttemptOptions {
    /// What to look for in the output, as typed: `auto`, `none`, or regular expressions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape: Option<Vec<String>>,
    /// The only file below the run to read metrics from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<String>,
    /// The name of the step in the metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_key: Option<String>,
    /// Seconds from the stop request to the end of all processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_s: Option<f64>,
    /// Seconds for processes that outlive the main process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linger_s: Option<f64>,
    /// Seconds between two heartbeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_s: Option<f64>,
    /// Time limit of an attempt in seconds; 0 means none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<f64>,
    /// Limit of seconds without a sign of life; 0 means none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stall_timeout_s: Option<f64>,
    /// Maximum number of retries after transient failures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Seconds before the first retry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_delay_s: Option<f64>,
    /// Exit statuses after which to retry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_on: Option<Vec<i32>>,
    /// Shell command for the end of an attempt, secrets redacted; empty means none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_end: Option<String>,
}

impl AttemptOptions {
    /// Adds the options of `before` that are not given now.
    #[must_use]
    pub fn or(self, before: Self) -> Self {
        Self {
            scrape: self.scrape.or(before.scrape),
            metrics: self.metrics.or(before.metrics),
            step_key: self.step_key.or(before.step_key),
            grace_s: self.grace_s.or(before.grace_s),
            linger_s: self.linger_s.or(before.linger_s),
            heartbeat_s: self.heartbeat_s.or(before.heartbeat_s),
            timeout_s: self.timeout_s.or(before.timeout_s),
            stall_timeout_s: self.stall_timeout_s.or(before.stall_timeout_s),
            retries: self.retries.or(before.retries),
            retry_delay_s: self.retry_delay_s.or(before.retry_delay_s),
            retry_on: self.retry_on.or(before.retry_on),
            on_end: self.on_end.or(before.on_end),
        }
    }

    /// Returns the options for the record.
    #[must_use]
    pub fn redacted(&self) -> Self {
        let on_end = self.on_end.as_deref().map(|command| redact_text(command).into_owned());
        Self { on_end, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_anew_counts_and_all_else_is_kept() {
        let before =
            AttemptOptions { grace_s: Some(5.0), timeout_s: Some(60.0), ..AttemptOptions::default() };
        let now = AttemptOptions {
            timeout_s: Some(0.0),
            on_end: Some("true".to_owned()),
            ..AttemptOptions::default()
        };
        let expected = AttemptOptions { grace_s: Some(5.0), ..now.clone() };
        assert_eq!(now.or(before), expected);
    }

    #[test]
    fn what_was_never_given_is_absent() {
        assert_eq!(serde_json::to_string(&AttemptOptions::default()).unwrap(), "{}");
        let given = AttemptOptions { retries: Some(3), timeout_s: Some(0.5), ..AttemptOptions::default() };
        let text = serde_json::to_string(&given).unwrap();
        assert_eq!(text, r#"{"timeout_s":0.5,"retries":3}"#);
        assert_eq!(serde_json::from_str::<AttemptOptions>(&text).unwrap(), given);
    }
}
