//! The receipts of a cleanup list what is removed, in lines that readers can hold.

use super::copies::Copy;
use super::plan::Removal;
use super::prove::shown;
use run_common::rundir::receipts::Clean;
use run_common::time::Timestamp;

/// Bytes of the paths in a receipt. In JSON, a byte may take six, and readers take lines of 16 MiB.
const PATHS: usize = 1 << 20;

/// Returns the receipts of a cleanup.
pub(super) fn all(copy: &Copy, proven: &[Removal]) -> Vec<Clean> {
    let time = Timestamp::now();
    let paths = proven.iter().flat_map(|removal| removal.found.iter().map(shown));
    let make = |removed| Clean {
        time,
        url: copy.url.clone(),
        name: copy.name(),
        number: copy.commit.number,
        manifest: copy.commit.digest.to_string(),
        removed,
    };
    lists(paths, PATHS).into_iter().map(make).collect()
}

/// Divides paths into lists of about `most` bytes each.
fn lists(paths: impl Iterator<Item = String>, most: usize) -> Vec<Vec<String>> {
    let mut lists: Vec<Vec<String>> = Vec::new();
    let mut room = 0;
    for path in paths {
        if room < path.len() || lists.is_empty() {
            lists.push(Vec::new());
            room = most;
        }
        room = room.saturating_sub(path.len() + 1);
        if let Some(list) = lists.last_mut() {
            list.push(path);
        }
    }
    lists
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_paths_are_listed_in_their_order_and_no_list_is_long() {
        let paths: Vec<String> =
            (0..1000).map(|number| format!("{number}{}", "x".repeat(number % 50))).collect();
        for most in [1, 50, 100, 1000, PATHS] {
            let lists = lists(paths.iter().cloned(), most);
            assert_eq!(lists.concat(), paths);
            let is_short = |list: &Vec<String>| list.len() == 1 || list.concat().len() <= most;
            assert!(lists.iter().all(is_short), "{most}");
        }
        assert!(lists(std::iter::empty(), 9).is_empty());
        assert_eq!(lists(paths.iter().cloned(), PATHS).len(), 1);
    }
}
