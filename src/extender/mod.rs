//! INBOUND: what legacy clients call.

pub mod auth;
pub mod dates;
