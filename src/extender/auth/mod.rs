//! Who is calling.

pub mod accounts;
