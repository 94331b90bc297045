//! Where Cloud takes which credential: at the site itself, or at the gateway under the site's cloudId, which the site tells.

use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::sync::OnceCell;
use url::Url;

use super::attempt::{Try, is_html};
use super::call::{Call, parse};
use super::client::Client;
use super::credential::Unfit;
use super::diagnosis::{Diagnosis, Suspect, Symptom};
use super::{Operation, Service, wire};
use crate::model::RequestId;

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
        match tokio::time::timeout(self.try_timeout, self.once(&call, None, &RequestId::random())).await {
            Err(_elapsed) => Err(unavailable("no answer".to_owned())),
            Ok(Try::NotSent(fault) | Try::Lost(fault)) => Err(unavailable(fault)),
            Ok(Try::Answered(status, headers, body)) => {
                self.note(call.operation, if status.is_success() { "2xx" } else { "4xx" }, None);
                if status == StatusCode::NOT_FOUND || (status.is_success() && is_html(&headers)) {
                    return Err(Unfit::Refused(Diagnosis {
                        symptom: Symptom::WrongAddress,
                        finding: format!(
                            "{} cannot be used: there is no site at {}",
                            suspect.name, self.places.site
                        ),
                        mend: "check cloud.base_url: https://your-site.atlassian.net".to_owned(),
                    }));
                }
                if !status.is_success() {
                    return Err(unavailable(format!("{status}: {}", wire::error_message(&body))));
                }
                let tenant: wire::Tenant = parse(&body).map_err(unavailable)?;
                Ok(tenant.cloud_id)
            }
        }
    }
}
