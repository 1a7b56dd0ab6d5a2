use super::*;
use proptest::prelude::*;

/// Rows as text, with their attempts.
#[derive(Debug, Default)]
struct Rows(Vec<(usize, String)>);

impl Rows {
    fn add(&mut self, attempt: usize, line: &str) -> &mut Self {
        self.0.push((attempt, line.to_owned()));
        self
    }

    fn steps(&mut self, attempt: usize, steps: &[u32]) -> &mut Self {
        for step in steps {
            self.add(attempt, &format!(r#"{{"step": {step}, "loss": 1}}"#));
        }
        self
    }

    fn parsed(&self) -> Vec<(RowOrigin, MetricRow)> {
        let row = |(number, (attempt, line)): (usize, &(usize, String))| {
            let origin = RowOrigin { attempt: *attempt, track: 0, offset: number as u64 };
            (origin, MetricRow::parse(line.as_bytes()).unwrap())
        };
        self.0.iter().enumerate().map(row).collect()
    }

    /// Returns the numbers of the rows that count.
    fn left(&self) -> Vec<usize> {
        let rows = self.parsed();
        let mut starts = FirstSteps::default();
        for (origin, row) in &rows {
            starts.note(*origin, row);
        }
        let counts = |(origin, row): &(RowOrigin, MetricRow)| !starts.supersede(*origin, row);
        let left: Vec<usize> = (0..rows.len()).filter(|&number| counts(&rows[number])).collect();
        assert!(left.len() == rows.len() || starts.may_supersede());
        left
    }

    /// Returns the steps of the rows that count.
    fn left_steps(&self) -> Vec<f64> {
        let rows = self.parsed();
        self.left().into_iter().map(|number| rows[number].1.step().unwrap().1).collect()
    }
}

#[test]
fn a_step_that_goes_back_begins_anew_as_an_attempt_does() {
    let mut rows = Rows::default();
    rows.steps(0, &[1, 2, 3, 4]).steps(0, &[3, 4, 5]).steps(1, &[5, 6]);
    assert_eq!(rows.left(), [0, 1, 4, 5, 7, 8]);
    // A later start at an earlier step supersedes all starts between.
    rows.steps(1, &[2]);
    assert_eq!(rows.left(), [0, 9]);
}

#[test]
fn a_step_within_an_epoch_is_ordered_by_both() {
    let mut rows = Rows::default();
    let epochs = |rows: &mut Rows, attempt: usize, epochs: std::ops::Range<u32>| {
        for epoch in epochs {
            for step in 0..3 {
                rows.add(attempt, &format!(r#"{{"epoch": {epoch}, "step": {step}, "loss": 1}}"#));
            }
        }
    };
    epochs(&mut rows, 0, 1..3);
    epochs(&mut rows, 1, 3..4);
    assert_eq!(rows.left().len(), 9);
    epochs(&mut rows, 1, 2..4); // restarted in the same attempt
    assert_eq!(rows.left(), [0, 1, 2, 9, 10, 11, 12, 13, 14]);
    // One epoch per attempt.
    let mut rows = Rows::default();
    for (attempt, epoch) in [(0, 0), (1, 1), (2, 2)] {
        epochs(&mut rows, attempt, epoch..epoch + 1);
    }
    assert_eq!(rows.left().len(), 9);
    // The same for episodes.
    let mut rows = Rows::default();
    for (episode, step) in [(0, 10), (1, 3), (2, 30), (3, 3)] {
        rows.add(0, &format!(r#"{{"episode": {episode}, "step": {step}}}"#));
    }
    assert_eq!(rows.left().len(), 4);
}

#[test]
fn an_epoch_that_is_counted_anew_after_a_resume_changes_nothing() {
    let mut rows = Rows::default();
    let add = |rows: &mut Rows, attempt, epoch, steps: std::ops::Range<u32>| {
        steps.for_each(|step| {
            rows.add(attempt, &format!(r#"{{"epoch": {epoch}, "step": {step}}}"#));
        });
    };
    add(&mut rows, 0, 0, 0..3);
    add(&mut rows, 0, 1, 3..6);
    add(&mut rows, 1, 0, 6..9);
    assert_eq!(rows.left_steps(), [0., 1., 2., 3., 4., 5., 6., 7., 8.]);
    add(&mut rows, 2, 5, 4..6);
    assert_eq!(rows.left_steps(), [0., 1., 2., 3., 4., 5.]);
}

#[test]
fn series_of_rows_have_steps_of_their_own() {
    let mut rows = Rows::default();
    for epoch in 1..3 {
        for iter in [50, 100] {
            rows.add(0, &format!(r#"{{"mode": "train", "epoch": {epoch}, "iter": {iter}, "loss": 1}}"#));
        }
        rows.add(0, &format!(r#"{{"mode": "val", "epoch": {epoch}, "iter": 20, "mAP": 1}}"#));
    }
    for fold in 0..2 {
        for epoch in 0..2 {
            rows.add(1, &format!(r#"{{"fold": {fold}, "epoch": {epoch}, "acc": 1}}"#));
        }
    }
    for step in [1, 2, 3] {
        rows.add(1, &format!(r#"{{"rank": 0, "step": {step}}}"#))
            .add(1, &format!(r#"{{"rank": 1, "step": {}}}"#, step - 1));
    }
    assert_eq!(rows.left().len(), rows.0.len());
}

#[test]
fn rows_of_other_shapes_may_lag() {
    let mut rows = Rows::default();
    rows.steps(0, &[1, 2, 3, 4])
        .add(0, r#"{"step": 2, "val": 1}"#)
        .steps(0, &[5, 6])
        .add(0, r#"{"step": 4, "val": 1}"#);
    assert_eq!(rows.left().len(), 8);
    // Validations lag after a restart, too.
    rows.steps(0, &[3, 4]).add(0, r#"{"step": 2, "val": 1}"#).steps(0, &[5]);
    assert_eq!(rows.left(), [0, 1, 4, 8, 9, 10, 11]);
}

#[test]
fn a_check_before_an_attempt_goes_on_begins_nothing() {
    let check = r#"{"step": 0, "val": 1}"#;
    let begun = |first: &[u32], check: &str, then: &[u32]| {
        let mut rows = Rows::default();
        rows.add(0, r#"{"step": 0, "val": 2}"#).steps(0, first).add(1, check).steps(1, then);
        rows.left()
    };
    assert_eq!(begun(&[10, 20, 30, 40, 50], check, &[50, 60]), [0, 1, 2, 3, 4, 6, 7, 8]);
    // A validation may count in epochs.
    assert_eq!(begun(&[50, 100, 150], r#"{"step": 3, "val": 1}"#, &[200]), [0, 1, 2, 3, 4, 5]);
    // This attempt starts from the beginning, even if it logs less often.
    assert_eq!(begun(&[10, 20, 30, 40, 50], check, &[10, 20]), [6, 7, 8]);
    assert_eq!(begun(&[10, 20, 30, 40, 50], check, &[20, 40]), [6, 7, 8]);
    assert_eq!(begun(&[0, 1, 2, 3], check, &[0, 1]), [5, 6, 7]);
    // A validation at the step of the checkpoint.
    assert_eq!(begun(&[10, 20, 30, 40, 50], r#"{"step": 30, "val": 1}"#, &[40]), [0, 1, 2, 6, 7]);
    // Without further rows of the training, the validation counts as the start.
    assert_eq!(begun(&[10, 20], check, &[]), [3]);
}

#[test]
fn lengths_of_episodes_are_no_order() {
    let mut rows = Rows::default();
    for steps in [20, 5, 7, 30] {
        rows.add(0, &format!(r#"{{"steps": {steps}, "reward": 1}}"#));
    }
    assert_eq!(rows.left().len(), 4);
    let mut rows = Rows::default();
    for (attempt, steps) in [(0, 10), (0, 20), (1, 20), (1, 30)] {
        rows.add(attempt, &format!(r#"{{"steps": {steps}, "reward": 1}}"#));
    }
    assert_eq!(rows.left(), [0, 2, 3]);
}

#[test]
fn a_step_that_is_no_order_supersedes_nothing() {
    let mut rows = Rows::default();
    for number in 0..12_000 {
        rows.steps(0, &[2 * number + 1, 2 * number]);
    }
    assert_eq!(rows.left().len(), 24_000);
}

/// A start: whether it is an attempt, the step at which it begins, and its number of steps.
fn starts() -> impl Strategy<Value = Vec<(bool, prop::sample::Index, u32)>> {
    prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), 1..8_u32), 0..12)
}

proptest! {
    #[test]
    fn any_split_into_attempts_and_starts_gives_each_step_once(
        starts in starts(),
        total in 1..30_u32,
        per_epoch in prop::option::of(2..6_u32),
    ) {
        let mut rows = Rows::default();
        let (mut attempt, mut begin, mut last_writer) = (0, 0, Vec::new());
        let row = |step: u32| match per_epoch {
            Some(size) => format!(r#"{{"epoch": {}, "step": {}, "loss": 1}}"#, step / size, step % size),
            None => format!(r#"{{"step": {step}, "loss": 1}}"#),
        };
        let mut write = |rows: &mut Rows, attempt: usize, steps: std::ops::Range<u32>| {
            for step in steps {
                last_writer.resize(last_writer.len().max(step as usize + 1), 0);
                last_writer[step as usize] = rows.0.len();
                rows.add(attempt, &row(step));
            }
        };
        for (is_attempt, at, count) in starts {
            let end = (begin + count).min(total);
            write(&mut rows, attempt, begin..end);
            // Starts from an earlier checkpoint. Within an attempt, the same step twice in a row is not a
            // restart.
            let latest = if is_attempt { end } else { end - 1 };
            begin = u32::try_from(at.index(latest as usize + 1)).unwrap();
            if !is_attempt && begin == end - 1 {
                begin = end;
            }
            attempt += usize::from(is_attempt);
        }
        write(&mut rows, attempt, begin..total);
        let mut expected = last_writer;
        expected.sort_unstable();
        prop_assert_eq!(rows.left(), expected);
    }
}
