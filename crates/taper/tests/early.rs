//! Code of a library that runs before the library's own initialiser, because what it needs calls
//! it: the loader initialises that first.

mod many;
mod world;

use std::fs;
use std::process::Command;

/// Calls a function that another library may have, as soon as it is loaded.
const EARLY: &str = "
#include <cstdint>
#include <cstdlib>
extern \"C\" uint64_t call(int, uint64_t) __attribute__((weak));
static uint64_t found;
__attribute__((constructor)) static void begin() {
    const char *number = getenv(\"EARLY\");
    if (number && call) found = call(atoi(number), 7);
}
extern \"C\" uint64_t early() { return found; }
";

const MODULE: &str = "
import ctypes, os
folder = os.path.join(os.path.dirname(__file__), 'lib')
def load(name):
    library = ctypes.CDLL(os.path.join(folder, name))
    library.call.restype = library.early.restype = ctypes.c_uint64
    library.call.argtypes = [ctypes.c_int, ctypes.c_uint64]
    return library
def value(n, x):
    for i in range(1, 40):
        x = (x * (6364136223846793005 + 2 * n) + n * i) % 2**64
    return x
";

#[test]
fn code_runs_before_the_initialiser_of_its_library() {
    let world = many::world(500);
    world.install("torch/__init__.py", MODULE);
    let lib = world.packages().join("torch/lib");
    fs::write(world.path("early.cc"), EARLY).unwrap();
    // Two pairs, for what is loaded first in a process and for what is loaded later.
    for name in ["one", "two"] {
        let (early, late) = (format!("early_{name}.so"), format!("late_{name}.so"));
        let soname = format!("-Wl,-soname,{early}");
        let needs = format!("-l:{early}");
        for (source, made, words) in [
            ("early.cc", &early, vec![soname.as_str()]),
            ("many.cc", &late, vec!["-Wl,--no-as-needed", "-L.", &needs]),
        ] {
            let mut build = Command::new("c++");
            build.args(["-O1", "-shared", "-fPIC", "-pthread", "-w", "-Wl,-rpath,$ORIGIN", "-o"]);
            build.arg(made).arg(world.path(source)).current_dir(&lib).args(words);
            assert!(build.status().unwrap().success());
        }
    }
    let traced = "import torch; torch.load('late_one.so'); torch.load('late_two.so')";
    let done = world.taper(&["pack", "--to", "dist", "--", "python", "-c", traced]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let program = "import torch
for name in ('late_one.so', 'late_two.so'):
    library = torch.load(name)
    assert library.early() == torch.value(1234, 7), name
    assert library.call(777, 3) == torch.value(777, 3), name
print('well')";
    for folder in [world.packages(), world.path("dist")] {
        let mut run = Command::new(fs::canonicalize(world.path("env/bin/python")).unwrap());
        run.args(["-c", program]).env_clear().env("PYTHONPATH", &folder).env("EARLY", "1234");
        let done = run.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&done.stdout), "well\n", "{done:?}");
    }
}
