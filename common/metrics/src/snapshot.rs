//! A document that a trainer keeps rewriting, such as its own `status.json`: an object with the current step,
//! often the number of steps to train for, and current values.

use super::row::{MetricRow, MetricValue};
use run_common::fsio::read::LIMIT;
use std::fs::File;
use std::io::{self, Read, Seek};

/// Names of the number of steps to train for, by unit: the last part of a name, in lower case.
const TOTALS: [(&str, &[&str]); 3] = [
    ("episode", &["total_episodes", "max_episodes", "num_episodes", "n_episodes"]),
    ("epoch", &["total_epochs", "max_epochs", "num_epochs", "n_epochs", "epochs"]),
    (
        "step",
        &[
            "total_steps",
            "max_steps",
            "num_steps",
            "n_steps",
            "total_iterations",
            "max_iterations",
            "num_iterations",
            "total_iters",
            "max_iters",
            "total_timesteps",
            "max_timesteps",
            "total_env_steps",
            "target_steps",
        ],
    ),
];

/// Numbers that are not about the training.
const OTHERS: [&str; 6] = ["pid", "ppid", "schema", "version", "seed", "port"];

/// The current state of a training.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Present {
    /// The numbers, without the number of steps to train for.
    pub(super) row: MetricRow,
    pub(super) step: f64,
    pub(super) total: Option<f64>,
}

/// Reads the numbers in a document; the step may be under a custom key. `None` if there is no step.
pub(super) fn read(file: &File, step_key: Option<&str>) -> io::Result<Option<Present>> {
    Ok(parse(file)?.and_then(|row| present(&row.with_step(step_key))))
}

/// Reads the numbers in a named document, even without a known step.
pub(super) fn row(file: &File) -> io::Result<Option<MetricRow>> {
    Ok(parse(file)?.map(|row| present(&row).map_or(row, |present| present.row)))
}

fn parse(mut file: &File) -> io::Result<Option<MetricRow>> {
    if file.metadata()?.len() > LIMIT {
        return Ok(None);
    }
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(MetricRow::parse(&bytes))
}

/// Returns whether a name is that of the number of steps to train for.
fn is_total(name: &str) -> bool {
    TOTALS.iter().any(|(_, names)| names.contains(&&*last_part(name)))
}

fn present(row: &MetricRow) -> Option<Present> {
    let is_value = |(name, value): &(&str, &MetricValue)| {
        matches!(value, MetricValue::Number(_)) && !OTHERS.contains(name)
    };
    let owned = |(name, value): (&str, &MetricValue)| (name.to_owned(), value.clone());
    // A total is a step by its name, unless there is another step.
    let values = row.fields().filter(is_value).filter(|(name, _)| !is_total(name));
    let values = MetricRow::new(values.map(owned).collect());
    if let Some((key, step)) = values.step() {
        let total = total_in(row, key);
        return Some(Present { step, total, row: values });
    }
    let (_, step) = row.step()?;
    Some(Present {
        step,
        total: None,
        row: MetricRow::new(row.fields().filter(is_value).map(owned).collect()),
    })
}

/// Returns the number of steps to train for in a row, in the unit of its step.
pub(super) fn total(row: &MetricRow) -> Option<f64> {
    total_in(row, row.step()?.0)
}

/// Returns the same for a row whose step has this key.
fn total_in(row: &MetricRow, key: &str) -> Option<f64> {
    let unit = |(unit, _): &&(&str, &[&str])| key.to_lowercase().contains(unit);
    let (_, names) = TOTALS.iter().find(unit).or_else(|| TOTALS.last())?;
    let key = last_part(key);
    let of = |name: &&str| row.number_under(name).filter(|total| *total >= 1.0);
    names.iter().filter(|name| **name != key).find_map(of)
}

/// Returns the last part of a name in lower case.
fn last_part(name: &str) -> String {
    name.rsplit('/').next().unwrap_or(name).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> MetricRow {
        MetricRow::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn present_values_are_numbers_of_the_training() {
        let status = r#"{"status": "running", "pid": 7, "step": 40, "total_steps": 100, "epsilon": 0.5}"#;
        let now = present(&row(status)).unwrap();
        assert_eq!(now.row.fields().map(|(name, _)| name).collect::<Vec<_>>(), ["step", "epsilon"]);
        assert_eq!((now.step.to_string(), now.total), ("40".to_owned(), Some(100.0)));
        let now = present(&row(r#"{"timestep": 4, "total_timesteps": 90}"#)).unwrap();
        assert_eq!((now.step.to_string(), now.total), ("4".to_owned(), Some(90.0)));
        assert_eq!(present(&row(r#"{"status": "running", "loss": 1}"#)), None);
    }

    #[test]
    fn a_total_is_in_the_unit_of_the_step() {
        let total = |text: &str| total(&row(text));
        assert_eq!(total(r#"{"step": 4, "total_steps": 100, "total_episodes": 7}"#), Some(100.0));
        assert_eq!(total(r#"{"episode": 4, "total_steps": 100, "total_episodes": 7}"#), Some(7.0));
        assert_eq!(total(r#"{"epoch": 4, "total_steps": 100}"#), None);
        assert_eq!(total(r#"{"iter": 4, "max_iters": 600}"#), Some(600.0));
        assert_eq!(total(r#"{"step": 4, "total_steps": 0}"#), None);
        assert_eq!(total(r#"{"progress": {"step": 4, "total_steps": 10}}"#), Some(10.0));
        assert_eq!(total(r#"{"train/Epoch": 4, "config": {"Max_Epochs": 8}}"#), Some(8.0));
    }
}
