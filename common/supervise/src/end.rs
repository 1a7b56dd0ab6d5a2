//! How a process ended.

/// The end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It returned a status.
    Exited(i32),
    /// A signal ended it.
    Signaled(i32),
    /// It is gone, and another process waited for it.
    Unseen,
}
