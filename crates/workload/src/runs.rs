//! How often a workload runs, what ends it, and what is said of a run that fails.

use report::{Printer, bad_input, quoted};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};
use tracer::{Observations, Options, Status, Stopper, Workload};

/// Lines of a failed run's standard error that are shown.
const SHOWN: usize = 20;

/// How long the handler of signals may take to note that one came.
const NOTED: Duration = Duration::from_millis(500);

/// The runs of one command.
#[derive(Debug)]
pub struct Runs {
    limit: u32,
    /// When each is stopped.
    pub stop_after: Option<Duration>,
    made: Cell<u32>,
    stopped: Cell<bool>,
}

/// A workload and how it is run.
#[derive(Clone, Copy)]
pub struct Order<'a> {
    /// The command.
    pub command: &'a [OsString],
    /// Its runs.
    pub runs: &'a Runs,
    /// What else it will be run for, and how often.
    pub then: &'a [(&'a str, u32)],
}

impl Runs {
    /// None made yet, of at most `limit`.
    pub fn new(limit: Option<u32>, stop_after: Option<Duration>) -> Self {
        Self {
            limit: limit.unwrap_or(u32::MAX),
            stop_after,
            made: Cell::default(),
            stopped: Cell::default(),
        }
    }

    /// How many of `wanted` further runs may be made: none once a person has stopped one,
    /// for nobody would stop the next.
    pub fn allowed(&self, wanted: u32) -> u32 {
        if self.stopped.get() { 0 } else { wanted.min(self.limit - self.made.get()) }
    }

    /// Whether a person stopped a run.
    pub fn were_stopped(&self) -> bool {
        self.stopped.get()
    }

    /// Notes runs that something else makes.
    pub fn add(&self, made: u32) {
        self.made.set(self.made.get().saturating_add(made).min(self.limit));
    }

    /// Says, before the first, how often the workload is about to run, and why.
    pub fn announce(&self, levels: u32, others: &[(&str, u32)], printer: &Printer) {
        let mut left = self.allowed(u32::MAX);
        let mut parts = Vec::new();
        let mut all = 0;
        let levels = ("traced, once for each kind of processor", levels);
        for (what, wanted) in [levels].iter().chain(others) {
            // Two runs that are compared are made both or not at all.
            let made = if *what == levels.0 { left.min(*wanted) } else { *wanted };
            if made > 0 && made <= left {
                (left, all) = (left - made, all + made);
                parts.push(format!("{made} {what}"));
            }
        }
        if all > 1 {
            printer.say(&format!(
                "the workload runs {all} times: {}; --runs 1 runs it once",
                parts.join(", ")
            ));
        }
    }

    /// Runs `workload`; a signal to taper stops it meanwhile. A status that a stop explains is
    /// given as exit code 0.
    pub fn run(&self, workload: Workload, options: Options) -> Result<Observations, tracer::Error> {
        self.add(1);
        let stopper = Stopper::default();
        let options = Options { stopper: stopper.clone(), stop_after: self.stop_after, ..options };
        let stopping = signals::stop_on_signal(&stopper);
        let mut seen = tracer::run(workload, &options)?;
        if seen.status != Status::Exited(0) {
            // The end may be here before the note of who wanted it.
            let signalled = matches!(seen.status, Status::Signaled(_));
            let start = Instant::now();
            while signalled && !stopper.was_asked() && start.elapsed() < NOTED {
                std::thread::sleep(Duration::from_millis(5));
            }
            if stopper.explains(seen.status) {
                seen.status = Status::Exited(0);
            }
        }
        // Not where it ended by itself: then the next run does, too.
        if stopper.was_asked() && self.stop_after.is_none() {
            self.stopped.set(true);
        }
        drop(stopping);
        Ok(seen)
    }
}

/// The error for a run that did not end well. `variables` were set for it, and `stderr` is a
/// file with what it said, unless a person saw that.
pub fn failed(
    status: Status,
    capability: &str,
    command: &[OsString],
    variables: &BTreeMap<&str, String>,
    stderr: Option<&Path>,
) -> anyhow::Error {
    let how = match status {
        Status::Exited(code) => format!("ended with exit code {code}"),
        Status::Signaled(signal) => format!("was ended by signal {signal}"),
    };
    let words = command.iter().map(|word| quoted(&word.to_string_lossy()));
    let set = variables.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
    let line = set.chain(words).collect::<Vec<_>>().join(" ");
    let mut text = format!(
        "the workload {how} (CPU capability {capability}); taper packs what a successful run \
         uses: make this succeed first:\n  {line}"
    );
    if let Some(said) = stderr.and_then(|path| std::fs::read(path).ok()) {
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().collect();
        text.push_str("\nthe end of its standard error:");
        for line in &lines[lines.len().saturating_sub(SHOWN)..] {
            text.push_str("\n  ");
            text.extend(line.chars().take(300));
        }
    }
    bad_input(text)
}
