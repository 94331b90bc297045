//! The six calls: what a request asks for, put to the domain, and its answer put into the legacy words.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{CONTENT_ENCODING, VARY};
use http::{HeaderName, HeaderValue, StatusCode};
use parking_lot::Mutex;

use super::auth::Admitted;
use super::body::{self, Lost};
use super::dates::Pattern;
use super::delivery::Delivered;
use super::prepared::{accepts_gzip, prepared};
use super::query::Query;
use super::reply::{STALE, Told};
use super::wire::{self, Dates, Words};
use super::{Call, Error, Extender, Request, options};
use crate::directory::{self, Change, Conduct, Directory, Order, What};
use crate::model::{Context, Detail, Form, GroupName, Listing, OperationId};
use crate::settings::seconds;

/// From so many bytes on a body is read on a thread of its own: the milliseconds that it takes are everybody else's, too.
const LARGE_BODY: usize = 256 * 1024;

/// A success.
pub(super) struct Success {
    /// The whole body.
    pub body: Bytes,
    /// The same, of a list that is as good as lists are: whoever asks again may be given it while it is there.
    pub print: Option<Weak<Bytes>>,
    /// How many names were skipped, of a changing call.
    pub skipped: Option<usize>,
    /// The operation behind it, which has a report.
    pub report: Option<OperationId>,
    /// Whether anything was to change.
    pub conduct: Conduct,
    /// What follows once the answer is written.
    pub delivered: Option<Delivered>,
    /// Headers that take the place of the usual ones, or stand beside them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Success {
    /// A success with this body and nothing further to say.
    pub(super) fn of(body: impl Into<Bytes>) -> Self {
        Self {
            body: body.into(),
            print: None,
            skipped: None,
            report: None,
            conduct: Conduct::Real,
            delivered: None,
            headers: Vec::new(),
        }
    }

    /// The answer to a list, in the form in which it is asked for.
    async fn told<T>(listing: &Listing<T>, form: Form, compress_from: usize, make: impl FnOnce() -> Vec<u8>) -> Self {
        let (body, is_compressed) = prepared(listing, form, compress_from, make).await;
        let mut success = Self::of(Bytes::clone(&body));
        success.print = Some(Arc::downgrade(&body));
        // A cache on the way must not give the one to who wants the other, though it is told to keep neither.
        success
            .headers
            .push((VARY, HeaderValue::from_static("accept-encoding")));
        if is_compressed {
            success
                .headers
                .push((CONTENT_ENCODING, HeaderValue::from_static("gzip")));
        }
        success
    }

    /// The same, marked with the age of what it tells if Cloud could not be asked.
    fn aged(mut self, age: Option<Duration>) -> Self {
        if let Some(age) = age {
            self.headers.push((STALE, HeaderValue::from(age.as_secs())));
            self.print = None;
        }
        self
    }
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
        let (what, words) = match call {
            Call::GetUsers => {
                let page = query
                    .page(own(extender.get_users_max_results))
                    .map_err(|_| Error::not_an_integer())?;
                let detail = query.detail();
                let members = directory.list_members(&group()?, detail, &context()).await;
                let members = members.map_err(|error| self.failed(error))?;
                let text = query.first("dateFormat").filter(|text| !text.trim().is_empty());
                let text = text.filter(|_| detail == Detail::Extended);
                let pattern = match text {
                    // Quirk: a bad pattern is noticed only when dates are to be written, and answered 500 with Java's
                    // message (docs/compatibility.md, "Dates"): the group is looked up first.
                    Some(text) => Pattern::compile(text)
                        .map_err(|error| Error::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?,
                    None => Pattern::default(),
                };
                let form = Form {
                    page,
                    detail,
                    dates: text.map(Box::from),
                    is_compressed: self.may_compress(request),
                };
                let dates = Dates {
                    pattern: &pattern,
                    zone: &self.zone,
                };
                let make = || wire::members(&members.list.rows, page, detail, dates);
                let told = Success::told(&members.list, form, extender.compress_from_bytes, make).await;
                return Ok(told.aged(members.age));
            }
            Call::GetGroups => {
                let page = query
                    .page(own(extender.get_groups_max_results))
                    .map_err(|_| Error::not_an_integer())?;
                let groups = directory
                    .list_groups(&context())
                    .await
                    .map_err(|error| self.failed(error))?;
                let scope = &admitted.scope;
                let list = if scope.holds_all_groups() {
                    groups.list
                } else {
                    let all = groups
                        .list
                        .rows
                        .iter()
                        .filter(|group| scope.holds_group(group.as_str()));
                    Arc::new(Listing::from(all.cloned().collect::<Vec<_>>()))
                };
                let form = Form {
                    page,
                    detail: Detail::Names,
                    dates: None,
                    is_compressed: self.may_compress(request),
                };
                let make = || wire::groups(&list.rows, page);
                let told = Success::told(&list, form, extender.compress_from_bytes, make).await;
                return Ok(told.aged(groups.age));
            }
            Call::AddUsers => (What::Members(Change::Add, group()?), &wire::ADD_USERS),
            Call::RemoveUsers => (What::Members(Change::Remove, group()?), &wire::REMOVE_USERS),
            Call::AddGroups => (What::CreateGroups, &wire::ADD_GROUPS),
            Call::RemoveGroups => (What::DeleteGroups, &wire::REMOVE_GROUPS),
        };
        let conduct = options::conduct(query, &request.headers)?;
        let key = options::idempotency_key(&request.headers)?;
        let names = self.names(words, request).await?;
        if matches!(what, What::CreateGroups | What::DeleteGroups) {
            // A blank name is no group's, and skipped.
            let groups = names.iter().filter(|name| !name.trim().is_empty());
            super::within(&admitted.scope, groups.map(String::as_str))?;
        }
        let order = Order {
            what,
            names,
            conduct,
            key,
        };
        let told = Arc::clone(&request.told);
        self.change(words, order, directory, &context(), &told).await
    }

    fn may_compress(&self, request: &Request) -> bool {
        self.settings.extender.compress_from_bytes > 0 && accepts_gzip(&request.headers)
    }

    /// Has a bulk call carried out, or joins the same one, and waits for its answer.
    async fn change(
        &self,
        words: &Words,
        order: Order,
        directory: &Arc<Directory>,
        context: &Context,
        told: &Told,
    ) -> Result<Success, Error> {
        let pending = directory.perform(order, context).await;
        let pending = pending.map_err(|error| self.failed(error))?;
        let (operation, conduct) = (pending.watch(), pending.conduct());
        // For the head, which may be sent before the end.
        _ = told.conduct.set(conduct);
        _ = told.operation.set(operation.clone());
        let answer = std::pin::pin!(pending.answer());
        let answer = match select(answer, std::pin::pin!(operation.has_begun())).await {
            Either::Left((answer, _)) => answer,
            Either::Right(((), answer)) => {
                // Not before: what is refused by plan has a status of its own.
                told.begun.notify_one();
                answer.await
            }
        };
        let report = operation.id();
        let answer = answer.map_err(|error| self.failed(error).about(report.as_ref(), conduct))?;
        Ok(Success {
            skipped: Some(answer.outcome.skipped().count()),
            report,
            conduct,
            delivered: answer.delivery.map(delivered),
            ..Success::of(wire::outcome(words, &answer.outcome))
        })
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
        let names = if body.len() < LARGE_BODY {
            body::names(&body, words.asked)
        } else {
            let asked = words.asked;
            let read = tokio::task::spawn_blocking(move || body::names(&body, asked)).await;
            read.map_err(|_panic| Error::unavailable("the body could not be read", Duration::from_secs(5)))?
        };
        let names = names.map_err(|fault| Error::new(StatusCode::BAD_REQUEST, fault))?;
        let most = self.settings.extender.max_names;
        if names.len() > most {
            let text = format!(
                "the body has {} names, and extender.max_names allows {most}",
                names.len()
            );
            return Err(Error::new(StatusCode::PAYLOAD_TOO_LARGE, text));
        }
        Ok(names)
    }

    pub(super) fn failed(&self, error: directory::Error) -> Error {
        let missing = StatusCode::from_u16(self.settings.extender.missing_group_status);
        Error::of(
            error,
            missing.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            self.door.is_passthrough(),
        )
    }
}

/// Tells the operation whether its answer was written, or lost after all.
fn delivered(delivery: directory::Delivery) -> Delivered {
    let returned = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&returned);
    Delivered::new(move || *kept.lock() = Some(delivery.arrived())).or_lost(move || {
        if let Some(arrived) = returned.lock().take() {
            arrived.was_lost();
        }
    })
}
