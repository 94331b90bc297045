//! Everything that looks random here, drawn from the seed: ids, and whether a fault strikes.
//!
//! A draw depends on the seed and on how many were made before it, on nothing else; so a run with one client repeats exactly.
use std::sync::atomic::{AtomicU64, Ordering};

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The finisher of splitmix64 (Steele, Lea and Flood, 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// What an id is for: ids of different kinds never come from one sequence.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    AccountId = 1,
    UserKey = 2,
    Group = 3,
    CreatedGroup = 4,
    Cloud = 5,
    Organisation = 6,
    Directory = 7,
    Profile = 8,
    Scim = 9,
    Token = 10,
}

/// A sequence of its own for each seed, kind and number.
pub(super) struct Sequence(u64);

impl Sequence {
    pub(super) fn new(seed: u64, kind: Kind, number: u64) -> Self {
        Self(mix(seed.wrapping_add(GOLDEN)
            ^ mix(
                (kind as u64).wrapping_mul(GOLDEN) ^ mix(number.wrapping_add(GOLDEN))
            )))
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number below this one; 0 below 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.draw().checked_rem(end).unwrap_or(0)
    }

    /// 32 hexadecimal digits, as a Data Center user key has them.
    pub(super) fn key(&mut self) -> String {
        format!("{:016x}{:016x}", self.draw(), self.draw())
    }

    /// A version 4 UUID.
    pub(super) fn uuid(&mut self) -> String {
        let (high, low) = (self.draw(), self.draw());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            0x8000 | ((low >> 48) & 0x3fff),
            low & 0xffff_ffff_ffff
        )
    }

    /// One of the two shapes that account ids are known to have.
    pub(super) fn account_id(&mut self) -> String {
        if self.draw().is_multiple_of(2) {
            return format!("712020:{}", self.uuid());
        }
        (0..24)
            .map(|_| char::from_digit((self.draw() % 36) as u32, 36).unwrap_or('0'))
            .collect()
    }
}

/// Decides whether a fault strikes, and which of its forms comes next.
pub(super) struct Dice {
    state: AtomicU64,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            state: AtomicU64::new(mix(seed)),
        }
    }

    /// True with the given probability. Nothing is drawn for a fault that is off, so it does not move the others.
    pub(super) fn hits(&self, probability: f64) -> bool {
        probability > 0.0 && self.draw() < probability
    }

    /// Lognormal with this sigma and a mean of 1. Nothing is drawn without a spread.
    pub(super) fn factor(&self, spread: f64) -> f64 {
        if spread <= 0.0 {
            return 1.0;
        }
        // Box and Muller's normal deviate; the logarithm is never of 0.
        let (radius, angle) = (
            (-2.0 * (1.0 - self.draw()).ln()).sqrt(),
            std::f64::consts::TAU * self.draw(),
        );
        (spread * radius * angle.cos() - spread * spread / 2.0).exp()
    }

    /// From 0 to less than 1.
    fn draw(&self) -> f64 {
        let drawn = mix(self.state.fetch_add(GOLDEN, Ordering::Relaxed).wrapping_add(GOLDEN));
        // 53 bits: what a double holds exactly, so that a probability of 1 always strikes.
        (drawn >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probability_is_met_and_its_ends_are_certain() {
        let dice = Dice::new(7);
        let hits = (0..20_000).filter(|_| dice.hits(0.25)).count();
        assert!((4_700..5_300).contains(&hits), "{hits}");
        assert!((0..1_000).all(|_| dice.hits(1.0)));
        assert!(!(0..1_000).any(|_| dice.hits(0.0)));
    }

    #[test]
    fn factors_have_a_mean_of_one_and_a_long_tail() {
        let dice = Dice::new(7);
        let mut factors: Vec<f64> = (0..20_000).map(|_| dice.factor(0.8)).collect();
        let mean = factors.iter().sum::<f64>() / factors.len() as f64;
        assert!((0.97..1.03).contains(&mean), "{mean}");
        factors.sort_by(f64::total_cmp);
        // The median of a lognormal is below its mean, and its 99th percentile e^(2.33 sigma) above the median.
        assert!((0.70..0.75).contains(&factors[10_000]), "{}", factors[10_000]);
        assert!((4.2..5.2).contains(&factors[19_800]), "{}", factors[19_800]);
        let again = Dice::new(7);
        assert_eq!(again.factor(0.8), Dice::new(7).factor(0.8));
        assert_eq!(again.factor(0.0), 1.0);
    }

    #[test]
    fn the_same_seed_draws_the_same_ids_and_another_seed_others() {
        let id = |seed, kind, number| Sequence::new(seed, kind, number).uuid();
        assert_eq!(id(1, Kind::Group, 5), id(1, Kind::Group, 5));
        assert_ne!(id(1, Kind::Group, 5), id(2, Kind::Group, 5));
        assert_ne!(id(1, Kind::Group, 5), id(1, Kind::Group, 6));
        assert_ne!(id(1, Kind::Group, 5), id(1, Kind::Cloud, 5));
    }
}
