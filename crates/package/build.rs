//! Builds the runtime, which becomes part of taper: what lies in packages is built for
//! itself, without std, and not with the flags of whatever builds taper.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// Variables by which an outer build, a linter or a fuzzer would change the inner one.
const OUTER: [&str; 8] = [
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
];

fn main() {
    let runtime =
        PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../../runtime");
    let crates = ["../crates/store/src", "../crates/note/src", "../crates/format/src"];
    let own = ["src", "python", "build.rs", "Cargo.toml", "Cargo.lock"];
    for part in own.into_iter().chain(crates) {
        println!("cargo:rerun-if-changed={}", runtime.join(part).display());
    }
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    // One for all profiles: out is `target/PROFILE/build/PACKAGE/out`.
    let target = out.ancestors().nth(4).unwrap_or(&out).join("runtime");
    let mut cargo = Command::new(env::var("CARGO").expect("cargo sets it"));
    cargo
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(runtime.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target);
    for name in OUTER {
        cargo.env_remove(name);
    }
    let status = cargo.status().expect("cargo starts");
    assert!(status.success(), "the runtime does not build; see above");
    std::fs::copy(target.join("release/libtaper_runtime.so"), out.join("libtaper_runtime.so"))
        .expect("the runtime was built");
}
