//! Where Cloud takes which credential: at the site itself, or at the gateway under the site's cloudId, which the site tells.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};
use tokio::sync::Mutex;
use url::Url;

use super::attempt::{Try, is_html};
use super::call::{Call, parse};
use super::client::Client;
use super::credential::Unfit;
use super::diagnosis::{Diagnosis, Suspect, Symptom};
use super::{Operation, Service, wire};
use crate::model::RequestId;

/// How long until an answer that there is no site is looked at again.
const SECOND_LOOK: Duration = Duration::from_millis(300);
/// How long the question for the cloudId is not asked again, by nobody, after it was asked in vain.
const AGAIN: Duration = Duration::from_secs(2);

/// The addresses of one client.
#[derive(Debug)]
pub(super) struct Places {
    /// What the client was made for.
    pub site: Url,
    gateway: Url,
    cloud_id: OnceLock<String>,
    /// Held by whoever asks for it: until when it is not asked for again, and why.
    unknown: Mutex<Option<(Instant, Unknown)>>,
}

/// Why the cloudId is not known.
#[derive(Clone, Debug)]
enum Unknown {
    /// There is no site at the address.
    NoSite,
    /// This came in the way.
    Unanswered(String),
}

impl Places {
    /// The cloudId may be known already.
    pub fn new(site: Url, gateway: Url, cloud_id: &str) -> Self {
        Self {
            site,
            gateway,
            cloud_id: match cloud_id {
                "" => OnceLock::new(),
                known => OnceLock::from(known.to_owned()),
            },
            unknown: Mutex::default(),
        }
    }
}

impl Client {
    /// The gateway's address for this site and service, if the cloudId is known.
    pub(super) fn gateway(&self, service: Service) -> Option<Url> {
        let product = match service {
            Service::Jira => "jira",
            _ => "confluence",
        };
        let cloud_id = self.places.cloud_id.get()?;
        Some(super::credential::below(
            &self.places.gateway,
            &["ex", product, cloud_id],
        ))
    }

    /// The site's cloudId, if it is known.
    pub(super) fn cloud_id(&self) -> Option<&str> {
        self.places.cloud_id.get().map(String::as_str)
    }

    /// Sees to it that the gateway's address is known. One question serves all who wait for its answer, also where there
    /// is none.
    pub(super) async fn find_gateway(&self, suspect: &Suspect<'_>, until: Instant) -> Result<(), Unfit> {
        let unfit = |unknown: &Unknown| match unknown {
            Unknown::NoSite => Unfit::Refused(Diagnosis {
                symptom: Symptom::WrongAddress,
                finding: format!(
                    "{} cannot be used: there is no site at {}",
                    suspect.name, self.places.site
                ),
                mend: "check cloud.base_url: https://your-site.atlassian.net".to_owned(),
            }),
            Unknown::Unanswered(cause) => Unfit::Unavailable {
                cause: format!("the site does not tell its cloudId: {cause}"),
                retry_after: AGAIN,
            },
        };
        let Ok(mut last) = tokio::time::timeout_at(until.into(), self.places.unknown.lock()).await else {
            return Err(unfit(&Unknown::Unanswered("it is being asked for".to_owned())));
        };
        if self.places.cloud_id.get().is_some() {
            return Ok(());
        }
        if let Some((again, unknown)) = &*last
            && Instant::now() < *again
        {
            return Err(unfit(unknown));
        }
        let asked = tokio::time::timeout_at(until.into(), self.ask_cloud_id()).await;
        // Those who wait have no more time than this one had.
        let asked = asked.unwrap_or_else(|_elapsed| Err(Unknown::Unanswered("no answer".to_owned())));
        match asked {
            Ok(id) => {
                let _ = self.places.cloud_id.set(id);
                Ok(())
            }
            Err(unknown) => {
                let unfit = unfit(&unknown);
                *last = Some((Instant::now() + AGAIN, unknown));
                Err(unfit)
            }
        }
    }

    async fn ask_cloud_id(&self) -> Result<String, Unknown> {
        let call = Call::get(Operation::TenantInfo, &["_edge", "tenant_info"], Vec::new());
        let id = RequestId::random();
        let ask = || tokio::time::timeout(self.try_timeout, self.once(&call, None, &id));
        let mut answer = ask().await;
        if matches!(&answer, Ok(Try::Answered(status, headers, _)) if is_no_site(*status, headers)) {
            // A gateway may say so once out of nothing.
            tokio::time::sleep(SECOND_LOOK).await;
            answer = ask().await;
        }
        let failed = |cause: String| {
            self.note(call.operation, "failed", Some(cause.clone()));
            Unknown::Unanswered(cause)
        };
        match answer {
            Err(_elapsed) => Err(failed("no answer".to_owned())),
            Ok(Try::NotSent(fault) | Try::Lost(fault)) => Err(failed(fault)),
            Ok(Try::Answered(status, headers, _)) if is_no_site(status, &headers) => Err(Unknown::NoSite),
            Ok(Try::Answered(status, _, body)) if !status.is_success() => {
                Err(failed(format!("{status}: {}", wire::error_message(&body))))
            }
            Ok(Try::Answered(_, _, body)) => {
                let tenant: wire::Tenant = parse(&body).map_err(failed)?;
                self.note(call.operation, "2xx", None);
                Ok(tenant.cloud_id)
            }
        }
    }
}

/// Whether an answer to the question for the cloudId says that there is no site.
fn is_no_site(status: StatusCode, headers: &HeaderMap) -> bool {
    status == StatusCode::NOT_FOUND || (status.is_success() && is_html(headers))
}
