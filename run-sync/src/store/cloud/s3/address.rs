//! The address of a bucket.

use super::super::text::encode;
use super::dialect::Dialect;

/// The address of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BucketAddress {
    /// `https://HOST`, with a port if needed.
    pub(super) origin: String,
    /// The path before each key: `/BUCKET`, or empty if the host names the bucket.
    pub(super) base: String,
    /// The region for signatures.
    pub(super) region: String,
    /// Whether the server is Amazon's, so that its name follows from the region.
    is_amazon: bool,
}

impl BucketAddress {
    /// Finds the address of a bucket: in the path of the endpoint, if there is one, else in the name of
    /// Amazon's host.
    pub(super) fn new(
        dialect: Dialect,
        endpoint: Option<&str>,
        bucket: &str,
        region: &str,
    ) -> Result<Self, String> {
        let is_plain = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        if !is_plain(bucket) {
            return Err(format!("'{bucket}' is no name of a bucket"));
        }
        if !is_plain(region) {
            return Err(format!("'{region}' is no region"));
        }
        let region = region.to_owned();
        let Some(endpoint) = endpoint else {
            let top = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
            // The certificate of *.s3… does not cover names with more dots.
            let is_host =
                !bucket.contains(['.', '_']) && bucket.bytes().all(|byte| !byte.is_ascii_uppercase());
            let (host, base) = if is_host {
                (format!("{bucket}.s3.{region}.{top}"), String::new())
            } else {
                (format!("s3.{region}.{top}"), format!("/{bucket}"))
            };
            return Ok(Self { origin: format!("https://{host}"), base, region, is_amazon: true });
        };
        let endpoint = endpoint.trim_end_matches('/');
        let rest = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
        let wrong = |why: &str| Err(format!("{} {why}", dialect.names().endpoint));
        match rest {
            None | Some("") => wrong("does not begin with https:// or http://"),
            Some(rest) if rest.contains('@') => wrong("has credentials in it"),
            Some(rest) if rest.contains(['?', '#', ' ']) => wrong("is no address of a server"),
            Some(rest) => {
                let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
                let origin = format!("{}{host}", &endpoint[..endpoint.len() - rest.len()]);
                let path = if path.is_empty() { String::new() } else { format!("/{}", encode(path, true)) };
                let is_amazon = host.ends_with(".amazonaws.com") && host.starts_with("s3");
                Ok(Self { origin, base: format!("{path}/{bucket}"), region, is_amazon })
            }
        }
    }

    /// Returns the host, as in the header.
    pub(super) fn host(&self) -> &str {
        self.origin.split_once("://").map_or(self.origin.as_str(), |(_, host)| host)
    }

    /// Returns the same bucket in another region.
    pub(super) fn in_region(&self, region: &str, bucket: &str) -> Option<Self> {
        let there = if self.is_amazon {
            Self::new(Dialect::Amazon, None, bucket, region).ok()?
        } else {
            Self { region: region.to_owned(), ..self.clone() }
        };
        Some(there).filter(|there| there != self)
    }

    /// Returns the same bucket at the host that an answer named.
    pub(super) fn at(&self, origin: String, bucket: &str) -> Self {
        let mut there = Self { origin, base: format!("/{bucket}"), ..self.clone() };
        if there.host().starts_with(&format!("{bucket}.")) {
            there.base.clear();
        }
        there
    }

    /// Returns the same server over TLS, if the answer leads there and the request was made without TLS.
    pub(super) fn over_tls(&self, scheme: &str, host: &str) -> Option<Self> {
        let name = |host: &str| host.rsplit_once(':').map_or(host, |(name, _)| name).to_owned();
        let is_it =
            scheme == "https" && self.origin.starts_with("http://") && name(host) == name(self.host());
        is_it.then(|| Self { origin: format!("https://{host}"), ..self.clone() })
    }

    /// Returns whether signed requests may go to this host: the same host, or another host of Amazon.
    pub(super) fn trusts(&self, host: &str) -> bool {
        let is_of_amazon =
            |host: &str| host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn");
        host == self.host() || (is_of_amazon(self.host()) && is_of_amazon(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amazon_has_the_bucket_in_its_host_and_others_in_the_path() {
        for (endpoint, bucket, region, address) in [
            (None, "b", "eu-west-1", "https://b.s3.eu-west-1.amazonaws.com"),
            (None, "a.b", "eu-west-1", "https://s3.eu-west-1.amazonaws.com/a.b"),
            (None, "b", "cn-north-1", "https://b.s3.cn-north-1.amazonaws.com.cn"),
            (Some("http://127.0.0.1:1/"), "b", "r", "http://127.0.0.1:1/b"),
            (Some("https://h/s3"), "b", "auto", "https://h/s3/b"),
        ] {
            let found = BucketAddress::new(Dialect::Amazon, endpoint, bucket, region).unwrap();
            assert_eq!(format!("{}{}", found.origin, found.base), address);
        }
        for endpoint in ["h", "ftp://h", "https://", "https://key:secret@h", "https://h?x"] {
            let why = BucketAddress::new(Dialect::Amazon, Some(endpoint), "b", "r").unwrap_err();
            assert!(!why.contains("secret"), "{why}");
        }
        assert!(
            BucketAddress::new(Dialect::Amazon, None, "b/../c", "r").is_err()
                && BucketAddress::new(Dialect::Amazon, None, "b", "r.evil.com/").is_err()
        );
    }

    #[test]
    fn a_bucket_elsewhere_is_asked_for_there() {
        let found = BucketAddress::new(Dialect::Amazon, None, "b", "us-east-1").unwrap();
        let other = found.in_region("eu-west-1", "b").unwrap();
        assert_eq!(other.origin, "https://b.s3.eu-west-1.amazonaws.com");
        assert_eq!(other.in_region("eu-west-1", "b"), None);
        let plain = BucketAddress::new(Dialect::Amazon, Some("http://h:9000/s3"), "b", "r").unwrap();
        let secure = plain.over_tls("https", "h").unwrap();
        assert_eq!((secure.origin.as_str(), secure.base.as_str()), ("https://h", "/s3/b"));
        assert!(plain.over_tls("https", "evil").is_none() && plain.over_tls("http", "h:1").is_none());
        assert!(secure.over_tls("https", "h:1").is_none());
        assert!(found.trusts("s3.eu-west-1.amazonaws.com") && !found.trusts("evil.com"));
    }
}
