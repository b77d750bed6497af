//! Every option of the server, in one table, from which all of these are made:
//!
//! ```text
//!   OPTIONS ──► flags, --help          tidewater serve --barrier-interval 50ms
//!           ──► the environment        TIDEWATER_BARRIER_INTERVAL=50ms
//!           ──► the file, its sample   barrier_interval = "50ms"       (tidewater config)
//! ```
//!
//! Not here: what values are allowed together (`config`).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

/// One option.
#[derive(Debug)]
pub struct ServerOption {
    /// Its name in the file; the variable has it in capitals.
    pub name: &'static str,
    /// The flag, without its dashes: the name with `-` for `_`.
    pub flag: &'static str,
    /// What the value is, for `--help`.
    pub value: &'static str,
    /// The default as TOML; `None`: it depends on the machine, and the help says how.
    pub default: Option<&'static str>,
    /// Heading that it stands under.
    pub group: &'static str,
    /// What it is for.
    pub help: &'static str,
}

const NETWORK: &str = "Data and clients";
const FRESHNESS: &str = "Freshness and durability";
const PARALLELISM: &str = "Parallelism";
const BOUNDS: &str = "Bounds";
const FEEDS: &str = "Change feeds";

/// All options, in the order in which they are shown; those of a group stand together.
#[rustfmt::skip] // It reads best as a table.
pub static OPTIONS: &[ServerOption] = &[
    option("data_dir", "data-dir", "DIR", Some("\"./tidewater-data\""), NETWORK,
        "Directory of all durable data; made if it is not there"),
    option("listen", "listen", "ADDR:PORT", Some("\"127.0.0.1:4566\""), NETWORK,
        "Address and port for clients; beyond loopback only with TLS and a password; port 0 chooses a free one"),
    option("tls_cert", "tls-cert", "FILE", None, NETWORK,
        "Certificate for TLS, in PEM, with those of its issuers behind it [default: no TLS]"),
    option("tls_key", "tls-key", "FILE", None, NETWORK,
        "Key of the certificate, in PEM"),
    option("require_tls", "require-tls", "BOOL", Some("false"), NETWORK,
        "Whether connections from loopback, too, must use TLS"),
    option("connections_max", "connections-max", "N", Some("1000"), NETWORK,
        "Most connections at once; more are refused with SQLSTATE 53300"),
    option("barrier_interval", "barrier-interval", "DURATION", Some("\"100ms\""), FRESHNESS,
        "Time between two barriers: how old what other sessions see may be"),
    option("checkpoint_interval", "checkpoint-interval", "DURATION", Some("\"1s\""), FRESHNESS,
        "Time between two checkpoints: how much is done again after a crash"),
    option("streaming_parallelism", "streaming-parallelism", "N", None, PARALLELISM,
        "Executors of a new table, view or index, unless the session says otherwise [default: the cores]"),
    option("key_groups", "key-groups", "N", Some("256"), PARALLELISM,
        "Slices of the key space, so the largest parallelism; fixed when the data directory is made"),
    option("statement_bytes_max", "statement-bytes-max", "BYTES", Some("16777216"), BOUNDS,
        "Longest statement"),
    option("copy_bytes_max", "copy-bytes-max", "BYTES", Some("1073741824"), BOUNDS,
        "Memory that the rows of one COPY FROM may take"),
    option("state_memory_limit", "state-memory-limit", "BYTES", None, BOUNDS,
        "Memory for the state of tables, views and indexes; what joins and aggregations have beyond it is on disk alone [default: half of the machine's]"),
    option("query_memory_limit", "query-memory-limit", "BYTES", None, BOUNDS,
        "Memory in which queries sort, group and join, all together; beyond it they fail with SQLSTATE 53200 [default: a quarter of the machine's]"),
    option("subscription_retention", "subscription-retention", "DURATION", Some("\"5min\""), FEEDS,
        "How long changes are kept that all subscriptions have read, for one that was cut off"),
    option("subscription_bytes_max", "subscription-bytes-max", "BYTES", Some("67108864"), FEEDS,
        "Kept changes of one relation; a subscription that is further behind ends"),
];

const fn option(
    name: &'static str,
    flag: &'static str,
    value: &'static str,
    default: Option<&'static str>,
    group: &'static str,
    help: &'static str,
) -> ServerOption {
    ServerOption {
        name,
        flag,
        value,
        default,
        group,
        help,
    }
}

impl ServerOption {
    /// The environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("TIDEWATER_{}", self.name.to_uppercase())
    }

    fn arg(&self) -> Arg {
        let help = match self.default {
            Some(default) => format!("{} [default: {}]", self.help, default.trim_matches('"')),
            None => self.help.to_owned(),
        };
        let arg = Arg::new(self.name)
            .long(self.flag)
            .value_name(self.value)
            .help(help)
            .help_heading(self.group);
        match self.value {
            "BOOL" => arg
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true"),
            _ => arg,
        }
    }
}

/// The option whose name is most like a wrong one.
#[must_use]
pub fn nearest(wrong: &str) -> &'static str {
    let distance = |option: &&ServerOption| strsim::damerau_levenshtein(option.name, wrong);
    let nearest = OPTIONS.iter().min_by_key(distance);
    nearest.map_or("", |option| option.name)
}

/// A configuration file with every option, explained and at its default, each commented out.
#[must_use]
pub fn sample_file() -> String {
    let mut text = "# Configuration of Tidewater: tidewater serve --config FILE\n\
        # Every option with its default. Flags (--data-dir) and environment variables\n\
        # (TIDEWATER_DATA_DIR) have the same names, and win over this file.\n\
        # A duration is a number with ms, s or min.\n"
        .to_owned();
    let mut group = "";
    for option in OPTIONS {
        if option.group != group {
            group = option.group;
            write!(text, "\n## {group}\n").expect("a String takes any text");
        }
        let example = match option.name {
            "tls_cert" => "\"server.crt\"",
            "tls_key" => "\"server.key\"",
            "state_memory_limit" => "8589934592",
            "query_memory_limit" => "4294967296",
            _ => "2",
        };
        let default = option.default.unwrap_or(example);
        write!(text, "\n# {}\n# {} = {default}\n", option.help, option.name)
            .expect("a String takes any text");
    }
    text
}

/// Values given on the command line, by the names of options; they win over all others.
#[derive(Debug, Default, Clone)]
pub struct Flags {
    given: BTreeMap<&'static str, String>,
}

impl Flags {
    /// Gives an option a value.
    ///
    /// # Panics
    /// If there is no such option.
    pub fn give(&mut self, name: &str, value: String) {
        let option = OPTIONS.iter().find(|option| option.name == name);
        self.given
            .insert(option.expect("a known option").name, value);
    }

    /// Options and their values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.given
            .iter()
            .map(|(&name, value)| (name, value.as_str()))
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Flags, clap::Error> {
        let mut flags = Flags::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for option in OPTIONS {
            if let Some(value) = matches.get_one::<String>(option.name) {
                self.given.insert(option.name, value.clone());
            }
        }
        Ok(())
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        command.args(OPTIONS.iter().map(ServerOption::arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Flags::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::Config;

    /// The sample with every line that assigns something.
    fn all_assigned() -> String {
        let lines = sample_file();
        let uncommented = lines.lines().map(|line| match line.strip_prefix("# ") {
            Some(assignment) if assignment.contains(" = ") => assignment,
            _ => line,
        });
        uncommented.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_sample_file_is_the_default() {
        let mut file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
        file.write_all(all_assigned().as_bytes()).unwrap();
        let loaded = Config::load(Some(file.path()), &Flags::default()).unwrap();
        let expected = Config {
            streaming_parallelism: 2,
            state_memory_limit: 8 << 30,
            query_memory_limit: 4 << 30,
            tls_cert: Some("server.crt".into()),
            tls_key: Some("server.key".into()),
            ..Config::default()
        };
        assert_eq!(loaded, expected);
    }

    #[test]
    fn every_value_of_the_configuration_is_an_option() {
        let shown = format!("{:#?}", Config::default());
        let fields: Vec<&str> = shown
            .lines()
            .filter_map(|line| line.strip_prefix("    ")?.split_once(": "))
            .map(|(name, _)| name)
            .filter(|name| !name.starts_with(' '))
            .collect();
        let mut names: Vec<&str> = OPTIONS.iter().map(|option| option.name).collect();
        names.sort_by_key(|name| fields.iter().position(|field| field == name));
        assert_eq!(names, fields);
    }

    #[test]
    fn flags_are_named_as_their_options() {
        for option in OPTIONS {
            assert_eq!(option.flag, option.name.replace('_', "-"));
        }
    }

    #[test]
    fn options_of_a_group_stand_together() {
        let mut groups: Vec<&str> = OPTIONS.iter().map(|option| option.group).collect();
        groups.dedup();
        let count = groups.len();
        groups.sort_unstable();
        groups.dedup();
        assert_eq!(groups.len(), count);
    }

    #[test]
    fn a_slip_finds_its_option() {
        assert_eq!(nearest("barier_interval"), "barrier_interval");
        assert_eq!(nearest("listen_address"), "listen");
        assert_eq!(nearest("max_connections"), "connections_max");
    }
}
