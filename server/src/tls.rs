//! TLS: the server's certificate, and how a connection becomes encrypted.
//!
//! Versions 1.2 and 1.3, by rustls over ring. A client asks with an SSLRequest, or starts the
//! handshake at once and names the protocol `postgresql` in it (ALPN), as PostgreSQL 17's do. What
//! is asked for by a certificate of the client's is nothing: roles log in with passwords, which
//! `SCRAM-SHA-256-PLUS` binds to this certificate.

use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

use crate::access::scram::end_point;
use crate::error::{Error, Result};

/// First byte of a TLS handshake; a start-up packet begins with 0.
const HANDSHAKE: u8 = 0x16;

/// The protocol's name in a handshake.
const ALPN: &[u8] = b"postgresql";

/// What the server needs for TLS.
pub struct Tls {
    acceptor: TlsAcceptor,
    /// What passwords are bound to: the certificate's hash.
    pub(crate) end_point: Option<Vec<u8>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// How a connection is encrypted, as `pg_stat_ssl` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// Such as "TLSv1.3".
    pub version: String,
    /// As OpenSSL names it.
    pub cipher: String,
    /// Length of its key.
    pub bits: u32,
}

impl Tls {
    /// Reads a chain of certificates, the server's own first, and its key, both in PEM.
    ///
    /// # Errors
    /// [`Error::Configuration`] naming the file that cannot be used.
    pub fn load(certificate: &Path, key: &Path) -> Result<Tls> {
        let unusable = |file: &Path, error: &dyn std::fmt::Display| {
            Error::Configuration(format!("cannot use {}: {error}", file.display()))
        };
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
            .map_err(|e| unusable(certificate, &e))?;
        let Some(own) = chain.first() else {
            return Err(unusable(certificate, &"there is no certificate in it"));
        };
        let end_point = end_point(own);
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| unusable(key, &e))?;
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::Internal(e.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, secret)
            .map_err(|e| unusable(certificate, &e))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Tls {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            end_point,
        })
    }

    /// Whether a client starts its handshake without having asked for it.
    pub(crate) async fn is_direct(socket: &TcpStream) -> bool {
        let mut first = [0];
        matches!(socket.peek(&mut first).await, Ok(1)) && first[0] == HANDSHAKE
    }

    /// Makes a connection an encrypted one. Who did not ask before must name the protocol: else an
    /// attacker could make a browser talk to us.
    ///
    /// # Errors
    /// [`Error::ClientGone`] if there is no agreement.
    pub(crate) async fn accept(
        &self,
        socket: TcpStream,
        is_direct: bool,
    ) -> Result<(TlsStream<TcpStream>, Encryption)> {
        let stream = self.acceptor.accept(socket).await.map_err(|error| {
            tracing::debug!(%error, "a TLS handshake failed");
            Error::ClientGone
        })?;
        let (_, session) = stream.get_ref();
        if is_direct && session.alpn_protocol() != Some(ALPN) {
            return Err(Error::ClientGone);
        }
        let version = session.protocol_version().map(|v| format!("{v:?}"));
        let cipher = session
            .negotiated_cipher_suite()
            .map(|c| format!("{:?}", c.suite()));
        let cipher = cipher.unwrap_or_default().replace("TLS13_", "TLS_");
        let encryption = Encryption {
            version: version.unwrap_or_default().replace('_', "."),
            bits: if cipher.contains("AES_128") { 128 } else { 256 },
            cipher,
        };
        Ok((stream, encryption))
    }
}
