//! Who opens a session: passwords by SCRAM-SHA-256, before anything else is said.
//!
//! ```text
//!   user ─┬─ has a password ────────────────────────► SCRAM with its verifier
//!         ├─ has none, may log in, is on loopback ──► trusted
//!         └─ anything else ─────────────────────────► SCRAM with a verifier that nothing fits
//! ```
//!
//! So a stranger learns neither who exists nor who has a password. Only who has logged in learns
//! whether the database exists.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::access::actor::Actor;
use crate::access::password::Verifier;
use crate::access::privilege::Privileges;
use crate::access::role::Role;
use crate::access::scram::{self, Exchange};
use crate::catalog::Catalog;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::server::{Shared, initial_settings};
use crate::settings::Settings;

/// Who has logged in, and the settings that the session starts with.
pub(super) struct Login {
    pub(super) role: Role,
    pub(super) database: u32,
    pub(super) settings: Settings,
}

/// Finds out who a client is, and whether that one may open a session.
///
/// # Errors
/// Why not, in words that the client may read.
pub(super) async fn log_in(
    client: &mut Client,
    shared: &Shared,
    peer: SocketAddr,
    parameters: &[(String, String)],
) -> Result<Login> {
    let user = parameters.iter().find(|(name, _)| name == "user");
    let user = user.map_or("", |(_, user)| user.as_str());
    if user.is_empty() {
        return Err(Error::Refused {
            message: "no PostgreSQL user name specified in startup packet".to_owned(),
            hint: None,
        });
    }
    let is_local = peer.ip().to_canonical().is_loopback();
    if client.encryption.is_none() && (shared.config.require_tls || !is_local) {
        return Err(Error::Refused {
            message: "connection without TLS is refused".to_owned(),
            hint: Some("Connect with sslmode=require, or verify-full."),
        });
    }
    let catalog = shared.catalog.read();
    let role = catalog.access.role_named(user);
    match role {
        Some(role) if role.verifier.is_none() && role.login && is_local => {}
        _ => check_password(client, shared, peer, user, role).await?,
    }
    let role = role.ok_or_else(|| Error::Authentication {
        user: user.to_owned(),
    })?;
    if !role.login {
        return Err(Error::Refused {
            message: format!("role \"{user}\" is not permitted to log in"),
            hint: None,
        });
    }
    let (database, settings) = checked_settings(shared, &catalog, role, parameters)?;
    Ok(Login {
        role: role.clone(),
        database,
        settings,
    })
}

async fn check_password(
    client: &mut Client,
    shared: &Shared,
    peer: SocketAddr,
    user: &str,
    role: Option<&Role>,
) -> Result<()> {
    // One that is over is none.
    let role = role.filter(|role| !role.valid_until.is_some_and(is_past));
    let verifier = role.and_then(|role| role.verifier.as_deref());
    let asked = match verifier.and_then(Verifier::parse) {
        Some(verifier) => verifier,
        None => shared.mock.verifier(user)?,
    };
    let is_right = exchange(client, shared, asked).await?;
    if is_right && verifier.is_some() {
        return Ok(());
    }
    tokio::time::sleep(shared.guessing.note(peer.ip())).await;
    Err(Error::Authentication {
        user: user.to_owned(),
    })
}

/// SCRAM-SHA-256, bound to the certificate if the client can; whether the password was right.
async fn exchange(client: &mut Client, shared: &Shared, verifier: Verifier) -> Result<bool> {
    let tls = shared.tls.as_ref().filter(|_| client.encryption.is_some());
    let certificate = tls.and_then(|tls| tls.end_point.as_deref());
    let offered = match certificate {
        Some(_) => &[scram::PLUS, scram::PLAIN][..],
        None => &[scram::PLAIN],
    };
    client.outbox.authentication_sasl(offered);
    client.flush().await?;
    let first = client.sasl_initial().await?;
    if !offered.contains(&first.mechanism.as_str()) {
        let message = "client selected an invalid SASL authentication mechanism";
        return Err(Error::Protocol(message.to_owned()));
    }
    let begun = Exchange::begin(verifier, &first.mechanism, certificate, &first.data)?;
    let (exchange, answer) = begun.map_err(|_| malformed())?;
    client.outbox.sasl_continue(answer);
    client.flush().await?;
    let last = client.sasl_response().await?;
    let answer = exchange.end(&last).map_err(|_| malformed())?;
    let is_right = answer.is_some();
    answer
        .into_iter()
        .for_each(|answer| client.outbox.sasl_final(answer));
    Ok(is_right)
}

fn malformed() -> Error {
    Error::Protocol("malformed SCRAM message".to_owned())
}

fn is_past(microseconds: i64) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_micros();
    i64::try_from(now).is_ok_and(|now| microseconds <= now)
}

/// Database and settings of a start-up packet.
fn checked_settings(
    shared: &Shared,
    catalog: &Catalog,
    role: &Role,
    parameters: &[(String, String)],
) -> Result<(u32, Settings)> {
    let mut settings = initial_settings(&shared.config).of_user(role.identity());
    let mut wanted = role.name.as_str();
    for (name, value) in parameters {
        match name.as_str() {
            "database" => wanted = value,
            "replication" if !matches!(value.as_str(), "false" | "off" | "no" | "0") => {
                return Err(Error::not_supported(
                    "replication connections are not supported",
                ));
            }
            "user" | "replication" | "options" => {}
            name if name.starts_with("_pq_.") => {}
            name => settings.set_initial(name, value)?,
        }
    }
    let database = catalog.access.database_named(wanted);
    let database = database.ok_or_else(|| Error::UndefinedDatabase {
        name: wanted.to_owned(),
    })?;
    let role = role.id;
    let held = Actor { catalog, role }.privileges(&database.object());
    if !held.has(Privileges::CONNECT) {
        return Err(Error::Privilege {
            message: format!("permission denied for database \"{wanted}\""),
            detail: Some("User does not have CONNECT privilege.".to_owned()),
        });
    }
    Ok((database.id, settings))
}
