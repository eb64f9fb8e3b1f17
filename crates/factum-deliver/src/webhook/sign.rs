//! Signatures after Standard Webhooks: `v1` is HMAC-SHA256, `v1a` is Ed25519.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// A secret that signs.
pub(super) enum SigningKey {
    Hmac(Box<hmac::Key>),
    Ed25519(Box<Ed25519KeyPair>),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hmac(_) => "SigningKey(v1)",
            Self::Ed25519(_) => "SigningKey(v1a)",
        })
    }
}

impl SigningKey {
    /// Reads a secret: `whsec_` and base64 of 24 to 64 bytes for HMAC-SHA256; `whsk_` and base64
    /// of an Ed25519 seed, or of seed and public key, for Ed25519.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let decode = |text: &str| {
            let bytes = STANDARD.decode(text).map(Zeroizing::new);
            bytes.map_err(|_| "must have base64 after its prefix")
        };
        if let Some(text) = text.strip_prefix("whsec_") {
            let bytes = decode(text)?;
            if !(24..=64).contains(&bytes.len()) {
                return Err("must have 24 to 64 bytes after whsec_");
            }
            return Ok(Self::Hmac(Box::new(hmac::Key::new(
                hmac::HMAC_SHA256,
                &bytes,
            ))));
        }
        let Some(text) = text.strip_prefix("whsk_") else {
            return Err("must begin with whsec_ or whsk_");
        };
        let bytes = decode(text)?;
        let pair = match bytes.len() {
            32 => Ed25519KeyPair::from_seed_unchecked(&bytes),
            64 => {
                let (seed, public) = bytes.split_at(32);
                Ed25519KeyPair::from_seed_and_public_key(seed, public)
            }
            _ => return Err("must have 32 or 64 bytes after whsk_"),
        };
        match pair {
            Ok(pair) => Ok(Self::Ed25519(Box::new(pair))),
            Err(_) => Err("has a public key that does not belong to its seed"),
        }
    }

    fn sign(&self, content: &[u8]) -> String {
        match self {
            Self::Hmac(key) => {
                let tag = hmac::sign(key, content);
                format!("v1,{}", STANDARD.encode(tag))
            }
            Self::Ed25519(pair) => {
                debug_assert_eq!(pair.public_key().as_ref().len(), 32);
                format!("v1a,{}", STANDARD.encode(pair.sign(content)))
            }
        }
    }
}

/// Returns the value of `webhook-signature`: one signature for each key.
pub(super) fn signatures(keys: &[SigningKey], id: &str, seconds: i64, body: &[u8]) -> String {
    let mut content = format!("{id}.{seconds}.").into_bytes();
    content.extend_from_slice(body);
    let signatures: Vec<String> = keys.iter().map(|key| key.sign(&content)).collect();
    signatures.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the specification.
    #[test]
    fn hmac_signatures_are_those_of_the_specification() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = signatures(
            &[key],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn ed25519_signatures_are_verified_with_the_public_key() {
        let seed = STANDARD.encode([7; 32]);
        let key = SigningKey::parse(&format!("whsk_{seed}")).unwrap();
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let signature = signatures(&[key], "id", 1, b"body");
        let bytes = STANDARD
            .decode(signature.strip_prefix("v1a,").unwrap())
            .unwrap();
        let public = aws_lc_rs::signature::UnparsedPublicKey::new(
            &aws_lc_rs::signature::ED25519,
            pair.public_key().as_ref(),
        );
        public.verify(b"id.1.body", &bytes).unwrap();
        let both = [&[7; 32][..], pair.public_key().as_ref()].concat();
        assert!(SigningKey::parse(&format!("whsk_{}", STANDARD.encode(both))).is_ok());
    }

    #[test]
    fn other_secrets_are_refused() {
        let short = STANDARD.encode([1; 23]);
        let wrong = STANDARD.encode([1; 64]);
        for text in [
            "",
            "secret",
            "whsec_",
            "whsec_%",
            &format!("whsec_{short}"),
            &format!("whsk_{short}"),
            &format!("whsk_{wrong}"),
        ] {
            assert!(SigningKey::parse(text).is_err(), "{text}");
        }
    }
}
