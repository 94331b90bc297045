//! What calls waited for, as one column of the journal: `pace=1200 pause=800`, in milliseconds.

use crate::model::{Wait, Waits};

pub(super) fn write(waits: Waits) -> String {
    let each: Vec<String> = waits
        .iter()
        .map(|(wait, ms)| format!("{}={ms}", wait.as_str()))
        .collect();
    each.join(" ")
}

/// Leaves out what it does not understand: a later version may know more reasons, and the sum stands beside them.
pub(super) fn read(text: &str) -> Waits {
    let known = |word: &str| {
        let (name, ms) = word.split_once('=')?;
        Some((Wait::named(name)?, ms.parse().ok()?))
    };
    text.split(' ').filter_map(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_reasons_with_a_time_are_written() {
        let waits = [(Wait::Pause, 800), (Wait::Pace, 1200), (Wait::Turn, 0)];
        assert_eq!(write(waits.into_iter().collect()), "pace=1200 pause=800");
        assert_eq!(write(Waits::default()), "");
    }

    #[test]
    fn what_nobody_knows_is_left_out() {
        let waits =
            read("weather=5 pace=1200 =3 pause quota=-1 outage=1.5 turn=99999999999999999999 Pace=1  backoff=7 ");
        let known: Vec<_> = waits.iter().collect();
        assert_eq!(known, [(Wait::Pace, 1200), (Wait::Backoff, 7)]);
        assert_eq!(read(""), Waits::default());
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(times in proptest::array::uniform6(any::<u64>())) {
            let waits: Waits = Wait::ALL.into_iter().zip(times).collect();
            prop_assert_eq!(read(&write(waits)), waits);
        }

        #[test]
        fn no_text_is_too_bad_to_be_read(text in ".{0,60}") {
            read(&text);
        }
    }
}
