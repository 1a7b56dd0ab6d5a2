//! Reduces the rows of a long file to those that determine which rows supersede others: the first and last row
//! of each kind, and the rows where steps go back. The rows between continue plainly, and have no effect. Used
//! to read the pieces of a file in parallel.

use super::standing::Standing;

/// Maximum number of kinds of rows. Rows of further kinds are all kept.
const KINDS: usize = 64;

/// Reduces the rows of a piece of a file, all from one attempt.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    kinds: Vec<Kind>,
    /// The kind of the last row.
    current: Option<usize>,
    noted: Vec<(u64, Standing)>,
    is_crowded: bool,
    has_parts_of_epochs: bool,
}

/// The result for a piece of a file.
#[derive(Clone, Debug, Default)]
pub struct Noted {
    /// The kept rows: their offsets and positions, in the order of the file.
    pub rows: Vec<(u64, Standing)>,
    /// The greatest rows of each kind; `None` if there are too many kinds.
    pub greatest: Option<Vec<Standing>>,
    /// Whether some steps are fractions of epochs.
    pub has_parts_of_epochs: bool,
}

/// Rows of one series and one shape.
#[derive(Clone, Debug)]
struct Kind {
    rows: u64,
    last: (u64, Standing),
    is_noted: bool,
    /// The greatest row by step, and the greatest by outer counter and step.
    greatest: [Standing; 2],
}

impl Turns {
    /// Adds the next row, which begins at this offset.
    pub fn note(&mut self, offset: u64, standing: Standing) {
        self.has_parts_of_epochs |= standing.is_part_of_epoch();
        self.current = self.kinds.iter().position(|kind| kind.last.1.is_of_kind(&standing));
        if let Some(kind) = self.current.and_then(|current| self.kinds.get_mut(current)) {
            if !kind.last.1.goes_on(&standing) || kind.rows == 1 {
                if !kind.is_noted {
                    self.noted.push(kind.last);
                }
                self.noted.push((offset, standing));
                kind.is_noted = true;
            } else {
                kind.is_noted = false;
            }
            kind.take(offset, standing);
        } else {
            self.noted.push((offset, standing));
            if self.kinds.len() < KINDS {
                self.current = Some(self.kinds.len());
                let (last, greatest) = ((offset, standing), [standing; 2]);
                self.kinds.push(Kind { rows: 1, last, is_noted: true, greatest });
            } else {
                self.is_crowded = true;
            }
        }
    }

    /// Returns whether the rows that follow may be skipped as long as they continue plainly; only the last one
    /// must be added, by [`Self::go_on`].
    pub fn may_go_on(&self) -> bool {
        self.current.and_then(|current| self.kinds.get(current)).is_some_and(|kind| kind.rows > 1)
    }

    /// Adds the last of the skipped rows. Each of them has the same names as the row before it and no smaller
    /// step, and only the step determines its position.
    pub fn go_on(&mut self, offset: u64, step: f64) {
        if let Some(kind) = self.current.and_then(|current| self.kinds.get_mut(current)) {
            let standing = kind.last.1.at_step(step);
            kind.take(offset, standing);
            kind.is_noted = false;
        }
    }

    /// Returns the kept rows.
    pub fn finish(self) -> Noted {
        let mut rows = self.noted;
        rows.extend(self.kinds.iter().filter(|kind| !kind.is_noted).map(|kind| kind.last));
        rows.sort_unstable_by_key(|(offset, _)| *offset);
        let greatest = self.kinds.iter().flat_map(|kind| kind.greatest).collect();
        let has_parts_of_epochs = self.has_parts_of_epochs;
        Noted { rows, greatest: (!self.is_crowded).then_some(greatest), has_parts_of_epochs }
    }
}

impl Kind {
    fn take(&mut self, offset: u64, standing: Standing) {
        let [by_step, by_both] = &mut self.greatest;
        if standing.step > by_step.step {
            *by_step = standing;
        }
        if (standing.outer, standing.step) > (by_both.outer, by_both.step) {
            *by_both = standing;
        }
        self.rows += 1;
        self.last = (offset, standing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::MetricRow;
    use crate::supersede::{FirstSteps, RowOrigin};
    use proptest::prelude::*;

    fn origin(boundaries: &[u64], offset: u64) -> RowOrigin {
        let attempt = boundaries.iter().filter(|&&start| start <= offset).count();
        RowOrigin { attempt, track: 0, offset }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn what_is_noted_says_the_same_as_all_rows(
            rows in prop::collection::vec((0_u8..5, 0_u32..6, 0_u32..4, any::<bool>()), 1..40),
            boundaries in prop::collection::vec(0_u64..40, 0..4),
            cuts in prop::collection::vec(0_u64..40, 0..6),
            rises: bool,
        ) {
            let line = |at: usize, (shape, step, outer, goes_on): (u8, u32, u32, bool)| {
                let step = if rises && goes_on { step + u32::try_from(at).unwrap() } else { step };
                match shape {
                    0 => format!("{{\"step\": {step}, \"loss\": 1}}"),
                    1 => format!("{{\"step\": {step}, \"val_loss\": 1}}"),
                    2 => format!("{{\"step\": {step}, \"epoch\": {outer}, \"loss\": 1}}"),
                    3 => format!("{{\"steps\": {step}, \"reward\": 1, \"rank\": {}}}", outer % 2),
                    _ => format!("{{\"epoch\": {}, \"acc\": 1}}", f64::from(step) / 2.0),
                }
            };
            let rows: Vec<MetricRow> =
                rows.iter().enumerate().map(|(at, row)| MetricRow::parse(line(at, *row).as_bytes()).unwrap()).collect();
            let mut boundaries = boundaries;
            boundaries.sort_unstable();
            let mut all = FirstSteps::default();
            let mut few = FirstSteps::default();
            let mut pieces: Vec<(u64, Noted)> = Vec::new();
            let mut turns = Turns::default();
            let mut begun = 0;
            for (offset, row) in (0..).zip(&rows) {
                if offset > 0 && (boundaries.contains(&offset) || cuts.contains(&offset)) {
                    pieces.push((begun, std::mem::take(&mut turns).finish()));
                    begun = offset;
                }
                let Some(standing) = row.standing() else { continue };
                all.note_at(origin(&boundaries, offset), &standing);
                turns.note(offset, standing);
            }
            pieces.push((begun, turns.finish()));
            for (_, noted) in &pieces {
                for (offset, standing) in &noted.rows {
                    few.note_at(origin(&boundaries, *offset), standing);
                }
            }
            prop_assert_eq!(all.may_supersede(), few.may_supersede());
            for (offset, row) in (0..).zip(&rows) {
                let Some(standing) = row.standing() else { continue };
                let place = origin(&boundaries, offset);
                let is_superseded = all.supersede_at(place, &standing);
                prop_assert_eq!(is_superseded, few.supersede_at(place, &standing), "row {}", offset);
                let (start, noted) = pieces.iter().rfind(|(start, _)| *start <= offset).unwrap();
                let greatest = noted.greatest.as_ref().unwrap();
                let may_be = greatest.iter().any(|top| few.supersede_at(origin(&boundaries, *start), top));
                prop_assert!(may_be || !is_superseded, "row {}", offset);
            }
        }
    }

    #[test]
    fn rows_that_go_on_are_not_noted() {
        let mut turns = Turns::default();
        for step in 0..1000 {
            let row = MetricRow::parse(format!("{{\"step\": {step}}}").as_bytes()).unwrap();
            turns.note(step, row.standing().unwrap());
        }
        assert!(turns.may_go_on());
        turns.go_on(2000, 5000.0);
        let offsets: Vec<u64> = turns.finish().rows.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets, [0, 1, 2000]);
    }
}
