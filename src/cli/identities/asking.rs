//! Questions about many names, put with an operator's patience: in parts, and again where a source was not there.

use std::future::Future;
use std::time::{Duration, Instant};

use crate::cloud::Error;
use crate::directory;
use crate::directory::identity::Resolution;
use crate::model::{AccountId, Context};
use crate::server::Inspector;

/// Names that are asked about at once: what they cost is shared, and there is something to see before the end.
pub const AT_ONCE: usize = 1000;
/// How often names are asked about again in vain. While some of them are answered each time, it goes on.
const TIMES_IN_VAIN: u32 = 3;
/// A source that wants more time than this is as good as absent; one that says nothing is not asked at once.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// Asks part after part.
pub struct Asking<'a> {
    inspector: &'a Inspector,
    /// The last part was asked about again in vain: the source is not there, and the next part does not wait for it.
    is_hopeless: bool,
}

impl<'a> Asking<'a> {
    pub fn new(inspector: &'a Inspector) -> Self {
        Self {
            inspector,
            is_hopeless: false,
        }
    }

    /// What each name means, in order. A name that could not be told says so itself.
    ///
    /// # Errors
    /// What was learned cannot be read.
    pub async fn explain(&mut self, names: &[String]) -> Result<Vec<Resolution>, directory::Error> {
        let context = self.inspector.context();
        let mut resolutions = self.inspector.explain(names, &context).await?;
        let mut in_vain = 0;
        loop {
            let open: Vec<usize> = (0..resolutions.len())
                .filter(|place| resolutions.get(*place).is_some_and(|one| wait_of(one).is_some()))
                .collect();
            let waits = open.iter().filter_map(|place| wait_of(resolutions.get(*place)?));
            let Some(wait) = waits.max() else {
                self.is_hopeless = false;
                return Ok(resolutions);
            };
            let gives_up = self.is_hopeless && open.len() == names.len() || in_vain >= TIMES_IN_VAIN;
            if gives_up || !pause(wait, &context).await {
                self.is_hopeless = true;
                return Ok(resolutions);
            }
            let again: Vec<String> = open.iter().filter_map(|place| names.get(*place).cloned()).collect();
            let answers = self.inspector.explain(&again, &context).await?;
            let left = answers.iter().filter(|one| wait_of(one).is_some()).count();
            in_vain = if left < open.len() { 0 } else { in_vain + 1 };
            for (place, answer) in open.into_iter().zip(answers) {
                if let Some(slot) = resolutions.get_mut(place) {
                    *slot = answer;
                }
            }
        }
    }

    /// Which of these accounts Cloud does not know.
    ///
    /// # Errors
    /// Why it could not be asked.
    pub async fn absent<'b>(&mut self, accounts: &'b [AccountId]) -> Result<Vec<&'b AccountId>, directory::Error> {
        let context = self.inspector.context();
        let directory = self.inspector.directory();
        let known = insist(&context, self.is_hopeless, || directory.accounts(accounts, &context)).await;
        self.is_hopeless = known.is_err();
        let known = known?;
        Ok(accounts.iter().filter(|account| !known.contains_key(account)).collect())
    }
}

/// Asks again while what is asked is not there: a few times, or once where that is `hopeless`.
///
/// # Errors
/// The last answer's.
pub async fn insist<T, F: Future<Output = Result<T, directory::Error>>>(
    context: &Context,
    hopeless: bool,
    ask: impl Fn() -> F,
) -> Result<T, directory::Error> {
    let mut in_vain = 0;
    loop {
        match ask().await {
            Err(directory::Error::Unavailable { retry_after, .. })
                if !hopeless && in_vain < TIMES_IN_VAIN && pause(retry_after, context).await =>
            {
                in_vain += 1;
            }
            answer => return answer,
        }
    }
}

/// When it may be worth asking about the name again, if it is.
fn wait_of(resolution: &Resolution) -> Option<Duration> {
    match &resolution.failed {
        Some(Error::Unavailable { retry_after, .. }) => Some(*retry_after),
        _ => None,
    }
}

/// Waits as long as it was told to; false if that is too long.
async fn pause(wait: Duration, context: &Context) -> bool {
    let wait = wait.max(SHORTEST_WAIT);
    if wait > LONGEST_WAIT || Instant::now() + wait >= context.read_deadline {
        return false;
    }
    tokio::time::sleep(wait).await;
    true
}
