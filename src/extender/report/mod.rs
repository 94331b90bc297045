//! What became of a changing call, for its own caller or an operator: as JSON, or as a page for a person.

mod html;

use std::sync::LazyLock;

use base64::Engine as _;
use http::header::{
    ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY, VARY, X_FRAME_OPTIONS,
};
use http::{HeaderMap, StatusCode};
use sha2::Digest as _;

use super::auth::{Admitted, Scope};
use super::calls::Success;
use super::query::Query;
use super::{Error, Extender, Request};
use crate::model::{Caller, OperationId, Report};
use crate::reports::{self, Names};

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Html,
}

/// The page may use its own style sheet, and nothing else from anywhere.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(html::STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

impl Extender {
    /// The report of the operation with this id. An id that is none, that nobody knows, or that is another caller's,
    /// is answered alike.
    pub(super) async fn report(
        &self,
        id: &str,
        admitted: &Admitted,
        query: &Query,
        request: &Request,
    ) -> Result<Success, Error> {
        let missing = || Error::not_found(&request.path);
        let id = OperationId::parse(id).ok_or_else(missing)?;
        let report = admitted.directory.report(&id).await;
        let report = report.map_err(|error| self.failed(error))?;
        let mut report = report
            .filter(|report| may_see(&admitted.caller, &admitted.scope, report))
            .ok_or_else(missing)?;
        // Not before: whether there is such a report must not show by what it takes, nor may a stranger cause calls.
        admitted.directory.tell_access(&mut report, &request.id).await;
        written(&report, query, &request.headers)
    }
}

/// One's own reports, and an operator everybody's, as far as they are about groups that the entry is for now: a report names
/// who is in them. The entry's name is who calls, so a new password or token of the same name reads on.
fn may_see(caller: &Caller, scope: &Scope, report: &Report) -> bool {
    (report.caller_key == *caller.key || caller.rights.operator) && scope.holds_groups_of(report)
}

fn written(report: &Report, query: &Query, headers: &HeaderMap) -> Result<Success, Error> {
    let format = match query.first("format") {
        None if is_for_a_person(headers) => Format::Html,
        None | Some("json") => Format::Json,
        Some("html") => Format::Html,
        Some(_) => return Err(Error::new(StatusCode::BAD_REQUEST, "format is html or json")),
    };
    let names = match query.first("names") {
        Some(value) if value.eq_ignore_ascii_case("false") => Names::LeftOut,
        _ => Names::Listed,
    };
    let mut answer = match format {
        Format::Json => Success::of(reports::render(report, names)),
        Format::Html => Success {
            headers: page_headers(),
            ..Success::of(html::render(report, names).into_bytes())
        },
    };
    answer.headers.push((VARY, HeaderValue::from_static("Accept")));
    Ok(answer)
}

fn page_headers() -> Vec<(HeaderName, HeaderValue)> {
    let fixed = HeaderValue::from_static;
    vec![
        (CONTENT_TYPE, fixed("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, POLICY.clone()),
        (REFERRER_POLICY, fixed("no-referrer")),
        (X_FRAME_OPTIONS, fixed("DENY")),
    ]
}

/// Whether the client is a browser that shows its user what it gets: it names XHTML, which no script does, or HTML and
/// nothing else. Java's own default begins with `text/html` too, and is a script.
fn is_for_a_person(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges: Vec<(String, f32)> = accepted
        .flat_map(|value| value.split(','))
        .map(|range| {
            let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
            let name = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.trim().parse().ok());
            (name, weight.unwrap_or(1.0))
        })
        .filter(|(name, _)| !name.is_empty())
        .collect();
    let weight = |wanted: &str| {
        let found = ranges.iter().find(|(name, _)| name == wanted);
        found.map_or(0.0, |(_, weight)| *weight)
    };
    let html = weight("text/html");
    let only_html = ranges.iter().all(|(name, _)| name == "text/html");
    html > 0.0 && html > weight("application/json") && (weight("application/xhtml+xml") > 0.0 || only_html)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reports::samples;

    fn asked(query: &str, accept: &str) -> Result<Success, Error> {
        let mut headers = HeaderMap::new();
        if !accept.is_empty() {
            headers.insert(ACCEPT, accept.parse().unwrap());
        }
        written(&samples::finished(), &Query::parse(query), &headers)
    }

    fn is_html(success: &Success) -> bool {
        let html = success
            .headers
            .iter()
            .any(|(name, value)| name == CONTENT_TYPE && value == "text/html; charset=utf-8");
        assert_eq!(html, success.body.starts_with(b"<!DOCTYPE html>"));
        assert_eq!(html, !success.body.starts_with(b"{"));
        html
    }

    const FIREFOX: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    const CHROMIUM: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7";

    #[test]
    fn a_browser_gets_the_page_and_a_script_gets_json() {
        for (accept, html) in [
            (FIREFOX, true),
            (CHROMIUM, true),
            ("text/html", true),
            ("Text/HTML; q=0.3", true),
            ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", false),
            ("", false),
            ("*/*", false),
            ("application/json", false),
            ("application/json, text/html;q=0.9, application/xhtml+xml", false),
            ("application/xhtml+xml, text/html, application/json;q=0.9", true),
            ("text/html;q=0", false),
            ("text/html;q=nan, application/xhtml+xml;q=x", false),
            (",;,text/html;;q=,", true),
        ] {
            assert_eq!(is_html(&asked("", accept).unwrap()), html, "{accept}");
        }
    }

    #[test]
    fn a_report_is_for_its_own_caller_and_for_operators() {
        let report = samples::finished();
        let caller = |name: &str, key: &str| Caller {
            key: key.into(),
            ..Caller::named(name)
        };
        assert!(may_see(
            &caller("renamed", "the-callers-key"),
            &Scope::default(),
            &report
        ));
        assert!(!may_see(&caller("jenkins", "another-key"), &Scope::default(), &report));
        let mut operator = caller("root", "another-key");
        operator.rights.operator = true;
        assert!(may_see(&operator, &Scope::default(), &report));
    }

    #[test]
    fn the_format_that_is_asked_for_outranks_accept_and_an_unknown_one_is_refused() {
        assert!(is_html(&asked("format=html", "application/json").unwrap()));
        assert!(!is_html(&asked("format=json", FIREFOX).unwrap()));
        for query in ["format=xml", "format=", "format=HTML"] {
            assert_eq!(
                asked(query, "").err().unwrap().status,
                StatusCode::BAD_REQUEST,
                "{query}"
            );
        }
    }

    #[test]
    fn the_names_are_left_out_on_demand_in_both_formats() {
        for format in ["json", "html"] {
            let holds = |query: &str| {
                let body = asked(&format!("format={format}&{query}"), "").unwrap().body;
                String::from_utf8(body.to_vec()).unwrap().contains("hopper")
            };
            assert!(holds("") && holds("names=true") && holds("names="), "{format}");
            assert!(!holds("names=false") && !holds("names=FALSE"), "{format}");
        }
    }

    #[test]
    fn the_page_may_use_its_own_style_and_nothing_else() {
        let page = asked("format=html", "").unwrap();
        let policy = page.headers.iter().find(|(name, _)| name == CONTENT_SECURITY_POLICY);
        let policy = policy.unwrap().1.to_str().unwrap();
        let text = String::from_utf8(page.body.to_vec()).unwrap();
        let style = text.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
        let hash = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(style));
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(policy.contains(&hash), "{policy}");
        // The policy would not let them through.
        assert!(!text.contains("style=\"") && !text.contains("<script"), "{text}");
    }
}
