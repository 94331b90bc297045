//! What an answer costs in quota points: a write 1, a read 1 and 2 more for every user or group in it (cloud.md section 4).
use serde_json::Value;

use super::answers::Answer;
use super::routes::Operation;

/// The rows are counted in the body as it is sent: whatever the form of a list is, its rows are in an array.
pub(super) fn of(operation: Operation, answer: &Answer) -> u64 {
    if operation.is_change() || answer.status != 200 {
        return 1;
    }
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let list = ["results", "data", "values", "Resources"]
        .iter()
        .find_map(|name| body.get(name)?.as_array());
    let rows = match (list.or(body.as_array()), &body) {
        (Some(list), _) => list.len() as u64,
        (None, Value::Object(_)) => 1,
        (None, _) => 0,
    };
    1 + 2 * rows
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_are_paid_for_wherever_they_stand() {
        let cost = |operation, status, body| of(operation, &Answer::json(status, &body));
        assert_eq!(cost(Operation::ListMembers, 200, json!({"results": [{}, {}, {}]})), 7);
        assert_eq!(cost(Operation::JiraFindUser, 200, json!([{}, {}])), 5);
        assert_eq!(cost(Operation::AdminGetUser, 200, json!({"data": {}})), 3);
        assert_eq!(cost(Operation::GetUser, 200, json!({"accountId": "a"})), 3);
        assert_eq!(cost(Operation::GetUser, 404, json!({"message": "a"})), 1);
        assert_eq!(cost(Operation::CreateGroup, 200, json!({"id": "a"})), 1);
        assert_eq!(of(Operation::AddMember, &Answer::empty(201)), 1);
    }
}
