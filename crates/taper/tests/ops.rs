//! `taper ops` beside what PyTorch itself says of the same models.
//!
//! `cargo xtask test` sets the variables that name the environments; without them only what
//! needs no PyTorch is tested.

mod world;

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use world::World;

/// The environment of the variable `name`.
fn environment(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(name).expect("cargo xtask test sets it"))
}

/// Runs taper on an environment.
fn taper(environment: &Path, folder: &Path, words: &[&str]) -> Output {
    let mut command = match std::env::var_os("TAPER_TEST_BINARY") {
        Some(program) => Command::new(program),
        None => Command::new(env!("CARGO_BIN_EXE_taper")),
    };
    command.arg("--python").arg(environment.join("bin/python")).args(words);
    command.current_dir(folder).env_remove("VIRTUAL_ENV").output().unwrap()
}

fn said(done: &Output) -> String {
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Runs Python of an environment on a script that prints JSON.
fn python(environment: &Path, folder: &Path, script: &str) -> Value {
    let done = Command::new(environment.join("bin/python"))
        .args(["-W", "ignore", "-c", script])
        .current_dir(folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

fn names(list: &Value) -> BTreeSet<String> {
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// The names of a flat list.
fn flat(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| line.strip_prefix("- ")).map(str::to_owned).collect()
}

/// What PyTorch has in the graph of each method that can be called, with all that it calls in
/// its place, less what the lite interpreter has instructions for: what `export_opnames`
/// gives, also where that refuses a model whose `with` the lite interpreter cannot run. What
/// such a statement calls is counted.
const REFERENCE: &str = "
import json, torch
INSTRUCTIONS = {'aten::__is__', 'aten::__isnot__', 'aten::__not__', 'aten::dim', 'aten::format',
    'aten::wait', 'aten::warn', 'prim::NumToTensor', 'prim::RaiseException', 'prim::TupleIndex',
    'prim::Uninitialized', 'prim::device', 'prim::dtype', 'prim::is_cuda', 'prim::tolist'}
def walk(block, names, unit):
    for node in block.nodes():
        schema = node.schema()
        if schema != '(no schema)':
            name = schema.split('(')[0]
            if name.split('.')[0] not in INSTRUCTIONS and '__getitem__.Dict' not in name:
                names.add(name)
        if node.kind() == 'prim::Enter':
            context = next(node.inputs()).type().qualified_name()
            for method in ('__enter__', '__exit__'):
                graph = unit.find_function(context + '.' + method).graph
                walk(graph, names, unit)
        for inner in node.blocks():
            walk(inner, names, unit)
def reference(path):
    names, unit = set(), torch._C.CompilationUnit()
    module = torch._C.import_ir_module(unit, path, None, {}, False)
    for name in module._method_names():
        graph = module._get_method(name).graph.copy()
        torch._C._jit_pass_inline(graph)
        walk(graph, names, unit)
    return names
";

/// Reads a list with PyTorch's own reader, and says what it makes of it.
const READER: &str = "
import json, sys, yaml
from torchgen.selective_build.selector import SelectiveBuilder
with open('list.yaml') as file:
    names = yaml.safe_load(file)
assert isinstance(names, list) and all(isinstance(name, str) for name in names)
flat = SelectiveBuilder.from_legacy_op_registration_allow_list(set(names), True, False)
one = SelectiveBuilder.from_yaml_path('selective.yaml')
print(json.dumps({
    'flat': sorted(name for name in names if flat.is_root_operator(name)),
    'roots': sorted(name for name in one.operators if one.is_root_operator(name)),
    'selected': sorted(name for name in one.operators if one.is_operator_selected(name)),
    'training': sorted(n for n in one.operators if one.is_operator_selected_for_training(n)),
    'families': sorted(n for n, op in one.operators.items() if op.include_all_overloads),
    'other': one.is_operator_selected('aten::no_such_operator') or one.include_all_operators,
}))
";

/// Writes both lists of `files` and has PyTorch read them, in the environment that has PyYAML.
fn read_back(environment: &Path, reader: &Path, folder: &Path, files: &[&str]) -> Value {
    for format in ["list", "selective"] {
        let output = format!("{format}.yaml");
        let mut words = vec!["ops", "--format", format, "-o", &output];
        words.extend(files);
        assert_eq!(said(&taper(environment, folder, &words)), "");
    }
    python(reader, folder, READER)
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn resnet18_scripted_and_exported_has_what_pytorch_says() {
    let reader = environment("TAPER_TEST_EXAMPLES");
    let environment = environment("TAPER_TEST_ENV");
    let place = tempfile::tempdir().unwrap();
    let script = format!(
        "{REFERENCE}
import torchvision
torch.manual_seed(0)
model = torchvision.models.resnet18().eval()
scripted = torch.jit.script(model)
scripted.save('scripted.pt')
picture = torch.zeros(1, 3, 224, 224)
torch.jit.trace(model, picture).save('traced.pt')
exported = torch.export.export(model, (picture,))
torch.export.save(exported, 'exported.pt2')
targets = {{n.target for n in exported.graph.nodes if n.op == 'call_function'}}
names = [t.name() for t in targets]
traced = torch.jit.load('traced.pt')
scripted = torch.jit.export_opnames(torch.jit.load('scripted.pt'))
# The judge of models that export_opnames refuses agrees with it where it does not.
assert reference('scripted.pt') == set(scripted)
print(json.dumps([scripted, names, torch.jit.export_opnames(traced)]))"
    );
    let expected = python(&environment, place.path(), &script);
    let list = |file: &str| {
        flat(&said(&taper(&environment, place.path(), &["ops", "--format", "list", file])))
    };
    assert_eq!(list("scripted.pt"), names(&expected[0]));
    assert_eq!(list("exported.pt2"), names(&expected[1]));
    assert_eq!(list("traced.pt"), names(&expected[2]));

    let both: BTreeSet<String> = &names(&expected[0]) | &names(&expected[1]);
    let read = read_back(&environment, &reader, place.path(), &["scripted.pt", "exported.pt2"]);
    assert_eq!(names(&read["flat"]), both);
    assert_eq!(names(&read["roots"]), both);
    assert_eq!(names(&read["selected"]), both);
    assert_eq!(names(&read["training"]).len() + names(&read["families"]).len(), 0);
    assert_eq!(read["other"], false);
    let json = said(&taper(&environment, place.path(), &["ops", "--json", "exported.pt2"]));
    let json: Value = serde_json::from_str(&json).unwrap();
    let conv = json["operators"].as_array().unwrap();
    let conv = conv.iter().find(|one| one["name"] == "aten::conv2d").unwrap();
    assert_eq!(conv["dtypes"][0], "float32");
    assert!(conv["origins"].to_string().contains("torch.nn.modules.conv.Conv2d"), "{conv}");
    let text = said(&taper(&environment, place.path(), &["ops", "--training", "scripted.pt"]));
    assert!(text.contains("aten::conv2d") && text.contains("training"), "{text}");
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn detection_and_other_large_models_have_what_pytorch_says() {
    let environment = environment("TAPER_TEST_ENV");
    let place = tempfile::tempdir().unwrap();
    let script = "
import json, torch, torchvision
found = {}
for name in ['googlenet', 'mobilenet_v3_small', 'densenet121', 'shufflenet_v2_x0_5', 'vit_b_32',
        'fasterrcnn_mobilenet_v3_large_320_fpn', 'quantized_mobilenet_v2']:
    weights = {'weights_backbone': None} if 'rcnn' in name else {}
    model = torchvision.models.get_model(name, weights=None, **weights).eval()
    torch.jit.script(model).save(name + '.pt')
    found[name] = torch.jit.export_opnames(torch.jit.load(name + '.pt'))
print(json.dumps(found))
";
    let expected = python(&environment, place.path(), script);
    for (name, expected) in expected.as_object().unwrap() {
        let words = ["ops", "--format", "list", &format!("{name}.pt")];
        let list = flat(&said(&taper(&environment, place.path(), &words)));
        assert_eq!(list, names(expected), "{name}");
    }
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn silero_vad_has_what_pytorch_says() {
    let environment = environment("TAPER_TEST_EXAMPLES");
    let place = tempfile::tempdir().unwrap();
    let script = format!(
        "{REFERENCE}
import os, shutil, silero_vad
path = os.path.join(os.path.dirname(silero_vad.__file__), 'data', 'silero_vad.jit')
shutil.copy(path, 'vad.pt')
print(json.dumps(sorted(reference(path))))"
    );
    let expected = names(&python(&environment, place.path(), &script));
    let read = read_back(&environment, &environment, place.path(), &["vad.pt"]);
    assert_eq!(names(&read["flat"]), expected);
    assert_eq!(names(&read["roots"]), expected);
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn what_embed_runs_is_what_pytorch_records() {
    let environment = environment("TAPER_TEST_EXAMPLES");
    let place = tempfile::tempdir().unwrap();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let embed = repository.join("examples/embed/embed.py");
    let embed = embed.to_str().unwrap();
    let words = ["trace", "--cpu", "native", "-o", "embed.profile", "--", "python", embed];
    said(&taper(&environment, place.path(), &words));
    // PyTorch's own profiler, which knows names without overloads, and its callbacks, which
    // know both.
    let script = format!(
        "
import json, runpy, sys
import torch
from torch.profiler import ExecutionTraceObserver
sys.argv = ['embed.py']
observer = ExecutionTraceObserver().register_callback('trace.json')
observer.start()
with open('/dev/null', 'w') as sys.stdout:
    runpy.run_path({embed:?}, run_name='__main__')
sys.stdout = sys.__stdout__
observer.stop()
observer.unregister_callback()
names = set()
for node in json.load(open('trace.json'))['nodes']:
    schema = {{a['name']: a['value'] for a in node['attrs']}}['op_schema']
    if schema:
        names.add(schema.split('(')[0])
print(json.dumps(sorted(names)))"
    );
    let expected = names(&python(&environment, place.path(), &script));
    let json = said(&taper(&environment, place.path(), &["ops", "--json", "embed.profile"]));
    let json: Value = serde_json::from_str(&json).unwrap();
    let found: BTreeSet<String> = json["operators"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| match one["overload"].as_str().unwrap() {
            "" => one["name"].as_str().unwrap().to_owned(),
            overload => format!("{}.{overload}", one["name"].as_str().unwrap()),
        })
        .collect();
    assert_eq!(found, expected);
    assert!(expected.contains("aten::linear") && expected.len() > 50, "{expected:?}");
    let read = read_back(&environment, &environment, place.path(), &["embed.profile"]);
    assert_eq!(names(&read["selected"]), found);
    assert!(names(&read["roots"]).len() < found.len());
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn a_run_that_forks_spawns_and_trains_is_recorded_whole() {
    let environment = environment("TAPER_TEST_ENV");
    let place = tempfile::tempdir().unwrap();
    let program = "
import multiprocessing, os, subprocess, sys, torch
class Data(torch.utils.data.Dataset):
    def __len__(self): return 8
    def __getitem__(self, i): return torch.erfinv(torch.full((4,), 0.1 * i)).half().float()
def spawned(): torch.special.i1e(torch.ones(3))
def left():
    torch.digamma(torch.ones(3, dtype=torch.float64)); os._exit(0)
if __name__ == '__main__':
    layer = torch.nn.Linear(4, 2)
    for batch in torch.utils.data.DataLoader(Data(), batch_size=4, num_workers=2):
        layer(batch).tanh().sum().backward()
    context = multiprocessing.get_context('spawn')
    child = context.Process(target=spawned); child.start(); child.join()
    if os.fork() == 0: left()
    os.wait()
    subprocess.run([sys.executable, '-c', 'import torch; torch.lgamma(torch.ones(3))'], check=True)
    with torch.no_grad(): torch.sinc(torch.ones(3))
";
    fs::write(place.path().join("app.py"), program).unwrap();
    let words = ["trace", "--cpu", "native", "-o", "p", "--", "python", "app.py"];
    said(&taper(&environment, place.path(), &words));
    let json = said(&taper(&environment, place.path(), &["ops", "--json", "p"]));
    let json: Value = serde_json::from_str(&json).unwrap();
    let all = json["operators"].as_array().unwrap();
    let of = |name: &str, overload: &str| {
        let found = all.iter().find(|one| one["name"] == name && one["overload"] == overload);
        found.unwrap_or_else(|| panic!("{name}.{overload} was not recorded")).clone()
    };
    // In workers that were forked, a child that was spawned, one that leaves at once, and
    // another program.
    assert_eq!(of("aten::erfinv", "")["calls"], 8);
    assert!(of("aten::to", "dtype")["dtypes"].to_string().contains("float16"));
    assert_eq!(of("aten::special_i1e", "")["training"], false);
    assert_eq!(of("aten::digamma", "")["dtypes"][0], "float64");
    assert_eq!(of("aten::lgamma", "")["root"], true);
    // What a derivative was taken of, and what took it.
    assert_eq!(of("aten::tanh", "")["training"], true);
    assert_eq!(of("aten::tanh_backward", "")["training"], true);
    assert_eq!(of("aten::tanh_backward", "")["root"], false);
    assert_eq!(of("aten::sinc", "")["training"], false);
    assert_eq!(of("aten::addmm", "")["root"], false);
}

#[test]
fn a_profile_without_operators_says_how_to_get_them() {
    let world = World::new();
    let old = r#"{"format":1,"python":"3.11","torch":"2.15.0","target":"cpu","runs":[],
        "libraries":{},"opened":[],"probed":[]}"#;
    fs::write(world.path("old.profile"), old).unwrap();
    let done = world.taper(&["ops", "old.profile"]);
    assert_eq!(done.status.code(), Some(2));
    let text = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(text.contains("holds no operators") && text.contains("taper trace"), "{text}");
}

/// An archive of these entries.
fn archive(path: &Path, entries: &[(&str, &[u8])]) {
    let file = fs::File::create(path).unwrap();
    let mut writer = zip::ZipWriter::new(file);
    for (name, bytes) in entries {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn what_is_no_model_is_refused_by_what_and_where() {
    let world = World::new();
    archive(&world.path("plain.pt"), &[("a/data.pkl", b"\x80\x02}.")]);
    archive(&world.path("up.pt2"), &[("a/models/model.json", b"{}"), ("a/../b", b"")]);
    archive(&world.path("json.pt2"), &[("a/models/model.json", b"{\"graph_module\":")]);
    fs::write(world.path("text"), "hello").unwrap();
    let cases = [
        ("plain.pt", "it holds objects and no code, as torch.save writes them"),
        ("up.pt2", "a/../b: its name leads elsewhere"),
        ("json.pt2", "models/model.json: EOF"),
        ("text", "is not a profile"),
        ("nowhere.pt", "cannot read nowhere.pt"),
    ];
    for (file, what) in cases {
        let done = world.taper(&["ops", file]);
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(2), "{text}");
        assert!(text.contains(file) && text.contains(what), "{text}");
    }
    let done = world.taper(&["ops", "--json", "--format", "list", "text"]);
    assert_eq!(done.status.code(), Some(2));
}
