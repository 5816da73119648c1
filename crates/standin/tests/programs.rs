//! Stand-ins for libraries built here, loaded and called by real programs.

use elf::{Library, PageSet};
use functions::Functions;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Output};
use taper_standin::{Request, Wanted, standin, wanted};

const LIBRARY: &str = r#"
#include <cstdio>
#include <stdexcept>
#include <string>
struct Start { Start() { puts("constructed"); } ~Start() { puts("destroyed"); } };
static Start start;
namespace gpu {
struct Base { virtual ~Base() {} virtual int number() { return 1; } };
struct Derived : Base { int number() override; };
int Derived::number() { return 2; }
__attribute__((aligned(4096))) int &shared() { static int value = 5; return value; }
__attribute__((aligned(4096))) int throws(int x) {
    std::string text = "thrown from kept code";
    if (x > 0) throw std::logic_error(text);
    return x;
}
__attribute__((aligned(4096))) int absent(int x) { return x * 3; }
__attribute__((aligned(4096))) void last() {}
}
extern "C" int plain_c(int x) { return x; }
"#;

const PROGRAM: &str = r#"
#include <cstdio>
#include <stdexcept>
#include <typeinfo>
namespace gpu {
struct Base { virtual ~Base() {} virtual int number() { return 1; } };
struct Derived : Base { int number() override; };
int &shared(); int throws(int); int absent(int);
}
extern "C" int plain_c(int);
int main() {
    gpu::shared() += 1;
    printf("shared %d\n", gpu::shared());
    try { gpu::throws(1); } catch (const std::logic_error &error) { printf("%s\n", error.what()); }
    for (int round = 0; round < 2; round++)
        try { printf("absent %d\n", gpu::absent(2)); }
        catch (const std::runtime_error &error) { printf("%s\n", error.what()); }
    try { plain_c(1); } catch (const std::exception &error) { printf("%s\n", error.what()); }
    printf("%s\n", typeid(gpu::Derived).name());
}
"#;

struct World {
    place: tempfile::TempDir,
}

impl World {
    fn new(extra: &[&str]) -> Self {
        let world = Self { place: tempfile::tempdir().unwrap() };
        fs::create_dir(world.path("original")).unwrap();
        fs::create_dir(world.path("stand-in")).unwrap();
        fs::write(world.path("library.cc"), LIBRARY).unwrap();
        fs::write(world.path("program.cc"), PROGRAM).unwrap();
        let mut words = vec!["-shared", "-fPIC", "-O1", "-Wl,-soname,libgpu.so.1"];
        words.extend(extra);
        words.extend(["library.cc", "-o", "original/libgpu.so.1"]);
        world.compile(&words);
        world.compile(&["-O1", "program.cc", "original/libgpu.so.1", "-o", "program"]);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn compile(&self, words: &[&str]) {
        let done = Command::new("g++").args(words).current_dir(self.place.path()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Writes a stand-in that keeps the functions of which a name contains a word.
    fn make(&self, words: &[&str]) {
        let data = fs::read(self.path("original/libgpu.so.1")).unwrap();
        let library = Library::parse(&data).unwrap();
        // A program is no library to the reader; what it asks for is known here.
        let mut asked = Wanted::default();
        let versions = library.versions().unwrap();
        for symbol in library.symbols().unwrap() {
            let name = symbol.name;
            if symbol.is_defined() && (name.contains("3gpu") || name == "plain_c") {
                let version = versions.name(symbol.version).map(|(name, _)| name.to_owned());
                asked.versions.extend(version.clone());
                asked.symbols.insert(name.to_owned(), version);
            }
        }
        let mut touched = PageSet::new();
        for symbol in library.symbols().unwrap() {
            if symbol.is_function() && words.iter().any(|word| symbol.name.contains(word)) {
                touched.insert_addresses(symbol.address..symbol.address + symbol.size);
            }
        }
        // The linkage table is code without a name; it lies with the initialiser.
        if let Some(at) = library.dynamic(elf::tag::INIT).filter(|_| !words.is_empty()) {
            touched.insert_addresses(at..at + elf::PAGE);
        }
        let mut keep = Functions::read(&library).unwrap().whole(&library, &touched, &[]).all();
        if !words.is_empty() {
            for load in library.loads().filter(|load| load.flags & elf::flags::EXECUTE == 0) {
                keep.insert_addresses(load.file_addresses());
            }
        }
        let request =
            Request { library: &library, wanted: &asked, keep: &keep, message: "is not here" };
        let made = standin(&request).unwrap();
        let mut file = File::create(self.path("stand-in/libgpu.so.1")).unwrap();
        made.write_to(&data, &mut file).unwrap();
        assert_eq!(file.metadata().unwrap().len(), made.size());
    }

    fn run(&self, folder: &str, now: bool) -> Output {
        let mut program = Command::new(self.path("program"));
        program.env("LD_LIBRARY_PATH", self.path(folder));
        if now {
            program.env("LD_BIND_NOW", "1");
        }
        program.output().unwrap()
    }
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn kept_functions_run_and_others_raise() {
    let world = World::new(&[]);
    let original = text(&world.run("original", false));
    assert!(original.starts_with("constructed\nshared 6\nthrown from kept code\nabsent 6\n"));
    world.make(&["6shared", "6throws"]);
    let expected = "shared 6\nthrown from kept code\n\
        gpu::absent(int) (libgpu.so.1) is not here\n\
        gpu::absent(int) (libgpu.so.1) is not here\n\
        plain_c (libgpu.so.1) is not here\nN3gpu7DerivedE\n";
    for now in [false, true] {
        assert_eq!(text(&world.run("stand-in", now)), expected);
    }
}

#[test]
fn a_bare_one_raises_for_everything() {
    let world = World::new(&[]);
    world.make(&[]);
    let done = world.run("stand-in", false);
    // The first call is outside of any handler.
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("gpu::shared() (libgpu.so.1) is not here"), "{done:?}");
    assert!(fs::metadata(world.path("stand-in/libgpu.so.1")).unwrap().len() < 16 << 10);
}

#[test]
fn versions_are_defined_as_consumers_ask() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("v.map"), "GPU_1.5 { global: *; };\n").unwrap();
    let script = format!("-Wl,--version-script={}", place.path().join("v.map").display());
    let world = World::new(&[&script]);
    world.make(&["6shared", "6throws"]);
    let said = text(&world.run("stand-in", true));
    assert!(said.contains("gpu::absent(int) (libgpu.so.1) is not here"), "{said}");
}

#[test]
fn other_readers_take_it() {
    let world = World::new(&[]);
    world.make(&["6shared"]);
    let file = world.path("stand-in/libgpu.so.1");
    for (program, words) in [("readelf", &["-aW"][..]), ("ldd", &["-r"])] {
        let done = Command::new(program).args(words).arg(&file).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!said.contains("Error") && !said.contains("undefined"), "{said}");
    }
}

/// Dockerfiles strip what they install, and strip writes what sections hold.
#[test]
fn a_stripped_one_is_as_before() {
    let world = World::new(&[]);
    for words in [&[][..], &["6shared", "6throws"]] {
        world.make(words);
        let before = world.run("stand-in", true);
        for how in ["--strip-debug", "--strip-unneeded", "--strip-all"] {
            world.make(words);
            let file = world.path("stand-in/libgpu.so.1");
            let done = Command::new("strip").arg(how).arg(&file).output().unwrap();
            assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
            assert_eq!(world.run("stand-in", true), before, "{how}");
        }
    }
}

/// ltrace reads the sections of each library, and ends with one that has none.
#[test]
#[ignore = "needs ltrace: cargo xtask test"]
fn ltrace_runs_it() {
    let world = World::new(&[]);
    world.make(&["6shared", "6throws"]);
    let mut ltrace = Command::new("ltrace");
    ltrace.env("LD_LIBRARY_PATH", world.path("stand-in")).arg("-o").arg(world.path("calls"));
    let done = ltrace.arg(world.path("program")).output().unwrap();
    assert_eq!(text(&done), text(&world.run("stand-in", false)));
    let calls = fs::read_to_string(world.path("calls")).unwrap();
    assert!(calls.contains("shared") && calls.contains("absent"), "{calls}");
}

/// What a linker reads: names and their versions.
#[test]
fn programs_are_linked_with_it() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("v.map"), "GPU_1.5 { global: *; };\n").unwrap();
    let script = format!("-Wl,--version-script={}", place.path().join("v.map").display());
    let world = World::new(&[&script]);
    world.make(&["6shared", "6throws"]);
    let before = text(&world.run("stand-in", true));
    world.compile(&["-O1", "program.cc", "stand-in/libgpu.so.1", "-o", "program"]);
    assert_eq!(text(&world.run("stand-in", true)), before);
    let said = Command::new("readelf").arg("-VW").arg(world.path("program")).output().unwrap();
    assert!(String::from_utf8_lossy(&said.stdout).contains("GPU_1.5"), "{said:?}");
}

/// A library may contain a part of the C++ library, and what was linked against it asks for that
/// without a version (`PyTorch` 2.9 of `libcufile`).
#[test]
fn a_part_of_the_system_is_found_in_the_system() {
    let world = World::new(&[]);
    let own = "extern \"C\" void own(void *, const char *) __asm__(\"_ZNSt13runtime_errorC1EPKc\");
        #include <stdlib.h>
        void own(void *, const char *) { abort(); }
        extern \"C\" int gpu_only(void) { return 1; }";
    fs::write(world.path("library.cc"), own).unwrap();
    let soname = "-Wl,-soname,libgpu.so.1";
    world.compile(&["-shared", "-fPIC", soname, "library.cc", "-o", "original/libgpu.so.1"]);
    let throws = "#include <stdexcept>
        extern \"C\" int gpu_only(void);
        extern \"C\" int use(void) {
            try { throw std::runtime_error(\"one\"); } catch (std::exception &) { return gpu_only(); }
        }";
    fs::write(world.path("kept.cc"), throws).unwrap();
    world.compile(&["-shared", "-fPIC", "kept.cc", "original/libgpu.so.1", "-o", "libkept.so"]);
    let others = "#include <stdexcept>
        #include <sstream>
        int other(int x) { std::ostringstream s; s << x; throw std::logic_error(s.str()); }";
    fs::write(world.path("other.cc"), others).unwrap();
    world.compile(&["-shared", "-fPIC", "other.cc", "-o", "libother.so"]);
    let read = |name: &str| fs::read(world.path(name)).unwrap();
    let bytes = [read("libkept.so"), read("libother.so"), read("original/libgpu.so.1")];
    let [kept, other, dropped] = bytes.each_ref().map(|bytes| Library::parse(bytes).unwrap());
    // As a linker leaves it that finds the name in the library first.
    let unversioned = kept.symbols().unwrap().iter().any(|symbol| {
        symbol.name == "_ZNSt13runtime_errorC1EPKc"
            && kept.versions().unwrap().name(symbol.version).is_none()
    });
    assert!(unversioned);
    let kept = [("libkept.so", &kept), ("libother.so", &other)];
    let found = wanted(&kept, &[("libgpu.so.1", &dropped)]).unwrap();
    let names: Vec<&String> = found["libgpu.so.1"].symbols.keys().collect();
    assert_eq!(names, ["gpu_only"]);
}

#[test]
fn wants_follow_what_can_be_bound() {
    let world = World::new(&[]);
    fs::write(
        world.path("kept.cc"),
        "namespace gpu { int absent(int); } int uses() { return gpu::absent(1); }",
    )
    .unwrap();
    world.compile(&["-shared", "-fPIC", "kept.cc", "original/libgpu.so.1", "-o", "libkept.so"]);
    let (kept, dropped) = (
        fs::read(world.path("libkept.so")).unwrap(),
        fs::read(world.path("original/libgpu.so.1")).unwrap(),
    );
    let (kept, dropped) = (Library::parse(&kept).unwrap(), Library::parse(&dropped).unwrap());
    let found = wanted(&[("libkept.so", &kept)], &[("gpu/libgpu.so.1", &dropped)]).unwrap();
    let names: Vec<&String> = found["gpu/libgpu.so.1"].symbols.keys().collect();
    assert_eq!(names, ["_ZN3gpu6absentEi"]);
}
