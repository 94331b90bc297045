//! Answers that hold no user and no group: errors, refusals, pages of HTML.
use bytes::Bytes;
use serde::Serialize;
use serde_json::json;

use super::faults::Refusal;

const JSON: &str = "application/json;charset=UTF-8";
const HTML: &str = "text/html;charset=UTF-8";

/// A whole answer, before it is sent or spoilt.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: Option<&'static str>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
}

impl Answer {
    /// Status and nothing else, as most writes are answered.
    pub(super) fn empty(status: u16) -> Self {
        Self {
            status,
            content_type: None,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub(super) fn json(status: u16, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => Self {
                status,
                content_type: Some(JSON),
                headers: Vec::new(),
                body: body.into(),
            },
            Err(_) => Self::empty(500),
        }
    }

    fn text(status: u16, content_type: &'static str, body: &'static str) -> Self {
        Self {
            status,
            content_type: Some(content_type),
            headers: Vec::new(),
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    /// An error in the shape that Confluence's own code gives it.
    pub(super) fn error(status: u16, message: &str) -> Self {
        let class = match status {
            400 => "BadRequestException",
            403 => "PermissionException",
            404 => "NotFoundException",
            409 => "ConflictException",
            _ => "ServiceException",
        };
        let data = json!({"authorized": status != 403, "valid": true, "errors": [], "successful": false});
        let message = format!("com.atlassian.confluence.api.service.exceptions.{class}: {message}");
        Self::json(status, &json!({"statusCode": status, "data": data, "message": message}))
    }

    /// No seat is free: what version 1 says about it (cloud.md section 4).
    pub(super) fn no_seat() -> Self {
        let message = "com.netflix.hystrix.exception.HystrixRuntimeException: \
                       AddUserToGroupsIdentityPlatformCommand failed and no fallback available.";
        Self::json(500, &json!({"statusCode": 500, "message": message}))
    }

    /// A write without `X-Atlassian-Token: no-check`.
    pub(super) fn xsrf() -> Self {
        Self::text(403, "text/plain;charset=UTF-8", "XSRF check failed")
    }

    /// A credential that is refused, in one of the shapes of cloud.md section 5.
    pub(super) fn refused(shape: Refusal) -> Self {
        match shape {
            Refusal::Json => {
                let message = "Client must be authenticated to access this resource.";
                Self::json(401, &json!({"message": message, "status-code": 401}))
            }
            Refusal::Forbidden => Self::error(403, "Request rejected because caller cannot access Confluence"),
            Refusal::Html => Self::text(
                401,
                HTML,
                "<!DOCTYPE html><html><head><title>Unauthorized (401)</title></head>\
                 <body><h1>Unauthorized (401)</h1><p>Basic authentication failed.</p></body></html>",
            ),
            Refusal::Xml => Self::text(
                401,
                "application/xml;charset=UTF-8",
                "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?><status><status-code>401</status-code>\
                 <message>Client must be authenticated to access this resource.</message></status>",
            ),
            Refusal::Scope => Self::json(
                401,
                &json!({"code": 401, "message": "Unauthorized; scope does not match"}),
            ),
        }
    }

    /// What the gateway says to a credential that it does not know, or knows no more.
    pub(super) fn unauthorized() -> Self {
        Self::json(401, &json!({"code": 401, "message": "Unauthorized"}))
    }

    /// The request's address is not on the site's list of those that may ask.
    pub(super) fn blocked() -> Self {
        let message = "The IP address has been rejected because it isn't on the allowlist. \
                       Contact your site administrator for more information.";
        Self::json(403, &json!({"message": message, "statusCode": 403}))
    }

    /// What a person sees whom an app sent to the authorization server with a request that it does not take.
    pub(super) fn refused_page(why: &str) -> Self {
        let page = format!(
            "<!DOCTYPE html><html><head><title>Something went wrong</title></head>\
             <body><h1>Something went wrong</h1><p>{why}</p></body></html>"
        );
        Self {
            body: page.into(),
            ..Self::text(400, HTML, "")
        }
    }

    /// The edge knows no such site.
    pub(super) fn no_tenant() -> Self {
        Self::json(404, &json!({"code": 404, "message": "There is no such site"}))
    }

    /// The edge has a page instead: the address is not one of a site.
    pub(super) fn tenant_page() -> Self {
        Self::text(
            200,
            HTML,
            "<!DOCTYPE html><html><head><title>Your site is unavailable</title></head>\
             <body><h1>Your Atlassian Cloud site is currently unavailable</h1></body></html>",
        )
    }

    /// Everything is down.
    pub(super) fn down() -> Self {
        Self::json(503, &json!({"code": 503, "message": "Service Unavailable"}))
    }

    /// The fault `html`, in its two forms.
    pub(super) fn html(turn: u64) -> Self {
        if turn.is_multiple_of(2) {
            Self::gateway_page(503)
        } else {
            Self::text(
                200,
                HTML,
                "<!DOCTYPE html><html><head><title>Log in with Atlassian account</title></head>\
                 <body><form id=\"form-login\" action=\"/login\"></form></body></html>",
            )
        }
    }

    fn gateway_page(status: u16) -> Self {
        Self::text(
            status,
            HTML,
            "<html><head><title>We're having trouble</title></head>\
             <body><center><h1>Temporarily unavailable</h1></center><hr><center>AtlassianEdge</center></body></html>",
        )
    }

    /// The fault `error_5xx`: four statuses and three kinds of body, each in turn.
    pub(super) fn gateway_error(turn: u64) -> Self {
        let status = match turn % 4 {
            0 => 500,
            1 => 502,
            2 => 503,
            _ => 504,
        };
        match turn % 3 {
            0 => Self::json(status, &json!({"code": status, "message": "upstream request failed"})),
            1 => Self::gateway_page(status),
            _ => Self::empty(status),
        }
    }
}
