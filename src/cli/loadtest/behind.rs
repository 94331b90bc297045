//! The calls to Cloud behind the load: of a simulator by its own count, of a facade by its operator's figures.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use reqwest::Client;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;

use super::send::{self, Connections, Manner};

/// The name of the facade's figure.
const FIGURE: &str = "facade_cloud_requests_total{";

/// Who tells them.
#[derive(Debug)]
pub(super) enum Behind {
    Nobody,
    /// A simulator of our own.
    Simulator(Client, Url),
    /// The operator's listener of a facade.
    Operator(Client, Url, Option<SecretString>),
}

/// Calls by operation, counted since some start.
pub(super) type Calls = BTreeMap<String, u64>;

fn manner() -> Manner<'static> {
    Manner {
        credential: None,
        timeout: Duration::from_secs(30),
        connections: Connections::Kept,
        compressed: false,
        most: 1,
        ca_file: None,
    }
}

impl Behind {
    pub(super) fn simulator(url: &Url) -> anyhow::Result<Self> {
        Ok(Self::Simulator(send::client(url, &manner())?, url.clone()))
    }

    pub(super) fn operator(url: &Url, token: Option<SecretString>) -> anyhow::Result<Self> {
        Ok(Self::Operator(send::client(url, &manner())?, url.clone(), token))
    }

    /// The counts of now.
    ///
    /// # Errors
    /// They are not told.
    pub(super) async fn count(&self) -> anyhow::Result<Option<Calls>> {
        let (mut request, url) = match self {
            Self::Nobody => return Ok(None),
            Self::Simulator(http, url) => {
                let url = url.join("_sim/stats").context("the simulator's address")?;
                (http.get(url.clone()), url)
            }
            Self::Operator(http, url, _) => {
                let mut url = url.clone();
                url.set_path(&format!("{}/metrics", url.path().trim_end_matches('/')));
                (http.get(url.clone()), url)
            }
        };
        if let Self::Operator(_, _, Some(token)) = self {
            request = request.bearer_auth(token.expose_secret());
        }
        let answer = request.send().await.with_context(|| format!("{url} does not answer"))?;
        let status = answer.status();
        let text = answer.text().await.with_context(|| format!("{url} broke off"))?;
        ensure!(status.is_success(), "{url} answered {status}");
        let calls = match self {
            Self::Simulator(..) => of_stats(&serde_json::from_str(&text).context("the simulator's count")?),
            _ => {
                ensure!(text.contains("facade_"), "{url} has no figures of a facade");
                of_figures(&text)
            }
        };
        Ok(Some(calls))
    }
}

/// What came since.
pub(super) fn since(before: &Calls, after: &Calls) -> Calls {
    let came = |(operation, count): (&String, &u64)| {
        let before = before.get(operation).copied().unwrap_or(0);
        (operation.clone(), count.saturating_sub(before))
    };
    after.iter().map(came).filter(|(_, count)| *count > 0).collect()
}

fn of_stats(stats: &Value) -> Calls {
    let all = stats.get("by_operation").and_then(Value::as_object);
    let counts = all.into_iter().flatten();
    counts
        .map(|(operation, count)| (operation.clone(), count.as_u64().unwrap_or(0)))
        .collect()
}

/// The figure's lines, summed over everything but the operation.
fn of_figures(text: &str) -> Calls {
    let mut calls = Calls::new();
    for line in text.lines() {
        let Some((labels, value)) = line.strip_prefix(FIGURE).and_then(|rest| rest.split_once("} ")) else {
            continue;
        };
        let operation = labels
            .split_once("operation=\"")
            .and_then(|(_, rest)| rest.split_once('"'));
        if let (Some((operation, _)), Ok(count)) = (operation, value.trim().parse::<u64>()) {
            *calls.entry(operation.to_owned()).or_default() += count;
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_summed_by_operation() {
        let text = "# TYPE facade_cloud_requests counter\n\
                    facade_cloud_requests_total{operation=\"list\",result=\"2xx\"} 7\n\
                    facade_cloud_requests_total{operation=\"list\",result=\"failed\"} 2\n\
                    facade_cloud_requests_total{result=\"2xx\",operation=\"add\"} 1\n\
                    facade_cloud_retries_total 5\nfacade_cloud_requests_total{operation=\"x\"} many\n";
        let calls = of_figures(text);
        assert_eq!(calls, Calls::from([("add".to_owned(), 1), ("list".to_owned(), 9)]));
        let later = Calls::from([("add".to_owned(), 1), ("list".to_owned(), 12), ("new".to_owned(), 3)]);
        assert_eq!(
            since(&calls, &later),
            Calls::from([("list".to_owned(), 3), ("new".to_owned(), 3)])
        );
    }
}
