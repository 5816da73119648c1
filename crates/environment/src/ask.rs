//! Programs of taper's own that run in the environment's interpreter: the one way to ask it.

use crate::child::bound;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long an answer may take. Those that import all of a large environment take minutes on a
/// busy machine; whatever takes longer than this hangs.
const LIMIT: Duration = Duration::from_mins(30);

/// Between two looks at whether a process has ended.
const PAUSE: Duration = Duration::from_millis(10);

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
        .current_dir("/proc/self/fdinfo");
    let done = answer(&mut command, question).map_err(|error| error.to_string())?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(said.lines().last().unwrap_or("it said nothing").to_owned());
    }
    Ok(done.stdout)
}

/// Runs `command` with `question` on its standard input, and gives how it ended and what it
/// wrote. It does not outlive this process.
///
/// # Errors
/// It cannot be started, or takes longer than half an hour: then it is ended.
pub fn answer(command: &mut Command, question: &[u8]) -> io::Result<Output> {
    within(command, question, LIMIT)
}

fn within(command: &mut Command, question: &[u8], limit: Duration) -> io::Result<Output> {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let end = Instant::now() + limit;
    let mut child = bound(command).spawn()?;
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    // Nobody waits for these where it hangs: what it started may hold the pipes.
    let question = question.to_vec();
    thread::spawn(move || {
        // If it ended before it read this, its exit code says more.
        input.map(|mut input| input.write_all(&question))
    });
    let output = thread::spawn(move || all(output));
    let errors = thread::spawn(move || all(errors));
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            let text = format!("it did not answer within {} seconds", limit.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        thread::sleep(PAUSE);
    };
    let read = |one: thread::JoinHandle<Vec<u8>>| one.join().unwrap_or_default();
    Ok(Output { status, stdout: read(output), stderr: read(errors) })
}

/// All that comes out of a pipe.
fn all(pipe: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What was read before an error is all there is to show.
        let _ = pipe.read_to_end(&mut bytes);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_is_asked_is_answered() {
        // More than a pipe holds, both ways.
        let question = vec![b'x'; 1 << 20];
        let done = answer(&mut shell("cat; echo what >&2; exit 3"), &question).unwrap();
        assert_eq!((done.stdout, done.stderr.as_slice()), (question, &b"what\n"[..]));
        assert_eq!(done.status.code(), Some(3));
    }

    #[test]
    fn what_hangs_is_ended() {
        let start = Instant::now();
        let mut command = shell("exec sleep 60");
        let error = within(&mut command, b"", Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.to_string(), "it did not answer within 1 seconds");
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
