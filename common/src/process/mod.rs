//! Processes: started, named beyond doubt, found with all that they started, and ended.

pub mod answer;
pub mod foreground;
pub mod identity;
pub mod signals;
pub mod spawn;
pub mod stat;
pub mod tree;
pub mod user;
