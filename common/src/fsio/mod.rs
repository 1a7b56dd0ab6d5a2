//! Files that survive a crash: replaced whole, appended by whole lines, locked.

pub mod append;
pub mod atomic;
pub mod lock;
