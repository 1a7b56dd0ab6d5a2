//! Lists of blobs, page by page.

use super::super::failure::Failure;
use super::super::http::text;
use super::super::listed::Listed;
use super::super::xml::elements;
use super::Azure;
use super::container::Ask;
use crate::store::Object;
use std::collections::HashSet;

impl Azure {
    /// Lists all blobs whose keys begin with a prefix, or the directories of these blobs.
    pub(super) fn list_all(&self, prefix: &str, directories: bool) -> Result<Listed, Failure> {
        let (mut listed, mut marker, mut seen) = (Listed::default(), String::new(), HashSet::new());
        loop {
            let mut query = vec![("comp", "list")];
            if directories {
                query.push(("delimiter", "/"));
            }
            if !marker.is_empty() {
                query.push(("marker", &marker));
            }
            query.extend([("prefix", prefix), ("restype", "container")]);
            let ask = Ask { method: "GET", key: "", query: &query, headers: &[], body: &[] };
            let (page, next) = self.container.run(&ask, |answer| page(&text(answer)?))?;
            listed.objects.extend(page.objects.into_iter().filter(|object| object.key.starts_with(prefix)));
            listed.directories.extend(page.directories);
            match next {
                next if next.is_empty() => return Ok(listed),
                next if !seen.insert(next.clone()) => {
                    return Err(Failure::Malformed("a list does not end".to_owned()));
                }
                next => marker = next,
            }
        }
    }
}

/// Parses a page. Returns the blobs and the marker of the next page, which is empty at the end.
fn page(document: &str) -> Result<(Listed, String), Failure> {
    let (mut listed, mut next, mut is_list) = (Listed::default(), String::new(), false);
    let (mut key, mut size, mut tag) = (String::new(), None, None);
    elements(document, &mut |path, text| {
        match path {
            ["EnumerationResults"] => is_list = true,
            ["EnumerationResults", "NextMarker"] => text.clone_into(&mut next),
            ["EnumerationResults", "Blobs", "BlobPrefix", "Name"] => listed.directories.push(text.to_owned()),
            ["EnumerationResults", "Blobs", "Blob", "Name"] => text.clone_into(&mut key),
            ["EnumerationResults", "Blobs", "Blob", "Properties", "Content-Length"] => {
                size = text.parse().ok();
            }
            ["EnumerationResults", "Blobs", "Blob", "Properties", "Etag"] => {
                tag = Some(text.trim_matches('"').to_owned());
            }
            ["EnumerationResults", "Blobs", "Blob"] => {
                let size = size.take().ok_or_else(|| Failure::Malformed("a blob has no size".to_owned()))?;
                listed.objects.push(Object { key: std::mem::take(&mut key), size, tag: tag.take() });
            }
            _ => {}
        }
        Ok(())
    })?;
    if is_list { Ok((listed, next)) } else { Err(Failure::Malformed("it is no list".to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_sizes_and_a_marker() {
        let blob = "<Blob><Name>a &amp; b</Name><Properties><Content-Length>7</Content-Length><Etag>0x1</Etag></Properties></Blob>";
        let directory = "<BlobPrefix><Name>d/</Name></BlobPrefix>";
        let document = format!(
            "\u{feff}<?xml version=\"1.0\"?><EnumerationResults><Blobs>{blob}{directory}</Blobs><NextMarker>m</NextMarker></EnumerationResults>"
        );
        let (listed, next) = page(&document).unwrap();
        let object = Object { key: "a & b".to_owned(), size: 7, tag: Some("0x1".to_owned()) };
        assert_eq!(
            (listed.objects, listed.directories, next.as_str()),
            (vec![object], vec!["d/".to_owned()], "m")
        );
        for wrong in [blob.to_owned(), document.replace(">7<", ">-7<"), document.replace("</Blobs>", "")] {
            assert!(matches!(page(&wrong), Err(Failure::Malformed(_))), "{wrong}");
        }
    }
}
