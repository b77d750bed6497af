//! `tidewater`: flags, configuration, open, serve.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use server::bench::{
    GuardBench, NexmarkBench, RescaleBench, bench_guard, bench_nexmark, bench_rescale,
};
use server::options::{Flags, sample_file};
use server::{Config, Error, Result, Server};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Allocates in arenas per thread, and gives memory back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Stack of the threads that run sessions and executors; what recurses deeper runs elsewhere.
const WORKER_STACK_BYTES: usize = 8 << 20;

/// What follows the list of commands.
const EXAMPLES: &str = "\
Examples:
  tidewater playground                       an empty database, gone at the end
  tidewater serve --data-dir /var/lib/tidewater
  tidewater config > tidewater.toml          every option, explained
  tidewater serve --config tidewater.toml
  psql -h 127.0.0.1 -p 4566 -U root dev      connect

Without a command it serves; options may then stand alone: tidewater --data-dir DIR";

/// What follows the options of the server.
const PRECEDENCE: &str = "\
Every option may also be an environment variable (TIDEWATER_DATA_DIR) or stand in the file of
--config (data_dir); flags win over the environment, and that over the file. A DURATION is a
number with ms, s or min. RUST_LOG says what is logged on standard error: info, debug, warn.";

/// A streaming SQL database that speaks PostgreSQL's protocol
#[derive(Parser)]
#[command(name = "tidewater", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeFlags,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the database of a data directory (the default)
    #[command(after_help = PRECEDENCE)]
    Serve(ServeFlags),
    /// Serve an empty database in a temporary directory, removed at exit
    Playground {
        /// Address and port for clients, on loopback; port 0 chooses a free one [default: 127.0.0.1:4566]
        #[arg(long, value_name = "ADDR:PORT")]
        listen: Option<String>,
    },
    /// Print a configuration file with every option, explained and at its default
    Config,
    /// Measure this machine and this build
    #[command(subcommand)]
    Bench(Bench),
}

#[derive(Subcommand)]
enum Bench {
    /// Change the parallelism of a view under load, by every strategy
    Rescale(RescaleBench),
    /// Keep the NEXMark queries up to date, and compute them once
    Nexmark(NexmarkBench),
    /// Count the instructions of some NEXMark queries, and fail if there are more than before
    Guard(GuardBench),
}

#[derive(Args)]
struct ServeFlags {
    /// Configuration in TOML; tidewater config prints one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Flags,
}

impl Cli {
    /// Reads the command line. The server's options are shown by the help of `serve` alone.
    fn read() -> Cli {
        let command = Cli::command().mut_args(|arg| arg.hide(true));
        Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }
}

fn main() -> ExitCode {
    let cli = Cli::read();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(WORKER_STACK_BYTES)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    // Held to the end: dropping it removes the directory.
    let mut playground = None;
    let (flags, file) = match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(serve) => (serve.options, serve.config),
        Command::Config => {
            print(&sample_file());
            return Ok(());
        }
        Command::Bench(Bench::Rescale(bench)) => return bench_rescale(&bench).await,
        Command::Bench(Bench::Nexmark(bench)) => return bench_nexmark(&bench).await,
        Command::Bench(Bench::Guard(bench)) => return bench_guard(&bench).await,
        Command::Playground { listen } => {
            let directory = tempfile::tempdir().map_err(|source| Error::Io {
                what: "cannot make a temporary directory".to_owned(),
                source,
            })?;
            let mut flags = Flags::default();
            flags.give("data_dir", directory.path().display().to_string());
            if let Some(listen) = listen {
                flags.give("listen", listen);
            }
            playground = Some(directory);
            (flags, None)
        }
    };
    let config = Config::load(file.as_deref(), &flags)?;
    tracing::info!(?config, "effective configuration");
    let signals = Signals::new()?;
    let server = Server::start(config).await?;
    // For people and for scripts.
    print(&format!("listening on {}\n", server.address()));
    let name = signals.wait().await;
    tracing::info!("{name}: shutting down");
    server.shutdown().await?;
    drop(playground);
    Ok(())
}

/// Writes to standard output, where nobody may be reading.
fn print(text: &str) {
    let mut out = std::io::stdout();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// The signals that end the server in order. Taken before it starts, so that none is lost.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Signals> {
        let take = |kind| {
            signal(kind).map_err(|source| Error::Io {
                what: "cannot wait for signals".to_owned(),
                source,
            })
        };
        Ok(Signals {
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
        })
    }

    async fn wait(mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
