//! The sources that are asked by calls: the Admin API, SCIM and Jira, each where it has a credential.
//!
//! Whatever they answer is held against the question: rows that nobody asked for say nothing, and a row that does not
//! say whom it answers makes its whole answer worthless, because who is missing in it may be that row. A question that
//! is refused says nothing of its name until another one like it was answered.

mod memory;
mod organisation;
mod provider;
mod search;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

use super::batch::{Batcher, Found, Limits, Wanted};
use super::claims::{Claim, Claims, Heard};
use crate::cloud::{Admin, EMAILS, Error, Jira, Operation, Scim};
use crate::metrics::Metrics;
use crate::model::{Context, NameKey, RequestId, Source};
use crate::settings::{Link, ScimMatch, ScimRead, Settings, seconds};
use memory::Memory;
use organisation::Organisation;
use provider::Provider;
use search::Search;

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

/// A source, as its questions are put to it.
trait Asked: Send + Sync + 'static {
    const SOURCE: Source;
    const OPERATION: Operation;

    /// What it says of these names; no more of them than its batcher puts together.
    fn ask(&self, names: &[Wanted], request: &RequestId, until: Instant) -> impl Future<Output = Found> + Send;
}

/// Each source that can be asked, with what puts its questions together.
#[derive(Debug, Default)]
pub struct Live {
    sources: Vec<(Link, Batcher)>,
    memories: Vec<Memory>,
}

impl Live {
    pub fn new(drivers: &Drivers, heard: &Arc<Heard>, settings: &Settings, metrics: &Metrics) -> Self {
        let patience = seconds(settings.extender.read_deadline_s);
        let negative = seconds(settings.cache.negative_ttl_s);
        let limits = |most| Limits {
            most,
            // Half of what may be under way: the other half is for those who come later.
            at_once: (settings.cloud.max_in_flight / 2).max(1),
            window: Duration::from_millis(settings.identity.batch_window_ms),
            memory: negative,
            negative_memory: negative,
            capacity: settings.cache.max_accounts,
            by_spelling: false,
        };
        let mut make = Make {
            heard,
            metrics,
            patience,
            new_memory: &|| Memory::new(settings.cache.max_accounts, negative),
            memories: Vec::new(),
        };
        let mut sources = Vec::new();
        for link in &settings.identity.sources {
            let batcher = match link {
                Link::Admin => drivers.admin.clone().map(|admin| {
                    let apart = make.memory();
                    make.batcher(Organisation::new(admin, apart), limits(EMAILS))
                }),
                Link::Scim => drivers.scim.clone().map(|scim| {
                    let limits = match settings.cloud.scim.read {
                        ScimRead::Each => Limits {
                            // The case of the provider's key counts in a question, though not between names: each
                            // spelling is a question of its own.
                            by_spelling: settings.cloud.scim.match_by.contains(&ScimMatch::ExternalId),
                            ..limits(1)
                        },
                        // One call answers all of them.
                        ScimRead::All => limits(usize::MAX),
                    };
                    make.batcher(Provider::new(scim, settings), limits)
                }),
                Link::Jira => drivers
                    .jira
                    .clone()
                    .map(|(jira, own)| make.batcher(Search::new(jira, own), limits(1))),
                Link::Map | Link::AccountId | Link::Learned | Link::Members => None,
            };
            sources.extend(batcher.map(|batcher| (*link, batcher)));
        }
        Self {
            sources,
            memories: make.memories,
        }
    }

    /// What one of the sources claims of each name, in order; nothing of a source that is not there.
    pub async fn ask(&self, link: Link, names: &[Wanted], context: &Context) -> Vec<Result<Claims, Error>> {
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
        for memory in &self.memories {
            memory.forget();
        }
    }
}

/// What every source's batcher is made of.
struct Make<'a> {
    heard: &'a Arc<Heard>,
    metrics: &'a Metrics,
    patience: Duration,
    new_memory: &'a dyn Fn() -> Memory,
    memories: Vec<Memory>,
}

impl Make<'_> {
    fn memory(&mut self) -> Memory {
        let memory = (self.new_memory)();
        self.memories.push(memory.clone());
        memory
    }

    fn batcher<S: Asked>(&mut self, source: S, limits: Limits) -> Batcher {
        let (source, heard, patience) = (Arc::new(source), Arc::clone(self.heard), self.patience);
        // A long list that is asked about name by name takes many requests; one that is put together does not.
        let memory = (limits.most == 1).then(|| self.memory());
        let by_spelling = limits.by_spelling;
        let ask = move |names: Vec<Wanted>, request: RequestId| {
            let (source, heard, memory) = (Arc::clone(&source), Arc::clone(&heard), memory.clone());
            async move {
                let remembered = match (&memory, names.as_slice()) {
                    (Some(memory), [wanted]) => Some((memory, wanted, slot(wanted, by_spelling))),
                    _ => None,
                };
                if let Some((memory, wanted, slot)) = &remembered
                    && let Some(claims) = memory.get(slot)
                {
                    return about(wanted, Ok(claims));
                }
                let found = source.ask(&names, &request, Instant::now() + patience).await;
                keep(&heard, S::SOURCE, &names, &found);
                // What is known for certain is remembered elsewhere.
                if let Some((memory, wanted, slot)) = remembered
                    && let Some(claims) = found.claims.get(&wanted.key)
                    && claims.iter().all(|claim| !claim.is_proven)
                {
                    memory.put(slot, claims);
                }
                found
            }
            .boxed()
        };
        Batcher::new(S::OPERATION, limits, self.metrics.clone(), Box::new(ask))
    }
}

/// Under which a question is remembered.
fn slot(wanted: &Wanted, by_spelling: bool) -> NameKey {
    if by_spelling {
        NameKey::stored(&wanted.text)
    } else {
        wanted.key.clone()
    }
}

/// Remembers what a source answered: what it said of these names before is no longer so. What proves nothing is not
/// worth remembering. Whom the organisation does not show with their address it neither confirms nor denies.
fn keep(heard: &Heard, source: Source, names: &[Wanted], found: &Found) {
    let told = names.iter().filter_map(|wanted| {
        let claims = match found.claims.get(&wanted.key) {
            Some(claims)
                if source == Source::Admin && !claims.is_empty() && claims.iter().all(|claim| !claim.is_proven) =>
            {
                return None;
            }
            Some(claims) => claims.iter().filter(|claim| claim.is_proven).cloned().collect(),
            None if found.failed.is_none() => Vec::new(),
            None => return None,
        };
        Some((wanted.key.clone(), claims))
    });
    heard.replace_all(source, told.collect());
}

/// The answer about the only name of a question.
fn about(wanted: &Wanted, answer: Result<Vec<Claim>, Error>) -> Found {
    let mut found = Found::default();
    match answer {
        Ok(claims) => _ = found.claims.insert(wanted.key.clone(), claims),
        Err(error) => found.failed = Some(error),
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

fn unintelligible(operation: Operation, cause: &str) -> Error {
    Error::Unavailable {
        operation,
        retry_after: Duration::from_secs(30),
        cause: cause.to_owned(),
        doubtful: false,
    }
}

/// What is found out once for many questions, and for a short time only: what it tells can change.
struct Proof(moka::future::Cache<(), ()>);

impl Proof {
    fn new() -> Self {
        let cache = moka::future::Cache::builder()
            .max_capacity(1)
            .time_to_live(Duration::from_secs(10));
        Self(cache.build())
    }

    /// That `look` succeeded lately, or does now.
    async fn get(&self, look: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
        self.0.try_get_with((), look).await.map_err(|error| (*error).clone())
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
