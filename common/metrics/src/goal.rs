//! The metric to optimise, as options name it: `val_loss`, `reward:max`.

use crate::names::Better;

/// A metric, and whether higher or lower is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goal<'a> {
    /// Name of the metric.
    pub metric: &'a str,
    /// From the option, else from the name; `None` if unknown.
    pub better: Option<Better>,
}

impl<'a> Goal<'a> {
    /// Reads the name of a metric, which may end in `:min` or `:max`.
    pub fn parse(text: &'a str) -> Self {
        if let Some(metric) = text.strip_suffix(":max") {
            return Self { metric, better: Some(Better::More) };
        }
        match text.strip_suffix(":min") {
            Some(metric) => Self { metric, better: Some(Better::Less) },
            None => Self { metric: text, better: Better::of(text) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_better_is_said_or_in_the_name() {
        for (text, metric, better) in [
            ("loss", "loss", Some(Better::Less)),
            ("loss:max", "loss", Some(Better::More)),
            ("eval/acc:x:min", "eval/acc:x", Some(Better::Less)),
            ("foo", "foo", None),
        ] {
            assert_eq!(Goal::parse(text), Goal { metric, better }, "{text}");
        }
    }
}
