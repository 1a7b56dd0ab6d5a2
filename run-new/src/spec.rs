//! Parses the SPEC of a sweep into values.
//!
//! A spec is a comma-separated list of items: a value, a range, or a function. A value in double quotes holds
//! any text; in other values, commas inside brackets belong to the value.

use crate::numbers::{between, between_logs, places, rounded, significant, spelled};
use std::collections::HashSet;

/// Maximum number of values of a sweep, and of combinations of a call.
pub(crate) const LIMIT: usize = 100_000;

/// Digits of the values that `lin` and `log` make.
const DIGITS: usize = 12;

/// Where the values of a sweep come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Range {
    /// These values, as spelled.
    List(Vec<String>),
    /// One of these values is drawn.
    Choice(Vec<String>),
    /// A number between the two is drawn, evenly distributed.
    Uniform(f64, f64),
    /// A number between the two is drawn, its logarithm evenly distributed.
    LogUniform(f64, f64),
}

/// An item of a list, as typed.
#[derive(Debug)]
struct Item {
    text: String,
    is_quoted: bool,
}

/// Reads a spec.
pub(crate) fn parse(spec: &str) -> Result<Range, String> {
    let items = items(spec)?;
    if let [Item { text, is_quoted: false }] = items.as_slice()
        && let Some((name, inside)) = call(text)
        && let Some(range) = random(name, inside)?
    {
        return Ok(range);
    }
    values(items).map(Range::List)
}

/// Splits a list at its commas.
fn items(list: &str) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    let mut rest = Some(list);
    while let Some(text) = rest {
        let place = items.len() + 1;
        let (item, after) = if text.starts_with('"') { quoted(text, place)? } else { plain(text, place)? };
        if items.len() == LIMIT {
            return Err(too_many());
        }
        items.push(item);
        rest = after;
    }
    Ok(items)
}

/// Takes a value in double quotes; two double quotes inside stand for one.
fn quoted(text: &str, place: usize) -> Result<(Item, Option<&str>), String> {
    let mut value = String::new();
    let mut rest = &text[1..];
    loop {
        let Some((before, after)) = rest.split_once('"') else {
            return Err(format!("the quote of value {place} is not closed"));
        };
        value.push_str(before);
        rest = match after.strip_prefix('"') {
            Some(after) => after,
            None if after.is_empty() => return Ok((Item { text: value, is_quoted: true }, None)),
            None => {
                let Some(after) = after.strip_prefix(',') else {
                    return Err(format!("there is text after the quote of value {place}"));
                };
                return Ok((Item { text: value, is_quoted: true }, Some(after)));
            }
        };
        value.push('"');
    }
}

/// Takes a value up to the next comma outside brackets.
fn plain(text: &str, place: usize) -> Result<(Item, Option<&str>), String> {
    let mut open = Vec::new();
    let mut end = text.len();
    for (at, c) in text.char_indices() {
        match c {
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            ')' | ']' | '}' if open.pop_if(|due| *due == c).is_none() && !open.is_empty() => {
                return Err(format!(
                    "brackets of value {place} do not match; put the value in double quotes"
                ));
            }
            ',' if open.is_empty() => {
                end = at;
                break;
            }
            _ => {}
        }
    }
    if !open.is_empty() {
        return Err(format!("a bracket of value {place} is not closed; put the value in double quotes"));
    }
    let value = &text[..end];
    if value.is_empty() {
        return Err(format!("value {place} is empty; write \"\" for an empty value"));
    }
    if value.trim_start().starts_with('"') {
        return Err(format!("there are blanks before the quote of value {place}"));
    }
    let after = (end < text.len()).then(|| &text[end + 1..]);
    Ok((Item { text: value.to_owned(), is_quoted: false }, after))
}

/// Returns the values that items stand for; duplicates are an error.
fn values(items: Vec<Item>) -> Result<Vec<String>, String> {
    let mut values = Vec::new();
    for (number, item) in items.into_iter().enumerate() {
        let at_place = |fault| format!("value {}: {fault}", number + 1);
        if item.is_quoted {
            values.push(item.text);
        } else if let Some(range) = integers(&item.text) {
            values.extend(range.map_err(at_place)?);
        } else if let Some((name, inside)) = call(&item.text) {
            values.extend(spaced(name, inside).map_err(at_place)?);
        } else {
            values.push(item.text);
        }
        if values.len() > LIMIT {
            return Err(too_many());
        }
    }
    let mut seen = HashSet::new();
    match values.iter().find(|value| !seen.insert(value.as_str())) {
        Some(twice) => Err(format!("value '{twice}' appears twice")),
        None => Ok(values),
    }
}

fn too_many() -> String {
    format!("more than {LIMIT} values")
}

/// Reads `1..5` or `1..9..2`, both ends included; `None` if the text is not a range.
fn integers(text: &str) -> Option<Result<Vec<String>, String>> {
    let parts: Vec<&str> = text.split("..").collect();
    if !matches!(parts.len(), 2 | 3) || parts.iter().any(|part| part.parse::<f64>().is_err()) {
        return None;
    }
    let numbers: Option<Vec<i128>> =
        parts.iter().map(|part| part.parse::<i64>().ok().map(i128::from)).collect();
    Some(match numbers.as_deref() {
        Some(&[from, to]) => range(from, to, if from <= to { 1 } else { -1 }),
        Some(&[from, to, step]) => range(from, to, step),
        _ => Err(format!("'{text}' is not a range of whole numbers; use lin(FROM,TO,COUNT) for others")),
    })
}

fn range(from: i128, to: i128, step: i128) -> Result<Vec<String>, String> {
    if step == 0 || (to - from).signum() * step.signum() < 0 {
        return Err(format!("no step of {step} leads from {from} to {to}"));
    }
    match usize::try_from((to - from) / step) {
        Ok(steps) if steps < LIMIT => {
            Ok((0..=steps).map(|number| (from + step * number as i128).to_string()).collect())
        }
        _ => Err(too_many()),
    }
}

/// Splits `name(inside)`.
fn call(text: &str) -> Option<(&str, &str)> {
    let (name, inside) = text.strip_suffix(')')?.split_once('(')?;
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some((name, inside))
}

/// Reads a function of random values; `None` for other functions.
fn random(name: &str, inside: &str) -> Result<Option<Range>, String> {
    let bounds = || match inside.split(',').map(number).collect::<Result<Vec<_>, _>>()?.as_slice() {
        &[from, to] if from < to && (to - from).is_finite() => Ok((from, to)),
        _ => Err(format!("{name} takes FROM,TO, the smaller one first")),
    };
    Ok(Some(match name {
        "choice" => Range::Choice(values(items(inside)?)?),
        "uniform" => {
            let (from, to) = bounds()?;
            Range::Uniform(from, to)
        }
        "loguniform" => match bounds()? {
            (from, to) if from > 0.0 => Range::LogUniform(from, to),
            _ => return Err("loguniform takes numbers above 0".to_owned()),
        },
        _ => return Ok(None),
    }))
}

/// Computes `lin(from,to,count)` and `log(from,to,count)`.
fn spaced(name: &str, inside: &str) -> Result<Vec<String>, String> {
    let logarithmic = match name {
        "lin" => false,
        "log" => true,
        "choice" | "uniform" | "loguniform" => {
            return Err(format!("{name}(...) must be the whole spec, not an item of a list"));
        }
        _ => {
            return Err(format!(
                "unknown function '{name}'; if \"{name}(...)\" is a value, put it in double quotes"
            ));
        }
    };
    let [from, to, count] = inside.split(',').collect::<Vec<_>>()[..] else {
        return Err(format!("{name} takes FROM,TO,COUNT"));
    };
    let (from, to) = (number(from)?, number(to)?);
    let count = match count.trim().parse::<u32>() {
        Ok(count) if count >= 2 => count,
        _ => return Err(format!("{name} takes a COUNT of 2 or more")),
    };
    if count as usize > LIMIT {
        return Err(too_many());
    }
    if logarithmic && !(from > 0.0 && to > 0.0) {
        return Err("log takes numbers above 0".to_owned());
    }
    let last = count - 1;
    let value = |number: u32| {
        let part = f64::from(number) / f64::from(last);
        match number {
            0 => from,
            _ if number == last => to,
            _ if logarithmic => significant(between_logs(from, to, part), DIGITS),
            _ => rounded(between(from, to, part), places(from.abs().max(to.abs()), DIGITS)),
        }
    };
    Ok((0..count).map(|number| spelled(value(number))).collect())
}

fn number(text: &str) -> Result<f64, String> {
    let parsed = text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    parsed.ok_or_else(|| format!("'{text}' is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(spec: &str) -> Vec<String> {
        match parse(spec).unwrap() {
            Range::List(values) => values,
            other => panic!("{spec}: {other:?}"),
        }
    }

    fn fault(spec: &str) -> String {
        parse(spec).unwrap_err()
    }

    #[test]
    fn values_keep_their_spelling() {
        assert_eq!(
            list("1e-3,0.10,True,a b,x=y,it's,a\"b"),
            ["1e-3", "0.10", "True", "a b", "x=y", "it's", "a\"b"]
        );
        assert_eq!(
            list("\"a,b\",\"\",\"say \"\"hi\"\"\",\"1..5\",\"lin(1,2,3)\""),
            ["a,b", "", "say \"hi\"", "1..5", "lin(1,2,3)"]
        );
        assert_eq!(
            list("[64,64],(0.9,0.99),{\"a\": [1,2], \"b\": 3},:),../x,1.."),
            ["[64,64]", "(0.9,0.99)", "{\"a\": [1,2], \"b\": 3}", ":)", "../x", "1.."]
        );
    }

    #[test]
    fn ranges_hold_both_ends() {
        assert_eq!(list("1..5"), ["1", "2", "3", "4", "5"]);
        assert_eq!(list("1..9..3"), ["1", "4", "7"]);
        assert_eq!(list("2..-1"), ["2", "1", "0", "-1"]);
        assert_eq!(list("8..0..-4,100"), ["8", "4", "0", "100"]);
        assert_eq!(list("7..7"), ["7"]);
    }

    #[test]
    fn numbers_are_short_and_exact() {
        assert_eq!(list("log(1e-4,1e-2,3)"), ["0.0001", "0.001", "0.01"]);
        assert_eq!(list("log(1,1000000,7)"), ["1", "10", "100", "1000", "10000", "100000", "1000000"]);
        assert_eq!(list("log(1e-9,1e-6,4)"), ["1e-9", "1e-8", "1e-7", "0.000001"]);
        assert_eq!(list("log(100,1,3)"), ["100", "10", "1"]);
        assert_eq!(list("log(1e-300,1,4)"), ["1e-300", "1e-200", "1e-100", "1"]);
        assert_eq!(list("log(1e-5,1e-4,3)"), ["0.00001", "0.0000316227766017", "0.0001"]);
        assert_eq!(
            list("lin(0,1,11)"),
            ["0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "1"]
        );
        assert_eq!(list("lin(-0.2, 0.4, 4)"), ["-0.2", "0", "0.2", "0.4"]);
        assert_eq!(list("lin(0,1,4)"), ["0", "0.333333333333", "0.666666666667", "1"]);
        assert_eq!(list("lin(1e300,-1e300,3)"), ["1e300", "0", "-1e300"]);
        assert_eq!(list("lin(16,64,4)"), ["16", "32", "48", "64"]);
        assert_eq!(list("lin(2.50e-8,1e16,2)"), ["2.5e-8", "1e16"]);
    }

    #[test]
    fn faults_name_the_place() {
        for (spec, expected) in [
            ("", "value 1 is empty; write \"\" for an empty value"),
            ("a,,b", "value 2 is empty; write \"\" for an empty value"),
            ("a,", "value 2 is empty; write \"\" for an empty value"),
            ("a,\"b", "the quote of value 2 is not closed"),
            ("\"a\"b", "there is text after the quote of value 1"),
            ("a, \"b\"", "there are blanks before the quote of value 2"),
            ("a,f(b", "a bracket of value 2 is not closed; put the value in double quotes"),
            ("(a]", "brackets of value 1 do not match; put the value in double quotes"),
            ("1,2,1", "value '1' appears twice"),
            ("1..3,2", "value '2' appears twice"),
            ("x,1..5..0", "value 2: no step of 0 leads from 1 to 5"),
            ("1..5..-1", "value 1: no step of -1 leads from 1 to 5"),
            ("0..100000", "value 1: more than 100000 values"),
            ("-9223372036854775808..9223372036854775807", "value 1: more than 100000 values"),
            (
                "0.1..0.5",
                "value 1: '0.1..0.5' is not a range of whole numbers; use lin(FROM,TO,COUNT) for others",
            ),
            ("lin(1,2)", "value 1: lin takes FROM,TO,COUNT"),
            ("lin(1,2,1)", "value 1: lin takes a COUNT of 2 or more"),
            ("lin(1,x,3)", "value 1: 'x' is not a number"),
            ("lin(1,inf,3)", "value 1: 'inf' is not a number"),
            ("log(0,1,3)", "value 1: log takes numbers above 0"),
            ("log(1,1,3)", "value '1' appears twice"),
            (
                "logspace(1,2,3)",
                "value 1: unknown function 'logspace'; if \"logspace(...)\" is a value, put it in double quotes",
            ),
            ("1,uniform(0,1)", "value 2: uniform(...) must be the whole spec, not an item of a list"),
            ("uniform(1,0)", "uniform takes FROM,TO, the smaller one first"),
            ("loguniform(0,1)", "loguniform takes numbers above 0"),
            ("choice(1,1)", "value '1' appears twice"),
        ] {
            assert_eq!(fault(spec), expected, "{spec}");
        }
    }

    proptest! {
        #[test]
        fn a_quoted_value_is_any_text(values in proptest::collection::hash_set(".*", 1..5)) {
            let values: Vec<String> = values.into_iter().collect();
            let quoted: Vec<String> =
                values.iter().map(|value| format!("\"{}\"", value.replace('"', "\"\""))).collect();
            prop_assert_eq!(list(&quoted.join(",")), values);
        }
    }
}
