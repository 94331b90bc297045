//! The readers of what Cloud answers, for [`crate::fuzzing`].

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::de::DeserializeOwned;

use super::diagnosis::{self, Suspect};
use super::governor::told::Told;
use super::{Operation, wire};
use crate::model::GroupId;
use crate::settings::CredentialKind;

/// An answer's body: the message in it, whatever it is, and every shape of a page.
pub fn answer(data: &[u8]) {
    let message = wire::error_message(data);
    assert!(message.chars().count() <= 300, "{message:?}");
    assert!(!message.contains(char::is_control), "{message:?}");
    for operation in Operation::ALL {
        for status in [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND] {
            let suspect = Suspect {
                name: "a credential",
                setting: "a setting",
                kind: CredentialKind::default(),
                look: diagnosis::look(CredentialKind::default(), &message),
            };
            let found = diagnosis::diagnose(suspect, operation, status, &message);
            assert!(!found.mend.is_empty() && !found.symptom.as_str().is_empty());
        }
    }
    let _ = wire::rows(data);
    super::credential::read_anything(data);
    fn read<T: DeserializeOwned>(data: &[u8]) -> Option<T> {
        serde_json::from_slice(data).ok()
    }
    let _ = read::<wire::GroupPage>(data).map(|page| {
        page.results
            .into_iter()
            .map(super::Group::from)
            .map(|group| group.id)
            .collect::<Vec<_>>()
    });
    if let Some(page) = read::<wire::UserPage>(data) {
        for profile in page.results.into_iter().filter_map(wire::User::into_profile) {
            assert!(!profile.account.as_str().is_empty());
        }
    }
    if let Some(page) = read::<wire::OrgPage<wire::OrgUser>>(data) {
        for user in page.data.into_iter().map(wire::OrgUser::into_user) {
            assert!(!user.account.as_str().is_empty());
        }
    }
    if let Some(page) = read::<wire::OrgPage<wire::OrgMemberships>>(data) {
        let all = page.data.into_iter().filter_map(wire::OrgMemberships::into_groups);
        assert!(all.into_iter().all(|(_, groups)| !groups.is_empty()));
    }
    if let Some(page) = read::<wire::OrgPage<wire::OrgGroup>>(data) {
        assert_ne!(page.directory_of(&GroupId::new("g")), Some(""));
        let _ = page.links.cursor();
        let _: Vec<super::OrgGroup> = page.data.into_iter().map(wire::OrgGroup::into_group).collect();
    }
    let _ = read::<wire::OrgPage<wire::RoleAssignment>>(data).map(|page| page.access());
    let _ = read::<wire::ScimPage>(data).map(|page| {
        let users = page.resources.into_iter().map(wire::ScimUser::into_user);
        users.collect::<Vec<_>>()
    });
    let _ = read::<Vec<wire::JiraUser>>(data).map(|users| {
        let users = users.into_iter().map(wire::JiraUser::into_user);
        users.collect::<Vec<_>>()
    });
}

/// What headers say of Cloud's limits: lines of `name: value`. No wait is longer than is believed, and none is no wait.
pub fn limits(data: &[u8]) {
    const BELIEVED: Duration = Duration::from_secs(3600);
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(64) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let told = Told::read(&headers, BELIEVED);
    assert!(
        told.wait.is_none_or(|wait| !wait.is_zero() && wait <= BELIEVED),
        "{told:?}"
    );
    assert!(told.reset.is_none_or(|wait| wait <= BELIEVED), "{told:?}");
    assert!(!told.limit.label().is_empty());
}
