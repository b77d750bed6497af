//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, the server's side, as a state machine without a socket.
//!
//! ```text
//!   client   gs2-header bare                  n,, n=,r=NONCE
//!   server   server-first                     r=NONCE+OURS,s=SALT,i=4096
//!   client   without-proof ,p=PROOF           c=biws,r=NONCE+OURS ,p=…
//!   server   server-final                     v=SIGNATURE
//! ```
//!
//! Rules: RFC 5802 and 7677, the channel binding `tls-server-end-point` of RFC 5929. The name
//! inside the messages is not looked at: the start-up packet has it. What breaks a rule is
//! [`Malformed`], whoever the user is.
//! Why not pgwire's: its feature brings default features of chrono and syn, which would compile
//! Arrow and DataFusion anew in every build.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest;

use crate::access::password::{Verifier, hash, random, sign};
use crate::error::Result;

/// The mechanism without channel binding.
pub const PLAIN: &str = "SCRAM-SHA-256";
/// The mechanism that binds the exchange to the server's certificate.
pub const PLUS: &str = "SCRAM-SHA-256-PLUS";

/// A message that is none, or breaks a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// An exchange whose first message has come.
pub struct Exchange {
    verifier: Verifier,
    /// What the client must give back as `c=`.
    binding: String,
    nonce: String,
    /// `client-first-message-bare,server-first-message,`
    transcript: String,
}

impl Exchange {
    /// Begins with the client's first message, by the mechanism that it chose. `certificate` is the
    /// hash that an encrypted connection can be bound to. Gives the answer, too.
    ///
    /// # Errors
    /// [`Malformed`] inside; outside, if there are no random bytes.
    pub fn begin(
        verifier: Verifier,
        mechanism: &str,
        certificate: Option<&[u8]>,
        first: &[u8],
    ) -> Result<std::result::Result<(Exchange, String), Malformed>> {
        let ours = STANDARD.encode(random::<18>()?);
        let parsed = ClientFirst::parse(first).and_then(|first| {
            let bound = first.bound_to(mechanism, certificate)?;
            Some((first, bound))
        });
        let Some((first, bound)) = parsed else {
            return Ok(Err(Malformed));
        };
        let nonce = format!("{}{ours}", first.nonce);
        let salt = STANDARD.encode(&verifier.salt);
        let answer = format!("r={nonce},s={salt},i={}", verifier.iterations);
        let exchange = Exchange {
            binding: STANDARD.encode([first.header.as_bytes(), bound].concat()),
            transcript: format!("{},{answer},", first.bare),
            nonce,
            verifier,
        };
        Ok(Ok((exchange, answer)))
    }

    /// Ends with the client's last message: gives the answer, or `None` for a wrong password.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn end(&self, last: &[u8]) -> std::result::Result<Option<String>, Malformed> {
        let last = std::str::from_utf8(last).map_err(|_| Malformed)?;
        let (without_proof, proof) = last.rsplit_once(",p=").ok_or(Malformed)?;
        let expected = format!("c={},r={}", self.binding, self.nonce);
        let proof = STANDARD.decode(proof).map_err(|_| Malformed)?;
        let signed = format!("{}{without_proof}", self.transcript);
        let signature = sign(&self.verifier.stored_key, signed.as_bytes());
        if without_proof != expected || proof.len() != signature.len() {
            return Err(Malformed);
        }
        let key: Vec<u8> = proof.iter().zip(signature).map(|(p, s)| p ^ s).collect();
        if hash(&key) != self.verifier.stored_key {
            return Ok(None);
        }
        let signature = sign(&self.verifier.server_key, signed.as_bytes());
        Ok(Some(format!("v={}", STANDARD.encode(signature))))
    }
}

/// What the client's first message says.
struct ClientFirst<'a> {
    /// Such as `n,,`: with both commas.
    header: &'a str,
    bare: &'a str,
    nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    fn parse(message: &'a [u8]) -> Option<ClientFirst<'a>> {
        let message = std::str::from_utf8(message).ok()?;
        // An identity to act as would stand between the commas.
        let end = message.find(",,")? + 2;
        let (header, bare) = message.split_at(end);
        let mut attributes = bare.split(',');
        attributes.next()?.strip_prefix("n=")?;
        let nonce = attributes.next()?.strip_prefix("r=")?;
        let is_printable = nonce.bytes().all(|byte| byte.is_ascii_graphic());
        (!nonce.is_empty() && is_printable).then_some(ClientFirst {
            header,
            bare,
            nonce,
        })
    }

    /// The bytes that the exchange is bound to; none of them without binding.
    fn bound_to<'c>(&self, mechanism: &str, certificate: Option<&'c [u8]>) -> Option<&'c [u8]> {
        match (self.header, mechanism, certificate) {
            ("p=tls-server-end-point,,", PLUS, Some(certificate)) => Some(certificate),
            ("n,,", PLAIN, _) => Some(&[]),
            // It could, and was told that we cannot: somebody stands between us.
            ("y,,", PLAIN, None) => Some(&[]),
            _ => None,
        }
    }
}

/// What `tls-server-end-point` binds to: the certificate's hash, by the function of its signature;
/// `None` if that has no function of its own, as Ed25519.
#[must_use]
pub fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
    // Certificate ::= SEQUENCE { tbsCertificate, SEQUENCE { algorithm, … }, signature }
    let (certificate_fields, _) = element(certificate, 0x30)?;
    let (_, rest) = element(certificate_fields, 0x30)?;
    let (algorithm, _) = element(rest, 0x30)?;
    let (oid, _) = element(algorithm, 0x06)?;
    let function = match oid.split_last()? {
        // MD5 and SHA-1 count as SHA-256.
        (4 | 5 | 11, RSA) | (2, ECDSA) => &digest::SHA256,
        (12, RSA) | (3, ECDSA) => &digest::SHA384,
        (13, RSA) | (4, ECDSA) => &digest::SHA512,
        _ => return None,
    };
    Some(digest::digest(function, certificate).as_ref().to_vec())
}

/// The content of a DER element with this tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        _ => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            let add = |sum: usize, digit: &u8| sum.checked_mul(256)?.checked_add((*digit).into());
            (digits.iter().try_fold(0, add)?, rest)
        }
    };
    (first == tag).then(|| rest.split_at_checked(length))?
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERIFIER: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==\
        $WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    fn verifier() -> Verifier {
        Verifier::parse(VERIFIER).unwrap()
    }

    #[test]
    fn the_example_of_the_standard() {
        // RFC 7677, section 3, with the nonce that it gives the server.
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let first = format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let exchange = Exchange {
            verifier: verifier(),
            binding: "biws".to_owned(),
            nonce: nonce.to_owned(),
            transcript: format!("n=user,r=rOprNGfwEbeRWgbNEkqO,{first},"),
        };
        let proof = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let last = format!("c=biws,r={nonce},p={proof}");
        let answer = exchange.end(last.as_bytes()).unwrap();
        assert_eq!(
            answer.as_deref(),
            Some("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
        );
        let wrong = last.replace("dHzb", "AHzb");
        assert_eq!(exchange.end(wrong.as_bytes()), Ok(None));
        for broken in [
            last.replace("biws", "eSws"),
            last.replace("k0,p=", "k1,p="),
            last.replace("VQ=", ""),
            "c=biws".to_owned(),
        ] {
            assert_eq!(exchange.end(broken.as_bytes()), Err(Malformed), "{broken}");
        }
    }

    #[test]
    fn a_binding_is_what_both_can() {
        let begin = |mechanism, certificate, first: &str| {
            let begun = Exchange::begin(verifier(), mechanism, certificate, first.as_bytes());
            begun.unwrap().map(|(exchange, _)| exchange.binding)
        };
        let certificate = Some(&b"hash"[..]);
        assert_eq!(begin(PLAIN, None, "n,,n=,r=x"), Ok("biws".to_owned()));
        assert_eq!(
            begin(PLAIN, certificate, "n,,n=,r=x"),
            Ok("biws".to_owned())
        );
        assert_eq!(begin(PLAIN, None, "y,,n=,r=x"), Ok("eSws".to_owned()));
        let bound = begin(PLUS, certificate, "p=tls-server-end-point,,n=,r=x");
        assert_eq!(bound, Ok(STANDARD.encode("p=tls-server-end-point,,hash")));
        for (mechanism, certificate, first) in [
            (PLAIN, certificate, "y,,n=,r=x"),
            (PLAIN, certificate, "p=tls-server-end-point,,n=,r=x"),
            (PLUS, certificate, "n,,n=,r=x"),
            (PLUS, None, "p=tls-server-end-point,,n=,r=x"),
            (PLUS, certificate, "p=tls-unique,,n=,r=x"),
            (PLAIN, None, "n,a=root,n=,r=x"),
            (PLAIN, None, "n,,m=x,n=,r=x"),
            (PLAIN, None, "n,,n=,r="),
            (PLAIN, None, "x"),
        ] {
            assert_eq!(
                begin(mechanism, certificate, first),
                Err(Malformed),
                "{first}"
            );
        }
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        let certificate = |oid: &[u8]| {
            let algorithm = [&[0x06, oid.len() as u8], oid].concat();
            let algorithm = [&[0x30, algorithm.len() as u8], &algorithm[..]].concat();
            let fields = [&[0x30, 0x81, 0x01, 0xff], &algorithm[..]].concat();
            [&[0x30, fields.len() as u8], &fields[..]].concat()
        };
        let length = |oid: &[u8]| end_point(&certificate(oid)).map(|hash| hash.len());
        assert_eq!(
            length(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]),
            Some(32)
        );
        assert_eq!(
            length(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04]),
            Some(64)
        );
        let rsa = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c];
        assert_eq!(length(&rsa), Some(48));
        assert_eq!(length(&[0x2b, 0x65, 0x70]), None);
        assert_eq!(end_point(&certificate(&rsa)[..9]), None);
        assert_eq!(end_point(&[]), None);
    }
}
