//! One file a sub-command.
pub mod simulate;
