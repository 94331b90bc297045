//! Ten thousand requests that nobody would send, the same in every run.

use serde_json::Value;

use crate::harness::{ADMIN, READER, World, options};
use crate::raw::{Answer, Line};

/// Makes requests that are nearly right.
struct Dice(fastrand::Rng);

impl Dice {
    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.0.usize(..all.len())]
    }

    fn bytes(&mut self, most: usize, allowed: impl Fn(u8) -> bool) -> Vec<u8> {
        let length = self.0.usize(..=most);
        std::iter::repeat_with(|| self.0.u8(..))
            .filter(|byte| allowed(*byte))
            .take(length)
            .collect()
    }

    fn target(&mut self) -> Vec<u8> {
        let graphic = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        let mut target = self
            .of(&["", "/", "//", "/wiki", "/confluence/", "/x", "http://h"])
            .as_bytes()
            .to_vec();
        for part in ["rest", "extender", "1.0", "group"] {
            target.push(b'/');
            match self.0.u8(..40) {
                0 => target.extend(self.bytes(6, graphic)),
                1 => {}
                2 => target.extend_from_slice(format!("{part};a=b").as_bytes()),
                _ => target.extend_from_slice(part.as_bytes()),
            }
        }
        let calls = [
            "getUsers",
            "getGroups",
            "addUsers",
            "removeUsers",
            "addGroups",
            "removeGroups",
            "get",
            "",
        ];
        target.push(b'/');
        target.extend_from_slice(self.of(&calls).as_bytes());
        if self.0.u8(..10) < 7 {
            target.push(b'/');
            match self.0.u8(..4) {
                0 => target.extend(self.bytes(12, graphic)),
                1 => target.extend_from_slice(
                    self.of(&["%2F", "%00", "%C3%BC", "%FF", "%", "%zz", "a+b", "日本", ";"])
                        .as_bytes(),
                ),
                _ => target.extend_from_slice(self.of(&["g", "G", "h", "confluence-users", "none"]).as_bytes()),
            }
        }
        for separator in 0..self.0.u8(..4) {
            target.push(if separator == 0 { b'?' } else { b'&' });
            let keys = [
                "startAt",
                "maxResults",
                "showBasicDetails",
                "showExtendedDetails",
                "dateFormat",
                "os_authType",
                "x",
            ];
            target.extend_from_slice(self.of(&keys).as_bytes());
            target.push(b'=');
            match self.0.u8(..3) {
                0 => target.extend(self.bytes(10, graphic)),
                _ => target.extend_from_slice(
                    self.of(&[
                        "0",
                        "1",
                        "-1",
                        "2147483648",
                        "true",
                        "",
                        "yyyy-MM-dd",
                        "%27",
                        "T",
                        "%FF",
                        "%",
                        "basic",
                        "9",
                    ])
                    .as_bytes(),
                ),
            }
        }
        target
    }

    fn body(&mut self) -> Vec<u8> {
        let names = [
            "user000001",
            "USER000002",
            "user000019",
            "nobody",
            "",
            " ",
            "g",
            "h",
            "new",
            "\\u0000",
            "\\n",
            "ü",
            "x\\\"y",
        ];
        match self.0.u8(..8) {
            0 => self.bytes(60, |_| true),
            1 => Vec::new(),
            2 => self
                .of(&[
                    "{}",
                    "[]",
                    "null",
                    "{\"users\":null}",
                    "{\"users\":[1]}",
                    "{\"groups\":{}}",
                    "{\"users\":[",
                ])
                .into(),
            _ => {
                let key = self.of(&["users", "groups"]);
                let list: Vec<String> = (0..self.0.usize(..6))
                    .map(|_| format!("\"{}\"", self.of(&names)))
                    .collect();
                format!("{{\"{key}\":[{}]}}", list.join(",")).into_bytes()
            }
        }
    }

    fn request(&mut self) -> (bool, Vec<u8>) {
        let method = self.of(&[
            "GET", "GET", "GET", "POST", "POST", "POST", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "BREW",
        ]);
        let mut request = format!("{method} ").into_bytes();
        request.extend(self.target());
        request.extend_from_slice(
            format!(
                " HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n",
                self.of(&[ADMIN, READER])
            )
            .as_bytes(),
        );
        let headers = [
            "",
            "",
            "",
            "accept: text/xml\r\n",
            "origin: http://localhost\r\n",
            "origin: x\r\n",
            "content-type: text/xml\r\n",
            "x-request-id: \"\r\n",
        ];
        request.extend_from_slice(self.of(&headers).as_bytes());
        let body = self.body();
        if self.0.bool() {
            request.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
            request.extend(body);
        } else {
            request.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
            if !body.is_empty() {
                request.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
                request.extend(body);
                request.extend_from_slice(b"\r\n");
            }
            request.extend_from_slice(b"0\r\n\r\n");
        }
        (method == "HEAD", request)
    }
}

fn assert_contractual(answer: &Answer, request: &[u8]) {
    let shown = || format!("{answer:?}\n{}", String::from_utf8_lossy(request));
    let known = matches!(answer.status, 200 | 400 | 403 | 404 | 405 | 406 | 409 | 500);
    assert!(known, "{}", shown());
    if answer.body.is_empty() {
        return;
    }
    let body = answer.json();
    if answer.status == 200 {
        assert_eq!(body["status"], "success", "{}", shown());
        return;
    }
    let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["message", "status-code"], "{}", shown());
    assert_eq!(body["status-code"], answer.status, "{}", shown());
    if answer.status == 500 {
        let message = body["message"].as_str().unwrap();
        let java = [
            "Illegal pattern character '",
            "Unterminated quote",
            "invalid ISO 8601 format: length=",
        ];
        let missing = message.starts_with("group \"") && message.ends_with("\" does not exist");
        assert!(
            missing || java.iter().any(|words| message.starts_with(words)),
            "{}",
            shown()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_random_requests_are_all_answered_as_the_contract_allows() {
    let world = World::start(options(20, &[("g", 10), ("h", 3)]), |_| {}).await;
    let mut tasks = Vec::new();
    for seed in 0..4 {
        let address = world.facade;
        tasks.push(tokio::spawn(async move {
            let mut dice = Dice(fastrand::Rng::with_seed(seed));
            let mut line = Line::to(address).await;
            let mut seen = std::collections::BTreeMap::new();
            let mut answered = 0;
            while answered < 2500 {
                let (is_head, request) = dice.request();
                line.say(&request).await;
                let answer = if is_head {
                    line.hear_head().await
                } else {
                    line.hear().await
                };
                // hyper refuses some targets itself, and closes.
                let refused = answer
                    .as_ref()
                    .is_none_or(|answer| answer.header("x-facade-request-id").is_none());
                if let Some(answer) = &answer {
                    *seen.entry(answer.status).or_insert(0) += 1;
                    if refused {
                        assert_eq!(answer.status, 400, "{answer:?} {}", String::from_utf8_lossy(&request));
                    } else {
                        answered += 1;
                        assert_contractual(answer, &request);
                    }
                }
                if refused {
                    line = Line::to(address).await;
                }
            }
            seen
        }));
    }
    for task in tasks {
        let seen = task.await.unwrap();
        for status in [200, 400, 403, 404, 405, 406, 500] {
            assert!(
                seen.get(&status).is_some_and(|count| *count > 10),
                "{status} in {seen:?}"
            );
        }
    }
    let figures = world.metrics().await;
    let answered: u64 = figures
        .lines()
        .filter(|line| line.starts_with("facade_requests_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(answered, 10_000);
    let after: Value = world.get("getUsers/confluence-users").await.json();
    assert!(after["total"].is_number() || after["status-code"] == 500, "{after}");
}
