//! The driver of the SCIM API: reads the directory that an identity provider fills. It never writes: that would be
//! undone by the provider.

use std::sync::Arc;

use super::call::Call;
use super::{Client, Credential, Error, Operation, Patience, wire};
use crate::model::{AccountId, RequestId, Standing};

/// Rows a page that are asked for; the answer states how many it served.
const PAGE: usize = 100;

/// One directory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Scim {
    client: Arc<Client>,
    credential: Credential,
    directory: Arc<str>,
}

/// What a person can be found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// The login at the identity provider; its case does not count.
    UserName,
    /// The identity provider's own key; its case counts.
    ExternalId,
}

/// A person as the identity provider tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScimUser {
    /// The login.
    pub user_name: Arc<str>,
    /// The provider's key, or an empty text.
    pub external_id: Arc<str>,
    /// The account, once Cloud has linked one.
    pub account: Option<AccountId>,
    /// Whether the provider has switched the person off.
    pub standing: Standing,
}

/// A page of the directory.
#[derive(Clone, Debug)]
pub struct ScimPage {
    /// Its rows.
    pub users: Vec<ScimUser>,
    /// Rows of the whole directory.
    pub total: usize,
}

impl Scim {
    /// What it is asked with.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The directory through `client`, with `credential`.
    #[must_use]
    pub fn new(client: Arc<Client>, credential: Credential, directory: &str) -> Self {
        let directory = Arc::from(directory);
        Self {
            client,
            credential,
            directory,
        }
    }

    /// The people whose `attribute` is `value`.
    ///
    /// # Errors
    /// [`Error`]; so for every method here.
    pub async fn find(
        &self,
        attribute: Attribute,
        value: &str,
        request: &RequestId,
        patience: Patience<'_>,
    ) -> Result<Vec<ScimUser>, Error> {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
        let attribute = match attribute {
            Attribute::UserName => "userName",
            Attribute::ExternalId => "externalId",
        };
        let query = vec![("filter", format!("{attribute} eq \"{escaped}\""))];
        Ok(self.read(query, request, patience).await?.users)
    }

    /// One page of everybody, from row `start` on; the first row is 0.
    pub async fn page(&self, start: usize, request: &RequestId, patience: Patience<'_>) -> Result<ScimPage, Error> {
        let query = vec![("startIndex", (start + 1).to_string()), ("count", PAGE.to_string())];
        self.read(query, request, patience).await
    }

    async fn read(
        &self,
        query: Vec<(&'static str, String)>,
        request: &RequestId,
        patience: Patience<'_>,
    ) -> Result<ScimPage, Error> {
        let path = ["directory", &*self.directory, "Users"];
        let call = Call::get(Operation::ScimUsers, &path, query);
        let page: wire::ScimPage = self.client.read(&call, &self.credential, request, patience).await?;
        Ok(ScimPage {
            total: page.total_results,
            users: page.resources.into_iter().map(wire::ScimUser::into_user).collect(),
        })
    }
}
