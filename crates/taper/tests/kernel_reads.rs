//! What a program gives to the kernel is there, although no run touched it.

mod world;

use std::fmt::Write;
use std::fs;
use std::process::Command;
use world::World;

/// How many bytes each datum has.
const SIZE: usize = 300_000;

const MODULE: &str = "
import ctypes, os
def load(name):
    return ctypes.CDLL(os.path.join(os.path.dirname(__file__), 'lib', name))
named, bare = load('named.so'), load('bare.so')
";

/// Large constants, each handed to the kernel by a function of its own.
fn source() -> String {
    let mut text = String::from("#include <unistd.h>\n");
    let values = |start: usize| {
        (start..SIZE).fold(String::new(), |mut text, at| {
            let _ = write!(text, "{},", at * 7919 / 251 % 251);
            text
        })
    };
    // A table that nothing names but by its start.
    let _ = writeln!(text, "static const unsigned char table[{SIZE}] = {{{}}};", values(0));
    let _ = writeln!(text, "long table_to(int to) {{ return write(to, table, sizeof table); }}");
    // One that begins as a text does.
    let text_first = "'G','I','F',0,";
    let _ = writeln!(
        text,
        "static const unsigned char image[{SIZE}] = {{{text_first}{}}};
long image_to(int to) {{ return write(to, image, sizeof image); }}",
        values(4)
    );
    // One whose inside is loaded from where it stands.
    let _ = writeln!(
        text,
        "static const struct {{ long length; unsigned char bytes[{SIZE}]; }} blob = {{{SIZE}, {{{}}}}};
long blob_to(int to) {{ return write(to, &blob, sizeof blob); }}
int inside(void) {{ return *(const volatile int *)(blob.bytes + 50000); }}",
        values(0)
    );
    // One that a pointer in data names.
    let _ = writeln!(
        text,
        "static const unsigned char pointed[{SIZE}] = {{{}}};
static const unsigned char *volatile places[] = {{pointed}};
long pointed_to(int to) {{ return write(to, places[0], sizeof pointed); }}",
        values(0)
    );
    text
}

#[test]
fn data_of_any_size_can_be_given_to_the_kernel() {
    let files =
        [("torch/__init__.py", MODULE), ("torch/lib/named.so", ""), ("torch/lib/bare.so", "")];
    let world = World::with_torch(&files);
    fs::write(world.path("data.c"), source()).unwrap();
    for (name, flag) in [("named.so", "-g"), ("bare.so", "-s")] {
        let built = Command::new("cc")
            .args(["-O2", "-shared", "-fPIC", "-w", flag, "-o"])
            .arg(world.packages().join("torch/lib").join(name))
            .arg(world.path("data.c"))
            .status()
            .unwrap();
        assert!(built.success());
    }
    let done = world.taper(&["pack", "--to", "dist", "--", "python", "-c", "import torch"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let python = fs::canonicalize(world.path("env/bin/python")).unwrap();
    let program = format!(
        "
import tempfile, torch
values = bytes(at * 7919 // 251 % 251 for at in range({SIZE}))
wanted = dict(table=values, image=b'GIF\\0' + values[4:], pointed=values)
wanted['blob'] = ({SIZE}).to_bytes(8, 'little') + values
for library in torch.named, torch.bare:
    for name, bytes_ in wanted.items():
        with tempfile.TemporaryFile() as file:
            count = library[name + '_to'](file.fileno())
            file.seek(0)
            right = file.read() == bytes_ + bytes(-len(bytes_) % 8 if name == 'blob' else 0)
            print(library._name[-8:], name, count, right)
            assert right"
    );
    for paths in [world.packages(), world.path("dist")] {
        let mut command = Command::new(&python);
        command.args(["-c", &program]).env_clear();
        let done = command.env("PYTHONPATH", &paths).output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{}: {said}{errors}", paths.display());
    }
    // All four are in the file as they were.
    let size = |folder: &str, name: &str| {
        fs::metadata(world.path(folder).join("torch/lib").join(name)).unwrap().len()
    };
    assert!(size("dist", "bare.so") > 4 * SIZE as u64);
}
