//! SCRAM, the client's side (RFC 5802, RFC 7677): both show that they know the password, and
//! nobody who listens learns it.

use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::secret::Plain;

/// With fewer rounds than the standard asks for, who listens could guess the password.
const ROUNDS_MIN: u32 = 4096;
/// Kafka sets 16,384 at most; each round costs this side time that the other side chooses.
const ROUNDS_MAX: u32 = 65_536;
/// The most bytes that the broker may add to the nonce.
const NONCE_BYTES_MAX: usize = 512;

/// The hash that both sides use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

/// Why the broker is not believed.
pub(super) type Distrust = &'static str;

/// A conversation of which the first word was said.
pub(super) struct Begun {
    hash: Hash,
    nonce: String,
    first_bare: String,
}

/// What the broker must say in the end.
#[derive(Debug)]
pub(super) struct Expected(hmac::Tag);

impl Begun {
    /// Begins with a nonce of its own.
    pub(super) fn new(hash: Hash, username: &str) -> Result<Self, Distrust> {
        let mut bytes = [0; 24];
        rand::fill(&mut bytes).map_err(|_| "there is no randomness")?;
        Ok(Self::with_nonce(hash, username, STANDARD.encode(bytes)))
    }

    fn with_nonce(hash: Hash, username: &str, nonce: String) -> Self {
        let username = username.replace('=', "=3D").replace(',', "=2C");
        Self {
            hash,
            first_bare: format!("n={username},r={nonce}"),
            nonce,
        }
    }

    /// Returns the first word.
    pub(super) fn first(&self) -> Vec<u8> {
        format!("n,,{}", self.first_bare).into_bytes()
    }

    /// Answers the first word of the broker with the last of the client.
    pub(super) fn answer(
        &self,
        password: &Plain,
        said: &[u8],
    ) -> Result<(Vec<u8>, Expected), Distrust> {
        let said = std::str::from_utf8(said).map_err(|_| "the challenge is no text")?;
        let (nonce, salt, rounds) = self.challenge(said)?;
        let salted = self.salted(password, &salt, rounds);
        let hmac_hash = self.hash.hmac();
        let mac = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac_hash, key), text);
        let without_proof = format!("c=biws,r={nonce}");
        let all = format!("{},{said},{without_proof}", self.first_bare);
        let client_key = mac(&salted, b"Client Key");
        let stored_key = digest::digest(self.hash.digest(), client_key.as_ref());
        let signature = mac(stored_key.as_ref(), all.as_bytes());
        let proof: Zeroizing<Vec<u8>> = Zeroizing::new(
            client_key
                .as_ref()
                .iter()
                .zip(signature.as_ref())
                .map(|(key, signature)| key ^ signature)
                .collect(),
        );
        let last = format!("{without_proof},p={}", STANDARD.encode(&*proof));
        let server_key = mac(&salted, b"Server Key");
        let expected = Expected(mac(server_key.as_ref(), all.as_bytes()));
        Ok((last.into_bytes(), expected))
    }

    fn challenge<'a>(&self, said: &'a str) -> Result<(&'a str, Vec<u8>, NonZeroU32), Distrust> {
        let mut parts = said.split(',');
        let mut part = |name: &str| parts.next().and_then(|part| part.strip_prefix(name));
        let nonce = part("r=").ok_or("the challenge has no nonce")?;
        let salt = part("s=").ok_or("the challenge has no salt")?;
        let rounds = part("i=").ok_or("the challenge has no number of rounds")?;
        if !nonce.starts_with(&self.nonce)
            || nonce.len() == self.nonce.len()
            || nonce.len() > self.nonce.len() + NONCE_BYTES_MAX
        {
            return Err("the challenge answers somebody else");
        }
        let salt = STANDARD.decode(salt).map_err(|_| "the salt is no base64")?;
        let rounds: u32 = rounds
            .parse()
            .map_err(|_| "the number of rounds is no number")?;
        if !(ROUNDS_MIN..=ROUNDS_MAX).contains(&rounds) {
            return Err("the number of rounds is not 4096 to 65536");
        }
        let rounds = NonZeroU32::new(rounds).ok_or("the number of rounds is zero")?;
        Ok((nonce, salt, rounds))
    }

    fn salted(&self, password: &Plain, salt: &[u8], rounds: NonZeroU32) -> Zeroizing<Vec<u8>> {
        let (algorithm, length) = match self.hash {
            Hash::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, digest::SHA256_OUTPUT_LEN),
            Hash::Sha512 => (pbkdf2::PBKDF2_HMAC_SHA512, digest::SHA512_OUTPUT_LEN),
        };
        let mut salted = Zeroizing::new(vec![0; length]);
        let password = password.reveal().as_bytes();
        pbkdf2::derive(algorithm, rounds, salt, password, &mut salted);
        salted
    }
}

impl Expected {
    /// Checks the last word of the broker, which shows that it knows the password too.
    pub(super) fn check(&self, said: &[u8]) -> Result<(), Distrust> {
        const STRANGER: Distrust = "the broker does not know the password itself";
        let signature = said.strip_prefix(b"v=").ok_or(STRANGER)?;
        let signature = STANDARD.decode(signature).map_err(|_| STRANGER)?;
        constant_time::verify_slices_are_equal(self.0.as_ref(), &signature).map_err(|_| STRANGER)
    }
}

impl Hash {
    const fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    const fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    /// The exchange of RFC 7677.
    fn begun() -> Begun {
        Begun::with_nonce(Hash::Sha256, "user", "rOprNGfwEbeRWgbNEkqO".to_owned())
    }

    fn answer(said: &str) -> Result<(Vec<u8>, Expected), Distrust> {
        begun().answer(&Plain::new("pencil".to_owned()), said.as_bytes())
    }

    #[test]
    fn the_exchange_of_the_standard() {
        assert_eq!(begun().first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (last, expected) = answer(SAID).unwrap();
        assert_eq!(
            String::from_utf8(last).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        let signature = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        expected.check(signature).unwrap();
        for other in [
            &b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5="[..],
            b"v=",
            b"",
            b"e=other-error",
        ] {
            expected.check(other).unwrap_err();
        }
    }

    #[test]
    fn challenges_that_cannot_be_trusted_are_refused() {
        let nonce = "r=rOprNGfwEbeRWgbNEkqO";
        for said in [
            SAID.replace("rOpr", "rOpq"),
            SAID.replace("4096", "4095"),
            SAID.replace("4096", "2000000000"),
            SAID.replace("i=4096", "i=-1"),
            SAID.replace("s=W22Z", "s=*"),
            format!("{nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"),
            format!(
                "{nonce}{},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
                "x".repeat(600)
            ),
            "m=extension,".to_owned() + SAID,
            String::new(),
        ] {
            assert!(answer(&said).is_err(), "{said}");
        }
    }

    #[test]
    fn names_cannot_add_fields() {
        let begun = Begun::with_nonce(Hash::Sha512, "a=b,c", "n".to_owned());
        assert_eq!(begun.first(), b"n,,n=a=3Db=2Cc,r=n");
    }
}
