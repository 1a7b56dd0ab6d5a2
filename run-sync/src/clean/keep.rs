//! The checkpoints that a cleanup keeps, by the list of `--keep`. Pure.

use crate::cli::Keep;
use run_checkpoint::{Checkpoint, latest, passed_over};
use run_common::error::Error;
use run_metrics::goal::Goal;
use run_metrics::name_list::NameList;
use std::collections::BTreeSet;

/// An item of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    /// The last checkpoints, this number.
    Last(usize),
    /// Checkpoints whose step is a multiple of this.
    Every(u64),
    /// Checkpoints that have a label, or no step, in their names.
    Final,
    /// The checkpoint at which a metric was best.
    Best { metric: String, is_more: bool },
}

/// The checkpoints to keep. The latest complete checkpoint is always among them.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    rules: Vec<Rule>,
    /// The user has given a list.
    pub(super) is_given: bool,
    /// Keep the weights of the other checkpoints.
    pub(super) keeps_weights: bool,
}

impl Policy {
    /// Reads the options.
    pub(super) fn new(args: &Keep) -> Result<Self, Error> {
        let items = NameList::of(&args.keep).names(|_| false); // a name with commas stands in quotes
        let rules = items.iter().map(|text| Rule::parse(text)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { is_given: args.keep_latest || !rules.is_empty(), rules, keeps_weights: args.keep_weights })
    }

    /// Returns the metrics that the list needs.
    pub(super) fn metrics(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().filter_map(|rule| match rule {
            Rule::Best { metric, .. } => Some(metric.as_str()),
            _ => None,
        })
    }

    /// Returns for each checkpoint whether it is kept. `value` returns the value of a metric at a step. Fails
    /// with the reason why the list cannot be applied.
    pub(super) fn kept(
        &self,
        all: &[Checkpoint],
        value: &dyn Fn(&str, u64) -> Option<f64>,
    ) -> Result<Vec<bool>, String> {
        let mut kept = of_last(all, 1);
        if latest(all).is_none() {
            // Without a known step, the checkpoint that was written last is the latest.
            let complete = all.iter().filter(|one| one.is_complete());
            let newest = complete.map(|one| one.size.modified_ns).max();
            mark(&mut kept, all, |one| one.is_complete() && Some(one.size.modified_ns) == newest);
        }
        let unsure: BTreeSet<_> = passed_over(all).map(|(one, _)| &one.path).collect();
        mark(&mut kept, all, |one| unsure.contains(&one.path));
        for rule in &self.rules {
            match rule {
                Rule::Last(count) => {
                    let last = of_last(all, *count);
                    kept.iter_mut().zip(last).for_each(|(kept, last)| *kept |= last);
                }
                Rule::Every(count) => mark(&mut kept, all, |one| {
                    one.is_complete() && one.step.is_some_and(|step| step.is_multiple_of(*count))
                }),
                Rule::Final => mark(&mut kept, all, |one| !one.is_named || !one.labels.is_empty()),
                Rule::Best { .. } if all.is_empty() => {}
                Rule::Best { metric, is_more } => {
                    let best = best(all, metric, *is_more, value)?;
                    mark(&mut kept, all, |one| one.is_complete() && one.order() == Some(best));
                }
            }
        }
        Ok(kept)
    }
}

impl Rule {
    fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || {
            let error = Error::usage(format!("'{text}' does not say what to keep"));
            error
                .hint("--keep takes latest, best:METRIC[:min|max], N, every:K and final, separated by commas")
        };
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number > 0).ok_or_else(wrong);
        if let Some(goal) = text.strip_prefix("best:") {
            let Goal { metric, better } = Goal::parse(goal);
            let Some(better) = better.filter(|_| !metric.is_empty()) else {
                let what = format!("the name of '{metric}' does not say whether more or less is better");
                let hint = format!("--keep 'best:{metric}:min' or --keep 'best:{metric}:max' says so");
                return Err(if metric.is_empty() { wrong() } else { Error::usage(what).hint(hint) });
            };
            return Ok(Self::Best { metric: metric.to_owned(), is_more: better.is_more() });
        }
        if let Some(count) = text.strip_prefix("every:") {
            return Ok(Self::Every(number(count)?.into()));
        }
        match text {
            "latest" => Ok(Self::Last(1)),
            "final" => Ok(Self::Final),
            count => Ok(Self::Last(usize::try_from(number(count)?).unwrap_or(usize::MAX))),
        }
    }
}

fn mark(kept: &mut [bool], all: &[Checkpoint], is_kept: impl Fn(&Checkpoint) -> bool) {
    kept.iter_mut().zip(all).for_each(|(kept, one)| *kept |= is_kept(one));
}

/// Marks the complete checkpoints of the last steps. Among several of one step, those whose names have the
/// step, if any.
fn of_last(all: &[Checkpoint], count: usize) -> Vec<bool> {
    let complete = || all.iter().filter(|one| one.is_complete());
    let orders: BTreeSet<_> = complete().filter_map(Checkpoint::order).collect();
    let last: BTreeSet<_> = orders.into_iter().rev().take(count).collect();
    let named: BTreeSet<_> = complete().filter(|one| one.is_named).filter_map(Checkpoint::order).collect();
    let is_last = |one: &Checkpoint| {
        one.is_complete()
            && one
                .order()
                .is_some_and(|order| last.contains(&order) && (one.is_named || !named.contains(&order)))
    };
    all.iter().map(is_last).collect()
}

/// Returns the step at which a metric was best, the last of several.
fn best(
    all: &[Checkpoint],
    metric: &str,
    is_more: bool,
    value: &dyn Fn(&str, u64) -> Option<f64>,
) -> Result<(u64, u64), String> {
    if all.iter().any(|one| one.epoch.is_some()) {
        return Err(
            "steps begin again with each epoch, so that no metric belongs to one checkpoint".to_owned()
        );
    }
    let of_one =
        |one: &Checkpoint| Some((value(metric, one.step?).filter(|value| value.is_finite())?, one.order()?));
    let found = all.iter().filter(|one| one.is_complete()).filter_map(of_one);
    let is_better = |one: f64, other: f64| if is_more { one > other } else { one < other };
    let best = found.reduce(|best, next| {
        let is_next = is_better(next.0, best.0) || !is_better(best.0, next.0) && next.1 > best.1;
        if is_next { next } else { best }
    });
    best.map(|(_, order)| order).ok_or_else(|| format!("no checkpoint has a value of '{metric}'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use run_checkpoint::{Label, Size, State};

    fn checkpoint(path: &str, step: Option<u64>, is_complete: bool) -> Checkpoint {
        Checkpoint {
            path: path.into(),
            parts: vec![path.into()],
            step,
            epoch: None,
            is_named: step.is_some(),
            labels: Vec::new(),
            size: Size::default(),
            state: if is_complete { State::Complete } else { State::Incomplete("is cut short".to_owned()) },
        }
    }

    fn policy(list: &str) -> Result<Policy, Error> {
        let keep = if list.is_empty() { Vec::new() } else { vec![list.to_owned()] };
        Policy::new(&Keep { keep, keep_latest: false, keep_weights: false, copies: 1 })
    }

    fn names(list: &str, all: &[Checkpoint]) -> String {
        let value = |metric: &str, step: u64| match metric {
            "loss" => Some([9.0, 3.0, 1.0, 1.0, f64::NAN, 5.0][usize::try_from(step / 10).unwrap()]),
            "reward" => Some(f64::from(u32::try_from(step).unwrap() % 40)),
            _ => None,
        };
        match policy(list).unwrap().kept(all, &value) {
            Ok(kept) => {
                let kept = all.iter().zip(kept).filter(|(_, kept)| *kept);
                kept.map(|(one, _)| one.path.to_str().unwrap()).collect::<Vec<_>>().join(" ")
            }
            Err(why) => why,
        }
    }

    #[test]
    fn each_item_keeps_what_it_says_and_the_latest_stays() {
        let mut all: Vec<_> =
            [10, 20, 30, 40].map(|step| checkpoint(&step.to_string(), Some(step), true)).into();
        all.insert(1, checkpoint("15", Some(15), false));
        all.push(checkpoint("50", Some(50), false));
        let last =
            Checkpoint { labels: vec![Label::Final], is_named: false, ..checkpoint("final", Some(40), true) };
        all.push(last);
        for (list, expected) in [
            ("", "40 50"),
            ("latest", "40 50"),
            ("3", "20 30 40 50"),
            ("every:20", "20 40 50 final"),
            ("every:7", "40 50"),
            ("final", "40 50 final"),
            ("best:loss", "30 40 50"),
            ("best:loss:max", "10 40 50"),
            ("best:reward:max,1", "30 40 50"),
            ("best:accuracy", "no checkpoint has a value of 'accuracy'"),
            ("\"best:acc,none:max\",3", "no checkpoint has a value of 'acc,none'"),
            ("99", "10 20 30 40 50"),
        ] {
            assert_eq!(names(list, &all), expected, "{list}");
        }
        all[0].epoch = Some(1);
        assert_eq!(
            names("best:loss", &all),
            "steps begin again with each epoch, so that no metric belongs to one checkpoint"
        );
    }

    #[test]
    fn without_any_step_the_newest_stays() {
        let mut all =
            vec![checkpoint("a", None, true), checkpoint("b", None, true), checkpoint("c", None, false)];
        all[0].size.modified_ns = 5;
        assert_eq!(names("latest", &all), "a c");
    }

    #[test]
    fn where_there_is_no_checkpoint_there_is_nothing_to_decide() {
        assert_eq!(names("latest,best:accuracy,3", &[]), "");
    }

    #[test]
    fn two_of_one_step_both_stay() {
        let all = [
            checkpoint("a_5", Some(5), true),
            checkpoint("b_5", Some(5), true),
            checkpoint("4", Some(4), true),
        ];
        assert_eq!(names("latest", &all), "a_5 b_5");
    }

    #[test]
    fn what_says_nothing_is_refused() {
        for wrong in
            ["0", "-1", "every:0", "every:", "best:", "best:foo", "all", "latest:2", "best::max", "x"]
        {
            assert!(policy(wrong).is_err(), "{wrong}");
        }
        assert!(policy("best:foo:max,latest,3,every:10,final").is_ok());
    }

    proptest! {
        #[test]
        fn the_latest_complete_one_is_kept_whatever_the_list(
            steps in proptest::collection::vec((proptest::option::of(0_u64..50), any::<bool>()), 1..20),
            list in "(latest|final|[1-9]|every:[1-9]|best:loss:min)(,(final|[1-9]))?",
        ) {
            let all: Vec<_> = steps
                .iter()
                .enumerate()
                .map(|(at, (step, is_complete))| checkpoint(&at.to_string(), *step, *is_complete))
                .collect();
            if let Ok(kept) = policy(&list).unwrap().kept(&all, &|_, step| Some(f64::from(u32::try_from(step).unwrap()))) {
                let kept: Vec<_> = all.iter().zip(kept).filter(|(_, kept)| *kept).map(|(one, _)| one).collect();
                if let Some(latest) = latest(&all) {
                    prop_assert!(kept.contains(&latest));
                }
                let has_complete = |all: &[&Checkpoint]| all.iter().any(|one| one.is_complete());
                prop_assert_eq!(has_complete(&kept), has_complete(&all.iter().collect::<Vec<_>>()));
            }
        }
    }
}
