//! `tidewater`: flags, configuration, open, serve.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use server::bench::{NexmarkBench, RescaleBench, bench_nexmark, bench_rescale};
use server::config::Flags;
use server::{Config, Error, Result, Server};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Allocates in arenas per thread, and gives memory back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Stack of the threads that run sessions and executors; what recurses deeper runs elsewhere.
const WORKER_STACK_BYTES: usize = 8 << 20;

/// A streaming SQL database that speaks PostgreSQL's protocol.
#[derive(Parser)]
#[command(name = "tidewater", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeFlags,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the database of a data directory (the default)
    Serve(ServeFlags),
    /// Serve an empty database in a temporary directory, removed at exit
    Playground {
        /// Address and port for clients; port 0 chooses a free one [default: 127.0.0.1:4566]
        #[arg(long, value_name = "ADDR")]
        listen: Option<String>,
    },
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
}

#[derive(Args, Default)]
struct ServeFlags {
    /// Directory of all durable data [default: ./tidewater-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address and port for clients; port 0 chooses a free one [default: 127.0.0.1:4566]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Certificate for TLS, in PEM, with those of its issuers behind it
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Refuse connections without TLS from loopback, too
    #[arg(long)]
    require_tls: bool,
    /// Configuration in TOML; environment variables TIDEWATER_… and flags win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
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
        Command::Serve(serve) => (
            Flags {
                data_dir: serve.data_dir,
                listen: serve.listen,
                tls_cert: serve.tls_cert,
                tls_key: serve.tls_key,
                require_tls: serve.require_tls,
            },
            serve.config,
        ),
        Command::Bench(Bench::Rescale(bench)) => return bench_rescale(&bench).await,
        Command::Bench(Bench::Nexmark(bench)) => return bench_nexmark(&bench).await,
        Command::Playground { listen } => {
            let directory = tempfile::tempdir().map_err(|source| Error::Io {
                what: "cannot make a temporary directory".to_owned(),
                source,
            })?;
            let flags = Flags {
                data_dir: Some(directory.path().to_owned()),
                listen,
                ..Flags::default()
            };
            playground = Some(directory);
            (flags, None)
        }
    };
    let config = Config::load(file.as_deref(), &flags)?;
    tracing::info!(?config, "effective configuration");
    let signals = Signals::new()?;
    let server = Server::start(config).await?;
    announce(&server);
    let name = signals.wait().await;
    tracing::info!("{name}: shutting down");
    server.shutdown().await?;
    drop(playground);
    Ok(())
}

/// The line that says that clients are served, for people and for scripts.
fn announce(server: &Server) {
    let line = format!("listening on {}\n", server.address());
    // Nobody may be reading.
    drop(
        std::io::stdout()
            .write_all(line.as_bytes())
            .and_then(|()| std::io::stdout().flush()),
    );
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
