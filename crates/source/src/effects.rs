//! What options do for size, and how that is known.
//!
//! `docs/source-builds.md` holds the runs behind these lines. Counts of files are of C and C++
//! files that a configured build of 2.6.0 compiles; sizes are MB = 10^6 bytes.

use serde::Serialize;

/// What is known of an option's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Effect {
    /// The option.
    pub option: &'static str,
    /// What choosing it saves.
    pub saves: &'static str,
    /// How that is known.
    pub evidence: Evidence,
}

/// How an effect is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// By builds or configured builds of this project.
    Measured,
    /// By sizes of components in the official wheel.
    Wheel,
    /// By the text of the tree.
    Read,
}

impl Evidence {
    /// The word in brackets behind a saving.
    pub fn word(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Wheel => "in the official wheel",
            Self::Read => "by the tree's text",
        }
    }
}

const fn effect(option: &'static str, saves: &'static str, evidence: Evidence) -> Effect {
    Effect { option, saves, evidence }
}

/// Effects that are known.
pub const EFFECTS: &[Effect] = &[
    effect(
        "CMAKE_BUILD_TYPE",
        "32, 38 and 46 % of the code of three files, compared with Release",
        Evidence::Measured,
    ),
    effect("USE_CUDA", "libtorch_cuda (520 MB) and NVIDIA's packages (3,196 MB)", Evidence::Wheel),
    effect("USE_DISTRIBUTED", "8 MB: c10d, TensorPipe, Gloo, NCCL's calls", Evidence::Wheel),
    effect("USE_MKLDNN", "50 MB, at the price of slower convolutions", Evidence::Wheel),
    effect("USE_FBGEMM", "10 MB, at the price of quantized linear layers", Evidence::Wheel),
    effect("USE_KINETO", "3 MB: the profiler sees no events", Evidence::Wheel),
    effect("USE_NNPACK", "0.3 MB, with QNNPACK", Evidence::Wheel),
    effect("USE_PYTORCH_QNNPACK", "0.3 MB, with NNPACK", Evidence::Wheel),
    effect("BLAS", "100 MB of MKL inside libtorch_cpu", Evidence::Wheel),
    effect(
        "CXX_AVX512_FOUND",
        "66 of 1,349 compiled files (6.6 MB in the wheel)",
        Evidence::Measured,
    ),
    effect(
        "CXX_AVX2_FOUND",
        "68 of 1,283 compiled files (18.6 MB in the wheel)",
        Evidence::Measured,
    ),
    effect("BUILD_FUNCTORCH", "3 of 1,349 compiled files", Evidence::Measured),
    effect("BUILD_LITE_INTERPRETER", "312 of 966 compiled files", Evidence::Measured),
    effect(
        "SELECTED_OP_LIST",
        "6,078 of 6,089 registrations of kernels for the 18 operators of resnet18",
        Evidence::Measured,
    ),
    effect("TRACING_BASED", "without it, 0 of 6,089 registrations", Evidence::Measured),
    effect("HAVE_SOVERSION", "two copies of every library in a wheel", Evidence::Read),
    effect(
        "BUILD_TEST",
        "nothing in CMake's default; PyTorch's Python build turns it on",
        Evidence::Read,
    ),
];

/// What is known of an option.
pub fn of(option: &str) -> Option<&'static Effect> {
    EFFECTS.iter().find(|effect| effect.option == option)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_effect_is_of_another_option_and_says_something() {
        let names: BTreeSet<&str> = EFFECTS.iter().map(|effect| effect.option).collect();
        assert_eq!(names.len(), EFFECTS.len());
        assert!(EFFECTS.iter().all(|effect| effect.saves.len() > 5));
    }
}
