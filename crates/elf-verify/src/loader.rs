//! Whether the real loader takes a library.

use crate::Fault;
use std::path::Path;
use std::process::{Command, Stdio};

/// The loader that the psABI names for x86-64.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// Asks the loader to map the library at `path`. No code of it runs, and the
/// libraries that it needs are not looked for.
pub fn loads(path: &Path) -> Result<(), Fault> {
    let refused = |reason: String| Fault::Refused { path: path.into(), reason };
    let done = Command::new(LOADER)
        .arg("--verify")
        .arg(path)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .map_err(|error| refused(error.to_string()))?;
    // 0 for a program, 2 for a library, which names no loader of its own.
    match done.status.code() {
        Some(0 | 2) => Ok(()),
        _ => Err(refused(String::from_utf8_lossy(&done.stderr).trim().to_owned())),
    }
}
