//! OFFLINE: the files of a migration. Joins exports into an identity map, harvests the names that scripts use, and
//! reports what a person must decide. Nothing here is used while requests are answered, and nothing here asks Cloud.
//!
//! * [`text`], [`table`], [`columns`]: bytes to text, text to rows, headings to fields.
//! * [`sources`]: the rows of each kind of file.
//! * [`join`]: the join itself, which never guesses.
//! * [`map_file`]: the identity map as it is written.
//! * [`report`]: what was found, as data, and as text, JSON and a page.
//! * [`harvest`]: the names that stand in scripts and logs.

pub mod columns;
mod dates;
pub mod harvest;
pub mod join;
pub mod map_file;
pub mod report;
pub mod sources;
pub mod table;
pub mod text;
