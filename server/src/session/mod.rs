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
mod login;
pub mod portal;
pub mod simple;
pub mod transaction;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::scalar::ScalarValue;
use planner::Settings as PlanSettings;
use planner::batch::{PhysicalRule, session_with_rules};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::activity::{self, Activity};
use crate::catalog_view::CatalogView;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::index_read::order_rule::OrderedReads;
use crate::interrupt::Interrupt;
use crate::pg_catalog;
use crate::sequence::LastNumbers;
use crate::server::Shared;
use crate::session::login::{Login, log_in};
use crate::session::portal::{Portal, Prepared};
use crate::session::transaction::Transaction;
use crate::settings::Settings;
use crate::sqlstate::is_fatal;
use crate::temporary_schema::{self, TemporarySchema};
use crate::tide::Lens;
use crate::wire::encode::Style;
use crate::wire::frame::{Expect, Message, Startup};

/// A client that has been silent for so long is not about to send a statement.
const SILENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Longest time a client may take to log in.
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
    /// Where its temporary relations are, if there were any.
    pub(crate) temporary: Option<TemporarySchema>,
    /// Temporary tables that go with the open block.
    pub(crate) drop_at_block_end: Vec<u32>,
}

/// Serves one connection to its end.
pub async fn serve(
    socket: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
) {
    let Ok(starting) = shared.starting.try_acquire() else {
        tracing::warn!(target: "audit", %peer, "refused a connection: too many are starting");
        return;
    };
    let (handle, interrupt) = Interrupt::new(stop);
    let started = interrupt.until_shutdown(in_time(start(socket, peer, &shared)));
    let Ok(Some((client, login))) = started.await else {
        return;
    };
    let Login {
        role,
        database,
        settings,
    } = login;
    let secret = new_secret();
    let application_name = settings.get("application_name").unwrap_or_default();
    let shared = shared.of_database(database);
    let mut activity = Activity::new(role.id, database, application_name, peer);
    activity.encryption.clone_from(&client.encryption);
    let activity = Arc::new(Mutex::new(activity));
    let process_id = match shared.sessions.connect(secret, handle, &activity, &role) {
        Ok(process_id) => process_id,
        Err(error) => return refuse(client, &error).await,
    };
    drop(starting);
    let _registered = Registered {
        shared: Arc::clone(&shared),
        process_id,
    };
    // It may have been dropped before the session was on the list.
    if !shared.catalog.databases().contains(&database) {
        let name = settings.get("database").unwrap_or_default();
        return refuse(client, &Error::UndefinedDatabase { name }).await;
    }
    let mut session = Session {
        shared: Arc::clone(&shared),
        process_id,
        activity,
        interrupt,
        client,
        settings: Arc::new(Mutex::new(
            settings.with_temporary_schema(temporary_schema::name_of(process_id)),
        )),
        transaction: Transaction::default(),
        text: String::new(),
        has_unseen_writes: false,
        prepared: HashMap::new(),
        portals: HashMap::new(),
        last_numbers: Arc::default(),
        planning: None,
        temporary: None,
        drop_at_block_end: Vec::new(),
    };
    session.greet(secret);
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

/// The beginning of a connection: its start-up packet, and who it is. `None` if there is no session
/// to open: the client wanted something else, or has been told why not.
async fn start(
    socket: TcpStream,
    peer: SocketAddr,
    shared: &Shared,
) -> Result<Option<(Client, Login)>> {
    let (statement_bytes_max, tls) = (shared.config.statement_bytes_max, shared.tls.as_ref());
    let (mut client, startup) = Client::accept(socket, statement_bytes_max, tls).await?;
    let (minor, parameters) = match startup {
        Ok(Startup::Parameters { minor, parameters }) => (minor, parameters),
        Ok(Startup::Cancel { process_id, secret }) => {
            shared.sessions.cancel(process_id, secret);
            return Ok(None);
        }
        Ok(Startup::Ssl | Startup::GssEncryption) | Err(Error::ClientGone) => return Ok(None),
        Err(error) => {
            refuse(client, &error).await;
            return Ok(None);
        }
    };
    let options = parameters.iter().map(|(name, _)| name.as_str());
    let unknown: Vec<&str> = options.filter(|name| name.starts_with("_pq_.")).collect();
    if minor > 0 || !unknown.is_empty() {
        client.outbox.negotiate_protocol(&unknown);
    }
    match log_in(&mut client, shared, peer, &parameters).await {
        Ok(login) => Ok(Some((client, login))),
        Err(Error::ClientGone) => Ok(None),
        Err(error) => {
            let user = parameters.iter().find(|(name, _)| name == "user");
            let user = user.map_or("", |(_, user)| user);
            tracing::warn!(target: "audit", %peer, ?user, "refused a connection: {error}");
            refuse(client, &error).await;
            Ok(None)
        }
    }
}

/// As long as a client may take for it.
async fn in_time<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    if storage::canary!("startup.timed") {
        return work.await;
    }
    let worked = tokio::time::timeout(STARTUP_TIME_MAX, work).await;
    worked.unwrap_or(Err(Error::ClientGone))
}

impl Session {
    fn greet(&mut self, secret: u32) {
        let outbox = &mut self.client.outbox;
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
            self.client.flush_if_awaited().await?;
            match self.next_message().await? {
                // It may have sent more before it leaves than has been answered.
                Message::Terminate => return self.client.flush().await,
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
        let silence = patience.map_or(SILENCE, |patience| patience.min(SILENCE));
        let message = interrupt.until_shutdown(self.client.message(Expect::Command));
        if let Ok(message) = tokio::time::timeout(silence, message).await {
            return message;
        }
        self.release();
        let message = interrupt.until_shutdown(self.client.message(Expect::Command));
        match patience {
            None => message.await,
            Some(patience) => tokio::time::timeout(patience - silence, message)
                .await
                .unwrap_or(Err(Error::IdleTimeout { in_transaction })),
        }
    }

    /// Gives back the memory that makes statements faster: there may be none for hours.
    fn release(&mut self) {
        self.planning = None;
        self.text = String::new();
        self.client.release();
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
            self.client.flush_if_awaited().await?;
            match self.next_message().await? {
                Message::Sync => {
                    self.sync();
                    return Ok(());
                }
                Message::Terminate => {
                    self.client.flush().await?;
                    return Err(Error::ClientGone);
                }
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
                let rules: Vec<PhysicalRule> = vec![Arc::new(OrderedReads)];
                let session = session_with_rules(view, &settings, rules);
                let session = session.with_memory(&self.shared.query_memory);
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
        let settings = self.settings();
        pg_catalog::Context {
            role: Some(settings.current_user().id),
            path: settings.search_path(),
            settings: settings.all(),
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
