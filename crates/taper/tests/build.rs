//! `taper build` on a small tree with the forms of PyTorch's. It is a real CMake project: what
//! runs are CMake, ninja, the compiler and strip. Where one of them is missing, only what needs
//! none is tested.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const CMAKE: &str = "cmake_minimum_required(VERSION 3.18)
project(Torch CXX C)
include(CMakeDependentOption)
option(BUILD_PYTHON \"Build Python binaries\" ON)
option(BUILD_LITE_INTERPRETER \"Master flag to build Lite Interpreter\" OFF)
option(BUILD_SHARED_LIBS \"Build shared libraries\" ON)
option(USE_CUDA \"Use CUDA\" ON)
cmake_dependent_option(USE_NCCL \"Use NCCL\" ON \"USE_CUDA\" OFF)
set(SELECTED_OP_LIST \"\" CACHE STRING \"Path to the yaml file\")
option(TRACING_BASED \"Master flag\" OFF)
option(STATIC_DISPATCH_BACKEND \"Name of the backend, e.g.: CPU.\" \"\")
if(DEFINED ENV{BUILD_PYTORCH_MOBILE_WITH_HOST_TOOLCHAIN})
  set(INTERN_BUILD_MOBILE ON)
endif()
if(USE_CUDA OR NOT INTERN_BUILD_MOBILE OR NOT BUILD_LITE_INTERPRETER OR BUILD_SHARED_LIBS)
  message(FATAL_ERROR \"another build than the one that was asked for\")
endif()
if(NOT TRACING_BASED OR NOT STATIC_DISPATCH_BACKEND STREQUAL \"CPU\")
  message(FATAL_ERROR \"operators are not selected\")
endif()
file(READ ${SELECTED_OP_LIST} OPERATORS)
if(NOT OPERATORS MATCHES \"aten::add.Tensor\")
  message(FATAL_ERROR \"the operator is not in ${OPERATORS}\")
endif()
if(CXX_AVX512_FOUND)
endif()
add_subdirectory(caffe2)
";

const LIBRARY: &str = "add_library(torch_cpu STATIC x.cpp)
install(TARGETS torch_cpu ARCHIVE DESTINATION lib)
install(FILES x.h DESTINATION include)
";

/// A folder with a tree, and modules that stand for those which PyTorch's code generators
/// need: the tree has none.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for (file, text) in [
            ("pytorch/CMakeLists.txt", CMAKE),
            ("pytorch/version.txt", "2.6.0a0\n"),
            ("pytorch/caffe2/CMakeLists.txt", LIBRARY),
            ("pytorch/caffe2/x.cpp", "#include \"x.h\"\nint twice(int x) { return 2 * x; }\n"),
            ("pytorch/caffe2/x.h", "int twice(int x);\n"),
            ("pytorch/aten/src/ATen/native/native_functions.yaml", "- func: add\n"),
            ("modules/yaml.py", ""),
            ("modules/typing_extensions.py", ""),
            ("operators.txt", "aten::add.Tensor\n"),
        ] {
            place.write(file, text);
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_taper"));
        command.arg("build").args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        command.env("PYTHONPATH", self.path("modules")).env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("XDG_CACHE_HOME", self.path("cache"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Checks the exit code, words of the error, and that nothing is left.
    fn refuses(&self, code: i32, words: &[&str], arguments: &[&str]) {
        let done = self.run(arguments);
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{said}");
        for word in words {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
        self.nothing_written();
    }

    fn nothing_written(&self) {
        for entry in fs::read_dir(self.0.path()).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            assert!(!name.starts_with(".taper") && name != "out", "{name} was left");
        }
        assert!(!self.path("pytorch/build").exists(), "the tree was written to");
    }
}

const LITE: [&str; 10] = [
    "--source",
    "pytorch",
    "--product",
    "lite",
    "--operators",
    "operators.txt",
    "--to",
    "out",
    "--work",
    "work",
];

#[test]
#[ignore = "needs cmake, ninja, strip and a C++ compiler: cargo xtask test"]
fn a_build_is_configured_compiled_stripped_and_gone_on_with() {
    let place = Place::new();
    let done = place.run(&LITE);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{said}");
    assert!(said.contains("-DUSE_CUDA=OFF") && said.contains("the target is a CPU"), "{said}");
    assert!(said.contains("link with: -LOUT/lib -Wl,--gc-sections"), "{said}");
    assert!(!place.path("pytorch/build").exists(), "the tree was written to");

    // What was written is what a program can be linked with.
    place.write("main.cpp", "#include <x.h>\nint main() { return twice(21) - 42; }\n");
    let mut link = Command::new("c++");
    link.current_dir(place.0.path()).args(["main.cpp", "-Iout/include", "-Lout/lib"]);
    assert!(link.args(["-ltorch_cpu", "-o", "main"]).status().unwrap().success());
    assert!(Command::new(place.path("main")).status().unwrap().success());
    let text = fs::read_to_string(place.path("out/taper-build.json")).unwrap();
    let described: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(described["product"], "lite");
    assert_eq!(described["operators"][0], "aten::add.Tensor");

    // A second build finds the first, and takes what changed.
    fs::remove_dir_all(place.path("out")).unwrap();
    place.write("pytorch/caffe2/x.h", "int twice(int x);\nint thrice(int x);\n");
    let done = place.run(&[&LITE[..], &["--json"]].concat());
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let document: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert!(document["bytes"].as_u64().unwrap() > 1000, "{document}");
    assert!(fs::read_to_string(place.path("out/include/x.h")).unwrap().contains("thrice"));
}

const PYTHON: &str = "cmake_minimum_required(VERSION 3.18)
project(Torch CXX C)
find_package(Python COMPONENTS Interpreter REQUIRED)
option(BUILD_PYTHON \"Build Python binaries\" OFF)
option(USE_CUDA \"Use CUDA\" ON)
if(USE_CUDA OR NOT BUILD_PYTHON)
  message(FATAL_ERROR \"another build than the one that was asked for\")
endif()
add_library(torch_cpu SHARED caffe2/x.cpp)
target_compile_options(torch_cpu PRIVATE -g)
install(TARGETS torch_cpu LIBRARY DESTINATION lib)
";

const SETUP: &str = "import os, setuptools
assert os.path.exists('build/CMakeCache.txt') and os.environ['BUILD_TEST'] == '0'
setuptools.setup(name='torch', version='2.6.0', packages=['torch'], package_data={'torch': ['lib/*']})
";

#[test]
#[ignore = "needs setuptools, wheel and Python.h: cargo xtask test"]
fn a_python_build_becomes_a_folder_that_python_imports() {
    let named = |name| PathBuf::from(std::env::var_os(name).expect("cargo xtask test sets it"));
    let python = named("TAPER_TEST_ENV").join("bin/python");
    let place = Place::new();
    place.write("pytorch/CMakeLists.txt", PYTHON);
    place.write("pytorch/caffe2/x.cpp", "extern \"C\" int twice(int x) { return 2 * x; }\n");
    place.write("pytorch/setup.py", SETUP);
    let init = "import ctypes, os\n\
                library = ctypes.CDLL(os.path.dirname(__file__) + '/lib/libtorch_cpu.so')\n";
    place.write("pytorch/torch/__init__.py", init);
    let mut command = place.command(&["--source", "pytorch", "--to", "out", "--work", "work"]);
    command.arg("--build-python").arg(&python).env("PYTHONPATH", named("TAPER_TEST_MODULES"));
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{said}");
    assert!(said.contains("use with: PYTHONPATH="), "{said}");
    // Without a torch of its own.
    let program = "import torch; print(torch.library.twice(21))";
    let mut run = Command::new(&python);
    let done =
        run.args(["-S", "-c", program]).env("PYTHONPATH", place.path("out")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stdout).trim(), "42");
    let library = fs::read(place.path("out/torch/lib/libtorch_cpu.so")).unwrap();
    assert!(memchr::memmem::find(&library, b".debug_info").is_none(), "it was not stripped");
    assert!(place.path("out/torch-2.6.0.dist-info/METADATA").exists());
    assert!(!place.path("pytorch/torch/lib").exists(), "the tree was written to");
    assert!(!place.path("pytorch/build").exists(), "the tree was written to");
}

#[test]
#[ignore = "needs cmake, ninja, strip and a C++ compiler: cargo xtask test"]
fn an_option_that_cmake_does_not_use_and_a_build_that_fails_are_said() {
    let place = Place::new();
    // The tree asks for the name where no run of CMake comes by.
    let asked = "if(FALSE)\n  if(NEVER_SEEN)\n  endif()\nendif()\n";
    place.write("pytorch/cmake/Other.cmake", asked);
    let flags = ["--configure", "--", "-DNEVER_SEEN=1"];
    place.refuses(1, &["does not use NEVER_SEEN"], &[&LITE[..6], &LITE[8..], &flags].concat());
    place.write("pytorch/caffe2/x.cpp", "int twice(int x) { return y; }\n");
    place.refuses(3, &["ninja failed", "build.log", "was not declared"], &LITE);
}

#[test]
#[ignore = "needs cmake, ninja, strip and a C++ compiler: cargo xtask test"]
fn an_interrupted_build_leaves_no_part_of_out_and_can_go_on() {
    let place = Place::new();
    let slow = format!("{LIBRARY}add_custom_target(slow ALL COMMAND sleep 600)\n");
    place.write("pytorch/caffe2/CMakeLists.txt", &slow);
    let mut command = place.command(&LITE);
    // A terminal's signal reaches the whole group, as this one does.
    let mut child = command.process_group(0).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while !place.path("work/build.log").exists() {
        assert!(start.elapsed() < Duration::from_mins(2), "it does not come to the build");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_millis(300));
    let group = format!("-{}", child.id());
    assert!(Command::new("kill").args(["-INT", "--", &group]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert!(said.contains("interrupted; the same command goes on with the build in"), "{said}");
    place.nothing_written();
    place.write("pytorch/caffe2/CMakeLists.txt", LIBRARY);
    let done = place.run(&LITE);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn missing_programs_are_named_with_what_to_install() {
    let place = Place::new();
    let python = Command::new("python3")
        .args(["-c", "import sys; print(getattr(sys, '_base_executable', sys.executable))"])
        .output()
        .unwrap();
    let python = String::from_utf8(python.stdout).unwrap();
    fs::create_dir(place.path("bin")).unwrap();
    std::os::unix::fs::symlink(python.trim(), place.path("bin/python3")).unwrap();
    let mut command = place.command(&LITE);
    let done = command.env("PATH", place.path("bin")).env_remove("CXX").output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    for word in ["cmake", "ninja", "apt-get install cmake ninja-build binutils g++"] {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    assert!(!place.path("work").exists());
    place.nothing_written();
}

#[test]
#[ignore = "needs cmake, ninja, strip and a C++ compiler: cargo xtask test"]
fn modules_that_a_build_needs_are_named() {
    let place = Place::new();
    fs::remove_dir_all(place.path("modules")).unwrap();
    // Without site-packages no interpreter has it.
    place.write(
        "modules/sitecustomize.py",
        "import sys\nsys.path[:] = [p for p in sys.path if 'packages' not in p]\n",
    );
    place.refuses(2, &["yaml", "pip install pyyaml"], &LITE);
}

#[test]
fn bad_input_is_refused_and_leaves_nothing() {
    let place = Place::new();
    let dry = ["--source", "pytorch", "--dry-run"];
    place.refuses(2, &["not a PyTorch source tree", "version.txt"], &{
        fs::create_dir(place.path("empty")).unwrap();
        fs::write(place.path("empty/CMakeLists.txt"), "").unwrap();
        ["--source", "empty", "--dry-run"]
    });
    place.refuses(2, &["--to"], &["--source", "pytorch"]);
    for (option, words) in [
        ("-DTORCH_SELECTIVE_BUILD=ON", &["no such option", "SELECTED_OP_LIST"][..]),
        ("-DTORCH_CPU_ARCH=avx2", &["CXX_AVX512_FOUND"]),
        ("-DTORCH_CUDA_ARCH_LIST=", &["USE_CUDA=0"]),
        ("-DUSE_NCLC=ON", &["the nearest is USE_NCCL"]),
        ("USE_CUDA=0", &["-DNAME=VALUE"]),
    ] {
        place.refuses(2, words, &[&dry[..], &["--", option]].concat());
    }
    place.refuses(
        2,
        &["operators are selected for --product lite"],
        &[&dry[..], &["--operators", "operators.txt"]].concat(),
    );
    place.write("bad.txt", "aten::add.Tensor\nrm -rf /\n");
    place.refuses(
        2,
        &["bad.txt", "line 2"],
        &[&LITE[..4], &["--operators", "bad.txt", "--dry-run"]].concat(),
    );
    place.refuses(2, &["no.profile"], &[&dry[..], &["--profile", "no.profile"]].concat());
    fs::create_dir(place.path("there")).unwrap();
    place.refuses(
        2,
        &["there", "exists"],
        &[&LITE[..6], &["--to", "there", "--work", "w"]].concat(),
    );
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let place = Place::new();
    let done = place.run(&[&LITE[..6], &["--dry-run"]].concat());
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8_lossy(&done.stdout);
    for word in [
        "-DUSE_CUDA=OFF",
        "(CMakeLists.txt:7)",
        "commands:",
        "cmake -GNinja",
        "ninja -C",
        "1 operators are selected",
    ] {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    assert!(!text.contains("USE_MKLDNN"), "this tree has no such option: {text}");
    assert!(!place.path("cache").exists());
    place.nothing_written();
    let flags = ["--dry-run", "--json", "--", "-DUSE_CUDA=ON"];
    let done = place.run(&[&LITE[..6], &flags].concat());
    let document: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let options = document["options"].as_array().unwrap();
    let cuda: Vec<_> = options.iter().filter(|option| option["name"] == "USE_CUDA").collect();
    assert_eq!((cuda.len(), &cuda[0]["value"]), (1, &"ON".into()));
    let is_cmake = |path: &Path| path == Path::new("cmake");
    assert!(is_cmake(Path::new(document["steps"][0]["words"][0].as_str().unwrap())));
}

/// The real tree, where `cargo xtask source` has made it.
#[test]
#[ignore = "needs PyTorch's sources: cargo xtask source, then test"]
fn the_real_tree_knows_what_is_chosen_for_it() {
    let tree = std::env::var_os("TAPER_TEST_SOURCE")
        .expect("TAPER_TEST_SOURCE is set by cargo xtask test");
    let tree = tree.to_string_lossy().into_owned();
    let place = Place::new();
    for product in ["python", "lite"] {
        let flags = ["--source", &tree, "--product", product, "--dry-run", "--json"];
        let done = place.run(&flags);
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(0), "{said}");
        assert!(!said.contains("not understood"), "{said}");
        let document: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(document["pytorch"], "2.6.0");
        let options = document["options"].as_array().unwrap();
        for name in ["USE_CUDA", "USE_MKLDNN", "USE_FBGEMM", "BUILD_TEST"] {
            let found = options.iter().find(|option| option["name"] == name).unwrap();
            assert_eq!(found["value"], "OFF", "{name}");
            assert!(found["place"]["file"].is_string(), "{name}");
        }
    }
    let wrong = ["--source", &tree, "--dry-run", "--", "-DTORCH_SELECTIVE_BUILD=ON"];
    place.refuses(2, &["SELECTED_OP_LIST"], &wrong);
}
