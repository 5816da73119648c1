//! What a package finds ready when it starts is what its modules would have found out: answers
//! of functions that read its files, methods of data classes, patterns.

mod world;

use std::fs;
use std::path::{Path, PathBuf};
use world::World;

/// Functions of the kinds that could remember, and some that must not.
const READING: &str = r#"
import functools, os, posix, re, sys
from pathlib import Path
FOLDER = os.path.dirname(os.path.abspath(__file__))
COUNTED = 0
SEEN = []

def read(folder):
    found = {}
    for name in sorted(os.listdir(folder)):
        if name.startswith('part'):
            with open(os.path.join(folder, name), encoding='utf-8') as file:
                found[name] = {line for line in file.read().splitlines() if line}
    return found

@functools.lru_cache
def names(folder, prefix=None):
    '''What is there.'''
    return {frozenset({prefix or 'none'}): read(folder)}

@functools.cache
def by_path(path):
    return sorted(read(str(path)))

@functools.lru_cache(maxsize=4)
def counts(folder):
    global COUNTED
    COUNTED += 1
    return len(read(folder))

@functools.lru_cache
def appends(folder):
    SEEN.append(folder)
    return len(read(folder))

@functools.lru_cache
def by_environment(folder):
    return os.environ.get('WORD', 'none') + str(len(read(folder)))

@functools.lru_cache
def by_interpreter(folder):
    return f'{len(read(folder))} {len(os.listdir(sys.base_prefix))}'

@functools.lru_cache
def by_machine(folder):
    return f'{len(read(folder))} {os.cpu_count()}'

@functools.lru_cache
def by_existence(folder):
    return len(read(folder)), os.path.exists('/etc/word-of-taper')

@functools.lru_cache
def by_kind(folder):
    return len(read(folder)), [name for name in os.listdir(folder)
                               if os.path.isdir(os.path.join(folder, name))] != []

@functools.lru_cache
def by_path_object(folder):
    return len(read(folder)), Path(sys.base_prefix, 'word').is_file()

@functools.lru_cache
def by_access(folder):
    return len(read(folder)), posix.access('/etc', 0), posix.lstat('/')[0] != 0

@functools.lru_cache
def by_entry(folder):
    with os.scandir('/') as entries:
        return len(read(folder)), any(entry.name == 'word' for entry in entries)

@functools.lru_cache
def by_size(folder):
    return sum(os.path.getsize(os.path.join(folder, name)) for name in read(folder))

@functools.lru_cache
def by_order_of_times(folder):
    return sorted(read(folder), key=lambda name: os.stat(os.path.join(folder, name))[8])

@functools.lru_cache
def by_chance(folder):
    return f'{len(read(folder))} {hash("word")}'

@functools.lru_cache
def placed(folder):
    return [os.path.join(folder, name) for name in read(folder)]

@functools.lru_cache
def fails(folder):
    read(folder)
    raise ValueError('as ever')

def plain(folder):
    return len(read(folder))
"#;

/// A module's functions remember from the end of its body.
const CALLING: &str = r"
from torch.reading import *
try:
    fails(FOLDER)
except ValueError:
    pass
names(FOLDER)
names(FOLDER, prefix='a')
by_path(Path(FOLDER))
RESULTS = [counts(FOLDER), appends(FOLDER), by_environment(FOLDER), by_interpreter(FOLDER),
           by_machine(FOLDER), by_chance(FOLDER), placed(FOLDER), plain(FOLDER)]
ASKED = [by_existence(FOLDER), by_kind(FOLDER), by_path_object(FOLDER), by_access(FOLDER),
         by_entry(FOLDER), by_size(FOLDER), by_order_of_times(FOLDER)]
";

/// What compiles while it is imported.
const COMPILING: &str = r"
import dataclasses, re
from dataclasses import dataclass, field

@dataclass(order=True)
class Point:
    x: int
    y: int = 3
    rest: list = field(default_factory=list)

@dataclass(frozen=True)
class Fixed:
    name: str

WORD = re.compile(r'(?P<head>[a-z]+)-(?P<tail>[0-9é]+)', re.IGNORECASE)
RAW = re.compile(rb'[\x00-\x1f]+(?=x)')
SET = re.compile('[[a-z]')
";

const PROGRAM: &str = r"
import warnings
warnings.simplefilter('error')
import dataclasses, functools, inspect, os, pickle, re, sys
import torch
warnings.simplefilter('default')
import torch.reading as r, torch.calling
import torch.compiling as c
one = r.names(r.FOLDER)
print([(k, sorted(v)) for k, v in sorted(one[frozenset({'none'})].items())][:2], r.names(r.FOLDER) is one)
print(sorted(r.names(r.FOLDER, prefix='a')), sorted(r.names(r.FOLDER, 'a')))
print(r.names('torch' if os.path.isdir('torch') else os.curdir), sorted(r.names(r.FOLDER, 'b')))
print(r.by_path(r.Path(r.FOLDER))[:2], r.names.__doc__, r.names.__name__, r.names.__module__)
print(r.names.cache_parameters(), type(r.names) is type(functools.lru_cache(len)))
print(inspect.getsource(r.names).splitlines()[:3], inspect.signature(r.by_path))
print(r.counts.cache_info(), r.by_path.cache_info()[2:])
print(r.COUNTED, len(r.SEEN), torch.calling.RESULTS[:3], r.by_environment(r.FOLDER))
print([os.path.basename(name) for name in r.placed(r.FOLDER)][:2], os.path.exists(r.placed(r.FOLDER)[0]))
print(torch.calling.ASKED[1:5] == [r.by_kind(r.FOLDER), r.by_path_object(r.FOLDER), r.by_access(r.FOLDER), r.by_entry(r.FOLDER)])
print(pickle.loads(pickle.dumps(r.names)) is r.names)
p = c.Point(1)
print(p, p < c.Point(2), p == c.Point(1), c.Fixed('a'), hash(c.Fixed('a')) == hash(c.Fixed('a')))
print(c.Point.__init__.__qualname__, c.Point.__init__.__code__.co_filename,
      c.Point.__init__.__code__.co_name, inspect.signature(c.Point))
try:
    c.Fixed('a').name = 'b'
except dataclasses.FrozenInstanceError as error:
    print(error)
m = c.WORD.match('Abc-12É')
print(m.groupdict(), m.span('tail'), c.WORD.flags, c.WORD.pattern, c.WORD.groupindex, c.WORD.groups)
print(c.RAW.search(b'a\x01\x02x').span(), re.compile(rb'[\x00-\x1f]+(?=x)') is c.RAW)
print(pickle.loads(pickle.dumps(c.WORD)) == c.WORD, re.compile('later(x)?').match('laterx')[1])
@dataclasses.dataclass
class Later:
    z: int
print(Later(4), re.sub('a+', 'b', 'caat'))
";

fn packed(words: &[&str]) -> (World, PathBuf) {
    let parts: Vec<(String, String)> = (0..12)
        .map(|number| (format!("torch/part{number:02}.py"), format!("A = {number}\n\nB = 'b'\n")))
        .collect();
    let mut files = vec![
        ("torch/__init__.py", ""),
        ("torch/reading.py", READING),
        ("torch/calling.py", CALLING),
        ("torch/compiling.py", COMPILING),
    ];
    files.extend(parts.iter().map(|(path, text)| (path.as_str(), text.as_str())));
    let world = World::with_torch(&files);
    world.compile();
    let last = ["--no-verify", "--to", "dist", "--", "python", "-W", "ignore", "-c"];
    let program = "import torch.calling, torch.compiling";
    let done = world.taper(&[&["pack"], words, &last[..], &[program]].concat());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let dist = world.path("dist");
    (world, dist)
}

fn said(world: &World, packages: &Path, words: &[&str]) -> (String, String) {
    said_with(world, packages, words, &[])
}

fn said_with(
    world: &World,
    packages: &Path,
    words: &[&str],
    variables: &[(&str, &str)],
) -> (String, String) {
    let done = world.python_with(packages, words, variables);
    let error = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success(), "{words:?}\n{error}");
    (String::from_utf8(done.stdout).unwrap(), error)
}

fn remembered(dist: &Path) -> serde_json::Value {
    let manifest = fs::read(dist.join("taper.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    manifest["remembered"].clone()
}

#[test]
fn a_function_remembers_only_what_its_files_say() {
    let (world, dist) = packed(&[]);
    let about = remembered(&dist);
    let objection = |name: &str| about[format!("torch.reading.{name}")]["objection"].clone();
    for (name, calls) in [("names", 2), ("by_path", 1), ("by_kind", 1)] {
        let function = &about[format!("torch.reading.{name}")];
        assert_eq!(function["remembers"], true, "{about:#}");
        assert_eq!(function["calls"], calls, "{about:#}");
    }
    for (name, why) in [
        ("counts", "it changes a dict"),
        ("appends", "it changes a list"),
        ("by_environment", "it asks for the environment"),
        ("by_interpreter", "it lists"),
        ("by_machine", "it asks for the machine"),
        ("by_existence", "it asks whether '/etc/word-of-taper' is there"),
        ("by_path_object", "it asks whether"),
        ("by_access", "it asks whether '/etc' is there"),
        ("by_entry", "it lists '/'"),
        ("by_size", "it asks for the size"),
        ("by_order_of_times", "it asks for the size, time"),
        ("by_chance", "another process had another answer"),
        ("placed", "an answer names a place of this machine"),
    ] {
        let said = objection(name).as_str().unwrap_or_default().to_owned();
        assert!(said.contains(why), "{name}: {about:#}");
    }
    assert!(about["torch.reading.plain"].is_null() && about["torch.reading.fails"].is_null());
    // In the package, what remembers is not called.
    let program = "
import os, sys
opened = []
def heard(event, words):
    if event == 'open' and 'part' in str(words[0]):
        frame = sys._getframe(1)
        while frame.f_code.co_name != 'read':
            frame = frame.f_back
        opened.append(frame.f_back.f_code.co_name)
sys.addaudithook(heard)
import torch.calling
print({name for name in opened if name in ('names', 'by_path', 'plain')}, torch.reading.COUNTED)
";
    assert_eq!(said(&world, &dist, &["-c", program]).0, "{'plain'} 1\n");
    // Nor where it is switched off, for one process or in the package.
    let eager = [("TAPER_EAGER", "1")];
    let switched = said_with(&world, &dist, &["-c", program], &eager).0;
    assert!(switched.contains("'names'") && switched.contains("'by_path'"), "{switched}");
    for (words, dist) in [("--eager", "eager"), ("--cold=drop", "drop")] {
        let words = ["pack", words, "--no-verify", "--to", dist, "--", "python", "-c"];
        let done = world.taper(&[&words[..], &["import torch.calling, torch.compiling"]].concat());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(remembered(&world.path(dist)), serde_json::json!({}));
        let said = said(&world, &world.path(dist), &["-c", program]).0;
        assert!(said.contains("'names'") && said.contains("'by_path'"), "{said}");
    }
}

#[test]
fn what_was_compiled_is_not_compiled_again() {
    let (world, dist) = packed(&[]);
    let program = "
import sys
count = [0]
sys.addaudithook(lambda event, words: count.__setitem__(0, count[0] + (event == 'compile')))
import dataclasses, re
import torch
patterns = []
parser = sys.modules.get('re._parser') or sys.modules['sre_parse']
parse = parser.parse
def noted(text, *words):
    patterns.append(text)
    return parse(text, *words)
parser.parse = noted
before = count[0]
import torch.compiling
print(count[0] - before, len(patterns))
";
    // The pattern that warns is compiled, so that it warns.
    assert_eq!(said(&world, &dist, &["-W", "ignore", "-c", program]).0, "0 1\n");
    // Code of another level of optimisation is another.
    let words = ["-O", "-W", "ignore", "-c", program];
    assert!(!said(&world, &dist, &words).0.starts_with("0 "));
    let words = ["-W", "ignore", "-c", program];
    let switched = said_with(&world, &dist, &words, &[("TAPER_EAGER", "1")]).0;
    assert!(!switched.starts_with("0 "), "{switched}");
}

#[test]
fn programs_get_the_same_answers() {
    let (world, dist) = packed(&[]);
    // The place of the module is in the warning.
    let place = |(out, error): (String, String), packages: &Path| {
        (out, error.replace(&*packages.to_string_lossy(), "HERE"))
    };
    for level in ["-B", "-O"] {
        let words = [level, "-c", PROGRAM];
        let original = place(said(&world, &world.packages(), &words), &world.packages());
        assert!(original.1.contains("HERE/torch/compiling.py:17: FutureWarning"), "{original:?}");
        assert_eq!(place(said(&world, &dist, &words), &dist), original);
    }
}

#[test]
fn another_version_of_python_gets_nothing_ready() {
    let (world, dist) = packed(&[]);
    let planned = dist.join("_taper/planned.py");
    let text = fs::read_to_string(&planned).unwrap();
    let version = text.split("VERSION = \"").nth(1).unwrap().split('"').next().unwrap();
    for entry in fs::read_dir(dist.join("_taper/__pycache__")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("planned.") {
            fs::remove_file(path).unwrap();
        }
    }
    let pretend = |other: &str| fs::write(&planned, text.replace(version, other)).unwrap();
    let minor = version.rsplit_once('.').unwrap().0;
    pretend(&format!("{minor}.99"));
    // The program is the same; what made it fast is not there.
    let program = ["-W", "ignore", "-B", "-c", PROGRAM];
    let original = said(&world, &world.packages(), &program).0;
    assert_eq!(said(&world, &dist, &program).0, original);
    let called = "
import sys, torch.reading
called = []
original = torch.reading.read
torch.reading.read = lambda folder: called.append(folder) or original(folder)
torch.reading.names(torch.reading.FOLDER)
print(len(called))
";
    assert_eq!(said(&world, &dist, &["-c", called]).0, "1\n");
    pretend(version);
    assert_eq!(said(&world, &dist, &["-c", called]).0, "0\n");
    // Another minor version has another bytecode.
    pretend("3.9.1");
    let done = world.python(&dist, &["-c", "import torch"]);
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(error.contains("is for CPython 3.9, and this is cpython 3."), "{error}");
    assert!(error.contains("pack anew"), "{error}");
}
