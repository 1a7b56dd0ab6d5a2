//! Derives the key of an object in a store from the path of its file (run-store(5), Keys).

use super::digest::Digest;
use super::entry::{EVALUATIONS, Place};
use super::percent;
use super::valid::is_name;
use std::os::unix::ffi::OsStrExt;

/// Directory of manifests and writers, below a set.
pub(crate) const BACKUP: &str = ".backup";
/// Directory of the names of writers, below a set.
pub(crate) const WRITERS: &str = ".backup/writers";
/// The list of hashes of the newest manifest.
pub(crate) const SUMS: &str = "SHA256SUMS";
/// The record of a batch, which no run has.
pub(crate) const BATCH: &str = ".batch";
/// Directory of the store itself.
pub(crate) const STORE: &str = ".run-store/";
/// The abilities of the store, below its root.
pub(crate) const ABILITIES: &str = ".run-store/abilities.json";

/// First parts of keys that no file of a run gets by its own path.
const RESERVED: [&str; 6] = [BACKUP, ".by", EVALUATIONS, ".gen", ".long", SUMS];
/// Parts of keys in a store that are no names of sets.
const NO_NAMES: [&str; 8] = [".run-store", BATCH, BACKUP, ".by", EVALUATIONS, ".gen", ".long", SUMS];
/// Bytes of a key below its set; S3 allows 1,024 with prefix, batch and name.
const LENGTH: usize = 800;
/// Bytes of a part of a key: file systems allow no more.
const PART: usize = 255;

/// Returns the key of a file by its own path, below the set. None if this path is reserved: such a file is
/// always stored as if it had been overwritten.
pub(crate) fn plain(place: &Place) -> Option<String> {
    let path = place.path.as_os_str().as_bytes();
    let first = path.split(|byte| *byte == b'/').next().unwrap_or_default();
    match &place.evaluation {
        None if RESERVED.iter().any(|reserved| reserved.as_bytes() == first) => None,
        _ => Some(encoded(place)),
    }
}

/// Returns the key of a file that was overwritten in place, below the set. A file that keeps changing during a
/// backup leaves several versions, numbered from 1; the last one counts.
pub(crate) fn generation(place: &Place, number: u64, writer: &str, version: u32) -> String {
    let writer = writer.get(..8).unwrap_or(writer);
    let version = if version > 1 { format!("-{version}") } else { String::new() };
    format!(".gen/{number:06}-{writer}{version}/{}", encoded(place))
}

/// Returns the prefix of a writer's keys; the first writer of a set has none.
pub(crate) fn of_writer(writer: &str) -> String {
    format!(".by/{writer}/")
}

/// Returns the key of a manifest, below the set.
pub(crate) fn manifest(number: u64, digest: &Digest) -> String {
    format!("{BACKUP}/{number:06}-{digest}.json")
}

/// Returns the key of the list of hashes of a manifest, below the set.
pub(crate) fn sums(number: u64, digest: &Digest) -> String {
    format!("{BACKUP}/{number:06}-{digest}.sums")
}

/// Parses the key of a manifest into its number and hash.
pub(crate) fn parse_manifest(key: &str) -> Option<(u64, Digest)> {
    let name = key.strip_prefix(BACKUP)?.strip_prefix('/')?.strip_suffix(".json")?;
    let (number, digest) = name.split_once('-')?;
    let is_number = number.len() >= 6 && number.bytes().all(|digit| digit.is_ascii_digit());
    Some((number.parse().ok().filter(|_| is_number)?, digest.parse().ok()?))
}

/// Returns whether a run or batch cannot have this name in a store, in whatever letters: some stores do not
/// distinguish capital letters.
pub(crate) fn is_reserved(name: &str) -> bool {
    NO_NAMES.iter().any(|reserved| reserved.eq_ignore_ascii_case(name))
}

/// Percent-encodes the name of a run, batch or label.
pub(crate) fn name(name: &str) -> String {
    text(percent::encode(name.as_bytes(), is_kept))
}

/// Decodes the output of [`name`]; none if the text is no name, or no output of it.
pub(crate) fn parse_name(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let [first, after @ ..] = rest {
        let length = if percent::begins_encoded(rest) { 3 } else { 1 };
        match length {
            3 => bytes.extend(percent::decode(encoded.get(encoded.len() - rest.len()..)?.get(..3)?)?),
            _ => bytes.push(*first),
        }
        rest = &after[length - 1..];
    }
    String::from_utf8(bytes).ok().filter(|read| is_name(read) && name(read) == encoded)
}

fn encoded(place: &Place) -> String {
    let path = place.path.as_os_str().as_bytes();
    let mut key = match &place.evaluation {
        Some(label) => format!("{EVALUATIONS}/{}/", name(label)),
        None => String::new(),
    };
    // Bytes that are not UTF-8 are encoded one by one; most other characters are kept.
    for chunk in path.utf8_chunks() {
        key.push_str(&text(percent::encode(chunk.valid().as_bytes(), is_kept)));
        key.push_str(&text(percent::encode(chunk.invalid(), |_| false)));
    }
    if key.len() > LENGTH || key.split('/').any(|part| part.len() > PART) {
        let digest = Digest::of(key.as_bytes()).to_string();
        return format!(".long/{}", &digest[..32]);
    }
    key
}

fn is_kept(rest: &[u8]) -> bool {
    !matches!(rest, [0..=31 | 127 | b'\\', ..]) && !percent::begins_encoded(rest)
}

fn text(encoded: Vec<u8>) -> String {
    String::from_utf8(encoded).unwrap_or_default() // kept bytes are UTF-8, and encoded bytes are ASCII
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    fn place(path: &[u8]) -> Place {
        Place { path: OsString::from_vec(path.to_vec()).into(), evaluation: None }
    }

    fn key(path: &[u8]) -> Option<String> {
        plain(&place(path))
    }

    #[test]
    fn names_that_a_store_can_keep_are_kept() {
        for name in ["config.yaml", "a b=c#d+é.txt", "100%.txt", ".run/status.json", "x/.gen/y"] {
            assert_eq!(key(name.as_bytes()).as_deref(), Some(name));
        }
        assert_eq!(key(b"a\nb").as_deref(), Some("a%0Ab"));
        assert_eq!(key(b"a%0Ab").as_deref(), Some("a%250Ab"));
        assert_eq!(key(b"\xff\x80.pt").as_deref(), Some("%FF%80.pt"));
        for reserved in ["SHA256SUMS", ".gen/x", ".backup/000001.json", ".by"] {
            assert_eq!(key(reserved.as_bytes()), None, "{reserved}");
        }
        let long = key(&[0xff; 200]).unwrap_or_default();
        assert!(long.starts_with(".long/") && long.len() == 38, "{long}");
        let evaluation = Place { evaluation: Some("gsm8k".into()), ..place(b"SHA256SUMS") };
        assert_eq!(plain(&evaluation).as_deref(), Some(".eval/gsm8k/SHA256SUMS"));
        assert_eq!(generation(&place(b"ckpt.pt"), 7, "0123456789abcdef", 1), ".gen/000007-01234567/ckpt.pt");
    }

    #[test]
    fn the_name_of_a_manifest_is_read_back_and_nothing_else_is() {
        let digest = Digest::of(b"x");
        for number in [1, 999_999, 1_000_000, u64::MAX] {
            assert_eq!(parse_manifest(&manifest(number, &digest)), Some((number, digest)));
        }
        let right = manifest(1, &digest);
        for wrong in [
            right.replace("000001", "+00001"),
            right.replace("000001", "1"),
            right.replace(".json", ".sums"),
            right.replace(".backup", "backup"),
        ] {
            assert_eq!(parse_manifest(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn names_of_sets_are_read_back_and_nothing_else_is() {
        for plain in ["trial", "100%", "a%0Ab", "é b", "a\\b", "%", "x%4"] {
            assert_eq!(parse_name(&name(plain)).as_deref(), Some(plain));
        }
        for wrong in ["", "..", "a/b", "a%2Fb", "a%2fb", "a%00", "a\\b", "%FF"] {
            assert_eq!(parse_name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn no_set_has_the_name_of_something_in_the_store() {
        for reserved in [".run-store", ".backup", ".batch", ".by", ".eval", ".gen", ".long", "sha256sums"] {
            assert!(is_reserved(reserved), "{reserved}");
        }
        assert_eq!(STORE.trim_end_matches('/'), NO_NAMES[0]);
        assert!(["run-store", ".hidden", "batch", "SHA256SUMS.txt"].iter().all(|name| !is_reserved(name)));
    }

    proptest! {
        #[test]
        fn two_paths_never_have_one_key(one in "[%A0a\n\\\\é/]{1,8}", two in "[%A0a\n\\\\é/]{1,8}") {
            prop_assume!(one != two);
            prop_assert_ne!(encoded(&place(one.as_bytes())), encoded(&place(two.as_bytes())));
        }
    }
}
