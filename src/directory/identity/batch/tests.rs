//! Questions of many callers at once.

use super::*;
use crate::model::{AccountId, Caller, Source, Standing};

fn limits(most: usize) -> Limits {
    Limits {
        most,
        at_once: 4,
        window: Duration::from_millis(30),
        memory: Duration::from_secs(60),
        negative_memory: Duration::from_secs(60),
        capacity: 100_000,
        by_spelling: false,
    }
}

fn batcher(limits: Limits, log: &Arc<Mutex<Vec<Vec<String>>>>) -> Batcher {
    let log = Arc::clone(log);
    let ask = move |names: Vec<Wanted>, _| {
        log.lock()
            .push(names.iter().map(|wanted| wanted.key.as_str().to_owned()).collect());
        async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let mut found = Found::default();
            for wanted in names {
                if wanted.key.as_str() == "panic" {
                    panic!("as the test wants");
                }
                if wanted.key.as_str() == "down" {
                    found.failed = Some(Error::Unavailable {
                        operation: Operation::AdminUsers,
                        retry_after: Duration::from_secs(1),
                        cause: "down".to_owned(),
                        doubtful: false,
                    });
                    continue;
                }
                let claim = Claim {
                    account: AccountId::new(wanted.key.as_str()),
                    source: Source::Admin,
                    standing: Standing::Active,
                    learned_at: 0,
                    is_proven: true,
                };
                found.claims.insert(wanted.key, vec![claim]);
            }
            found
        }
        .boxed()
    };
    Batcher::new(Operation::AdminUsers, limits, Metrics::new(), Box::new(ask))
}

fn wanted(names: impl IntoIterator<Item = String>) -> Vec<Wanted> {
    let wanted = |name: String| Wanted {
        key: NameKey::of(&name),
        text: name.into(),
    };
    names.into_iter().map(wanted).collect()
}

fn context() -> Context {
    patient(5000)
}

fn patient(millis: u64) -> Context {
    let caller = Caller::named("test");
    Context::new(RequestId::random(), caller, Duration::from_millis(millis))
}

#[tokio::test]
async fn concurrent_callers_share_full_calls_and_no_name_is_asked_twice() {
    let log = Arc::default();
    let batcher = batcher(limits(100), &log);
    let calls = (0..20).map(|caller| {
        let batcher = batcher.clone();
        async move {
            // Half of each caller's names are the next one's, too.
            let names = wanted((0..100).map(|n| format!("n{}", (caller * 50 + n) % 1000)));
            batcher.look_up(&names, &context()).await
        }
    });
    let answers = futures_util::future::join_all(calls).await;
    assert!(
        answers
            .iter()
            .flatten()
            .all(|answer| answer.as_ref().unwrap().len() == 1)
    );
    let mut asked: Vec<String> = log.lock().iter().flatten().cloned().collect();
    assert_eq!(log.lock().len(), 10);
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 1000);
    batcher.look_up(&wanted(["N1".to_owned()]), &context()).await;
    assert_eq!(log.lock().len(), 10);
    batcher.forget();
    batcher.look_up(&wanted(["N1".to_owned()]), &context()).await;
    assert_eq!(log.lock().len(), 11);
}

#[tokio::test]
async fn a_failure_is_told_to_its_names_alone_and_leaves_nothing_behind() {
    let log = Arc::default();
    let batcher = batcher(limits(2), &log);
    let names = wanted(["good", "down", "panic", "other"].map(str::to_owned));
    // The last one shares a call with one that fails, and then has a call of its own.
    for last in [false, true] {
        let answers = batcher.look_up(&names, &context()).await;
        let good: Vec<bool> = answers.iter().map(Result::is_ok).collect();
        assert_eq!(good, [true, false, false, last]);
    }
    // What failed was asked for again, what was answered was not.
    let asked = log.lock().iter().flatten().filter(|name| *name == "good").count();
    assert_eq!(asked, 1);
    assert_eq!(log.lock().len(), 4);
}

#[tokio::test]
async fn a_hundred_thousand_names_asked_one_by_one_hold_nobody_up() {
    let log = Arc::default();
    let batcher = batcher(limits(1), &log);
    let many = wanted((0..100_000).map(|n| format!("n{n}")));
    let large = async {
        let answers = batcher.look_up(&many, &patient(6000)).await;
        (answers, Instant::now())
    };
    let small = async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let answer = batcher.look_up(&wanted(["one".to_owned()]), &patient(60_000)).await;
        assert!(answer[0].is_ok());
        Instant::now()
    };
    let ((answers, large), small) = futures_util::future::join(large, small).await;
    assert!(small < large, "it waited for the others");
    let in_time = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!((4..50_000).contains(&in_time), "{in_time}");
    // Nobody waits for the others any more, and whoever comes again goes on where it ended.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let asked = log.lock().len();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(log.lock().len(), asked);
    assert!(batcher.inner.state.lock().in_flight.is_empty());
    let first = batcher.look_up(&many[..in_time + 4], &context()).await;
    assert!(first.iter().all(Result::is_ok));
    assert!(log.lock().len() <= asked + 4);
}

#[tokio::test]
async fn spellings_are_questions_of_their_own_where_the_source_tells_them_apart() {
    for (by_spelling, calls) in [(false, 1), (true, 2)] {
        let log = Arc::default();
        let batcher = batcher(
            Limits {
                by_spelling,
                ..limits(1)
            },
            &log,
        );
        for name in ["abc", "ABC", "abc"] {
            batcher.look_up(&wanted([name.to_owned()]), &context()).await;
        }
        assert_eq!(log.lock().len(), calls);
    }
}

#[tokio::test]
async fn a_name_that_is_too_long_is_nobodys_and_not_asked_for() {
    let log = Arc::default();
    let batcher = batcher(limits(1), &log);
    let answers = batcher
        .look_up(&wanted(["ä".repeat(256), "ä".repeat(255)]), &context())
        .await;
    assert!(answers[0].as_ref().unwrap().is_empty());
    assert_eq!((answers[1].as_ref().unwrap().len(), log.lock().len()), (1, 1));
}
