//! A list as it is told, and with it the answers that were made of it: ready for whoever asks the same again.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;

use super::{Detail, Page};

/// Rows, and what was made of them to be sent. Whatever changes the rows makes a new list, so no answer outlives its rows.
#[derive(Debug, Default)]
pub struct Listing<T> {
    /// The rows, in order.
    pub rows: Vec<T>,
    /// Answers that are ready.
    pub prints: Prints,
}

impl<T> From<Vec<T>> for Listing<T> {
    fn from(rows: Vec<T>) -> Self {
        Self {
            prints: Prints::bounded(ROOM + rows.len().saturating_mul(ROOM_A_ROW)),
            rows,
        }
    }
}

/// How an answer was asked for: two that are asked for in the same form, of the same list, are the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// Which rows.
    pub page: Page,
    /// How much of each.
    pub detail: Detail,
    /// How dates are written; `None`: as they are if nothing is said, or none are.
    pub dates: Option<Box<str>>,
    /// Whether the bytes are compressed.
    pub is_compressed: bool,
}

/// What the answers of one list may take together: beside its rows, so much for each of them.
const ROOM: usize = 64 * 1024;
const ROOM_A_ROW: usize = 1024;
/// How many there may be: they are looked for one by one.
const MOST: usize = 128;

/// Answers that are ready, within bounds; where there is no room for another one, the oldest go.
///
/// Readers share no lock: they see the answers as they were at one moment.
#[derive(Debug, Default)]
pub struct Prints {
    kept: ArcSwap<Vec<(Form, Arc<Bytes>)>>,
    most_bytes: usize,
}

impl Prints {
    fn bounded(most_bytes: usize) -> Self {
        Self {
            kept: ArcSwap::default(),
            most_bytes,
        }
    }

    /// The answer in this form, if it was made before.
    #[must_use]
    pub fn get(&self, form: &Form) -> Option<Arc<Bytes>> {
        let kept = self.kept.load();
        let found = kept.iter().find(|(known, _)| known == form)?;
        Some(Arc::clone(&found.1))
    }

    /// Keeps an answer for those who ask for it again, unless it is too large for the list.
    pub fn keep(&self, form: &Form, bytes: &Arc<Bytes>) {
        if size(form, bytes) > self.most_bytes {
            return;
        }
        self.kept.rcu(|kept| {
            let mut left = self.most_bytes - size(form, bytes);
            // The newest first, as far as there is room.
            let others = kept.iter().rev().filter(|(known, _)| known != form);
            let mut all: Vec<(Form, Arc<Bytes>)> = others
                .take(MOST - 1)
                .take_while(|(known, other)| {
                    let size = size(known, other);
                    let fits = size <= left;
                    left = left.saturating_sub(size);
                    fits
                })
                .cloned()
                .collect();
            all.reverse();
            all.push((form.clone(), Arc::clone(bytes)));
            Arc::new(all)
        });
    }
}

/// What an answer takes, with what a caller said of it.
fn size(form: &Form, bytes: &Bytes) -> usize {
    bytes.len() + form.dates.as_ref().map_or(0, |dates| dates.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(start_at: usize) -> Form {
        Form {
            page: Page {
                start_at,
                max_results: 10,
            },
            detail: Detail::Basic,
            dates: None,
            is_compressed: false,
        }
    }

    fn ready(text: &'static [u8]) -> Arc<Bytes> {
        Arc::new(Bytes::from_static(text))
    }

    fn starts(prints: &Prints) -> Vec<usize> {
        prints.kept.load().iter().map(|(form, _)| form.page.start_at).collect()
    }

    #[test]
    fn an_answer_is_found_by_its_form_alone() {
        let prints = Prints::bounded(100);
        prints.keep(&form(0), &ready(b"zero"));
        let compressed = Form {
            is_compressed: true,
            ..form(0)
        };
        let dated = Form {
            dates: Some("yyyy".into()),
            ..form(0)
        };
        let named = Form {
            detail: Detail::Names,
            ..form(0)
        };
        for other in [form(1), compressed, dated, named] {
            assert_eq!(prints.get(&other), None, "{other:?}");
        }
        assert_eq!(prints.get(&form(0)), Some(ready(b"zero")));
        prints.keep(&form(0), &ready(b"anew"));
        assert_eq!(prints.get(&form(0)), Some(ready(b"anew")));
        assert_eq!(starts(&prints), [0]);
    }

    #[test]
    fn the_oldest_go_where_there_is_no_room_and_what_is_too_large_is_not_kept() {
        let prints = Prints::bounded(10);
        for start in 0..3 {
            prints.keep(&form(start), &ready(b"four"));
        }
        assert_eq!(starts(&prints), [1, 2]);
        prints.keep(&form(7), &ready(b"more than ten"));
        assert_eq!(starts(&prints), [1, 2]);
        prints.keep(&form(8), &ready(b"ten in all"));
        assert_eq!(starts(&prints), [8]);
    }

    #[test]
    fn there_are_never_more_than_are_looked_through_quickly() {
        let prints = Prints::bounded(1_000_000);
        for start in 0..MOST + 5 {
            prints.keep(&form(start), &ready(b"x"));
        }
        let expected: Vec<usize> = (5..MOST + 5).collect();
        assert_eq!(starts(&prints), expected);
    }
}
