//! What to do about a credential that Cloud refuses.

use http::StatusCode;

use super::{Operation, Service};

/// The mend, in one sentence, for a refusal of `operation` with this status and message.
pub(super) fn mend(operation: Operation, status: StatusCode, message: &str) -> String {
    let service = operation.service();
    match status {
        _ if service == Service::Admin => format!(
            "the key is wrong, expired or revoked, is another organisation's, or lacks {}; make a new one at \
                 admin.atlassian.com",
            operation.scopes()
        ),
        _ if service == Service::Scim => "the key is wrong, expired or revoked, or is another directory's; make a \
                                              new one at admin.atlassian.com"
            .to_owned(),
        _ if service == Service::Jira && status == StatusCode::FORBIDDEN => {
            "its account needs Jira on this site and the global permission \"Browse users and groups\"".to_owned()
        }
        _ if message.contains("scope") => {
            format!("a scope is missing, the operation needs {}", operation.scopes())
        }
        StatusCode::UNAUTHORIZED => {
            "the token is wrong, expired or revoked, or belongs to another account; make a new API token".to_owned()
        }
        _ if operation.is_write() => {
            format!(
                "its account must be a site administrator with access to Confluence, and a scoped token needs {}",
                operation.scopes()
            )
        }
        _ => format!(
            "the token is wrong or expired, its account has no access to Confluence, or a scoped token lacks {}",
            operation.scopes()
        ),
    }
}
