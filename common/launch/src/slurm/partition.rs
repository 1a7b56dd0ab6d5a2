//! The time limit that a job gets if its options do not name one: that of its partition.

use super::submit::value;
use super::time;
use std::time::Duration;

/// Returns the shortest time limit of the partitions that a job may run in, from its options, the value of
/// `SBATCH_PARTITION`, and what scontrol prints. `None` means no limit.
pub(super) fn limit(own: &[String], variable: Option<&str>, shown: &str) -> Option<Duration> {
    let named: Option<Vec<&str>> =
        value(own, "-p", "--partition").or(variable).map(|names| names.split(',').collect());
    let lines = shown.lines().filter(|line| match &named {
        Some(names) => field(line, "PartitionName").is_some_and(|name| names.contains(&name)),
        None => field(line, "Default") == Some("YES"),
    });
    lines.filter_map(of_partition).min()
}

fn of_partition(line: &str) -> Option<Duration> {
    let of = |name: &str| field(line, name).and_then(time::limit);
    // Without a default, the greatest limit applies.
    of("DefaultTime").or_else(|| of("MaxTime"))
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_that_of_the_partition() {
        let shown = "PartitionName=debug AllowGroups=ALL Default=YES QoS=N/A DefaultTime=01:00:00 MaxTime=UNLIMITED\n\
            PartitionName=short Default=NO DefaultTime=NONE MaxTime=00:05:00\n\
            PartitionName=long Default=NO DefaultTime=NONE MaxTime=UNLIMITED\n";
        let seconds = |own: &[&str], variable| {
            let own: Vec<String> = own.iter().map(|&word| word.to_owned()).collect();
            limit(&own, variable, shown).map(|limit| limit.as_secs())
        };
        assert_eq!(seconds(&[], None), Some(3600));
        assert_eq!(seconds(&["-p", "short"], None), Some(300));
        assert_eq!(seconds(&["--partition=long"], None), None);
        assert_eq!(seconds(&["-plong,short"], Some("debug")), Some(300));
        assert_eq!(seconds(&[], Some("short")), Some(300));
        assert_eq!((seconds(&["-p", "none"], None), limit(&[], None, "")), (None, None));
    }
}
