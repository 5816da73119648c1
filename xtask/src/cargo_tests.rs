//! Runs of `cargo test`, with what matters of them at the end: what failed, what did not run
//! here, and what took long.

use crate::shell;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Programs of tests that are named as the slowest.
const SLOWEST: usize = 8;

/// What became of tests.
#[derive(Debug, Default)]
pub struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// Programs of tests with their seconds.
    programs: Vec<(f64, String)>,
    failures: Vec<String>,
}

impl Counts {
    /// Adds a line that cargo or a program of tests prints; `program` is the one at hand.
    fn add(&mut self, line: &str, program: &str) {
        if let Some(name) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failures.push(format!("{program}: {name}"));
        }
        let Some(rest) = line.strip_prefix("test result: ") else { return };
        let number = |what: &str| -> u64 {
            let before = rest.split(what).next().unwrap_or_default();
            before
                .rsplit([' ', '.'])
                .find(|word| !word.is_empty())
                .and_then(|word| word.parse().ok())
                .unwrap_or(0)
        };
        self.passed += number(" passed");
        self.failed += number(" failed");
        self.ignored += number(" ignored");
        let seconds = rest
            .rsplit("finished in ")
            .next()
            .and_then(|text| text.trim_end_matches('s').parse().ok());
        self.programs.push((seconds.unwrap_or(0.0), program.to_owned()));
    }

    /// Adds another run's.
    pub fn merge(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.programs.extend(other.programs);
        self.failures.extend(other.failures);
    }

    /// Says it.
    pub fn tell(&mut self) {
        self.programs.sort_by(|one, other| other.0.total_cmp(&one.0));
        let slowest: Vec<String> = self
            .programs
            .iter()
            .take(SLOWEST)
            .map(|(seconds, name)| format!("{name} {seconds:.0} s"))
            .collect();
        eprintln!("the slowest: {}", slowest.join(", "));
        for failure in &self.failures {
            eprintln!("failed: {failure}");
        }
        let Self { passed, failed, ignored, .. } = self;
        let how = if *ignored > 0 { " (the source says of each what it needs)" } else { "" };
        eprintln!("{passed} tests passed, {failed} failed, {ignored} were not run{how}");
    }
}

/// Runs a `cargo test` command, shows what it prints, and counts.
///
/// # Errors
/// It cannot be started. That tests fail is in the counts.
pub fn run(command: &mut Command) -> Result<Counts> {
    eprintln!("+ {}", shell::line(command));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", shell::line(command)))?;
    let (sender, lines) = std::sync::mpsc::channel();
    let outputs: [Option<Box<dyn std::io::Read + Send>>; 2] = [
        child.stdout.take().map(|one| Box::new(one) as _),
        child.stderr.take().map(|one| Box::new(one) as _),
    ];
    for output in outputs.into_iter().flatten() {
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
    }
    drop(sender);
    let (mut counts, mut program) = (Counts::default(), String::new());
    for line in lines {
        println!("{line}");
        // `     Running tests/cold.rs (target/debug/deps/cold-0123456789abcdef)`
        if let Some(name) = line.trim_start().strip_prefix("Running ") {
            let file = name.rsplit('/').next().unwrap_or(name);
            file.rsplit_once('-').map_or(file, |(name, _)| name).clone_into(&mut program);
        } else if let Some(name) = line.trim_start().strip_prefix("Doc-tests ") {
            program = format!("documentation of {name}");
        }
        counts.add(&line, &program);
    }
    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() && counts.failed == 0 {
        bail!("{} failed: {status}", shell::line(command));
    }
    Ok(counts)
}

/// Fails where a test did.
pub fn passed(counts: &Counts) -> Result<()> {
    match counts.failed {
        0 => Ok(()),
        failed => bail!("{failed} tests failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_cargo_are_counted() {
        let mut counts = Counts::default();
        counts.add("test one ... ok", "cold");
        counts.add("test two ... FAILED", "cold");
        counts.add(
            "test result: FAILED. 11 passed; 1 failed; 3 ignored; 0 measured; 0 filtered out; finished in 12.50s",
            "cold",
        );
        assert_eq!((counts.passed, counts.failed, counts.ignored), (11, 1, 3));
        assert_eq!(counts.failures, ["cold: two"]);
        assert_eq!(counts.programs, [(12.5, "cold".to_owned())]);
        assert!(passed(&counts).is_err());
    }
}
