//! INBOUND: what legacy clients call.

pub mod dates;
