//! Configuration of the server: flag > environment > file > default.
//!
//! The file is TOML. Durations are written as `100ms`, `1s`, `2min`.
//! Not here: the names of options, and what they are for (`options`).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::error::{Error, Result};
use crate::machine_memory::machine_memory;
use crate::options::{Flags, OPTIONS, nearest};

/// The effective configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Directory of all durable data. Default `./tidewater-data`.
    pub data_dir: PathBuf,
    /// Address and port for clients; port 0 chooses a free one. Default `127.0.0.1:4566`.
    pub listen: SocketAddr,
    /// The certificate for TLS in PEM, with those of its issuers behind it. Default: no TLS.
    pub tls_cert: Option<PathBuf>,
    /// Its key in PEM.
    pub tls_key: Option<PathBuf>,
    /// Whether connections from loopback, too, must use TLS; all others must anyway. Default: no.
    pub require_tls: bool,
    /// Time between two barriers: how fresh views are. Default 100 ms.
    #[serde(deserialize_with = "duration")]
    pub barrier_interval: Duration,
    /// Time between two checkpoints: how much is done again after a crash. Default 1 s.
    #[serde(deserialize_with = "duration")]
    pub checkpoint_interval: Duration,
    /// Executors of a new table or view unless the session says otherwise. Default: the cores.
    pub streaming_parallelism: usize,
    /// Slices of the key space, so the largest parallelism; fixed when the data directory is
    /// created. Default 256.
    pub key_groups: u16,
    /// Most connections at once. Default 1,000.
    pub connections_max: usize,
    /// Longest statement, in bytes. Default 16 MiB.
    pub statement_bytes_max: usize,
    /// Most memory that the rows of one `COPY FROM` may take, in bytes. Default 1 GiB.
    pub copy_bytes_max: usize,
    /// Most memory that the state of all tables, views and indexes may take together, in bytes: of joins,
    /// aggregations and window functions, what is more is on disk alone. With 0, whatever can be is: for
    /// tests. Default: half of the memory of the machine, or of the control group.
    pub state_memory_limit: u64,
    /// Most memory that sorting, grouping and joining of all queries together may take, in bytes. Default:
    /// a quarter of it.
    pub query_memory_limit: usize,
    /// How long changes are kept that every subscription has read, so that one that was cut off
    /// can go on. Default 5 min.
    #[serde(deserialize_with = "duration")]
    pub subscription_retention: Duration,
    /// Most memory that the kept changes of one relation may take, in bytes. A subscription that
    /// falls further behind ends. Default 64 MiB.
    pub subscription_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Config {
        let memory = machine_memory();
        Config {
            data_dir: PathBuf::from("./tidewater-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 4566)),
            tls_cert: None,
            tls_key: None,
            require_tls: false,
            barrier_interval: Duration::from_millis(100),
            checkpoint_interval: Duration::from_secs(1),
            streaming_parallelism: std::thread::available_parallelism()
                .map_or(1, std::num::NonZero::get),
            key_groups: 256,
            connections_max: 1000,
            statement_bytes_max: 16 << 20,
            copy_bytes_max: 1 << 30,
            state_memory_limit: memory / 2,
            query_memory_limit: usize::try_from(memory / 4).unwrap_or(usize::MAX),
            subscription_retention: Duration::from_secs(300),
            subscription_bytes_max: 64 << 20,
        }
    }
}

impl Config {
    /// Reads file and environment, lets the flags win, and checks the values.
    ///
    /// # Errors
    /// [`Error::Configuration`] naming what cannot be used.
    pub fn load(file: Option<&Path>, flags: &Flags) -> Result<Config> {
        let mut sources = config::Config::builder();
        let unusable =
            |error: config::ConfigError| Error::Configuration(format!("configuration: {error}"));
        if let Some(path) = file {
            let file = config::File::from(path).format(config::FileFormat::Toml);
            let keys = config::Source::collect(&file).map_err(unusable)?;
            check_names(keys.keys(), path)?;
            sources = sources.add_source(file);
        }
        // By name: TIDEWATER_… variables of other purposes are none of ours.
        for option in OPTIONS {
            let value = std::env::var(option.variable()).ok();
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                sources = sources.set_override(option.name, value).map_err(unusable)?;
            }
        }
        for (name, value) in flags.iter() {
            sources = sources.set_override(name, value).map_err(unusable)?;
        }
        let config: Config = sources
            .build()
            .and_then(config::Config::try_deserialize)
            .map_err(unusable)?;
        config.check()?;
        Ok(config)
    }

    /// Checks that the values can be used together.
    ///
    /// # Errors
    /// [`Error::Configuration`].
    pub fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::Configuration(message));
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return refuse("tls_cert and tls_key go together".to_owned());
        }
        if self.require_tls && self.tls_cert.is_none() {
            return refuse("require_tls needs tls_cert and tls_key".to_owned());
        }
        if !(1..=32_768).contains(&self.key_groups) {
            return refuse(format!(
                "key_groups must be between 1 and 32768, not {}",
                self.key_groups
            ));
        }
        if !(1..=usize::from(self.key_groups)).contains(&self.streaming_parallelism) {
            return refuse(format!(
                "streaming_parallelism must be between 1 and key_groups ({}), not {}",
                self.key_groups, self.streaming_parallelism
            ));
        }
        if self.barrier_interval < Duration::from_millis(1)
            || self.checkpoint_interval < self.barrier_interval
        {
            return refuse(
                "barrier_interval must be at least 1ms, and checkpoint_interval at least barrier_interval".to_owned(),
            );
        }
        if self.connections_max == 0 || self.statement_bytes_max < 1024 {
            return refuse(
                "connections_max must be at least 1 and statement_bytes_max at least 1024"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// Checks that a file names options only.
fn check_names<'a>(names: impl Iterator<Item = &'a String>, file: &Path) -> Result<()> {
    for name in names {
        if !OPTIONS.iter().any(|option| option.name == name) {
            return Err(Error::Configuration(format!(
                "{}: there is no option \"{name}\"; do you mean \"{}\"? (tidewater config lists all)",
                file.display(),
                nearest(name)
            )));
        }
    }
    Ok(())
}

/// A number with unit; a bare number counts milliseconds.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Duration, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Milliseconds(u64),
        Text(String),
    }
    let text = match Written::deserialize(deserializer)? {
        Written::Milliseconds(ms) => return Ok(Duration::from_millis(ms)),
        Written::Text(text) => text,
    };
    let at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let unit = match text[at..].trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        _ => {
            return Err(serde::de::Error::custom(format!(
                "\"{text}\" is not a duration such as 100ms, 1s or 2min"
            )));
        }
    };
    let number: u64 = text[..at].parse().map_err(|_| {
        serde::de::Error::custom(format!(
            "\"{text}\" is not a duration such as 100ms, 1s or 2min"
        ))
    })?;
    Ok(Duration::from_millis(number.saturating_mul(unit)))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let mut file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
        writeln!(
            file,
            "listen = \"127.0.0.1:1\"\nbarrier_interval = \"20ms\"\ncheckpoint_interval = 3000"
        )
        .unwrap();
        let mut flags = Flags::default();
        flags.give("listen", "127.0.0.1:2".to_owned());
        let config = Config::load(Some(file.path()), &flags).unwrap();
        assert_eq!(config.listen.port(), 2);
        assert_eq!(config.barrier_interval, Duration::from_millis(20));
        assert_eq!(config.checkpoint_interval, Duration::from_secs(3));
        assert_eq!(config.key_groups, 256);
    }

    #[test]
    fn unusable_values_are_refused_by_name() {
        let load = |text: &str| {
            let mut file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
            file.write_all(text.as_bytes()).unwrap();
            Config::load(Some(file.path()), &Flags::default())
                .unwrap_err()
                .to_string()
        };
        assert!(load("barier_interval = \"1s\"").contains("do you mean \"barrier_interval\"?"));
        assert!(load("[server]\nlisten = 1").contains("there is no option \"server\""));
        assert!(load("listen = \"nowhere\"").contains("listen"));
        assert!(load("key_groups = \"many\"").contains("key_groups"));
        assert!(load("tls_key = \"key.pem\"").contains("go together"));
        assert!(load("require_tls = true").contains("needs tls_cert"));
        assert!(load("streaming_parallelism = 257").contains("between 1 and key_groups"));
        assert!(load("barrier_interval = \"soon\"").contains("not a duration"));
    }
}
