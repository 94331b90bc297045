//! Whether people who were put into a group can use Confluence because of it. Only the organisation tells, and it is asked
//! when somebody reads the report: the operation itself pays nothing for it.

use std::time::{Duration, Instant};

use moka::future::Cache;

use super::Directory;
use crate::cloud::{Access, Admin, Patience};
use crate::model::{GroupId, OperationKind, Report, RequestId};
use crate::settings;

/// How long an answer is believed.
const LIFE: Duration = Duration::from_secs(3600);
/// How long nobody is asked again where there was no answer: whoever watches an operation reads its report every few seconds.
const PAUSE: Duration = Duration::from_secs(60);
/// For how long the organisation is asked.
const ASKING: Duration = Duration::from_millis(2500);
/// For how long a report waits, also for an answer that another one asked for.
const WAITING: Duration = Duration::from_secs(3);

/// What groups give their members, as far as it was asked.
#[derive(Debug)]
pub struct Accesses {
    admin: Option<Admin>,
    known: Cache<GroupId, Access>,
}

struct Lives;

impl moka::Expiry<GroupId, Access> for Lives {
    fn expire_after_create(&self, _: &GroupId, access: &Access, _: Instant) -> Option<Duration> {
        Some(match access {
            Access::Given | Access::NotGiven => LIFE,
            Access::Unknown => PAUSE,
        })
    }
}

impl Accesses {
    pub fn new(settings: &settings::Cache, admin: Option<Admin>) -> Self {
        let known = Cache::builder()
            .max_capacity(settings.max_groups)
            .expire_after(Lives)
            .build();
        Self { admin, known }
    }

    /// What is known of a group, or can be found out in time. Reports that want the same at once share the answer.
    async fn of(&self, group: &GroupId, request: &RequestId) -> Access {
        let Some(admin) = &self.admin else {
            return Access::Unknown;
        };
        let ask = async {
            let until = Instant::now() + ASKING;
            let answer = admin.access(group, request, Patience::Until(until)).await;
            answer.unwrap_or_else(|error| {
                tracing::info!(%request, %error, "whether a group gives access to Confluence cannot be told");
                Access::Unknown
            })
        };
        let answer = tokio::time::timeout(WAITING, self.known.get_with_by_ref(group, ask)).await;
        answer.unwrap_or(Access::Unknown)
    }
}

impl Directory {
    /// Says in a report whether its group gives nobody access to Confluence, where that is to be known: of people who were
    /// put in by callers of ours, and where we have the organisation's key. Calls: 2 a group and hour at most.
    pub async fn tell_access(&self, report: &mut Report, request: &RequestId) {
        let is_ours = !report.visitor && report.site == self.process.site;
        let Some((group, _)) = report.group.as_ref().filter(|_| is_ours) else {
            return;
        };
        if report.kind == OperationKind::AddMembers && self.accesses.of(group, request).await == Access::NotGiven {
            report.no_access_granted = true;
        }
    }
}
