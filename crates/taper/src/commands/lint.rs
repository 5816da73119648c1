//! `taper lint`.

use super::lint_files::{self, Settings};
use crate::args::{Global, Lint, Output};
use crate::exit::Exit;
use anyhow::{Context, Result};
use environment::Interpreter;
use lint::{Change, Code, Evidence, Finding, Source, Unreadable};
use report::bad_input;
use report::{Printer, megabytes};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

/// Passes over a file that `--fix` makes at most: what one rewrites may show what the next
/// one can.
const PASSES: usize = 6;

/// Runs the command.
pub fn run(command: &Lint, global: &Global, printer: &Printer) -> Result<Exit> {
    let interpreter = Interpreter::find(global.python.as_deref())?;
    let settings = Settings::of(&command.paths)?;
    let files = lint_files::find(&command.paths, &settings)?;
    if files.is_empty() {
        return Err(bad_input("there is no Python file among these paths"));
    }
    let (mut sources, mut findings) = (Vec::new(), Vec::new());
    for path in files {
        match Source::read(&path) {
            Ok(source) => sources.push(source),
            Err(Unreadable::Read(error)) => {
                return Err(bad_input(format!("cannot read {}: {error}", path.display())));
            }
            Err(problem) => findings.push(unreadable(&path, &problem)),
        }
    }
    let taken = taken(&sources);
    let nothing = BTreeSet::new();
    let mut rewritten = 0;
    for source in sources {
        let names = stem(&source.path).and_then(|stem| taken.get(stem)).unwrap_or(&nothing);
        let own = lint_files::beside(&source.path, &command.paths);
        let look = |source: &Source| {
            let (imports, own) = (&source.uses.imports, |top: &str| own.contains(top));
            let leaving = lint::candidates(source, names);
            let measure = || lint::measure(&interpreter.executable, imports, own, &leaving);
            let measured = printer.phase("measure", measure)?;
            Ok::<_, anyhow::Error>(lint::check(source, &measured, names))
        };
        let shown = source.path.display().to_string();
        let (mut source, mut found) = (source, Vec::new());
        for pass in 0..PASSES {
            found = look(&source)?;
            let changes: Vec<&Change> =
                settings.chosen(&found).iter().filter_map(|one| one.change.as_ref()).collect();
            let text = lint::apply(&source, &changes);
            if !command.fix || text == source.text || pass + 1 == PASSES {
                break;
            }
            write(&source.path, &text)?;
            rewritten += changes.len();
            source = Source::new(&source.path, text).map_err(|error| {
                anyhow::anyhow!("{shown} was written as Python does not read it: {error}")
            })?;
        }
        findings.extend(settings.chosen(&found).into_iter().cloned());
    }
    let warnings = findings.iter().filter(|finding| !finding.code.is_note()).count();
    match (global.json, command.format) {
        (true, _) => {
            let document = serde_json::json!({ "findings": findings, "rewritten": rewritten });
            println!("{document:#}");
        }
        (false, Output::Sarif) => {
            println!("{:#}", lint::sarif(&findings, env!("CARGO_PKG_VERSION")));
        }
        (false, Output::Text) => {
            for finding in &findings {
                println!("{}", line(finding));
            }
            printer.say(&format!("{warnings} to change, {rewritten} rewritten"));
        }
    }
    Ok(if warnings == 0 { Exit::Done } else { Exit::DoesNotHold })
}

/// One finding as a line.
fn line(finding: &Finding) -> String {
    let Finding { path, line, column, code, message, .. } = finding;
    let cost = finding.cost.as_ref().filter(|cost| cost.error.is_none());
    let cost = cost.map(|cost| format!(" [{}]", spent(cost))).unwrap_or_default();
    let left = match &finding.left {
        Some(why) => format!(" (left as it is: {why})"),
        None if finding.fixable => " (--fix rewrites it)".to_owned(),
        None => String::new(),
    };
    format!("{path}:{line}:{column}: {} {message}{cost}{left}", code.name())
}

fn spent(cost: &Evidence) -> String {
    if cost.modules == 0 {
        return "adds nothing".to_owned();
    }
    format!(
        "adds {} modules, {:.1} ms, {} of memory, {} of files",
        cost.modules,
        cost.milliseconds,
        megabytes(cost.memory),
        megabytes(cost.bytes)
    )
}

fn unreadable(path: &Path, problem: &Unreadable) -> Finding {
    let line = match problem {
        Unreadable::Syntax { line, .. } => *line,
        _ => 1,
    };
    Finding {
        code: Code::Unreadable,
        path: path.display().to_string(),
        line,
        column: 1,
        message: problem.to_string(),
        cost: None,
        fixable: false,
        left: None,
        change: None,
    }
}

fn stem(path: &Path) -> Option<&str> {
    path.file_stem()?.to_str()
}

/// The names that these files take from modules of each name.
fn taken(sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let stems: BTreeSet<&str> = sources.iter().filter_map(|source| stem(&source.path)).collect();
    for source in sources {
        // `mock.patch("helpers.np")`
        let words = &source.uses.words;
        let other =
            |word: &&String| stems.contains(word.as_str()) && stem(&source.path) != Some(word);
        for stem in words.iter().filter(other) {
            all.entry(stem.clone()).or_default().extend(words.iter().cloned());
        }
        for import in &source.uses.imports {
            let last = import.module.rsplit('.').next().unwrap_or_default();
            let names = all.entry(last.to_owned()).or_default();
            names.extend(import.member.clone());
            // `import helpers`, and `helpers.np` somewhere.
            let named = source.uses.names.get(import.bound()).into_iter().flatten();
            names.extend(named.filter_map(|one| one.attributes.first().cloned()));
            if let Some(member) = &import.member {
                let named = source.uses.names.get(import.bound()).into_iter().flatten();
                let names = all.entry(member.clone()).or_default();
                names.extend(named.filter_map(|one| one.attributes.first().cloned()));
            }
        }
    }
    all
}

/// Writes `text` so that the file is the old or the new one, with its rights.
fn write(path: &Path, text: &str) -> Result<()> {
    let context = || format!("cannot write {}", path.display());
    // A link stays one.
    let path = path.canonicalize().with_context(context)?;
    let folder = path.parent().context("a file without a folder")?;
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(context)?;
    file.write_all(text.as_bytes()).with_context(context)?;
    let rights = std::fs::metadata(&path).with_context(context)?.permissions();
    std::fs::set_permissions(file.path(), rights).with_context(context)?;
    file.persist(&path).with_context(context)?;
    Ok(())
}
