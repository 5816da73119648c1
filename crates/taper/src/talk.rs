//! What taper says while it works: on standard error, never in the way of `--json`.

use crate::args::Global;
use indicatif::{ProgressBar, ProgressStyle};
use std::cell::RefCell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// The voice of one command.
pub struct Talk {
    quiet: bool,
    terminal: bool,
    /// Names and durations of finished phases.
    phases: RefCell<Vec<(&'static str, Duration)>>,
}

impl Talk {
    /// Speaks as `global` asks.
    pub fn new(global: &Global) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { quiet: global.quiet, terminal, phases: RefCell::default() }
    }

    /// One line of news.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// Whether work may be shown as a bar.
    pub fn shows_bars(&self) -> bool {
        self.terminal && !self.quiet
    }

    /// Something that a person should know although the work goes on.
    pub fn warn(text: &str) {
        eprintln!("warning: {text}");
    }

    /// An error and what led to it, which no flag silences.
    pub fn error(error: &anyhow::Error) {
        let mut said = error.to_string();
        eprintln!("error: {said}");
        for cause in error.chain().skip(1).map(ToString::to_string) {
            // A transparent error repeats the words of its source.
            if !said.contains(&cause) {
                eprintln!("  because: {cause}");
            }
            said = cause;
        }
    }

    /// Runs one phase, with a sign of life on a terminal and its duration afterwards.
    pub fn phase<T>(&self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let bar = (self.terminal && !self.quiet).then(|| {
            let bar = ProgressBar::new_spinner().with_message(name);
            // The template is a constant that indicatif's own tests cover.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let start = Instant::now();
        let result = work();
        let spent = start.elapsed();
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        self.say(&format!("{name:<8} {:6.1} s", spent.as_secs_f64()));
        self.phases.borrow_mut().push((name, spent));
        result
    }

    /// Seconds spent in each phase so far.
    pub fn seconds(&self) -> std::collections::BTreeMap<&'static str, f64> {
        let mut sums = std::collections::BTreeMap::new();
        for (name, spent) in self.phases.borrow().iter() {
            *sums.entry(*name).or_insert(0.0) += spent.as_secs_f64();
        }
        sums
    }
}

/// Bytes as MB = 10^6, as every size is printed.
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
