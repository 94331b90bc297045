//! The organisation's Admin API, asked for a hundred addresses a call.

use std::collections::HashMap;
use std::time::Instant;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::super::batch::{Found, Wanted};
use super::super::claims::Claim;
use super::memory::Memory;
use super::{Asked, unintelligible};
use crate::cloud::{Admin, Error, Operation, OrgUser, Patience};
use crate::model::{NameKey, RequestId, Source};

/// Calls that one question may become: enough to part a few names from the others. What is left then fails, and is
/// asked for again with what was answered out of the way.
const MOST_CALLS: usize = 32;
/// An address that nobody has. If not even it can be asked for, it is not for their texts that names are refused.
const PROBE: &str = "nobody@example.com";

pub(super) struct Organisation {
    admin: Admin,
    /// What cost a call of its own: addresses that are refused, and people who come back without one. Whoever asks again
    /// finds these out of the way, however many there are.
    apart: Memory,
}

impl Asked for Organisation {
    const SOURCE: Source = Source::Admin;
    const OPERATION: Operation = Operation::AdminUsers;

    async fn ask(&self, names: &[Wanted], request: &RequestId, until: Instant) -> Found {
        let patience = Patience::Until(until);
        let ask = |emails: Vec<String>| async move { self.admin.with_emails(&emails, request, patience).await }.boxed();
        who_has(names, &self.apart, ask).await
    }
}

impl Organisation {
    pub(super) fn new(admin: Admin, apart: Memory) -> Self {
        Self { admin, apart }
    }
}

/// Who has these addresses. One call, if all is well. An address that the API does not like, or somebody who comes back
/// without one, must not cost the other names their answers: these are asked for in halves. Who comes back without an
/// address when one alone is asked for may be who has it, and is no more than a candidate.
async fn who_has<'a>(
    names: &[Wanted],
    apart: &Memory,
    ask: impl Fn(Vec<String>) -> BoxFuture<'a, Result<Vec<OrgUser>, Error>>,
) -> Found {
    let mut found = Found::default();
    let mut open = Vec::with_capacity(names.len());
    for wanted in names {
        match apart.get(&wanted.key) {
            Some(claims) => _ = found.claims.insert(wanted.key.clone(), claims),
            None => open.push(wanted),
        }
    }
    if open.is_empty() {
        return found;
    }
    let mut work: Vec<Vec<&Wanted>> = vec![open];
    let mut likes_us = false;
    let mut calls = 0;
    while let Some(chunk) = work.pop() {
        if calls >= MOST_CALLS {
            let cause = "too many of its answers say nothing of the addresses they were asked for";
            found.failed.get_or_insert(unintelligible(Operation::AdminUsers, cause));
            break;
        }
        calls += 1;
        let emails = chunk.iter().map(|wanted| wanted.key.as_str().to_owned()).collect();
        let left = match ask(emails).await {
            Ok(users) => {
                likes_us = true;
                let nameless: Vec<Claim> = users
                    .iter()
                    .filter(|user| user.email.is_empty())
                    .map(|user| Claim {
                        is_proven: false,
                        ..Claim::new(user.account.clone(), Source::Admin, user.standing)
                    })
                    .collect();
                let left = sort(&chunk, users, &mut found);
                if let ([wanted], false) = (chunk.as_slice(), left.is_empty()) {
                    apart.put(wanted.key.clone(), &nameless);
                    found.claims.insert(wanted.key.clone(), nameless);
                    continue;
                }
                left
            }
            Err(error @ Error::Rejected { status: 400, .. }) => {
                if !likes_us {
                    calls += 1;
                    if ask(vec![PROBE.to_owned()]).await.is_err() {
                        found.failed = Some(error);
                        break;
                    }
                    likes_us = true;
                }
                if let [wanted] = chunk.as_slice() {
                    apart.put(wanted.key.clone(), &[]);
                    found.claims.insert(wanted.key.clone(), Vec::new());
                    continue;
                }
                chunk
            }
            Err(error) => {
                found.failed = Some(error);
                break;
            }
        };
        let (one, other) = left.split_at(left.len() / 2);
        work.extend(
            [other, one]
                .map(<[_]>::to_vec)
                .into_iter()
                .filter(|half| !half.is_empty()),
        );
    }
    found
}

/// Notes what the rows say of the names, and returns those of which they say nothing: who is missing may be the row
/// that does not say whom it answers.
fn sort<'a>(chunk: &[&'a Wanted], users: Vec<OrgUser>, found: &mut Found) -> Vec<&'a Wanted> {
    let nameless = users.iter().any(|user| user.email.is_empty());
    let mut of: HashMap<NameKey, Vec<Claim>> = HashMap::with_capacity(users.len());
    for user in users {
        let new = Claim::new(user.account, Source::Admin, user.standing);
        let claims = of.entry(NameKey::of(&user.email)).or_default();
        if !claims.iter().any(|claim| claim.account == new.account) {
            claims.push(new);
        }
    }
    let mut left = Vec::new();
    for wanted in chunk {
        match of.remove(&wanted.key) {
            None if nameless => left.push(*wanted),
            claims => _ = found.claims.insert(wanted.key.clone(), claims.unwrap_or_default()),
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::cloud::Brief;
    use crate::model::{AccountId, Standing};

    fn memory() -> Memory {
        Memory::new(1000, std::time::Duration::ZERO)
    }

    async fn asked(wrong: &[usize], nameless: &[usize]) -> (Found, usize) {
        asked_again(wrong, nameless, &memory()).await
    }

    /// Everybody who is asked for, but for `wrong`, which is refused, and `nameless`, who comes back without an address.
    async fn asked_again(wrong: &[usize], nameless: &[usize], apart: &Memory) -> (Found, usize) {
        let name = |n: usize| format!("user{n}@example.com");
        let refused = || Error::Rejected {
            operation: Operation::AdminUsers,
            status: 400,
            message: "no".to_owned(),
        };
        let (wrong, nameless): (Vec<_>, Vec<_>) = (
            wrong.iter().map(|n| name(*n)).collect(),
            nameless.iter().map(|n| name(*n)).collect(),
        );
        let calls = AtomicUsize::new(0);
        let ask = |emails: Vec<String>| {
            calls.fetch_add(1, Ordering::Relaxed);
            let user = |email: &String| OrgUser {
                account: AccountId::new(&email.replace(['@', '.'], "-")),
                email: if nameless.contains(email) { "" } else { email }.into(),
                name: "".into(),
                standing: Standing::Active,
                brief: Brief::default(),
            };
            let answer = if emails.iter().any(|email| wrong.contains(email)) {
                Err(refused())
            } else {
                Ok(emails.iter().filter(|email| *email != PROBE).map(user).collect())
            };
            async { answer }.boxed()
        };
        let wanted: Vec<Wanted> = (0..100)
            .map(|n| Wanted {
                key: NameKey::of(&name(n)),
                text: name(n).into(),
            })
            .collect();
        let found = who_has(&wanted, apart, ask).await;
        (found, calls.into_inner())
    }

    fn known(found: &Found) -> usize {
        found.claims.values().filter(|claims| claims.len() == 1).count()
    }

    #[tokio::test]
    async fn an_address_that_is_refused_is_nobodys_and_costs_nobody_an_answer() {
        let (found, calls) = asked(&[], &[]).await;
        assert_eq!((known(&found), found.failed.is_none(), calls), (100, true, 1));
        let (found, calls) = asked(&[17, 80], &[]).await;
        assert_eq!((known(&found), found.claims.len()), (98, 100));
        assert!(found.failed.is_none() && calls <= MOST_CALLS, "{calls}");
    }

    #[tokio::test]
    async fn whoever_comes_back_without_an_address_is_a_candidate_alone() {
        let (found, calls) = asked(&[], &[42]).await;
        assert_eq!((known(&found), found.claims.len()), (100, 100));
        assert!(found.failed.is_none() && calls == 2, "{calls}");
        let doubtful = |(name, claims): (&NameKey, &Vec<Claim>)| {
            let is_doubtful = claims.iter().any(|claim| !claim.is_proven);
            is_doubtful.then(|| name.as_str().to_owned())
        };
        let doubtful: Vec<String> = found.claims.iter().filter_map(doubtful).collect();
        assert_eq!(doubtful, ["user42@example.com"]);
    }

    #[tokio::test]
    async fn asking_again_makes_headway_however_dense_the_trouble_is() {
        let every_other: Vec<usize> = (0..100).step_by(2).collect();
        let all: Vec<usize> = (0..100).collect();
        for (wrong, nameless) in [(every_other.as_slice(), [].as_slice()), (&all, &[]), (&[], &all)] {
            let apart = memory();
            let mut answered = Vec::new();
            loop {
                let (found, calls) = asked_again(wrong, nameless, &apart).await;
                assert!(calls <= MOST_CALLS + 1, "{calls}");
                answered.push(found.claims.len());
                if found.failed.is_none() {
                    break;
                }
                assert!(answered.len() < 12, "{answered:?}");
            }
            assert_eq!(answered.last(), Some(&100));
        }
    }

    #[tokio::test]
    async fn what_is_refused_whatever_is_asked_says_nothing_of_anybody() {
        let name = Wanted {
            key: NameKey::of("a@example.com"),
            text: "a@example.com".into(),
        };
        let calls = AtomicUsize::new(0);
        let ask = |_: Vec<String>| {
            calls.fetch_add(1, Ordering::Relaxed);
            let refused = Error::Rejected {
                operation: Operation::AdminUsers,
                status: 400,
                message: "no such field: emails".to_owned(),
            };
            async { Err(refused) }.boxed()
        };
        for names in [vec![name.clone(); 100], vec![name.clone()]] {
            let found = who_has(&names, &memory(), ask).await;
            assert!(found.claims.is_empty() && found.failed.is_some());
            assert_eq!(calls.swap(0, Ordering::Relaxed), 2);
        }
    }

    #[tokio::test]
    async fn parting_the_names_ends() {
        let all: Vec<usize> = (0..100).collect();
        for (wrong, nameless) in [(all.as_slice(), [].as_slice()), (&[], &all)] {
            let (found, calls) = asked(wrong, nameless).await;
            assert!(found.failed.is_some());
            assert!(calls <= MOST_CALLS + 1, "{calls}");
        }
    }
}
