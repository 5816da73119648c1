//! The CPU capabilities that a workload is traced under.
//!
//! ATen, oneDNN, MKL, OpenBLAS and NumPy hold the same kernels several times and
//! pick by the processor at run time. A package must hold what they pick on every
//! processor that the target allows, so the workload runs once for each choice.

use environment::Interpreter;
use std::collections::BTreeMap;
use std::process::Command;

/// The processors that a package must run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cpu {
    /// Any x86-64 processor.
    Any,
    /// Those with AVX2 and FMA.
    V3,
    /// Those with AVX-512.
    V4,
    /// Those like this one.
    Native,
}

impl Cpu {
    /// Its name in a package, and as it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::V3 => "x86-64-v3",
            Self::V4 => "x86-64-v4",
            Self::Native => "native",
        }
    }
}

/// One way in which libraries may pick their kernels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// `avx512`, `avx2`, `default`, and `+intel` or `+other` where the vendor is
    /// turned into the other one.
    pub name: String,
    /// Variables that make libraries pick so. Empty for what this processor is. Others of
    /// [`PINS`] are not set, unless it [`inherits`](Self::inherits) them.
    pub variables: BTreeMap<&'static str, String>,
    /// Whether the user's own [`PINS`] hold: an extra run, where there are any. A package
    /// must not depend on them, and must serve whoever sets them where it runs, too.
    pub inherits: bool,
    /// Whether vendor checks are told the opposite of the truth.
    pub other_vendor: bool,
}

/// Variables that tell libraries which kernels to pick.
pub const PINS: [&str; 6] = [
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "MKL_ENABLE_INSTRUCTIONS",
    "OPENBLAS_CORETYPE",
    "NPY_DISABLE_CPU_FEATURES",
];

/// A level of x86-64, as ATen tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Default,
    Avx2,
    Avx512,
}

/// The best level of kernels that this processor runs: `avx512`, `avx2` or `default`.
pub fn here() -> &'static str {
    Level::here().name()
}

impl Level {
    const ALL: [Self; 3] = [Self::Avx512, Self::Avx2, Self::Default];

    fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// What this processor is.
    fn here() -> Self {
        use std::arch::is_x86_feature_detected as has;
        if has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("avx512dq") {
            Self::Avx512
        } else if has!("avx2") && has!("fma") {
            Self::Avx2
        } else {
            Self::Default
        }
    }

    /// Variables that hold libraries to this level on a better processor. Some libraries
    /// tell processors of one level apart: the run of the `other` vendor takes the second
    /// choice. Names that a build of OpenBLAS lacks are taken for none.
    fn variables(self, other: bool, numpy_features: &[String]) -> BTreeMap<&'static str, String> {
        let (aten, dnn, mkl, blas) = match (self, other) {
            (Self::Avx512, false) => return BTreeMap::new(),
            (Self::Avx512, true) => {
                return BTreeMap::from([
                    ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE".to_owned()),
                    ("DNNL_MAX_CPU_ISA", "AVX512_CORE".to_owned()),
                    ("OPENBLAS_CORETYPE", "SkylakeX".to_owned()),
                ]);
            }
            (Self::Avx2, false) => ("avx2", "AVX2", "AVX2", "Haswell"),
            (Self::Avx2, true) => ("avx2", "AVX2", "AVX2", "Zen"),
            (Self::Default, false) => ("default", "SSE41", "SSE4_2", "Nehalem"),
            (Self::Default, true) => ("default", "SSE41", "SSE4_2", "Sandybridge"),
        };
        let above: Vec<&str> = numpy_features
            .iter()
            .map(String::as_str)
            .filter(|name| self == Self::Default || is_avx512(name))
            .collect();
        BTreeMap::from([
            ("ATEN_CPU_CAPABILITY", aten.to_owned()),
            ("ONEDNN_MAX_CPU_ISA", dnn.to_owned()),
            ("DNNL_MAX_CPU_ISA", dnn.to_owned()),
            ("MKL_ENABLE_INSTRUCTIONS", mkl.to_owned()),
            ("OPENBLAS_CORETYPE", blas.to_owned()),
            ("NPY_DISABLE_CPU_FEATURES", above.join(" ")),
        ])
    }
}

/// NumPy's names for what goes beyond AVX2, before and after its 2.4.
fn is_avx512(name: &str) -> bool {
    name.starts_with("AVX512") || name.starts_with("X86_V4")
}

/// The capabilities to trace for `cpu`, this processor's own first, and the names
/// of those that the target allows but this processor cannot show.
pub fn capabilities(cpu: Cpu, interpreter: &Interpreter) -> (Vec<Capability>, Vec<&'static str>) {
    let here = Level::here();
    let lowest = match cpu {
        Cpu::Any => Level::Default,
        Cpu::V3 => Level::Avx2,
        Cpu::V4 => Level::Avx512,
        Cpu::Native => here,
    };
    let highest = if cpu == Cpu::Native { here } else { Level::Avx512 };
    let numpy = numpy_features(interpreter);
    let allowed = || Level::ALL.into_iter().filter(|level| (lowest..=highest).contains(level));
    let mut traced = Vec::new();
    for level in allowed().filter(|level| *level <= here) {
        let own = level == here;
        let variables = if own { BTreeMap::new() } else { level.variables(false, &numpy) };
        traced.push(Capability {
            name: level.name().to_owned(),
            variables,
            inherits: false,
            other_vendor: false,
        });
        if cpu != Cpu::Native {
            // On a processor of this very level there is nothing that it could be held to
            // but another of its kind.
            let other = !own || level == Level::Avx512;
            traced.push(Capability {
                name: format!("{}, other vendor", level.name()),
                variables: if other { level.variables(true, &numpy) } else { BTreeMap::new() },
                inherits: false,
                other_vendor: true,
            });
        }
    }
    if PINS.iter().any(|name| std::env::var_os(name).is_some()) {
        traced.push(Capability {
            name: "as the environment says".to_owned(),
            variables: BTreeMap::new(),
            inherits: true,
            other_vendor: false,
        });
    }
    (traced, allowed().filter(|level| *level > here).map(Level::name).collect())
}

/// The features that this processor has and NumPy dispatches on; none without NumPy.
/// Naming others in `NPY_DISABLE_CPU_FEATURES` makes it warn or fail.
fn numpy_features(interpreter: &Interpreter) -> Vec<String> {
    const LIST: &str = "
from numpy._core._multiarray_umath import __cpu_dispatch__ as names, __cpu_features__ as has
print(' '.join(name for name in names if has.get(name)))";
    let mut command = Command::new(&interpreter.executable);
    command.args(["-B", "-c", LIST]).env_remove("NPY_DISABLE_CPU_FEATURES");
    environment::answer(&mut command, b"")
        .ok()
        .filter(|done| done.status.success())
        .map(|done| {
            let text = String::from_utf8_lossy(&done.stdout).into_owned();
            text.split_whitespace().map(str::to_owned).collect()
        })
        .unwrap_or_default()
}
