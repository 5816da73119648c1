//! The signatures that are read from an installed PyTorch's files beside those that it
//! registers. `cargo xtask test` names the environment.

use std::path::{Path, PathBuf};
use std::process::Command;
use taper_schema::{Schema, Schemas};

fn site_packages(environment: &Path) -> PathBuf {
    let lib = std::fs::read_dir(environment.join("lib")).unwrap();
    let python = lib.map(|entry| entry.unwrap().path());
    let mut folders = python.map(|folder| folder.join("site-packages"));
    folders.find(|folder| folder.join("torch").is_dir()).unwrap()
}

/// Whether two signatures take and give the same. Texts of other versions may be there, too.
fn alike(one: &Schema, two: &Schema) -> bool {
    let pairs = one.parameters.iter().zip(&two.parameters);
    one.parameters.len() == two.parameters.len()
        && one.returns == two.returns
        && pairs.into_iter().all(|(one, two)| {
            (&one.name, &one.ty, one.keyword_only) == (&two.name, &two.ty, two.keyword_only)
        })
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn signatures_are_those_that_pytorch_registers() {
    let environment = PathBuf::from(
        std::env::var_os("TAPER_TEST_ENV").expect("TAPER_TEST_ENV is set by cargo xtask test"),
    );
    let packages = site_packages(&environment);
    let native = packages.join("torchgen/packaged/ATen/native/native_functions.yaml");
    let mut schemas = Schemas::default();
    assert!(schemas.add_native(&std::fs::read_to_string(native).unwrap()) > 2_000);
    schemas.add_library(&std::fs::read(packages.join("torch/lib/libtorch_cpu.so")).unwrap());

    let script = "import torch\nfor one in torch._C._jit_get_all_schemas(): print(one)";
    let listed = Command::new(environment.join("bin/python"))
        .args(["-B", "-W", "ignore", "-c", script])
        .output()
        .unwrap();
    assert!(listed.status.success());
    let listed = String::from_utf8(listed.stdout).unwrap();
    let (mut same, mut different, mut unknown) = (0, Vec::new(), Vec::new());
    for line in listed.lines() {
        let ours = ["aten::", "prim::", "quantized::"].iter().any(|name| line.starts_with(name));
        // Overloads that write to a given tensor are generated while PyTorch is built.
        if !ours || line.contains("_out(") || line.contains(".out(") {
            continue;
        }
        let Some(registered) = Schema::parse(line, None) else {
            unknown.push(line);
            continue;
        };
        let found = schemas.of(&registered.operator.name);
        let mut found =
            found.iter().filter(|found| found.operator == registered.operator).peekable();
        if found.peek().is_none() {
            unknown.push(line);
        } else if found.any(|found| alike(found, &registered)) {
            same += 1;
        } else {
            different.push(line);
        }
    }
    // Kinds of nodes that PyTorch's own passes make, functional twins that are generated.
    assert!(same > 2_500 && unknown.len() < 60, "{same} {} {unknown:#?}", unknown.len());
    assert!(different.len() < 10, "{different:#?}");
}
