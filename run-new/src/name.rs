//! Names of runs.

use run_common::time::Timestamp;
use std::path::Path;

/// Bytes of a name.
const LIMIT: usize = 200;

/// Bytes that are kept free for what makes a name unique.
const ROOM: usize = 8;

/// Says what is wrong with a name, if anything is.
pub(crate) fn fault(name: &str) -> Option<&'static str> {
    match name {
        "" => Some("it is empty"),
        _ if name.len() > LIMIT => Some("it is longer than 200 bytes"),
        _ if name.starts_with(['-', '.']) => Some("it begins with '-' or '.'"),
        _ if name.contains('/') => Some("it contains '/'"),
        _ if name.chars().any(char::is_control) => Some("it contains a control character"),
        _ => None,
    }
}

/// Returns the default name for a config: its stem, or `run`, and the time in UTC.
pub(crate) fn by_default(config: Option<&Path>, now: Timestamp) -> String {
    let time = now.utc("%Y-%m-%d_%H-%M-%S");
    let stem = config.and_then(Path::file_stem).map_or_else(|| "run".into(), |stem| stem.to_string_lossy());
    let mut stem: String = stem.chars().map(|c| if c.is_control() { '_' } else { c }).collect();
    if stem.starts_with(['-', '.']) {
        stem.replace_range(..1, "_");
    }
    while stem.len() + 1 + time.len() + ROOM > LIMIT {
        stem.pop();
    }
    format!("{stem}_{time}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_any_text_that_is_safe_as_a_file_name() {
        for good in ["a", "a b", "lr=0.1", "'quoted' \"name\"", "🚀", &"x".repeat(200)] {
            assert_eq!(fault(good), None, "{good}");
        }
        for bad in ["", "-x", ".x", "a/b", "a\nb", "a\u{0}b", &"x".repeat(201)] {
            assert!(fault(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn default_names_are_names() {
        let now: Timestamp = "2026-01-29T12:00:00Z".parse().unwrap();
        assert_eq!(by_default(None, now), "run_2026-01-29_12-00-00");
        assert_eq!(by_default(Some(Path::new("a/dqn.x.yaml")), now), "dqn.x_2026-01-29_12-00-00");
        for odd in [".hidden", "-x\n.py", &"ü".repeat(120)] {
            assert_eq!(fault(&by_default(Some(Path::new(odd)), now)), None, "{odd}");
        }
    }
}
