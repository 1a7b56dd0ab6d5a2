//! Sweeps: the values of every combination, by the cross product or by random draws. Pure.

use crate::numbers::{between, between_logs, places, rounded, significant, spelled};
use crate::random::Random;
use crate::spec::{Range, parse};
use std::collections::HashSet;

/// Digits of the values that are drawn.
const DRAWN_DIGITS: usize = 6;

/// The values of one combination ("cell"), in the order of the sweeps.
pub(crate) type Values = Vec<String>;

/// A key, and the values to set it to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sweep {
    /// The key of the override.
    pub(crate) key: String,
    /// Its values.
    pub(crate) range: Range,
}

impl Sweep {
    /// Reads `KEY=SPEC`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, spec)) if !key.is_empty() => Ok(Self { key: key.to_owned(), range: parse(spec)? }),
            _ => Err("must be KEY=VALUE,...".to_owned()),
        }
    }

    /// Returns whether the values of the sweep must be drawn.
    pub(crate) fn is_random(&self) -> bool {
        !matches!(self.range, Range::List(_))
    }

    /// Returns the listed values; `None` for a continuous distribution.
    pub(crate) fn values(&self) -> Option<&[String]> {
        match &self.range {
            Range::List(values) | Range::Choice(values) => Some(values),
            Range::Uniform(..) | Range::LogUniform(..) => None,
        }
    }

    fn draw(&self, random: &mut Random) -> String {
        match &self.range {
            Range::List(values) | Range::Choice(values) => values[random.below(values.len())].clone(),
            &Range::Uniform(from, to) => {
                let drawn = between(from, to, random.unit());
                spelled(rounded(drawn, places(to - from, DRAWN_DIGITS)).clamp(from, to))
            }
            &Range::LogUniform(from, to) => {
                let drawn = between_logs(from, to, random.unit());
                spelled(significant(drawn, DRAWN_DIGITS).clamp(from, to))
            }
        }
    }
}

/// Returns how many cells the cross product has.
pub(crate) fn count(sweeps: &[Sweep]) -> usize {
    let counts = sweeps.iter().map(|sweep| sweep.values().map_or(usize::MAX, <[String]>::len));
    counts.fold(1, usize::saturating_mul)
}

/// Returns the cross product of the listed values, the last sweep varying fastest. Continuous sweeps are left
/// out.
pub(crate) fn product(sweeps: &[Sweep]) -> Vec<Values> {
    let mut cells = vec![Values::new()];
    for values in sweeps.iter().filter_map(Sweep::values) {
        let with = |cell: &Values, value: &String| cell.iter().chain([value]).cloned().collect();
        cells = cells.iter().flat_map(|cell| values.iter().map(move |value| with(cell, value))).collect();
    }
    cells
}

/// Draws cells that all differ. A larger number begins with the cells of a smaller number.
pub(crate) fn sample(sweeps: &[Sweep], number: usize, seed: u64) -> Result<Vec<Values>, String> {
    let there_are = count(sweeps);
    if there_are < number {
        return Err(format!("there are only {there_are} different draws"));
    }
    let mut random = Random(seed);
    let mut seen = HashSet::new();
    let mut cells = Vec::new();
    // To draw every one of N takes N ln N draws on average.
    for _ in 0..1000 + 100 * number {
        if cells.len() == number {
            break;
        }
        let cell: Values = sweeps.iter().map(|sweep| sweep.draw(&mut random)).collect();
        if seen.insert(cell.clone()) {
            cells.push(cell);
        }
    }
    match cells.len() {
        found if found < number => Err(format!("only {found} different draws were found")),
        _ => Ok(cells),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_sweep_has_a_key_and_values() {
        assert_eq!(Sweep::parse("a.b=c").unwrap().key, "a.b");
        assert!(Sweep::parse("k").is_err() && Sweep::parse("=1").is_err());
    }

    #[test]
    fn the_last_sweep_varies_fastest() {
        let sweeps = ["a=1,2", "b=x,y,z"].map(|text| Sweep::parse(text).unwrap());
        let cells: Vec<String> = product(&sweeps).iter().map(|cell| cell.join("")).collect();
        assert_eq!(cells, ["1x", "1y", "1z", "2x", "2y", "2z"]);
        assert_eq!(count(&sweeps), 6);
        assert_eq!(product(&[]), [Values::new()]);
    }

    #[test]
    fn draws_are_the_same_for_a_seed_and_all_different() {
        let sweeps = ["lr=loguniform(1e-5,1e-1)", "p=uniform(0,1)", "a=choice(x,\"y,z\")", "s=1..3"]
            .map(|text| Sweep::parse(text).unwrap());
        let four = sample(&sweeps, 4, 7).unwrap();
        assert_eq!(sample(&sweeps, 2, 7).unwrap(), four[..2]);
        assert_ne!(sample(&sweeps, 4, 8).unwrap(), four);
        let few = ["a=choice(x,y)", "s=1..3"].map(|text| Sweep::parse(text).unwrap());
        let mut all = sample(&few, 6, 1).unwrap();
        all.sort();
        assert_eq!(all, product(&few));
        assert_eq!(sample(&few, 7, 1).unwrap_err(), "there are only 6 different draws");
        for cell in sample(&sweeps, 1000, 3).unwrap() {
            let lr: f64 = cell[0].parse().unwrap();
            assert!((1e-5..=1e-1).contains(&lr) && cell[0].len() <= 12, "{}", cell[0]);
            assert!(
                (0.0..=1.0).contains(&cell[1].parse::<f64>().unwrap()) && cell[1].len() <= 8,
                "{}",
                cell[1]
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_fault_or_a_sweep(text in "\\PC*") {
            if let Ok(sweep) = Sweep::parse(&text) {
                prop_assert!(sweep.values().is_none_or(|values| !values.is_empty()));
            }
        }

        #[test]
        fn text_that_is_nearly_a_spec_is_a_fault_or_a_sweep(
            text in "k=(lin\\(|log\\(|uniform\\(|loguniform\\(|choice\\(|\\.\\.|[-0-9.,e\"()\\[\\] ]|99999999999999999999|1e308){0,12}"
        ) {
            if let Ok(sweep) = Sweep::parse(&text) {
                let cells = sample(&[sweep], 1, 1).unwrap();
                prop_assert_eq!(cells.len(), 1);
            }
        }
    }
}
