use super::*;
use crate::cli::table::Table;
use proptest::prelude::*;

fn table(columns: Vec<Column>, rows: &[&[&str]]) -> Table {
    let mut table = Table::new(columns);
    for row in rows {
        table.row(row.iter().map(|cell| ((*cell).to_owned(), Tint::None)).collect());
    }
    table
}

fn runs() -> Table {
    let columns = vec![
        Column::names("RUN"),
        Column::from("STATUS").ranked(0),
        Column::from("METRICS").ranked(2).of_words(),
        Column::from("ETA").ranked(4),
        Column::from("PID").ranked(5),
        Column::reasons("REASON"),
    ];
    table(
        columns,
        &[
            &["sweep-of-today-lr=0.1", "failed", "loss=0.5 acc=0.25", "", "7", "exit status 1: no more"],
            &["sweep-of-today-lr=0.01", "running", "loss=0.25 acc=0.5", "", "12345", ""],
        ],
    )
}

#[test]
fn what_has_room_stays_whole_without_empty_columns() {
    let lines = runs().lines(false, 100);
    assert_eq!(
        lines,
        [
            "RUN                     STATUS   METRICS              PID  REASON",
            "sweep-of-today-lr=0.1   failed   loss=0.5 acc=0.25      7  exit status 1: no more",
            "sweep-of-today-lr=0.01  running  loss=0.25 acc=0.5  12345",
        ]
    );
}

#[test]
fn what_tells_least_goes_first_and_the_reason_never() {
    assert_eq!(
        runs().lines(false, 68),
        [
            "RUN       STATUS   METRICS              PID  REASON",
            "…lr=0.1   failed   loss=0.5 acc=0.25      7  exit status 1: no more",
            "…lr=0.01  running  loss=0.25 acc=0.5  12345",
        ]
    );
    assert_eq!(
        runs().lines(false, 62),
        [
            "RUN       STATUS   METRICS            REASON",
            "…lr=0.1   failed   loss=0.5 acc=0.25  exit status 1: no more",
            "…lr=0.01  running  loss=0.25 acc=0.5",
        ]
    );
    assert_eq!(
        runs().lines(false, 40),
        [
            "RUN       STATUS   METRICS",
            "…lr=0.1   failed   loss=0.5 acc=0.25",
            "    reason: exit status 1: no more",
            "…lr=0.01  running  loss=0.25 acc=0.5",
        ]
    );
    assert_eq!(runs().lines(false, 34)[1], "…lr=0.1   failed   loss=0.5");
    assert_eq!(runs().lines(false, 20)[3], "…lr=0.01  running");
}

#[test]
fn names_are_cut_in_the_middle_and_long_heads_too() {
    let columns = vec![Column::names("run"), Column::from("validation/accuracy.last").with_long_head()];
    let long = table(columns, &[&["a-very-long-name-of-a-run-without-any-end", "0.5"]]);
    assert_eq!(
        long.lines(false, 42),
        ["run                       valid…uracy.last", "a-very-long…hout-any-end               0.5"]
    );
}

#[test]
fn a_prefix_ends_before_a_setting_and_its_value() {
    let names = |names: &[&str]| {
        let rows: Vec<Vec<&str>> = names.iter().map(|name| vec![*name, "completed"]).collect();
        let rows: Vec<&[&str]> = rows.iter().map(Vec::as_slice).collect();
        let lines = table(vec![Column::names("RUN"), Column::from("STATUS")], &rows).lines(false, 22);
        lines[1].split("  ").next().unwrap_or_default().to_owned()
    };
    assert_eq!(names(&["resnet_lr-0.1_h-4", "resnet_lr-0.1_h-16"]), "…h-4");
    assert_eq!(names(&["resnet_lr-0.1", "resnet_lr-1e-3"]), "…lr-0.1");
    assert_eq!(names(&["resnet-of-today-1", "resnet-of-today-2"]), "…1");
}

#[test]
fn texts_are_cut_to_one_width_before_any_goes() {
    let columns = ["what", "one", "other"].map(|head| Column::from(head).of_text()).to_vec();
    let texts = table(columns, &[&["key", "a text that is too long", "another text that is too long"]]);
    assert_eq!(texts.lines(false, 40)[1], "key   a text …too long  another…too long");
    assert_eq!(texts.lines(false, 55)[1], "key   a text that is too long  another tex… is too long");
}

#[test]
fn numbers_sizes_and_durations_are_known() {
    for text in ["1", "-0.5", "1.000e-5", "NaN", "inf", "1.5K", "3m05s", "0.5s", "2d03h", "1 *"] {
        assert!(is_number(text), "{text}");
    }
    for text in ["a", "12:03", "8/16 (50.0%)", "lr=1", "s", "1 2"] {
        assert!(!is_number(text), "{text}");
    }
}

proptest! {
    #[test]
    fn every_table_fits(
        cells in prop::collection::vec(prop::collection::vec("[a-c語 ,=0-9]{0,30}", 4), 1..5),
        width in 1_usize..90,
    ) {
        let columns = vec![
            Column::names("RUN"),
            Column::from("METRICS").ranked(1).of_words(),
            Column::from("a long head of a column").with_long_head(),
            Column::reasons("REASON"),
        ];
        let rows: Vec<Vec<&str>> = cells.iter().map(|row| row.iter().map(String::as_str).collect()).collect();
        let rows: Vec<&[&str]> = rows.iter().map(Vec::as_slice).collect();
        for line in table(columns, &rows).lines(false, width) {
            prop_assert!(line.width() <= width, "{:?}", line);
        }
    }
}

#[test]
fn a_reason_continues_below_its_first_word_and_nothing_is_lost() {
    let columns = vec![Column::names("RUN"), Column::from("STATUS").ranked(0), Column::reasons("REASON")];
    let reason = "OutOfMemoryError: tried to allocate 2.50 GiB of /a/path/without/any/blanks/in/it/at/all";
    let lines = table(columns, &[&["a", "failed", reason], &["b", "completed", ""]]).lines(false, 40);
    assert_eq!(
        lines,
        [
            "RUN  STATUS",
            "a    failed",
            "    reason: OutOfMemoryError: tried to",
            "            allocate 2.50 GiB of /a/path",
            "            /without/any/blanks/in/it/at",
            "            /all",
            "b    completed",
        ]
    );
}

#[test]
fn a_head_keeps_its_figures() {
    let columns = vec![
        Column::names("lr"),
        Column::from("loss.last.mean").with_long_head(),
        Column::from("validation/accuracy.last.std").with_long_head(),
    ];
    let lines = table(columns, &[&["0.1", "0.5", "0.25"]]).lines(false, 36);
    assert_eq!(lines[0], "lr   loss.last.mean  vali…y.last.std");
    let lines = table(
        vec![Column::names("lr"), Column::from("validation/loss.best.mean").with_long_head()],
        &[&["1", "2"]],
    );
    assert_eq!(lines.lines(false, 19)[0], "lr  vali….best.mean");
}
