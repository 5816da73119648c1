//! Which parts of PyTorch an application uses, by its profile.
//!
//! Importing torch touches pages of every part: registrations, static initialisers. So a part
//! counts as used when a page was touched that holds the beginning of a function which runs
//! only when the part does its work. Pages hold several functions: a part may count as used
//! although it was not, never the other way.

use anyhow::Result;
use elf::{Library, PAGE};
use environment::{Environment, Interpreter, MappedFile};
use profile::Profile;
use report::Printer;
use source::parts::{Part, Use};
use std::collections::BTreeMap;
use workload::Identities;

/// The library that holds the parts.
const LIBRARY: &str = "torch/lib/libtorch_cpu.so";

/// What shows that a part does its work: beginnings of mangled names. A final `$` stands for
/// the end of the name.
const FUNCTIONS: [(Part, &[&str]); 8] = [
    (Part::OneDnn, &["dnnl_primitive_execute$"]),
    (Part::Fbgemm, &["_ZN6fbgemm12fbgemmPacked", "_ZN6fbgemm18cblas_gemm_compute"]),
    (Part::Nnpack, &["nnp_convolution_inference$", "nnp_convolution_output$"]),
    (
        Part::Xnnpack,
        &[
            "_ZN2at6native7xnnpack13convolution2d",
            "_ZN2at6native7xnnpack6linear",
            "xnn_run_operator",
        ],
    ),
    (Part::Qnnpack, &["pytorch_qnnp_run_operator$"]),
    (
        Part::Kineto,
        &[
            "_ZN9libkineto23GenericActivityProfiler18startTrace",
            "_ZN9libkineto21CuptiActivityProfiler18startTrace",
        ],
    ),
    (Part::Itt, &["_ZN5torch8profiler14itt_range_pushEPKc$"]),
    (Part::Distributed, &["_ZN4c10d8TCPStoreC", "_ZN4c10d12ProcessGroupC"]),
];

/// What shows it among the files: beginnings of paths in site-packages.
const FILES: [(Part, &[&str]); 2] = [
    (Part::Functorch, &["functorch/_C.", "functorch/dim/"]),
    (Part::Numpy, &["numpy/_core/", "numpy/core/"]),
];

/// What the profiles show. The environment that they were made in is looked for with
/// `interpreter`; where it is another one now, what needs it stays unknown.
pub fn uses(
    profiles: &[Profile],
    interpreter: impl FnOnce() -> Result<Interpreter, environment::Error>,
) -> Result<BTreeMap<Part, Use>> {
    let mut found = BTreeMap::new();
    if profiles.is_empty() {
        return Ok(found);
    }
    for (part, beginnings) in FILES {
        let opened = profiles
            .iter()
            .flat_map(|profile| &profile.opened)
            .find(|path| beginnings.iter().any(|start| path.starts_with(start)));
        let verdict = match opened {
            Some(path) => Use::Used(format!("a run opened {path}")),
            None => Use::Unused(format!("none opened {}", beginnings.join(" or "))),
        };
        found.insert(part, verdict);
    }
    let environment = match interpreter() {
        Ok(interpreter) => Environment::scan(interpreter)?,
        Err(error) => {
            Printer::warn(&format!("{error}: only files say what the application uses"));
            return Ok(found);
        }
    };
    functions(profiles, &environment, &mut found)?;
    Ok(found)
}

fn functions(
    profiles: &[Profile],
    environment: &Environment,
    found: &mut BTreeMap<Part, Use>,
) -> Result<()> {
    let now = Identities::new(environment).content(LIBRARY)?;
    let mut pages = Vec::new();
    for profile in profiles {
        match profile.libraries.get(LIBRARY) {
            Some(used) if Some(&used.content) == now.as_ref() => pages.push(&used.pages),
            Some(_) => {
                Printer::warn(&format!(
                    "{LIBRARY} is not the one that was traced: only files say what the \
                     application uses; name its environment with --python"
                ));
                return Ok(());
            }
            // A run without torch uses none of its parts.
            None => {}
        }
    }
    let Some(path) = environment.locate(LIBRARY) else { return Ok(()) };
    let bytes = MappedFile::open(&path)?;
    let Ok(library) = Library::parse(&bytes) else { return Ok(()) };
    let mut marks: BTreeMap<Part, (u64, Option<String>)> = BTreeMap::new();
    let mut named = false;
    for symbol in library.local_symbols().filter(|symbol| matches!(symbol.kind, 2 | 10)) {
        named = true;
        let Ok(name) = std::str::from_utf8(symbol.name) else { continue };
        let is = |mark: &&str| match mark.strip_suffix('$') {
            Some(whole) => name == whole,
            None => name.starts_with(mark),
        };
        for (part, _) in FUNCTIONS.iter().filter(|(_, beginnings)| beginnings.iter().any(&is)) {
            let mark = marks.entry(*part).or_default();
            mark.0 += 1;
            if pages.iter().any(|pages| pages.contains(symbol.address / PAGE)) {
                mark.1.get_or_insert_with(|| name.to_owned());
            }
        }
    }
    // Without names nothing can be said.
    if !named {
        return Ok(());
    }
    for (part, _) in FUNCTIONS {
        let verdict = match marks.remove(&part) {
            None => continue,
            Some((_, Some(name))) => Use::Used(format!("a run touched the page of {name}")),
            Some((count, None)) => Use::Unused(format!(
                "none touched a page where one of its {count} working functions begins"
            )),
        };
        found.insert(part, verdict);
    }
    Ok(())
}
