//! Everything that is decided before a build begins.

use crate::steps::Step;
use crate::tools::{self, Tools};
use crate::used_parts::uses;
use crate::work_folder::Work;
use crate::{Request, Until, text};
use anyhow::{Context, Result};
use environment::Interpreter;
use package::Stage;
use profile::Profile;
use report::{Printer, bad_input};
use signals::Cleaning;
use source::Tree;
use source::choose::{Choice, Chosen, Level, Processor, Wanted, choose};
use source::nearest::{Typed, check};
use source::operators::{self, Operators};
use std::fs;
use std::path::{Path, PathBuf};
use workload::Cpu;

/// A build of which everything is decided.
pub struct Prepared<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(crate) tree: Tree,
    pub(crate) work: Work,
    pub(crate) choice: Choice,
    pub(crate) operators: Option<Operators>,
    pub(crate) python: PathBuf,
    pub(crate) steps: Vec<Step>,
    /// The folder that is written, where one is.
    pub(crate) stage: Option<Stage>,
    pub(crate) _cleaning: Option<Cleaning>,
    /// The first line that each program says about its version, by name.
    pub versions: Vec<(&'static str, String)>,
}

impl Prepared<'_> {
    /// The choices and the commands for programs.
    pub fn document(&self) -> serde_json::Value {
        text::document(&self.choice, &self.tree, &self.steps)
    }

    /// The choices and the commands for people.
    pub fn text(&self) -> String {
        text::text(&self.choice, &self.tree, &self.steps)
    }
}

/// Reads the tree and the profiles, and decides how to build.
///
/// # Errors
/// What is wrong with the tree, the profiles, the options or the programs that a build needs.
pub fn prepare<'a>(request: &'a Request<'a>, printer: &Printer) -> Result<Prepared<'a>> {
    let tree = printer.phase("read", || Tree::open(request.source))?;
    for (file, why) in &tree.unread {
        Printer::warn(&format!("{file} is not understood, so its options are not known: {why}"));
    }
    let typed = typed(request.options)?;
    let profiles: Vec<Profile> =
        request.profiles.iter().map(|path| Profile::read(path)).collect::<Result<_, _>>()?;
    let operators = request.operators.map(read_operators).transpose()?;
    let work = Work::new(request, &tree)?;
    let interpreter = Interpreter::find(request.python);
    let python = python(request, interpreter.as_ref().ok());
    // The name that is taken is said before hours of building, not after.
    let stage = match request.until {
        Until::Built(to) => Some(Stage::new(to)?),
        Until::Decided | Until::Configured => None,
    };
    let cleaning = stage.as_ref().map(|stage| signals::remove_on_signal(stage.path()));
    let tools = if request.until == Until::Decided {
        Tools::unchecked()
    } else {
        tools::find(request.product, &python, tree.cmake.as_deref())?
    };
    for option in &typed {
        check(&tree, option, |name| tools.is_own(name))?;
    }
    let used = printer.phase("profile", || uses(&profiles, || interpreter))?;
    let wanted = Wanted {
        product: request.product,
        processor: processor(request.cpu),
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
    let steps = work.steps(&choice, request.jobs, &python);
    let versions = tools.versions;
    Ok(Prepared {
        request,
        tree,
        work,
        choice,
        operators,
        python,
        steps,
        stage,
        _cleaning: cleaning,
        versions,
    })
}

/// The user's own options.
fn typed(options: &[String]) -> Result<Vec<Typed>> {
    options
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

fn processor(cpu: Cpu) -> Processor {
    match cpu {
        Cpu::Any => Processor::Any,
        Cpu::V3 => Processor::V3,
        Cpu::V4 => Processor::V4,
        Cpu::Native => Processor::Native(match workload::cpu_level() {
            "avx512" => Level::Avx512,
            "avx2" => Level::Avx2,
            _ => Level::Default,
        }),
    }
}

/// The interpreter that runs code generators: the one that was named, or found, or the PATH's.
fn python(request: &Request<'_>, interpreter: Option<&Interpreter>) -> PathBuf {
    if let Some(named) = request.generators.or(request.python) {
        return std::path::absolute(named).unwrap_or_else(|_| named.into());
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
