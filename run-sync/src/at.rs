//! Which backup the user wants: the newest, or the backup with a number, a hash or a time.

use crate::format::manifest::Manifest;
use crate::set::{Commit, Set};
use chrono::{DateTime, Local, NaiveDate, NaiveDateTime, TimeZone};
use run_common::error::{Error, Exit};
use run_common::message::{complain, warn};
use run_common::time::{Timestamp, parse_duration};

/// Digits of a hash that suffice to name a backup.
const LEAST: usize = 4;

/// A backup, with its manifest.
pub(crate) struct Chosen {
    /// Number and hash of the manifest.
    pub(crate) commit: Commit,
    /// The manifest.
    pub(crate) manifest: Manifest,
}

/// What the user wrote to name a backup.
#[derive(Clone, Debug, PartialEq)]
enum When {
    /// Digits: a number, or the start of a hash if no backup has this number.
    Number(u64),
    /// The start of a hash.
    Hash,
    /// The last backup that had begun by then.
    Time(Timestamp),
}

/// Reads the wanted backup of a set, as [`choose`] does. A set without this backup is reported and raises the
/// status; the caller continues with the next set.
pub(crate) fn choose_of_several(
    set: &Set<'_>,
    when: Option<&str>,
    status: &mut Exit,
) -> Result<Option<Chosen>, Error> {
    match choose(set, when) {
        Err(error) if matches!(error.exit(), Exit::System | Exit::Usage) => Err(error),
        Err(error) => {
            complain(&error);
            *status = (*status).max(error.exit());
            Ok(None)
        }
        Ok(chosen) => Ok(Some(chosen)),
    }
}

/// Reads the wanted backup of a set; without `when`, the newest.
pub(crate) fn choose(set: &Set<'_>, when: Option<&str>) -> Result<Chosen, Error> {
    let commits = set.history()?.commits;
    let Some(newest) = commits.last() else {
        return Err(Error::new(Exit::BadRun, format!("no backup of '{}' in {}", set.name, set.url)));
    };
    let Some(when) = when else {
        return newest_of(set, &commits, newest.number);
    };
    let what = match parse(when, Timestamp::now()) {
        Some(When::Time(time)) => return before(set, &commits, when, time),
        Some(what) => what,
        None => {
            let hint = "write a number, the first digits of a hash, or a time: 2026-01-29T12:00, 2h";
            return Err(Error::usage(format!("'{when}' means no backup")).hint(hint));
        }
    };
    let mut meant: Vec<_> =
        commits.iter().filter(|commit| what == When::Number(commit.number)).copied().collect();
    if meant.is_empty() && when.len() >= LEAST {
        meant =
            commits.iter().filter(|commit| commit.digest.to_string().starts_with(when)).copied().collect();
    }
    match meant[..] {
        [commit] => Ok(Chosen { commit, manifest: set.manifest(commit)? }),
        [] => Err(missing(set, when)),
        _ => {
            let hashes: Vec<_> =
                meant.iter().map(|commit| commit.digest.to_string()[..12].to_owned()).collect();
            let what = format!("'{when}' means {} backups of '{}'", meant.len(), set.name);
            Err(Error::usage(what)
                .because(hashes.join(" and "))
                .hint("name one by the first digits of its hash"))
        }
    }
}

fn missing(set: &Set<'_>, when: &str) -> Error {
    Error::new(Exit::BadRun, format!("no backup '{when}' of '{}' in {}", set.name, set.url))
        .hint("run-sync list --history shows all")
}

/// Returns the backup with a number. If two writers have used the number, returns the later backup, and reports
/// this.
fn newest_of(set: &Set<'_>, commits: &[Commit], number: u64) -> Result<Chosen, Error> {
    let same: Vec<_> = commits.iter().filter(|commit| commit.number == number).collect();
    let mut newest: Option<Chosen> = None;
    for commit in &same {
        let manifest = set.manifest(**commit).map_err(|error| {
            error.hint("run-sync list --history shows the earlier backups; --at restores one of them")
        })?;
        if newest.as_ref().is_none_or(|newest| newest.manifest.head.created < manifest.head.created) {
            newest = Some(Chosen { commit: **commit, manifest });
        }
    }
    let newest = newest.ok_or_else(|| missing(set, &number.to_string()))?;
    if same.len() > 1 {
        warn(&format!(
            "'{}' has {} backups with number {number}, by different writers: the later one is taken, {}",
            set.name,
            same.len(),
            &newest.commit.digest.to_string()[..12],
        ));
    }
    Ok(newest)
}

/// Returns the last backup that had begun by a time. Numbers give the order; within one number, the time does.
fn before(set: &Set<'_>, commits: &[Commit], when: &str, time: Timestamp) -> Result<Chosen, Error> {
    let mut found: Option<Chosen> = None;
    for commit in commits.iter().rev() {
        if found.as_ref().is_some_and(|found| found.commit.number > commit.number) {
            break;
        }
        let manifest = set.manifest(*commit)?;
        let is_later = |found: &Chosen| found.manifest.head.created < manifest.head.created;
        if manifest.head.created <= time && found.as_ref().is_none_or(is_later) {
            found = Some(Chosen { commit: *commit, manifest });
        }
    }
    found.ok_or_else(|| {
        let what = format!("no backup of '{}' in {} was begun before {when}", set.name, set.url);
        Error::new(Exit::BadRun, what).hint("run-sync list --history shows all")
    })
}

fn parse(when: &str, now: Timestamp) -> Option<When> {
    if !when.is_empty() && when.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(when.parse().map_or(When::Hash, When::Number));
    }
    if let Ok(ago) = parse_duration(when) {
        let ago = i64::try_from(ago.as_millis()).ok()?;
        return Timestamp::from_millis(now.millis().checked_sub(ago)?).map(When::Time);
    }
    let is_hash = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if (LEAST..=64).contains(&when.len()) && when.bytes().all(is_hash) {
        return Some(When::Hash);
    }
    let local = |time: NaiveDateTime| Local.from_local_datetime(&time).earliest();
    let formats = ["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];
    let time = DateTime::parse_from_rfc3339(when)
        .map(|time| time.with_timezone(&Local))
        .ok()
        .or_else(|| {
            formats.iter().find_map(|format| NaiveDateTime::parse_from_str(when, format).ok()).and_then(local)
        })
        .or_else(|| local(NaiveDate::parse_from_str(when, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0)?))?;
    Timestamp::from_millis(time.timestamp_millis()).map(When::Time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_a_number_the_start_of_a_hash_or_a_time() {
        let now: Timestamp = "2026-01-29T12:00:00Z".parse().unwrap();
        let time = |text: &str| Some(When::Time(text.parse().unwrap()));
        for (text, expected) in [
            ("3", Some(When::Number(3))),
            ("000003", Some(When::Number(3))),
            ("99999999999999999999999", Some(When::Hash)),
            ("ab12", Some(When::Hash)),
            ("2h", time("2026-01-29T10:00:00Z")),
            ("1d", time("2026-01-28T12:00:00Z")),
            ("2026-01-28T12:00:00Z", time("2026-01-28T12:00:00Z")),
            ("2026-01-28T12:00:00.5+01:00", time("2026-01-28T11:00:00.5Z")),
            ("abc", None),
            ("", None),
            ("yesterday", None),
            ("2026-13-01", None),
            ("AB12", None),
        ] {
            assert_eq!(parse(text, now), expected, "{text}");
        }
        for here in ["2026-01-28", "2026-01-28T00:00", "2026-01-28 00:00", "2026-01-28T00:00:00"] {
            let midnight = Local.with_ymd_and_hms(2026, 1, 28, 0, 0, 0).unwrap();
            let midnight = Timestamp::from_millis(midnight.timestamp_millis()).map(When::Time);
            assert_eq!(parse(here, now), midnight, "{here}");
        }
    }
}
