//! The graph beside what Python really imports. `cargo xtask test` names the environment.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use taper_imports::{Form, Graph, Hot, Modules, Place, name_of, read};

/// Prints the modules of site-packages in the order of `sys.modules`: their names by their
/// places, which is what an import found, whatever a module calls itself.
const PROGRAM: &str = "
import sys, importlib, sysconfig
root = sysconfig.get_paths()['purelib'] + '/'
importlib.import_module(sys.argv[1])
for name, module in list(sys.modules.items()):
    path = getattr(module, '__file__', None) or ''
    if path.startswith(root):
        print(path[len(root):])
";

fn files(root: &Path) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else {
                let path = entry.path();
                found.push(path.strip_prefix(root).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn what_python_imports_is_in_the_graph() {
    let folder = PathBuf::from(
        std::env::var_os("TAPER_TEST_ENV").expect("TAPER_TEST_ENV is set by cargo xtask test"),
    );
    let lib = std::fs::read_dir(folder.join("lib")).unwrap().next().unwrap().unwrap().path();
    let root = lib.join("site-packages");
    let files = files(&root);
    let start = Instant::now();
    let modules = Modules::new(files.iter().map(String::as_str));
    let graph = Graph::read(modules, |path| read(&root.join(path)));
    let count = graph.nodes().count();
    let edges: usize = graph.nodes().map(|(_, node)| node.edges.len()).sum();
    eprintln!("{count} modules, {edges} edges in {:.1} s", start.elapsed().as_secs_f64());
    let unread: Vec<(&str, &str)> = graph
        .nodes()
        .filter(|(name, _)| graph.modules().form(name) != Some(Form::Extension))
        .filter_map(|(name, node)| Some((name, node.problem.as_deref()?)))
        .collect();
    assert!(unread.len() < 10, "{unread:?}");
    for name in ["numpy", "torch.nn", "torchvision", "torch._dynamo"] {
        let done = Command::new(folder.join("bin/python"))
            .args(["-B", "-c", PROGRAM, name])
            .current_dir("/proc/self/fdinfo")
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let said = String::from_utf8(done.stdout).unwrap();
        let ran: Vec<String> =
            said.lines().filter_map(|path| name_of(path).map(|(name, _)| name)).collect();
        let sure = graph.closure(name, |edge| {
            matches!(edge.place, Place::Top | Place::Conditional) && !edge.dynamic
        });
        let maybe = graph.closure(name, |edge| edge.place != Place::TypeChecking);
        let missing: Vec<&String> = ran.iter().filter(|name| !sure.contains(*name)).collect();
        let lost: Vec<&&String> = missing.iter().filter(|name| !maybe.contains(**name)).collect();
        let by_files: BTreeSet<&String> = ran.iter().collect();
        eprintln!(
            "{name}: {} modules ran, {} imports of modules reach {}; beyond them {missing:?}, \
             and by no import in the text {lost:?}",
            by_files.len(),
            sure.len(),
            by_files.len() - missing.len(),
        );
        // What no import in the text reaches, something must import that the text does not
        // name: a call, or a library.
        let opaque = |package: &str| {
            graph.nodes().any(|(from, node)| {
                let near = from.split('.').next() == package.split('.').next();
                near && maybe.contains(from)
                    && (!node.unknowns.is_empty() || node.problem.is_some())
            })
        };
        assert!(lost.iter().all(|name| opaque(name)), "{lost:?}");
        assert!(missing.len() * 10 < ran.len(), "{} of {}", missing.len(), ran.len());
        // Each module that ran has a chain that begins with what was asked for.
        let hot: Hot =
            ran.iter().enumerate().map(|(at, name)| (name.clone(), Some(at as u64))).collect();
        let ways = graph.ways(&hot);
        let chained = ran.iter().filter(|name| ways.chain(name).is_some()).count();
        assert_eq!(chained, ran.len());
    }
}
