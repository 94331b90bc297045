//! kill -9 at every step of a refresh: within the time for which the old token works the next process recovers by itself, and
//! after it nothing is done but to say "consent again". Twenty rounds, or 300 with `FACADE_LONG=1`.
#![cfg(unix)]

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cloud::send;
use crate::consent::{APP, registry};
use crate::desk::Desk;
use crate::program::Program;

/// When the process is killed, by what its file says.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// A use of the refresh token is noted, not the one that the process before left open, and the answer is on its way.
    Noted,
    /// So long after the note: around the answer, the new file, and the first use of what is in it.
    After(Duration),
    /// The new tokens are kept.
    Kept,
    /// Whenever.
    Any(Duration),
}

fn read(path: &Path) -> Value {
    // Never half a file, at no moment.
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn wait(path: &Path, is: impl Fn(&Value) -> bool) -> bool {
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        if is(&read(path)) {
            return true;
        }
        std::thread::sleep(Duration::from_micros(300));
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_a_process_is_killed_the_next_one_recovers_and_burns_no_token() {
    let long = std::env::var_os("FACADE_LONG").is_some();
    let desk = Desk::new(registry(), APP).await;
    let world = &desk.world;
    world
        .cloud
        .switch(json!({ "access_token_s": 1, "token_slow_ms": 20 }))
        .await;
    let (code, said) = desk.login().await;
    assert_eq!(code, 0, "{said}");
    // The facade of the desk is not asked for anything: it has no part in this.
    let state = world.path("state");
    let file = state.join("credentials/app.json");
    // Another directory for the process, which a lock keeps apart from the desk's; the consent is the same.
    let other = world.path("other");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::set_permissions(&other, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink(state.join("credentials"), other.join("credentials")).unwrap();
    let site = world.cloud.url("");
    let more = [
        ("FACADE__CLOUD__EMAIL", ""),
        ("FACADE__CLOUD__API_TOKEN", ""),
        ("FACADE__CLOUD__KIND", "oauth"),
        ("FACADE__CLOUD__CLIENT_ID", "app"),
        ("FACADE__CLOUD__CLIENT_SECRET", "the-secret"),
        ("FACADE__CLOUD__GATEWAY_URL", site.as_str()),
        ("FACADE__CLOUD__LOGIN_URL", site.as_str()),
    ];
    let mut in_the_middle = 0;
    let millis = |below: u64| Duration::from_millis(fastrand::u64(0..below));
    for round in 0..if long { 300 } else { 20 } {
        let mut program = Program::start(&other, &site, &more);
        let (address, _) = program.serves();
        let client = world.client.clone();
        let asking = tokio::spawn(async move {
            for turn in 0.. {
                let url = format!("http://{address}/rest/extender/1.0/group/getUsers/nobody-{round}-{turn}");
                let ask = || send_or_gone(client.get(&url));
                let both = tokio::join!(ask(), ask());
                if both.0.is_none() && both.1.is_none() {
                    return turn;
                }
            }
            0
        });
        let moment = match round % 4 {
            0 => Moment::Noted,
            1 => Moment::After(millis(40)),
            2 => Moment::Kept,
            _ => Moment::Any(millis(2500)),
        };
        let path = file.clone();
        let found = tokio::task::spawn_blocking(move || {
            let before = read(&path);
            let is_same = |kept: &Value, what: &str| kept[what] == before[what];
            let found = match moment {
                Moment::Noted | Moment::After(_) => wait(&path, |kept| {
                    let is_old = is_same(kept, "used_ms") && is_same(kept, "refresh_token");
                    !kept["used_ms"].is_null() && !is_old
                }),
                Moment::Kept => wait(&path, |kept| !is_same(kept, "refresh_token")),
                Moment::Any(_) => true,
            };
            if let Moment::After(time) | Moment::Any(time) = moment {
                std::thread::sleep(time);
            }
            found
        });
        assert!(found.await.unwrap(), "{moment:?} never came");
        program.kill();
        asking.await.unwrap();
        in_the_middle += usize::from(!read(&file)["used_ms"].is_null());
    }
    let mut program = Program::start(&other, &site, &more);
    let (address, _) = program.serves();
    let url = |turn: u32| format!("http://{address}/rest/extender/1.0/group/getUsers/at-last-{turn}");
    let answer = send(world.client.get(url(1))).await;
    assert!(answer.text().contains("does not exist"), "{answer:?}");
    let tokens = desk.tokens("app").await;
    eprintln!("{in_the_middle} kills between a use and its end; {tokens}");
    assert!(in_the_middle > 0);
    for (what, count) in [("reuses", 0), ("revoked_families", 0), ("families", 1)] {
        assert_eq!(tokens[what], count, "{tokens}");
    }
    // A use is followed by another only once it has ended: two of each four rounds.
    assert!(tokens["refreshes"].as_u64() >= Some(10), "{tokens}");
    program.kill();

    // Later: the old token would revoke everything now, and is not touched.
    let mut kept = read(&file);
    kept["used_ms"] = json!(jiff::Timestamp::now().as_millisecond() - 20 * 60_000);
    kept["access_until_ms"] = json!(0);
    std::fs::write(&file, kept.to_string()).unwrap();
    world.cloud.switch(json!({ "refresh_leeway_s": 0 })).await;
    let mut program = Program::start(&other, &site, &more);
    let (address, _) = program.serves();
    let asked = async || world.calls().await["oauth_token"];
    let before = asked().await;
    for turn in 0..3 {
        let url = format!("http://{address}/rest/extender/1.0/group/getUsers/too-late-{turn}");
        let answer = send(world.client.get(url)).await;
        assert_eq!(answer.status, 502, "{answer:?}");
        assert!(answer.text().contains("consent again"), "{answer:?}");
    }
    assert_eq!(asked().await, before);
    program.kill();
}

async fn send_or_gone(request: reqwest::RequestBuilder) -> Option<u16> {
    let answer = request.send().await.ok()?;
    Some(answer.status().as_u16())
}
