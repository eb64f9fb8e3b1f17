//! The broker's side of SASL.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use kafka_protocol::messages::SaslAuthenticateResponse;
use kafka_protocol::protocol::StrBytes;

pub(crate) const USER: &str = "factum,=";
pub(crate) const PASSWORD: &str = "kafka-sécret";
const SALT: &[u8] = b"a grain of salt";
const ROUNDS: u32 = 4096;

/// Where a conversation is.
#[derive(Debug, Default)]
pub(crate) enum Sasl {
    #[default]
    Silent,
    Plain,
    Scram(&'static str),
    /// What was said so far, and what is expected next.
    Challenged {
        mechanism: &'static str,
        first_bare: String,
        challenge: String,
    },
    Done,
}

impl Sasl {
    pub(crate) const MECHANISMS: [&'static str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

    pub(crate) const fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Begins; `false` if the way is not known.
    pub(crate) fn begin(&mut self, mechanism: &str) -> bool {
        let mut known = Self::MECHANISMS.into_iter();
        let Some(known) = known.find(|known| *known == mechanism) else {
            return false;
        };
        *self = if known == "PLAIN" {
            Self::Plain
        } else {
            Self::Scram(known)
        };
        true
    }

    pub(crate) fn answer(&mut self, said: &[u8], lifetime_ms: i64) -> SaslAuthenticateResponse {
        let answer = SaslAuthenticateResponse::default().with_session_lifetime_ms(lifetime_ms);
        match self.next(std::str::from_utf8(said).unwrap()) {
            Some(said) => answer.with_auth_bytes(Bytes::from(said)),
            None => {
                *self = Self::Silent;
                let message = StrBytes::from_static_str("wrong name or password");
                answer.with_error_code(58).with_error_message(Some(message))
            }
        }
    }

    fn next(&mut self, said: &str) -> Option<String> {
        match std::mem::take(self) {
            Self::Plain => {
                let is_right = said == format!("\0{USER}\0{PASSWORD}");
                *self = Self::Done;
                is_right.then(String::new)
            }
            Self::Scram(mechanism) => {
                let first_bare = said.strip_prefix("n,,").unwrap().to_owned();
                let (name, nonce) = first_bare.split_once(",r=").unwrap();
                assert_eq!(name, "n=factum=2C=3D");
                let salt = STANDARD.encode(SALT);
                let challenge = format!("r={nonce}and-more,s={salt},i={ROUNDS}");
                *self = Self::Challenged {
                    mechanism,
                    first_bare,
                    challenge: challenge.clone(),
                };
                Some(challenge)
            }
            Self::Challenged {
                mechanism,
                first_bare,
                challenge,
            } => {
                let (bare, proof) = said.split_once(",p=").unwrap();
                let all = format!("{first_bare},{challenge},{bare}");
                let signature = check(mechanism, &all, &STANDARD.decode(proof).unwrap())?;
                *self = Self::Done;
                Some(format!("v={}", STANDARD.encode(signature)))
            }
            Self::Silent | Self::Done => panic!("nobody asked"),
        }
    }
}

/// Checks the proof of a client and returns the signature of the broker.
fn check(mechanism: &str, all: &str, proof: &[u8]) -> Option<Vec<u8>> {
    let (derive, mac, hash, length) = if mechanism.ends_with("256") {
        (
            pbkdf2::PBKDF2_HMAC_SHA256,
            hmac::HMAC_SHA256,
            &digest::SHA256,
            32,
        )
    } else {
        (
            pbkdf2::PBKDF2_HMAC_SHA512,
            hmac::HMAC_SHA512,
            &digest::SHA512,
            64,
        )
    };
    let mut salted = vec![0; length];
    let rounds = NonZeroU32::new(ROUNDS).unwrap();
    pbkdf2::derive(derive, rounds, SALT, PASSWORD.as_bytes(), &mut salted);
    let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(mac, key), text);
    let stored = digest::digest(hash, sign(&salted, b"Client Key").as_ref());
    let signature = sign(stored.as_ref(), all.as_bytes());
    let key: Vec<u8> = proof
        .iter()
        .zip(signature.as_ref())
        .map(|(proof, signature)| proof ^ signature)
        .collect();
    if digest::digest(hash, &key).as_ref() != stored.as_ref() {
        return None;
    }
    let server = sign(&salted, b"Server Key");
    Some(sign(server.as_ref(), all.as_bytes()).as_ref().to_vec())
}
