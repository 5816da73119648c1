//! Whole environments: one made for the purpose, and a real one where
//! `TAPER_TEST_ENV` names a virtual environment with torch.

use environment::{Environment, Interpreter, Kind};
use std::fs;
use std::path::{Path, PathBuf};
use taper_inspect::{Division, Error, component, inspect, render};

/// An environment with a program, GPU code and a stray file in it.
fn made(folder: &Path) -> Environment {
    let venv = folder.join("env");
    let done = std::process::Command::new("python3")
        .args(["-m", "venv", "--without-pip"])
        .arg(&venv)
        .status()
        .unwrap();
    assert!(done.success());
    let interpreter = Interpreter::find(Some(&venv.join("bin/python"))).unwrap();
    let root = interpreter.site_packages[0].clone();
    let write = |path: &str, bytes: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    // Put together here, so that this test program, used as a library below, holds none.
    let mut container = fatbin::MAGIC.to_vec();
    container.extend([1, 0, 16, 0]);
    container.extend(64_u64.to_le_bytes());
    container.extend([0; 64]);
    (container[16], container[20], container[44]) = (1, 64, 75);
    write("thing/lib.so", &fs::read(std::env::current_exe().unwrap()).unwrap());
    write("thing/broken.so", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0 and no more");
    write("thing/empty.o", b"");
    write("thing/code.fatbin", &container);
    write("thing/libcode.a", &[&b"!<arch>\n"[..], &container, &container].concat());
    write("thing/__init__.py", b"x = 1\n");
    write("stray.txt", b"nobody's");
    write("thing-1.dist-info/METADATA", b"Name: thing\nVersion: 1\n");
    write("thing-1.dist-info/RECORD", b"thing/lib.so,,\nthing/__init__.py,,\n");
    Environment::scan(interpreter).unwrap()
}

/// The sum of the sizes on disk, asked of the file system again.
fn on_disk(scanned: &Environment) -> u64 {
    scanned.files.iter().map(|file| fs::metadata(scanned.source(file)).unwrap().len()).sum()
}

#[test]
fn every_byte_has_a_label_under_every_heading() {
    let place = tempfile::tempdir().unwrap();
    let scanned = made(place.path());
    let all = inspect(&scanned).unwrap();
    assert_eq!(all.total.bytes, on_disk(&scanned));
    assert_eq!(all.total.files, scanned.files.len() as u64);
    assert_eq!(all.kinds[&Kind::GpuCode].bytes, 80);
    let stray = all.distributions.last().unwrap();
    assert_eq!(stray.name, None);
    assert!(stray.share.bytes > 8);
    assert_eq!(all.distributions[0].share.files, 4);
    assert_eq!(all.gpu.containers, 3);
    assert_eq!(all.gpu.architectures["compute_75 (PTX)"].bytes, 3 * 64);
    assert_eq!(all.gpu.sections["(static library)"], 160);
    assert_eq!(all.gpu.sections["(file)"], 80);
    let broken = all.libraries.iter().find(|library| library.path == "thing/broken.so").unwrap();
    assert_eq!(broken.division, Division::NotUnderstood);
    let text = render(&all);
    assert!(text.contains("thing/broken.so is not understood"), "{text}");
    assert!(text.contains("owned by no distribution"), "{text}");
    assert!(text.contains("thing/lib.so by component"), "{text}");
    // Stable: the same environment gives the same document.
    let json = serde_json::to_string(&all).unwrap();
    assert_eq!(json, serde_json::to_string(&inspect(&scanned).unwrap()).unwrap());
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    // What is started is a program, whatever its name.
    assert_eq!(value["kinds"]["shared-library"]["files"], 1);
    assert_eq!(value["kinds"]["program"]["files"], 1);
    assert_eq!(value["total"]["bytes"], all.total.bytes);
    assert!(!json.contains(place.path().to_str().unwrap()));
}

#[test]
fn a_file_that_changed_since_the_scan_is_named() {
    let place = tempfile::tempdir().unwrap();
    let scanned = made(place.path());
    let path: PathBuf = scanned.source(scanned.file("thing/lib.so").unwrap());
    fs::write(&path, b"\x7fELF").unwrap();
    let error = inspect(&scanned).unwrap_err();
    assert!(matches!(error, Error::Changed { found: 4, .. }), "{error}");
    assert!(error.to_string().contains("thing/lib.so"));
    fs::remove_file(&path).unwrap();
    let error = inspect(&scanned).unwrap_err().to_string();
    assert!(error.contains("cannot read") && error.contains("thing/lib.so"), "{error}");
}

/// Within 2 % of `megabytes`.
fn near(bytes: u64, megabytes: f64) -> bool {
    (bytes as f64 / 1e6 - megabytes).abs() <= megabytes * 0.02
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn a_real_environment_is_labelled() {
    let place =
        std::env::var_os("TAPER_TEST_ENV").expect("TAPER_TEST_ENV is set by cargo xtask test");
    let python = Path::new(&place).join("bin/python");
    let scanned = Environment::scan(Interpreter::find(Some(&python)).unwrap()).unwrap();
    let all = inspect(&scanned).unwrap();
    assert_eq!(all.total.bytes, on_disk(&scanned));
    assert!(all.libraries.iter().all(|library| library.division == Division::Sections));
    let library = |path: &str| all.libraries.iter().find(|library| library.path == path).unwrap();
    let torch_cpu = library("torch/lib/libtorch_cpu.so");
    let part = |names: &[&str]| -> u64 {
        names.iter().filter_map(|name| torch_cpu.components.get(name)).sum()
    };
    // Names that the rules do not know, and bytes without a name, stay the exception.
    assert!(part(&[component::OTHER]) * 100 < torch_cpu.bytes, "{:?}", torch_cpu.components);
    assert!(part(&[component::NO_SYMBOL]) * 40 < torch_cpu.bytes, "{:?}", torch_cpu.components);
    for name in ["MKL, AVX512", "oneDNN", "autograd", "JIT", "ATen kernels, AVX2", "TraceType"] {
        assert!(part(&[name]) > 1_000_000, "{name}");
    }
    let torch = &scanned.torch().unwrap().version;
    if !torch.starts_with("2.15.0") {
        eprintln!("torch {torch}: the figures of 2.15.0 are not checked");
        return;
    }
    assert!(near(all.gpu.bytes, 2090.0), "{}", all.gpu.bytes);
    // Those of cuBLASLt.
    assert!(all.gpu.frames >= 387, "{}", all.gpu.frames);
    assert!(near(all.gpu.sections[".nv_fatbin"], 1395.0), "{:?}", all.gpu.sections);
    assert!(near(library("torch/lib/libtorch_cuda.so").bytes, 520.0));
    assert!(near(torch_cpu.sections[".text"].bytes, 287.0));
}
