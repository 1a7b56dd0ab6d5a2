//! Stores: where objects lie by key. One trait, which every kind of store implements and one suite of tests holds
//! true (run-store(5), and `tests/tests/stores.rs`).

pub(crate) mod abilities;
pub(crate) mod access;
mod cloud;
pub(crate) mod conformance;
pub(crate) mod directory;
mod environment;
pub(crate) mod fault;
mod misbehaviour;
mod rclone;
pub(crate) mod reach;
pub(crate) mod url;

use crate::format::digest::Digest;
pub(crate) use access::Access;
use cloud::azure::Azure;
use cloud::s3::S3;
use cloud::s3::dialect::Dialect;
use directory::Directory;
use fault::Fault;
use rclone::Rclone;
use run_common::error::Error;
use serde::{Deserialize, Serialize};
use std::io;
use std::ops::Range;
use url::{Cloud, StoreUrl};

/// Opens a store; nothing is asked of it yet.
pub(crate) fn open(url: &StoreUrl, access: &Access) -> Result<Box<dyn Store>, Error> {
    match url {
        StoreUrl::Directory(root) => Ok(Box::new(Directory::new(root))),
        StoreUrl::Cloud { cloud: Cloud::S3, bucket, prefix } => {
            Ok(Box::new(S3::new(Dialect::Amazon, &url.to_string(), bucket, prefix, access)?))
        }
        StoreUrl::Cloud { cloud: Cloud::Google, bucket, prefix } => {
            Ok(Box::new(S3::new(Dialect::Google, &url.to_string(), bucket, prefix, access)?))
        }
        StoreUrl::Cloud { cloud: Cloud::Azure, bucket, prefix } => {
            Ok(Box::new(Azure::new(&url.to_string(), bucket, prefix, access)?))
        }
        StoreUrl::Rclone(remote) => Ok(Box::new(Rclone::new(remote, access))),
    }
}

/// A store of objects. Keys are those of run-store(5), below the store's root. Every call may come from several
/// threads at once, blocks until it is done, and retries what may pass by itself.
pub(crate) trait Store: Send + Sync {
    /// Stores an object whole, in place of one that is there. Hashed by the caller, over the very bytes that are sent.
    fn put(&self, key: &str, bytes: &[u8], sha256: &Digest) -> Result<Stored, Fault>;

    /// Stores an object if none has its key. [`Fault::Exists`] if one has, or if a lost reply makes that look so:
    /// the caller reads back and compares.
    fn create(&self, key: &str, bytes: &[u8], sha256: &Digest) -> Result<Stored, Fault>;

    /// Passes on the bytes of an object, or of a range of it, as they arrive. After a failure in the middle
    /// the call is retried from where it stopped. A range beyond the end is cut. The sink's error ends the
    /// call: [`Fault::Sink`].
    fn get(&self, key: &str, range: Option<Range<u64>>, sink: &mut Sink<'_>) -> Result<(), Fault>;

    /// Makes the store ready to be written to, where that needs something, such as a directory.
    fn prepare(&self) -> Result<(), Error>;

    /// Looks at an object; none if there is none.
    fn head(&self, key: &str) -> Result<Option<Object>, Fault>;

    /// Lists all objects whose keys begin with a prefix that is empty or ends in `/`, in the order of their keys.
    fn list(&self, prefix: &str, each: &mut dyn FnMut(Object)) -> Result<(), Fault>;

    /// Lists the parts of keys that follow a prefix, up to the next `/`: the directories below it.
    fn list_directories(&self, prefix: &str) -> Result<Vec<String>, Fault>;

    /// Removes an object; one that is not there is no failure.
    fn delete(&self, key: &str) -> Result<(), Fault>;

    /// Begins an upload in parts of one size; the last may be smaller.
    fn begin(&self, key: &str, part_size: u64) -> Result<Upload, Fault>;

    /// Stores a part of an upload; the first is number 1. A part that is stored again replaces the first.
    fn put_part(&self, upload: &Upload, number: u32, bytes: &[u8], sha256: &Digest) -> Result<Part, Fault>;

    /// Returns whether a part that another process has stored is still what it was: a power cut since may have taken
    /// what was not yet made to survive one.
    fn keeps_part(&self, _upload: &Upload, _number: u32, _bytes: &[u8]) -> bool {
        true
    }

    /// Returns whether what was stored survives a power cut, without [`Store::sync`].
    fn is_durable(&self) -> bool {
        true
    }

    /// Ends an upload: its parts, numbered from 1, are the object, of `size` bytes.
    fn complete(&self, upload: &Upload, parts: &[Part], size: u64) -> Result<Stored, Fault>;

    /// Gives an upload up. One that is not there is no failure.
    fn abort(&self, upload: &Upload) -> Result<(), Fault>;

    /// Gives up every upload of a key: of one that was begun in the moment of a death nobody has the name. What the
    /// store cannot list stays.
    fn abort_all(&self, _key: &str) -> Result<(), Fault> {
        Ok(())
    }

    /// Makes what was stored survive a power cut, where that needs more than an answer. Before a manifest is written,
    /// and after it.
    fn sync(&self) -> Result<(), Fault>;

    /// How the store checks what it gets: nothing is claimed that it was not seen to do.
    fn checks(&self) -> Checks;

    /// What can be tried out with the store beyond this; none if there is nothing.
    fn experiments(&self) -> Option<&dyn Experiments> {
        None
    }
}

/// Requests by which it is found out what an object store can do.
pub(crate) trait Experiments: Sync {
    /// Sends bytes with the hash of others, and says whether they were refused.
    fn refuses(&self, key: &str, bytes: &[u8], wrong: &Digest) -> Result<bool, Fault>;

    /// Stores an object in place of the one that has this tag; [`Fault::Exists`] if there is another by now.
    fn replace(&self, key: &str, bytes: &[u8], sha256: &Digest, tag: &str) -> Result<Stored, Fault>;

    /// Whether a read was answered by the address of another server, so far.
    fn redirects(&self) -> bool;

    /// The address of the store, without anything secret.
    fn address(&self) -> String;
}

/// Takes bytes as they come.
pub(crate) type Sink<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// What a store says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    /// Its key.
    pub(crate) key: String,
    /// Bytes.
    pub(crate) size: u64,
    /// What changes whenever the object does, where the store tells: its `ETag`.
    pub(crate) tag: Option<String>,
}

/// What a store answered to an upload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    /// As in [`Object`].
    pub(crate) tag: Option<String>,
}

/// An upload in parts that has begun. It can be continued by another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Upload {
    /// Key of the object.
    pub(crate) key: String,
    /// The store's name of the upload.
    pub(crate) id: String,
    /// Bytes of each part but the last.
    pub(crate) part_size: u64,
}

/// A part that was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// From 1.
    pub(crate) number: u32,
    /// The store's tag of it.
    pub(crate) tag: String,
    /// Its hash.
    pub(crate) sha256: Digest,
}

/// What a store checks of what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checks {
    /// A request whose bytes do not have the hash that it names is refused.
    Hash,
    /// Nothing that is known.
    Nothing,
}
