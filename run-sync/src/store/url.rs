//! Addresses of stores: `s3://bucket/prefix`, `gs://…`, `az://…`, `rclone:REMOTE:PATH`, or a directory.

use run_common::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The address of a store. An address with user information is refused, because it might contain credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreUrl {
    /// A directory.
    Directory(PathBuf),
    /// A bucket of an object store, with the keys that begin with `prefix`, which is empty or ends in `/`.
    Cloud {
        /// The protocol of the store.
        cloud: Cloud,
        /// The bucket, or container.
        bucket: String,
        /// The prefix of all keys.
        prefix: String,
    },
    /// A remote of rclone(1), with a path.
    Rclone(String),
}

/// Protocols of object stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cloud {
    /// Amazon S3, and servers with the same protocol.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage.
    Azure,
}

impl Cloud {
    fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Google => "gs",
            Self::Azure => "az",
        }
    }
}

impl FromStr for StoreUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(remote) = text.strip_prefix("rclone:") {
            let (name, _) = match remote.strip_prefix(':') {
                Some(rest) => rest.split_once(':'),
                None => remote.split_once(':'),
            }
            .ok_or_else(|| Error::usage(format!("'{text}' is not rclone:REMOTE:PATH")))?;
            if name.contains(['=', ',']) || remote.starts_with('-') {
                return Err(Error::usage("options of a remote do not belong into the address of a store")
                    .hint("they belong into rclone's configuration, or RCLONE_CONFIG_… variables"));
            }
            return Ok(Self::Rclone(remote.trim_end_matches('/').to_owned()));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return match text {
                "" => Err(Error::usage("the address of the store is empty")),
                text => match not_a_directory(text) {
                    Some(error) => Err(error),
                    None => Ok(Self::Directory(text.into())),
                },
            };
        };
        let cloud = match scheme {
            "file" => return Ok(Self::Directory(rest.into())),
            "s3" => Cloud::S3,
            "gs" => Cloud::Google,
            "az" => Cloud::Azure,
            _ => {
                let error = Error::usage(format!("'{scheme}://' is no store that run-sync knows"));
                return Err(error.hint("s3://, gs://, az://, rclone:REMOTE:PATH, or a directory; other S3s: s3:// and AWS_ENDPOINT_URL"));
            }
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.contains('@') {
            return Err(Error::usage("credentials do not belong into the address of a store")
                .hint("see run-sync(1), CREDENTIALS"));
        }
        if bucket.is_empty() {
            return Err(Error::usage(format!("'{text}' names no bucket")));
        }
        let prefix = prefix.trim_matches('/');
        if prefix.split('/').any(|part| matches!(part, "." | "..")) || prefix.contains("//") {
            return Err(Error::usage(format!("'{text}' has a prefix that no object can have")));
        }
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self::Cloud { cloud, bucket: bucket.to_owned(), prefix })
    }
}

/// Refuses an address that most likely means another machine: `s3:/bucket`, `remote:path` or `host:/path`. As
/// the name of a directory, it would put the backup on this machine only.
fn not_a_directory(text: &str) -> Option<Error> {
    let (name, _) = text.split_once(':').filter(|(name, _)| !name.contains('/'))?;
    let hint = match name {
        "s3" | "gs" | "az" => {
            format!("an address is {name}://BUCKET/PREFIX; a directory of this name is ./{text}")
        }
        _ => format!("a remote of rclone(1) is rclone:{text}; a directory of this name is ./{text}"),
    };
    Some(Error::usage(format!("'{text}' is no store")).hint(hint))
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(root) => write!(f, "{}", root.display()),
            Self::Cloud { cloud, bucket, prefix } => {
                write!(f, "{}://{}", cloud.scheme(), format!("{bucket}/{prefix}").trim_end_matches('/'))
            }
            Self::Rclone(remote) => write!(f, "rclone:{remote}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, again) in [
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            ("gs://bucket/a/b/", "gs://bucket/a/b"),
            ("/mnt/usb", "/mnt/usb"),
            ("file:///mnt/usb", "/mnt/usb"),
            ("rclone:drive:runs/", "rclone:drive:runs"),
            ("rclone::local:/mnt", "rclone::local:/mnt"),
            ("./s3:/bucket", "./s3:/bucket"),
            ("dir/a:b", "dir/a:b"),
        ] {
            assert_eq!(text.parse::<StoreUrl>().map(|url| url.to_string()).ok().as_deref(), Some(again));
        }
        for wrong in [
            "",
            "http://x/y",
            "s3://",
            "s3:///x",
            "s3:/bucket/x",
            "s3:bucket",
            "drive:runs",
            "user@host:/mnt",
            ":local:/mnt",
            "s3://key:secret@bucket/x",
            "s3://b/a/../c",
            "rclone:x",
            "rclone::s3,secret_access_key=x:b",
        ] {
            assert!(wrong.parse::<StoreUrl>().is_err(), "{wrong}");
        }
    }
}
