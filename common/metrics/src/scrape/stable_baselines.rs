//! Stable Baselines 3: a table of two columns between lines of dashes of the same width, in which a line such
//! as `| rollout/ | |` names the group of the lines below. Its step is `time/total_timesteps`.

use super::scan::number;
use crate::row::{MetricRow, MetricValue};

/// Maximum number of lines of a table.
const LINES: usize = 200;

/// The current table.
#[derive(Debug, Default)]
pub(super) struct BaselinesTable {
    /// Number of characters in a line; 0 outside a table.
    width: usize,
    group: String,
    fields: Vec<(String, MetricValue)>,
    lines: usize,
}

impl BaselinesTable {
    /// Returns whether a table has begun.
    pub(super) fn is_open(&self) -> bool {
        self.width > 0
    }

    /// Takes a line that begins with `-` or `|`. Other lines between those of a table, such as those of
    /// another thread, are ignored.
    pub(super) fn line(&mut self, text: &str) -> Option<MetricRow> {
        let width = text.chars().count();
        if text.bytes().all(|byte| byte == b'-') {
            let complete = self.width == width && self.lines > 0;
            let row = Some(MetricRow::new(std::mem::take(&mut self.fields))).filter(|_| complete);
            *self = Self { width: if complete { 0 } else { width }, ..Self::default() };
            return row.filter(|row| {
                row.step().is_some_and(|(key, _)| !key.contains(' ')) && row.numbers().next().is_some()
            });
        }
        if self.width == 0 || self.width != width || self.lines == LINES || self.cell(text).is_none() {
            *self = Self::default();
        }
        self.lines += 1;
        None
    }

    /// Takes a line of the table.
    fn cell(&mut self, text: &str) -> Option<()> {
        let (name, value) = text.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | ")?;
        match (name.strip_prefix("   "), value.trim()) {
            (None, "") => {
                let group = name.trim_end().strip_suffix('/')?;
                group.clone_into(&mut self.group);
            }
            (Some(name), value) if !name.starts_with(' ') && !self.group.is_empty() => {
                if let Some(value) = number(value) {
                    self.fields
                        .push((format!("{}/{}", self.group, name.trim_end()), MetricValue::Number(value)));
                }
            }
            (None, value) if self.group.is_empty() => {
                let name = name.trim_end();
                self.fields.push((name.to_owned(), MetricValue::Number(number(value)?)));
            }
            _ => return None,
        }
        Some(())
    }
}
