//! A value of a table: its order, and its form for people, CSV and JSON.

use run_common::cost::dollars;
use run_common::figures::{Precision, money_alike, money_decimals};
use run_common::json::json_number;
use run_common::natural::natural;
use run_common::time::{Timestamp, human_seconds};
use run_metrics::csv::quote;
use serde_json::Value;
use std::cmp::Ordering;

/// A value of a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar {
    /// Missing.
    Empty,
    /// A number; it may be NaN or infinite.
    Number(f64),
    /// A time in seconds.
    Seconds(f64),
    /// A sum of money.
    Dollars(f64),
    /// A number that a person chose, or a count, shown in full.
    Exact(f64),
    /// A time; for people in local time.
    Time(Timestamp),
    /// A number that is the best of its row.
    Best(f64),
    /// Anything else.
    Text(String),
}

/// The form of the values of a column for people.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alike {
    /// The form of measured numbers.
    numbers: Precision,
    /// Number of decimals of sums of money.
    cents: usize,
}

impl Alike {
    /// Returns the form of these values.
    pub(crate) fn of<'a>(values: impl Iterator<Item = &'a Scalar> + Clone) -> Self {
        let numbers = values.clone().filter_map(|value| match value {
            Scalar::Number(number) | Scalar::Best(number) => Some(*number),
            _ => None,
        });
        let sums = values.filter_map(|value| match value {
            Scalar::Dollars(usd) => Some(money_decimals(*usd)),
            _ => None,
        });
        Self { numbers: Precision::of(numbers), cents: sums.max().unwrap_or(2) }
    }
}

impl Scalar {
    /// Converts a text that may be missing.
    pub(crate) fn text(text: Option<&str>) -> Self {
        text.map_or(Self::Empty, |text| Self::Text(text.to_owned()))
    }

    /// Converts a number that may be missing.
    pub(crate) fn number(number: Option<f64>) -> Self {
        number.map_or(Self::Empty, Self::Number)
    }

    /// Converts a count.
    #[expect(clippy::cast_precision_loss, reason = "what is counted here stays far below 2^53")]
    pub(crate) fn count(count: usize) -> Self {
        Self::Exact(count as f64)
    }

    /// Converts a value of a metric, which is money if the name says so.
    pub(crate) fn measured(metric: &str, value: f64) -> Self {
        if value.is_finite() && dollars(metric).is_some() {
            Self::Dollars(value)
        } else {
            Self::Number(value)
        }
    }

    /// Converts a time that may be missing.
    pub(crate) fn time(time: Option<Timestamp>) -> Self {
        time.map_or(Self::Empty, Self::Time)
    }

    /// Converts a setting, whose numbers a person chose.
    pub(crate) fn setting(value: &Value) -> Self {
        match Self::json(value) {
            Self::Number(number) => Self::Exact(number),
            other => other,
        }
    }

    /// Converts a JSON value; null is missing.
    pub(crate) fn json(value: &Value) -> Self {
        match value {
            Value::Null => Self::Empty,
            Value::Number(number) => number.as_f64().map_or(Self::Empty, Self::Number),
            Value::String(text) => Self::Text(text.clone()),
            other => Self::Text(other.to_string()),
        }
    }

    fn float(&self) -> Option<f64> {
        match self {
            Self::Number(number)
            | Self::Seconds(number)
            | Self::Dollars(number)
            | Self::Exact(number)
            | Self::Best(number) => Some(*number),
            Self::Empty | Self::Text(_) | Self::Time(_) => None,
        }
    }

    /// Returns whether two values differ; NaN equals NaN.
    pub(crate) fn differs(&self, other: &Self) -> bool {
        let is_nan = |scalar: &Self| scalar.float().is_some_and(f64::is_nan);
        self != other && !(is_nan(self) && is_nan(other))
    }

    /// Returns the value for people.
    #[cfg(test)]
    pub(crate) fn shown(&self) -> String {
        self.shown_alike(Alike::of([self].into_iter()))
    }

    /// Returns the value for people, in the form of its column.
    pub(crate) fn shown_alike(&self, alike: Alike) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Number(number) => alike.numbers.show(*number),
            Self::Seconds(seconds) => human_seconds(*seconds),
            Self::Dollars(usd) => money_alike(*usd, alike.cents),
            Self::Exact(number) => csv_number(*number),
            Self::Best(number) => format!("{} *", alike.numbers.show(*number)),
            Self::Time(time) => time.local(),
            Self::Text(text) => text.clone(),
        }
    }

    /// Returns the value for JSON.
    pub(crate) fn to_json(&self) -> Value {
        match (self, self.float()) {
            (_, Some(number)) => json_number(number),
            (Self::Text(text), _) => Value::from(text.as_str()),
            (Self::Time(time), _) => Value::from(time.to_string()),
            _ => Value::Null,
        }
    }

    /// Appends the value as a field of CSV.
    pub(crate) fn write_csv(&self, into: &mut Vec<u8>) {
        match (self, self.float()) {
            (_, Some(number)) => into.extend_from_slice(csv_number(number).as_bytes()),
            (Self::Text(text), _) => quote(text.as_bytes(), into),
            (Self::Time(time), _) => into.extend_from_slice(time.to_string().as_bytes()),
            _ => {}
        }
    }

    /// Compares two values: numbers before times, times before texts, NaN after them, missing values last.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        let rank = |scalar: &Self| match (scalar, scalar.float()) {
            (_, Some(number)) if number.is_nan() => 3,
            (_, Some(_)) => 0,
            (Self::Time(_), _) => 1,
            (Self::Text(_), _) => 2,
            _ => 4,
        };
        rank(self).cmp(&rank(other)).then_with(|| match (self, other) {
            (Self::Text(one), Self::Text(other)) => natural(one.as_bytes(), other.as_bytes()),
            (Self::Time(one), Self::Time(other)) => one.cmp(other),
            _ => self.float().partial_cmp(&other.float()).unwrap_or(Ordering::Equal),
        })
    }

    /// Returns whether the value has a place in the order; NaN and missing values come last in either
    /// direction.
    pub(crate) fn is_comparable(&self) -> bool {
        !matches!(self, Self::Empty) && !self.float().is_some_and(f64::is_nan)
    }
}

/// Returns a number in full, as in CSV.
pub(crate) fn csv_number(number: f64) -> String {
    if number.is_finite() { json_number(number).to_string() } else { number.to_string() }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the numbers are exact")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_are_read_back_as_they_were(number in prop::num::f64::ANY) {
            let back: f64 = csv_number(number).parse().unwrap();
            prop_assert!(back.total_cmp(&number).is_eq() || back.is_nan() && number.is_nan() || back == number);
        }

        #[test]
        fn an_order_is_the_same_from_both_sides(one in any_scalar(), other in any_scalar(), third in any_scalar()) {
            prop_assert_eq!(one.order(&other), other.order(&one).reverse());
            if one.order(&other).is_le() && other.order(&third).is_le() {
                prop_assert!(one.order(&third).is_le());
            }
        }
    }

    fn any_scalar() -> impl Strategy<Value = Scalar> {
        prop_oneof![
            Just(Scalar::Empty),
            prop::num::f64::ANY.prop_map(Scalar::Number),
            (-3_i8..3).prop_map(|number| Scalar::Exact(number.into())),
            "[ab]{0,2}".prop_map(Scalar::Text),
        ]
    }
}
