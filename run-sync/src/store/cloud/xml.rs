//! Answers in XML.

use super::failure::{Answer, Failure};
use quick_xml::Reader;
use quick_xml::events::Event;

/// The deepest nesting of elements: no answer has more.
const DEPTH: usize = 16;

/// Receives the path and the text of an element.
type Each<'a> = dyn FnMut(&[&str], &str) -> Result<(), Failure> + 'a;

/// Parses a successful answer, and calls `each` with the path and text of each element at its end. An `Error`
/// element is an error even so: the status for the end of an upload in parts comes before the end is known.
pub(super) fn elements(document: &str, each: &mut Each<'_>) -> Result<(), Failure> {
    let (mut answer, mut is_error) = (Answer::default(), false);
    walk(document, &mut |path, text| match path {
        ["Error", rest @ ..] => {
            is_error = true;
            note(rest, text, &mut answer);
            Ok(())
        }
        _ => each(path, text),
    })?;
    if is_error {
        answer.status = if answer.code == "InternalError" { 500 } else { 200 };
        return Err(Failure::Answer(Box::new(answer)));
    }
    Ok(())
}

/// Parses an answer of failure.
pub(super) fn error(document: &str, answer: &mut Answer) {
    // An answer that is not XML leaves only the status.
    let _ = walk(document, &mut |path, text| {
        if let ["Error", rest @ ..] = path {
            note(rest, text, answer);
        }
        Ok(())
    });
}

fn note(path: &[&str], text: &str, answer: &mut Answer) {
    match path {
        ["Code"] => text.clone_into(&mut answer.code),
        ["Message"] => text.clone_into(&mut answer.message),
        ["RequestId"] => text.clone_into(&mut answer.request),
        ["Region"] => answer.region = Some(text.to_owned()),
        ["Endpoint"] if answer.location.is_none() => answer.location = Some(text.to_owned()),
        _ => {}
    }
}

/// Calls `each` at the end of each element. Fails if the document is cut off.
fn walk(document: &str, each: &mut Each<'_>) -> Result<(), Failure> {
    let malformed = |what: &dyn std::fmt::Display| Failure::Malformed(what.to_string());
    let (mut path, mut text, mut has_ended) = (Vec::<String>::new(), String::new(), false);
    let mut reader = Reader::from_str(document.trim_start_matches('\u{feff}'));
    reader.config_mut().expand_empty_elements = true;
    loop {
        match reader.read_event().map_err(|error| malformed(&error))? {
            Event::Start(tag) => {
                path.push(tag.local_name().as_ref().to_owned());
                text.clear();
                if path.len() > DEPTH {
                    return Err(malformed(&"elements are nested too deep"));
                }
            }
            Event::Text(part) => text += &part,
            Event::CData(part) => text += &part,
            Event::GeneralRef(name) => match name.resolve_char_ref().map_err(|error| malformed(&error))? {
                Some(character) => text.push(character),
                None => text += quick_xml::escape::resolve_predefined_entity(&name).unwrap_or_default(),
            },
            Event::End(_) => {
                each(&path.iter().map(String::as_str).collect::<Vec<_>>(), &text)?;
                path.pop();
                text.clear();
                has_ended = true;
            }
            Event::Eof if path.is_empty() && has_ended => return Ok(()),
            Event::Eof => return Err(malformed(&"it is cut off")),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(document: &str) -> Result<Vec<String>, Failure> {
        let mut seen = Vec::new();
        elements(document, &mut |path, text| {
            seen.push(format!("{}={text}", path.join("/")));
            Ok(())
        })?;
        Ok(seen)
    }

    #[test]
    fn elements_are_handed_on_as_they_end() {
        let document = "<?xml version=\"1.0\"?>\n<a xmlns=\"x\"><b>1 &amp; &#x41;</b><c/></a>";
        assert_eq!(read(document).unwrap(), ["a/b=1 & A", "a/c=", "a="]);
    }

    #[test]
    fn what_is_cut_off_or_no_xml_is_malformed() {
        let nested = format!("{}{}", "<a>".repeat(20), "</a>".repeat(20));
        for document in ["", "<a><b>1</b>", "<a>", "x", "{\"a\": 1}", "<a><b></a></b>", &nested] {
            assert!(matches!(read(document), Err(Failure::Malformed(_))), "{document}");
        }
    }

    #[test]
    fn an_error_is_one_whatever_the_status_was() {
        let document = "<Error><Code>InternalError</Code><Message>again</Message></Error>";
        let failure = read(document).unwrap_err();
        assert!(failure.may_pass(), "{failure}");
    }
}
