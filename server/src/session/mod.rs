//! One connection, from its first byte to its last.
//!
//! ```text
//!   start-up ─► Idle ◄──────────────────────────────────────────────┐
//!                 │ Query ─► simple: statements, one after the other │ ReadyForQuery
//!                 │ Parse, Bind, Describe, Execute, Close, Flush     │
//!                 │    └─ error ─► skip messages until Sync          │
//!                 └ Sync ────────────────────────────────────────────┘
//! ```
//!
//! A session is a task that reads one message, answers it, and reads the next. What a statement
//! does is in [`crate::statement`]; this folder has the protocol, the transaction block and what
//! lives as long as the session.

pub mod extended;
pub mod portal;
pub mod simple;
pub mod transaction;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::scalar::ScalarValue;
use planner::Settings as PlanSettings;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::activity::{self, Activity};
use crate::catalog::OWNER;
use crate::catalog_view::CatalogView;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::pg_catalog;
use crate::sequence::LastNumbers;
use crate::server::{Shared, initial_settings};
use crate::session::portal::{Portal, Prepared};
use crate::session::transaction::Transaction;
use crate::settings::Settings;
use crate::sqlstate::is_fatal;
use crate::tide::Lens;
use crate::wire::encode::Style;
use crate::wire::frame::{Expect, Message, Startup};

/// The one database.
pub const DATABASE: &str = "dev";

/// Longest time a client may take for its start-up packet.
const STARTUP_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(60);

/// What a connection is and has.
pub struct Session {
    // Fixed at start-up.
    pub(crate) shared: Arc<Shared>,
    pub(crate) process_id: u32,
    pub(crate) activity: activity::Own,
    pub(crate) interrupt: Interrupt,
    // Changing.
    pub(crate) client: Client,
    /// Shared with functions such as `current_setting`.
    pub(crate) settings: Arc<Mutex<Settings>>,
    pub(crate) transaction: Transaction,
    /// The text that is being answered, for errors to point into.
    pub(crate) text: String,
    /// Whether this session wrote what it has not flushed since.
    pub(crate) has_unseen_writes: bool,
    pub(crate) prepared: HashMap<String, Arc<Prepared>>,
    pub(crate) portals: HashMap<String, Portal>,
    /// Shared with functions such as `currval`.
    pub(crate) last_numbers: Arc<Mutex<LastNumbers>>,
    /// DataFusion's functions and settings, made for one time zone.
    pub(crate) planning: Option<(String, planner::Session)>,
}

/// Serves one connection to its end.
pub async fn serve(
    socket: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
) {
    let mut client = Client::new(socket, shared.config.statement_bytes_max);
    let (handle, interrupt) = Interrupt::new(stop);
    let packet = interrupt.until_shutdown(async {
        match tokio::time::timeout(STARTUP_TIME_MAX, client.startup()).await {
            Ok(packet) => packet,
            Err(_elapsed) => Err(Error::ClientGone),
        }
    });
    let parameters = match packet.await {
        Ok(Startup::Parameters { minor, parameters }) => (minor, parameters),
        Ok(Startup::Cancel { process_id, secret }) => {
            return shared.sessions.cancel(process_id, secret);
        }
        Ok(Startup::Ssl | Startup::GssEncryption) | Err(Error::ClientGone) => return,
        Err(error) => return refuse(client, &error).await,
    };
    let secret = new_secret();
    let settings = match checked_settings(&shared, &parameters.1) {
        Ok(settings) => settings,
        Err(error) => {
            tracing::warn!(target: "audit", %peer, "refused a connection: {error}");
            return refuse(client, &error).await;
        }
    };
    let application_name = settings.get("application_name").unwrap_or_default();
    let activity = Activity::new(OWNER.to_owned(), application_name, peer);
    let activity = Arc::new(Mutex::new(activity));
    let process_id = match shared.sessions.connect(secret, handle, &activity) {
        Ok(process_id) => process_id,
        Err(error) => return refuse(client, &error).await,
    };
    let mut session = Session {
        shared: Arc::clone(&shared),
        process_id,
        activity,
        interrupt,
        client,
        settings: Arc::new(Mutex::new(settings)),
        transaction: Transaction::default(),
        text: String::new(),
        has_unseen_writes: false,
        prepared: HashMap::new(),
        portals: HashMap::new(),
        last_numbers: Arc::default(),
        planning: None,
    };
    let _registered = Registered { shared, process_id };
    session.greet(parameters.0, secret, &parameters.1);
    if let Err(error) = session.run().await
        && !matches!(error, Error::ClientGone)
    {
        session.client.error(&error, "");
        session.client.close().await;
    }
}

/// Takes the session off the list however it ends.
struct Registered {
    shared: Arc<Shared>,
    process_id: u32,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.sessions.disconnect(self.process_id);
    }
}

async fn refuse(mut client: Client, error: &Error) {
    let report = crate::sqlstate::Report::of_error(error);
    client
        .outbox
        .report(crate::wire::backend::Severity::Fatal, &report);
    client.close().await;
}

/// A number that other clients cannot guess: std's per-instance random keys, hashed.
fn new_secret() -> u32 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u8(0);
    hasher.finish() as u32
}

/// Database, user and settings of a start-up packet.
fn checked_settings(shared: &Shared, parameters: &[(String, String)]) -> Result<Settings> {
    let mut settings = initial_settings(&shared.config);
    let (mut user, mut database) = ("", None);
    for (name, value) in parameters {
        match name.as_str() {
            "user" => user = value,
            "database" => database = Some(value.as_str()),
            "replication" if !matches!(value.as_str(), "false" | "off" | "no" | "0") => {
                return Err(Error::not_supported(
                    "replication connections are not supported",
                ));
            }
            "replication" | "options" => {}
            name if name.starts_with("_pq_.") => {}
            name => settings.set_initial(name, value)?,
        }
    }
    if user != OWNER {
        return Err(Error::UndefinedRole {
            name: user.to_owned(),
        });
    }
    let database = database.unwrap_or(user);
    if database != DATABASE {
        return Err(Error::UndefinedDatabase {
            name: database.to_owned(),
        });
    }
    Ok(settings)
}

impl Session {
    fn greet(&mut self, minor: u16, secret: u32, parameters: &[(String, String)]) {
        let unknown: Vec<&str> = parameters
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| name.starts_with("_pq_."))
            .collect();
        let outbox = &mut self.client.outbox;
        if minor > 0 || !unknown.is_empty() {
            outbox.negotiate_protocol(&unknown);
        }
        outbox.authentication_ok();
        for (name, value) in lock(&self.settings).reported() {
            outbox.parameter_status(name, &value);
        }
        outbox.key_data(self.process_id, secret);
        outbox.ready(self.transaction.status());
    }

    /// Answers messages until the client leaves or the session cannot go on.
    async fn run(&mut self) -> Result<()> {
        loop {
            self.client.flush().await?;
            match self.next_message().await? {
                Message::Terminate => return Ok(()),
                Message::Query(sql) => {
                    self.simple_query(sql).await?;
                    self.ready();
                }
                Message::Sync => self.sync(),
                message => {
                    if let Err(error) = self.extended(message).await {
                        self.fail(&error)?;
                        self.skip_to_sync().await?;
                    }
                }
            }
        }
    }

    /// Waits for the client's next message, as long as a client may be silent.
    async fn next_message(&mut self) -> Result<Message> {
        let in_transaction = self.transaction.is_open();
        let state = match (in_transaction, self.transaction.is_failed()) {
            (false, _) => "idle",
            (true, false) => "idle in transaction",
            (true, true) => "idle in transaction (aborted)",
        };
        activity::lock(&self.activity).wait(state);
        let patience = lock(&self.settings).idle_timeout(in_transaction);
        let interrupt = self.interrupt.clone();
        let message = interrupt.until_shutdown(self.client.message(Expect::Command));
        match patience {
            None => message.await,
            Some(patience) => tokio::time::timeout(patience, message)
                .await
                .unwrap_or(Err(Error::IdleTimeout { in_transaction })),
        }
    }

    /// Reports an error; a fatal one is passed on instead.
    pub(crate) fn fail(&mut self, error: &Error) -> Result<()> {
        if matches!(error, Error::Internal(_) | Error::Corrupt(_)) {
            tracing::error!(%error, "statement failed");
        }
        if is_fatal(error) {
            return match error {
                Error::ShuttingDown => Err(Error::ShuttingDown),
                Error::Protocol(message) => Err(Error::Protocol(message.clone())),
                _ => Err(Error::ClientGone),
            };
        }
        let text = std::mem::take(&mut self.text);
        self.client.error(error, &text);
        self.fail_transaction();
        Ok(())
    }

    async fn skip_to_sync(&mut self) -> Result<()> {
        loop {
            self.client.flush().await?;
            match self.next_message().await? {
                Message::Sync => {
                    self.sync();
                    return Ok(());
                }
                Message::Terminate => return Err(Error::ClientGone),
                _skipped => {}
            }
        }
    }

    fn sync(&mut self) {
        // Outside a block, transactions end here.
        if !self.transaction.is_open() {
            self.end_portals(true);
        }
        self.ready();
    }

    /// Ends the portals that do not outlive the transaction that ends.
    pub(crate) fn end_portals(&mut self, committed: bool) {
        self.portals
            .retain(|_, portal| portal.outlives_transaction(committed));
    }

    pub(crate) fn ready(&mut self) {
        self.client.outbox.ready(self.transaction.status());
    }

    /// Marks an open block as failed and takes back what it claimed.
    pub(crate) fn fail_transaction(&mut self) {
        if self.transaction.is_open() {
            self.transaction.fail(&self.shared.keys);
        }
    }

    /// A copy of the settings as they are now.
    pub(crate) fn settings(&self) -> Settings {
        lock(&self.settings).clone()
    }

    /// How values look now.
    pub(crate) fn style(&self) -> Style {
        Style {
            zone: lock(&self.settings).zone(),
        }
    }

    /// A planner session over the catalog as it is now, without rows.
    pub(crate) fn planner(&mut self) -> planner::Session {
        let view = CatalogView::new(self.shared.catalog.read(), None, self.system_context());
        self.planner_over(view)
    }

    /// A planner session over this state of the database.
    pub(crate) fn planner_over(&mut self, view: CatalogView) -> planner::Session {
        let zone = self
            .settings()
            .get("TimeZone")
            .unwrap_or_else(|_| "UTC".to_owned());
        let view: Arc<dyn planner::Catalog> = Arc::new(view);
        match &self.planning {
            Some((made_for, session)) if *made_for == zone => session.with_catalog(view),
            _ => {
                let settings = PlanSettings {
                    time_zone: zone.clone(),
                    ..PlanSettings::default()
                };
                let session = planner::batch::session(view, &settings);
                pg_catalog::register_pure(&session);
                pg_catalog::register_session(
                    &session,
                    &self.shared,
                    &self.settings,
                    &self.last_numbers,
                    self.process_id,
                );
                self.planning = Some((zone, session.clone()));
                session
            }
        }
    }

    /// What the system tables show besides the catalog.
    pub(crate) fn system_context(&self) -> pg_catalog::Context {
        pg_catalog::Context {
            settings: self.settings().all(),
            activity: self.shared.sessions.activity(),
            process_id: self.process_id,
            cursors: self.cursor_rows(),
            prepared: self.prepared_rows(),
            lens: Some(Arc::new(Lens::new(Arc::clone(&self.shared)))),
        }
    }

    /// Makes the session's own writes visible.
    pub(crate) async fn see_own_writes(&mut self) -> Result<()> {
        if self.has_unseen_writes {
            let engine = self.shared.engine.clone();
            let interrupt = self.interrupt.clone();
            interrupt
                .guard(async move { Ok(engine.flush().await?) })
                .await?;
            self.has_unseen_writes = false;
        }
        Ok(())
    }
}

/// Values of parameters, `$1` first.
pub type Parameters = Vec<ScalarValue>;

/// Settings are plain data: a panic while they are held leaves them whole.
pub(crate) fn lock(settings: &Mutex<Settings>) -> std::sync::MutexGuard<'_, Settings> {
    settings.lock().unwrap_or_else(PoisonError::into_inner)
}
