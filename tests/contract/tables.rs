//! What each document leaves open, or the simulator leaves out.

/// Method, path, status, and where it is known from. `*` stands for any.
pub type Row = (&'static str, &'static str, u16, &'static str);

/// One official document and what is excused from it. A row that no answer needs fails the test.
pub struct Api {
    pub file: &'static str,
    /// What stands before its paths on the wire.
    pub base: &'static str,
    /// Statuses that are answered and that the document does not have.
    pub undocumented: &'static [Row],
    /// Statuses that the document has with another body.
    pub other_bodies: &'static [Row],
    /// Operations that are not the simulator's.
    pub left_out: &'static [&'static str],
}

pub const CONFLUENCE: Api = Api {
    file: "confluence-v1.groups-users.json",
    base: "",
    undocumented: &[
        ("*", "*", 429, "cloud.md section 4: burst limits"),
        (
            "*",
            "*",
            401,
            "cloud.md section 5: the document has it for some operations only",
        ),
        ("*", "*", 413, "the gateway's limit of a body"),
        ("*", "*", 500, "cloud.md section 4: no free seat, and gateways"),
        ("*", "*", 502, "gateways"),
        ("*", "*", 503, "gateways"),
        ("*", "*", 504, "gateways"),
        (
            "POST",
            "/wiki/rest/api/group",
            415,
            "cloud.md section 1: a write without its content type",
        ),
        (
            "POST",
            "/wiki/rest/api/group/userByGroupId",
            415,
            "cloud.md section 1: a write without its content type",
        ),
        (
            "POST",
            "/wiki/rest/api/group/userByGroupId",
            409,
            "cloud.md section 1: already a member, measured",
        ),
        (
            "GET",
            "/wiki/rest/api/group",
            400,
            "assumed: a start or limit that is no number",
        ),
        (
            "GET",
            "/wiki/rest/api/group/picker",
            400,
            "assumed: no query; a start or limit that is no number",
        ),
        (
            "GET",
            "/wiki/rest/api/group/by-id",
            400,
            "assumed: no id, as DELETE of the same path has it",
        ),
        (
            "GET",
            "/wiki/rest/api/group/{groupId}/membersByGroupId",
            404,
            "assumed: no such group, as by-id has it",
        ),
        ("GET", "/wiki/rest/api/user", 400, "assumed: no accountId"),
        ("GET", "/wiki/rest/api/user/bulk", 400, "assumed: no accountId"),
        ("GET", "/wiki/rest/api/user/memberof", 400, "assumed: no accountId"),
        (
            "GET",
            "/wiki/rest/api/user/memberof",
            404,
            "assumed: no such user, as GET /user has it",
        ),
    ],
    other_bodies: &[],
    left_out: &[
        "GET /wiki/rest/api/audit",
        "POST /wiki/rest/api/audit",
        "GET /wiki/rest/api/search/user",
        "GET /wiki/rest/api/user/anonymous",
        "GET /wiki/rest/api/user/email",
        "GET /wiki/rest/api/user/email/bulk",
    ],
};

pub const CONFLUENCE_V2: Api = Api {
    file: "confluence-v2.users.json",
    base: "/wiki/api/v2",
    undocumented: &[
        ("*", "*", 401, "cloud.md section 5: any credential can be refused"),
        ("*", "*", 403, "as 401: who has no access to Confluence"),
        ("*", "*", 413, "the gateway's limit of a body"),
        ("*", "*", 415, "assumed: as version 1 has it"),
        ("*", "*", 429, "cloud.md section 4: burst limits"),
        ("*", "*", 500, "gateways"),
        ("*", "*", 502, "gateways"),
        ("*", "*", 503, "gateways"),
        ("*", "*", 504, "gateways"),
    ],
    other_bodies: &[],
    left_out: &[
        "GET /wiki/api/v2/admin-key",
        "POST /wiki/api/v2/admin-key",
        "DELETE /wiki/api/v2/admin-key",
        "POST /wiki/api/v2/user/access/check-access-by-email",
        "POST /wiki/api/v2/user/access/invite-by-email",
    ],
};

pub const ADMIN: Api = Api {
    file: "admin-org.users-groups-events.json",
    base: "/admin",
    undocumented: &[
        ("*", "*", 413, "the gateway's limit of a body"),
        ("*", "*", 415, "assumed: a body without its content type"),
        ("*", "*", 502, "gateways"),
        ("*", "*", 503, "gateways"),
        ("*", "*", 504, "gateways"),
        ("GET", "/admin/v1/orgs", 403, "assumed: a key of less rights"),
        ("GET", "/admin/v1/orgs/{orgId}", 403, "assumed: a key of less rights"),
        (
            "GET",
            "/admin/v2/orgs/{orgId}/directories",
            403,
            "assumed: a key of less rights",
        ),
        (
            "GET",
            "/admin/v2/orgs/{orgId}/directories",
            404,
            "assumed: no such organisation, as version 1 has it",
        ),
    ],
    other_bodies: &[
        (
            "*",
            "*",
            429,
            "cloud.md section 2: version 2 is limited in the words of version 1",
        ),
        ("*", "*", 500, "gateways"),
    ],
    left_out: &[
        "GET /admin/v1/orgs/{orgId}/directory/users/{accountId}/last-active-dates",
        "GET /admin/v1/orgs/{orgId}/event-actions",
        "GET /admin/v1/orgs/{orgId}/events",
        "GET /admin/v1/orgs/{orgId}/events-stream",
        "GET /admin/v1/orgs/{orgId}/events/{eventId}",
        "GET /admin/v1/orgs/{orgId}/users",
        "GET /admin/v2/orgs/{orgId}/directories/{directoryId}/groups",
        "GET /admin/v2/orgs/{orgId}/directories/{directoryId}/groups/count",
        "GET /admin/v2/orgs/{orgId}/directories/{directoryId}/groups/stats",
        "GET /admin/v2/orgs/{orgId}/directories/{directoryId}/groups/{groupId}",
        "POST /admin/v2/orgs/{orgId}/directories/{directoryId}/groups/{groupId}/role-assignments/assign",
        "POST /admin/v2/orgs/{orgId}/directories/{directoryId}/groups/{groupId}/role-assignments/revoke",
        "GET /admin/v2/orgs/{orgId}/directories/{directoryId}/users",
        "GET /admin/v2/orgs/{orgId}/directories/{directoryId}/users/count",
        "GET /admin/v2/orgs/{orgId}/directories/{directoryId}/users/stats",
        "DELETE /admin/v2/orgs/{orgId}/directories/{directoryId}/users/{accountId}",
        "POST /admin/v2/orgs/{orgId}/directories/{directoryId}/users/{accountId}/restore",
        "GET /admin/v2/orgs/{orgId}/directories/{directoryId}/users/{accountId}/role-assignments",
        "POST /admin/v2/orgs/{orgId}/directories/{directoryId}/users/{accountId}/suspend",
        "POST /admin/v2/orgs/{orgId}/users/invite",
        "POST /admin/v2/orgs/{orgId}/workspaces",
    ],
};

pub const SCIM: Api = Api {
    file: "scim.users-groups.json",
    base: "",
    undocumented: &[
        ("*", "*", 413, "the gateway's limit of a body"),
        ("*", "*", 429, "cloud.md section 4: burst limits"),
        ("*", "*", 502, "gateways"),
        ("*", "*", 504, "gateways"),
    ],
    other_bodies: &[("*", "*", 500, "gateways"), ("*", "*", 503, "gateways")],
    left_out: &[
        "GET /scim/directory/{directoryId}/Groups/{id}",
        "PUT /scim/directory/{directoryId}/Groups/{id}",
        "DELETE /scim/directory/{directoryId}/Groups/{id}",
        "PATCH /scim/directory/{directoryId}/Groups/{id}",
        "GET /scim/directory/{directoryId}/Groups",
        "POST /scim/directory/{directoryId}/Groups",
        "GET /scim/directory/{directoryId}/Schemas",
        "GET /scim/directory/{directoryId}/ResourceTypes",
        "GET /scim/directory/{directoryId}/ResourceTypes/User",
        "GET /scim/directory/{directoryId}/ResourceTypes/Group",
        "GET /scim/directory/{directoryId}/Schemas/urn:ietf:params:scim:schemas:core:2.0:User",
        "GET /scim/directory/{directoryId}/Schemas/urn:ietf:params:scim:schemas:core:2.0:Group",
        "GET /scim/directory/{directoryId}/Schemas/urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
        "GET /scim/directory/{directoryId}/ServiceProviderConfig",
        "GET /scim/directory/{directoryId}/Users/{userId}",
        "PUT /scim/directory/{directoryId}/Users/{userId}",
        "DELETE /scim/directory/{directoryId}/Users/{userId}",
        "PATCH /scim/directory/{directoryId}/Users/{userId}",
        "POST /scim/directory/{directoryId}/Users",
    ],
};

pub const JIRA: Api = Api {
    file: "jira-v3.groups-users.json",
    base: "",
    undocumented: &[
        (
            "*",
            "*",
            401,
            "cloud.md section 5: the document has it for some operations only",
        ),
        ("*", "*", 403, "as 401: a credential that is refused"),
        ("*", "*", 413, "the gateway's limit of a body"),
        ("*", "*", 429, "cloud.md section 4: burst limits"),
        ("*", "*", 500, "gateways"),
        ("*", "*", 502, "gateways"),
        ("*", "*", 503, "gateways"),
        ("*", "*", 504, "gateways"),
    ],
    other_bodies: &[],
    left_out: &[
        "DELETE /rest/api/3/group",
        "GET /rest/api/3/group",
        "POST /rest/api/3/group",
        "GET /rest/api/3/group/bulk",
        "DELETE /rest/api/3/group/user",
        "POST /rest/api/3/group/user",
        "GET /rest/api/3/groups/picker",
        "GET /rest/api/3/groupuserpicker",
        "GET /rest/api/3/serverInfo",
        "DELETE /rest/api/3/user",
        "GET /rest/api/3/user",
        "POST /rest/api/3/user",
        "GET /rest/api/3/user/bulk/migration",
        "GET /rest/api/3/user/email",
        "GET /rest/api/3/user/email/bulk",
        "GET /rest/api/3/user/groups",
        "GET /rest/api/3/user/picker",
        "GET /rest/api/3/users",
    ],
};
