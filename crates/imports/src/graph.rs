//! Edges between modules, and which of them lead to one.

use crate::modules::{Form, Modules};
use crate::statement::{Base, Found, Statement, Unknown};
use crate::{Place, Unreadable};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// One import of a module of the environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Edge {
    /// The module that it runs.
    pub target: String,
    /// Its line, from 1.
    pub line: usize,
    /// The import as it is written.
    pub text: String,
    /// Where it stands, and so when it runs.
    pub place: Place,
    /// Whether a call imports it, whose argument is a literal.
    pub dynamic: bool,
    /// Whether the target runs only because it is a package around what is named.
    pub around: bool,
}

impl Edge {
    /// Whether it is `from … import *`.
    pub fn is_star(&self) -> bool {
        self.text.ends_with(" import *")
    }

    /// Whether it is a statement that is written relative to a package.
    pub fn is_relative(&self) -> bool {
        self.text.starts_with("from .")
    }

    /// In a few words, when it runs.
    pub fn kind(&self) -> &'static str {
        match (self.place, self.dynamic) {
            (Place::TypeChecking, _) => "type checkers only",
            (_, true) => "dynamic",
            (Place::Top, _) => "always",
            (Place::Conditional, _) => "conditional",
            (Place::Inside, _) => "in a function",
            (Place::Getattr, _) => "lazily",
        }
    }

    /// How much is left open about whether it runs: 0 for nothing; `None` if it never does.
    pub(crate) fn doubt(&self) -> Option<usize> {
        Some(match (self.place, self.dynamic) {
            (Place::TypeChecking, _) => return None,
            (_, true) => 4,
            (Place::Top, _) => 0,
            (Place::Conditional, _) => 1,
            (Place::Inside, _) => 2,
            (Place::Getattr, _) => 3,
        })
    }
}

/// What a module imports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Imports of modules of the environment, in the order of the text.
    pub edges: Vec<Edge>,
    /// Calls that import what the text does not say.
    pub unknowns: Vec<Unknown>,
    /// Why nothing is known of it, where nothing is.
    pub problem: Option<String>,
}

/// One import on the way from one module to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The module that imports.
    pub importer: String,
    /// Its import.
    pub edge: Edge,
}

/// A module that would import another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Importer {
    /// Which.
    pub importer: String,
    /// Whether it was imported itself.
    pub hot: bool,
    /// How it would.
    pub edge: Edge,
}

/// The modules that were imported, each with its place in the order in which they were, where
/// that is known. A module is imported by one that came before it.
pub type Hot = BTreeMap<String, Option<u64>>;

/// The imports of an environment.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    modules: Modules,
    nodes: BTreeMap<String, Node>,
}

impl Graph {
    /// Reads the sources of `modules`; `text` gives that of the one at a path.
    pub fn read(
        modules: Modules,
        text: impl Fn(&str) -> Result<String, Unreadable> + Sync,
    ) -> Self {
        let all: Vec<(&str, &str)> = modules.iter().collect();
        let nodes = all
            .into_par_iter()
            .map(|(name, path)| (name.to_owned(), node(&modules, name, path, &text)))
            .collect();
        Self { modules, nodes }
    }

    /// The modules that were read.
    pub fn modules(&self) -> &Modules {
        &self.modules
    }

    /// What the module `name` imports.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// All modules, by name, and what they import.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(name, node)| (name.as_str(), node))
    }

    /// What importing the module `name` imports, by imports that `follow` allows.
    pub fn closure(&self, name: &str, follow: impl Fn(&Edge) -> bool) -> BTreeSet<String> {
        let start = self.modules.run_by(name).into_iter().map(|(part, _)| part).collect();
        reached(&start, |from| {
            let edges = self.nodes.get(from).map(|node| node.edges.as_slice()).unwrap_or_default();
            edges.iter().filter(|edge| follow(edge)).map(|edge| edge.target.as_str()).collect()
        })
    }

    /// Who would import the module `name`: hot ones first, then by how much is left open about
    /// whether they do, then by name and line. For type checkers alone comes last.
    pub fn importers(&self, hot: &Hot, name: &str) -> Vec<Importer> {
        let mut all: Vec<Importer> = Vec::new();
        for (from, node) in self.nodes.iter().filter(|(from, _)| *from != name) {
            let edges = node.edges.iter().filter(|edge| edge.target == name);
            all.extend(edges.map(|edge| Importer {
                importer: from.clone(),
                hot: hot.contains_key(from),
                edge: edge.clone(),
            }));
        }
        let doubt = |edge: &Edge| (edge.doubt().unwrap_or(9), edge.around);
        all.sort_by(|a, b| {
            let key = |one: &Importer| (!one.hot, doubt(&one.edge));
            key(a)
                .cmp(&key(b))
                .then_with(|| (&a.importer, a.edge.line).cmp(&(&b.importer, b.edge.line)))
        });
        all.dedup_by(|a, b| a.importer == b.importer && a.edge.line == b.edge.line);
        all
    }
}

/// What can be reached from `start` by the edges that `next` gives.
pub(crate) fn reached<'g>(
    start: &BTreeSet<String>,
    next: impl Fn(&str) -> Vec<&'g str>,
) -> BTreeSet<String> {
    let mut reached = start.clone();
    let mut open: Vec<String> = start.iter().cloned().collect();
    while let Some(from) = open.pop() {
        for target in next(&from) {
            if reached.insert(target.to_owned()) {
                open.push(target.to_owned());
            }
        }
    }
    reached
}

/// What the module at `path` imports.
fn node(
    modules: &Modules,
    name: &str,
    path: &str,
    text: &impl Fn(&str) -> Result<String, Unreadable>,
) -> Node {
    if modules.form(name) == Some(Form::Extension) {
        let problem = Some("it is a shared library: what its code imports is not known".to_owned());
        return Node { problem, ..Node::default() };
    }
    match text(path).and_then(|text| Found::in_text(&text)) {
        Ok(found) => Node {
            edges: found.statements.iter().flat_map(|one| edges(modules, name, one)).collect(),
            unknowns: found.unknowns,
            problem: None,
        },
        Err(error) => Node { problem: Some(error.to_string()), ..Node::default() },
    }
}

/// What one import of the module `name` runs.
fn edges(modules: &Modules, name: &str, statement: &Statement) -> Vec<Edge> {
    let base = match &statement.base {
        Base::Package => modules.package(name),
        Base::Module => name,
        Base::Named(package) => package,
    };
    let Some(module) = Modules::absolute(base, &statement.module) else { return Vec::new() };
    let mut targets = modules.run_by(&module);
    if let Some(member) = statement.member.as_deref().filter(|member| *member != "*") {
        let inner = format!("{module}.{member}");
        // An attribute of the package may have that name too; then nothing more runs.
        if modules.contains(&inner) {
            targets.push((inner, false));
        }
    }
    targets
        .into_iter()
        // The module itself and the packages around it run already.
        .filter(|(target, _)| {
            name.strip_prefix(target.as_str())
                .is_none_or(|rest| !(rest.is_empty() || rest.starts_with('.')))
        })
        .map(|(target, around)| Edge {
            target,
            line: statement.line,
            text: statement.text.clone(),
            place: statement.place,
            dynamic: statement.dynamic,
            around,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCES: [(&str, &str); 9] = [
        ("app/__init__.py", "from . import a, missing\nimport os\n"),
        (
            "app/a.py",
            "try:\n    from .deep import c\nexcept ImportError:\n    pass\nimport app.b\n",
        ),
        ("app/b.py", "import app\ndef f():\n    from app.deep.c import x\n    import app.cold\n"),
        ("app/deep/__init__.py", ""),
        ("app/deep/c.py", "import app.a\nfrom .. import b\nimport lib\n"),
        ("app/cold.py", "from lib import *\nimport importlib\nimportlib.import_module('lib')\n"),
        ("app/broken.py", "import (\n"),
        ("app/typed.py", "if TYPE_CHECKING:\n    import app.cold\n"),
        ("lib.py", "__import__(name)\n"),
    ];

    fn graph() -> Graph {
        let modules = Modules::new(SOURCES.iter().map(|(path, _)| *path));
        Graph::read(modules, |path| {
            let text = SOURCES.iter().find(|(known, _)| *known == path).map(|(_, text)| *text);
            Ok(text.unwrap_or_default().to_owned())
        })
    }

    fn hot(names: &[&str], ordered: bool) -> Hot {
        let number = |index: usize| ordered.then_some(index as u64);
        names.iter().enumerate().map(|(index, name)| ((*name).to_owned(), number(index))).collect()
    }

    const RAN: [&str; 6] = ["app", "app.a", "app.deep", "app.deep.c", "app.b", "lib"];

    #[test]
    fn packages_around_and_members_are_edges() {
        let graph = graph();
        let of = |name: &str| -> Vec<String> {
            let edges = graph.node(name).unwrap().edges.iter();
            edges.map(|edge| format!("{}:{} {}", edge.line, edge.kind(), edge.target)).collect()
        };
        assert_eq!(of("app"), ["1:always app.a"]);
        assert_eq!(
            of("app.a"),
            ["2:conditional app.deep", "2:conditional app.deep.c", "5:always app.b"]
        );
        assert_eq!(of("app.cold"), ["1:always lib", "3:dynamic lib"]);
        assert!(graph.node("app.cold").unwrap().edges[0].is_star());
        assert_eq!(graph.node("lib").unwrap().unknowns[0].function, "__import__");
        assert!(graph.node("app.broken").unwrap().problem.as_ref().unwrap().starts_with("line "));
    }

    #[test]
    fn a_chain_prefers_what_always_runs() {
        let graph = graph();
        for ordered in [true, false] {
            let hot = hot(&RAN, ordered);
            assert_eq!(graph.roots(&hot).into_iter().collect::<Vec<_>>(), ["app"]);
            let way = |to: &str| -> Vec<String> {
                let chain = graph.ways(&hot).chain(to).unwrap();
                chain.iter().map(|step| format!("{}:{}", step.importer, step.edge.line)).collect()
            };
            assert_eq!(way("app"), [""; 0]);
            assert_eq!(way("app.b"), ["app:1", "app.a:5"]);
            assert_eq!(way("lib"), ["app:1", "app.a:2", "app.deep.c:3"]);
            assert_eq!(graph.ways(&hot).chain("app.cold"), None);
        }
    }

    #[test]
    fn who_would_import_a_module_is_told_with_how() {
        let graph = graph();
        let found = graph.importers(&hot(&RAN, true), "app.cold");
        let shown: Vec<_> = found
            .iter()
            .map(|one| (one.importer.as_str(), one.hot, one.edge.line, one.edge.kind()))
            .collect();
        assert_eq!(
            shown,
            [("app.b", true, 4, "in a function"), ("app.typed", false, 2, "type checkers only")]
        );
        assert!(graph.importers(&hot(&RAN, true), "nothing").is_empty());
    }

    #[test]
    fn what_is_imported_is_closed_over_edges() {
        let graph = graph();
        let all = graph.closure("app.a", |edge| matches!(edge.place, Place::Top));
        assert_eq!(all.into_iter().collect::<Vec<_>>(), ["app", "app.a", "app.b"]);
    }
}
