//! A `tidewater serve` process on a data directory of its own, ended when dropped.
//!
//! The binary is the one that cargo built beside the running test. `cargo test` does not build the
//! binaries of *other* packages, so it can be missing or older than the sources; both are refused
//! with the command that helps, since a test of yesterday's server is worse than none.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use tempfile::TempDir;
use tokio_postgres::Config;

/// A start may wait for other tests that share the machine.
const START_WAIT_MAX: Duration = Duration::from_secs(60);
const START_POLL: Duration = Duration::from_millis(10);

/// How to get the binary; part of every message about its absence.
const BUILD: &str = "cargo build --workspace --bin tidewater (make does it by itself)";

/// A running server. Dropping it kills the process and removes its data.
pub struct ServerProcess {
    /// Absent if it ended before it listened.
    address: Option<SocketAddr>,
    process: Child,
    // Holds the data directory and the log; removed after the process has ended.
    folder: TempDir,
}

impl ServerProcess {
    /// Starts a server on an empty data directory and a free port, and waits until it listens.
    ///
    /// `SERVER_BINARY` names another binary than the one beside the running test. (Not
    /// `TIDEWATER_…`: those variables are the server's configuration.)
    ///
    /// # Panics
    /// If there is no binary or it is stale, and if the server ends or says nothing; with its log.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`ServerProcess::start`], with environment variables.
    ///
    /// # Panics
    /// As [`ServerProcess::start`].
    #[must_use]
    pub fn start_with(variables: &[(&str, &str)]) -> Self {
        let folder = TempDir::with_prefix("tidewater-slt-").expect("a temporary folder");
        let (address, process) = launch(&folder, variables);
        let address = Some(listening(address, &folder));
        ServerProcess {
            address,
            process,
            folder,
        }
    }

    /// Ends the server as `kill -9` does and starts another one on the same data directory, at
    /// another address.
    ///
    /// # Panics
    /// As [`ServerProcess::start`].
    pub fn kill_and_restart(&mut self) {
        self.restart_with(&[]);
        self.address = Some(listening(self.address, &self.folder));
    }

    /// As [`ServerProcess::kill_and_restart`], with environment variables. The other server may end
    /// before it listens.
    ///
    /// # Panics
    /// If it does neither.
    pub fn restart_with(&mut self, variables: &[(&str, &str)]) {
        self.kill();
        (self.address, self.process) = launch(&self.folder, variables);
    }

    /// Ends the server as `kill -9` does, if it has not ended.
    pub fn kill(&mut self) {
        // Either can only fail if the process is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Asks the server to end in order.
    ///
    /// # Panics
    /// If there is no `kill`.
    pub fn terminate(&self) {
        let pid = self.process.id().to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).status();
        status.expect("the command kill");
    }

    /// The number of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Where its data is.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// As [`ServerProcess::start`], but the server ends itself when it reaches a crash point:
    /// `name` for the first time, `name:n` for the n-th (see `storage::crash`).
    ///
    /// # Panics
    /// As [`ServerProcess::start`].
    #[must_use]
    pub fn start_to_crash(point: &str) -> Self {
        Self::launch_with(&[(storage::crash::VARIABLE, point)])
    }

    /// As [`ServerProcess::start_with`], but the server may end before it listens.
    ///
    /// # Panics
    /// As [`ServerProcess::start`].
    #[must_use]
    pub fn launch_with(variables: &[(&str, &str)]) -> Self {
        let folder = TempDir::with_prefix("tidewater-slt-").expect("a temporary folder");
        let (address, process) = launch(&folder, variables);
        ServerProcess {
            address,
            process,
            folder,
        }
    }

    /// Whether it ever listened; one that was to crash may not have.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.address.is_some()
    }

    /// Waits until the process has ended by itself, and says how.
    ///
    /// # Panics
    /// If it does not end.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("our own child") {
                return status;
            }
            assert!(
                started.elapsed() < START_WAIT_MAX,
                "the server has not ended"
            );
            thread::sleep(START_POLL);
        }
    }

    /// Where it listens.
    ///
    /// # Panics
    /// If it ended before it listened.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address.expect("the server listens")
    }

    /// How a client reaches the server's database.
    #[must_use]
    pub fn config(&self) -> Config {
        let address = self.address();
        let mut config = Config::new();
        config
            .host(address.ip().to_string())
            .port(address.port())
            .user("root")
            .dbname("dev");
        config
    }

    /// All that is in the files of its data directory.
    ///
    /// # Panics
    /// If they cannot be read.
    #[must_use]
    pub fn bytes_on_disk(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut folders = vec![self.folder.path().join("data")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder of our own") {
                let path = entry.expect("so are its entries").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    // RocksDB may have removed it meanwhile.
                    bytes.extend(fs::read(path).unwrap_or_default());
                }
            }
        }
        bytes
    }

    /// All that the server has written to its standard output and error.
    #[must_use]
    pub fn log(&self) -> String {
        read_log(&self.folder)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The address of a server that was not to end.
fn listening(address: Option<SocketAddr>, folder: &TempDir) -> SocketAddr {
    let ended = || {
        panic!(
            "the server ended before it listened; its log:\n{}",
            read_log(folder)
        )
    };
    address.unwrap_or_else(ended)
}

/// Starts a server on the folder's data directory and waits until it listens, or ends.
fn launch(folder: &TempDir, variables: &[(&str, &str)]) -> (Option<SocketAddr>, Child) {
    let log = File::create(log_path(folder)).expect("a file in our own folder");
    let mut process = Command::new(server_binary())
        .arg("serve")
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        .args(["--listen", "127.0.0.1:0"])
        .current_dir(folder.path())
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle of the log"))
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {}: {error}", server_binary().display()));
    let started = Instant::now();
    loop {
        let log = read_log(folder);
        if let Some(address) = listening_address(&log) {
            return (Some(address), process);
        }
        if process.try_wait().expect("our own child").is_some() {
            return (None, process);
        }
        if started.elapsed() > START_WAIT_MAX {
            let _ = process.kill();
            panic!("the server did not listen within {START_WAIT_MAX:?}; its log:\n{log}");
        }
        thread::sleep(START_POLL);
    }
}

fn log_path(folder: &TempDir) -> PathBuf {
    folder.path().join("log")
}

fn read_log(folder: &TempDir) -> String {
    let bytes = fs::read(log_path(folder)).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The address after `listening on `, once the whole line is there.
fn listening_address(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once("listening on ")?;
    let (line, _) = rest.split_once('\n')?;
    line.split(|c: char| c.is_whitespace() || c == ',')
        .next()?
        .parse()
        .ok()
}

/// The server to test: `SERVER_BINARY`, or the one beside the running test.
///
/// # Panics
/// If there is none, or one older than its sources.
#[must_use]
pub fn server_binary() -> PathBuf {
    if let Some(path) = env::var_os("SERVER_BINARY") {
        return PathBuf::from(path);
    }
    // target/<profile>/deps/slt-… ──► target/<profile>/tidewater
    let test = env::current_exe().expect("a running test has a path");
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("it stands in target/<profile>/deps");
    let binary = profile.join(format!("tidewater{}", env::consts::EXE_SUFFIX));
    assert!(binary.exists(), "{} is missing: {BUILD}", binary.display());
    if let Some(source) = newer_source(&binary).unwrap_or_default() {
        panic!(
            "{} is older than {}: {BUILD}",
            binary.display(),
            source.display()
        );
    }
    binary
}

/// A source file changed after the binary was linked, by the list that cargo writes beside it.
fn newer_source(binary: &Path) -> io::Result<Option<PathBuf>> {
    let linked = fs::metadata(binary)?.modified()?;
    let list = fs::read_to_string(binary.with_extension("d"))?;
    // `binary: source source …`, one line; a space inside a path is written `\ `.
    let sources = list.split_once(": ").map_or("", |(_, sources)| sources);
    for source in sources.trim().replace("\\ ", "\0").split(' ') {
        let source = PathBuf::from(source.replace('\0', " "));
        if fs::metadata(&source)
            .and_then(|m| m.modified())
            .is_ok_and(|changed| changed > linked)
        {
            return Ok(Some(source));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_a_whole_line_only() {
        let address = Some(SocketAddr::from(([127, 0, 0, 1], 4566)));
        assert_eq!(
            listening_address("INFO listening on 127.0.0.1:4566\n"),
            address
        );
        assert_eq!(
            listening_address("x\nlistening on 127.0.0.1:4566, data in /tmp\n"),
            address
        );
        assert_eq!(listening_address("listening on 127.0.0.1:45"), None);
        assert_eq!(listening_address("opening\n"), None);
    }
}
