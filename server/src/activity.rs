//! The connected sessions: what each one does, and how others stop it.
//!
//! A session keeps its own [`Activity`] up to date; `pg_stat_activity` shows all of them. Cancel
//! requests, `pg_cancel_backend` and `pg_terminate_backend` find a session by its process id.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::access::role::Role;
use crate::error::{Error, Result};
use crate::interrupt::Handle;
use crate::tls::Encryption;

/// Longest text of a statement that is shown, in bytes, as PostgreSQL's `track_activity_query_size`.
const QUERY_BYTES_MAX: usize = 1024;

/// What a session does.
#[derive(Debug, Clone)]
pub struct Activity {
    /// Its process id.
    pub process_id: u32,
    /// Who has logged in.
    pub user_id: u32,
    /// The database that it is in.
    pub database: u32,
    /// How what it says is hidden on its way, if it is.
    pub encryption: Option<Encryption>,
    /// What it says it is.
    pub application_name: String,
    /// Where it is.
    pub client: SocketAddr,
    /// Since when it is connected.
    pub connected_at: SystemTime,
    /// When its block was opened.
    pub transaction_at: Option<SystemTime>,
    /// When its last statement began.
    pub query_at: Option<SystemTime>,
    /// Since when its state is as it is.
    pub state_at: SystemTime,
    /// As PostgreSQL calls it: "active", "idle", "idle in transaction", ….
    pub state: &'static str,
    /// Its last statement, or the one that runs.
    pub query: String,
}

/// A session's own entry.
pub type Own = Arc<Mutex<Activity>>;

impl Activity {
    /// A session that has just connected.
    #[must_use]
    pub fn new(
        user_id: u32,
        database: u32,
        application_name: String,
        client: SocketAddr,
    ) -> Activity {
        let now = SystemTime::now();
        Activity {
            process_id: 0,
            user_id,
            database,
            encryption: None,
            application_name,
            client,
            connected_at: now,
            transaction_at: None,
            query_at: None,
            state_at: now,
            state: "idle",
            query: String::new(),
        }
    }

    /// A statement begins.
    pub fn begin(&mut self, query: &str) {
        let now = SystemTime::now();
        (self.state, self.state_at, self.query_at) = ("active", now, Some(now));
        self.query.clear();
        self.query
            .push_str(&query[..query.floor_char_boundary(QUERY_BYTES_MAX)]);
    }

    /// The session waits for its client.
    pub fn wait(&mut self, state: &'static str) {
        if self.state != state {
            (self.state, self.state_at) = (state, SystemTime::now());
        }
    }
}

/// Locks a session's entry; it is plain data, whole at any time.
pub fn lock(activity: &Mutex<Activity>) -> MutexGuard<'_, Activity> {
    activity.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Connected {
    secret: u32,
    handle: Handle,
    activity: Own,
}

/// All sessions.
#[derive(Debug)]
pub struct Sessions {
    connections_max: usize,
    next_process_id: AtomicU32,
    connected: Mutex<BTreeMap<u32, Connected>>,
}

impl Sessions {
    /// None yet; at most `connections_max` at a time.
    #[must_use]
    pub fn new(connections_max: usize) -> Sessions {
        Sessions {
            connections_max,
            next_process_id: AtomicU32::new(1),
            connected: Mutex::default(),
        }
    }

    /// Adds a session; gives its process id.
    ///
    /// # Errors
    /// [`Error::TooManyConnections`], [`Error::TooManyOfRole`].
    pub fn connect(&self, secret: u32, handle: Handle, activity: &Own, role: &Role) -> Result<u32> {
        let mut connected = self.lock();
        if connected.len() >= self.connections_max {
            return Err(Error::TooManyConnections);
        }
        let of_role = |session: &&Connected| lock(&session.activity).user_id == role.id;
        let limit = role.connections_max.filter(|_| !role.superuser);
        if limit.is_some_and(|max| connected.values().filter(of_role).count() >= max as usize) {
            return Err(Error::TooManyOfRole {
                role: role.name.clone(),
            });
        }
        let process_id = self.next_process_id.fetch_add(1, Ordering::Relaxed);
        lock(activity).process_id = process_id;
        let entry = Connected {
            secret,
            handle,
            activity: Arc::clone(activity),
        };
        connected.insert(process_id, entry);
        Ok(process_id)
    }

    /// Forgets a session.
    pub fn disconnect(&self, process_id: u32) {
        self.lock().remove(&process_id);
    }

    /// Cancels what a session runs, if the secret is its own. Says nothing of either.
    pub fn cancel(&self, process_id: u32, secret: u32) {
        if let Some(connected) = self.lock().get(&process_id) {
            // One XOR, so that the time does not tell how many bytes are right.
            if connected.secret ^ secret == 0 {
                connected.handle.cancel();
            }
        }
    }

    /// The role that has logged in to a session.
    #[must_use]
    pub fn user_of(&self, process_id: u32) -> Option<u32> {
        let connected = self.lock();
        let session = connected.get(&process_id);
        session.map(|session| lock(&session.activity).user_id)
    }

    /// Does something to a session; gives whether it exists.
    pub fn reach(&self, process_id: u32, act: fn(&Handle)) -> bool {
        let connected = self.lock();
        let found = connected.get(&process_id);
        if let Some(session) = found {
            act(&session.handle);
        }
        found.is_some()
    }

    /// The sessions in a database, by process id.
    #[must_use]
    pub fn within(&self, database: u32) -> Vec<u32> {
        let connected = self.lock();
        let within = connected
            .iter()
            .filter(|(_, session)| lock(&session.activity).database == database);
        within.map(|(process_id, _)| *process_id).collect()
    }

    /// What all sessions do, by process id.
    #[must_use]
    pub fn activity(&self) -> Vec<Activity> {
        let connected = self.lock();
        let entries = connected.values();
        entries.map(|entry| lock(&entry.activity).clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Connected>> {
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
