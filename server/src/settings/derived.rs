//! What every statement asks of the settings, worked out of their texts once and not by each.

use std::time::Duration;

use arrow::array::timezone::Tz;

use super::{Settings, milliseconds, parse_zone, utc};
use crate::namespace;
use crate::wire::backend::Severity;

/// Settings as they are used.
#[derive(Debug)]
pub(super) struct Derived {
    pub(super) zone: Tz,
    pub(super) search_path: Vec<String>,
    pub(super) statement_timeout: Option<Duration>,
    pub(super) lock_timeout: Option<Duration>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) idle_in_transaction_timeout: Option<Duration>,
    pub(super) is_read_only: bool,
    pub(super) reads_one_epoch: bool,
    pub(super) wanted_messages: Severity,
}

impl Derived {
    pub(super) fn of(settings: &Settings) -> Derived {
        let text = |name| settings.get(name).unwrap_or_default();
        let timeout = |name| {
            let limit = milliseconds(&text(name)).filter(|&ms| ms > 0);
            limit.map(Duration::from_millis)
        };
        let is_read_only = text("transaction_read_only") == "on";
        let isolation = text("transaction_isolation");
        let user = &settings.current_user().name;
        Derived {
            zone: parse_zone(&text("TimeZone")).unwrap_or_else(utc),
            search_path: namespace::search_path(&text("search_path"), user),
            statement_timeout: timeout("statement_timeout"),
            lock_timeout: timeout("lock_timeout"),
            idle_timeout: timeout("idle_session_timeout"),
            idle_in_transaction_timeout: timeout("idle_in_transaction_session_timeout"),
            is_read_only,
            reads_one_epoch: is_read_only
                || matches!(isolation.as_str(), "repeatable read" | "serializable"),
            wanted_messages: match text("client_min_messages").as_str() {
                "warning" => Severity::Warning,
                "error" => Severity::Error,
                _ => Severity::Notice,
            },
        }
    }
}
