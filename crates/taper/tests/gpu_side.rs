//! Which distributions a package for the CPU leaves out: by what their libraries hold and
//! open, and where a name suggests it; never by one of the two alone.

mod world;

use std::fs;
use std::process::Command;
use world::World;

/// Opens the GPU's driver, as what a vendor publishes does.
const DRIVER: &str = "#include <dlfcn.h>
int answer(void) { return dlopen(\"libcuda.so.1\", RTLD_NOW) ? 1 : 42; }
";

/// Installs `name` with a module that gives 42, asking a library of the distribution if
/// there is one with the text `c`.
fn install(world: &World, name: &str, c: Option<&str>) {
    let mut files = vec![format!("{name}/__init__.py")];
    let mut text = "answer = lambda: 42\n".to_owned();
    if let Some(c) = c {
        let library = format!("{name}/lib{name}.so");
        let (source, out) = (world.path("x.c"), world.packages().join(&library));
        fs::write(&source, c).unwrap();
        fs::create_dir_all(out.parent().unwrap()).unwrap();
        let mut link = Command::new("gcc");
        link.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&out).arg(&source).arg("-ldl");
        assert!(link.status().unwrap().success());
        text = format!(
            "import ctypes, os\n\
             answer = ctypes.CDLL(os.path.dirname(__file__) + '/lib{name}.so').answer\n"
        );
        files.push(library);
    }
    world.install(&files[0], &text);
    let metadata = format!("{name}-1.0.dist-info/METADATA");
    world.install(&metadata, &format!("Name: {name}\nVersion: 1.0\n"));
    let list = format!("{name}-1.0.dist-info/RECORD");
    let all = files.iter().chain([&metadata, &list]).map(|file| format!("{file},,\n"));
    world.install(&list, &all.collect::<String>());
}

/// Packs for the CPU, and gives the answers of modules in the package: what each said, or
/// the error of its import.
fn answers(world: &World, out: &str, flags: &[&str], modules: &[&str]) -> Vec<String> {
    let place = world.path(out);
    let words = ["pack", "--target", "cpu", "--no-verify", "--cpu", "native", "--to"];
    let workload = [place.to_str().unwrap(), "--", "python", "-c", "import torch"];
    let (to, command) = workload.split_at(1);
    let done = world.taper(&[&words[..], to, flags, command].concat());
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let answer = |module: &&str| {
        let done = world
            .python(&place, &["-c", &format!("import torch, {module}; print({module}.answer())")]);
        let said = if done.status.success() { done.stdout } else { done.stderr };
        String::from_utf8(said).unwrap().lines().last().unwrap_or_default().to_owned()
    };
    modules.iter().map(answer).collect()
}

#[test]
fn neither_a_name_nor_a_library_alone_makes_the_gpu_side() {
    let world = World::with_torch(&[("torch/__init__.py", "")]);
    install(&world, "nvidia_plain", None);
    install(&world, "cuda_tools", Some("int answer(void) { return 42; }\n"));
    install(&world, "sensors", Some(DRIVER));
    world.compile();
    let modules = ["nvidia_plain", "cuda_tools", "sensors"];
    assert_eq!(answers(&world, "dist", &[], &modules), ["42", "42", "42"]);
}

/// Installs a library without modules as the distribution `nvidia-{name}`, and in torch one that
/// needs it, with the text `user`.
fn install_needed(world: &World, name: &str, user: &str) {
    let home = world.packages().join("nvidia").join(name);
    fs::create_dir_all(&home).unwrap();
    let link = |out: &std::path::Path, text: &str, words: &[&str]| {
        fs::write(world.path("x.c"), text).unwrap();
        let mut link = Command::new("gcc");
        link.args(["-shared", "-fPIC", "-O1", "-Wl,--no-as-needed"]);
        let path = format!("-Wl,-rpath,$ORIGIN/../nvidia/{name}");
        link.arg(path).arg("-o").arg(out).arg(world.path("x.c")).args(words).arg("-ldl");
        assert!(link.status().unwrap().success());
    };
    let text = format!("char large_{name}[1 << 20] = {{1}}; int {name}(void) {{ return 42; }}");
    let library = format!("lib{name}.so");
    link(&home.join(&library), &text, &[&format!("-Wl,-soname,{library}")]);
    let needs = [format!("-L{}", home.display()), format!("-l{name}")];
    let user = format!("#include <dlfcn.h>\nint {name}(void); {user}");
    let path = world.packages().join(format!("torch/{name}_user.so"));
    link(&path, &user, &[&needs[0], &needs[1]]);
    let metadata = format!("nvidia_{name}-1.0.dist-info/METADATA");
    world.install(&metadata, &format!("Name: nvidia-{name}\nVersion: 1.0\n"));
    let list = format!("nvidia_{name}-1.0.dist-info/RECORD");
    world.install(&list, &format!("nvidia/{name}/{library},,\n{metadata},,\n{list},,\n"));
}

#[test]
fn what_only_libraries_for_gpus_need_is_of_the_gpu_side() {
    let user = "int answer(void) { return kernels() + !!dlopen(\"libcuda.so.1\", RTLD_NOW); }";
    let module = "import ctypes, os
def ask(name):
    return ctypes.CDLL(os.path.dirname(__file__) + '/' + name + '_user.so').answer()
";
    let world = World::with_torch(&[
        ("torch/__init__.py", module),
        ("torch/kernels_user.so", ""),
        ("torch/plain_user.so", ""),
    ]);
    install_needed(&world, "kernels", user);
    install_needed(&world, "plain", "int answer(void) { return plain(); }");
    world.install("asks.py", "import torch\nanswer = lambda: torch.ask('plain')\n");
    world.compile();
    assert_eq!(answers(&world, "dist", &[], &["asks"]), ["42"]);
    let size = |name: &str| {
        let about = fs::metadata(world.path("dist").join(name));
        about.map_or(0, |about| about.len())
    };
    assert!(size("nvidia/kernels/libkernels.so") < 1 << 18);
    assert!(size("nvidia/plain/libplain.so") >= 1 << 20);
}

#[test]
fn what_leaves_with_the_gpu_side_is_named_and_kept_on_request() {
    let world = World::with_torch(&[("torch/__init__.py", "")]);
    install(&world, "nvidia_driver_tools", Some(DRIVER));
    world.compile();
    let modules = ["nvidia_driver_tools"];
    let said = &answers(&world, "without", &[], &modules)[0];
    for word in ["ModuleNotFoundError", "taper left it out", "GPU"] {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    // The advice works as it stands.
    let flag = said.split_once("pack with ").unwrap().1;
    let flags: Vec<&str> = flag.split(' ').collect();
    assert_eq!(answers(&world, "with", &flags, &modules), ["42"], "{flag}");
}
