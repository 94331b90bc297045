//! The six calls, and how often each is made. Pure.

use std::fmt;
use std::str::FromStr;

/// A call of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    GetUsers,
    GetGroups,
    AddUsers,
    RemoveUsers,
    AddGroups,
    RemoveGroups,
}

impl Call {
    pub(super) const ALL: [Self; 6] = [
        Self::GetUsers,
        Self::GetGroups,
        Self::AddUsers,
        Self::RemoveUsers,
        Self::AddGroups,
        Self::RemoveGroups,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::GetUsers => "getUsers",
            Self::GetGroups => "getGroups",
            Self::AddUsers => "addUsers",
            Self::RemoveUsers => "removeUsers",
            Self::AddGroups => "addGroups",
            Self::RemoveGroups => "removeGroups",
        }
    }

    pub(super) fn is_change(self) -> bool {
        !matches!(self, Self::GetUsers | Self::GetGroups)
    }
}

/// How often each call is made, in parts of the whole.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mix(Vec<(Call, f64)>);

impl Mix {
    /// Calls of every kind, mostly reads.
    pub(super) fn of_all() -> Self {
        Self(Call::ALL.into_iter().zip([90.0, 5.0, 2.0, 2.0, 0.5, 0.5]).collect())
    }

    /// Reads alone: what may be sent to a facade of which nothing else is said.
    pub(super) fn of_reads() -> Self {
        Self(vec![(Call::GetUsers, 95.0), (Call::GetGroups, 5.0)])
    }

    pub(super) fn has(&self, call: Call) -> bool {
        self.0.iter().any(|(there, weight)| *there == call && *weight > 0.0)
    }

    pub(super) fn changes_something(&self) -> bool {
        Call::ALL.into_iter().any(|call| call.is_change() && self.has(call))
    }

    /// The call at this place of the whole, from 0 to below 1.
    pub(super) fn at(&self, place: f64) -> Call {
        let whole: f64 = self.0.iter().map(|(_, weight)| weight).sum();
        let mut left = place * whole;
        let mut last = Call::GetUsers;
        for (call, weight) in self.0.iter().filter(|(_, weight)| *weight > 0.0) {
            last = *call;
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
        last
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts: Vec<(Call, f64)> = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').ok_or("expected CALL=WEIGHT,…")?;
            let call = Call::ALL
                .into_iter()
                .find(|call| call.name().eq_ignore_ascii_case(name.trim()))
                .ok_or_else(|| format!("no call is named {name:?}; they are {}", names()))?;
            let weight: f64 = weight.trim().parse().map_err(|_| format!("{weight:?} is no number"))?;
            if !(0.0..=1e9).contains(&weight) {
                return Err(format!("the weight of {name} must be from 0 to a billion"));
            }
            if parts.iter().any(|(there, _)| *there == call) {
                return Err(format!("{name} stands there twice"));
            }
            parts.push((call, weight));
        }
        if parts.iter().all(|(_, weight)| *weight == 0.0) {
            return Err("some weight must be above 0".to_owned());
        }
        Ok(Self(parts))
    }
}

fn names() -> String {
    Call::ALL.map(Call::name).join(", ")
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (call, weight)) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{}={weight}", call.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_has_its_part() {
        let mix: Mix = "getUsers=3, GETGROUPS=.5,addUsers=0,removeGroups=0.5".parse().unwrap();
        let at = |place: f64| mix.at(place);
        assert_eq!((at(0.0), at(0.74)), (Call::GetUsers, Call::GetUsers));
        assert_eq!((at(0.76), at(0.874)), (Call::GetGroups, Call::GetGroups));
        assert_eq!((at(0.876), at(1.0)), (Call::RemoveGroups, Call::RemoveGroups));
        assert!(mix.has(Call::GetGroups) && !mix.has(Call::AddUsers) && mix.changes_something());
        assert!(!Mix::of_reads().changes_something());
        assert_eq!(mix.to_string().parse::<Mix>().unwrap(), mix);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "",
            "getUsers",
            "getUsers=0",
            "getUsers=-1",
            "getUsers=NaN",
            "getUsers=inf",
            "get=1",
            "getUsers=1,getusers=2",
        ] {
            assert!(text.parse::<Mix>().is_err(), "{text}");
        }
    }
}
