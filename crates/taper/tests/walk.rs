//! `docs/walk.md` names functions that exist, each in the file that it says.

use std::fs;
use std::path::Path;

/// Functions and their files, as in `` `name` (`path`) `` or `` `name`, `path` ``.
fn named(text: &str) -> Vec<(&str, &str)> {
    let quoted: Vec<&str> = text.split('`').collect();
    // Every second part stands between quotes.
    let beside = |between: &str| {
        let between = between.trim();
        between == "(" || between == ","
    };
    (1..quoted.len().saturating_sub(2))
        .step_by(2)
        .filter(|at| beside(quoted[at + 1]) && quoted[at + 2].contains('/'))
        .map(|at| (quoted[at], quoted[at + 2]))
        .collect()
}

#[test]
fn every_function_of_the_walk_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = fs::read_to_string(root.join("docs/walk.md")).unwrap();
    let mut missing = Vec::new();
    let all = named(&text);
    for (name, path) in &all {
        let source = fs::read_to_string(root.join(path)).unwrap_or_default();
        let starts = [format!("fn {name}("), format!("fn {name}<"), format!("def {name}(")];
        if !starts.iter().any(|start| source.contains(start)) {
            missing.push(format!("{name} in {path}"));
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(all.len() > 40, "{}", all.len());
}
