//! `taper explain`: what it says of a package, with and without the environment.
//!
//! `cargo xtask test` sets the variables that name a real environment; without them only what
//! needs no PyTorch is tested.

mod world;

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use world::World;

const INIT: &str =
    "from . import child\nTYPE_CHECKING = False\nif TYPE_CHECKING:\n    from . import cold\n";
const CHILD: &str = "
from torch.sub import deep
def later():
    import torch.cold
";

/// A world with a package of it, `out`, packed with these further words.
fn packed(words: &[&str]) -> World {
    let world = World::with_torch(&[
        ("torch/__init__.py", INIT),
        ("torch/child.py", CHILD),
        ("torch/sub/__init__.py", ""),
        ("torch/sub/deep.py", "import importlib\ndef load(x):\n    importlib.import_module(x)\n"),
        ("torch/cold.py", "value = 1\n"),
        ("torch/hidden.py", "value = 2\n"),
        ("torch/data.txt", "data\n"),
        ("torch/stub.pyi", "\n"),
    ]);
    world.compile();
    let mut all = vec!["pack", "--no-verify", "--level", "fast", "--to", "out"];
    all.extend(words);
    let done = world.taper(&all);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    world
}

fn said(done: &Output) -> String {
    let errors = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{errors}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// The answers, each with what it is.
fn answers(done: &Output) -> Vec<Value> {
    let document: Value = serde_json::from_str(&said(done)).unwrap();
    document["answers"].as_array().unwrap().clone()
}

fn refused(done: &Output) -> String {
    let errors = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(2), "{errors}");
    errors
}

#[test]
fn modules_have_the_chain_that_keeps_them() {
    let world = packed(&[]);
    let text = said(&world.taper(&["explain", "out", "torch.sub.deep"]));
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    assert_eq!(lines[0], "torch.sub.deep: hot: a workload imported it");
    assert!(lines[1].starts_with("torch/sub/deep.py: ") && lines[1].contains("of torch"), "{text}");
    assert_eq!(
        lines[3..],
        [
            "torch",
            "torch/__init__.py:1  always  `from . import child` → torch.child",
            "torch/child.py:2  always  `from torch.sub import deep` → torch.sub.deep",
        ],
        "{text}"
    );
    // The end of its path means the same.
    assert_eq!(said(&world.taper(&["explain", "out", "sub/deep.py"])), text);
    let text = said(&world.taper(&["explain", "out", "torch.cold"]));
    assert!(text.starts_with("torch.cold: cold: no workload used it"), "{text}");
    assert!(text.contains("torch/child.py:4  in a function  `import torch.cold`"), "{text}");
    assert!(text.contains("torch/__init__.py:4  type checkers only"), "{text}");
    let text = said(&world.taper(&["explain", "out", "torch.hidden"]));
    assert!(text.contains("no module of the environment imports it by name"), "{text}");
    assert!(text.contains("torch/sub/deep.py:3  `importlib.import_module(x)`"), "{text}");
}

#[test]
fn what_was_dropped_says_so() {
    let world = packed(&["--cold", "drop", "--keep", "torch/data.txt"]);
    let text = said(&world.taper(&["explain", "out", "torch.cold"]));
    assert!(text.starts_with("torch.cold: out: no workload used it, and --cold drop"), "{text}");
    let text = said(&world.taper(&["explain", "out", "data.txt"]));
    assert!(text.starts_with("torch/data.txt: hot: --keep names it"), "{text}");
    let text = said(&world.taper(&["explain", "out"]));
    assert!(text.contains("--cold drop --keep torch/data.txt"), "{text}");
    assert!(text.contains("no module is deferred: with --cold drop, none may"), "{text}");
    assert!(!world.path("out/torch/cold.py").exists());
}

#[test]
fn files_and_sums_are_told_without_the_environment() {
    let world = packed(&[]);
    fs::rename(world.path("env/lib"), world.path("elsewhere")).unwrap();
    let file = answers(&world.taper(&["--json", "explain", "out", "stub.pyi"]));
    assert_eq!((&file[0]["is"], &file[0]["fate"]), (&"file".into(), &"cold".into()));
    let all = answers(&world.taper(&["--json", "explain", "out"]));
    let sum = &all[0]["sum"];
    let rows = sum["rows"].as_array().unwrap();
    let files: u64 = rows.iter().map(|row| row["files"].as_u64().unwrap()).sum();
    let parts = ["hot", "cold", "out"].map(|part| sum[part].as_u64().unwrap());
    assert_eq!(sum["files"], files);
    assert_eq!(sum["bytes"], parts.iter().sum::<u64>());
    let manifest: Value =
        serde_json::from_slice(&fs::read(world.path("out/taper.json")).unwrap()).unwrap();
    assert_eq!(manifest["files"]["original"], files);
    assert_eq!(manifest["bytes"]["original"], sum["bytes"]);
    let done = world.taper(&["explain", "out", "torch.sub.deep"]);
    assert!(said(&done).starts_with("torch.sub.deep: hot"), "{done:?}");
    let warned = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(warned.contains("without the environment's sources"), "{warned}");
    let errors = refused(&world.taper(&["explain", "out", "at::native::conv2d"]));
    assert!(errors.contains("were not searched"), "{errors}");
}

#[test]
fn what_changed_since_is_said() {
    let world = packed(&[]);
    world.install("torch/child.py", "from torch.sub import deep\n");
    let done = world.taper(&["explain", "out", "torch.child"]);
    assert!(said(&done).starts_with("torch.child: hot"));
    let warned = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(warned.contains("torch/child.py changed since it was packed"), "{warned}");
    assert!(warned.contains("1 of the modules that were imported"), "{warned}");
}

#[test]
fn names_without_a_meaning_have_near_ones() {
    let world = packed(&[]);
    let errors = refused(&world.taper(&["explain", "out", "torch.chidl"]));
    assert!(errors.contains("the nearest are torch.child"), "{errors}");
    let errors = refused(&world.taper(&["explain", "out", "torch/chidl.py"]));
    assert!(errors.contains("torch/child.py"), "{errors}");
    let errors = refused(&world.taper(&["explain", "out", "sm_90"]));
    assert!(errors.contains("no GPU code for sm_90; it has none"), "{errors}");
    for name in
        ["", "/", "::", "qqqqqqqqqqqqqqq", &"x".repeat(5_000), "a\u{0}".trim_end_matches('\0')]
    {
        refused(&world.taper(&["explain", "out", name]));
    }
}

#[test]
fn a_damaged_record_is_refused_and_the_package_runs() {
    let world = packed(&[]);
    let place = world.path("out/_taper/plan");
    let whole = fs::read(&place).unwrap();
    for at in (0..whole.len()).step_by(61).filter(|at| !(24..32).contains(at)) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        fs::write(&place, bytes).unwrap();
        let errors = refused(&world.taper(&["explain", "out", "torch"]));
        assert!(
            errors.contains("_taper/plan") && errors.contains("copy the package again"),
            "{errors}"
        );
    }
    fs::write(&place, &whole[..whole.len() / 2]).unwrap();
    refused(&world.taper(&["explain", "out"]));
    fs::remove_file(&place).unwrap();
    let errors = refused(&world.taper(&["explain", "out"]));
    assert!(errors.contains("pack again"), "{errors}");
    refused(&world.taper(&["explain", "nothing"]));
    let done = world.python(&world.path("out"), &["-c", "import torch"]);
    assert!(done.status.success());
}

#[test]
fn the_record_counts_like_every_file_and_is_the_same_each_time() {
    let world = packed(&["--eager"]);
    let again = ["pack", "--no-verify", "--level", "fast", "--eager", "--to", "again"];
    assert!(world.taper(&again).status.success());
    let read = |out: &str, path: &str| fs::read(world.path(out).join(path)).unwrap();
    assert_eq!(read("out", "_taper/plan"), read("again", "_taper/plan"));
    assert_eq!(read("out", "taper.json"), read("again", "taper.json"));
    let manifest: Value = serde_json::from_slice(&read("out", "taper.json")).unwrap();
    let reasons = manifest["reasons"].as_object().unwrap();
    let size = read("out", "_taper/plan").len();
    assert_eq!(reasons["it says why everything else is there"], size);
    let sum: u64 = reasons.values().filter_map(Value::as_u64).sum();
    let own = read("out", "taper.json").len() as u64;
    assert_eq!(manifest["bytes"]["package"], sum + own);
}

#[test]
fn a_group_that_does_not_wait_says_what_speaks_against_it() {
    let world = World::with_torch(&[
        ("torch/__init__.py", "from . import _meta_registrations\n"),
        ("torch/_meta_registrations.py", "import sys\n"),
    ]);
    world.compile();
    let done = world.taper(&["pack", "--no-verify", "--level", "fast", "--to", "out"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = said(&world.taper(&["explain", "out"]));
    assert!(text.contains("torch._meta_registrations is not deferred:"), "{text}");
    assert!(text.contains("does not export what gives allocators"), "{text}");
    let text = said(&world.taper(&["explain", "out", "torch._meta_registrations"]));
    assert!(text.contains("which cannot be deferred:"), "{text}");
}

/// The environment that `cargo xtask test` names, and packages of it.
struct Real {
    python: PathBuf,
    packages: PathBuf,
    folder: tempfile::TempDir,
}

fn taper(python: &Path, folder: &Path, words: &[&str]) -> Output {
    let mut command = match std::env::var_os("TAPER_TEST_BINARY") {
        Some(program) => Command::new(program),
        None => Command::new(env!("CARGO_BIN_EXE_taper")),
    };
    command.arg("--python").arg(python).args(words);
    command.current_dir(folder).env_remove("VIRTUAL_ENV").output().unwrap()
}

impl Real {
    fn get() -> &'static Self {
        static REAL: OnceLock<Real> = OnceLock::new();
        REAL.get_or_init(Self::pack)
    }

    fn pack() -> Self {
        let environment = std::env::var_os("TAPER_TEST_ENV").expect("cargo xtask test sets it");
        let environment = PathBuf::from(environment);
        let python = environment.join("bin/python");
        let lib = fs::read_dir(environment.join("lib")).unwrap().next().unwrap().unwrap().path();
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path();
        let program = "import torch; torch.ones(2) + torch.ones(2)";
        let done = taper(
            &python,
            place,
            &["trace", "--cpu", "native", "-o", "p", "--", python.to_str().unwrap(), "-c", program],
        );
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        for cold in ["keep", "drop"] {
            let words = [
                "pack",
                "--profile",
                "p",
                "--no-verify",
                "--level",
                "fast",
                "--cold",
                cold,
                "--to",
                cold,
            ];
            let done = taper(&python, place, &words);
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
        Self { python, packages: lib.join("site-packages"), folder }
    }

    fn explain(&self, package: &str, name: &str) -> Output {
        taper(&self.python, self.folder.path(), &["--json", "explain", package, name])
    }

    fn answers(&self, package: &str, name: &str) -> Vec<Value> {
        answers(&self.explain(package, name))
    }
}

/// The first answer of this kind.
fn of<'a>(answers: &'a [Value], is: &str) -> &'a Value {
    answers.iter().find(|answer| answer["is"] == is).unwrap_or_else(|| panic!("{is}: {answers:?}"))
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn a_real_library_has_its_pages_and_who_needs_it() {
    let real = Real::get();
    for package in ["keep", "drop"] {
        let found = real.answers(package, "libtorch_cpu.so");
        let library = of(&found, "library");
        assert_eq!((&library["fate"], &library["loaded"]), (&"hot".into(), &true.into()));
        let pages = library["pages"].as_object().unwrap();
        let bytes = |part: &str| pages[part].as_u64().unwrap();
        assert!(bytes("touched") > 5_000_000 && bytes("loader") > 0, "{pages:?}");
        let (kept, other) = if package == "keep" { ("cold", "out") } else { ("out", "cold") };
        assert!(bytes(kept) > 10 * bytes(other), "{pages:?}");
        let size = fs::metadata(real.folder.path().join(package).join("torch/lib/libtorch_cpu.so"));
        assert_eq!(library["package"], size.unwrap().len());
        let by = library["needed_by"].as_array().unwrap();
        let python = |other: &Value| other["path"] == "torch/lib/libtorch_python.so";
        assert!(by.iter().any(|other| python(other) && other["fate"] == "hot"), "{by:?}");
    }
    let found = real.answers("keep", "torch/lib/libtorch_cuda.so");
    let library = of(&found, "library");
    assert_eq!((&library["fate"], &library["reason"]), (&"out".into(), &"stand-in".into()));
    assert!(!library["bound_by"].as_array().unwrap().is_empty());
    assert!(fs::metadata(real.folder.path().join("keep/_taper/plan")).unwrap().len() < 300_000);
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn real_functions_and_operators_have_the_fates_of_their_pages() {
    let real = Real::get();
    for (package, unused) in [("keep", "cold"), ("drop", "out")] {
        let found = real.answers(package, "aten::add.Tensor");
        let operator = of(&found, "functions");
        assert_eq!(operator["operator"], "aten::add.Tensor");
        let shown = operator["shown"].as_array().unwrap();
        assert_eq!(shown[0]["role"], "dispatch entry");
        assert!(shown[0]["name"].as_str().unwrap().starts_with("at::_ops::add_Tensor::call("));
        // It ran.
        assert_eq!(shown[0]["fate"], "hot", "{shown:?}");
        assert!(shown.iter().any(|one| one["role"] == "registered kernel"), "{shown:?}");
        let found = real.answers(package, "aten::special_bessel_j0");
        let entry = &of(&found, "functions")["shown"][0];
        assert_eq!(entry["fate"], unused, "{entry}");
        let symbol = entry["symbol"].as_str().unwrap();
        let again = real.answers(package, symbol);
        assert_eq!(of(&again, "functions")["shown"][0]["address"], entry["address"]);
        let part = real.answers(package, "at::_ops::special_bessel_j0::call");
        assert_eq!(of(&part, "functions")["shown"][0]["fate"], unused);
        let many = real.answers(package, "bessel_j0");
        assert!(of(&many, "functions")["matches"].as_u64().unwrap() > 5);
        assert_eq!(of(&many, "functions")["shown"].as_array().unwrap().len(), 12);
    }
    let errors = refused(&real.explain("keep", "aten::special_besel_j0"));
    assert!(errors.contains("aten::special_bessel_j0"), "{errors}");
    let errors = refused(&real.explain("keep", "at::_ops::special_besel_j0::call"));
    assert!(errors.contains("at::_ops::special_bessel_j0::call"), "{errors}");
    refused(&real.explain("keep", "no_function_has_this_name"));
    // What is a library's and has no C++ name.
    let found = real.answers("keep", "PyInit__C");
    assert!(of(&found, "functions")["shown"][0]["library"].is_string());
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn a_real_architecture_is_out_with_its_bytes() {
    let real = Real::get();
    let found = real.answers("drop", "sm_90");
    let answer = of(&found, "architecture");
    assert_eq!(answer["fate"], "out");
    assert!(answer["why"].as_str().unwrap().starts_with("the target is the CPU"));
    assert!(answer["bytes"].as_u64().unwrap() > 10_000_000, "{answer}");
    let inspected = taper(&real.python, real.folder.path(), &["--json", "inspect"]);
    let inspected: Value = serde_json::from_str(&said(&inspected)).unwrap();
    assert_eq!(answer["bytes"], inspected["gpu"]["architectures"]["sm_90"]["bytes"]);
    let errors = refused(&real.explain("keep", "sm_11"));
    assert!(errors.contains("it has") && errors.contains("sm_90"), "{errors}");
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn real_modules_and_distributions_are_told() {
    let real = Real::get();
    for (package, fate) in [("keep", "cold"), ("drop", "out")] {
        let found = real.answers(package, "torch.distributed.pipelining.schedules");
        let module = of(&found, "module");
        assert_eq!(module["file"]["fate"], fate);
        assert!(module["importers_all"].as_u64().unwrap() > 0, "{module}");
        let found = real.answers(package, "torch.nn.functional");
        let chain = of(&found, "module")["chain"].as_array().unwrap().clone();
        assert_eq!(chain[0]["importer"], "torch");
        for step in &chain {
            let text =
                fs::read_to_string(real.packages.join(step["path"].as_str().unwrap())).unwrap();
            let line = text.lines().nth(step["line"].as_u64().unwrap() as usize - 1).unwrap();
            assert!(line.contains("import"), "{step}: {line}");
        }
        let found = real.answers(package, "torch");
        assert_eq!(of(&found, "sum")["of"], "distribution");
        assert_eq!(of(&found, "module")["chain"], Value::Array(Vec::new()));
    }
    let found = real.answers("keep", "torch._prims");
    let waiting = &of(&found, "module")["waiting"];
    assert_eq!(
        (&waiting["group"], &waiting["waits"]),
        (&"torch._meta_registrations".into(), &true.into())
    );
    assert!(waiting["keys"].as_array().unwrap().contains(&"Meta".into()));
    let found = real.answers("keep", "torch/include");
    let folder = of(&found, "sum");
    assert_eq!((&folder["of"], &folder["hot"]), (&"folder".into(), &0.into()));
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn a_real_package_is_told_without_its_environment() {
    let real = Real::get();
    let other = World::new();
    let python = other.path("env/bin/python");
    let explain =
        |name: &str| taper(&python, real.folder.path(), &["--json", "explain", "keep", name]);
    assert_eq!(of(&answers(&explain("libtorch_cpu.so")), "library")["fate"], "hot");
    let done = explain("torch._prims");
    assert_eq!(of(&answers(&done), "module")["waiting"]["waits"], true);
    assert!(String::from_utf8_lossy(&done.stderr).contains("none of the files"), "{done:?}");
    let done = explain("sm_90");
    assert_eq!(of(&answers(&done), "architecture")["bytes"], Value::Null);
    assert!(refused(&explain("aten::add.Tensor")).contains("were not searched"));
}
