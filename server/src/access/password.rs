//! Passwords, which are never kept: only what checks them, in PostgreSQL's form
//! `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, so that it moves between servers.
//!
//! Rules: RFC 5802 and 7677; PostgreSQL manual, "SCRAM-SHA-256 Authentication".

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac, pbkdf2};

use crate::error::{Error, Result};

/// What a stored verifier starts with.
const PREFIX: &str = "SCRAM-SHA-256$";
/// PostgreSQL's.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("more than 0");
/// PostgreSQL's.
const SALT_BYTES: usize = 16;

/// A result of SHA-256.
pub(crate) type Key = [u8; 32];

/// Bytes that nobody can guess.
///
/// # Errors
/// If the operating system has none.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Error::Internal("the system gives no random bytes".to_owned()))?;
    Ok(bytes)
}

/// What checks a password. Who has it cannot log in, but can try passwords without asking us: it
/// is a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    pub(crate) salt: Vec<u8>,
    pub(crate) iterations: NonZeroU32,
    pub(crate) stored_key: Key,
    pub(crate) server_key: Key,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

/// As it is stored.
impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{PREFIX}{}:{}${}:{}",
            self.iterations,
            STANDARD.encode(&self.salt),
            STANDARD.encode(self.stored_key),
            STANDARD.encode(self.server_key)
        )
    }
}

impl Verifier {
    /// What is stored for a password. A client may have made it of the password itself.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an MD5 hash, of which no verifier can be made.
    pub fn new(password: &str) -> Result<Verifier> {
        if let Some(verifier) = Verifier::parse(password) {
            return Ok(verifier);
        }
        let is_md5 = password.strip_prefix("md5").is_some_and(|hash| {
            hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        if is_md5 {
            return Err(Error::unsupported(
                "MD5 passwords are not supported",
                "Give the password itself, or a SCRAM-SHA-256 verifier as psql's \\password does.",
            ));
        }
        let salt = random::<SALT_BYTES>()?;
        Ok(Verifier::derive(password, salt.to_vec(), ITERATIONS))
    }

    /// Reads a stored one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Verifier> {
        let (parameters, keys) = text.strip_prefix(PREFIX)?.split_once('$')?;
        let (iterations, salt) = parameters.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let key = |text: &str| Key::try_from(STANDARD.decode(text).ok()?).ok();
        Some(Verifier {
            salt: STANDARD.decode(salt).ok()?,
            iterations: iterations.parse().ok()?,
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }

    /// Whether it is that of the empty password, which nobody can log in with.
    #[must_use]
    pub fn is_of_empty(&self) -> bool {
        *self == Verifier::derive("", self.salt.clone(), self.iterations)
    }

    fn derive(password: &str, salt: Vec<u8>, iterations: NonZeroU32) -> Verifier {
        // As PostgreSQL: what cannot be prepared is taken as it is.
        let prepared = stringprep::saslprep(password).unwrap_or(Cow::Borrowed(password));
        let mut salted = Key::default();
        let by = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(by, iterations, &salt, prepared.as_bytes(), &mut salted);
        Verifier {
            salt,
            iterations,
            stored_key: hash(&sign(&salted, b"Client Key")),
            server_key: sign(&salted, b"Server Key"),
        }
    }
}

/// SHA-256.
pub(crate) fn hash(bytes: &[u8]) -> Key {
    let hash = digest::digest(&digest::SHA256, bytes);
    Key::try_from(hash.as_ref()).expect("SHA-256 has 32 bytes")
}

/// HMAC by SHA-256.
pub(crate) fn sign(key: &[u8], bytes: &[u8]) -> Key {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), bytes);
    Key::try_from(tag.as_ref()).expect("HMAC by SHA-256 has 32 bytes")
}

/// Makes up what is asked of a user without a password: always the same salt for the same name, so
/// that nobody learns who exists, and keys that no password has.
pub struct Mock {
    secret: Vec<u8>,
}

impl fmt::Debug for Mock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mock").finish_non_exhaustive()
    }
}

impl Mock {
    /// From a secret that the data directory keeps.
    #[must_use]
    pub fn new(secret: &[u8]) -> Mock {
        Mock {
            secret: secret.to_vec(),
        }
    }

    /// What is asked of a user.
    ///
    /// # Errors
    /// As [`random`].
    pub fn verifier(&self, user: &str) -> Result<Verifier> {
        Ok(Verifier {
            salt: sign(&self.secret, user.as_bytes())[..SALT_BYTES].to_vec(),
            iterations: ITERATIONS,
            stored_key: random()?,
            server_key: random()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_of_postgresql_is_taken_as_it_is() {
        // RFC 7677's, of the password "pencil".
        let theirs = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==\
            $WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        let taken = Verifier::new(theirs).unwrap();
        assert_eq!(taken.to_string(), theirs);
        let salt = taken.salt.clone();
        assert_eq!(Verifier::derive("pencil", salt, ITERATIONS), taken);
    }

    #[test]
    fn a_password_is_not_in_its_verifier() {
        let made = Verifier::new("tidal-wave").unwrap();
        assert!(!made.to_string().contains("tidal") && !format!("{made:?}").contains("key"));
        assert_eq!(Verifier::parse(&made.to_string()).unwrap(), made);
        assert_ne!(made, Verifier::new("tidal-wave").unwrap());
        assert!(Verifier::new("").unwrap().is_of_empty() && !made.is_of_empty());
        assert!(Verifier::new("md50123456789abcdef0123456789abcdef").is_err());
        assert!(Verifier::parse("SCRAM-SHA-256$4096:x").is_none());
    }

    #[test]
    fn a_mock_is_the_same_for_the_same_name() {
        let mock = Mock::new(b"secret");
        let salt = |user| mock.verifier(user).unwrap().salt;
        assert_eq!(salt("a"), salt("a"));
        assert_ne!(salt("a"), salt("b"));
        assert_eq!(salt("a").len(), SALT_BYTES);
    }
}
