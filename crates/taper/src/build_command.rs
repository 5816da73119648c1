//! `taper build`: PyTorch from its sources, with what an application needs.
//!
//! Everything happens in a work folder: a copy of the tree (PyTorch's code generators write
//! into theirs, and two products would find each other's files), the build, the logs. What is
//! there is built on, so an interrupted build goes on.

use crate::args::{Build, Cpu, Global, Product};
use crate::build_product::{gather, link};
use crate::build_run::{self, Step, copy_tree, files, progress, unused};
use crate::build_text::{document, text};
use crate::build_tools::{self, Tools};
use crate::build_uses::uses;
use crate::build_work::{Work, write_if_other};
use crate::exit::{Exit, bad_input};
use crate::printer::{Printer, megabytes};
use crate::{capability, interrupt};
use anyhow::{Context, Result};
use environment::Interpreter;
use indicatif::{ProgressBar, ProgressStyle};
use package::Stage;
use profile::Profile;
use source::Tree;
use source::choose::{Choice, Chosen, Level, Processor, Wanted, choose};
use source::nearest::{Typed, check};
use source::operators::{self, Operators};
use std::fs;
use std::path::{Path, PathBuf};

/// Runs the command.
pub fn run(command: &Build, global: &Global, printer: &Printer) -> Result<Exit> {
    let tree = printer.phase("read", || Tree::open(&command.source))?;
    for (file, why) in &tree.unread {
        Printer::warn(&format!("{file} is not understood, so its options are not known: {why}"));
    }
    let typed = typed(command)?;
    let profiles: Vec<Profile> =
        command.profile.iter().map(|path| Profile::read(path)).collect::<Result<_, _>>()?;
    let operators = command.operators.as_deref().map(read_operators).transpose()?;
    let work = Work::new(command, &tree)?;
    let interpreter = Interpreter::find(global.python.as_deref());
    let python = python(command, global, interpreter.as_ref().ok());
    // The name that is taken is said before hours of building, not after.
    let building = !command.dry_run && !command.configure;
    let stage = command.to.as_deref().filter(|_| building).map(Stage::new).transpose()?;
    let _cleaning = stage.as_ref().map(|stage| interrupt::remove_on_signal(stage.path()));
    let tools = if command.dry_run {
        Tools::unchecked()
    } else {
        build_tools::find(command.product, &python, tree.cmake.as_deref())?
    };
    for option in &typed {
        check(&tree, option, |name| tools.is_own(name))?;
    }

    let used = printer.phase("profile", || uses(&profiles, || interpreter))?;
    let wanted = Wanted {
        product: product(command.product),
        processor: processor(command.target.cpu),
        uses: used,
        operators: operators.as_ref().map(|_| work.operators()),
        packages: packages(&python),
        python: python.clone(),
        prefix: work.prefix(),
        include: "/usr/include".into(),
        open_blas: has_open_blas(),
    };
    let mut choice = choose(&tree, &wanted)?;
    replace(&mut choice, &typed);
    notes(&mut choice, &tree, &profiles, operators.as_ref());
    let steps = work.steps(&choice, command, &python);
    if command.dry_run && global.json {
        println!("{:#}", document(&choice, &tree, &steps));
    } else if command.dry_run {
        print!("{}", text(&choice, &tree, &steps));
    } else {
        printer.say(text(&choice, &tree, &steps).trim_end());
    }
    if command.dry_run {
        return Ok(Exit::Done);
    }
    for (program, version) in &tools.versions {
        printer.say(&format!("{program}: {version}"));
    }
    let building =
        Building { command, global, tree: &tree, work: &work, choice: &choice, python: &python };
    building.run(&steps, operators.as_ref(), stage, printer)
}

/// A build of which everything is decided.
struct Building<'a> {
    command: &'a Build,
    global: &'a Global,
    tree: &'a Tree,
    work: &'a Work,
    choice: &'a Choice,
    python: &'a Path,
}

impl Building<'_> {
    fn run(
        &self,
        steps: &[Step],
        operators: Option<&Operators>,
        stage: Option<Stage>,
        printer: &Printer,
    ) -> Result<Exit> {
        let Self { command, global, tree, work, choice, .. } = *self;
        let _lock = work.lock()?;
        interrupt::say(format!(
            "the same command goes on with the build in {}; nothing else was written",
            work.folder.display()
        ));
        let copied = printer.phase("copy", || copy_tree(&tree.root, &work.tree()))?;
        printer.say(&format!("{copied} files of the tree are new in {}", work.tree().display()));
        if let Some(operators) = operators {
            write_if_other(&work.operators(), &operators.to_mapping())?;
        }
        let ignored = configure(steps, work, choice, printer)?;
        if command.configure || !ignored.is_empty() {
            if global.json {
                println!("{:#}", serde_json::json!({ "ignored": ignored, "work": work.folder }));
            }
            return Ok(if ignored.is_empty() { Exit::Done } else { Exit::DoesNotHold });
        }
        printer.phase("build", || build(&steps[1], &work.log("build"), printer))?;
        for (index, step) in steps[2..].iter().enumerate() {
            let log = work.log(&format!("finish-{}", index + 1));
            printer.phase("finish", || build_run::run(step, &log, |_| {}))?;
        }
        match stage {
            Some(stage) => self.finish(operators, stage, printer),
            None => Ok(Exit::Done),
        }
    }

    /// Brings what was built into `stage`, without debug information, and describes it.
    fn finish(
        &self,
        operators: Option<&Operators>,
        stage: Stage,
        printer: &Printer,
    ) -> Result<Exit> {
        let Self { command, global, tree, work, choice, python } = *self;
        gather(command.product, work, &stage, python)?;
        let (before, after) = printer.phase("strip", || build_run::strip(stage.path()))?;
        let link =
            (command.product == Product::Lite).then(|| link(stage.path(), tree)).transpose()?;
        let described = serde_json::json!({
            "format": 1,
            "taper": env!("CARGO_PKG_VERSION"),
            "pytorch": tree.version,
            "product": command.product.name(),
            "options": choice.options,
            "environment": choice.environment,
            "operators": operators.map(|operators| &operators.names),
            "link": link,
        });
        fs::write(stage.path().join("taper-build.json"), format!("{described:#}\n"))?;
        let mut bytes = 0;
        for path in files(stage.path())? {
            bytes += fs::metadata(path)?.len();
        }
        let out = stage.finish()?;
        if global.json {
            let document = serde_json::json!({
                "out": out,
                "bytes": bytes,
                "libraries": { "built": before, "stripped": after },
                "build": described,
                "seconds": printer.seconds(),
            });
            println!("{document:#}");
            return Ok(Exit::Done);
        }
        printer.say(&format!(
            "{}: {}; its libraries have {}, {} before strip",
            out.display(),
            megabytes(bytes),
            megabytes(after),
            megabytes(before)
        ));
        match link {
            Some(words) => printer.say(&format!("link with: {}", words.join(" "))),
            None => printer.say(&format!("use with: PYTHONPATH={}", out.display())),
        }
        Ok(Exit::Done)
    }
}

/// The user's own options.
fn typed(command: &Build) -> Result<Vec<Typed>> {
    command
        .options
        .iter()
        .map(|argument| {
            Typed::parse(argument).ok_or_else(|| {
                bad_input(format!("{argument}: options for CMake are written as -DNAME=VALUE"))
            })
        })
        .collect()
}

fn read_operators(path: &Path) -> Result<Operators> {
    let context = || format!("cannot read the operators in {}", path.display());
    let size = fs::metadata(path).map_err(|error| bad_input(format!("{}: {error}", context())))?;
    if size.len() > operators::MAX_BYTES {
        return Err(bad_input(format!("{}: it has {} bytes", context(), size.len())));
    }
    let text =
        fs::read_to_string(path).map_err(|error| bad_input(format!("{}: {error}", context())))?;
    Operators::parse(&text).with_context(context)
}

fn product(product: Product) -> source::choose::Product {
    match product {
        Product::Python => source::choose::Product::Python,
        Product::Lite => source::choose::Product::Lite,
    }
}

fn processor(cpu: Cpu) -> Processor {
    match cpu {
        Cpu::Any => Processor::Any,
        Cpu::V3 => Processor::V3,
        Cpu::V4 => Processor::V4,
        Cpu::Native => Processor::Native(match capability::here() {
            "avx512" => Level::Avx512,
            "avx2" => Level::Avx2,
            _ => Level::Default,
        }),
    }
}

/// The interpreter that runs code generators: the one that was named, or found, or the PATH's.
fn python(command: &Build, global: &Global, interpreter: Option<&Interpreter>) -> PathBuf {
    if let Some(named) = command.generators.as_ref().or(global.python.as_ref()) {
        return std::path::absolute(named).unwrap_or_else(|_| named.clone());
    }
    interpreter.map_or_else(|| "python3".into(), |found| found.executable.clone())
}

/// The folder of an interpreter's packages, where pybind11 has its CMake files.
fn packages(python: &Path) -> Option<PathBuf> {
    let program = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let done = std::process::Command::new(python).args(["-c", program]).output().ok()?;
    let text = String::from_utf8(done.stdout).ok()?;
    done.status.success().then(|| PathBuf::from(text.trim()))
}

fn has_open_blas() -> bool {
    [
        "/usr/lib/x86_64-linux-gnu/libopenblas.so",
        "/usr/lib64/libopenblas.so",
        "/usr/lib/libopenblas.so",
    ]
    .iter()
    .any(|path| Path::new(path).exists())
}

/// Puts the user's options in the place of chosen ones.
fn replace(choice: &mut Choice, typed: &[Typed]) {
    for option in typed {
        choice.options.retain(|chosen| chosen.name != option.name);
        choice.options.push(Chosen {
            name: option.name.clone(),
            value: option.value.clone(),
            reason: "you asked for it".into(),
            effect: source::effects::of(&option.name),
            place: None,
        });
    }
}

fn notes(choice: &mut Choice, tree: &Tree, profiles: &[Profile], operators: Option<&Operators>) {
    if profiles.is_empty() {
        choice.notes.push(
            "no profile: parts stay unless the target or the sources rule them out; \
             give one with --profile (taper trace makes it)"
                .into(),
        );
    }
    let versions: std::collections::BTreeSet<&str> = profiles
        .iter()
        .map(|profile| profile.torch.split('+').next().unwrap_or_default())
        .filter(|version| *version != tree.version)
        .collect();
    if !versions.is_empty() {
        choice.notes.push(format!(
            "the profile is of torch {}, the tree of {}: what it uses may differ",
            versions.into_iter().collect::<Vec<_>>().join(" and "),
            tree.version
        ));
    }
    if let Some(operators) = operators {
        choice.notes.push(format!("{} operators are selected", operators.names.len()));
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
    printer.phase("configure", || build_run::run(&steps[0], &log, |_| {}))?;
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
fn build(step: &Step, log: &Path, printer: &Printer) -> Result<()> {
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
    let result = build_run::run(step, log, |line| {
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
