//! The way in: what a name means.

use std::collections::HashMap;
use std::sync::Arc;

use super::batch::Wanted;
use super::claims::{Claim, Verdict, judge, now};
use super::live::is_address;
use super::names::unreadable;
use super::{Identity, Map, Meaning};
use crate::cloud::{Confluence, Error};
use crate::directory::plan::Change;
use crate::directory::{self};
use crate::model::{AccountId, Context, NameKey, Skip, Source, Standing};
use crate::settings::Link;

/// What became of one name, and why.
#[derive(Clone, Debug)]
pub struct Resolution {
    /// The account, and whether there is still somebody behind it; or why there is none.
    pub meaning: Result<(AccountId, Standing), Skip>,
    /// Who said what: for an ambiguous name, the candidates.
    pub claims: Vec<Claim>,
    /// A source could not be asked, and no other knew the name: nothing can be said of it.
    pub failed: Option<Error>,
}

/// One name on its way through the chain.
struct Case<'a> {
    text: &'a str,
    /// What is compared: the name, and the address that the map has for it.
    keys: Vec<NameKey>,
    /// The map alone has decided.
    decided: Option<Skip>,
    /// What the map, and a known account of this id, say.
    fixed: Vec<Claim>,
    /// What was learned of each key, while it is believed.
    learned: Vec<Claim>,
    /// The same where it is too old to be believed: whom to ask first.
    faded: Vec<Claim>,
    /// Who said last that the account is switched off, and may say otherwise by now.
    doubts: Vec<Source>,
    failed: Option<Error>,
}

impl Case<'_> {
    fn verdict(&self) -> Verdict {
        judge(self.fixed.iter().chain(&self.learned))
    }

    /// Whether it is worth asking on.
    fn is_open(&self) -> bool {
        let beyond_asking = self.decided.is_some() || judge(&self.fixed) == Verdict::Ambiguous;
        !beyond_asking && (!matches!(self.verdict(), Verdict::One(..)) || !self.doubts.is_empty())
    }

    /// Whether `source` is to be asked: nobody knows the name, or the source is one of those that disagree.
    fn concerns(&self, source: Source) -> bool {
        self.is_open()
            && match self.verdict() {
                Verdict::Ambiguous => self
                    .learned
                    .iter()
                    .any(|claim| claim.source == source || !claim.is_proven),
                Verdict::One(..) => self.doubts.contains(&source),
                Verdict::Open => true,
            }
    }

    fn replace(&mut self, source: Source, new: impl IntoIterator<Item = Claim>) {
        self.learned.retain(|claim| claim.source != source);
        self.faded.retain(|claim| claim.source != source);
        self.doubts.retain(|other| *other != source);
        self.learned.extend(new);
    }

    fn concluded(self) -> Resolution {
        let verdict = self.verdict();
        let meaning = match (self.decided, &verdict) {
            (Some(reason), _) => Err(reason),
            (None, Verdict::One(account, standing)) => Ok((account.clone(), *standing)),
            (None, Verdict::Ambiguous) => Err(Skip::Ambiguous),
            (None, Verdict::Open) => Err(Skip::Unknown),
        };
        let undecided = self.decided.is_none() && (meaning.is_err() || !self.doubts.is_empty());
        Resolution {
            meaning,
            claims: self.fixed.into_iter().chain(self.learned).collect(),
            failed: self.failed.filter(|_| undecided),
        }
    }
}

impl Identity {
    /// What each name means by `map`, in order, for a change. Whoever goes on to judge the accounts by a map has to
    /// take the same one: by two of them a name may mean whom neither would touch.
    ///
    /// Calls: none for what the map or an earlier answer explains; else ⌈names ÷ 100⌉ to the Admin API, ⌈names ÷ 100⌉
    /// to confirm account ids, one a name to SCIM and Jira, where each of these has a credential; names of concurrent
    /// calls share them.
    ///
    /// # Errors
    /// A source could not be asked about a name that no other knows: that is not "unknown".
    pub async fn resolve(
        &self,
        names: &[String],
        change: Change,
        map: &Map,
        cloud: &Confluence,
        context: &Context,
    ) -> Result<Vec<Result<AccountId, Skip>>, directory::Error> {
        let resolutions = self.look_up(names, map, cloud, context).await?;
        let mut answers = Vec::with_capacity(names.len());
        for resolution in resolutions {
            if let Some(error) = resolution.failed {
                return Err(error.into());
            }
            let answer = match resolution.meaning {
                // Whoever is switched off, or a program, is not put into groups by name; but where one is in a group it
                // is shown there, and can be taken out.
                Ok((account, standing)) if change == Change::Add => match self.standing(&account, standing).await {
                    Some(objection) => Err(objection),
                    None => Ok(account),
                },
                Ok((account, _)) => Ok(account),
                Err(reason) => Err(reason),
            };
            answers.push(answer);
        }
        Ok(answers)
    }

    async fn standing(&self, account: &AccountId, standing: Standing) -> Option<Skip> {
        let profile = self.profile(account).await;
        let shown = profile.map_or(Standing::Active, |profile| profile.standing);
        let of_app = (shown == Standing::App).then_some(Skip::NotAPerson);
        standing.objection().or(of_app)
    }

    /// What each name means by `map`, in order, with everything that was said of it.
    ///
    /// # Errors
    /// The store cannot be read. A source that cannot be asked is told name by name.
    pub async fn look_up(
        &self,
        names: &[String],
        map: &Map,
        cloud: &Confluence,
        context: &Context,
    ) -> Result<Vec<Resolution>, directory::Error> {
        self.heed_map();
        let mut places: HashMap<&str, usize> = HashMap::with_capacity(names.len());
        let mut cases: Vec<Case<'_>> = Vec::with_capacity(names.len());
        let mut order = Vec::with_capacity(names.len());
        for name in names {
            let place = match places.get(name.as_str()) {
                Some(place) => *place,
                None => {
                    cases.push(self.begin(name, map).await);
                    places.insert(name, cases.len() - 1);
                    cases.len() - 1
                }
            };
            order.push(place);
        }
        self.recall(&mut cases).await?;
        for link in &self.chain {
            match link {
                Link::Map | Link::Learned => {}
                Link::AccountId => self.confirm(&mut cases, cloud, context).await,
                Link::Members => self.show_again(&mut cases, cloud, context).await,
                Link::Admin => self.ask(*link, Source::Admin, &mut cases, context).await,
                Link::Scim => self.ask(*link, Source::Scim, &mut cases, context).await,
                Link::Jira => self.ask(*link, Source::Jira, &mut cases, context).await,
            }
        }
        let concluded: Vec<Resolution> = cases.into_iter().map(Case::concluded).collect();
        Ok(order
            .into_iter()
            .filter_map(|place| concluded.get(place).cloned())
            .collect())
    }

    /// What the map, and an account already known, make of a name.
    async fn begin<'a>(&self, text: &'a str, map: &Map) -> Case<'a> {
        let mut case = Case {
            text,
            keys: vec![NameKey::of(text)],
            decided: None,
            fixed: Vec::new(),
            learned: Vec::new(),
            faded: Vec::new(),
            doubts: Vec::new(),
            failed: None,
        };
        if text.trim().is_empty() {
            case.decided = Some(Skip::Blank);
            return case;
        }
        if self.chain.contains(&Link::Map) {
            match map.by_name(text) {
                Some(Meaning::Ambiguous) => {
                    case.decided = Some(Skip::Ambiguous);
                    let candidates = map.candidates(text).into_iter();
                    case.fixed.extend(candidates.filter_map(|candidate| {
                        Some(Claim::new(
                            AccountId::new(candidate.account?),
                            Source::Map,
                            candidate.standing,
                        ))
                    }));
                }
                Some(Meaning::One(entry)) => {
                    case.fixed
                        .push(Claim::new(entry.account_id(), Source::Map, entry.standing()));
                }
                Some(Meaning::Email(address)) => {
                    let key = NameKey::of(address);
                    if !case.keys.contains(&key) {
                        case.keys.push(key);
                    }
                }
                // Whoever had the name is gone; somebody new may have it at the identity provider, and is not meant.
                Some(Meaning::Tombstoned) => case.decided = Some(Skip::Tombstoned),
                Some(Meaning::Deactivated) => case.decided = Some(Skip::Deactivated),
                Some(Meaning::App) => case.decided = Some(Skip::NotAPerson),
                Some(Meaning::NoAccount) | None => {}
            }
        }
        if AccountId::is_possible(text) {
            let id = AccountId::new(text);
            if self.chain.contains(&Link::Map)
                && let Some(entry) = map.by_account(text)
            {
                case.fixed.push(Claim::new(id, Source::Map, entry.standing()));
            } else if self.chain.contains(&Link::AccountId)
                && let Some(profile) = self.profile(&id).await
            {
                case.fixed.push(Claim::new(id, Source::AccountId, profile.standing));
            }
        }
        case
    }

    /// Adds what was learned before.
    async fn recall(&self, cases: &mut [Case<'_>]) -> Result<(), directory::Error> {
        let keys: Vec<NameKey> = cases.iter().flat_map(|case| case.keys.iter().cloned()).collect();
        let mut heard = self.heard.get(&keys).await.map_err(unreadable)?.into_iter();
        let now = now();
        for case in cases {
            for (place, claims) in heard.by_ref().take(case.keys.len()).enumerate() {
                for claim in claims.iter().filter(|claim| self.listens_to(claim.source)) {
                    let is_past = match case.keys.get(place) {
                        Some(key) if claim.source == Source::Members => self.gave_up(&claim.account, key).await,
                        _ => false,
                    };
                    if self.ages.believes(claim, now) && !is_past {
                        case.learned.push(claim.clone());
                    } else {
                        case.faded.push(claim.clone());
                    }
                }
            }
            let newest = case.learned.iter().map(|claim| claim.learned_at).max();
            let is_doubt = |claim: &&Claim| {
                claim.standing == Standing::Deactivated
                    && newest.is_some_and(|newest| newest <= claim.learned_at)
                    && self.can_ask(claim.source)
            };
            case.doubts = case.faded.iter().filter(is_doubt).map(|claim| claim.source).collect();
        }
        Ok(())
    }

    /// Whether the account's profile shows another address than this by now.
    async fn gave_up(&self, account: &AccountId, address: &NameKey) -> bool {
        let profile = self.profile(account).await;
        profile.is_some_and(|profile| !profile.email.is_empty() && NameKey::of(&profile.email) != *address)
    }

    pub(super) fn can_ask(&self, source: Source) -> bool {
        match source {
            Source::Admin => self.live.has(Link::Admin),
            Source::Scim => self.live.has(Link::Scim),
            Source::Jira => self.live.has(Link::Jira),
            Source::Map | Source::AccountId | Source::Members => false,
        }
    }

    /// Asks one source about the names that it may settle.
    async fn ask(&self, link: Link, source: Source, cases: &mut [Case<'_>], context: &Context) {
        if !self.live.has(link) {
            return;
        }
        let fits = |key: &NameKey| match link {
            Link::Scim => !key.as_str().contains(char::is_control),
            _ => is_address(key.as_str()),
        };
        let mut wanted: Vec<Wanted> = Vec::new();
        let mut places: Vec<usize> = Vec::new();
        for (place, case) in cases.iter().enumerate().filter(|(_, case)| case.concerns(source)) {
            for key in case.keys.iter().filter(|key| fits(key)) {
                let is_name = case.keys.first() == Some(key);
                let text = if is_name { case.text } else { key.as_str() };
                wanted.push(Wanted {
                    key: key.clone(),
                    text: Arc::from(text),
                });
                places.push(place);
            }
        }
        let answers = self.live.ask(link, &wanted, context).await;
        let mut told: HashMap<usize, Result<Vec<Claim>, Error>> = HashMap::new();
        for (place, answer) in places.into_iter().zip(answers) {
            let told = told.entry(place).or_insert_with(|| Ok(Vec::new()));
            match (told.as_mut(), answer) {
                (Ok(claims), Ok(new)) => claims.extend(new.iter().cloned()),
                (Ok(_), Err(error)) => *told = Err(error),
                (Err(_), _) => {}
            }
        }
        for (place, told) in told {
            let Some(case) = cases.get_mut(place) else { continue };
            match told {
                Ok(claims) => case.replace(source, claims),
                Err(error) => _ = case.failed.get_or_insert(error),
            }
        }
    }

    /// Confirms names that have the shape of an account id and that nobody else knows.
    async fn confirm(&self, cases: &mut [Case<'_>], cloud: &Confluence, context: &Context) {
        let shaped = |case: &Case<'_>| {
            case.is_open() && case.verdict() == Verdict::Open && AccountId::has_known_shape(case.text)
        };
        let ids: Vec<AccountId> = cases
            .iter()
            .filter(|case| shaped(case))
            .map(|case| AccountId::new(case.text))
            .collect();
        if ids.is_empty() {
            return;
        }
        let profiles = self.profiles(&ids, cloud, context).await;
        for case in cases.iter_mut().filter(|case| shaped(case)) {
            match &profiles {
                Ok(profiles) => {
                    if let Some(profile) = profiles.get(&AccountId::new(case.text)) {
                        case.fixed
                            .push(Claim::new(profile.account.clone(), Source::AccountId, profile.standing));
                    }
                }
                Err(error) => _ = case.failed.get_or_insert_with(|| error.clone()),
            }
        }
    }

    /// Looks again at profiles that showed an address long ago, or that show it as others do: do they still? One that
    /// hides its address now neither shows it nor has given it up, so what it said stays as it was: no proof, but a name
    /// to show, and one side of a dispute.
    async fn show_again(&self, cases: &mut [Case<'_>], cloud: &Confluence, context: &Context) {
        let of_pages = |case: &Case<'_>, disputed: bool| -> Vec<AccountId> {
            if !case.is_open() || (case.verdict() == Verdict::Ambiguous) != disputed {
                return Vec::new();
            }
            let claims = if disputed { &case.learned } else { &case.faded };
            let shown = claims.iter().filter(|claim| claim.source == Source::Members);
            shown.map(|claim| claim.account.clone()).collect()
        };
        let gather = |disputed: bool| {
            let mut ids: Vec<AccountId> = cases.iter().flat_map(|case| of_pages(case, disputed)).collect();
            ids.sort();
            ids.dedup();
            ids
        };
        let (disputed, faded) = (gather(true), gather(false));
        if disputed.is_empty() && faded.is_empty() {
            return;
        }
        let profiles = async {
            let mut profiles = self.profiles(&faded, cloud, context).await?;
            profiles.extend(self.profiles_now(&disputed, cloud, context).await?);
            Ok::<_, Error>(profiles)
        };
        let profiles = profiles.await;
        let mut changed = Vec::new();
        for case in cases {
            let disputed = case.verdict() == Verdict::Ambiguous;
            if of_pages(case, disputed).is_empty() {
                continue;
            }
            let profiles = match &profiles {
                Ok(profiles) => profiles,
                Err(error) => {
                    case.failed.get_or_insert_with(|| error.clone());
                    continue;
                }
            };
            let Ok(heard) = self.heard.get(&case.keys).await else {
                continue;
            };
            let mut still = Vec::new();
            for (key, before) in case.keys.iter().zip(heard) {
                let before: Vec<&Claim> = before.iter().filter(|claim| claim.source == Source::Members).collect();
                let mut kept = Vec::new();
                for claim in &before {
                    let Some(profile) = profiles.get(&claim.account) else {
                        continue;
                    };
                    if NameKey::of(&profile.email) == *key {
                        // A profile does not tell that its account is switched off, and so not that it is no more.
                        let standing = profile.standing.max(claim.standing);
                        let shown = Claim::new(claim.account.clone(), Source::Members, standing);
                        still.push(shown.clone());
                        kept.push(shown);
                    } else if profile.email.is_empty() {
                        still.extend(disputed.then(|| (*claim).clone()));
                        kept.push((*claim).clone());
                    }
                }
                if kept.iter().ne(before) {
                    changed.push((key.clone(), kept));
                }
            }
            case.replace(Source::Members, still);
        }
        self.heard.replace_all(Source::Members, changed);
    }
}
