//! What a build leaves: the files of the product, and how programs are linked with it.

use crate::steps::{self, Step, copy_tree, files};
use crate::work_folder::Work;
use anyhow::Result;
use package::Stage;
use source::Tree;
use source::choose::Product;
use std::path::{Path, PathBuf};

/// Brings the product into the stage.
pub fn gather(product: Product, work: &Work, stage: &Stage, python: &Path) -> Result<()> {
    match product {
        Product::Lite => {
            for folder in ["lib", "include"] {
                copy_tree(&work.prefix().join(folder), &stage.path().join(folder))?;
            }
        }
        Product::Python => {
            let wheels: Vec<PathBuf> = files(&work.wheels())?
                .into_iter()
                .filter(|path| path.extension().is_some_and(|ending| ending == "whl"))
                .collect();
            let [wheel] = &wheels[..] else {
                anyhow::bail!(
                    "{} wheels are in {}, not one",
                    wheels.len(),
                    work.wheels().display()
                );
            };
            let words = [
                python.to_string_lossy().into_owned(),
                "-m".into(),
                "zipfile".into(),
                "-e".into(),
                wheel.to_string_lossy().into_owned(),
                stage.path().to_string_lossy().into_owned(),
            ];
            steps::run(&Step::new(&work.folder, words), &work.log("unpack"), |_| {})?;
        }
    }
    Ok(())
}

/// How a C++ program links the lite product in `folder`: registrations are in objects that
/// nothing refers to, so the archives with operators are taken whole and the linker drops
/// unreferenced sections.
pub fn link(folder: &Path, tree: &Tree) -> Result<Vec<String>> {
    let names: Vec<String> = files(&folder.join("lib"))?
        .iter()
        .filter_map(|path| {
            path.file_name()?.to_str()?.strip_prefix("lib")?.strip_suffix(".a").map(str::to_owned)
        })
        .collect();
    let mut words: Vec<String> =
        ["-LOUT/lib", "-Wl,--gc-sections", "-Wl,--whole-archive"].map(str::to_owned).into();
    let whole = ["torch", "torch_cpu"];
    words.extend(
        whole
            .iter()
            .filter(|name| names.iter().any(|have| have == *name))
            .map(|name| format!("-l{name}")),
    );
    words.push("-Wl,--no-whole-archive".into());
    // What uses others comes first.
    let mut rest: Vec<&String> =
        names.iter().filter(|name| !whole.contains(&name.as_str())).collect();
    rest.sort_by_key(|name| (*name != "c10", (*name).clone()));
    words.extend(rest.into_iter().map(|name| format!("-l{name}")));
    for system in ["pthreadpool", "cpuinfo"] {
        if !names.iter().any(|name| name == system) {
            words.push(format!("-l{system}"));
        }
    }
    // A tree that takes its format library from the system does not build it.
    if !tree.has(&["third_party/fmt/CMakeLists.txt"]) {
        words.push("-lfmt".into());
    }
    words.extend(["-lpthread", "-ldl"].map(str::to_owned));
    Ok(words)
}
