//! Prints progress, warnings and errors: on standard error, never in the way of `--json`.

use indicatif::{ProgressBar, ProgressStyle};
use std::cell::RefCell;
use std::io::IsTerminal;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a long phase says how far it is, on a terminal and elsewhere.
const LIVE: Duration = Duration::from_millis(250);
const PLAIN: Duration = Duration::from_secs(10);

/// What phases do, which a person is told where one takes long and says nothing else.
const DOING: [(&str, &str); 9] = [
    ("scan", "lists what is installed"),
    ("view", "looks for what only a GPU needs"),
    ("profile", "compares profiles with the environment"),
    ("record", "runs the workload for its operators"),
    ("defer", "imports torch under observation"),
    ("plan", "decides about files and pages"),
    ("verify", "runs the command in the environment and in the package"),
    ("inspect", "looks at every file"),
    ("imports", "reads all modules"),
];

/// Prints what one command reports.
pub struct Printer {
    quiet: bool,
    terminal: bool,
    /// Names and durations of finished phases.
    phases: RefCell<Vec<(&'static str, Duration)>>,
    /// What the phase at hand does.
    step: Arc<Mutex<Step>>,
}

/// A part of a phase.
#[derive(Debug, Default)]
struct Step {
    text: String,
    /// What compressors had been given, and had done, before it.
    before: (u64, u64),
}

impl Step {
    /// What is done, and how much of it where that is known.
    fn told(&self) -> String {
        let (given, done) = store::amounts();
        let (given, done) = (given - self.before.0, done - self.before.1);
        match (self.text.as_str(), given) {
            ("", _) => String::new(),
            (text, 0) => format!(": {text}"),
            (text, given) => format!(": {text}, {} %", done * 100 / given),
        }
    }
}

impl Printer {
    /// One that, where `quiet`, prints nothing but errors and warnings.
    pub fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { quiet, terminal, phases: RefCell::default(), step: Arc::default() }
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

    /// Says what the phase at hand does from now on, where it takes long.
    pub fn step(&self, text: impl Into<String>) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) =
            Step { text: text.into(), before: store::amounts() };
    }

    /// Runs one phase, with signs of life meanwhile and its duration afterwards.
    pub fn phase<T>(&self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let doing = DOING.iter().find(|(phase, _)| *phase == name);
        self.step(doing.map_or("", |(_, doing)| doing));
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
        let result = std::thread::scope(|scope| {
            let (_working, ended) = channel::<()>();
            if !self.quiet {
                let (step, bar) = (Arc::clone(&self.step), bar.clone());
                let told = move || step.lock().unwrap_or_else(PoisonError::into_inner).told();
                let every = if bar.is_some() { LIVE } else { PLAIN };
                scope.spawn(move || {
                    while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                        match &bar {
                            Some(bar) => bar.set_message(format!("{name}{}", told())),
                            None => eprintln!("{name}{} ({} s)", told(), start.elapsed().as_secs()),
                        }
                    }
                });
            }
            work()
        });
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
