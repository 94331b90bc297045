//! The sources that are asked by calls: the Admin API, SCIM and Jira, each where it has a credential.
//!
//! Whatever they answer is held against the question: rows that nobody asked for say nothing, and a row that does not
//! say whom it answers makes its whole answer worthless, because who is missing in it may be that row.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

use super::batch::{Batcher, Found, Limits, Wanted};
use super::claims::{Claim, Heard, now};
use crate::cloud::{Admin, Attribute, EMAILS, Error, Jira, Operation, Patience, Scim, ScimUser};
use crate::metrics::Metrics;
use crate::model::{AccountId, Context, NameKey, RequestId, Source, Standing};
use crate::settings::{Link, ScimMatch, ScimRead, Settings, seconds};

/// Longer than any reading of a directory should take; it goes on while its callers have left.
const WHOLE_DIRECTORY: Duration = Duration::from_secs(600);

/// The facade's own drivers; a caller who brings a credential has none.
#[derive(Clone, Debug, Default)]
pub struct Drivers {
    /// The organisation's Admin API.
    pub admin: Option<Admin>,
    /// The identity provider's directory.
    pub scim: Option<Scim>,
    /// Jira's search, and the e-mail address of its account, which it must be able to find.
    pub jira: Option<(Jira, String)>,
}

/// Each source that can be asked, with what puts its questions together.
#[derive(Debug, Default)]
pub struct Live {
    sources: Vec<(Link, Batcher)>,
}

impl Live {
    pub fn new(drivers: &Drivers, heard: &Arc<Heard>, settings: &Settings, metrics: &Metrics) -> Self {
        let limits = |most| Limits {
            most,
            window: Duration::from_millis(settings.identity.batch_window_ms),
            memory: seconds(settings.cache.negative_ttl_s),
            capacity: settings.cache.max_accounts,
        };
        let patience = seconds(settings.extender.read_deadline_s);
        let mut sources = Vec::new();
        for link in &settings.identity.sources {
            let batcher = match link {
                Link::Admin => drivers.admin.clone().map(|admin| {
                    let heard = Arc::clone(heard);
                    let ask = move |names, request| {
                        let (admin, heard) = (admin.clone(), Arc::clone(&heard));
                        async move {
                            let found = ask_admin(&admin, names, &request, Instant::now() + patience).await;
                            kept(&heard, Source::Admin, found)
                        }
                        .boxed()
                    };
                    Batcher::new(Operation::AdminUsers, limits(EMAILS), metrics.clone(), Box::new(ask))
                }),
                Link::Scim => drivers.scim.clone().map(|scim| {
                    let directory = Arc::new(Directory::new(scim, settings));
                    let heard = Arc::clone(heard);
                    let ask = move |names, request| {
                        let (directory, heard) = (Arc::clone(&directory), Arc::clone(&heard));
                        async move {
                            let found = directory.ask(names, &request, Instant::now() + patience).await;
                            kept(&heard, Source::Scim, found)
                        }
                        .boxed()
                    };
                    let most = match settings.cloud.scim.read {
                        ScimRead::Each => 1,
                        // One call answers all of them.
                        ScimRead::All => usize::MAX,
                    };
                    Batcher::new(Operation::ScimUsers, limits(most), metrics.clone(), Box::new(ask))
                }),
                Link::Jira => drivers.jira.clone().map(|(jira, own)| {
                    let search = Arc::new(Search::new(jira, own));
                    let heard = Arc::clone(heard);
                    let ask = move |names, request| {
                        let (search, heard) = (Arc::clone(&search), Arc::clone(&heard));
                        async move {
                            let found = search.ask(names, &request, Instant::now() + patience).await;
                            kept(&heard, Source::Jira, found)
                        }
                        .boxed()
                    };
                    Batcher::new(Operation::JiraUsers, limits(1), metrics.clone(), Box::new(ask))
                }),
                Link::Map | Link::AccountId | Link::Learned | Link::Members => None,
            };
            sources.extend(batcher.map(|batcher| (*link, batcher)));
        }
        Self { sources }
    }

    /// What one of the sources claims of each name, in order; nothing of a source that is not there.
    pub async fn ask(&self, link: Link, names: &[Wanted], context: &Context) -> Vec<Result<Arc<[Claim]>, Error>> {
        match self.sources.iter().find(|(other, _)| *other == link) {
            Some((_, batcher)) => batcher.look_up(names, context).await,
            None => names.iter().map(|_| Ok(Arc::default())).collect(),
        }
    }

    /// Whether the source can be asked.
    pub fn has(&self, link: Link) -> bool {
        self.sources.iter().any(|(other, _)| *other == link)
    }

    /// Forgets whom nobody knew.
    pub fn forget(&self) {
        for (_, batcher) in &self.sources {
            batcher.forget();
        }
    }
}

/// Remembers what a source answered: what it said of these names before is no longer so.
fn kept(heard: &Heard, source: Source, (names, found): (Vec<Wanted>, Found)) -> Found {
    for wanted in names {
        match found.claims.get(&wanted.key) {
            Some(claims) => heard.replace(&wanted.key, source, claims),
            None if found.failed.is_none() => heard.replace(&wanted.key, source, &[]),
            None => {}
        }
    }
    found
}

/// Whether the Admin API and Jira can be asked for `text` at all.
pub fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    let plain = |part: &str| !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c.is_control());
    plain(local) && plain(domain) && !domain.contains('@') && text.len() <= 254
}

fn claim(account: AccountId, source: Source, standing: Standing) -> Claim {
    Claim {
        account,
        source,
        standing,
        learned_at: now(),
    }
}

/// Who has these addresses. Calls: ⌈names ÷ 100⌉.
async fn ask_admin(admin: &Admin, names: Vec<Wanted>, request: &RequestId, until: Instant) -> (Vec<Wanted>, Found) {
    let mut found = Found::default();
    let mut work: Vec<&[Wanted]> = vec![&names];
    while let Some(chunk) = work.pop() {
        let emails: Vec<String> = chunk.iter().map(|wanted| wanted.key.as_str().to_owned()).collect();
        let users = match admin.with_emails(&emails, request, Patience::Until(until)).await {
            Ok(users) => users,
            // One address that it does not like must not cost the others their answers.
            Err(Error::Rejected { status: 400, .. }) if chunk.len() > 1 => {
                let (one, other) = chunk.split_at(chunk.len() / 2);
                work.extend([other, one]);
                continue;
            }
            Err(Error::Rejected { status: 400, .. }) => Vec::new(),
            Err(error) => {
                found.failed = Some(error);
                continue;
            }
        };
        let mut of: HashMap<&NameKey, Vec<Claim>> = chunk.iter().map(|wanted| (&wanted.key, Vec::new())).collect();
        let mut nameless = false;
        for user in users {
            nameless |= user.email.is_empty();
            let new = claim(user.account, Source::Admin, user.standing);
            if let Some(claims) = of.get_mut(&NameKey::of(&user.email))
                && !claims.iter().any(|claim| claim.account == new.account)
            {
                claims.push(new);
            }
        }
        if nameless {
            found.failed = Some(unintelligible(
                Operation::AdminUsers,
                "people came back without their addresses",
            ));
        }
        // Of the names without a row nothing is known if some rows said nothing of themselves.
        let answered = of.into_iter().filter(|(_, claims)| !nameless || !claims.is_empty());
        found.claims.extend(answered.map(|(key, claims)| (key.clone(), claims)));
    }
    (names, found)
}

fn unintelligible(operation: Operation, cause: &str) -> Error {
    Error::Unavailable {
        operation,
        retry_after: Duration::from_secs(30),
        cause: cause.to_owned(),
        doubtful: false,
    }
}

/// The identity provider's directory, asked name by name or read as a whole.
struct Directory {
    scim: Scim,
    match_by: Vec<ScimMatch>,
    read: ScimRead,
    whole: moka::future::Cache<(), Arc<HashMap<NameKey, Vec<Claim>>>>,
}

impl Directory {
    fn new(scim: Scim, settings: &Settings) -> Self {
        let scim_settings = &settings.cloud.scim;
        Self {
            scim,
            match_by: scim_settings.match_by.clone(),
            read: scim_settings.read,
            whole: moka::future::Cache::builder()
                .max_capacity(1)
                .time_to_live(seconds(scim_settings.refresh_s))
                .build(),
        }
    }

    async fn ask(&self, names: Vec<Wanted>, request: &RequestId, until: Instant) -> (Vec<Wanted>, Found) {
        let mut found = Found::default();
        match self.read {
            ScimRead::Each => {
                for wanted in &names {
                    match self.ask_for(wanted, request, until).await {
                        Ok(claims) => _ = found.claims.insert(wanted.key.clone(), claims),
                        Err(error) => found.failed = Some(error),
                    }
                }
            }
            ScimRead::All => match self.whole(request).await {
                Ok(whole) => {
                    for wanted in &names {
                        let claims = whole.get(&wanted.key).cloned().unwrap_or_default();
                        found.claims.insert(wanted.key.clone(), claims);
                    }
                }
                Err(error) => found.failed = Some(error),
            },
        }
        (names, found)
    }

    async fn ask_for(&self, wanted: &Wanted, request: &RequestId, until: Instant) -> Result<Vec<Claim>, Error> {
        let mut claims = Vec::new();
        for by in &self.match_by {
            let attribute = match by {
                ScimMatch::UserName => Attribute::UserName,
                ScimMatch::ExternalId => Attribute::ExternalId,
            };
            let asked = self.scim.find(attribute, &wanted.text, request, Patience::Until(until));
            for user in asked.await? {
                if self.keys(&user).any(|key| key == wanted.key) {
                    push(&mut claims, user);
                }
            }
        }
        Ok(claims)
    }

    /// The names that lead to this row.
    fn keys<'a>(&'a self, user: &'a ScimUser) -> impl Iterator<Item = NameKey> + 'a {
        let text = |by: &ScimMatch| match by {
            ScimMatch::UserName => &user.user_name,
            ScimMatch::ExternalId => &user.external_id,
        };
        let texts = self.match_by.iter().map(text).filter(|text| !text.is_empty());
        texts.map(|text| NameKey::of(text))
    }

    /// The whole directory, read once for all who ask meanwhile. Calls: ⌈people ÷ the page size it serves⌉.
    async fn whole(&self, request: &RequestId) -> Result<Arc<HashMap<NameKey, Vec<Claim>>>, Error> {
        let read = async {
            let patience = Patience::Until(Instant::now() + WHOLE_DIRECTORY);
            let first = self.scim.page(0, request, patience).await?;
            let served = first.users.len();
            let mut users = first.users;
            if served > 0 && first.total > served {
                let pages = (served..first.total).step_by(served);
                let pages = pages.map(|start| self.scim.page(start, request, patience));
                let pages = futures_util::future::try_join_all(pages).await?;
                users.extend(pages.into_iter().flat_map(|page| page.users));
            }
            if users.len() < first.total {
                let cause = format!("it told of {} people and showed {}", first.total, users.len());
                return Err(unintelligible(Operation::ScimUsers, &cause));
            }
            let mut index: HashMap<NameKey, Vec<Claim>> = HashMap::with_capacity(users.len());
            for user in users {
                let keys: Vec<NameKey> = self.keys(&user).collect();
                for key in keys {
                    push(index.entry(key).or_default(), user.clone());
                }
            }
            Ok(Arc::new(index))
        };
        self.whole
            .try_get_with((), read)
            .await
            .map_err(|error| (*error).clone())
    }
}

/// A row without an account is somebody whom the provider has, and Cloud has not yet.
fn push(claims: &mut Vec<Claim>, user: ScimUser) {
    if let Some(account) = user.account
        && !claims.iter().any(|claim| claim.account == account)
    {
        claims.push(claim(account, Source::Scim, user.standing));
    }
}

/// Jira's search, which shows nothing at all to an account without the right to browse users.
struct Search {
    jira: Jira,
    own: String,
    sees: moka::future::Cache<(), ()>,
}

impl Search {
    fn new(jira: Jira, own: String) -> Self {
        let sees = moka::future::Cache::builder()
            .max_capacity(1)
            .time_to_live(Duration::from_secs(3600))
            .build();
        Self { jira, own, sees }
    }

    async fn ask(&self, names: Vec<Wanted>, request: &RequestId, until: Instant) -> (Vec<Wanted>, Found) {
        let mut found = Found::default();
        for wanted in &names {
            match self.ask_for(wanted, request, until).await {
                Ok(claims) => _ = found.claims.insert(wanted.key.clone(), claims),
                Err(error) => found.failed = Some(error),
            }
        }
        (names, found)
    }

    /// Who has this address: whoever shows it, and whoever hides one, for those are found by their full address alone.
    /// Whoever shows another one was found by what their name begins with.
    async fn ask_for(&self, wanted: &Wanted, request: &RequestId, until: Instant) -> Result<Vec<Claim>, Error> {
        let patience = Patience::Until(until);
        let users = self.jira.find(wanted.key.as_str(), request, patience).await?;
        let mut claims: Vec<Claim> = Vec::new();
        for user in users {
            let theirs = user.email.is_empty() || NameKey::of(&user.email) == wanted.key;
            if theirs && user.is_active && !claims.iter().any(|claim| claim.account == user.account) {
                let standing = if user.is_app { Standing::App } else { Standing::Active };
                claims.push(claim(user.account, Source::Jira, standing));
            }
        }
        if claims.is_empty() {
            self.prove_sight(request, patience).await?;
        }
        Ok(claims)
    }

    /// That it found nobody is worth something only if it can find somebody: its own account.
    async fn prove_sight(&self, request: &RequestId, patience: Patience<'_>) -> Result<(), Error> {
        let look = async {
            if self.jira.find(&self.own, request, patience).await?.is_empty() {
                return Err(Error::Refused {
                    status: 403,
                    advice: format!(
                        "Jira shows cloud.jira.api_token of {} not even its own account: it needs Jira on this site and \
                         the global permission \"Browse users and groups\"",
                        self.own
                    ),
                    doubtful: false,
                });
            }
            Ok(())
        };
        self.sees.try_get_with((), look).await.map_err(|error| (*error).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_looks_like_an_address_is_asked_for() {
        for text in ["a@b", "o'neil+x@example.com", "ä@exämple.com"] {
            assert!(is_address(text), "{text}");
        }
        for text in ["", "a", "@b", "a@", "a@b@c", "a b@c", "a@b\n"] {
            assert!(!is_address(text), "{text}");
        }
    }
}
