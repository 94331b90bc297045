//! Where Cloud takes which credential: at the site itself, or at the gateway under the site's cloudId, which the site tells.

use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};
use tokio::sync::OnceCell;
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
/// How long the question for the cloudId is not asked again after it was not answered.
const AGAIN: Duration = Duration::from_secs(2);

/// The addresses of one client.
#[derive(Debug)]
pub(super) struct Places {
    /// What the client was made for.
    pub site: Url,
    gateway: Url,
    cloud_id: OnceCell<String>,
}

impl Places {
    /// The cloudId may be known already.
    pub fn new(site: Url, gateway: Url, cloud_id: &str) -> Self {
        let known = (!cloud_id.is_empty()).then(|| cloud_id.to_owned());
        Self {
            site,
            gateway,
            cloud_id: OnceCell::new_with(known),
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

    /// Sees to it that the gateway's address is known.
    pub(super) async fn find_gateway(&self, suspect: &Suspect<'_>, until: Instant) -> Result<(), Unfit> {
        let found = self.places.cloud_id.get_or_try_init(|| self.ask_cloud_id(suspect));
        match tokio::time::timeout_at(until.into(), found).await {
            Ok(found) => found.map(|_| ()),
            Err(_elapsed) => Err(Unfit::Unavailable {
                cause: "the site's cloudId is being asked for".to_owned(),
                retry_after: AGAIN,
            }),
        }
    }

    async fn ask_cloud_id(&self, suspect: &Suspect<'_>) -> Result<String, Unfit> {
        let call = Call::get(Operation::TenantInfo, &["_edge", "tenant_info"], Vec::new());
        let unavailable = |cause: String| Unfit::Unavailable {
            cause: format!("the site does not tell its cloudId: {cause}"),
            retry_after: AGAIN,
        };
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
            unavailable(cause)
        };
        match answer {
            Err(_elapsed) => Err(failed("no answer".to_owned())),
            Ok(Try::NotSent(fault) | Try::Lost(fault)) => Err(failed(fault)),
            Ok(Try::Answered(status, headers, _)) if is_no_site(status, &headers) => Err(Unfit::Refused(Diagnosis {
                symptom: Symptom::WrongAddress,
                finding: format!(
                    "{} cannot be used: there is no site at {}",
                    suspect.name, self.places.site
                ),
                mend: "check cloud.base_url: https://your-site.atlassian.net".to_owned(),
            })),
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
