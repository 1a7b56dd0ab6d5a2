//! Processes: started, named beyond doubt, found with all that they started, and ended.

pub mod identity;
pub mod signals;
pub mod spawn;
pub mod tree;
