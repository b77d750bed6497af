//! One test per `.slt` file and setting, named `topic::file::setting`.
//!
//! `build.rs` writes the modules; `make slt ONLY=joins` plays those whose name holds `joins`.

use tidewater_sqllogictest::{Setting, play};

include!(concat!(env!("OUT_DIR"), "/slt_files.rs"));

fn check(file: &str, setting: Setting) {
    play(file, setting);
}
