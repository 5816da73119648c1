//! `taper lint` on programs that run, with modules that are really imported.

mod world;

use std::fs;
use std::process::Output;
use world::World;

const APP: &str = "#!/usr/bin/env python
\"\"\"A program.\"\"\"
import json
import os
import heavy  # a large one
from heavy.part import thing
import noisy
import helpers
from collections import (
    OrderedDict,
    defaultdict,
)


def rarely(x):
    return heavy.double(x)


def main():
    table = defaultdict(int)
    if os.environ.get('OPTIONAL'):
        print(rarely(thing(2)))
    print(sorted(table), helpers.value)


if __name__ == '__main__':
    main()
";

/// An environment with a module that loads ten others, and one that does more than that.
fn world() -> World {
    let world = World::new();
    let parts = (0..10).map(|n| format!("import heavy.m{n}\n")).collect::<Vec<_>>().concat();
    world.install("heavy/__init__.py", &format!("{parts}def double(x): return 2 * x\n"));
    for n in 0..10 {
        world.install(&format!("heavy/m{n}.py"), "");
    }
    world.install("heavy/part.py", "def thing(x): return x + 1\n");
    world.install("noisy.py", "import os\nos.environ['NOISY'] = '1'\n");
    fs::create_dir(world.path("app")).unwrap();
    fs::write(world.path("app/app.py"), APP).unwrap();
    fs::write(world.path("app/helpers.py"), "import json\nvalue = 3\n").unwrap();
    world
}

fn text(done: &Output) -> String {
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn runs(world: &World, optional: bool) -> String {
    let mut command = std::process::Command::new(world.path("env/bin/python"));
    command.arg(world.path("app/app.py"));
    if optional {
        command.env("OPTIONAL", "1");
    }
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    text(&done)
}

#[test]
fn imports_are_measured_and_rewritten_and_the_program_does_the_same() {
    let world = world();
    let before = [runs(&world, false), runs(&world, true)];
    let done = world.taper(&["lint", "app/app.py"]);
    let said = text(&done);
    assert_eq!(done.status.code(), Some(1), "{said}");
    for line in [
        "app/app.py:3:8: TP101 `json` is never used",
        "app/app.py:7:8: TP101 `noisy` is never used [adds 1 modules, ",
        "(left as it is: importing it changes os.environ",
        "app/app.py:10:5: TP101 `OrderedDict` is never used",
    ] {
        assert!(said.contains(line), "{said}");
    }
    assert_eq!(fs::read_to_string(world.path("app/app.py")).unwrap(), APP);

    let done = world.taper(&["lint", "--fix", "app"]);
    let fixed = fs::read_to_string(world.path("app/app.py")).unwrap();
    assert_eq!(done.status.code(), Some(1), "noisy is still there: {}", text(&done));
    // Another file names it in a text.
    fs::write(world.path("app/a_test.py"), "patched = 'helpers.json'\n").unwrap();
    let said = text(&world.taper(&["lint", "app"]));
    assert!(!said.contains("helpers.py"), "{said}");
    // Both imports of heavy leave together, which neither could alone.
    assert!(!fixed.contains("import json") && !fixed.contains("OrderedDict"), "{fixed}");
    assert!(fixed.contains("    import heavy  # a large one\n    return heavy"), "{fixed}");
    assert!(fixed.contains("        from heavy.part import thing\n        print("), "{fixed}");
    assert!(fixed.contains("import noisy\nimport helpers\n"), "{fixed}");
    assert_eq!([runs(&world, false), runs(&world, true)], before);
    let again = world.taper(&["lint", "--fix", "app"]);
    assert!(text(&again).contains("TP101 `noisy`"));
    assert_eq!(fs::read_to_string(world.path("app/app.py")).unwrap(), fixed);
}

#[test]
fn findings_are_json_and_sarif_and_settings_are_heard() {
    let world = world();
    let done = world.taper(&["lint", "--json", "app/app.py"]);
    let json: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let first = &json["findings"][0];
    assert_eq!((first["code"].as_str(), first["line"].as_u64()), (Some("TP101"), Some(3)));
    let done = world.taper(&["lint", "--format", "sarif", "app/app.py"]);
    let sarif: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "TP101");
    let settings = "[tool.taper.lint]\nignore = ['TP101', 'TP102', 'TP103']\n";
    fs::write(world.path("app/pyproject.toml"), settings).unwrap();
    let done = world.taper(&["lint", "app"]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done));
    fs::write(world.path("app/pyproject.toml"), "[tool.taper.lint]\nignroe = []\n").unwrap();
    let done = world.taper(&["lint", "app"]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(2));
    assert!(said.contains("pyproject.toml") && said.contains("ignroe"), "{said}");
}

#[test]
fn what_is_not_understood_is_said_and_left_alone() {
    let world = world();
    let files: [(&str, &[u8], &str); 3] = [
        ("broken.py", b"import json\ndef f(:\n", "TP900 line 2: "),
        ("latin.py", b"# coding: latin-1\nimport json\nx = '\xe9'\n", "the encoding latin-1"),
        ("bytes.py", b"import json\nx = '\xff'\n", "that is not UTF-8"),
    ];
    for (name, bytes, what) in files {
        let path = world.path(name);
        fs::write(&path, bytes).unwrap();
        let done = world.taper(&["lint", "--fix", name]);
        assert_eq!(done.status.code(), Some(1));
        assert!(text(&done).contains(what), "{}", text(&done));
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    let done = world.taper(&["lint", "nowhere.py"]);
    assert_eq!(done.status.code(), Some(2));
}
