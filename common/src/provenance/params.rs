//! Options of a command line, read as key and value, so that runs can be compared by them.

use serde_json::{Map, Value};

/// Reads `--key=value`, `--key value`, `--flag` and `key=value`; values stay as typed, and a flag
/// is `true`. What precedes the options, and what is neither, is left out.
pub fn params(command: &[String]) -> Map<String, Value> {
    let mut params = Map::new();
    let mut arguments = command.iter().skip(1).peekable();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            continue;
        }
        let dashed =
            argument.strip_prefix("--").or_else(|| argument.strip_prefix('-').filter(|rest| is_name(rest)));
        match (dashed, argument.split_once('=')) {
            (Some(_), Some((key, value))) => {
                params.insert(key.trim_start_matches('-').to_owned(), value.into());
            }
            (Some(key), None) if is_name(key) => {
                let value = arguments.next_if(|next| !next.starts_with('-') || next.parse::<f64>().is_ok());
                params.insert(key.to_owned(), value.map_or(Value::Bool(true), |value| value.as_str().into()));
            }
            (None, Some((key, value))) if is_name(key) => {
                params.insert(key.to_owned(), value.into());
            }
            _ => {}
        }
    }
    params
}

/// Says whether a word can be a key: `lr`, `train.lr`, `learning-rate`, `+optim/lr`.
fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '+')
        && word.chars().all(|c| c.is_alphanumeric() || "._-+/@".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn options_are_read_as_key_and_value() {
        let command = "python train.py data.yaml --lr=1e-3 --seed 7 --bias -0.5 --amp -v optim.name=adam x=a=b -- --eq= k";
        let command: Vec<String> = command.split(' ').map(str::to_owned).collect();
        let expected = json!({
            "lr": "1e-3", "seed": "7", "bias": "-0.5", "amp": true, "v": "optim.name=adam", "x": "a=b", "eq": ""
        });
        assert_eq!(Value::Object(params(&command)), expected);
    }
}
