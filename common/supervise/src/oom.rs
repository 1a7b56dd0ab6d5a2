//! Detects whether the kernel has killed processes because memory ran out, from the counters of the cgroup
//! (cgroups(7)).

use run_common::fsio::read::read_kernel;
use std::path::PathBuf;

/// Counts the out-of-memory kills in this cgroup since its creation.
#[derive(Debug)]
pub(super) struct OomKills {
    path: PathBuf,
    before: u64,
}

impl OomKills {
    /// Finds the counter of the calling process's cgroup: `memory.events` (v2) or `memory.oom_control` (v1).
    pub(super) fn find() -> Option<Self> {
        let groups = read_kernel("/proc/self/cgroup").ok()?;
        let mut candidates = groups.lines().flat_map(candidates);
        candidates.find_map(|path| count(&path).map(|before| Self { path, before }))
    }

    /// Returns the number of kills.
    pub(super) fn since(&self) -> u64 {
        count(&self.path).and_then(|now| now.checked_sub(self.before)).unwrap_or_default()
    }
}

/// Returns the possible paths of the counter for a line of `/proc/self/cgroup`.
fn candidates(line: &str) -> Vec<PathBuf> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { return Vec::new() };
    let (roots, file): (&[&str], _) = match controllers {
        "" => (&["/sys/fs/cgroup", "/sys/fs/cgroup/unified"], "memory.events"),
        _ if controllers.split(',').any(|name| name == "memory") => {
            (&["/sys/fs/cgroup/memory"], "memory.oom_control")
        }
        _ => (&[], ""),
    };
    // In a container, the path of the group may be that of the host, while the container's root is the group
    // itself.
    let of_root = |root: &&str| [format!("{root}{group}/{file}"), format!("{root}/{file}")];
    roots.iter().flat_map(of_root).map(PathBuf::from).collect()
}

fn count(path: &PathBuf) -> Option<u64> {
    let text = read_kernel(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_cgroups_are_known() {
        let paths = |line: &str| -> Vec<String> {
            candidates(line).iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(paths("0::/a")[..2], ["/sys/fs/cgroup/a/memory.events", "/sys/fs/cgroup/memory.events"]);
        assert_eq!(
            paths("4:hugetlb,memory:/a"),
            ["/sys/fs/cgroup/memory/a/memory.oom_control", "/sys/fs/cgroup/memory/memory.oom_control"]
        );
        assert!(paths("5:cpu:/a").is_empty() && paths("").is_empty());
    }
}
