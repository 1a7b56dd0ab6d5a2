//! The words of a shell script's simple commands, split by quotes. No shell reads the script.

/// A word of a script, without its quotes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    /// Whether it was in single quotes, where `$` is literal.
    pub(super) is_literal: bool,
}

/// Returns the words of the simple commands of a script, in their order.
pub(super) fn commands(script: &str) -> Vec<Vec<Word>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<Word> = None;
    let mut chars = script.chars().peekable();
    let end_word = |word: &mut Option<Word>, commands: &mut Vec<Vec<Word>>| {
        let Some(word) = word.take() else { return };
        let is_keyword =
            ["then", "do", "else", "elif", "if", "while", "until", "!", "{", "}", "fi", "done", "time"]
                .contains(&word.text.as_str());
        match commands.last_mut() {
            Some(command) if command.is_empty() && is_keyword => {}
            Some(command) => command.push(word),
            None => {}
        }
    };
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                if let Some(next) = chars.next().filter(|&next| next != '\n') {
                    word.get_or_insert_default().text.push(next);
                }
            }
            '\'' => {
                let word = word.get_or_insert_default();
                word.is_literal = true;
                word.text.extend(chars.by_ref().take_while(|&c| c != '\''));
            }
            '"' => {
                let text = &mut word.get_or_insert_default().text;
                let mut depth = 0;
                while let Some(c) = chars.next() {
                    match c {
                        '"' if depth == 0 => break,
                        '\\' if chars.peek().is_some_and(|next| "\"\\$`".contains(*next)) => {
                            text.extend(chars.next());
                            continue;
                        }
                        '(' => depth += 1,
                        ')' if depth > 0 => depth -= 1,
                        _ => {}
                    }
                    text.push(c);
                }
            }
            '$' if chars.peek() == Some(&'(') => {
                let text = &mut word.get_or_insert_default().text;
                text.push('$');
                let mut depth = 0;
                for c in chars.by_ref() {
                    text.push(c);
                    depth += i32::from(c == '(') - i32::from(c == ')');
                    if depth == 0 {
                        break;
                    }
                }
            }
            '#' if word.is_none() => while chars.next_if(|&c| c != '\n').is_some() {},
            '\n' | ';' | '&' | '|' | '(' | ')' => {
                end_word(&mut word, &mut commands);
                commands.push(Vec::new());
            }
            c if c.is_whitespace() => end_word(&mut word, &mut commands),
            c => word.get_or_insert_default().text.push(c),
        }
    }
    end_word(&mut word, &mut commands);
    commands.retain(|command| !command.is_empty());
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_cut_into_its_simple_commands() {
        let text =
            "set -e # a comment\nif [ -x \"$A b\" ]; then exec 'c d' \"$(e \"f\")\" \\\n  g\\ h; fi && i|j";
        let found: Vec<Vec<String>> =
            commands(text).iter().map(|words| words.iter().map(|word| word.text.clone()).collect()).collect();
        let expected: [&[&str]; 5] = [
            &["set", "-e"],
            &["[", "-x", "$A b", "]"],
            &["exec", "c d", "$(e \"f\")", "g h"],
            &["i"],
            &["j"],
        ];
        assert_eq!(found, expected);
        assert_eq!(commands("'$a'"), [[Word { text: "$a".to_owned(), is_literal: true }]]);
        assert_eq!(commands("\"unfinished"), [[Word { text: "unfinished".to_owned(), is_literal: false }]]);
    }
}
