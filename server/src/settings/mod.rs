//! Session settings: `SET`, `SHOW`, `RESET`, and what ParameterStatus reports.
//!
//! Every known setting is one row of the table of `known`; any other name is refused. Values that would
//! promise what we do not do (another encoding, another date style) are refused too.

mod derived;
pub(crate) mod known;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow::array::timezone::Tz;
use planner::measures::TwoPhaseAgg;
use scaling::Strategy;

use crate::access::role::{Identity, Role};
use crate::error::{Error, Result};
use crate::settings::derived::Derived;
pub use crate::settings::known::Domain;
use crate::settings::known::{KNOWN, Known, RATE_LIMIT_MAX, Rule};
use crate::wire::backend::Severity;

/// The version that clients shape their catalog queries by.
pub const SERVER_VERSION: &str = "15.0";

/// Longest identifier in bytes, and longest value of a setting that is a name. So ParameterStatus
/// stays far below the 30,000 bytes that clients take.
const NAME_BYTES_MAX: usize = 63;

/// Settings of a transaction. A new one has the values of the settings `default_…`.
pub(crate) const MODES: [&str; 2] = ["transaction_isolation", "transaction_read_only"];

/// Settings that say who the session is.
const IDENTITIES: [&str; 3] = ["is_superuser", "role", "session_authorization"];

/// One setting as SHOW ALL and pg_settings show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingRow {
    /// Its name.
    pub name: &'static str,
    /// Its value in this session.
    pub value: String,
    /// Its value without `SET`.
    pub default: String,
    /// What it is for.
    pub description: &'static str,
    /// What values it takes.
    pub domain: Domain,
}

/// The settings of one session. Copies share what they hold: every statement takes one.
#[derive(Debug, Clone)]
pub struct Settings {
    // Fixed by the server.
    parallelism_default: usize,
    key_groups: u16,
    // Fixed by the start-up packet: what RESET goes back to.
    initial: Arc<BTreeMap<&'static str, String>>,
    // Changed by SET.
    changed: Arc<BTreeMap<&'static str, String>>,
    // What follows from all that; worked out with each change, so that copies have it.
    derived: OnceLock<Arc<Derived>>,
    // Who has logged in, and who the session acts as instead.
    authenticated: Identity,
    session: Option<Identity>,
    role: Option<Identity>,
    // Where the session's temporary relations are.
    temporary_schema: Option<String>,
}

impl Settings {
    /// The settings of a new session. `streaming_parallelism` defaults to `parallelism_default`.
    #[must_use]
    pub fn new(parallelism_default: usize, key_groups: u16) -> Settings {
        let mut settings = Settings {
            parallelism_default,
            key_groups,
            initial: Arc::default(),
            changed: Arc::default(),
            derived: OnceLock::new(),
            authenticated: Role::root().identity(),
            session: None,
            role: None,
            temporary_schema: None,
        };
        settings.refresh();
        settings
    }

    /// The settings of a session whose temporary relations are in this schema.
    #[must_use]
    pub fn with_temporary_schema(mut self, schema: String) -> Settings {
        self.temporary_schema = Some(schema);
        self.refresh();
        self
    }

    /// The settings of a session of a user who has logged in.
    #[must_use]
    pub fn of_user(mut self, user: Identity) -> Settings {
        self.authenticated = user;
        self.refresh();
        self
    }

    /// Who has logged in.
    #[must_use]
    pub fn authenticated_user(&self) -> &Identity {
        &self.authenticated
    }

    /// Who the session is.
    #[must_use]
    pub fn session_user(&self) -> &Identity {
        self.session.as_ref().unwrap_or(&self.authenticated)
    }

    /// Who the session acts as: the role that rights are asked of.
    #[must_use]
    pub fn current_user(&self) -> &Identity {
        self.role.as_ref().unwrap_or_else(|| self.session_user())
    }

    /// Acts as another role; `None`: as the session's own. Returns what the client is to be told.
    pub fn set_role(&mut self, role: Option<Identity>) -> Vec<(&'static str, String)> {
        self.role = role;
        self.refresh();
        self.identity_reports()
    }

    /// Becomes another user, as if that one had logged in; `None`: who has logged in.
    pub fn set_session_user(&mut self, user: Option<Identity>) -> Vec<(&'static str, String)> {
        (self.session, self.role) = (user, None);
        self.refresh();
        self.identity_reports()
    }

    fn identity_reports(&self) -> Vec<(&'static str, String)> {
        let known = KNOWN
            .iter()
            .filter(|known| IDENTITIES.contains(&known.name));
        known.filter_map(|known| self.report_of(known)).collect()
    }

    /// Takes a setting from the start-up packet.
    ///
    /// # Errors
    /// As [`Settings::set`].
    pub fn set_initial(&mut self, name: &str, value: &str) -> Result<()> {
        let known = find(name)?;
        // asyncpg sends the encoding with quotes in it.
        let value = check(known, value.trim_matches('\''), self.key_groups)?;
        Arc::make_mut(&mut self.initial).insert(known.name, value);
        self.refresh();
        Ok(())
    }

    /// Changes a setting; returns its name and new value if the client is to be told.
    ///
    /// # Errors
    /// [`Error::UndefinedSetting`], [`Error::InvalidValue`] or [`Error::Unsupported`].
    pub fn set(&mut self, name: &str, value: &str) -> Result<Option<(&'static str, String)>> {
        let known = find(name)?;
        let value = check(known, value, self.key_groups)?;
        Arc::make_mut(&mut self.changed).insert(known.name, value);
        self.refresh();
        Ok(self.report_of(known))
    }

    /// Takes back what `SET` changed; as [`Settings::set`].
    ///
    /// # Errors
    /// [`Error::UndefinedSetting`], or if it cannot be changed at all.
    pub fn reset(&mut self, name: &str) -> Result<Option<(&'static str, String)>> {
        let known = find(name)?;
        if known.rule == Rule::Fixed {
            return Err(cannot_change(known));
        }
        Arc::make_mut(&mut self.changed).remove(known.name);
        self.refresh();
        Ok(self.report_of(known))
    }

    /// Takes back all that `SET` changed; returns what the client is to be told.
    pub fn reset_all(&mut self) -> Vec<(&'static str, String)> {
        let names: Vec<&str> = std::mem::take(&mut self.changed).keys().copied().collect();
        self.refresh();
        KNOWN
            .iter()
            .filter(|k| names.contains(&k.name))
            .filter_map(|k| self.report_of(k))
            .collect()
    }

    /// The value of a setting.
    ///
    /// # Errors
    /// [`Error::UndefinedSetting`].
    pub fn get(&self, name: &str) -> Result<String> {
        find(name).map(|known| self.value(known))
    }

    /// The name of a setting as PostgreSQL writes it.
    ///
    /// # Errors
    /// [`Error::UndefinedSetting`].
    pub fn canonical_name(name: &str) -> Result<&'static str> {
        find(name).map(|known| known.name)
    }

    /// All settings, by name.
    #[must_use]
    pub fn all(&self) -> Vec<SettingRow> {
        KNOWN
            .iter()
            .map(|known| SettingRow {
                name: known.name,
                value: self.value(known),
                default: self.unset_value(known),
                description: known.description,
                domain: known.rule.domain(known.default, self.key_groups),
            })
            .collect()
    }

    /// What a client is told when it connects.
    #[must_use]
    pub fn reported(&self) -> Vec<(&'static str, String)> {
        KNOWN
            .iter()
            .filter(|known| known.reported || known.name == "integer_datetimes")
            .map(|known| (known.name, self.value(known)))
            .collect()
    }

    /// Time zone of the session.
    #[must_use]
    pub fn zone(&self) -> Tz {
        self.derived().zone
    }

    /// Parallelism of what is created now.
    #[must_use]
    pub fn streaming_parallelism(&self) -> usize {
        self.get("streaming_parallelism")
            .ok()
            .and_then(|v| v.parse().ok())
            .unwrap_or(self.parallelism_default)
    }

    /// How key groups move when a statement does not say.
    #[must_use]
    pub fn rescale_strategy(&self) -> Strategy {
        self.get("rescale_strategy")
            .ok()
            .and_then(|name| parse_strategy(&name).ok())
            .unwrap_or_default()
    }

    /// Schemas that names without one are looked for in, whether they exist or not.
    #[must_use]
    pub fn search_path(&self) -> Vec<String> {
        self.derived().search_path.clone()
    }

    /// Longest duration of a statement.
    #[must_use]
    pub fn statement_timeout(&self) -> Option<Duration> {
        self.derived().statement_timeout
    }

    /// Longest wait for a table.
    #[must_use]
    pub fn lock_timeout(&self) -> Option<Duration> {
        self.derived().lock_timeout
    }

    /// Longest silence of a client.
    #[must_use]
    pub fn idle_timeout(&self, in_transaction: bool) -> Option<Duration> {
        if in_transaction {
            self.derived().idle_in_transaction_timeout
        } else {
            self.derived().idle_timeout
        }
    }

    /// How many existing rows a second something that is created now reads, at most.
    #[must_use]
    pub fn backfill_rate_limit(&self) -> Option<u64> {
        let value = self.get("backfill_rate_limit").ok()?;
        parse_rate_limit(&value).ok().flatten()
    }

    /// Whether CREATE MATERIALIZED VIEW returns before the view is complete.
    #[must_use]
    pub fn background_ddl(&self) -> bool {
        self.get("background_ddl").is_ok_and(|v| v == "on")
    }

    /// Which aggregations of a new view have two phases.
    #[must_use]
    pub fn two_phase_agg(&self) -> TwoPhaseAgg {
        let is_on = |name| self.get(name).is_ok_and(|v| v == "on");
        match (is_on("force_two_phase_agg"), is_on("enable_two_phase_agg")) {
            (true, _) => TwoPhaseAgg::Always,
            (false, true) => TwoPhaseAgg::WithoutGroups,
            (false, false) => TwoPhaseAgg::Never,
        }
    }

    /// Whether the transaction, or the statement outside of one, may only read.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.derived().is_read_only
    }

    /// Whether all statements of a transaction read one epoch.
    #[must_use]
    pub fn reads_one_epoch(&self) -> bool {
        self.derived().reads_one_epoch
    }

    /// The least severe reports that the client wants besides errors.
    #[must_use]
    pub fn wanted_messages(&self) -> Severity {
        self.derived().wanted_messages
    }

    fn value(&self, known: &Known) -> String {
        if IDENTITIES.contains(&known.name) {
            return self.identity_value(known.name);
        }
        self.changed
            .get(known.name)
            .cloned()
            .unwrap_or_else(|| self.unset_value(known))
    }

    fn identity_value(&self, name: &str) -> String {
        match name {
            "is_superuser" if self.current_user().superuser => "on".to_owned(),
            "is_superuser" => "off".to_owned(),
            "role" => self
                .role
                .as_ref()
                .map_or("none", |role| &role.name)
                .to_owned(),
            _ => self.session_user().name.clone(),
        }
    }

    fn unset_value(&self, known: &Known) -> String {
        match self.initial.get(known.name) {
            Some(value) => value.clone(),
            None if known.rule == Rule::Parallelism => self.parallelism_default.to_string(),
            None if MODES.contains(&known.name) => self
                .get(&format!("default_{}", known.name))
                .unwrap_or_default(),
            None => known.default.to_owned(),
        }
    }

    fn report_of(&self, known: &'static Known) -> Option<(&'static str, String)> {
        known.reported.then(|| (known.name, self.value(known)))
    }

    fn refresh(&mut self) {
        self.derived = OnceLock::from(Arc::new(Derived::of(self)));
    }

    fn derived(&self) -> &Derived {
        self.derived.get_or_init(|| Arc::new(Derived::of(self)))
    }
}

/// The time zone of a session that says nothing.
pub(crate) fn utc() -> Tz {
    "+00:00".parse().expect("a constant offset always parses")
}

fn parse_zone(name: &str) -> Option<Tz> {
    if ["utc", "gmt", "z", "default", "local"]
        .iter()
        .any(|n| name.eq_ignore_ascii_case(n))
    {
        return Some(utc());
    }
    // A bare number counts hours east of Greenwich.
    if let Ok(hours) = name.parse::<i32>()
        && (-15..=15).contains(&hours)
    {
        return format!("{}{:02}:00", if hours < 0 { '-' } else { '+' }, hours.abs())
            .parse()
            .ok();
    }
    name.parse().ok()
}

fn find(name: &str) -> Result<&'static Known> {
    let wanted = match name.to_ascii_lowercase().as_str() {
        "time zone" => "timezone".to_owned(),
        "transaction isolation level" => "transaction_isolation".to_owned(),
        "session authorization" => "session_authorization".to_owned(),
        "names" => "client_encoding".to_owned(),
        other => other.to_owned(),
    };
    KNOWN
        .iter()
        .find(|known| known.name.eq_ignore_ascii_case(&wanted))
        .ok_or_else(|| Error::UndefinedSetting {
            name: name.to_owned(),
        })
}

fn cannot_change(known: &Known) -> Error {
    Error::InvalidValue {
        message: format!("parameter \"{}\" cannot be changed", known.name),
        hint: None,
    }
}

/// Checks a value and brings it into the form that SHOW shows.
fn check(known: &Known, value: &str, key_groups: u16) -> Result<String> {
    let invalid = |hint: Option<String>| Error::InvalidValue {
        message: format!(
            "invalid value for parameter \"{}\": \"{value}\"",
            known.name
        ),
        hint,
    };
    let lower = value.trim().to_ascii_lowercase();
    match known.rule {
        Rule::Fixed => Err(cannot_change(known)),
        Rule::Any => Ok(value.to_owned()),
        Rule::Name => Ok(value[..value.floor_char_boundary(NAME_BYTES_MAX)].to_owned()),
        Rule::Bool => match lower.as_str() {
            "on" | "true" | "t" | "yes" | "y" | "1" => Ok("on".to_owned()),
            "off" | "false" | "f" | "no" | "n" | "0" => Ok("off".to_owned()),
            _ => Err(invalid(None)),
        },
        Rule::Integer { min, max } => match lower.parse::<i64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(number.to_string()),
            Ok(number) => Err(Error::InvalidValue {
                message: format!(
                    "{number} is outside the valid range for parameter \"{}\" ({min} .. {max})",
                    known.name
                ),
                hint: None,
            }),
            Err(_) => Err(invalid(None)),
        },
        Rule::Milliseconds => match milliseconds(&lower) {
            Some(ms) => Ok(shown_milliseconds(ms)),
            None => Err(invalid(Some(
                "Valid units for this parameter are \"ms\", \"s\", \"min\", and \"h\".".into(),
            ))),
        },
        Rule::OneOf(values) => {
            let value = values.iter().find(|v| **v == lower);
            value
                .map(|v| (*v).to_owned())
                .ok_or_else(|| invalid(Some(format!("Available values: {}.", values.join(", ")))))
        }
        Rule::Zone => parse_zone(value.trim())
            .filter(|_| value.trim().len() <= NAME_BYTES_MAX)
            .map(|_| value.trim().to_owned())
            .ok_or_else(|| invalid(None)),
        Rule::Encoding => match lower.replace(['-', '_', '\''], "").as_str() {
            "utf8" | "unicode" => Ok("UTF8".to_owned()),
            _ => Err(invalid(Some("The only encoding is UTF8.".to_owned()))),
        },
        Rule::DateStyle => {
            let parts: Vec<String> = lower
                .split(',')
                .map(|part| part.trim().to_owned())
                .collect();
            let is_iso = parts
                .iter()
                .all(|part| matches!(part.as_str(), "iso" | "mdy" | "us" | "default"));
            if is_iso {
                Ok("ISO, MDY".to_owned())
            } else {
                Err(invalid(Some("The only style is ISO, MDY.".to_owned())))
            }
        }
        Rule::Parallelism => match lower.parse::<u64>() {
            Ok(n) if (1..=u64::from(key_groups)).contains(&n) => Ok(n.to_string()),
            Err(_) if lower == "default" || lower == "adaptive" => Ok("default".to_owned()),
            _ => Err(invalid(Some(format!(
                "Valid values are 1 to {key_groups}, and default."
            )))),
        },
        Rule::RateLimit => match parse_rate_limit(&lower) {
            Ok(Some(limit)) => Ok(limit.to_string()),
            Ok(None) => Ok("default".to_owned()),
            Err(hint) => Err(invalid(Some(hint))),
        },
        Rule::RescaleStrategy => match parse_strategy(&lower) {
            Ok(strategy) => Ok(strategy.name().to_owned()),
            Err(hint) => Err(invalid(Some(hint))),
        },
    }
}

/// Rows a second; `None` is no limit.
///
/// # Errors
/// What values there are.
pub(crate) fn parse_rate_limit(text: &str) -> std::result::Result<Option<u64>, String> {
    let text = text.trim();
    match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(limit @ 0..=RATE_LIMIT_MAX) => Ok(Some(limit.unsigned_abs())),
        Err(_) if text.eq_ignore_ascii_case("default") => Ok(None),
        _ => Err(format!(
            "Valid values are 0 to {RATE_LIMIT_MAX} rows a second, and default."
        )),
    }
}

/// Strategies that keep views correct.
pub(crate) fn correct_strategies() -> impl Iterator<Item = Strategy> {
    let strategies = Strategy::ALL.into_iter();
    strategies.filter(|strategy| strategy.is_correct())
}

/// The strategy of this name; else a hint that names those which keep views correct.
///
/// # Errors
/// The hint.
pub(crate) fn parse_strategy(name: &str) -> std::result::Result<Strategy, String> {
    let strategy: Option<Strategy> = name.trim().parse().ok();
    let correct = strategy.filter(|strategy| strategy.is_correct());
    correct.ok_or_else(|| {
        let names: Vec<&str> = correct_strategies().map(Strategy::name).collect();
        format!("Available values: {}.", names.join(", "))
    })
}

/// A duration in milliseconds, written with a unit or without.
pub(crate) fn milliseconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let at = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let number: u64 = text[..at].trim().parse().ok()?;
    let unit = match &text[at..] {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit).filter(|&ms| ms <= i32::MAX as u64)
}

/// The largest unit that divides it, as PostgreSQL shows durations.
fn shown_milliseconds(ms: u64) -> String {
    match ms {
        0 => "0".to_owned(),
        _ if ms.is_multiple_of(86_400_000) => format!("{}d", ms / 86_400_000),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}min", ms / 60_000),
        _ if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        _ => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_settings_are_checked_and_reported() {
        let mut settings = Settings::new(4, 256);
        assert_eq!(
            settings.set("timezone", "Asia/Kolkata").unwrap(),
            Some(("TimeZone", "Asia/Kolkata".into()))
        );
        assert!(matches!(
            settings.set("timezone", "Mars/Olympus"),
            Err(Error::InvalidValue { .. })
        ));
        assert_eq!(settings.get("TIMEZONE").unwrap(), "Asia/Kolkata");
        settings.reset("timezone").unwrap();
        assert_eq!(settings.get("timezone").unwrap(), "UTC");
        assert!(matches!(
            settings.set("no_such", "1"),
            Err(Error::UndefinedSetting { .. })
        ));
        assert!(matches!(
            settings.set("server_version", "1"),
            Err(Error::InvalidValue { .. })
        ));
        settings.set("statement_timeout", "90s").unwrap();
        assert_eq!(settings.statement_timeout(), Some(Duration::from_secs(90)));
        assert_eq!(settings.get("statement_timeout").unwrap(), "90s");
        settings.set("application_name", &"ä".repeat(40)).unwrap();
        assert_eq!(settings.get("application_name").unwrap(), "ä".repeat(31));
        let long_zone = format!("{}5", "0".repeat(100));
        assert!(settings.set("timezone", &long_zone).is_err());
    }

    #[test]
    fn who_a_session_is_shows_in_its_settings() {
        let mut settings = Settings::new(4, 256);
        let ann = Role::new(20, "ann".to_owned()).identity();
        let reports = settings.set_session_user(Some(ann.clone()));
        assert_eq!(reports[0], ("is_superuser", "off".to_owned()));
        assert_eq!(settings.get("session_authorization").unwrap(), "ann");
        assert_eq!(settings.search_path(), ["ann", "public"]);
        settings.set_session_user(None);
        settings.set_role(Some(ann));
        assert_eq!(settings.get("role").unwrap(), "ann");
        assert_eq!(settings.session_user().name, "root");
        assert_eq!(settings.current_user().name, "ann");
        assert!(settings.set("role", "root").is_err());
    }

    #[test]
    fn parallelism_stays_within_the_key_groups() {
        let mut settings = Settings::new(4, 256);
        assert_eq!(settings.streaming_parallelism(), 4);
        settings.set("streaming_parallelism", "256").unwrap();
        assert_eq!(settings.streaming_parallelism(), 256);
        for bad in ["0", "257", "-1", "x"] {
            assert!(
                matches!(
                    settings.set("streaming_parallelism", bad),
                    Err(Error::InvalidValue { .. })
                ),
                "{bad}"
            );
        }
        settings.set("streaming_parallelism", "default").unwrap();
        assert_eq!(settings.streaming_parallelism(), 4);
    }

    #[test]
    fn a_rescale_strategy_keeps_views_correct() {
        let mut settings = Settings::new(4, 256);
        assert_eq!(settings.rescale_strategy(), Strategy::Drrs);
        settings.set("rescale_strategy", "OTFS_fluid").unwrap();
        assert_eq!(settings.rescale_strategy(), Strategy::OtfsFluid);
        assert_eq!(settings.get("rescale_strategy").unwrap(), "otfs_fluid");
        for bad in ["unbound", "flink", ""] {
            let Err(Error::InvalidValue { hint, .. }) = settings.set("rescale_strategy", bad)
            else {
                panic!("{bad}")
            };
            let hint = hint.unwrap();
            assert!(
                hint.contains("drrs, ") && !hint.contains("unbound"),
                "{hint}"
            );
        }
    }

    #[test]
    fn names_are_sorted_for_show_all() {
        let names: Vec<String> = KNOWN.iter().map(|k| k.name.to_lowercase()).collect();
        assert!(names.is_sorted(), "{names:?}");
    }
}
