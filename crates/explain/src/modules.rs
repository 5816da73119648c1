//! Why modules have their fates: who imports them.

use crate::files::FileAnswer;
use imports::{Form, Graph, Hot, Step, Unknown, Ways};
use ledger::{File, Ledger};
use serde::Serialize;

/// Importers and calls that are shown of many.
const SHOWN: usize = 8;

/// A module.
#[derive(Debug, Serialize)]
pub struct ModuleAnswer {
    /// Its dotted name.
    pub name: String,
    /// Its file; none for a folder that Python makes a module of.
    pub file: Option<FileAnswer>,
    /// Whether a workload imported it.
    pub imported: bool,
    /// Whether the environment's sources say who imports it.
    pub known: bool,
    /// The imports that lead to one that workloads imported: empty where no other module of
    /// the environment imports it by name; none without the environment.
    pub chain: Option<Vec<Imported>>,
    /// The first module of the chain that is imported in a function or by a call: whether that
    /// ran is not known, and the application may have imported it itself.
    pub unsure: Option<String>,
    /// Who would import one that no workload imported, some of them; those that were imported
    /// come first.
    pub importers: Vec<Imported>,
    /// How many would.
    pub importers_all: usize,
    /// Calls in imported modules that import what their text does not say, where no import by
    /// name leads to it.
    pub calls: Vec<Call>,
    /// Whether it is deferred.
    pub waiting: Option<Waiting>,
}

/// One import.
#[derive(Debug, Serialize)]
pub struct Imported {
    /// The module that imports.
    pub importer: String,
    /// Its path in site-packages.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// When the import runs.
    pub kind: &'static str,
    /// The import as it is written.
    pub text: String,
    /// What it imports.
    pub target: String,
    /// Whether a workload imported the module that imports.
    pub hot: bool,
    /// Whether the target is only a package around what is named.
    pub around: bool,
}

/// A call that imports what the text does not say.
#[derive(Debug, Serialize)]
pub struct Call {
    /// Its path in site-packages.
    pub path: String,
    /// The call.
    #[serde(flatten)]
    pub call: Unknown,
}

/// Whether a module is deferred, and until when.
#[derive(Debug, Serialize)]
pub struct Waiting {
    /// The module that begins its group.
    pub group: String,
    /// Whether it is deferred.
    pub waits: bool,
    /// What the group changes that nothing would notice in time.
    pub objections: Vec<String>,
    /// What runs it.
    #[serde(flatten)]
    pub gates: ledger::Gates,
}

/// The imports of the environment, with what leads to each module.
pub struct Imports {
    graph: Graph,
    hot: Hot,
    ways: Ways,
}

impl Imports {
    /// Of `graph`, where workloads imported `hot`.
    pub fn new(graph: Graph, mut hot: Hot) -> Self {
        // Libraries that others link against are no modules.
        hot.retain(|name, _| graph.modules().path(name).is_some());
        let ways = graph.ways(&hot);
        Self { graph, hot, ways }
    }

    /// How many modules that workloads imported are not as they were, or not understood.
    pub fn unknown(&self) -> usize {
        let source = |name: &str| self.graph.modules().form(name) != Some(Form::Extension);
        let nodes = self.graph.nodes().filter(|(name, _)| self.hot.contains_key(*name));
        nodes.filter(|(name, node)| source(name) && node.problem.is_some()).count()
    }

    fn line(&self, step: &Step) -> Imported {
        let edge = &step.edge;
        Imported {
            importer: step.importer.clone(),
            path: self.graph.modules().path(&step.importer).unwrap_or_default().to_owned(),
            line: edge.line,
            kind: edge.kind(),
            text: edge.text.clone(),
            target: edge.target.clone(),
            hot: self.hot.contains_key(&step.importer),
            around: edge.around,
        }
    }

    /// Calls in modules that were imported, near `name`: in packages around it first.
    fn calls(&self, name: &str) -> Vec<Call> {
        // Whole packages are seldom imported by such calls in themselves.
        if !name.contains('.') {
            return Vec::new();
        }
        let top = name.split('.').next().unwrap_or(name);
        let mut found = Vec::new();
        for (from, node) in self.graph.nodes() {
            let near = from.split('.').next() == Some(top) && self.hot.contains_key(from);
            if near && let Some(path) = self.graph.modules().path(from) {
                let calls = node.unknowns.iter().filter(|call| call.function != "exec");
                let common =
                    name.split('.').zip(from.split('.')).take_while(|(a, b)| a == b).count();
                found.extend(calls.map(|call| (common, path, call)));
            }
        }
        found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| (a.1, a.2.line).cmp(&(b.1, b.2.line))));
        found
            .into_iter()
            .take(SHOWN)
            .map(|(_, path, call)| Call { path: path.to_owned(), call: call.clone() })
            .collect()
    }
}

/// The answer for the module `name`; without `imports`, what the record alone says.
pub fn module(
    ledger: &Ledger,
    name: &str,
    file: Option<&File>,
    imports: Option<&Imports>,
) -> ModuleAnswer {
    let group = |group: &&ledger::Group| {
        group.root == name || group.members.iter().any(|member| member == name)
    };
    let waiting = ledger.about.groups.iter().find(group).map(|group| Waiting {
        group: group.root.clone(),
        waits: group.is_deferred(),
        objections: group.objections.clone(),
        gates: group.gates.clone(),
    });
    let imported = file.is_some_and(File::ran);
    let mut answer = ModuleAnswer {
        name: name.to_owned(),
        file: file.map(|file| FileAnswer::of(ledger, file)),
        imported,
        known: imports.is_some(),
        chain: None,
        unsure: None,
        importers: Vec::new(),
        importers_all: 0,
        calls: Vec::new(),
        waiting,
    };
    let Some(imports) = imports else { return answer };
    if imported {
        let chain = imports.ways.chain(name).unwrap_or_default();
        if chain.is_empty() {
            answer.calls = imports.calls(name);
        }
        let sure = |step: &&Step| matches!(step.edge.kind(), "always" | "conditional");
        answer.unsure = chain.iter().find(|step| !sure(step)).map(|step| step.edge.target.clone());
        answer.chain = Some(chain.iter().map(|step| imports.line(step)).collect());
        return answer;
    }
    let found = imports.graph.importers(&imports.hot, name);
    answer.importers_all = found.len();
    let steps =
        found.into_iter().take(SHOWN).map(|one| Step { importer: one.importer, edge: one.edge });
    answer.importers = steps.map(|step| imports.line(&step)).collect();
    if answer.importers.is_empty() {
        answer.calls = imports.calls(name);
    }
    answer
}
