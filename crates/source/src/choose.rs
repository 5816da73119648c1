//! Which options a build gets, and why.
//!
//! Only names that the tree knows are chosen; what is wished for and not there is said. A part
//! leaves when the target cannot use it, when no run of the application used it, or when its
//! sources are missing; what nothing says anything about stays as the tree has it.

use crate::Error;
use crate::effects::{self, Effect};
use crate::names::Place;
use crate::parts::{About, PARTS, Part, TRANSPORTS, Use};
use crate::tree::Tree;
use crate::tree::has;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Product {
    /// A torch for Python with parts left out.
    Python,
    /// Static libraries for C++ programs that run saved models with the lite interpreter.
    Lite,
}

impl Product {
    /// Its name in a description, and as it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Lite => "lite",
        }
    }
}

/// The processors that the result runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Processor {
    /// Any x86-64.
    Any,
    /// With AVX2 and FMA.
    V3,
    /// With AVX-512.
    V4,
    /// This machine's, which has this level and no better one.
    Native(Level),
}

/// The best kernels that a processor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Those for any x86-64.
    Default,
    /// Those for AVX2.
    Avx2,
    /// Those for AVX-512.
    Avx512,
}

/// What a build is for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What is built.
    pub product: Product,
    /// The processors.
    pub processor: Processor,
    /// What the application uses; what is missing is not known.
    pub uses: BTreeMap<Part, Use>,
    /// The mapping of the operators to build, if not all.
    pub operators: Option<PathBuf>,
    /// The interpreter that runs the tree's code generators.
    pub python: PathBuf,
    /// Where CMake's packages of that interpreter lie.
    pub packages: Option<PathBuf>,
    /// Where the build installs to.
    pub prefix: PathBuf,
    /// The system's folder of headers.
    pub include: PathBuf,
    /// Whether the system has `OpenBLAS` to link with.
    pub open_blas: bool,
}

/// An option with its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chosen {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
    /// Why.
    pub reason: String,
    /// What is known to come of it.
    pub effect: Option<&'static Effect>,
    /// Where the tree has it; none for CMake's own.
    pub place: Option<Place>,
}

/// The choices for a build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// For CMake, as `-DNAME=VALUE`.
    pub options: Vec<Chosen>,
    /// Environment variables.
    pub environment: Vec<Chosen>,
    /// What a person should know besides.
    pub notes: Vec<String>,
}

/// Chooses the options of a build of `tree`.
///
/// # Errors
/// [`Error::NoLite`] where the tree has no lite interpreter, [`Error::PythonOperators`] where
/// operators are selected for Python.
pub fn choose(tree: &Tree, wanted: &Wanted) -> Result<Choice, Error> {
    let mut chooser = Chooser { tree, choice: Choice::default() };
    chooser.option("CMAKE_BUILD_TYPE", "MinSizeRel", "small code; Release is faster and larger");
    match wanted.product {
        Product::Lite => chooser.lite(wanted)?,
        Product::Python => chooser.python(wanted)?,
    }
    for name in ["BUILD_TEST", "BUILD_BINARY"] {
        chooser.option(name, "OFF", "programs for PyTorch's own tests are not part of the product");
    }
    for part in &PARTS {
        chooser.part(part, wanted);
    }
    chooser.option("USE_VALGRIND", "OFF", "marks for a debugger are not needed to run");
    chooser.processor(wanted);
    if !tree.has(&["third_party/pthreadpool/CMakeLists.txt"]) {
        chooser.option(
            "USE_SYSTEM_LIBS",
            "ON",
            "third_party has no pthreadpool: this tree takes such libraries from the system",
        );
    }
    // Before 2.1, the trees look for Python by CMake's older module.
    let finder = ["Python", "PythonInterp"]
        .into_iter()
        .find(|package| tree.names.packages.contains(*package))
        .map(|package| if package == "Python" { "Python_EXECUTABLE" } else { "PYTHON_EXECUTABLE" });
    if let Some(name) = finder {
        chooser.option(
            name,
            &wanted.python.to_string_lossy(),
            "runs the code generators; --build-python names another",
        );
    }
    chooser.option(
        "CMAKE_INSTALL_PREFIX",
        &wanted.prefix.to_string_lossy(),
        "inside the work folder",
    );
    if let Some(packages) = &wanted.packages {
        chooser.option(
            "CMAKE_PREFIX_PATH",
            &packages.to_string_lossy(),
            "where that interpreter has CMake packages",
        );
    }
    Ok(chooser.choice)
}

struct Chooser<'a> {
    tree: &'a Tree,
    choice: Choice,
}

impl Chooser<'_> {
    /// Chooses an option if the tree, or CMake itself, knows it.
    fn option(&mut self, name: &str, value: &str, reason: &str) -> bool {
        let own = name.starts_with("CMAKE_") || name.ends_with("_EXECUTABLE");
        if !own && !self.tree.names.knows(name) {
            return false;
        }
        self.choice.options.push(Chosen {
            name: name.into(),
            value: value.into(),
            reason: reason.into(),
            effect: effects::of(name),
            place: self
                .tree
                .names
                .variables
                .get(name)
                .filter(|_| !own)
                .map(|variable| variable.place.clone()),
        });
        true
    }

    fn variable(&mut self, name: &str, value: &str, reason: &str) {
        self.choice.environment.push(Chosen {
            name: name.into(),
            value: value.into(),
            reason: reason.into(),
            effect: effects::of(name),
            place: self.tree.names.environment.get(name).cloned(),
        });
    }

    fn note(&mut self, text: impl Into<String>) {
        self.choice.notes.push(text.into());
    }

    fn lite(&mut self, wanted: &Wanted) -> Result<(), Error> {
        const HOST: &str = "BUILD_PYTORCH_MOBILE_WITH_HOST_TOOLCHAIN";
        let known = &self.tree.names;
        if !known.knows("BUILD_LITE_INTERPRETER") || !known.environment.contains_key(HOST) {
            return Err(Error::NoLite(self.tree.version.clone()));
        }
        self.variable(HOST, "1", "the build for phones, with this machine's compiler");
        self.option(
            "BUILD_LITE_INTERPRETER",
            "ON",
            "an interpreter for saved models, without the compiler of TorchScript",
        );
        self.option(
            "BUILD_SHARED_LIBS",
            "OFF",
            "static libraries: the program's linker leaves out what nothing refers to",
        );
        for (name, reason) in [
            ("USE_OPENMP", "the build for phones has its own thread pool"),
            ("USE_LITE_INTERPRETER_PROFILER", "no profiling in the product"),
            ("USE_SOURCE_DEBUG_ON_MOBILE", "no stack traces of the model's Python source"),
        ] {
            self.option(name, "OFF", reason);
        }
        if let Some(operators) = &wanted.operators {
            let selected = self.option(
                "SELECTED_OP_LIST",
                &operators.to_string_lossy(),
                "only these operators are registered",
            );
            if selected {
                self.option(
                    "TRACING_BASED",
                    "ON",
                    "the code generator selects by the list; without it, it leaves nothing out",
                );
                self.option("STATIC_DISPATCH_BACKEND", "CPU", "operators that call others reach the CPU's kernel directly, so the list need not name those");
            }
        } else {
            self.note("no list of operators: all are built; give one with --operators");
        }
        Ok(())
    }

    fn python(&mut self, wanted: &Wanted) -> Result<(), Error> {
        if wanted.operators.is_some() {
            return Err(Error::PythonOperators);
        }
        self.option("BUILD_PYTHON", "ON", "torch for Python");
        self.option(
            "INSTALL_TEST",
            "OFF",
            "programs for PyTorch's own tests are not part of the product",
        );
        self.option(
            "HAVE_SOVERSION",
            "OFF",
            "libraries under one name each: a wheel would hold a copy for every name",
        );
        if wanted.open_blas {
            self.option("BLAS", "OpenBLAS", "matrix products and LAPACK from the system's library, instead of MKL inside libtorch_cpu");
        } else {
            self.note(
                "OpenBLAS is not on this system (libopenblas-dev): CMake takes what it finds, \
                 and torch.linalg may lack LAPACK",
            );
        }
        Ok(())
    }

    fn part(&mut self, about: &About, wanted: &Wanted) {
        // Never in the product, whatever an application does in Python.
        const NOT_LITE: [Part; 8] = [
            Part::Distributed,
            Part::OneDnn,
            Part::Fbgemm,
            Part::Kineto,
            Part::Itt,
            Part::Numa,
            Part::Functorch,
            Part::Numpy,
        ];
        let name = about.name;
        if matches!(about.part, Part::Cuda | Part::Rocm | Part::Xpu) {
            self.option(about.option, "OFF", "the target is a CPU");
            return;
        }
        if wanted.product == Product::Lite && NOT_LITE.contains(&about.part) {
            if about.part != Part::Functorch {
                self.option(about.option, "OFF", &format!("the build for phones has no {name}"));
            }
            return;
        }
        if !about.is_there(self.tree, &wanted.include) {
            self.option(
                about.option,
                "OFF",
                &format!("{name} is neither in third_party nor on this system"),
            );
            if let Some(Use::Used(because)) = wanted.uses.get(&about.part) {
                self.note(format!(
                    "the application uses {name} ({because}), which this build lacks"
                ));
            }
            return;
        }
        let unused = matches!(wanted.uses.get(&about.part), Some(Use::Unused(_)));
        if about.part == Part::Distributed && !unused {
            for (option, source, header) in TRANSPORTS {
                if !self.tree.has(&[source]) && !has(&wanted.include.join(header)) {
                    let reason = "this transport is neither in third_party nor on this system";
                    self.option(option, "OFF", reason);
                }
            }
        }
        match wanted.uses.get(&about.part) {
            Some(Use::Unused(because)) => {
                self.option(about.option, "OFF", &format!("no run used {name}: {because}"));
            }
            Some(Use::Used(because)) => {
                self.note(format!(
                    "{name} stays ({because}); -- -D{}=OFF leaves it out",
                    about.option
                ));
            }
            Some(Use::Unknown) | None => {
                self.note(format!(
                    "{name} stays as the tree has it: nothing says whether it is used"
                ));
            }
        }
    }

    fn processor(&mut self, wanted: &Wanted) {
        let (march, level) = match wanted.processor {
            Processor::Any => (None, None),
            Processor::V3 => (Some("x86-64-v3"), Some(Level::Avx2)),
            Processor::V4 => (Some("x86-64-v4"), Some(Level::Avx512)),
            Processor::Native(level) => (Some("native"), Some(level)),
        };
        if wanted.product == Product::Lite {
            if let Some(march) = march {
                self.option(
                    "CMAKE_CXX_FLAGS",
                    &format!("-march={march}"),
                    "one copy of each kernel, for this instruction set",
                );
            } else {
                self.note(
                    "one copy of each kernel, for any x86-64: slow; --cpu x86-64-v3 asks for AVX2",
                );
            }
            return;
        }
        // Kernels are compiled once for any processor and once for each level that CMake's
        // check of the compiler finds; a result that is there already is not looked for.
        let drop: &[&str] = match level {
            None => &[],
            Some(Level::Default) => &["CXX_AVX512_FOUND", "CXX_AVX2_FOUND"],
            Some(Level::Avx2) => &["CXX_AVX512_FOUND"],
            Some(Level::Avx512) => &["CXX_AVX2_FOUND"],
        };
        for name in drop {
            self.option(name, "OFF", "the processors that are asked for do not pick these kernels");
        }
        if drop.is_empty() {
            self.note(
                "kernels for any x86-64, AVX2 and AVX-512: --cpu x86-64-v3 leaves AVX-512 out",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use std::fs;

    fn wanted(product: Product) -> Wanted {
        Wanted {
            product,
            processor: Processor::V3,
            uses: BTreeMap::new(),
            operators: None,
            python: "/usr/bin/python3".into(),
            packages: None,
            prefix: "/tmp/x".into(),
            include: "/nonexistent".into(),
            open_blas: true,
        }
    }

    fn values(choice: &Choice) -> BTreeMap<&str, &str> {
        choice.options.iter().map(|chosen| (chosen.name.as_str(), chosen.value.as_str())).collect()
    }

    #[test]
    fn nothing_that_the_tree_lacks_is_chosen() {
        let place = testing::tree();
        let tree = Tree::open(place.path()).unwrap();
        for product in [Product::Python, Product::Lite] {
            let choice = choose(&tree, &wanted(product)).unwrap();
            for chosen in &choice.options {
                let own = chosen.name.starts_with("CMAKE_") || chosen.name == "Python_EXECUTABLE";
                assert!(own || tree.names.knows(&chosen.name), "{}", chosen.name);
            }
            let names: Vec<_> = choice.options.iter().map(|chosen| &chosen.name).collect();
            let mut once = names.clone();
            once.sort();
            once.dedup();
            assert_eq!(names.len(), once.len(), "an option is chosen twice: {names:?}");
        }
    }

    #[test]
    fn the_profile_decides_about_parts_that_could_be_built() {
        let place = testing::tree();
        fs::create_dir_all(place.path().join("third_party/ideep/include")).unwrap();
        fs::write(place.path().join("third_party/ideep/include/ideep.hpp"), "").unwrap();
        let tree = Tree::open(place.path()).unwrap();
        let mut wanted = wanted(Product::Python);
        let value = |wanted: &Wanted| {
            let choice = choose(&tree, wanted).unwrap();
            values(&choice).get("USE_MKLDNN").map(|value| (*value).to_owned())
        };
        assert_eq!(value(&wanted), None, "what nothing is known about stays");
        wanted.uses.insert(Part::OneDnn, Use::Used("its pages".into()));
        assert_eq!(value(&wanted), None);
        wanted.uses.insert(Part::OneDnn, Use::Unused("no page".into()));
        assert_eq!(value(&wanted).as_deref(), Some("OFF"));
        fs::remove_dir_all(place.path().join("third_party")).unwrap();
        wanted.uses.insert(Part::OneDnn, Use::Used("its pages".into()));
        assert_eq!(value(&wanted).as_deref(), Some("OFF"), "it cannot be built");
        let notes = choose(&tree, &wanted).unwrap().notes.join("\n");
        assert!(notes.contains("oneDNN") && notes.contains("lacks"), "{notes}");
    }

    #[test]
    fn the_processor_says_which_copies_of_kernels_are_built() {
        let place = testing::tree();
        let tree = Tree::open(place.path()).unwrap();
        let mut wanted = wanted(Product::Python);
        let mut found = |processor| {
            wanted.processor = processor;
            let choice = choose(&tree, &wanted).unwrap();
            let values = values(&choice);
            (values.contains_key("CXX_AVX2_FOUND"), values.contains_key("CXX_AVX512_FOUND"))
        };
        assert_eq!(found(Processor::Any), (false, false));
        assert_eq!(found(Processor::V3), (false, true));
        assert_eq!(found(Processor::V4), (true, false));
        assert_eq!(found(Processor::Native(Level::Default)), (true, true));
    }

    #[test]
    fn operators_are_for_the_lite_product_of_trees_that_have_it() {
        let place = testing::tree();
        let tree = Tree::open(place.path()).unwrap();
        let mut lite = wanted(Product::Lite);
        lite.operators = Some("/tmp/operators.yaml".into());
        let choice = choose(&tree, &lite).unwrap();
        let found = values(&choice);
        assert_eq!(found["SELECTED_OP_LIST"], "/tmp/operators.yaml");
        assert_eq!((found["TRACING_BASED"], found["STATIC_DISPATCH_BACKEND"]), ("ON", "CPU"));
        assert_eq!(found["CMAKE_CXX_FLAGS"], "-march=x86-64-v3");
        assert_eq!(choice.environment[0].name, "BUILD_PYTORCH_MOBILE_WITH_HOST_TOOLCHAIN");
        let mut python = wanted(Product::Python);
        python.operators.clone_from(&lite.operators);
        assert!(matches!(choose(&tree, &python), Err(Error::PythonOperators)));
        fs::write(place.path().join("CMakeLists.txt"), "option(USE_CUDA \"\" ON)\n").unwrap();
        let tree = Tree::open(place.path()).unwrap();
        assert!(matches!(choose(&tree, &lite), Err(Error::NoLite(_))));
    }
}
