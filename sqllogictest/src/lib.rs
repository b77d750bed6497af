//! SQL tests: `.slt` files, played over a socket against the real `tidewater` process.
//!
//! ```text
//!   slt/<topic>/*.slt ──► play ──► Client ────── session ────► tidewater serve
//!                          ├─────► Alterations ─ session ───────►│
//!                          └─────► Oracle ────── session ───────►│
//! ```
//!
//! Each file is played three times, each time on a server and a data directory of its own: with
//! every view at parallelism 1, at 3, and with the parallelism of views and tables altered between
//! the statements. The expected output is the same in all three: scaling changes speed, never
//! results. After each statement that changes something, each view is compared with its query.
//!
//! The same files can be played against PostgreSQL, as an oracle that shares no code with ours
//! (see `tests/postgres.rs`).
//!
//! The pages of `docs/` and the README are played too, by `psql` (`page.rs`).
//!
//! Not here: the files themselves (`slt/`, whose README says how to write one), and the tests
//! (`tests/slt.rs`, one per file and setting, written by `build.rs`).

mod alterations;
mod client;
mod disk;
mod oracle;
mod page;
mod play;
mod server_process;

pub use alterations::{AlterError, Alterations};
pub use client::{Client, Dialect, Error};
pub use disk::{Disk, Trouble, Unsynced};
pub use oracle::{Disagreement, Oracle};
pub use page::{play_page, repository};
pub use play::{Setting, play, slt_folder};
pub use server_process::{ServerProcess, server_binary};
