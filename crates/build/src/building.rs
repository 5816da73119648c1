//! A build that runs: copy, configure, compile, gather.

use crate::prepare::Prepared;
use crate::product::{gather, link};
use crate::steps::{self, Step, copy_tree, files, progress, unused};
use crate::work_folder::{Work, write_if_other};
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use package::Stage;
use report::Printer;
use source::choose::{Choice, Product};
use std::fs;
use std::path::{Path, PathBuf};

/// What became of a build.
pub enum Outcome {
    /// It was configured, as asked. Options of these names had no effect: where there are any,
    /// nothing is built.
    Configured {
        /// The names.
        ignored: Vec<String>,
        /// The work folder.
        work: PathBuf,
    },
    /// It is done.
    Built(Built),
}

/// A product that was built.
pub struct Built {
    /// Its folder.
    pub out: PathBuf,
    /// Its bytes.
    pub bytes: u64,
    /// Bytes of its libraries, as they were built.
    pub built: u64,
    /// Bytes of its libraries without debug information.
    pub stripped: u64,
    /// How programs are linked with it, where they are.
    pub link: Option<Vec<String>>,
    /// What stands in its description.
    pub described: serde_json::Value,
}

impl Prepared<'_> {
    /// Builds, as far as was asked. What is in the work folder is built on.
    ///
    /// # Errors
    /// A program that fails, with the last lines that it said; what cannot be written.
    pub fn run(mut self, printer: &Printer) -> Result<Outcome> {
        let (work, tree) = (&self.work, &self.tree);
        let _lock = work.lock()?;
        signals::say(format!(
            "the same command goes on with the build in {}; nothing else was written",
            work.folder.display()
        ));
        let copied = printer.phase("copy", || copy_tree(&tree.root, &work.tree()))?;
        printer.say(&format!("{copied} files of the tree are new in {}", work.tree().display()));
        if let Some(operators) = &self.operators {
            write_if_other(&work.operators(), &operators.to_mapping())?;
        }
        let ignored = configure(&self.steps, work, &self.choice, printer)?;
        let stage = self.stage.take();
        let (Some(stage), true) = (stage, ignored.is_empty()) else {
            return Ok(Outcome::Configured { ignored, work: work.folder.clone() });
        };
        printer.phase("build", || compile(&self.steps[1], &work.log("build"), printer))?;
        for (index, step) in self.steps[2..].iter().enumerate() {
            let log = work.log(&format!("finish-{}", index + 1));
            printer.phase("finish", || steps::run(step, &log, |_| {}))?;
        }
        Ok(Outcome::Built(self.finish(stage, printer)?))
    }

    /// Brings what was built into `stage`, without debug information, and describes it.
    fn finish(&self, stage: Stage, printer: &Printer) -> Result<Built> {
        let Self { request, tree, work, choice, python, .. } = self;
        gather(request.product, work, &stage, python)?;
        let (built, stripped) = printer.phase("strip", || steps::strip(stage.path()))?;
        let link =
            (request.product == Product::Lite).then(|| link(stage.path(), tree)).transpose()?;
        let described = serde_json::json!({
            "format": 1,
            "taper": env!("CARGO_PKG_VERSION"),
            "pytorch": tree.version,
            "product": request.product.name(),
            "options": choice.options,
            "environment": choice.environment,
            "operators": self.operators.as_ref().map(|operators| &operators.names),
            "link": link,
        });
        fs::write(stage.path().join("taper-build.json"), format!("{described:#}\n"))?;
        let mut bytes = 0;
        for path in files(stage.path())? {
            bytes += fs::metadata(path)?.len();
        }
        let out = stage.finish()?;
        Ok(Built { out, bytes, built, stripped, link, described })
    }
}

/// Configures the build. Gives the options that had no effect.
fn configure(
    steps: &[Step],
    work: &Work,
    choice: &Choice,
    printer: &Printer,
) -> Result<Vec<String>> {
    let log = work.log("configure");
    printer.phase("configure", || steps::run(&steps[0], &log, |_| {}))?;
    let said =
        fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let ignored = unused(&said);
    for name in &ignored {
        Printer::warn(&format!("this project does not use {name}; nothing was built"));
    }
    // What a condition in the tree overruled was not asked for in vain, but is said.
    let cache = fs::read_to_string(work.build().join("CMakeCache.txt")).unwrap_or_default();
    for chosen in &choice.options {
        let now = cached(&cache, &chosen.name);
        if let Some(now) = now.filter(|now| !same(now, &chosen.value)) {
            Printer::warn(&format!("CMake made {} {now:?}, not {:?}", chosen.name, chosen.value));
        }
    }
    Ok(ignored)
}

/// The value of a variable in the text of CMake's cache.
fn cached<'a>(cache: &'a str, name: &str) -> Option<&'a str> {
    cache.lines().find_map(|line| {
        let (_, value) = line.strip_prefix(name)?.strip_prefix(':')?.split_once('=')?;
        Some(value)
    })
}

fn same(now: &str, asked: &str) -> bool {
    use source::names::{is_false, is_truth};
    now == asked || (is_truth(now) && is_truth(asked) && is_false(now) == is_false(asked))
}

/// Compiles, with a bar on a terminal and a line every tenth part elsewhere.
fn compile(step: &Step, log: &Path, printer: &Printer) -> Result<()> {
    let bar = printer.shows_bars().then(|| {
        let bar = ProgressBar::new(1);
        // The template is a constant that indicatif's own tests cover.
        if let Ok(style) =
            ProgressStyle::with_template("build {bar:30} {pos}/{len} {elapsed} {eta} left")
        {
            bar.set_style(style);
        }
        bar
    });
    let mut tenth = 0;
    let result = steps::run(step, log, |line| {
        let Some((done, all)) = progress(line) else { return };
        if let Some(bar) = &bar {
            bar.set_length(all);
            bar.set_position(done);
        } else if done * 10 / all.max(1) > tenth {
            tenth = done * 10 / all.max(1);
            printer.say(&format!("built {done} of {all}"));
        }
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    result
}
