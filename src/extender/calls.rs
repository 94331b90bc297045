//! The six calls: what a request asks for, put to the domain, and its answer put into the legacy words.

use http::StatusCode;

use super::auth::Admitted;
use super::body::{self, Lost};
use super::dates::Pattern;
use super::query::Query;
use super::wire::{self, Dates, Words};
use super::{Call, Error, Extender, Request};
use crate::directory::{self, Change};
use crate::model::{Context, Detail, GroupName, Outcome};
use crate::settings::seconds;

/// A success: the body, and for the changing calls how many names were skipped.
pub(super) struct Success {
    pub body: Vec<u8>,
    pub skipped: Option<usize>,
}

impl Extender {
    /// Performs `call` for a caller who may ask for it.
    pub(super) async fn perform(
        &self,
        call: Call,
        group: Option<GroupName>,
        admitted: &Admitted,
        query: &Query,
        request: &mut Request,
    ) -> Result<Success, Error> {
        let extender = &self.settings.extender;
        let patience = seconds(extender.read_deadline_s);
        let id = request.id.clone();
        // Made when it is wanted: the patience of a changing call begins when its body is there.
        let context = || Context::new(id.clone(), admitted.caller.clone(), patience);
        let directory = &admitted.directory;
        let group = || group.clone().ok_or_else(|| Error::not_found(&request.path));
        let own = |value: u32| {
            if value == 0 {
                extender.default_max_results
            } else {
                value
            }
        };
        match call {
            Call::GetUsers => {
                let page = query
                    .page(own(extender.get_users_max_results))
                    .map_err(|_| Error::not_an_integer())?;
                let detail = query.detail();
                let members = directory.list_members(&group()?, detail, &context()).await;
                let members = members.map_err(|error| self.failed(error))?;
                let pattern = match query.first("dateFormat").filter(|text| !text.trim().is_empty()) {
                    // Quirk: a bad pattern is noticed only when dates are to be written, and answered 500 with Java's
                    // message (docs/compatibility.md, "Dates"): the group is looked up first.
                    Some(text) if detail == Detail::Extended => Pattern::compile(text)
                        .map_err(|error| Error::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?,
                    _ => Pattern::default(),
                };
                let dates = Dates {
                    pattern: &pattern,
                    zone: &self.zone,
                };
                Ok(Success {
                    body: wire::members(&members, page, detail, dates),
                    skipped: None,
                })
            }
            Call::GetGroups => {
                let page = query
                    .page(own(extender.get_groups_max_results))
                    .map_err(|_| Error::not_an_integer())?;
                let groups = directory
                    .list_groups(&context())
                    .await
                    .map_err(|error| self.failed(error))?;
                Ok(Success {
                    body: wire::groups(&groups, page),
                    skipped: None,
                })
            }
            Call::AddUsers => {
                let (group, names) = (group()?, self.names(&wire::ADD_USERS, request).await?);
                self.told(
                    &wire::ADD_USERS,
                    directory.change_members(Change::Add, group, names, &context()).await,
                )
            }
            Call::RemoveUsers => {
                let (group, names) = (group()?, self.names(&wire::REMOVE_USERS, request).await?);
                self.told(
                    &wire::REMOVE_USERS,
                    directory.change_members(Change::Remove, group, names, &context()).await,
                )
            }
            Call::AddGroups => {
                let names = self.names(&wire::ADD_GROUPS, request).await?;
                self.told(&wire::ADD_GROUPS, directory.create_groups(names, &context()).await)
            }
            Call::RemoveGroups => {
                let names = self.names(&wire::REMOVE_GROUPS, request).await?;
                self.told(&wire::REMOVE_GROUPS, directory.delete_groups(names, &context()).await)
            }
        }
    }

    async fn names(&self, words: &Words, request: &mut Request) -> Result<Vec<String>, Error> {
        let inbound = &self.settings.inbound;
        let too_large = || {
            let text = format!("the body is larger than {} bytes", inbound.max_body_bytes);
            Error::new(StatusCode::PAYLOAD_TOO_LARGE, text)
        };
        if request
            .announced_length()
            .is_some_and(|length| length > inbound.max_body_bytes as u64)
        {
            return Err(too_large());
        }
        let patience = seconds(inbound.body_timeout_s);
        request.body_begun = true;
        let body = body::read(&mut request.body, inbound.max_body_bytes, patience)
            .await
            .map_err(|lost| match lost {
                Lost::TooLarge => too_large(),
                Lost::TooSlow => Error::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"),
                Lost::Broken => Error::new(StatusCode::BAD_REQUEST, "the body ended before it was complete"),
            })?;
        body::names(&body, words.asked).map_err(|fault| Error::new(StatusCode::BAD_REQUEST, fault))
    }

    fn told(&self, words: &Words, outcome: Result<Outcome, directory::Error>) -> Result<Success, Error> {
        let outcome = outcome.map_err(|error| self.failed(error))?;
        Ok(Success {
            body: wire::outcome(words, &outcome),
            skipped: Some(outcome.skipped().count()),
        })
    }

    fn failed(&self, error: directory::Error) -> Error {
        let missing = StatusCode::from_u16(self.settings.extender.missing_group_status);
        Error::of(
            error,
            missing.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            self.door.is_passthrough(),
        )
    }
}
