//! Failures as the legacy side sees them: status, message, headers. The one place that decides them.

use std::time::Duration;

use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};

use super::auth::Denied;
use crate::directory::{self, Conduct};
use crate::doors::Cause;
use crate::model::OperationId;

/// An answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Its status.
    pub status: StatusCode,
    /// Its message; `None` for an answer without a body.
    pub message: Option<String>,
    /// Headers besides the usual ones.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Why its caller is refused, if he is: for the log.
    pub refusal: Option<Cause>,
}

const LOGIN_REASON: HeaderName = HeaderName::from_static("x-seraph-loginreason");
const UNAUTHENTICATED: &str = "Client must be authenticated to access this resource.";
const UNAUTHORISED: &str = "Client must be authenticated as an administrator to access this resource.";

impl Error {
    /// An error with a message.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: Some(message.into()),
            headers: Vec::new(),
            refusal: None,
        }
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The same, because of who asks.
    pub fn because(mut self, cause: Cause) -> Self {
        self.refusal = Some(cause);
        self
    }

    /// The same about a bulk operation that is on record, or is none.
    pub fn about(self, report: Option<&OperationId>, conduct: Conduct) -> Self {
        let error = match report.and_then(|id| HeaderValue::from_str(id.as_str()).ok()) {
            Some(id) => self.with(super::reply::REPORT, id),
            None => self,
        };
        match conduct {
            Conduct::Real => error,
            Conduct::Dry => error.with(super::reply::DRY_RUN, HeaderValue::from_static("true")),
        }
    }

    /// 503 with a time to come back.
    pub fn unavailable(message: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message).with(RETRY_AFTER, whole_seconds(retry_after))
    }

    /// 404 for a path that leads nowhere.
    pub fn not_found(path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("null for uri: {path}"))
    }

    /// 404 without a body.
    pub fn not_an_integer() -> Self {
        // Quirk: a bad number makes the resource "not found" (docs/compatibility.md, "Paging"): the JAX-RS rule.
        Self {
            status: StatusCode::NOT_FOUND,
            message: None,
            headers: Vec::new(),
            refusal: None,
        }
    }

    /// 405 with the methods that are allowed.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "HTTP 405 Method Not Allowed")
            .with(ALLOW, HeaderValue::from_static(allow))
    }

    /// 406.
    pub fn not_acceptable() -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, "HTTP 406 Not Acceptable")
    }

    /// 403 for a request that a web page may have sent.
    pub fn cross_site() -> Self {
        Self::new(StatusCode::FORBIDDEN, "XSRF check failed").because(Cause::WebPage)
    }

    /// 403 for a reader who wants to change something.
    pub fn not_an_administrator() -> Self {
        Self::new(StatusCode::FORBIDDEN, UNAUTHORISED).because(Cause::NotAdministrator)
    }

    /// 403 for a caller whose account is not for this call.
    pub fn operation_out_of_scope(call: &str) -> Self {
        let text = format!("Client may not call {call}: it is not among the operations of its account.");
        Self::new(StatusCode::FORBIDDEN, text).because(Cause::Operation)
    }

    /// 403 for a caller whose account is not for this group, nor for so many others.
    pub fn group_out_of_scope(group: &str, others: usize) -> Self {
        let text = match others {
            0 => format!("Client may not use group {group:?}: it is not among the groups of its account."),
            _ => format!(
                "Client may not use group {group:?} and {others} more: they are not among the groups of its account."
            ),
        };
        Self::new(StatusCode::FORBIDDEN, text).because(Cause::Group)
    }

    /// 403 for a caller from a network that is not allowed.
    pub fn not_from_there() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "Client may not access this resource from its address.",
        )
        .because(Cause::Network)
    }

    /// 429 for a caller who asks too much.
    pub fn too_many_requests(retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded.")
            .with(RETRY_AFTER, whole_seconds(retry_after))
            .because(Cause::TooMany)
    }

    /// 401, or 503 where the credential cannot be judged. `challenge`: ask for Basic credentials.
    pub fn denied(denied: Denied, challenge: bool) -> Self {
        let unauthenticated = Self::new(StatusCode::UNAUTHORIZED, UNAUTHENTICATED);
        let error = match denied {
            Denied::NoCredential | Denied::UnknownToken => unauthenticated,
            Denied::WrongPassword => {
                unauthenticated.with(LOGIN_REASON, HeaderValue::from_static("AUTHENTICATED_FAILED"))
            }
            Denied::LockedOut => unauthenticated.with(LOGIN_REASON, HeaderValue::from_static("AUTHENTICATION_DENIED")),
            Denied::Unavailable { retry_after, cause } => return Self::unavailable(cause, retry_after),
        };
        if challenge {
            error.with(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"protected-area\""),
            )
        } else {
            error
        }
    }

    /// What a failed operation is to a caller. `own_credential`: the credential Cloud judged is the caller's.
    pub fn of(error: directory::Error, missing_group: StatusCode, own_credential: bool) -> Self {
        let message = error.to_string();
        match error {
            // Quirk: 500 for a missing group (docs/compatibility.md, "Errors"): a public script creates it on that.
            directory::Error::NoSuchGroup(_) => Self::new(missing_group, message),
            directory::Error::AmbiguousGroup { .. } | directory::Error::TooManyRemovals { .. } => {
                Self::new(StatusCode::CONFLICT, message)
            }
            directory::Error::Refused { forbidden: true, .. } if own_credential => {
                Self::not_an_administrator().because(Cause::RefusedByCloud)
            }
            directory::Error::Refused { .. } if own_credential => {
                Self::denied(Denied::WrongPassword, false).because(Cause::RefusedByCloud)
            }
            directory::Error::Refused { .. } => Self::new(StatusCode::BAD_GATEWAY, message),
            directory::Error::Unavailable { retry_after, .. } => Self::unavailable(message, retry_after),
            directory::Error::Interrupted {
                retry_after, skipped, ..
            } => Self::unavailable(message, retry_after).with(super::reply::SKIPPED, HeaderValue::from(skipped)),
            directory::Error::KeyReused => Self::new(StatusCode::UNPROCESSABLE_ENTITY, message),
            directory::Error::StillRunning => Self::unavailable(message, Duration::from_secs(30)),
        }
    }
}

/// Rounded up: who comes back in time must not come too early.
fn whole_seconds(time: Duration) -> HeaderValue {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    HeaderValue::from(seconds.max(1))
}
