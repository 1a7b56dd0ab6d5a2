//! Groups of runs: a row for all runs with the same values in some columns, with mean and spread.

use crate::frame::{Frame, Tinted};
use crate::scalar::Scalar;
use run_common::rundir::status::Status;
use std::cmp::Ordering;
use std::collections::HashMap;

/// The rows of a group.
type Group<'a> = Vec<&'a Vec<Tinted>>;

/// Creates a row for each group of runs with the same values in some columns: the number of runs, and mean
/// and standard deviation of the finite last and best values.
///
/// Errors: the name of a column that is missing.
pub(super) fn frame<'a>(
    runs: &Frame,
    keys: &'a [String],
    metrics: &[String],
    main: &[String],
) -> Result<Frame, &'a str> {
    let columns: Vec<usize> =
        keys.iter().map(|key| runs.find(key).ok_or(key.as_str())).collect::<Result<_, _>>()?;
    let groups = groups(runs, &columns);
    let mut frame = Frame::default();
    for (key, &at) in keys.iter().zip(&columns) {
        frame.column(key, false, groups.iter().map(|group| group[0][at].0.clone()));
    }
    frame.column("runs", false, groups.iter().map(|group| Scalar::count(group.len())));
    let status = runs.find("status").unwrap_or_default();
    let is_completed = |row: &&&Vec<Tinted>| row[status].0 == Scalar::Text(Status::Completed.to_string());
    let completed = |group: &Group| Scalar::count(group.iter().filter(is_completed).count());
    frame.column("completed", false, groups.iter().map(completed));
    let places: HashMap<&str, usize> =
        runs.columns.iter().enumerate().rev().map(|(at, column)| (column.name.as_str(), at)).collect();
    for name in metrics {
        let is_extra = !main.contains(name);
        for figure in ["last", "best"] {
            let column = format!("{name}.{figure}");
            let Some(&at) = places.get(column.as_str()) else { continue };
            let finite: Vec<Vec<f64>> = groups.iter().map(|group| finite(group, at)).collect();
            let of_each = |of: fn(&[f64]) -> Scalar| finite.iter().map(move |values| of(values));
            let name = |what: &str| format!("{column}.{what}");
            frame.column(name("mean"), is_extra, of_each(|values| Scalar::number(mean(values))));
            frame.column(name("std"), is_extra, of_each(|values| Scalar::number(std(values))));
            frame.column(name("count"), true, of_each(|values| Scalar::count(values.len())));
        }
    }
    Ok(frame)
}

/// Groups the rows by their values in some columns, sorted by these values.
fn groups<'a>(runs: &'a Frame, columns: &[usize]) -> Vec<Group<'a>> {
    let order = |one: &Vec<Tinted>, other: &Vec<Tinted>| {
        let orders = columns.iter().map(|&at| one[at].0.order(&other[at].0));
        orders.fold(Ordering::Equal, Ordering::then)
    };
    let mut rows: Vec<&Vec<Tinted>> = runs.rows.iter().collect();
    rows.sort_by(|one, other| order(one, other));
    rows.chunk_by(|one, other| order(one, other).is_eq()).map(<[_]>::to_vec).collect()
}

/// Returns the finite values of a column.
fn finite(group: &Group, column: usize) -> Vec<f64> {
    let values = group.iter().filter_map(|row| match row[column].0 {
        Scalar::Number(number) if number.is_finite() => Some(number),
        _ => None,
    });
    values.collect()
}

#[expect(clippy::cast_precision_loss, reason = "there are few runs")]
fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Returns the sample standard deviation.
#[expect(clippy::cast_precision_loss, reason = "there are few runs")]
fn std(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_that_of_a_sample() {
        assert_eq!(mean(&[]), None);
        assert_eq!(std(&[1.0]), None);
        assert_eq!(std(&[1.0, 3.0]), Some(2.0_f64.sqrt()));
    }
}
