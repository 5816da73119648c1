//! A package for a GPU holds the code that this GPU runs, where its libraries look for it, in
//! read-only segments and among variables, and nothing in the place of other code.

mod world;

use std::fmt::Write;
use std::fs;
use std::process::Command;
use world::World;

/// What a program of the test does first: `there(NAME)` are the bytes of a library's datum.
const READ: &str = "
import ctypes, os, torch
library = ctypes.CDLL(os.path.dirname(torch.__file__) + '/lib/libgpu.so')
address = lambda name: ctypes.addressof(ctypes.c_char.in_dll(library, name))
folder = os.environ['EXPECTED']
expected = lambda name: open(folder + '/' + name, 'rb').read()
there = lambda name: ctypes.string_at(address(name), len(expected(name)))
";

/// Bytes that do not compress.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8 | 1
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// A fat binary of cubins, and of PTX, by architecture.
fn fat(seed: u32, cubins: &[u32], ptx: &[u32]) -> Vec<u8> {
    let mut body = Vec::new();
    let all = cubins.iter().map(|sm| (2u16, *sm)).chain(ptx.iter().map(|sm| (1, *sm)));
    for (kind, sm) in all {
        let mut header = vec![0u8; 64];
        header[0..2].copy_from_slice(&kind.to_le_bytes());
        header[4..8].copy_from_slice(&64u32.to_le_bytes());
        header[8..16].copy_from_slice(&24_000u64.to_le_bytes());
        header[28..32].copy_from_slice(&sm.to_le_bytes());
        body.extend(header);
        body.extend(noise(seed + sm, 24_000));
    }
    let mut bytes = vec![0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0];
    bytes.extend((body.len() as u64).to_le_bytes());
    bytes.extend(body);
    bytes
}

/// A zstd frame of one cubin, which is not compressed (RFC 8878: one raw block).
fn frame(sm: u8) -> Vec<u8> {
    let mut cubin = vec![0u8; 64];
    cubin[..8].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 51]);
    cubin[18..20].copy_from_slice(&190u16.to_le_bytes());
    cubin[48..52].copy_from_slice(&[sm, 5, sm, 0]);
    cubin.extend(noise(sm.into(), 30_000));
    let length = cubin.len() as u32;
    let mut bytes = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    bytes.extend(length.to_le_bytes());
    bytes.extend(&(length << 3 | 1).to_le_bytes()[..3]);
    bytes.extend(cubin);
    bytes
}

/// `bytes` with zeros behind, to `length`.
fn then_zeros(mut bytes: Vec<u8>, length: usize) -> Vec<u8> {
    assert!(bytes.len() <= length);
    bytes.resize(length, 0);
    bytes
}

/// A datum of the library: its name, its bytes as installed, and as an sm_90 sees them.
struct Datum {
    name: &'static str,
    writable: bool,
    installed: Vec<u8>,
    seen: Vec<u8>,
}

fn data() -> Vec<Datum> {
    let datum = |name, writable, installed: Vec<u8>, seen| {
        let seen = then_zeros(seen, installed.len());
        Datum { name, writable, installed, seen }
    };
    let all = [75, 80, 90, 100];
    let fat_data = |seed| (fat(seed, &all, &[120]), fat(seed, &[90], &[]));
    let mut out = Vec::new();
    for (seed, name, writable) in [(1, "read_only", false), (7, "among_variables", true)] {
        let (installed, seen) = fat_data(seed);
        out.push(datum(name, writable, installed, seen));
    }
    // Nothing for this GPU but what its driver can compile.
    out.push(datum("compiled", false, fat(3, &[75], &[75, 80, 120]), fat(3, &[], &[80])));
    // Nothing at all.
    out.push(datum("of_others", false, fat(4, &[100, 120], &[]), fat(4, &[], &[])));
    out.push(datum("frame_90", true, frame(90), frame(90)));
    out.push(datum("frame_80", true, frame(80), Vec::new()));
    out
}

/// An environment whose torch has a library with this data.
fn world(data: &[Datum]) -> World {
    let world = World::with_torch(&[("torch/__init__.py", "")]);
    let mut source = String::from("int counter = 1;\n");
    for Datum { name, writable, installed, .. } in data {
        let file = world.path(name);
        fs::write(&file, installed).unwrap();
        let section = if *writable { ".gpu_variables,\\\"aw\\\"" } else { ".nv_fatbin,\\\"a\\\"" };
        let _ = writeln!(
            source,
            "__asm__(\".section {section},@progbits\\n.global {name}\\n.balign 16\\n{name}:\\n\
             .incbin \\\"{}\\\"\\n.balign 16\\n.previous\");",
            file.display()
        );
    }
    let place = world.packages().join("torch/lib");
    fs::create_dir_all(&place).unwrap();
    fs::write(world.path("gpu.c"), source).unwrap();
    let mut link = Command::new("gcc");
    link.args(["-shared", "-fPIC", "-O1", "-o"]).arg(place.join("libgpu.so"));
    assert!(link.arg(world.path("gpu.c")).status().unwrap().success());
    world
}

/// Packs for an sm_90 what imports torch, and gives what was said.
fn packed(world: &World, flags: &[&str], out: &str) -> (std::path::PathBuf, String) {
    let place = world.path(out);
    let words = ["pack", "--target", "sm_90", "--cpu", "native", "--to", place.to_str().unwrap()];
    let workload = ["--", "python", "-c", "import torch"];
    let done = world.taper(&[&words[..], flags, &workload].concat());
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(0), "{said}");
    (place, said)
}

#[test]
fn a_gpu_finds_its_code_and_no_other() {
    let data = data();
    let world = world(&data);
    let (dist, _) = packed(&world, &[], "dist");
    let size =
        |folder: &std::path::Path| fs::metadata(folder.join("torch/lib/libgpu.so")).unwrap().len();
    let installed: usize = data.iter().map(|datum| datum.installed.len()).sum();
    assert!(size(&dist) < 40_000 && installed > 400_000, "{} of {installed}", size(&dist));

    let expected = world.path("expected");
    fs::create_dir(&expected).unwrap();
    let mut program = READ.to_owned();
    for Datum { name, writable, seen, .. } in &data {
        fs::write(expected.join(name), seen).unwrap();
        let _ = writeln!(program, "assert there('{name}') == expected('{name}'), '{name}'");
        if *writable {
            let _ = writeln!(program, "ctypes.memset(address('{name}') + 9000, 7, 5000)");
            let _ = writeln!(program, "assert there('{name}')[9000:14000] == b'\\7' * 5000");
        }
    }
    let run = |program: &str| {
        let folder = [("EXPECTED", expected.to_str().unwrap())];
        let done = world.python_with(&dist, &["-c", program], &folder);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    run(&program);
    // The first that touches a page writes to it; a child has its own.
    run(&format!(
        "{READ}
place = address('among_variables')
child = os.fork()
ctypes.memset(place + 9000, 5, 5000)
value = ctypes.string_at(place + 9000, 5000)
assert value == b'\\5' * 5000
assert ctypes.string_at(place, 9000) == expected('among_variables')[:9000]
if child: assert os.waitpid(child, 0)[1] == 0
else: os._exit(0)"
    ));
}

#[test]
fn files_under_a_vendors_licence_stay_as_they_are_where_that_is_asked_for() {
    let world = world(&data());
    let library = "torch/lib/libgpu.so";
    let metadata = "Name: nvidia-gpu\nVersion: 1.0\nLicense: NVIDIA Proprietary Software\n";
    world.install("nvidia_gpu-1.0.dist-info/METADATA", metadata);
    let list = format!("{library},,\nnvidia_gpu-1.0.dist-info/METADATA,,\n");
    world.install("nvidia_gpu-1.0.dist-info/RECORD", &list);
    let read = |folder: &std::path::Path| fs::read(folder.join(library)).unwrap();
    let says = "changes files of nvidia-gpu, whose licence is NVIDIA's own";
    let (edited, said) = packed(&world, &[], "edited");
    assert!(said.contains(says), "{said}");
    assert!(read(&edited) != read(&world.packages()));
    let (whole, said) = packed(&world, &["--vendor", "whole"], "whole");
    assert!(!said.contains(says), "{said}");
    assert!(read(&whole) == read(&world.packages()));
}

#[test]
fn a_target_that_no_gpu_has_is_refused() {
    let world = World::with_torch(&[("torch/__init__.py", "")]);
    let place = world.path("dist");
    let to = place.to_str().unwrap();
    let done = world.taper(&["pack", "--target", "gfx90a", "--to", to]);
    assert_eq!(done.status.code(), Some(2));
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(said.contains("\"gfx90a\" is no GPU architecture; write sm_90"), "{said}");
    assert!(!place.exists());
    if !std::path::Path::new("/dev/nvidiactl").exists() {
        let done = world.taper(&["pack", "--target", "sm_90", "--cold", "drop", "--to", to]);
        assert_eq!(done.status.code(), Some(2));
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(said.contains("a run on this machine uses no GPU"), "{said}");
    }
}

/// Installs a distribution with one library, made of C++.
fn install(world: &World, name: &str, path: &str, c: &str, link: &[&str]) {
    let source = world.path("part.cc");
    fs::write(&source, c).unwrap();
    let out = world.packages().join(path);
    fs::create_dir_all(out.parent().unwrap()).unwrap();
    let mut gcc = Command::new("gcc");
    gcc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&out).arg(&source).args(link);
    assert!(gcc.current_dir(world.packages()).status().unwrap().success());
    if name != "torch" {
        let info = format!("{}-1.0.dist-info", name.replace('-', "_"));
        world.install(&format!("{info}/METADATA"), &format!("Name: {name}\nVersion: 1.0\n"));
        world.install(&format!("{info}/RECORD"), &format!("{path},,\n{info}/METADATA,,\n"));
    }
}

#[test]
fn a_feature_leaves_and_says_so_when_it_is_called() {
    let module = "
import ctypes, os
_here = os.path.dirname(__file__)
library = ctypes.PyDLL(_here + '/lib/libtorch_cuda.so', ctypes.RTLD_GLOBAL)
";
    let world = World::with_torch(&[("torch/__init__.py", module)]);
    let fft = "extern \"C\" int cufftExecC2C(int x) { return x * 2; }";
    let place = "nvidia/cufft/lib/libcufft.so.12";
    install(&world, "nvidia-cufft-cu12", place, fft, &["-Wl,-soname,libcufft.so.12"]);
    // As PyTorch's binding does, it turns exceptions into what Python sees.
    let torch = r#"#include <stdexcept>
#include <string.h>
extern "C" {
int cufftExecC2C(int);
int add(int x) { return x + 1; }
const char *fft(int x) {
    try { return cufftExecC2C(x) == 42 ? "done" : "wrong"; }
    catch (std::exception &error) { return strdup(error.what()); }
}
}"#;
    let rpath = "-Wl,-rpath,$ORIGIN/../../nvidia/cufft/lib";
    let link = [place, rpath, "-Wl,--no-as-needed", "-lstdc++"];
    install(&world, "torch", "torch/lib/libtorch_cuda.so", torch, &link);

    let pack = |flags: &[&str], out: &str| {
        let place = world.path(out);
        let words = ["pack", "--cpu", "native", "--to", place.to_str().unwrap()];
        let workload = ["--", "python", "-c", "import torch; print(torch.library.add(1))"];
        let done = world.taper(&[&words[..], flags, &workload].concat());
        (done.status.code(), String::from_utf8(done.stderr).unwrap(), place)
    };
    let program = "
import torch
torch.library.fft.restype = torch.ctypes.c_char_p
print(torch.library.add(41), torch.library.fft(21).decode())";
    let run = |dist: &std::path::Path| {
        let done = world.python(dist, &["-c", program]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    let (code, said, whole) = pack(&["--target", "sm_90"], "whole");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(run(&whole), "42 done\n");
    let (code, said, without) = pack(&["--target", "sm_90", "--without", "fft"], "without");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("without fft: ") && said.contains("Fourier transforms"), "{said}");
    let answer = run(&without);
    assert!(answer.starts_with("42 cufftExecC2C (libcufft.so.12)"), "{answer}");
    assert!(answer.contains("is not in this package: it was made --without fft"), "{answer}");
    let size = |dist: &std::path::Path| fs::metadata(dist.join(place)).map(|file| file.len()).ok();
    assert!(size(&without).is_some());

    let refused = [
        (&["--target", "sm_90", "--without", "sparse"][..], "the environment has nothing for it"),
        (&["--target", "sm_90", "--without", "training"], "there is no such feature; there are"),
        (&["--without", "fft"], "--without is about GPUs"),
    ];
    for (flags, why) in refused {
        let (code, said, place) = pack(flags, "refused");
        assert!(code == Some(2) && said.contains(why) && !place.exists(), "{code:?}: {said}");
    }
}
