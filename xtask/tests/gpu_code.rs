//! NVIDIA's own tool sees of a library what a target is to see. All of `cargo xtask gpu-code` is
//! every library and architecture.
//!
//! `cargo xtask test` sets the variable that this test needs.

use std::path::PathBuf;
use xtask::gpu_code::{self, Arguments};

#[test]
#[ignore = "needs PyTorch for GPUs: cargo xtask test"]
fn a_target_sees_its_code_and_no_other() {
    let folder = PathBuf::from(std::env::var_os("TAPER_TEST_ENV").unwrap());
    let only = Some("libcusolverMg".to_owned());
    let arguments = Arguments { targets: vec!["sm_86".into()], only, extract: true };
    gpu_code::compare(&folder.join("bin/python"), &arguments).unwrap();
}
