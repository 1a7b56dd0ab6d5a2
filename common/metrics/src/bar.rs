//! The step in a progress bar of tqdm, for programs that show the step nowhere else: the Hugging Face Trainer
//! prints only the fraction of the epoch with its metrics.

use run_common::fsio::open_regular;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Number of bytes at the end of a log to search.
const END: u64 = 8 << 10;

/// Words in the title of a bar that counts steps.
const TITLES: [&str; 4] = ["step", "train", "iter", "epoch"];

/// Returns the position of the last bar in a log that goes up to `total`, in the output after `start`. A bar
/// with another title, such as for reading a data set, does not count.
pub fn last_step(log: &Path, start: u64, total: f64) -> Option<f64> {
    let mut file = open_regular(log).ok()??;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(start.max(length.saturating_sub(END)))).ok()?;
    let mut bytes = Vec::new();
    file.take(END).read_to_end(&mut bytes).ok()?;
    last_in(&String::from_utf8_lossy(&bytes), total)
}

fn last_in(text: &str, total: f64) -> Option<f64> {
    let drawn = text.rsplit(['\r', '\n']).filter_map(bar);
    drawn.filter(|(_, last)| (last - total).abs() < 0.5).map(|(at, _)| at).next()
}

/// Reads `Training:  48%|████▊     | 96/200 [00:10<00:11,  9.2it/s]`.
fn bar(drawn: &str) -> Option<(f64, f64)> {
    let (head, rest) = drawn.split_once("%|")?;
    let (title, percent) = head.rsplit_once(' ').unwrap_or(("", head));
    let title = title.trim_matches([' ', ':']).to_lowercase();
    if percent.is_empty()
        || percent.contains(|char: char| !char.is_ascii_digit())
        || !(title.is_empty() || TITLES.iter().any(|word| title.contains(word)))
    {
        return None;
    }
    let (_, count) = rest.split_once("| ")?;
    let (at, last) = count.split_once(" [")?.0.split_once('/')?;
    let whole = |text: &str| text.parse::<u32>().ok().map(f64::from);
    whole(at.trim()).zip(whole(last)).filter(|(at, last)| at <= last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bar_of_the_steps_counts() {
        let step = |text: &str| last_in(text, 200.0);
        assert_eq!(step("\r 48%|████▊     | 96/200 [00:10<00:11,  9.2it/s]"), Some(96.0));
        assert_eq!(
            step("\r 47%|█| 95/200 [00:10<00:11]\r 48%|█| 96/200 [00:10<00:11]\r          "),
            Some(96.0)
        );
        assert_eq!(step("Steps:  48%|█| 96/200 [00:10<00:11,  9.2it/s, lr=1e-4, step_loss=0.1]"), Some(96.0));
        assert_eq!(step("\r  0%|          | 0/200 [00:00<?, ?it/s]"), Some(0.0));
        let evaluates = "\r 50%|█| 100/200 [00:10<00:11]\n\r 25%|██▌       | 8/32 [00:00<00:01, 20.1it/s]";
        assert_eq!(step(evaluates), Some(100.0), "of another total");
        for other in [
            "Map: 100%|██████████| 200/200 [00:00<00:00, 9.2 examples/s]",
            "100%|██████████| 1.2k/200 [00:00<00:00]",
            "loss 48% | 96/200 [x",
            "x48%|█| 96/200 [00:10<00:11]",
            " 48%|█| 300/200 [00:10<00:11]",
            "48%|█| 96/200",
            "",
        ] {
            assert_eq!(step(other), None, "{other}");
        }
    }
}
