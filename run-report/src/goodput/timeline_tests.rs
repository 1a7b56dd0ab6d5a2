use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

const TRAINED: Row = Row { counts: true, is_validation: false };
const LOST: Row = Row { counts: false, is_validation: false };
const VALIDATED: Row = Row { counts: true, is_validation: true };

fn facts(time: Range<Millis>, rows: &[Row], progress: &[(Millis, usize)]) -> Facts {
    let progress =
        progress.iter().map(|&(time, rows)| Progress { time, rows: Some(rows), last_output: Some(time) });
    Facts { time, rows: rows.to_vec(), progress: progress.collect(), stall: 1000, ..Facts::default() }
}

fn shown(attempts: &[Facts], waiting: Option<Range<Millis>>) -> Vec<(Millis, Millis, &'static str)> {
    let spans = timeline(attempts, waiting);
    spans.iter().map(|span| (span.time.start, span.time.end, span.kind.name())).collect()
}

#[test]
fn work_that_was_repeated_is_lost() {
    let first = facts(0..100, &[TRAINED, TRAINED, LOST, LOST], &[(20, 1), (40, 2), (60, 3), (80, 4)]);
    let second = facts(150..250, &[TRAINED, TRAINED], &[(170, 1), (250, 2)]);
    let expected = [
        (0, 20, "starting"),
        (20, 40, "training"),
        (40, 100, "lost"),
        (100, 150, "idle"),
        (150, 170, "starting"),
        (170, 250, "training"),
    ];
    assert_eq!(shown(&[first, second], None), expected);
}

#[test]
fn a_queue_a_validation_a_checkpoint_and_a_stall_have_their_times() {
    let rows = [TRAINED, TRAINED, VALIDATED, TRAINED];
    let mut attempt = facts(100..3000, &rows, &[(110, 1), (200, 2), (300, 3), (400, 4)]);
    attempt.queued = Some(40);
    attempt.saves = vec![150..180, 290..290, 20..30];
    let expected = [
        (40, 100, "queued"),
        (100, 110, "starting"),
        (110, 150, "training"),
        (150, 180, "saving"),
        (180, 200, "training"),
        (200, 300, "evaluating"),
        (300, 400, "training"),
        (400, 3000, "stalled"),
    ];
    assert_eq!(shown(&[attempt], None), expected);
    assert_eq!(shown(&[], Some(5..9)), [(5, 9, "queued")]);
    assert_eq!(shown(&[], None), []);
}

/// Returns a trainer of known schedule, as samples each 500 ms see it: ten rows, one each 100 ms, then a row after a
/// pause of 3 s; all of that again.
fn with_pauses(row_of_pause: Row) -> Facts {
    let time = |row: Millis| {
        if row % 11 == 10 { (row / 11 + 1) * 4000 } else { row / 11 * 4000 + (row % 11 + 1) * 100 }
    };
    let written: Vec<Millis> = (0..22).map(time).collect();
    let mut rows = vec![TRAINED; 22];
    (rows[10], rows[21]) = (row_of_pause, row_of_pause);
    let samples =
        (0..=8500).step_by(500).map(|time| (time, written.iter().filter(|&&row| row <= time).count()));
    Facts { stall: 600_000, ..facts(0..8500, &rows, &samples.collect::<Vec<_>>()) }
}

#[test]
fn a_pause_belongs_to_the_row_after_it_to_within_a_sample() {
    for (row, kind) in [(VALIDATED, Kind::Evaluating), (LOST, Kind::Lost)] {
        let attempt = with_pauses(row);
        let spans = timeline(std::slice::from_ref(&attempt), None);
        let pauses: Vec<Range<Millis>> =
            spans.iter().filter(|span| span.kind == kind).map(|span| span.time.clone()).collect();
        let near = |time: Millis, expected: Millis| (time - expected).abs() <= 500;
        assert_eq!(pauses.len(), 2, "{spans:?}");
        for (pause, expected) in pauses.iter().zip([1000..4000, 5000..8000]) {
            assert!(near(pause.start, expected.start) && near(pause.end, expected.end), "{spans:?}");
        }
        let clock = Clock::of(&[attempt]);
        for (row, expected) in [(1.0, 0.1), (10.0, 1.0), (11.0, 4.0), (12.0, 4.1), (21.0, 5.0), (22.0, 8.0)] {
            let time = clock.time_of(row).unwrap();
            assert!((time - expected).abs() <= 0.5, "{row}: {time}");
        }
    }
}

#[test]
fn without_samples_rows_are_evenly_spread_and_a_program_without_rows_trains() {
    let spread = facts(0..100, &[TRAINED, TRAINED, LOST, LOST], &[]);
    assert_eq!(shown(&[spread], None), [(0, 25, "starting"), (25, 50, "training"), (50, 100, "lost")]);
    assert_eq!(shown(&[facts(0..100, &[], &[])], None), [(0, 100, "training")]);
    let validations = facts(0..100, &[VALIDATED, VALIDATED], &[]);
    assert_eq!(shown(&[validations], None), [(0, 50, "starting"), (50, 100, "training")]);
}

#[test]
fn a_clock_tells_when_rows_were_written() {
    let first = facts(0..1000, &[TRAINED, TRAINED, LOST, LOST], &[(200, 1), (600, 3)]);
    let second = facts(2000..3000, &[TRAINED], &[(2500, 1)]);
    let clock = Clock::of(&[first, Facts::default(), second]);
    let times = [1.0, 2.0, 3.0, 4.0, 5.0].map(|row| clock.time_of(row).unwrap());
    let expected = [0.2, 0.4, 0.6, 1.0, 2.5];
    assert!(times.iter().zip(expected).all(|(time, expected)| (time - expected).abs() < 1e-9), "{times:?}");
    assert_eq!((Clock::default().time_of(1.0), clock.time_of(0.0)), (None, None));
    assert!(clock.time_of(99.0).is_some());
}

fn any_attempt() -> impl Strategy<Value = Facts> {
    let row = (any::<bool>(), any::<bool>());
    let time = -50..500i64;
    (
        (time.clone(), time.clone()),
        proptest::option::of(time.clone()),
        vec(row, 0..12),
        vec((time.clone(), proptest::option::of(0..15usize), proptest::option::of(time.clone())), 0..8),
        vec((time.clone(), time), 0..4),
        (0..200i64, any::<bool>()),
    )
        .prop_map(|(time, queued, rows, progress, saves, (stall, has_stalled))| Facts {
            time: time.0..time.1,
            queued,
            rows: rows.into_iter().map(|(counts, is_validation)| Row { counts, is_validation }).collect(),
            progress: progress
                .into_iter()
                .map(|(time, rows, last_output)| Progress { time, rows, last_output })
                .collect(),
            saves: saves.into_iter().map(|(from, to)| from..to).collect(),
            stall,
            has_stalled,
        })
}

proptest! {
    #[test]
    fn spans_have_no_gap_and_no_overlap(attempts in vec(any_attempt(), 0..5)) {
        let spans = timeline(&attempts, None);
        for pair in spans.windows(2) {
            prop_assert_eq!(pair[0].time.end, pair[1].time.start);
        }
        for span in &spans {
            prop_assert!(span.time.start < span.time.end);
        }
        let ends = attempts.iter().map(|attempt| attempt.time.end.max(attempt.time.start));
        if let (Some(last), Some(end)) = (spans.last(), ends.max()) {
            prop_assert_eq!(last.time.end, end);
        }
    }
}
