//! Secrets and their digests. Nothing here is ever printed but by the caller of [`hash_password`] and [`new_token`].

use std::fmt;

use argon2::password_hash::PasswordHasher as _;
use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The longest password, in bytes. A longer one is refused without hashing.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// Bounds on a hash's parameters: a file that went beyond would make each verification burn the machine.
const MAX_MEMORY_KIB: u32 = 1024 * 1024;
const MAX_PASSES: u32 = 64;
const MAX_LANES: u32 = 16;

/// A password hash of the file, parsed and found sane.
pub(super) struct StoredHash {
    params: Params,
    version: Version,
    salt: Salt,
    output: Output,
}

impl fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredHash(…)")
    }
}

/// What decides how long a verification takes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Default for Cost {
    fn default() -> Self {
        Self {
            memory_kib: Params::DEFAULT_M_COST,
            passes: Params::DEFAULT_T_COST,
            lanes: Params::DEFAULT_P_COST,
        }
    }
}

impl StoredHash {
    /// Parses a PHC string. The error says what is wrong and never what stands there.
    pub(super) fn parse(phc: &str) -> Result<Self, String> {
        let not_argon2id = || "is not an argon2id hash ($argon2id$v=19$m=…,t=…,p=…$salt$hash)".to_owned();
        let parsed = PasswordHash::new(phc).map_err(|_| not_argon2id())?;
        if parsed.algorithm.as_str() != Algorithm::Argon2id.as_str() {
            return Err(not_argon2id());
        }
        let version = match parsed.version {
            Some(version) => Version::try_from(version).map_err(|_| "has an unknown version of argon2".to_owned())?,
            None => Version::default(),
        };
        let params = Params::try_from(&parsed).map_err(|_| "has parameters argon2 does not take".to_owned())?;
        let bounds = [
            ("m", params.m_cost(), MAX_MEMORY_KIB),
            ("t", params.t_cost(), MAX_PASSES),
            ("p", params.p_cost(), MAX_LANES),
        ];
        let beyond = bounds.iter().filter(|(_, value, most)| value > most);
        let faults: Vec<String> = beyond
            .map(|(key, value, most)| format!("has {key}={value}, the most is {most}"))
            .collect();
        if !faults.is_empty() {
            return Err(faults.join(" and "));
        }
        let (Some(salt), Some(output)) = (parsed.salt, parsed.hash) else {
            return Err("lacks its salt or its hash".to_owned());
        };
        if salt.len() < argon2::MIN_SALT_LEN {
            return Err("has too short a salt".to_owned());
        }
        Ok(Self {
            params,
            version,
            salt,
            output,
        })
    }

    /// A hash that no password has and that costs as much as one of `cost`: what an unknown name is verified against,
    /// so that the answer's time does not tell which names exist.
    pub(super) fn decoy(cost: Cost) -> Option<Self> {
        let params = Params::new(
            cost.memory_kib,
            cost.passes,
            cost.lanes,
            Some(Params::DEFAULT_OUTPUT_LEN),
        )
        .ok()?;
        let (salt, output) = (random::<16>().ok()?, random::<{ Params::DEFAULT_OUTPUT_LEN }>().ok()?);
        Some(Self {
            params,
            version: Version::default(),
            salt: Salt::new(&salt).ok()?,
            output: Output::new(&output).ok()?,
        })
    }

    /// What no other hash has, but one with this salt and this outcome.
    pub(super) fn told_apart(&self) -> String {
        let (salt, output): (&[u8], &[u8]) = (self.salt.as_ref(), self.output.as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode([salt, output].concat())
    }

    pub(super) fn cost(&self) -> Cost {
        Cost {
            memory_kib: self.params.m_cost(),
            passes: self.params.t_cost(),
            lanes: self.params.p_cost(),
        }
    }

    /// Whether the password is this one. Slow on purpose: never on a thread of the async runtime.
    pub(super) fn matches(&self, password: &str) -> bool {
        let mut computed = vec![0; self.output.len()];
        let argon2 = Argon2::new(Algorithm::Argon2id, self.version, self.params.clone());
        let hashed = argon2.hash_password_into(password.as_bytes(), self.salt.as_ref(), &mut computed);
        hashed.is_ok() && bool::from(computed.ct_eq(self.output.as_bytes()))
    }
}

/// The operating system gave no random bytes, or argon2 failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("could not compute the hash: no memory or no random bytes")]
pub struct HashingFailed;

/// Hashes a password for the file: argon2id, 19 MiB, two passes, one lane, as a PHC string with a random salt.
///
/// # Errors
/// [`HashingFailed`].
pub fn hash_password(password: &str) -> Result<String, HashingFailed> {
    let hash = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(|_| HashingFailed)?;
    Ok(hash.to_string())
}

/// A bearer token just made. The secret is its holder's; the file gets the digest.
#[derive(Debug)]
pub struct NewToken {
    /// What the client sends: `xft_` and 43 letters.
    pub secret: SecretString,
    /// The SHA-256 of the secret, 64 hexadecimal digits.
    pub sha256: String,
}

/// Makes a token of 256 random bits.
///
/// # Errors
/// [`HashingFailed`].
pub fn new_token() -> Result<NewToken, HashingFailed> {
    // The prefix lets secret scanners and people recognise the thing when it turns up where it should not.
    let secret = format!("xft_{}", BASE64_URL_SAFE_NO_PAD.encode(random::<32>()?));
    let sha256 = sha256(&secret).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(NewToken {
        secret: secret.into(),
        sha256,
    })
}

pub(super) fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], HashingFailed> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| HashingFailed)?;
    Ok(bytes)
}
