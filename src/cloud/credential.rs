//! What opens Cloud's door. A credential is shown to Cloud and to nobody else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

/// An account's e-mail address and API token, ready to be sent.
#[derive(Clone)]
pub struct Credential {
    header: HeaderValue,
    name: String,
}

impl Credential {
    /// The pair as Basic authentication wants it, both encoded together. `name` is what messages call it, never a
    /// secret: `cloud.api_token of admin@example.com`.
    #[must_use]
    pub fn basic(email: &str, token: &str, name: String) -> Self {
        let encoded = STANDARD.encode(format!("{email}:{token}"));
        let mut header =
            HeaderValue::from_str(&format!("Basic {encoded}")).expect("base64 has only letters that a header may have");
        header.set_sensitive(true);
        Self { header, name }
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
