//! Every secret of a run, under the name by which a leak is told. To add one: a row in [`NAMES`], and whoever needs it asks
//! [`Secrets::of`] for its text. What is searched for is all rows, in all forms, everywhere.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// The secrets. Further kinds of credential belong here: client secrets, refresh tokens, access tokens.
pub const NAMES: [&str; 17] = [
    // The facade's own towards Cloud.
    "cloud.api_token",
    "cloud.admin.api_key",
    "cloud.scim.api_key",
    "cloud.jira.api_token",
    // The operator's.
    "admin.token",
    // Of callers in mode `accounts`.
    "the administrator's password",
    "the reader's password",
    "a bearer token",
    // Of callers in mode `passthrough`.
    "a caller's API token",
    "a caller's wrong API token",
    // In places where they do not belong, or are not known.
    "a wrong password",
    "a wrong bearer token",
    "a credential of an unknown scheme",
    "a token sent as the name",
    "a password in a query",
    "a password in a body",
    "a password in a cookie or another header",
];

pub struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    /// New ones, which nobody else has.
    pub fn new() -> Self {
        let text = || {
            let random: String = (0..24).map(|_| fastrand::alphanumeric()).collect();
            // Letters that JSON, URLs and base64 write in other ways.
            format!("{random}/+=~{}", fastrand::alphanumeric())
        };
        Self(NAMES.iter().map(|name| (*name, text())).collect())
    }

    pub fn of(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| *known == name);
        &found.unwrap_or_else(|| panic!("no secret is called {name}")).1
    }

    /// One that is known only once the program has made it.
    pub fn add(&mut self, name: &'static str, text: &str) {
        self.0.push((name, text.to_owned()));
    }

    /// Where any of them stands in any form: one sentence each.
    pub fn leaks(&self, places: &[(String, Vec<u8>)]) -> Vec<String> {
        let mut found = Vec::new();
        for (name, secret) in &self.0 {
            let forms = forms(secret);
            for (place, bytes) in places {
                let lower = bytes.to_ascii_lowercase();
                for (form, text) in &forms {
                    let needle = text.to_ascii_lowercase();
                    if let Some(at) = memmem(&lower, needle.as_bytes()) {
                        let from = at.saturating_sub(120);
                        let excerpt = String::from_utf8_lossy(&bytes[from..(at + 160).min(bytes.len())]).into_owned();
                        found.push(format!("{name} ({form}) in {place}: …{excerpt}…"));
                        break;
                    }
                }
            }
        }
        found
    }
}

/// Looked for without regard to case: what is folded is still told.
fn forms(secret: &str) -> Vec<(String, String)> {
    let mut forms = Vec::new();
    let mut add = |form: &str, text: String| forms.push((form.to_owned(), text));
    add("plain", secret.to_owned());
    // Ten letters of it, wherever a message was cut.
    let letters: Vec<char> = secret.chars().take(24).collect();
    for part in letters.windows(10).step_by(2) {
        add("in part", part.iter().collect());
    }
    add("in JSON", secret.replace('/', "\\/"));
    let percent = percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC);
    add("percent-encoded", percent.to_string());
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    add("in hex", hex.clone());
    add("in hex in part", hex[8..32].to_owned());
    let list: Vec<String> = secret.bytes().take(10).map(|byte| byte.to_string()).collect();
    add("as a list of bytes", list.join(", "));
    // In base64 it looks in three ways, by what stands before it; its ends mix with the neighbours.
    for shift in 0..3 {
        let padded = format!("{}{secret}", "\0".repeat(shift));
        for (form, engine) in [("base64", &STANDARD), ("URL-safe base64", &URL_SAFE_NO_PAD)] {
            let whole = engine.encode(&padded);
            let inner = &whole[4..whole.len() - 4];
            add(form, inner.to_owned());
            // Cut in the middle.
            add(form, inner[..16].to_owned());
        }
    }
    forms
}

fn memmem(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let (first, rest) = needle.split_first()?;
    let mut from = 0;
    while let Some(at) = haystack.get(from..)?.iter().position(|byte| byte == first) {
        let at = from + at;
        if haystack.get(at + 1..at + 1 + rest.len()) == Some(rest) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// A search that finds nothing must be one that could.
#[test]
fn every_form_of_a_secret_is_found_in_what_holds_it() {
    let secrets = Secrets::new();
    let secret = secrets.of("cloud.api_token");
    let hex: String = secret.bytes().map(|byte| format!("{byte:02X}")).collect();
    let quoted = serde_json::json!({ "x": secret }).to_string();
    for text in [
        format!("a{secret}b"),
        secret.to_uppercase(),
        secret[3..19].to_owned(),
        quoted.replace('/', "\\/"),
        format!("Basic {}", STANDARD.encode(format!("robot@example.com:{secret}"))),
        format!("Basic {}", STANDARD.encode(format!("a@example.com:{secret}"))),
        URL_SAFE_NO_PAD.encode(format!("x:{secret}")),
        percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC).to_string(),
        format!("{:?}", secret.as_bytes()),
        hex,
    ] {
        let found = secrets.leaks(&[("here".to_owned(), text.clone().into_bytes())]);
        assert_eq!(found.len(), 1, "{text}");
        assert!(found[0].starts_with("cloud.api_token"), "{found:?}");
    }
    assert!(
        secrets
            .leaks(&[("there".to_owned(), b"nothing of it".to_vec())])
            .is_empty()
    );
}
