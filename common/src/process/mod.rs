//! Processes: starts, identifies, finds and ends them, with all descendants.

pub mod answer;
pub mod foreground;
pub mod identity;
pub mod machine_lock;
pub mod signals;
pub mod spawn;
pub mod stat;
pub mod tree;
pub mod user;
