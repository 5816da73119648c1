//! Options that a person asks for by hand: known, or refused with the nearest real one.

use crate::names::{Kind, is_truth};
use crate::tree::Tree;

/// `-DNAME=VALUE` or `-DNAME:TYPE=VALUE` as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Typed {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

impl Typed {
    /// Reads one argument; none if it has another form.
    pub fn parse(argument: &str) -> Option<Self> {
        let (name, value) = argument.strip_prefix("-D")?.split_once('=')?;
        let name = name.split_once(':').map_or(name, |(name, _)| name);
        let good = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        good.then(|| Self { name: name.into(), value: value.into() })
    }
}

/// Why an option is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {why}{}", .instead.as_ref().map(|real| format!("; {real}")).unwrap_or_default())]
pub struct Refusal {
    /// The name.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
    /// What does what was meant, as a sentence that begins in lower case.
    pub instead: Option<String>,
}

/// What goes round as advice, and what does what it promises: the name, the option that the
/// tree must have for the advice to be given, and the advice.
const MISNOMERS: [(&str, &str, &str); 9] = [
    (
        "TORCH_SELECTIVE_BUILD",
        "SELECTED_OP_LIST",
        "SELECTED_OP_LIST names the file of operators to build (--operators FILE sets it, for --product lite)",
    ),
    (
        "SELECTIVE_BUILD",
        "SELECTED_OP_LIST",
        "SELECTED_OP_LIST names the file of operators to build (--operators FILE sets it, for --product lite)",
    ),
    (
        "TORCH_CPU_ARCH",
        "CXX_AVX512_FOUND",
        "which copies of kernels are built depends on what CMake finds of the compiler: -DCXX_AVX512_FOUND=OFF and -DCXX_AVX2_FOUND=OFF leave copies out (--cpu sets them); the rest is compiled for CMAKE_CXX_FLAGS=-march=…",
    ),
    (
        "MINIMIZE_SIZE",
        "USE_CUDA",
        "CMAKE_BUILD_TYPE=MinSizeRel asks the compiler for small code, and is chosen already",
    ),
    (
        "BUILD_MINIMAL",
        "USE_CUDA",
        "CMAKE_BUILD_TYPE=MinSizeRel asks the compiler for small code, and is chosen already",
    ),
    ("USE_ONEDNN", "USE_MKLDNN", "USE_MKLDNN is the option for oneDNN"),
    (
        "USE_MKL",
        "BLAS",
        "BLAS names the library for matrix products: OpenBLAS or Eigen instead of MKL",
    ),
    ("USE_QNNPACK", "USE_PYTORCH_QNNPACK", "USE_PYTORCH_QNNPACK is the option for QNNPACK"),
    ("BUILD_TESTS", "BUILD_TEST", "BUILD_TEST is the option for test programs"),
];

/// Checks an option of the user's. `own` says whether a name is one of CMake's own.
///
/// # Errors
/// [`Refusal`] if the tree does not know it, or its value cannot be meant.
pub fn check(tree: &Tree, typed: &Typed, own: impl Fn(&str) -> bool) -> Result<(), Refusal> {
    let name = typed.name.as_str();
    let refuse =
        |why: String, instead: Option<String>| Err(Refusal { name: name.into(), why, instead });
    // An empty list means "look what is there", which is the opposite of none.
    if name == "TORCH_CUDA_ARCH_LIST" && typed.value.trim().is_empty() {
        let instead = tree.names.knows("USE_CUDA").then(|| {
            "USE_CUDA=0 leaves CUDA out, and is chosen already for --target cpu".to_owned()
        });
        return refuse(
            "an empty list means that CMake detects the architectures, not that there are none"
                .into(),
            instead,
        );
    }
    if let Some(place) = tree.names.overwritten.get(name) {
        return refuse(
            format!("{place} overwrites it with the environment variable {name}"),
            Some(format!("set {name} in the environment of taper build")),
        );
    }
    if tree.names.knows(name) || own(name) {
        let switch =
            tree.names.variables.get(name).is_some_and(|variable| {
                matches!(variable.kind, Kind::Switch | Kind::Dependent { .. })
            });
        if switch && !is_truth(&typed.value) && !typed.value.is_empty() {
            return refuse(format!("{:?} is neither ON nor OFF", typed.value), None);
        }
        return Ok(());
    }
    if tree.names.environment.contains_key(name) || tree.forwarding.read.contains(name) {
        return refuse(
            format!("PyTorch {} reads it from the environment, not from CMake", tree.version),
            Some(format!("set {name} in the environment of taper build")),
        );
    }
    refuse(format!("PyTorch {} has no such option", tree.version), instead(tree, name))
}

/// What does what an unknown name seems to mean.
fn instead(tree: &Tree, name: &str) -> Option<String> {
    for (wrong, needs, advice) in MISNOMERS {
        if name == wrong && tree.names.knows(needs) {
            return Some(advice.into());
        }
    }
    for (prefix, value) in [
        ("NO_", "OFF"),
        ("DISABLE_", "OFF"),
        ("WITHOUT_", "OFF"),
        ("WITH_", "ON"),
        ("ENABLE_", "ON"),
    ] {
        let Some(rest) = name.strip_prefix(prefix) else { continue };
        for real in [format!("USE_{rest}"), format!("BUILD_{rest}")] {
            if is_option(tree, &real) {
                return Some(format!("the option is {real}={value}"));
            }
        }
    }
    nearest(tree, name).map(|real| format!("the nearest is {real}"))
}

fn is_option(tree: &Tree, name: &str) -> bool {
    tree.names.variables.get(name).is_some_and(|variable| {
        matches!(variable.kind, Kind::Switch | Kind::Dependent { .. } | Kind::Cached)
    })
}

/// The declared option that is spelt most alike: words in common count, then letters.
pub fn nearest<'a>(tree: &'a Tree, name: &str) -> Option<&'a str> {
    // Longer names cannot be meant, and the comparison takes the product of the lengths.
    if name.len() > 100 {
        return None;
    }
    let upper = name.to_ascii_uppercase();
    let words = words(&upper);
    tree.names
        .variables
        .iter()
        .filter(|(real, _)| is_option(tree, real) && real.len() <= 100)
        .filter_map(|(real, _)| {
            let letters = distance(upper.as_bytes(), real.as_bytes());
            let common =
                self::words(real).filter(|word| words.clone().any(|mine| mine == *word)).count();
            // A third of the letters may be wrong, more where a whole word agrees.
            let near = letters * 3 <= upper.len().max(real.len()) || common > 0;
            near.then_some((letters.saturating_sub(4 * common), letters, real.as_str()))
        })
        .min()
        .map(|(_, _, real)| real)
}

/// The words of a name that say something.
fn words(name: &str) -> impl Iterator<Item = &str> + Clone {
    const COMMON: [&str; 9] =
        ["USE", "BUILD", "TORCH", "PYTORCH", "CAFFE2", "CMAKE", "WITH", "ENABLE", "LIST"];
    name.split('_').filter(|word| word.len() > 2 && !COMMON.contains(word))
}

/// The number of single letters to insert, remove or replace.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = replaced.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn refused(tree: &Tree, argument: &str) -> String {
        let typed = Typed::parse(argument).unwrap();
        check(tree, &typed, |name| name == "CMAKE_BUILD_TYPE").unwrap_err().to_string()
    }

    #[test]
    fn advice_that_goes_round_is_put_right() {
        let place = testing::tree();
        let tree = Tree::open(place.path()).unwrap();
        for (argument, real) in [
            ("-DTORCH_SELECTIVE_BUILD=ON", "SELECTED_OP_LIST"),
            ("-DTORCH_CPU_ARCH=avx2", "CXX_AVX512_FOUND"),
            ("-DTORCH_CUDA_ARCH_LIST=", "USE_CUDA=0"),
            ("-DMINIMIZE_SIZE=1", "CMAKE_BUILD_TYPE=MinSizeRel"),
            ("-DNO_CUDA=1", "USE_CUDA=OFF"),
            ("-DUSE_MKLDN=OFF", "the nearest is USE_MKLDNN"),
            ("-DSELECTED_OPS_LIST=x", "the nearest is SELECTED_OP_LIST"),
            ("-Duse_cuda=0", "the nearest is USE_CUDA"),
        ] {
            let said = refused(&tree, argument);
            assert!(said.contains(real), "{argument}: {said}");
        }
        let said = refused(&tree, "-DQWERTYUIOP=1");
        assert!(said.contains("no such option") && !said.contains("nearest"), "{said}");
    }

    #[test]
    fn values_and_places_are_checked() {
        let place = testing::tree();
        let tree = Tree::open(place.path()).unwrap();
        let said = refused(&tree, "-DUSE_CUDA=banana");
        assert!(said.contains("neither ON nor OFF"), "{said}");
        let said = refused(&tree, "-DTORCH_CUDA_ARCH_LIST=9.0");
        assert!(
            said.contains("cmake/Dependencies.cmake:") && said.contains("environment"),
            "{said}"
        );
        let said = refused(&tree, "-DBUILD_PYTORCH_MOBILE_WITH_HOST_TOOLCHAIN=1");
        assert!(said.contains("environment"), "{said}");
        for good in ["-DUSE_CUDA:BOOL=on", "-DBLAS=Eigen", "-DCMAKE_BUILD_TYPE=Release"] {
            let typed = Typed::parse(good).unwrap();
            check(&tree, &typed, |name| name == "CMAKE_BUILD_TYPE").unwrap();
        }
        for bad in ["USE_CUDA=1", "-DUSE_CUDA", "-D=1", "-DA B=1"] {
            assert_eq!(Typed::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn distances_count_letters() {
        assert_eq!(distance(b"kitten", b"sitting"), 3);
        assert_eq!(distance(b"", b"abc"), 3);
        assert_eq!(distance(b"abc", b"abc"), 0);
    }
}
