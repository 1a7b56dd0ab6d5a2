//! Lists of objects, page by page.

use super::super::failure::Failure;
use super::super::http::{headers, text};
use super::super::listed::Listed;
use super::super::xml::elements;
use super::S3;
use crate::format::percent;
use crate::store::Object;
use std::collections::HashSet;

#[derive(Default)]
struct Page {
    objects: Vec<(String, u64, String)>,
    directories: Vec<String>,
    is_encoded: bool,
    is_truncated: bool,
    next: Option<String>,
}

impl S3 {
    /// Lists all objects whose keys begin with a prefix, or the directories of these objects.
    pub(super) fn list_all(&self, prefix: &str, directories: bool) -> Result<Listed, Failure> {
        let (mut listed, mut token, mut seen) = (Listed::default(), None::<String>, HashSet::new());
        loop {
            let mut query = Vec::new();
            query.extend(token.as_deref().map(|token| ("continuation-token", token)));
            if directories {
                query.push(("delimiter", "/"));
            }
            query.extend([("encoding-type", "url"), ("list-type", "2"), ("prefix", prefix)]);
            let page = self.bucket.run(&self.plain("GET", "", &query), |answer| page(&text(answer)?))?;
            let key = |key: String| if page.is_encoded { decoded(&key) } else { Some(key) };
            // A key that is not UTF-8 or lies elsewhere is not ours.
            let is_ours = |key: &String| key.starts_with(prefix);
            for (name, size, tag) in page.objects {
                if let Some(key) = key(name).filter(is_ours) {
                    listed.objects.push(Object { key, size, tag: Some(tag).filter(|tag| !tag.is_empty()) });
                }
            }
            listed.directories.extend(page.directories.into_iter().filter_map(key).filter(is_ours));
            match page.next.filter(|_| page.is_truncated) {
                None => return Ok(listed),
                Some(next) if !seen.insert(next.clone()) => {
                    return Err(Failure::Malformed("a list does not end".to_owned()));
                }
                next => token = next,
            }
        }
    }

    /// Gives up the uploads to exactly this key, except the upload with this ID.
    pub(super) fn give_up_others(&self, key: &str, id: Option<&str>) -> Result<(), Failure> {
        // The key is sent unencoded: our keys have only characters that XML can hold, and some stores do not
        // encode them.
        let query = [("prefix", key), ("uploads", "")];
        let ids = self.bucket.run(&self.plain("GET", "", &query), |answer| uploads(&text(answer)?, key))?;
        for other in ids.iter().filter(|other| Some(other.as_str()) != id) {
            let query = [("uploadId", other.as_str())];
            match self.bucket.run(&self.plain("DELETE", key, &query), headers) {
                Err(failure) if failure.status() != 404 => return Err(failure),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Reads the IDs of the uploads to a key, from one page: a key has only a few.
fn uploads(document: &str, key: &str) -> Result<Vec<String>, Failure> {
    let (mut found, mut is_list) = (Vec::new(), false);
    let mut upload = (String::new(), String::new());
    elements(document, &mut |path, text| {
        match path {
            ["ListMultipartUploadsResult"] => is_list = true,
            ["ListMultipartUploadsResult", "Upload", "Key"] => text.clone_into(&mut upload.0),
            ["ListMultipartUploadsResult", "Upload", "UploadId"] => text.clone_into(&mut upload.1),
            ["ListMultipartUploadsResult", "Upload"] => found.push(std::mem::take(&mut upload)),
            _ => {}
        }
        Ok(())
    })?;
    if !is_list {
        return Err(Failure::Malformed("it is no list of uploads".to_owned()));
    }
    Ok(found.into_iter().filter(|(name, _)| name == key).map(|(_, id)| id).collect())
}

fn page(document: &str) -> Result<Page, Failure> {
    let (mut page, mut is_list) = (Page::default(), false);
    let mut object = (String::new(), None, String::new());
    elements(document, &mut |path, text| {
        match path {
            ["ListBucketResult"] => is_list = true,
            ["ListBucketResult", "Contents", "Key"] => text.clone_into(&mut object.0),
            ["ListBucketResult", "Contents", "Size"] => object.1 = text.parse().ok(),
            ["ListBucketResult", "Contents", "ETag"] => text.clone_into(&mut object.2),
            ["ListBucketResult", "Contents"] => {
                let (key, size, tag) = std::mem::take(&mut object);
                let size = size.ok_or_else(|| Failure::Malformed("an object has no size".to_owned()))?;
                page.objects.push((key, size, tag));
            }
            ["ListBucketResult", "CommonPrefixes", "Prefix"] => page.directories.push(text.to_owned()),
            ["ListBucketResult", "EncodingType"] => page.is_encoded = text == "url",
            ["ListBucketResult", "IsTruncated"] => page.is_truncated = text == "true",
            ["ListBucketResult", "NextContinuationToken"] => page.next = Some(text.to_owned()),
            _ => {}
        }
        Ok(())
    })?;
    match page.is_truncated && page.next.is_none() {
        _ if !is_list => Err(Failure::Malformed("it is no list".to_owned())),
        true => Err(Failure::Malformed("a list is cut off and has no continuation".to_owned())),
        false => Ok(page),
    }
}

/// Decodes `encoding-type=url`, in which a space is a `+`.
fn decoded(text: &str) -> Option<String> {
    String::from_utf8(percent::decode(&text.replace('+', " "))?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_of_a_key_are_told_from_those_of_longer_ones() {
        let upload =
            |key: &str, id: &str| format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId></Upload>");
        let list = |rest: &str| format!("<ListMultipartUploadsResult>{rest}</ListMultipartUploadsResult>");
        let all = upload("a+b", "1") + &upload("a+bc", "2") + &upload("a+b", "3");
        assert_eq!(uploads(&list(&all), "a+b").unwrap(), ["1", "3"]);
        assert_eq!(uploads(&list(""), "a").unwrap(), [""; 0]);
        assert!(matches!(uploads("<ListBucketResult></ListBucketResult>", "a"), Err(Failure::Malformed(_))));
    }

    #[test]
    fn a_page_has_sizes_and_a_continuation() {
        let object = "<Contents><Key>a+b%25%C3%A9</Key><Size>7</Size><ETag>&quot;x&quot;</ETag></Contents>";
        let rest = "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>";
        let next = "<NextContinuationToken>t</NextContinuationToken>";
        let read = page(&format!("<ListBucketResult>{object}{rest}{next}</ListBucketResult>")).unwrap();
        assert_eq!(read.objects, [("a+b%25%C3%A9".to_owned(), 7, "\"x\"".to_owned())]);
        assert_eq!(decoded("a+b%25%C3%A9").as_deref(), Some("a b%é"));
        for wrong in [
            format!("<ListBucketResult>{object}{rest}</ListBucketResult>"),
            "<ListBucketResult><Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>"
                .to_owned(),
            "<html>x</html>".to_owned(),
        ] {
            assert!(matches!(page(&wrong), Err(Failure::Malformed(_))), "{wrong}");
        }
    }
}
