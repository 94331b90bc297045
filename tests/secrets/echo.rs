//! A Cloud that gives back what it was shown: each answer holds the request's credential, as a proxy's page of errors, or a
//! service in debugging mode, may.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What the answers look like. `{auth}` is the header's value, `{code}` what stands behind its scheme, `{secret}` the token.
pub const SHAPES: [(&str, &str); 16] = [
    (
        "401 Unauthorized\r\nContent-Type: application/json",
        "{\"message\":\"no: {auth} and {secret}\"}",
    ),
    (
        "403 Forbidden\r\nContent-Type: application/json",
        "{\"errorMessages\":[\"{secret}\",\"{code}\"]}",
    ),
    (
        "400 Bad Request\r\nContent-Type: application/json",
        "{\"errors\":[{\"title\":\"x\",\"detail\":\"{auth} {secret}\"}]}",
    ),
    (
        "409 Conflict\r\nContent-Type: application/json",
        "{\"message\":\"{auth} {secret}\"}",
    ),
    (
        "401 Unauthorized\r\nContent-Type: text/html\r\nWWW-Authenticate: Basic realm=\"{auth}\"",
        "<html><head><title>{auth} {secret}</title></head></html>",
    ),
    (
        "403 Forbidden\r\nContent-Type: application/xml",
        "<status><message>{secret} {code}</message></status>",
    ),
    (
        "500 Internal Server Error",
        "GET / HTTP/1.1\r\nauthorization: {auth}\r\n({secret})",
    ),
    ("503 Service Unavailable\r\nRetry-After: {secret}", "{auth}"),
    ("200 OK\r\nContent-Type: text/html", "<title>{secret} {auth}</title>"),
    (
        "200 OK\r\nContent-Type: application/json",
        "{\"results\":\"{secret}\",\"data\":\"{code}\"}",
    ),
    ("200 OK\r\nContent-Type: application/json", "\"{auth}\""),
    ("302 Found\r\nLocation: https://{secret}@{code}.example.com/{auth}", ""),
    (
        "429 Too Many Requests\r\nRateLimit-Reason: {auth}\r\nRetry-After: {code}\r\nX-RateLimit-Reset: {secret}",
        "{\"message\":\"{auth}\"}",
    ),
    // As JSON may write a slash, and as a page must write some letters.
    (
        "403 Forbidden\r\nContent-Type: application/json",
        "{\"message\":\"{json} {page}\"}",
    ),
    (
        "401 Unauthorized\r\nContent-Type: application/json",
        "{\"message\":\"{percent} {far}{auth}\"}",
    ),
    // No HTTP at all.
    ("", "{auth} {secret}\r\n\r\n"),
];

/// Answers in this shape, for as long as the process lives. Returns its address.
pub fn start(shape: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer(stream, shape));
        }
    });
    format!("http://{address}")
}

fn answer(stream: TcpStream, shape: usize) -> Option<()> {
    let mut from = BufReader::new(stream.try_clone().ok()?);
    let (mut auth, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        from.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ") {
            match name.to_ascii_lowercase().as_str() {
                "authorization" => auth = value.to_owned(),
                "content-length" => length = value.parse().ok()?,
                _ => {}
            }
        }
    }
    std::io::copy(&mut from.take(length), &mut std::io::sink()).ok()?;
    let code = auth.split_once(' ').map_or("", |(_, code)| code).to_owned();
    let pair = STANDARD
        .decode(&code)
        .ok()
        .and_then(|pair| String::from_utf8(pair).ok());
    let secret = match pair.as_deref().and_then(|pair| pair.split_once(':')) {
        Some((_, token)) if auth.starts_with("Basic") => token.to_owned(),
        _ => code.clone(),
    };
    let fill = |text: &str| {
        let percent = percent_encoding::utf8_percent_encode(&secret, percent_encoding::NON_ALPHANUMERIC).to_string();
        text.replace("{auth}", &auth)
            .replace("{code}", &code)
            .replace("{secret}", &secret)
            .replace(
                "{json}",
                &format!("{} {}", auth.replace('/', "\\/"), secret.replace('/', "\\/")),
            )
            .replace("{page}", &secret.replace('/', "&#x2F;").replace('+', "&#43;"))
            .replace("{percent}", &percent)
            // So that a message that is cut is cut within the credential.
            .replace("{far}", &"x".repeat(200))
    };
    let (head, body) = SHAPES[shape];
    let body = fill(body);
    let answer = if head.is_empty() {
        body
    } else {
        let length = body.len();
        format!(
            "HTTP/1.1 {}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}",
            fill(head)
        )
    };
    (&stream).write_all(answer.as_bytes()).ok()
}
