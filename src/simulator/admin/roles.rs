//! What groups give their members: a group's roles on the resources of the site.
use tokio::time::Instant;

use super::super::Shared;
use super::super::answers::Answer;
use super::super::data::GroupInfo;
use super::super::faults::Faults;
use super::super::request::Request;
use super::super::source_faults::{Garbage, Roles};
use super::super::state::Unchanged;
use super::groups::refusal;
use super::rows::RoleRow;
use super::{Wanted, bad, page_answer};

const USUAL_PAGE: u64 = 20;
/// More than a page has.
const MANY: usize = 130;
const USER: &[&str] = &["atlassian/user"];
const POWERLESS: &[&str] = &["atlassian/user-access-admin", "atlassian/ai-access"];

/// `GET …/groups/{groupId}/role-assignments`. Without filters, which the document has: the simulator does not know them.
pub(super) fn list(shared: &Shared, faults: &Faults, request: &Request, id: &str) -> Result<Answer, Answer> {
    if let Some(filter) = request.names().find(|name| !["cursor", "limit"].contains(name)) {
        return Err(bad(&format!("{filter}: unknown parameter")));
    }
    let limit = request.first("limit").map(str::parse).transpose();
    let limit = limit.map_err(|_| bad("limit: expected a number from 1 to 100"))?;
    let wanted = Wanted::new(request, request.first("cursor"), limit, USUAL_PAGE)?;
    let group = shared.store.lock().seen(Instant::now(), faults.lag).group(id);
    let group = group.ok_or_else(|| refusal(Unchanged::NoGroup))?;
    let (mut rows, links) = wanted.page(of(&group, faults, &shared.cloud_id));
    if faults.sources.admin_garbage == Some(Garbage::Foreign) {
        rows.insert(0, RoleRow::new("confluence", &shared.org_id, USER));
    }
    Ok(page_answer(faults, rows, links))
}

/// What a group gives. Not only Confluence, and that not first: whoever takes the first row is wrong.
pub(super) fn of(group: &GroupInfo, faults: &Faults, site: &str) -> Vec<RoleRow> {
    let jira = || RoleRow::new("jira-software", site, USER);
    let confluence = |roles| RoleRow::new("confluence", site, roles);
    // The default groups are those that give access.
    match faults.sources.admin_roles.filter(|_| !group.is_default()) {
        None => vec![jira(), confluence(USER)],
        Some(Roles::None) => Vec::new(),
        Some(Roles::Powerless) => vec![jira(), confluence(POWERLESS)],
        Some(Roles::Many) => {
            let mut rows: Vec<RoleRow> = (0..MANY)
                .map(|place| RoleRow::new("jira-software", &format!("{site}-{place}"), USER))
                .collect();
            rows.push(confluence(USER));
            rows
        }
    }
}
