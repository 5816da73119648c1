//! What two sides agree on without a way to share it is the same on both.

use std::fs;
use std::path::Path;
use taper_format::store_error::{DAMAGED, FOREIGN, RANGE, TRUNCATED};
use taper_format::{ALLOCATORS, STUB, link, place, variable};

fn source(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runtime/python");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// The last part of a place, as the Python side joins it with its own folder.
fn file(place: &str) -> &str {
    place.strip_prefix(place::OWN).and_then(|rest| rest.strip_prefix('/')).unwrap()
}

#[test]
fn places_are_the_same() {
    for (name, what) in [
        ("__init__.py", place::RUNTIME),
        ("__init__.py", place::MODULES),
        ("tools.py", place::TOOLS),
        ("absent.py", place::PLAN),
    ] {
        let text = source(name);
        let joined = [format!("(_HERE, {:?})", file(what)), format!("._HERE, {:?})", file(what))];
        assert!(joined.iter().any(|words| text.contains(words)), "{name}: {what}");
    }
    let planned = file(place::PLANNED).strip_suffix(".py").unwrap();
    assert!(source("start.py").contains(&format!("from {} import {planned}\n", place::OWN)));
}

#[test]
fn the_line_in_place_of_a_module_is_the_same() {
    // The size of its file is compared with this one's and its end of line.
    let line = STUB.strip_suffix('\n').unwrap();
    assert!(source("__init__.py").contains(&format!("_STUB = b'{line}'\n")));
    assert!(source("__init__.py").contains("_STUB_SIZE = len(_STUB) + 1\n"));
}

#[test]
fn numbers_of_errors_are_the_same() {
    let text = source("__init__.py");
    let (_, table) = text.split_once("_ERRORS = {\n").unwrap();
    let (table, _) = table.split_once("}\n").unwrap();
    let told: Vec<i32> =
        table.lines().map(|line| line.split(':').next().unwrap().trim().parse().unwrap()).collect();
    assert_eq!(told, [FOREIGN, TRUNCATED, DAMAGED, RANGE]);
}

#[test]
fn variables_are_the_same() {
    let read = format!("os.environ.get({:?}", variable::EAGER);
    assert!(source("start.py").contains(&read));
    assert!(source("once.py").contains(&format!("with {}=1", variable::EAGER)));
}

#[test]
fn the_function_that_gives_allocators_is_the_same() {
    let text = source("gates.py");
    let library = ALLOCATORS.0.rsplit('/').next().unwrap();
    assert!(text.contains(&format!("library.{}\n", ALLOCATORS.1)) && text.contains(library));
}

/// The names in quotes that begin the lines of a table.
fn keys(text: &str, start: &str, quote: char) -> Vec<String> {
    let (_, table) = text.split_once(start).unwrap();
    let lines = table.lines().map(str::trim).take_while(|line| *line != "}");
    let name = |line: &str| Some(line.strip_prefix(quote)?.split(quote).next()?.to_owned());
    lines.filter_map(name).collect()
}

#[test]
fn what_is_changed_at_once_is_the_same_when_it_is_proved_and_when_it_is_done() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../startup/src/defer");
    let proved = fs::read_to_string(folder.join("prove.py")).unwrap();
    let proved = keys(&proved, "\nAT_ONCE = {\n", '"');
    assert!(!proved.is_empty());
    assert_eq!(proved, keys(&source("deferred.py"), "\n_AT_ONCE = {\n", '"'));
}

#[test]
fn the_functions_that_the_runtime_answers_are_the_same() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runtime/src");
    let text = fs::read_to_string(folder.join("bind.rs")).unwrap();
    let arms = text.lines().filter_map(|line| line.trim().strip_prefix("b\""));
    let named: Vec<(&str, &str)> =
        arms.filter_map(|arm| arm.split_once("\" => signals::")).collect();
    let names: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, link::ANSWERED);
    for (name, answer) in named {
        assert!(answer.starts_with(&format!("{}{name} ", link::PREFIX)), "{name}: {answer}");
    }
}
