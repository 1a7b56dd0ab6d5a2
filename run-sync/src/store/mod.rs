//! Stores: objects by key. Every kind of store implements one trait, and passes one suite of tests
//! (run-store(5), and `tests/tests/sync/stores.rs`).

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

/// Opens a store, without a request.
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
/// threads at once, blocks until it is done, and retries transient failures by itself.
pub(crate) trait Store: Send + Sync {
    /// Stores an object whole, and replaces an existing object. `sha256` is the caller's hash of the bytes.
    fn put(&self, key: &str, bytes: &[u8], sha256: &Digest) -> Result<Stored, Fault>;

    /// Stores an object if none has its key. Returns [`Fault::Exists`] if one has, or if a lost reply makes it
    /// look so: the caller must read back and compare.
    fn create(&self, key: &str, bytes: &[u8], sha256: &Digest) -> Result<Stored, Fault>;

    /// Passes on the bytes of an object, or of a range of it, as they arrive. After a failure in the middle,
    /// the call is retried from where it stopped. A range beyond the end is cut. An error of the sink ends the
    /// call with [`Fault::Sink`].
    fn get(&self, key: &str, range: Option<Range<u64>>, sink: &mut Sink<'_>) -> Result<(), Fault>;

    /// Prepares the store for writing, for example by creating a directory.
    fn prepare(&self) -> Result<(), Error>;

    /// Returns an object's size and tag; none if there is no such object.
    fn head(&self, key: &str) -> Result<Option<Object>, Fault>;

    /// Lists all objects whose keys begin with a prefix that is empty or ends in `/`, in the order of their
    /// keys.
    fn list(&self, prefix: &str, each: &mut dyn FnMut(Object)) -> Result<(), Fault>;

    /// Lists the directories below a prefix: the next parts of the keys, up to a `/`.
    fn list_directories(&self, prefix: &str) -> Result<Vec<String>, Fault>;

    /// Removes an object. A missing object is no failure.
    fn delete(&self, key: &str) -> Result<(), Fault>;

    /// Begins an upload in parts of one size; the last may be smaller.
    fn begin(&self, key: &str, part_size: u64) -> Result<Upload, Fault>;

    /// Stores a part of an upload; the first is number 1. A part that is stored again replaces the first.
    fn put_part(&self, upload: &Upload, number: u32, bytes: &[u8], sha256: &Digest) -> Result<Part, Fault>;

    /// Returns whether a part that another process has stored is still intact: a power cut may have destroyed
    /// it before it was synced.
    fn keeps_part(&self, _upload: &Upload, _number: u32, _bytes: &[u8]) -> bool {
        true
    }

    /// Returns whether stored objects survive a power cut without [`Store::sync`].
    fn is_durable(&self) -> bool {
        true
    }

    /// Ends an upload: the parts, numbered from 1, become the object of `size` bytes.
    fn complete(&self, upload: &Upload, parts: &[Part], size: u64) -> Result<Stored, Fault>;

    /// Gives an upload up. A missing upload is no failure.
    fn abort(&self, upload: &Upload) -> Result<(), Fault>;

    /// Gives up every upload to a key: the ID of an upload is unknown if a process died when it began. Uploads
    /// that the store cannot list stay.
    fn abort_all(&self, _key: &str) -> Result<(), Fault> {
        Ok(())
    }

    /// Makes stored objects survive a power cut, if an answer does not suffice. Called before and after a
    /// manifest is written.
    fn sync(&self) -> Result<(), Fault>;

    /// Returns how the store checks what it receives, as far as it was seen to.
    fn checks(&self) -> Checks;

    /// Returns the experiments that the store supports; none for stores without any.
    fn experiments(&self) -> Option<&dyn Experiments> {
        None
    }
}

/// Requests that test the abilities of an object store.
pub(crate) trait Experiments: Sync {
    /// Sends bytes with the hash of others, and returns whether the store refused them.
    fn refuses(&self, key: &str, bytes: &[u8], wrong: &Digest) -> Result<bool, Fault>;

    /// Replaces the object that has this tag. Returns [`Fault::Exists`] if the object has changed.
    fn replace(&self, key: &str, bytes: &[u8], sha256: &Digest, tag: &str) -> Result<Stored, Fault>;

    /// Returns whether another server has answered a read so far.
    fn redirects(&self) -> bool;

    /// Returns the address of the store, without secrets.
    fn address(&self) -> String;
}

/// Receives bytes as they arrive.
pub(crate) type Sink<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// An object, as a store describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    /// Key of the object.
    pub(crate) key: String,
    /// Bytes.
    pub(crate) size: u64,
    /// The `ETag`, which changes whenever the object does, if the store has it.
    pub(crate) tag: Option<String>,
}

/// The answer of a store to an upload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    /// As in [`Object`].
    pub(crate) tag: Option<String>,
}

/// An upload in parts that has begun. Another process can continue it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Upload {
    /// Key of the object.
    pub(crate) key: String,
    /// The store's ID of the upload.
    pub(crate) id: String,
    /// Bytes of each part but the last.
    pub(crate) part_size: u64,
}

/// A part that was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Number of the part, from 1.
    pub(crate) number: u32,
    /// The store's tag of the part.
    pub(crate) tag: String,
    /// Hash of the part.
    pub(crate) sha256: Digest,
}

/// What a store checks in the bytes that it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checks {
    /// The store refuses a request whose bytes do not have the hash that the request names.
    Hash,
    /// No check is known.
    Nothing,
}
