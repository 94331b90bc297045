//! What opens Cloud's door. A credential is shown to Cloud and to nobody else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

/// An account's e-mail address and API token, ready to be sent.
#[derive(Clone)]
pub struct Credential {
    header: HeaderValue,
    name: String,
    owner: Owner,
}

/// Whose credential it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The facade's own: that it is refused is a fault of the facade's set-up.
    Facade,
    /// A caller's: that it is refused is the caller's affair.
    Caller,
}

impl Credential {
    /// The pair as Basic authentication wants it, both encoded together.
    #[must_use]
    pub fn basic(email: &str, token: &str, owner: Owner) -> Self {
        let name = match owner {
            Owner::Facade => format!("cloud.api_token of {email}"),
            Owner::Caller => "the caller's own token".to_owned(),
        };
        Self::pair(email, token, name, owner)
    }

    /// The facade's own pair from another setting than `cloud.api_token`.
    #[must_use]
    pub fn basic_of(setting: &str, email: &str, token: &str) -> Self {
        Self::pair(email, token, format!("{setting} of {email}"), Owner::Facade)
    }

    /// The facade's own key from `setting`, as Bearer authentication wants it.
    ///
    /// # Errors
    /// A key with letters that no header may have.
    pub fn bearer(setting: &str, key: &str) -> Result<Self, String> {
        let header = HeaderValue::from_str(&format!("Bearer {key}"));
        let mut header = header.map_err(|_| format!("{setting} has letters that no key can have"))?;
        header.set_sensitive(true);
        let (name, owner) = (setting.to_owned(), Owner::Facade);
        Ok(Self { header, name, owner })
    }

    fn pair(email: &str, token: &str, name: String, owner: Owner) -> Self {
        let encoded = STANDARD.encode(format!("{email}:{token}"));
        let mut header =
            HeaderValue::from_str(&format!("Basic {encoded}")).expect("base64 has only letters that a header may have");
        header.set_sensitive(true);
        Self { header, name, owner }
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// Whose it is.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// What messages call it; never a secret.
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
