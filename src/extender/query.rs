//! The parameters of the two lists. Pure.

use crate::model::{Detail, Page};

/// A number that Java's `Integer` would not take: the whole resource is "not found" then, as JAX-RS has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnInteger;

/// The decoded pairs of a query string.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Takes a raw query string apart.
    #[must_use]
    pub fn parse(raw: &str) -> Self {
        Self(url::form_urlencoded::parse(raw.as_bytes()).into_owned().collect())
    }

    /// The first value under this very name.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Every name with its value, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether a flag is on: only the word `true`, in any case, does that.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.first(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// How much of each member is asked for; with both flags everything.
    #[must_use]
    pub fn detail(&self) -> Detail {
        if self.flag("showExtendedDetails") {
            Detail::Extended
        } else if self.flag("showBasicDetails") {
            Detail::Basic
        } else {
            Detail::Names
        }
    }

    /// The page that is asked for.
    ///
    /// # Errors
    /// A value that is no Java `int`.
    pub fn page(&self, default_max_results: u32) -> Result<Page, NotAnInteger> {
        let start_at = self
            .integer("startAt")?
            .and_then(|value| usize::try_from(value).ok())
            .unwrap_or(0);
        let max_results = self
            .integer("maxResults")?
            .filter(|value| *value > 0)
            .and_then(|value| usize::try_from(value).ok());
        Ok(Page {
            start_at,
            max_results: max_results.unwrap_or(default_max_results as usize),
        })
    }

    fn integer(&self, name: &str) -> Result<Option<i32>, NotAnInteger> {
        match self.first(name) {
            None => Ok(None),
            Some(text) if text.trim().is_empty() => Ok(None),
            // As Java's Integer.valueOf: an optional sign and digits, within 32 bits.
            Some(text) => text.parse().map(Some).map_err(|_| NotAnInteger),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(raw: &str) -> Result<(usize, usize), NotAnInteger> {
        Query::parse(raw)
            .page(1000)
            .map(|page| (page.start_at, page.max_results))
    }

    #[test]
    fn numbers_are_read_as_java_reads_them() {
        for (raw, expected) in [
            ("", Ok((0, 1000))),
            ("startAt=5&maxResults=50", Ok((5, 50))),
            ("startAt=&maxResults=+", Ok((0, 1000))),
            ("startAt=-3&maxResults=0", Ok((0, 1000))),
            ("maxResults=-1", Ok((0, 1000))),
            ("startAt=%2B7", Ok((7, 1000))),
            ("startAt=1&startAt=x", Ok((1, 1000))),
            ("startat=x&MaxResults=y", Ok((0, 1000))),
            ("maxResults=2147483647", Ok((0, 2_147_483_647))),
            ("maxResults=2147483648", Err(NotAnInteger)),
            ("startAt=-2147483649", Err(NotAnInteger)),
            ("startAt=1.0", Err(NotAnInteger)),
            ("startAt=ten", Err(NotAnInteger)),
            ("startAt=1 ", Err(NotAnInteger)),
            ("startAt=%FF", Err(NotAnInteger)),
        ] {
            assert_eq!(page(raw), expected, "{raw}");
        }
    }

    #[test]
    fn only_the_word_true_switches_a_flag_on() {
        for (raw, detail) in [
            ("", Detail::Names),
            ("showBasicDetails=TRUE", Detail::Basic),
            ("showBasicDetails=1", Detail::Names),
            ("showBasicDetails=+true", Detail::Names),
            ("showBasicDetails=false&showBasicDetails=true", Detail::Names),
            ("showBasicDetails=true&showExtendedDetails=true", Detail::Extended),
        ] {
            assert_eq!(Query::parse(raw).detail(), detail, "{raw}");
        }
    }
}
