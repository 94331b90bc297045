//! One credential as a test tells it.
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// What kind of credential it is, and so where it opens anything.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    ApiToken,
    ScopedToken,
    ServiceAccount,
    Oauth,
    OrgKey,
    ScimKey,
}

/// Everything but `valid` is refused as if the credential were not there.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    #[default]
    Valid,
    Expired,
    Revoked,
    Deactivated,
}

/// A credential. Which of the texts are there depends on its kind and was checked when it was read.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_secret: Option<String>,
    /// None: it is not asked for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scopes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) redirect_uri: Option<String>,
    #[serde(default)]
    pub(super) state: State,
    /// Is its owner an administrator of the site?
    #[serde(default = "yes")]
    pub(super) admin: bool,
    /// May its owner use the products?
    #[serde(default = "yes")]
    pub(super) access: bool,
    /// Whose it is; none: whoever it would be without a registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<String>,
    /// How many requests it opened something for.
    #[serde(skip)]
    pub(super) opened: AtomicU64,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    credentials: Vec<Entry>,
}

/// Reads the JSON of a registry; `knows` says whether somebody has an account id. What is wrong is told with its place.
pub(super) fn parse(text: &[u8], knows: impl Fn(&str) -> bool) -> Result<Vec<Entry>, String> {
    let told: Told = serde_json::from_slice(text).map_err(|wrong| wrong.to_string())?;
    let mut seen = HashSet::new();
    for (place, entry) in told.credentials.iter().enumerate() {
        let wrong = |why: String| format!("credentials[{place}]{why}");
        entry.check().map_err(wrong)?;
        if let Some(account) = &entry.account
            && !knows(account)
        {
            return Err(wrong(format!(".account: nobody has the account id {account:?}")));
        }
        if !seen.insert(entry.identity()) {
            return Err(wrong(": stands there twice".to_owned()));
        }
    }
    Ok(told.credentials)
}

impl Entry {
    pub(super) fn is_valid(&self) -> bool {
        self.state == State::Valid
    }

    pub(super) fn has_scope(&self, scope: &str) -> bool {
        let all = self.scopes.as_ref();
        all.is_none_or(|scopes| scopes.iter().any(|known| known == scope))
    }

    pub(super) fn is_client(&self) -> bool {
        matches!(self.kind, Kind::ServiceAccount | Kind::Oauth)
    }

    /// Counts that it opened something.
    pub(super) fn opens(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    /// What no two may share: the authorization server knows its clients by their ids alone.
    fn identity(&self) -> (Option<Kind>, Option<&str>, Option<&str>) {
        if self.is_client() {
            return (None, self.client_id.as_deref(), None);
        }
        (Some(self.kind), self.email.as_deref(), self.token.as_deref())
    }

    /// Every key that its kind needs is there, and none that it does not know.
    fn check(&self) -> Result<(), String> {
        let (needed, allowed): (&[&str], &[&str]) = match self.kind {
            Kind::ApiToken => (&["email", "token"], &[]),
            Kind::ScopedToken => (&["email", "token", "scopes"], &[]),
            Kind::ServiceAccount => (&["client_id", "client_secret", "scopes"], &[]),
            Kind::Oauth => (&["client_id", "client_secret", "scopes"], &["redirect_uri"]),
            Kind::OrgKey => (&["token"], &["scopes"]),
            Kind::ScimKey => (&["token"], &[]),
        };
        let texts = [
            ("email", &self.email),
            ("token", &self.token),
            ("client_id", &self.client_id),
            ("client_secret", &self.client_secret),
            ("redirect_uri", &self.redirect_uri),
        ];
        let given = texts.map(|(name, text)| (name, text.is_some()));
        for (name, is_given) in given.into_iter().chain([("scopes", self.scopes.is_some())]) {
            if needed.contains(&name) && !is_given {
                return Err(format!(".{name}: is missing"));
            }
            if is_given && !needed.contains(&name) && !allowed.contains(&name) {
                return Err(format!(".{name}: this kind has none"));
            }
        }
        for (name, text) in texts {
            if text.as_ref().is_some_and(String::is_empty) {
                return Err(format!(".{name}: is empty"));
            }
        }
        if let Some(uri) = &self.redirect_uri
            && url::Url::parse(uri).is_err()
        {
            return Err(".redirect_uri: is no address".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(entries: &str) -> String {
        let text = format!("{{\"credentials\":[{entries}]}}");
        parse(text.as_bytes(), |account| account == "somebody").unwrap_err()
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_name() {
        let good = r#"{"kind":"scim_key","token":"t"}"#;
        for (entry, told) in [
            (r#"{"kind":"api_token","email":"a@b"}"#, "[1].token: is missing"),
            (
                r#"{"kind":"api_token","email":"a@b","token":""}"#,
                "[1].token: is empty",
            ),
            (
                r#"{"kind":"api_token","email":"a@b","token":"t","scopes":[]}"#,
                "[1].scopes: this kind has none",
            ),
            (
                r#"{"kind":"oauth","client_id":"c","client_secret":"s","scopes":[],"redirect_uri":"here"}"#,
                "[1].redirect_uri",
            ),
            (r#"{"kind":"scim_key","token":"t"}"#, "[1]: stands there twice"),
            (r#"{"kind":"scim_key","token":"u","account":"x"}"#, "[1].account"),
            (r#"{"kind":"scim_key","token":"u","secret":"x"}"#, "unknown field"),
            (r#"{"kind":"password","token":"u"}"#, "unknown variant"),
            (r#"{"kind":"scim_key","token":"u","state":"gone"}"#, "unknown variant"),
            (r#"{"token":"u"}"#, "missing field `kind`"),
        ] {
            let message = refused(&format!("{good},{entry}"));
            assert!(message.contains(told), "{entry}: {message}");
        }
    }

    #[test]
    fn a_client_id_belongs_to_one_client_whatever_its_kind() {
        let both = r#"{"kind":"oauth","client_id":"c","client_secret":"s","scopes":[]},
                      {"kind":"service_account","client_id":"c","client_secret":"other","scopes":[]}"#;
        assert!(refused(both).contains("twice"));
    }

    #[test]
    fn what_is_left_out_is_valid_and_may_everything() {
        let text = br#"{"credentials":[{"kind":"org_key","token":"t","account":"somebody"}]}"#;
        let entries = parse(text, |_| true).unwrap();
        assert!(entries[0].is_valid() && entries[0].admin && entries[0].access && entries[0].has_scope("any"));
    }
}
