//! What is said about an import.

use crate::edit::Change;
use crate::evidence::Evidence;
use crate::source::Source;
use crate::uses::Use;
use imports::{Import, Place};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Code {
    /// The name is never used.
    #[serde(rename = "TP101")]
    Unused,
    /// One function uses it, which does not always run.
    #[serde(rename = "TP102")]
    OneFunction,
    /// Only what depends on a condition uses it.
    #[serde(rename = "TP103")]
    Condition,
    /// A heavy package is there for one small thing.
    #[serde(rename = "TP104")]
    OneThing,
    /// Nothing is saved by narrowing or deferring it.
    #[serde(rename = "TP105")]
    SavesNothing,
    /// The file is not understood.
    #[serde(rename = "TP900")]
    Unreadable,
}

impl Code {
    /// Every rule.
    pub const ALL: [Self; 6] = [
        Self::Unused,
        Self::OneFunction,
        Self::Condition,
        Self::OneThing,
        Self::SavesNothing,
        Self::Unreadable,
    ];

    /// Its code.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unused => "TP101",
            Self::OneFunction => "TP102",
            Self::Condition => "TP103",
            Self::OneThing => "TP104",
            Self::SavesNothing => "TP105",
            Self::Unreadable => "TP900",
        }
    }

    /// What it is about.
    pub fn title(self) -> &'static str {
        match self {
            Self::Unused => "unused import",
            Self::OneFunction => "import that one function uses",
            Self::Condition => "import that only a condition's branch uses",
            Self::OneThing => "heavy import for one name",
            Self::SavesNothing => "nothing to save",
            Self::Unreadable => "file that is not understood",
        }
    }

    /// Whether it is only said.
    pub fn is_note(self) -> bool {
        self == Self::SavesNothing
    }
}

/// Something that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// The rule.
    pub code: Code,
    /// The file.
    pub path: String,
    /// Where the import's name is: line and column from 1.
    pub line: usize,
    /// See [`line`](Self::line).
    pub column: usize,
    /// What was found.
    pub message: String,
    /// What the import adds, where it was measured.
    pub cost: Option<Evidence>,
    /// Whether `--fix` rewrites it.
    pub fixable: bool,
    /// Why it does not.
    pub left: Option<String>,
    /// The rewriting.
    #[serde(skip)]
    pub change: Option<Change>,
}

/// Says what is to be said about `source`; `elsewhere` are names that other files of the
/// application take from it.
pub fn check(
    source: &Source,
    measured: &BTreeMap<String, Evidence>,
    elsewhere: &BTreeSet<String>,
) -> Vec<Finding> {
    let interface = source.path.file_name().is_some_and(|name| name == "__init__.py");
    let mut findings = Vec::new();
    for import in &source.uses.imports {
        let skip = import.place != Place::Top || import.is_star() || import.module == "__future__";
        if skip || interface {
            continue;
        }
        let evidence = measured.get(&import.text());
        let judged = Judged { source, import, evidence };
        let found = judged.finding(elsewhere.contains(import.bound()));
        findings.extend(found.filter(|finding| !marked(source, import, finding.code)));
    }
    findings
}

/// The texts of imports that could leave the top of the file, whatever they cost: what each
/// of them adds is measured beside those that stay.
pub fn candidates(source: &Source, elsewhere: &BTreeSet<String>) -> BTreeSet<String> {
    let heavy = Evidence { modules: u64::MAX, ..Evidence::default() };
    let all = source.uses.imports.iter().map(|import| (import.text(), heavy.clone())).collect();
    let found = check(source, &all, elsewhere);
    found.into_iter().filter_map(|finding| Some(finding.change?.import.text())).collect()
}

/// Whether the import's lines say that it is meant.
fn marked(source: &Source, import: &Import, code: Code) -> bool {
    source.lines(import.statement).lines().any(|line| {
        let Some((_, comment)) = line.split_once('#') else { return false };
        let comment = comment.to_ascii_lowercase();
        let Some((_, rest)) = comment.split_once("noqa") else { return false };
        let Some(codes) = rest.trim_start().strip_prefix(':') else { return true };
        let mut codes = codes.split([',', ' ']).map(str::trim);
        // The linters that came before know one of these rules by this code.
        codes.any(|named| {
            named.eq_ignore_ascii_case(code.name()) || (code == Code::Unused && named == "f401")
        })
    })
}

struct Judged<'a> {
    source: &'a Source,
    import: &'a Import,
    evidence: Option<&'a Evidence>,
}

impl Judged<'_> {
    fn finding(&self, elsewhere: bool) -> Option<Finding> {
        let uses = &self.source.uses;
        let bound = self.import.bound();
        let once = uses.bound.get(bound) == Some(&1);
        let named = uses.names.get(bound).map_or(&[][..], Vec::as_slice);
        let hidden = elsewhere || uses.words.contains(bound);
        if once && named.is_empty() {
            // `import a as a` is how a name is handed on on purpose.
            let import = self.import;
            let original = import.member.as_ref().unwrap_or(&import.module);
            let again = import.renamed.as_ref() == Some(original);
            if hidden || again {
                return None;
            }
            let message = format!("`{bound}` is never used");
            return Some(self.made(Code::Unused, message, Change::remove(self.import)));
        }
        let heavy = self.evidence.is_some_and(Evidence::is_heavy);
        if once
            && !hidden
            && let Some((code, message, change)) = self.place(named)
        {
            if heavy {
                return Some(self.made(code, message, change));
            }
            if self.evidence.is_some_and(|evidence| evidence.error.is_none()) {
                let message = format!("{message}, but deferring it saves nothing");
                return Some(self.made(Code::SavesNothing, message, None));
            }
        }
        if let Some(message) = self.one_thing(named).filter(|_| once) {
            return Some(self.made(Code::OneThing, message, None));
        }
        self.narrow().map(|message| self.made(Code::SavesNothing, message, None))
    }

    /// The one place that needs it, if it need not be loaded before.
    fn place(&self, named: &[Use]) -> Option<(Code, String, Option<Change>)> {
        let uses = &self.source.uses;
        let first = named.first()?;
        let bound = self.import.bound();
        let common = (0..first.branches.len())
            .rev()
            .find(|at| named.iter().all(|one| one.branches.get(*at) == first.branches.get(*at)));
        if let Some(branch) = common.and_then(|at| uses.branches.get(first.branches[at])) {
            let test = &self.source.text[branch.test];
            let short: String = test.split_whitespace().collect::<Vec<_>>().join(" ");
            let short: String = short.chars().take(60).collect();
            let message = format!("`{bound}` is used only where `{short}` decides");
            let change = branch.start.map(|start| Change::moved(self.import, start));
            return Some((Code::Condition, message, change));
        }
        let function = uses.functions.get(first.function?)?;
        let same = named.iter().all(|one| one.function == first.function);
        if !same || function.always {
            return None;
        }
        let message = format!("`{bound}` is used only in `{}`", function.name);
        let change = function.start.map(|start| Change::moved(self.import, start));
        Some((Code::OneFunction, message, change))
    }

    fn one_thing(&self, named: &[Use]) -> Option<String> {
        let evidence = self.evidence?;
        let names: BTreeSet<&[String]> =
            named.iter().map(|one| one.attributes.as_slice()).collect();
        let small = names.len() == 1 && named.len() <= 2;
        if !small || evidence.error.is_some() || evidence.milliseconds < 100.0 {
            return None;
        }
        let path = names.first()?.join(".");
        let dot = if path.is_empty() { "" } else { "." };
        Some(format!(
            "`{}` is loaded for `{}{dot}{path}` alone",
            self.import.module,
            self.import.bound()
        ))
    }

    /// Says that narrowing an import of a heavy package does not help.
    fn narrow(&self) -> Option<String> {
        let evidence = self.evidence.filter(|evidence| evidence.error.is_none())?;
        let parent = evidence.parent.as_ref().filter(|parent| parent.modules >= 50)?;
        let top = self.import.top();
        if evidence.beyond > 0 {
            return None;
        }
        let numbers = format!("{} modules in {:.0} ms", parent.modules, parent.milliseconds);
        Some(if self.import.module == top && self.import.member.is_none() {
            format!(
                "`import {top}` loads {numbers}; so does every import of a part of it, because {top}/__init__.py runs first"
            )
        } else {
            format!(
                "`{}` loads what `import {top}` loads, {numbers}: {top}/__init__.py runs either way",
                self.import.text()
            )
        })
    }

    fn made(&self, code: Code, message: String, change: Option<Change>) -> Finding {
        let left = change.as_ref().and_then(|change| self.left(change)).or_else(|| {
            let needs = !code.is_note() && change.is_none() && code != Code::OneThing;
            needs.then(|| "there is no line of its own to put it on".to_owned())
        });
        let (line, column) = self.source.position(self.import.alias.start());
        let change = change.filter(|_| left.is_none());
        Finding {
            code,
            path: self.source.path.display().to_string(),
            line,
            column,
            message,
            cost: self.evidence.cloned(),
            fixable: change.is_some(),
            left,
            change,
        }
    }

    /// Why a change cannot be proved to change nothing.
    fn left(&self, change: &Change) -> Option<String> {
        let uses = &self.source.uses;
        if let Some(name) = &uses.dynamic {
            return Some(format!("the file looks names up with `{name}`"));
        }
        if uses.compiles && change.to.is_some() {
            return Some("the file has functions compiled from their source".into());
        }
        let Some(evidence) = self.evidence else {
            return Some("it is a module of the application's own, which was not run".into());
        };
        if let Some(error) = &evidence.error {
            return Some(format!("it could not be imported: {error}"));
        }
        if !evidence.effects.is_empty() {
            let some: Vec<&str> = evidence.effects.iter().take(3).map(String::as_str).collect();
            return Some(format!("importing it changes {}", some.join(", ")));
        }
        change.obstacle(self.source)
    }
}
