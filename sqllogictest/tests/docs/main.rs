//! The examples of the documentation print what the pages say; one test a page.
//!
//! `build.rs` writes a test for each page that has SQL; `make docs ONLY=select` plays those whose
//! name holds `select`. The reference pages name everything that there is.

mod reference;

use tidewater_sqllogictest::play_page;

include!(concat!(env!("OUT_DIR"), "/docs_pages.rs"));
