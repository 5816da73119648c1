//! The Python side of the runtime has the same constants.

use std::fs;
use std::path::Path;
use taper_format::store_error::{DAMAGED, FOREIGN, RANGE, TRUNCATED};
use taper_format::{ALLOCATORS, STUB, place, variable};

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
