//! The rules and the rewriting, with evidence that is made up.

use crate::{Change, Code, Evidence, Finding, Source, apply, check};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Evidence for the imports of a source: those of `heavy…` are heavy, those of `effect…`
/// change something else.
fn evidence(source: &Source) -> BTreeMap<String, Evidence> {
    let one = |import: &crate::Import| {
        let modules = if import.top().starts_with("heavy") { 40 } else { 0 };
        let effects =
            if import.top().starts_with("effect") { vec!["atexit".into()] } else { vec![] };
        (import.text(), Evidence { modules, effects, ..Evidence::default() })
    };
    source.uses.imports.iter().map(one).collect()
}

fn read(text: &str) -> Source {
    Source::new(Path::new("app.py"), text.into()).unwrap()
}

fn found(text: &str) -> Vec<Finding> {
    let source = read(text);
    check(&source, &evidence(&source), &BTreeSet::new())
}

fn codes(text: &str) -> Vec<(Code, bool)> {
    found(text).into_iter().map(|finding| (finding.code, finding.fixable)).collect()
}

/// Rewrites until nothing changes.
fn fixed(text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..6 {
        let findings = found(&text);
        let changes: Vec<&Change> = findings.iter().filter_map(|one| one.change.as_ref()).collect();
        text = apply(&read(&text), &changes);
    }
    text
}

#[test]
fn what_is_never_used_leaves_and_what_may_be_used_stays() {
    assert_eq!(codes("import a\n"), [(Code::Unused, true)]);
    assert_eq!(codes("import effect\n"), [(Code::Unused, false)]);
    for kept in [
        "import a\na.f()\n",
        "import a  # noqa\n",
        "import a  # noqa: E501, F401\n",
        "import a  # noqa: TP101 - read by plugins\n",
        "import a as a\n",
        "import a\n__all__ = ['a']\n",
        "import a\nx: 'a.B' = None\n",
        "from a import *\n",
        "from __future__ import annotations\n",
        "try:\n    import a\nexcept ImportError:\n    pass\n",
        "import a\nimport a.b\n",
        "import a\ndef f(a):\n    return 1\n",
    ] {
        assert_eq!(codes(kept), [], "{kept}");
    }
    assert_eq!(codes("import a  # noqa: TP102\n"), [(Code::Unused, true)]);
    assert_eq!(codes("import a\neval('1')\n"), [(Code::Unused, false)]);
}

#[test]
fn what_a_branch_or_a_function_needs_moves_there() {
    let before =
        "import os\nimport heavy  # slow\n\nif os.environ.get('X'):\n    # now\n    heavy.go()\n";
    let after = "import os\n\nif os.environ.get('X'):\n    # now\n    import heavy  # slow\n    heavy.go()\n";
    assert_eq!(found(before)[0].code, Code::Condition);
    assert_eq!(fixed(before), after);
    let before = "from heavy import (\n    One,\n    two as three,\n)\n\ndef rare(x):\n    'Doc.'\n    return three(x)\n\nOne()\n";
    let after = "from heavy import (\n    One,\n)\n\ndef rare(x):\n    'Doc.'\n    from heavy import two as three\n    return three(x)\n\nOne()\n";
    assert_eq!(fixed(before), after);
    // It always runs, in one way or another.
    for kept in [
        "import heavy\ndef main():\n    heavy.go()\nmain()\n",
        "import heavy\ndef inner():\n    heavy.go()\ndef main():\n    inner()\nif __name__ == '__main__':\n    main()\n",
        "import heavy\ndef f():\n    heavy.go()\nstart(target=f)\n",
        "import heavy\nclass A:\n    def f(self):\n        heavy.go()\n",
        "import heavy\ndef f(x=heavy.X):\n    heavy.go()\n",
        "import heavy\ndef f(x: heavy.X):\n    heavy.go()\n",
        "import heavy\nif c:\n    heavy.go()\nelse:\n    heavy.stop()\n",
        "import heavy\nwhile heavy.go():\n    pass\n",
    ] {
        assert_eq!(fixed(kept), kept);
    }
    // It could not be proved, or there is no place.
    for kept in [
        "import heavy\nif c: heavy.go()\n",
        "import heavy; x = 1\nif c:\n    heavy.go()\n",
        "import heavy, torch\n@torch.jit.script\ndef f():\n    heavy.go()\n",
        "import heavy\nimport torch\ndef f():\n    heavy.go()\ng = torch.compile(f2)\n",
    ] {
        assert_eq!(fixed(kept), kept);
    }
    assert_eq!(codes("import light\nif c:\n    light.go()\n"), [(Code::SavesNothing, false)]);
}

#[test]
fn line_ends_and_encodings_of_text_stay() {
    let before = "import os\r\nimport heavy\r\nif os.x:\r\n\theavy.é('ü')\r\n";
    let after = "import os\r\nif os.x:\r\n\timport heavy\r\n\theavy.é('ü')\r\n";
    assert_eq!(fixed(before), after);
}

/// Programs of imports, and of places that use them.
fn programs() -> impl Strategy<Value = String> {
    let import = (0..4usize, 0..6usize, any::<bool>()).prop_map(|(form, number, comment)| {
        let kind = ["heavy", "light", "effect"][number % 3];
        let comment = if comment { "  # why" } else { "" };
        match form {
            0 => format!("import {kind}{number}{comment}"),
            1 => format!("from {kind}{number} import n{number}{comment}"),
            2 => format!("import {kind}{number}, {kind}x as n{number}"),
            _ => format!("from {kind}{number} import (\n    n{number},\n    m{number}\n)"),
        }
    });
    let name = (0..6usize, 0..3usize).prop_map(|(number, form)| match form {
        0 => format!("{}{number}.f()", ["heavy", "light", "effect"][number % 3]),
        1 => format!("n{number}()"),
        _ => format!("m{number}()"),
    });
    let place = (0..5usize, name).prop_map(|(form, name)| match form {
        0 => name,
        1 => format!("if c:\n    {name}"),
        2 => format!("def f{}():\n    '''Doc.'''\n    {name}", name.len()),
        3 => format!("if c:\n    pass\nelif d:\n    # first\n    {name}\nelse:\n    {name}"),
        _ => format!("class A:\n    def m(self):\n        if c:\n            {name}"),
    });
    let all = (proptest::collection::vec(import, 0..6), proptest::collection::vec(place, 0..8));
    all.prop_map(|(imports, places)| [imports, places].concat().join("\n") + "\n")
}

proptest! {
    #[test]
    fn fixing_twice_changes_nothing_more_and_loses_no_name(text in programs()) {
        let once = fixed(&text);
        prop_assert_eq!(&fixed(&once), &once);
        let (before, after) = (read(&text), read(&once));
        for name in before.uses.names.keys() {
            let bound = before.uses.bound.contains_key(name);
            prop_assert_eq!(bound, after.uses.bound.contains_key(name), "{} in\n{}\n{}", name, text, once);
        }
        // All but imports is as it was.
        let rest = |source: &Source| -> Vec<String> {
            let lines = source.text.lines().filter(|line| !line.contains("import"));
            lines.map(str::to_owned).filter(|line| !line.trim_start_matches(['(', ')', ' ']).is_empty()).filter(|line| !line.trim().ends_with(',') && !line.trim().starts_with(['n', 'm'])).collect()
        };
        prop_assert_eq!(rest(&before), rest(&after));
    }
}
