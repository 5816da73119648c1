//! Programs of taper's own that run in the environment's interpreter.

use crate::child::bound;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs `script` with `python`, gives it `question` on standard input and `variables` in its
/// environment, and returns what it wrote to standard output.
///
/// # Errors
/// What the system said, or the last line of what the script said, where it did not end well.
pub fn ask(
    python: &Path,
    script: &str,
    question: &[u8],
    variables: &[(&str, &str)],
) -> Result<Vec<u8>, String> {
    let mut command = Command::new(python);
    command
        .args(["-B", "-W", "ignore", "-c", script])
        .envs(variables.iter().copied())
        // Nothing lies in this folder that could be imported.
        .current_dir("/proc/self/fdinfo")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = bound(&mut command).spawn().map_err(|error| error.to_string())?;
    if let Some(mut input) = child.stdin.take() {
        // If it ended, its exit code says more.
        let _ = input.write_all(question);
    }
    let done = child.wait_with_output().map_err(|error| error.to_string())?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(said.lines().last().unwrap_or("it said nothing").to_owned());
    }
    Ok(done.stdout)
}
