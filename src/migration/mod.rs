//! OFFLINE: the files of a migration. Joins exports into an identity map, and
//!
//! * [`text`], [`table`], [`columns`]: bytes to text, text to rows, headings to fields.
//! * [`sources`]: the rows of each kind of file.
//! * [`join`]: the join itself, which never guesses.
//! * [`map_file`]: the identity map as it is written.
//! * [`report`]: what was found, as data, and as text, JSON and a page.

pub mod columns;
mod dates;
pub mod join;
pub mod map_file;
pub mod report;
pub mod sources;
pub mod table;
pub mod text;
