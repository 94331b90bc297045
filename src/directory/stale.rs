//! Lists that were read before, told where Cloud cannot be asked for new ones (`cache.stale_if_error_s`).
//!
//! Reads alone come here: what plans a change asks Cloud, or fails. A list is told only as far as it may still be true: our
//! own changes are laid over it, and one that is known to be wrong is not told.

use std::time::{Duration, Instant};

use super::{Directory, Error};
use crate::model::Context;

/// How long Cloud's answer is waited for at least, unless asking fails before, where there is an older list to tell.
const LEAST: Duration = Duration::from_secs(3);

/// A list, and how old it is if Cloud could not be asked for a new one.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    /// The list.
    pub list: T,
    /// How long ago the oldest of what it rests on was read; `None`: it is as good as lists are.
    pub age: Option<Duration>,
}

/// What is still known from an earlier reading.
pub struct Kept<T> {
    /// When the reading began.
    pub read: Instant,
    /// How long it took.
    pub took: Duration,
    pub list: T,
}

impl<T> Kept<T> {
    /// How long an answer is waited for all the same. A reading that took long the last time is not cut short for being as slow
    /// again: only who is much slower than usual is taken for one that does not answer.
    fn patience(&self) -> Duration {
        LEAST.max(self.took * 2)
    }
}

impl Directory {
    /// What Cloud tells when it is asked; where it cannot be asked, or does not answer in time, what is kept, with the cause in
    /// the log. A reading that is under way then goes on for those who come later.
    ///
    /// `tell` must ask nobody: it makes a list of what is kept, or fails.
    ///
    /// # Errors
    /// What asking failed with, if nothing is kept; a refusal and an answer that there is no such thing in any case.
    pub(super) async fn or_kept<T, K, A, L, F>(
        &self,
        what: &'static str,
        context: &Context,
        ask: impl Fn() -> A,
        kept: impl Fn() -> L,
        tell: impl FnOnce(K) -> F,
    ) -> Result<Listed<T>, Error>
    where
        A: Future<Output = Result<T, Error>>,
        L: Future<Output = Option<Kept<K>>>,
        F: Future<Output = Result<T, Error>>,
    {
        let now = |list| Listed { list, age: None };
        let at_hand = match self.process.settings.cache.stale_if_error_s {
            0 => None,
            _ => kept().await,
        };
        let Some(at_hand) = at_hand else {
            return ask().await.map(now);
        };
        // Dropped when the time is up: it may hold what others, and telling, wait for.
        let asked = match tokio::time::timeout(at_hand.patience(), ask()).await {
            Ok(Err(error @ Error::Unavailable { .. })) => Some(error),
            Ok(answer) => return answer.map(now),
            Err(_elapsed) => None,
        };
        // Looked at anew: meanwhile we may have changed something, or it has grown too old.
        let told = match kept().await {
            Some(kept) => tell(kept.list).await.ok().map(|list| (list, kept.read.elapsed())),
            None => None,
        };
        match (told, asked) {
            (Some((list, age)), asked) => {
                let cause = asked.map_or_else(|| "no answer in time".to_owned(), |error| error.to_string());
                let request = &context.request;
                tracing::warn!(%request, what, age_s = age.as_secs(), cause, "Cloud cannot be asked; an older list is told");
                self.process.metrics.told_stale(what);
                Ok(Listed { list, age: Some(age) })
            }
            (None, Some(error)) => Err(error),
            (None, None) => ask().await.map(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_that_usually_takes_long_is_waited_for_longer() {
        let patience = |took| {
            let kept = Kept {
                read: Instant::now(),
                took: Duration::from_secs(took),
                list: (),
            };
            kept.patience().as_secs()
        };
        assert_eq!([patience(0), patience(1), patience(10)], [3, 3, 20]);
    }
}
