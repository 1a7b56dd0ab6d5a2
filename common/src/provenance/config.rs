//! Values of configs: YAML, TOML, JSON, and the plain assignments of a Python config. Used by run-new and
//! run-report.

use crate::json::{with_quoted_constants, without_mark};
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value};
use std::path::Path;

/// Maximum size of a config to parse, in bytes.
pub const LIMIT: u64 = 4 << 20;

/// Returns the values of a config under dotted keys, in their order; lists are values.
pub fn flat(values: &Value) -> Vec<(String, Value)> {
    fn add(prefix: &str, value: &Value, into: &mut Vec<(String, Value)>) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                    add(&name, value, into);
                }
            }
            value if !prefix.is_empty() => into.push((prefix.to_owned(), value.clone())),
            _ => {}
        }
    }
    let mut into = Vec::new();
    add("", values, &mut into);
    into
}

/// Finds a dotted key: `train.total_steps`, or the same as one word.
pub fn get<'a>(values: &'a Value, key: &str) -> Option<&'a Value> {
    if let Some(value) = values.get(key) {
        return Some(value);
    }
    let (first, rest) = key.split_once('.')?;
    get(values.get(first)?, rest)
}

/// Reads a config by its extension. An unknown format has no values.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Value, String> {
    if bytes.len() as u64 > LIMIT {
        return Err("it is too large".to_owned());
    }
    let bytes = without_mark(bytes);
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let text = || std::str::from_utf8(bytes).map_err(|error| error.to_string());
    match extension.as_str() {
        "json" => serde_json::from_slice(bytes)
            .or_else(|error| match with_quoted_constants(bytes) {
                Some(quoted) => serde_json::from_slice(&quoted), // Python writes NaN and Infinity
                None => Err(error),
            })
            .map_err(|error| error.to_string()),
        "toml" => toml::from_str(text()?).map_err(|error| error.message().to_owned()),
        "yaml" | "yml" => parse_yaml(text()?),
        "py" => Ok(parse_python(text()?)),
        _ => Ok(Value::Null),
    }
}

fn parse_yaml(text: &str) -> Result<Value, String> {
    if nesting(text) > 100 {
        return Err("it is nested too deeply".to_owned());
    }
    let documents = Yaml::load_from_str(text).map_err(|error| error.to_string())?;
    Ok(documents.first().map_or(Value::Null, from_yaml))
}

/// Limits the nesting of a YAML text: by brackets, or by indentation and dashes.
fn nesting(text: &str) -> usize {
    let brackets = text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count();
    let deepest =
        |line: &str| line.bytes().take_while(|byte| matches!(byte, b' ' | b'-' | b'?' | b':')).count();
    let (mut depth, mut most): (usize, usize) = (0, 0);
    if brackets > 100 {
        for byte in text.bytes() {
            match byte {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            most = most.max(depth);
        }
    }
    most.max(text.lines().map(deepest).max().unwrap_or(0) / 2)
}

fn from_yaml(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Value(Scalar::Boolean(value)) => Value::Bool(*value),
        Yaml::Value(Scalar::Integer(value)) => Value::from(*value),
        Yaml::Value(Scalar::FloatingPoint(value)) => Value::from(value.into_inner()),
        Yaml::Value(Scalar::String(value)) => Value::from(value.as_ref()),
        Yaml::Sequence(items) => Value::Array(items.iter().map(from_yaml).collect()),
        Yaml::Mapping(entries) => {
            let name = |key: &Yaml| match from_yaml(key) {
                Value::String(name) => name,
                other => other.to_string(),
            };
            Value::Object(entries.iter().map(|(key, value)| (name(key), from_yaml(value))).collect())
        }
        Yaml::Tagged(_, inner) => from_yaml(inner),
        Yaml::Value(Scalar::Null) | Yaml::Representation(..) | Yaml::Alias(_) | Yaml::BadValue => Value::Null,
    }
}

/// Reads the plain assignments of a Python config: `max_iters = 5000  # comment` at the margin. A name that is assigned
/// anything else later has no value.
fn parse_python(text: &str) -> Value {
    let mut values = Map::new();
    let mut within = None; // a text of several lines, by its quotes
    for line in text.lines() {
        let begins_within = within.is_some();
        within = quotes_after(line, within);
        let Some((name, literal)) = line.split_once('=').filter(|_| !begins_within) else { continue };
        if literal.starts_with('=') {
            continue; // a comparison
        }
        let name = name.split(':').next().unwrap_or(name).trim_end(); // `lr: float = 1e-3`
        let bare = name.trim_end_matches(|c| "+-*/%@&|^<>".contains(c)).trim_end(); // `seed += 1`
        let is_name = bare.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && bare.chars().all(|c| c.is_alphanumeric() || c == '_');
        match python_literal(literal.trim()).filter(|_| bare == name) {
            _ if !is_name => {}
            Some(value) => drop(values.insert(name.to_owned(), value)),
            None => drop(values.shift_remove(bare)),
        }
    }
    Value::Object(values)
}

/// Returns the quotes of the text of several lines that a line is followed by, if it begins `within` one or not.
fn quotes_after(line: &str, mut within: Option<&'static str>) -> Option<&'static str> {
    let mut rest = line;
    loop {
        let quotes = match within {
            Some(quotes) => quotes,
            None => {
                let first = |quotes: &&str| rest.find(*quotes);
                let next = ["\"\"\"", "'''"]
                    .into_iter()
                    .filter(|quotes| first(quotes).is_some())
                    .min_by_key(first)?;
                if rest.split(next).next().is_some_and(|before| before.contains('#')) {
                    return None; // in a comment
                }
                next
            }
        };
        let Some((_, after)) = rest.split_once(quotes) else { return within };
        rest = after;
        within = if within.is_some() { None } else { Some(quotes) };
    }
}

fn python_literal(text: &str) -> Option<Value> {
    if let Some(quote) = text.chars().next().filter(|quote| matches!(quote, '\'' | '"')) {
        let (inside, rest) = text[1..].split_once(quote)?;
        let is_all = rest.trim_start().is_empty() || rest.trim_start().starts_with('#');
        return Some(Value::from(inside)).filter(|_| is_all && !inside.contains('\\'));
    }
    let word = text.split('#').next()?.trim_end();
    match word {
        "True" => Some(Value::Bool(true)),
        "False" => Some(Value::Bool(false)),
        "None" => Some(Value::Null),
        _ => {
            let digits = word.replace('_', "");
            digits
                .parse::<i64>()
                .map(Value::from)
                .ok()
                .or_else(|| digits.parse::<f64>().ok().filter(|x| x.is_finite()).map(Value::from))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_flattened_to_the_same_keys() {
        let keys = |name: &str, text: &str| {
            let values = parse(Path::new(name), text.as_bytes()).unwrap();
            flat(&values).into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()
        };
        let expected = ["seed=7", "train.lr=0.1", "train.tags=[\"a\"]"];
        assert_eq!(keys("a.yaml", "seed: 7\ntrain: {lr: 0.1, tags: [a]}\n"), expected);
        assert_eq!(keys("a.toml", "seed = 7\n[train]\nlr = 0.1\ntags = ['a']\n"), expected);
        assert_eq!(keys("a.json", r#"{"seed": 7, "train": {"lr": 0.1, "tags": ["a"]}}"#), expected);
        assert_eq!(
            parse(Path::new("a.json"), br#"{"a": -Infinity}"#),
            Ok(serde_json::json!({"a": "-Infinity"}))
        );
        assert_eq!(keys("a.py", "seed = 7\nlr = 1e-1  # rate\n"), ["seed=7", "lr=0.1"]);
        assert!(flat(&Value::from(3)).is_empty());
    }

    #[test]
    fn of_a_python_config_plain_assignments_count() {
        let read = |text: &str| parse(Path::new("a.py"), text.as_bytes()).unwrap();
        let plain = "a = 'x'  # one\nb: int = 1_000\nc = \"it's\"\nd = None\n";
        assert_eq!(read(plain), serde_json::json!({"a": "x", "b": 1000, "c": "it's", "d": null}));
        for other in [
            "a = \"cuda\" if gpu else \"cpu\"",
            "a = \"cu\" + \"da\"",
            "a = \"cuda:%d\" % 1",
            "a = 'it\\'s'",
            "a = 5 * 2",
            "a = b = 5",
            "a = 5\na = make()",
            "a = 5\na += 1",
            "a = 5\na: int = f(3)",
            "text = \"\"\"\na = 5\n\"\"\"",
            "'''\na = 5\n'''  # a",
            "a = \"\"\"x\"\"\"",
            "if a == 5: pass\n  a = 5",
        ] {
            assert_eq!(read(other), serde_json::json!({}), "{other}");
        }
        assert_eq!(
            read("a = 5  # \"\"\"\nb = 1\na == 6\nc = '''x'''\nd = 2"),
            serde_json::json!({"a": 5, "b": 1, "d": 2})
        );
    }
}
