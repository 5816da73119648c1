//! Packages without cold code, in which programs do less than the traced one did, or the same
//! in another order or with other luck: real libraries, built here, of more than 2 MB, below
//! which libraries are complete.

mod world;

use std::fs;
use std::path::Path;
use std::process::Command;
use world::World;

/// Fills the pages between functions, so that none is there for a neighbour's sake, and makes
/// the library large.
const HEAD: &str = r#"
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#define FAR __attribute__((noinline, aligned(4096)))
#define OUT __attribute__((visibility("default"))) FAR
extern "C" const unsigned char fill[3 << 20] = {1};
"#;

fn build(world: &World, name: &str, source: &str) {
    let text = format!("{HEAD}{source}");
    let file = world.path("source.cc");
    fs::write(&file, text).unwrap();
    let to = world.packages().join("torch").join(name);
    let built = Command::new("c++")
        .args(["-O1", "-shared", "-fPIC", "-w", "-fvisibility=hidden", "-o"])
        .args([to.as_path(), Path::new(&file)])
        .status()
        .unwrap();
    assert!(built.success());
}

/// What a program prints in a package traced with another one, and in the original.
fn same(world: &World, traced: &str, run: &str) {
    world.compile();
    let _ = fs::remove_dir_all(world.path("out"));
    let words = ["pack", "--cpu", "native", "--cold", "drop", "--no-verify", "--to", "out", "--"];
    let done = world.taper(&[&words[..], &["python", "-c", traced]].concat());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let original = Command::new(world.path("env/bin/python")).args(["-c", run]).output().unwrap();
    assert!(original.status.success(), "{}", String::from_utf8_lossy(&original.stderr));
    let got = world.python(&world.path("out"), &["-c", run]);
    let said = String::from_utf8_lossy(&got.stderr);
    assert!(got.status.success(), "{:?} {said}", got.status);
    assert_eq!(got.stdout, original.stdout, "{said}");
}

fn loaded(names: &[&str]) -> World {
    let module = "
import ctypes, os
def load(name, flags=ctypes.RTLD_GLOBAL):
    place = os.path.join(os.path.dirname(__file__), name)
    library = ctypes.PyDLL(place, flags)
    library.go.restype = ctypes.c_long
    return library
";
    let mut files = vec![("torch/__init__.py", module)];
    files.extend(names.iter().map(|name| (*name, "")));
    World::with_torch(&files)
}

#[test]
fn either_copy_of_a_function_is_there() {
    let world = loaded(&["torch/one.so", "torch/two.so"]);
    // As inline functions of C++: both have it, and the first that is loaded serves both.
    let source = "extern \"C\" __attribute__((weak)) OUT long deeper(long x) { return x * 5; }
        extern \"C\" __attribute__((weak)) OUT long shared(long x) { return deeper(x) + 1; }
        extern \"C\" OUT long go(long x) { return shared(x) + WHICH; }";
    build(&world, "one.so", &source.replace("WHICH", "1"));
    build(&world, "two.so", &source.replace("WHICH", "2"));
    let order = |first: &str, second: &str| {
        format!("import torch; print([torch.load(n).go(3) for n in ('{first}', '{second}')])")
    };
    same(&world, &order("one.so", "two.so"), &order("two.so", "one.so"));
}

#[test]
fn what_ends_objects_and_what_chance_calls_is_there() {
    let world = loaded(&["torch/ends.so"]);
    let source = r#"
extern "C" int __cxa_atexit(void (*)(void *), void *, void *);
extern "C" long puts(const char *);
extern "C" int fflush(void *);
struct Base { FAR virtual long use() { return 1; } FAR virtual ~Base(); };
long ended;
FAR void count(long x) { ended += x; }
FAR Base::~Base() { count(3); }
struct Derived : Base { FAR long use() override { return 2; } FAR ~Derived() override { count(4); } };
Base *made;
FAR void last(void *) { puts("last"); fflush(0); }
FAR long again(long x) { return x > 100 ? x : again(x * 3) + 1; }
FAR long retry(long x) { return again(x) - 7; }
extern "C" OUT long go(long x) {
    if (!made) made = new Derived;
    if (x == 1) __cxa_atexit(last, 0, 0);
    if (x == 2) { delete made; made = nullptr; return ended; }
    if (x == 3) return retry(x);
    return made->use();
}
"#;
    build(&world, "ends.so", source);
    let traced = "import torch, os, sys; print(torch.load('ends.so').go(0))
sys.stdout.flush(); os._exit(0)";
    let run = "import torch; go = torch.load('ends.so').go; print(go(0), go(3), go(2), flush=True)
go(0), go(1)";
    same(&world, traced, run);
}

#[test]
fn what_the_interpreter_calls_by_itself_is_there() {
    let world = loaded(&["torch/types.so"]);
    // A type object and a list of slots as CPython's headers lay them out, from 3.10 to 3.15.
    let source = r#"
typedef struct Object { intptr_t count; struct Type *type; } Object;
typedef int (*visitor)(Object *, void *);
struct Type {
    intptr_t count; void *type; intptr_t size; const char *name; intptr_t basic, item;
    void (*dealloc)(Object *); void *unused[14]; unsigned long flags; const char *doc;
    int (*traverse)(Object *, visitor, void *); int (*clear)(Object *); void *more[26];
};
typedef struct { int slot; void *function; } Slot;
typedef struct { const char *name; int basic, item; unsigned flags; Slot *slots; } Spec;
extern "C" int PyType_Ready(struct Type *);
extern "C" Object *PyType_FromSpec(Spec *);
extern "C" Object *_PyObject_GC_New(struct Type *);
extern "C" void PyObject_GC_Track(void *);
extern "C" void PyObject_GC_UnTrack(void *);
extern "C" void PyObject_GC_Del(void *);
extern "C" long PyGC_Collect();
long seen, freed;
FAR void count(long *what) { ++*what; }
FAR static int traverse(Object *, visitor, void *) { count(&seen); return 0; }
FAR static int clear(Object *) { return 0; }
FAR static void dealloc(Object *one) { count(&freed); PyObject_GC_UnTrack(one); PyObject_GC_Del(one); }
FAR static int visit(Object *, visitor, void *) { seen += 2; return 0; }
FAR static void release(Object *one) { freed += 2; PyObject_GC_UnTrack(one); PyObject_GC_Del(one); }
enum { GC = 1 << 14, DEFAULT = 1 << 18 };
struct Type fixed = {1, 0, 0, "torch.Fixed", 16, 0, dealloc, {}, GC | DEFAULT, 0, traverse, clear};
Slot slots[] = {{52, (void *)release}, {71, (void *)visit}, {0, 0}};
Spec spec = {"torch.Heap", 16, 0, GC | DEFAULT, slots};
Object *made[2];
extern "C" OUT long go(long x) {
    static struct Type *heap;
    if (!heap) { PyType_Ready(&fixed); heap = (struct Type *)PyType_FromSpec(&spec); }
    if (x == 0) return 0;
    for (int i = 0; i < 2; ++i) PyObject_GC_Track(made[i] = _PyObject_GC_New(i ? heap : &fixed));
    PyGC_Collect();
    long all = seen > 0 ? 10 : 0;
    for (int i = 0; i < 2; ++i) {
        if (--made[i]->count == 0)
            i ? ((void (*)(Object *))slots[0].function)(made[i]) : fixed.dealloc(made[i]);
    }
    return all + freed;
}
"#;
    build(&world, "types.so", source);
    let program = |x: u8| format!("import torch; print(torch.load('types.so').go({x}))");
    same(&world, &program(0), &program(1));
}
