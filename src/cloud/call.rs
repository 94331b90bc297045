//! One request and its answer.

use http::{Method, StatusCode};
use serde::de::DeserializeOwned;

use super::{Error, Operation, wire};

/// One request, as often as it is sent.
#[derive(Debug)]
pub(super) struct Call {
    pub operation: Operation,
    pub method: Method,
    /// Segments below the site's address; encoded here and nowhere else.
    pub path: Vec<String>,
    pub query: Vec<(&'static str, String)>,
    pub body: Option<serde_json::Value>,
    pub seat_sign: SeatSign,
}

/// How the sign is taken that no seat is free in the licence. It is no proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SeatSign {
    /// Tried once more.
    #[default]
    Doubted,
    /// Believed: it was seen a moment ago, and confirmed.
    Believed,
}

/// An answer that is neither a passing failure nor a refused credential.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub body: Vec<u8>,
    /// An earlier try failed in a way that leaves open whether it took effect.
    pub doubtful: bool,
}

impl Call {
    /// A read with nothing in its body.
    pub fn get(operation: Operation, path: &[&str], query: Vec<(&'static str, String)>) -> Self {
        Self {
            operation,
            method: Method::GET,
            path: path.iter().map(|segment| (*segment).to_owned()).collect(),
            query,
            body: None,
            seat_sign: SeatSign::default(),
        }
    }
}

impl Answer {
    /// The answer as an error, for a read that wanted rows.
    pub fn rejected(&self, operation: Operation) -> Error {
        Error::Rejected {
            operation,
            status: self.status.as_u16(),
            message: wire::error_message(&self.body),
        }
    }
}

/// The body of a success.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|e| format!("an answer that cannot be read: {e}"))
}
