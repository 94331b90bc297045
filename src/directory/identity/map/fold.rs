//! Names ignoring case, without a copy of them: how the index hashes and compares.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher};

use crate::model::NameKey;

/// A name's key, but for the case of its ASCII letters: [`hash`] and [`same`] ignore it.
pub(super) fn folded(name: &str) -> Cow<'_, [u8]> {
    if name.is_ascii() {
        Cow::Borrowed(name.as_bytes())
    } else {
        Cow::Owned(NameKey::of(name).as_str().as_bytes().to_vec())
    }
}

/// Whether two keys are the same.
pub(super) fn same(one: &[u8], other: &[u8]) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// A key's hash.
pub(super) fn hash(hasher: &impl BuildHasher, key: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    words(key, |word| hasher.write_u64(word));
    hasher.write_usize(key.len());
    hasher.finish()
}

/// Hands the letters of `key` to `then`, eight at a time and ASCII in lower case. They are taken from where they stand:
/// a copy in lower case would be read back before it is written, and what waits for that, waits for the memory of all
/// look-ups before it.
fn words(key: &[u8], mut then: impl FnMut(u64)) {
    let mut all = key.chunks_exact(8);
    for word in all.by_ref() {
        then(lower(u64::from_le_bytes(word.try_into().unwrap_or_default())));
    }
    if all.remainder().is_empty() {
        return;
    }
    // What is left overlaps what was; of less than eight letters, the halves overlap, or the letters.
    then(lower(match (key.last_chunk(), key.first_chunk(), key.last_chunk()) {
        (Some(last), ..) => u64::from_le_bytes(*last),
        (_, Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
        }
        _ => key.iter().fold(0, |word, letter| word << 8 | u64::from(*letter)),
    }));
}

/// ASCII capitals to lower case, in all eight letters at once.
fn lower(word: u64) -> u64 {
    let each = |byte: u8| u64::from_ne_bytes([byte; 8]);
    let low_bits = word & each(0x7f);
    let from_a = low_bits + each(0x80 - b'A');
    let beyond_z = low_bits + each(0x7f - b'Z');
    let capital = (from_a ^ beyond_z) & !word & each(0x80);
    word | capital >> 2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Property: the hash is that of the key in lower case, letter by letter, whatever its length and its bytes.
    #[test]
    fn the_hash_ignores_the_case_of_ascii_and_nothing_else() {
        let hasher = foldhash::fast::FixedState::default();
        for len in 0..40 {
            for byte in 0..=u8::MAX {
                for at in 0..len {
                    let mut key = vec![b'm'; len];
                    key[at] = byte;
                    let one = hash(&hasher, &key);
                    assert_eq!(one, hash(&hasher, &key.to_ascii_lowercase()), "{key:?}");
                    key[at] = byte ^ 0x20;
                    let is_letter = byte.is_ascii_alphabetic();
                    assert_eq!(one == hash(&hasher, &key), is_letter, "{key:?}");
                }
            }
        }
    }
}
