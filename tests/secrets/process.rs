//! What other processes and a panic get to see.

use std::process::Command;

use extender_facade::cli::process;

use crate::bed::{Bed, Log, Serving};
use crate::cloud::Cloud;
use crate::table::Secrets;
use extender_facade::simulator::Options;

/// Set for the child process that panics.
const CANARY: &str = "SECRETS_TEST_CANARY";

fn failed(secret: &str) -> Result<u8, String> {
    secret.is_empty().then_some(1).ok_or_else(|| secret.to_owned())
}

/// Not a test by itself: the next one runs it in a process of its own.
#[test]
fn panics_for_the_next_test() {
    let Ok(secret) = std::env::var(CANARY) else { return };
    process::tell_panics();
    let quietly = |panics: fn(&str)| {
        let secret = secret.clone();
        assert!(std::thread::spawn(move || panics(&secret)).join().is_err());
    };
    quietly(|secret| panic!("{secret}"));
    quietly(|secret| panic!("cannot use {secret:?}"));
    quietly(|secret| {
        failed(secret).unwrap();
    });
    quietly(|secret| {
        failed(secret).expect("a promise");
    });
    // `str` indexing shows the whole text.
    quietly(|secret| assert!(format!("ä{secret}")[1..].is_empty()));
    quietly(|secret| assert_eq!(secret, "another"));
    quietly(|_| panic!("a literal message"));
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .finish();
    tracing::subscriber::set_global_default(log).unwrap();
    quietly(|secret| panic!("{secret}"));
    quietly(|_| panic!("a message for the log"));
}

#[test]
fn a_panic_tells_its_place_and_no_value() {
    let secrets = Secrets::new();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process::panics_for_the_next_test", "--nocapture"])
        .env(CANARY, secrets.of("cloud.api_token"))
        .env("RUST_BACKTRACE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let places = told.matches("process.rs:").count();
    assert!(places >= 9, "{places} places: {told}");
    assert!(
        told.contains("a literal message") && told.contains("a message for the log"),
        "{told}"
    );
    let leaks = secrets.leaks(&[("what a panic tells".to_owned(), [output.stdout, output.stderr].concat())]);
    assert!(leaks.is_empty(), "{leaks:?}");
}

#[cfg(unix)]
#[test]
fn a_state_directory_that_everybody_can_reach_is_no_start_and_the_mend_helps() {
    use std::os::unix::fs::PermissionsExt as _;
    let secrets = Secrets::new();
    let mut bed = Bed::new(&secrets, "http://127.0.0.1:1", "an-org", "a-directory", Log::Text);
    let state = bed.state();
    let set = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    Serving::start(&bed).stop(&mut bed);
    let told = |bed: &mut Bed, command: &str| {
        let output = bed.run(&[command]);
        assert_ne!(output.status.code(), Some(0));
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    for (path, mode) in [(state.clone(), 0o755), (state.join("operations.sqlite3"), 0o644)] {
        set(&path, mode);
        for command in ["serve", "check"] {
            let told = told(&mut bed, command);
            let mend = format!("chmod -R go= {}", state.display());
            assert!(
                told.contains(&mend) && told.contains(&format!("mode {mode:o}")),
                "{told}"
            );
        }
        let mend = ["-R", "go=", state.to_str().unwrap()];
        assert!(Command::new("chmod").args(mend).status().unwrap().success());
        Serving::start(&bed).stop(&mut bed);
    }
    // A group's reach is taken back.
    set(&state, 0o770);
    set(&state.join("audit.key"), 0o660);
    Serving::start(&bed).stop(&mut bed);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&state), mode(&state.join("audit.key"))), (0o700, 0o600));
    // A file of the operator's is told, and no more.
    let token = bed.directory.path().join("api-token");
    set(&token, 0o444);
    Serving::start(&bed).stop(&mut bed);
    let logged = bed.places.iter().any(|(place, bytes)| {
        place == "the log" && String::from_utf8_lossy(bytes).contains(&format!("chmod o= {}", token.display()))
    });
    assert!(logged);
    let leaks = secrets.leaks(&bed.places);
    assert!(leaks.is_empty(), "{leaks:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_process_can_be_looked_into() {
    use std::os::unix::fs::MetadataExt as _;
    let secrets = Secrets::new();
    let cloud = Cloud::start(Options::default()).await;
    let mut bed = Bed::new(&secrets, &cloud.url(""), &cloud.org_id, &cloud.directory_id, Log::Json);
    let serving = Serving::start(&bed);
    let proc = std::path::PathBuf::from(format!("/proc/{}", serving.id()));
    let read = |name: &str| std::fs::read_to_string(proc.join(name)).unwrap();
    let limits = read("limits");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    assert_eq!(core.split_whitespace().nth(5), Some("0"), "{core}");
    // The kernel gives what is below /proc to root where a process may not be dumped: nobody else may attach to it, or read
    // its memory and environment.
    assert_eq!(std::fs::metadata(proc.join("environ")).unwrap().uid(), 0);
    let arguments = read("cmdline");
    bed.keep("the process's arguments", arguments);
    serving.stop(&mut bed);
    let leaks = secrets.leaks(&bed.places);
    assert!(leaks.is_empty(), "{leaks:?}");
}
