//! The driver of Jira's search for users: finds one person by their full e-mail address, even where the profile hides
//! it. Active people only.

use std::sync::Arc;

use super::call::Call;
use super::{Client, Credential, Error, Operation, Patience, diagnosis, wire};
use crate::model::{AccountId, RequestId};

/// Rows that are asked for: a search by a full address has one, or some that merely begin so.
pub const USERS_PAGE: usize = 50;

/// Jira at the site. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Jira {
    client: Arc<Client>,
    credential: Credential,
}

/// A person as Jira shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JiraUser {
    /// The account.
    pub account: AccountId,
    /// The e-mail address, or an empty text where the profile hides it.
    pub email: Arc<str>,
    /// The display name, where it is told.
    pub name: Option<Arc<str>>,
    /// The account of a program.
    pub is_app: bool,
    /// The account is switched on.
    pub is_active: bool,
}

impl Jira {
    /// What it is asked with.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Jira through `client`, with `credential`.
    #[must_use]
    pub fn new(client: Arc<Client>, credential: Credential) -> Self {
        Self { client, credential }
    }

    /// What it means that Jira does not show the credential's `own` account.
    #[must_use]
    pub fn is_blind(&self, own: &str) -> Error {
        Error::Refused {
            status: 403,
            diagnosis: Box::new(diagnosis::blind(own)),
            doubtful: false,
        }
    }

    /// Whoever Jira finds for `text`: by the beginning of name or address, or by a full address that is hidden.
    ///
    /// # Errors
    /// [`Error`]. Without the right to browse users the answer is empty instead.
    pub async fn find(&self, text: &str, request: &RequestId, patience: Patience<'_>) -> Result<Vec<JiraUser>, Error> {
        let query = vec![("query", text.to_owned()), ("maxResults", USERS_PAGE.to_string())];
        let call = Call::get(Operation::JiraUsers, &["rest", "api", "3", "user", "search"], query);
        let users: Vec<wire::JiraUser> = self.client.read(&call, &self.credential, request, patience).await?;
        Ok(users.into_iter().map(wire::JiraUser::into_user).collect())
    }
}
