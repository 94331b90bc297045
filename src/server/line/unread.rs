//! hyper answers a head that it cannot read to its end by itself, with a status and no body: its service never sees such a
//! request. Here that answer gets the body that every other error has.

/// What is to be written in the place of these bytes, if they are such an answer. Nothing else of ours has such a status.
pub fn instead_of(head: &[u8]) -> Option<Vec<u8>> {
    let (status, message) = match head.get(..HEAD)? {
        b"HTTP/1.1 431 " => (431, "Request head too large"),
        b"HTTP/1.1 414 " => (414, "Request target too long"),
        _ => return None,
    };
    let text = std::str::from_utf8(head).ok()?;
    let (before, after) = text.split_once("\r\ncontent-length: 0\r\n")?;
    // One head and no more: what comes behind it would be another answer's.
    if !after.ends_with("\r\n\r\n") || after.matches("\r\n\r\n").count() != 1 || before.contains("\r\n\r\n") {
        return None;
    }
    let body = format!("{{\"message\":\"{message}\",\"status-code\":{status}}}");
    let length = body.len();
    let fields = format!("\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n");
    Some([before, &fields, after, &body].concat().into_bytes())
}

/// As long as a status line is up to its reason.
const HEAD: usize = "HTTP/1.1 431 ".len();

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &str = "connection: close\r\ndate: Sun, 22 Nov 2026 20:00:00 GMT\r\n\r\n";

    #[test]
    fn only_hypers_own_answers_get_a_body() {
        let own = format!("HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n{FIELDS}");
        let told = String::from_utf8(instead_of(own.as_bytes()).unwrap()).unwrap();
        let body = "{\"message\":\"Request head too large\",\"status-code\":431}";
        let expected = own.replace(
            "content-length: 0",
            &format!("content-type: application/json\r\ncontent-length: {}", body.len()),
        );
        assert_eq!(told, format!("{expected}{body}"));
        for other in [
            String::new(),
            "HTTP/1.1 431 ".to_owned(),
            own.replace("431", "404"),
            own.replace("content-length: 0", "content-length: 9"),
            format!("{own}{own}"),
            format!("{own}x"),
            format!(" {own}"),
        ] {
            assert_eq!(instead_of(other.as_bytes()), None, "{other:?}");
        }
    }
}
