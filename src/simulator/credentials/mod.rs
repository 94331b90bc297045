//! The credentials that open this Cloud: a registry that a test fills, empty at first.
//!
//! While it is empty any credential of the right scheme will do. Once it holds one, only what is in it opens anything, each
//! kind where the real one does and nowhere else; cloud.md section 5 has the kinds and the bodies of the refusals.
//!
//! `{"credentials": [{…}]}`, each one of
//!
//! | `kind` | keys | opens |
//! |---|---|---|
//! | `api_token` | `email`, `token` | the site, by Basic |
//! | `scoped_token` | `email`, `token`, `scopes` | the gateway, by Basic |
//! | `service_account` | `client_id`, `client_secret`, `scopes` | the gateway, by the Bearer tokens that it gets for itself |
//! | `oauth` | `client_id`, `client_secret`, `scopes`, `redirect_uri` (any, without it) | the gateway, by the Bearer tokens of a consent |
//! | `org_key` | `token`, `scopes` (any, without it) | the Admin API, by Bearer |
//! | `scim_key` | `token` | SCIM, by Bearer |
//!
//! and for every kind `state` (`valid`, `expired`, `revoked`, `deactivated`: all but the first are refused as if it were not
//! there), `admin` (false: writes are 403), `access` (false: the products are 403), `account` (whose it is).
//!
//! `GET /_sim/credentials` shows it, how many requests each has opened something for, and the tokens; `GET /_sim/tokens` these
//! alone; `POST /_sim/tokens` with `{"revoke": client_id}` ends the consents of a client; `GET /_sim/scopes` is the table of what
//! each operation needs. `POST /_sim/reset` leaves all of it alone.
//!
//! A registry that replaces another one keeps what its clients were given: tokens and consents go when their client does.
//! What is given to a client that is not valid is refused, and good again once it is valid.
mod doors;
mod entry;
mod grants;
mod oauth;
mod scopes;

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::answers::Answer;
use super::options::{Error, Options};
use super::request::{Credential, Request};
use super::{Shared, users::Users};
use entry::{Entry, Kind};
use grants::{Access, Grants};

pub(super) use doors::authorize;
pub(super) use oauth::{agree, resources, token};

/// The credentials there are, and what was given out for them.
#[derive(Debug)]
pub(super) struct Registry {
    entries: Vec<Entry>,
    grants: Grants,
}

/// What opens the gateway: a credential of the registry, maybe by an access token that it was given.
struct Holder<'a> {
    entry: &'a Entry,
    /// The access token; none if the credential itself was sent.
    access: Option<&'a Access>,
}

impl Holder<'_> {
    /// A consent has no more scopes than its client has by now.
    fn has_scope(&self, scope: &str) -> bool {
        let granted = self
            .access
            .is_none_or(|access| access.scopes.iter().any(|known| known == scope));
        granted && self.entry.has_scope(scope)
    }
}

impl Registry {
    /// The registry of the options' file, or an empty one.
    pub(super) fn load(options: &Options, users: &Users) -> Result<Self, Error> {
        let mut registry = Self {
            entries: Vec::new(),
            grants: Grants::new(options.seed),
        };
        if let Some(path) = &options.credentials {
            let wrong = |message: String| Error::Credentials {
                path: path.clone(),
                message,
            };
            let text = std::fs::read(path).map_err(|why| wrong(why.to_string()))?;
            let knows = |account: &str| users.number(account).is_some();
            registry.entries = entry::parse(&text, knows).map_err(wrong)?;
        }
        Ok(registry)
    }

    /// Whether any credential will do.
    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn replace(&mut self, entries: Vec<Entry>) {
        let was = std::mem::replace(&mut self.entries, entries);
        let kind = |entries: &[Entry], client: &str| {
            let found = entries.iter().find(|entry| entry.client_id.as_deref() == Some(client));
            found.map(|entry| entry.kind)
        };
        let now = &self.entries;
        self.grants
            .keep(|client| kind(now, client).is_some_and(|is| kind(&was, client) == Some(is)));
    }

    /// The valid credential of this kind that was sent as a pair.
    fn pair(&self, wanted: Kind, sent: &Credential) -> Option<&Entry> {
        let Credential::Basic { user, password } = sent else {
            return None;
        };
        let is_same = |email: &str| email.eq_ignore_ascii_case(user);
        self.valid(wanted).find(|entry| {
            entry.email.as_deref().is_some_and(is_same) && entry.token.as_deref() == Some(password.as_str())
        })
    }

    /// The valid credential of this kind that was sent as it is.
    fn key(&self, wanted: Kind, sent: &Credential) -> Option<&Entry> {
        let Credential::Bearer { token } = sent else {
            return None;
        };
        self.valid(wanted)
            .find(|entry| entry.token.as_deref() == Some(token.as_str()))
    }

    /// Who opens the gateway with this.
    fn at_gateway(&self, sent: &Credential) -> Option<Holder<'_>> {
        if let Some(entry) = self.pair(Kind::ScopedToken, sent) {
            return Some(Holder { entry, access: None });
        }
        let Credential::Bearer { token } = sent else {
            return None;
        };
        let access = self.grants.access(token, Instant::now())?;
        let entry = self.client(&access.client).filter(|entry| entry.is_valid())?;
        let access = Some(access);
        Some(Holder { entry, access })
    }

    /// The client with this id, valid or not.
    fn client(&self, id: &str) -> Option<&Entry> {
        let mut clients = self.entries.iter().filter(|entry| entry.is_client());
        clients.find(|entry| entry.client_id.as_deref() == Some(id))
    }

    fn valid(&self, wanted: Kind) -> impl Iterator<Item = &Entry> {
        let is_wanted = move |entry: &&Entry| entry.kind == wanted && entry.is_valid();
        self.entries.iter().filter(is_wanted)
    }

    /// By client: what became of its tokens. And the texts of all of them.
    fn tokens(&self, leeway: Duration) -> Value {
        let now = Instant::now();
        let ids = self.entries.iter().filter_map(|entry| entry.client_id.as_deref());
        let clients: Map<String, Value> = ids.map(|id| (id.to_owned(), self.grants.of(id, leeway, now))).collect();
        json!({"clients": clients, "texts": self.grants.texts()})
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    revoke: String,
}

/// Whoever agreed takes it back: the client's consents end, and the client itself may ask for another one.
fn end_consents(shared: &Shared, request: &Request) -> Answer {
    let end: End = match serde_json::from_slice(request.body.as_deref().unwrap_or_default()) {
        Ok(end) => end,
        Err(wrong) => return Answer::json(400, &json!({ "error": wrong.to_string() })),
    };
    let mut registry = shared.credentials.write();
    if registry.client(&end.revoke).is_none() {
        return Answer::json(404, &json!({"error": "no client has this id"}));
    }
    registry.grants.end(&end.revoke);
    Answer::empty(204)
}

/// Answers what `/_sim` is asked about credentials; none if it is something else.
pub(super) fn control(shared: &Shared, request: &Request) -> Option<Answer> {
    let leeway = shared.faults.read().credentials.leeway();
    let shown = |registry: &Registry| {
        let opened = registry
            .entries
            .iter()
            .map(|entry| entry.opened.load(std::sync::atomic::Ordering::Relaxed));
        let opened: Vec<u64> = opened.collect();
        let tokens = registry.tokens(leeway);
        Answer::json(
            200,
            &json!({"credentials": registry.entries, "opened": opened, "tokens": tokens}),
        )
    };
    let answer = match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/_sim/credentials") => shown(&shared.credentials.read()),
        ("POST", "/_sim/credentials") => {
            let text = request.body.as_deref().unwrap_or_default();
            let users = shared.users.read();
            match entry::parse(text, |account| users.number(account).is_some()) {
                Ok(entries) => {
                    let mut registry = shared.credentials.write();
                    registry.replace(entries);
                    shown(&registry)
                }
                Err(wrong) => Answer::json(400, &json!({ "error": wrong })),
            }
        }
        ("POST", "/_sim/tokens") => end_consents(shared, request),
        ("GET", "/_sim/tokens") => Answer::json(200, &shared.credentials.read().tokens(leeway)),
        ("GET", "/_sim/scopes") => Answer::json(200, &scopes::shown()),
        _ => return None,
    };
    Some(answer)
}
