//! A document that a trainer writes anew as it goes on, such as a `status.json` of its own: an object with
//! the step it is at, often how many there are to take, and present values.

use super::row::{MetricRow, MetricValue};
use run_common::fsio::read::LIMIT;
use std::fs::File;
use std::io::{self, Read, Seek};

/// Names under which trainers say how many steps they will take, by the unit that they count in.
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

/// Numbers that say nothing of the training.
const OTHERS: [&str; 6] = ["pid", "ppid", "schema", "version", "seed", "port"];

/// Reads the numbers in a document as a row; `None` when they name no step.
pub(super) fn read(mut file: &File) -> io::Result<Option<MetricRow>> {
    if file.metadata()?.len() > LIMIT {
        return Ok(None);
    }
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(MetricRow::parse(&bytes).and_then(|row| present_values(&row)))
}

fn present_values(row: &MetricRow) -> Option<MetricRow> {
    row.step()?;
    let is_value = |(name, value): &(&str, &MetricValue)| {
        matches!(value, MetricValue::Number(_)) && !OTHERS.contains(name)
    };
    Some(MetricRow::new(
        row.fields().filter(is_value).map(|(name, value)| (name.to_owned(), value.clone())).collect(),
    ))
}

/// Returns how many steps a row says that the training will take, in the unit of its step.
pub(super) fn total(row: &MetricRow) -> Option<f64> {
    let (key, _) = row.step()?;
    let unit = |(unit, _): &&(&str, &[&str])| key.to_lowercase().contains(unit);
    let (_, names) = TOTALS.iter().find(unit).or_else(|| TOTALS.last())?;
    names.iter().filter(|name| **name != key).find_map(|name| match row.get(name) {
        Some(MetricValue::Number(total)) if total.is_finite() && *total >= 1.0 => Some(*total),
        _ => None,
    })
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
        let values = present_values(&row(status)).unwrap();
        assert_eq!(
            values.fields().map(|(name, _)| name).collect::<Vec<_>>(),
            ["step", "total_steps", "epsilon"]
        );
        assert_eq!(present_values(&row(r#"{"status": "running", "loss": 1}"#)), None);
    }

    #[test]
    fn a_total_is_in_the_unit_of_the_step() {
        let total = |text: &str| total(&row(text));
        assert_eq!(total(r#"{"step": 4, "total_steps": 100, "total_episodes": 7}"#), Some(100.0));
        assert_eq!(total(r#"{"episode": 4, "total_steps": 100, "total_episodes": 7}"#), Some(7.0));
        assert_eq!(total(r#"{"epoch": 4, "total_steps": 100}"#), None);
        assert_eq!(total(r#"{"iter": 4, "max_iters": 600}"#), Some(600.0));
        assert_eq!(total(r#"{"step": 4, "total_steps": 0}"#), None);
        assert_eq!(total(r#"{"timestep": 4, "total_timesteps": 90}"#), Some(90.0));
    }
}
