//! The identity provider's directory, asked name by name or read as a whole.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _};

use super::super::batch::{Found, Wanted};
use super::super::claims::Claim;
use super::{Asked, Proof, about, unintelligible};
use crate::cloud::{Attribute, Error, Operation, Patience, Scim, ScimUser};
use crate::model::{NameKey, RequestId, Source};
use crate::settings::{ScimMatch, ScimRead, Settings, seconds};

/// Longer than any reading of a directory should take; it goes on while its callers have left.
const WHOLE_DIRECTORY: Duration = Duration::from_secs(600);
/// No directory has more people; one that tells of more is not believed.
const MOST_PEOPLE: usize = 2_000_000;
/// Pages that are asked for side by side; how many may leave is decided elsewhere.
const PAGES_AT_ONCE: usize = 64;
/// A login that nobody has. What is refused is refused even to it, if not its text alone was the reason.
const PROBE: &str = "extender-facade-probe";

type Index = HashMap<NameKey, Vec<Claim>>;

pub(super) struct Provider {
    scim: Scim,
    /// With each, that it can be asked for at all.
    match_by: Vec<(ScimMatch, Proof)>,
    read: ScimRead,
    whole: moka::future::Cache<(), Arc<Index>>,
}

impl Asked for Provider {
    const SOURCE: Source = Source::Scim;
    const OPERATION: Operation = Operation::ScimUsers;

    async fn ask(&self, names: &[Wanted], request: &RequestId, until: Instant) -> Found {
        match (self.read, names) {
            (ScimRead::Each, [wanted, ..]) => about(wanted, self.ask_for(wanted, request, until).await),
            (ScimRead::Each, []) => Found::default(),
            (ScimRead::All, _) => match self.whole(request).await {
                Ok(whole) => {
                    let about = |wanted: &Wanted| {
                        let claims = whole.get(&wanted.key).cloned().unwrap_or_default();
                        (wanted.key.clone(), claims)
                    };
                    Found {
                        claims: names.iter().map(about).collect(),
                        failed: None,
                    }
                }
                Err(error) => Found {
                    failed: Some(error),
                    ..Found::default()
                },
            },
        }
    }
}

impl Provider {
    pub(super) fn new(scim: Scim, settings: &Settings) -> Self {
        let scim_settings = &settings.cloud.scim;
        Self {
            scim,
            match_by: scim_settings.match_by.iter().map(|by| (*by, Proof::new())).collect(),
            read: scim_settings.read,
            whole: moka::future::Cache::builder()
                .max_capacity(1)
                .time_to_live(seconds(scim_settings.refresh_s))
                .build(),
        }
    }

    /// Calls: one an attribute. The provider's key is compared by case in the question, so it is asked for as it is
    /// spelt; whatever row comes back must be the name's, ignoring case as everywhere.
    async fn ask_for(&self, wanted: &Wanted, request: &RequestId, until: Instant) -> Result<Vec<Claim>, Error> {
        let patience = Patience::Until(until);
        let mut claims = Vec::new();
        for (by, can_be_asked) in &self.match_by {
            let attribute = match by {
                ScimMatch::UserName => Attribute::UserName,
                ScimMatch::ExternalId => Attribute::ExternalId,
            };
            match self.scim.find(attribute, &wanted.text, request, patience).await {
                Ok(users) => {
                    for user in users {
                        if self.keys(&user).any(|key| key == wanted.key) {
                            push(&mut claims, user);
                        }
                    }
                }
                // It does not like this very text, if it still likes another one: then nobody has it.
                Err(
                    error @ Error::Rejected {
                        status: 400 | 414 | 431,
                        ..
                    },
                ) => {
                    let probe = async { self.scim.find(attribute, PROBE, request, patience).await.map(drop) };
                    if can_be_asked.get(probe).await.is_err() {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(claims)
    }

    /// The names that lead to this row.
    fn keys<'a>(&'a self, user: &'a ScimUser) -> impl Iterator<Item = NameKey> + 'a {
        let text = |(by, _): &(ScimMatch, Proof)| match by {
            ScimMatch::UserName => &user.user_name,
            ScimMatch::ExternalId => &user.external_id,
        };
        let texts = self.match_by.iter().map(text).filter(|text| !text.is_empty());
        texts.map(|text| NameKey::of(text))
    }

    /// The whole directory, read once for all who ask meanwhile. Calls: ⌈people ÷ the page size it serves⌉.
    async fn whole(&self, request: &RequestId) -> Result<Arc<Index>, Error> {
        let read = self.read_whole(request);
        self.whole
            .try_get_with((), read)
            .await
            .map_err(|error| (*error).clone())
    }

    async fn read_whole(&self, request: &RequestId) -> Result<Arc<Index>, Error> {
        let patience = Patience::Until(Instant::now() + WHOLE_DIRECTORY);
        let first = self.scim.page(0, request, patience).await?;
        let (served, total) = (first.users.len(), first.total);
        if total > MOST_PEOPLE {
            let cause = format!("it tells of {total} people, more than are believed");
            return Err(unintelligible(Operation::ScimUsers, &cause));
        }
        let (mut index, mut people) = (Index::new(), HashSet::new());
        let mut take = |users: Vec<ScimUser>| {
            for user in users {
                people.insert(NameKey::of(&user.user_name));
                let keys: Vec<NameKey> = self.keys(&user).collect();
                for key in keys {
                    push(index.entry(key).or_default(), user.clone());
                }
            }
        };
        take(first.users);
        if served > 0 {
            let pages = futures_util::stream::iter((served..total).step_by(served))
                .map(|start| self.scim.page(start, request, patience))
                .buffer_unordered(PAGES_AT_ONCE);
            futures_util::pin_mut!(pages);
            while let Some(page) = pages.try_next().await? {
                take(page.users);
            }
        }
        // Rows that slip from page to page while others go are seen twice, and others not at all.
        if people.len() < total {
            let cause = format!("it told of {total} people and showed {}", people.len());
            return Err(unintelligible(Operation::ScimUsers, &cause));
        }
        Ok(Arc::new(index))
    }
}

/// A row without an account is somebody whom the provider has, and Cloud has not yet.
fn push(claims: &mut Vec<Claim>, user: ScimUser) {
    if let Some(account) = user.account
        && !claims.iter().any(|claim| claim.account == account)
    {
        claims.push(Claim::new(account, Source::Scim, user.standing));
    }
}
