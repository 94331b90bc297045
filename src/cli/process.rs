//! The process keeps to itself: its memory holds every credential, so it leaves no core file, no other process of its user
//! looks into it, and a panic tells where it happened, and not with what.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;

/// Shuts the process's memory off. What cannot be done is no reason not to run: one sentence each.
#[must_use]
pub fn seal() -> Vec<String> {
    let mut faults = Vec::new();
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        if let Err(error) = setrlimit(Resource::Core, none) {
            faults.push(format!("core files cannot be switched off: {error}"));
        }
    }
    // Also where a system pipes cores into a program, which no limit of size holds up. And nobody but root attaches a
    // debugger, or reads `/proc/<pid>/environ` and `/proc/<pid>/mem`.
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
            faults.push(format!(
                "other processes of this user cannot be kept out of this one's memory: {error}"
            ));
        }
    }
    faults
}

/// Panics are told as errors of the log, or on standard error while there is none yet.
pub fn tell_panics() {
    std::panic::set_hook(Box::new(tell));
}

fn tell(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = message(panic);
    // Names of functions, if RUST_BACKTRACE asks for them; no values.
    let trace = Backtrace::capture();
    let trace = (trace.status() == BacktraceStatus::Captured).then(|| trace.to_string());
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    if tracing::dispatcher::has_been_set() {
        tracing::error!(%place, thread, message, trace, "a panic");
    } else {
        eprintln!("error: a panic at {place} in thread {thread}: {message}");
    }
}

/// What was panicked with, if it stands so in the source. A message that was put together when it happened may have in it what
/// was being worked on (`str` indexing and `unwrap` show whole values), and the place alone leads to it.
fn message<'p>(panic: &PanicHookInfo<'p>) -> &'p str {
    panic
        .payload()
        .downcast_ref::<&'static str>()
        .copied()
        .unwrap_or("its message is left out, as it may hold what was being worked on")
}
