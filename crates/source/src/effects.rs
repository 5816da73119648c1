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
pub const EFFECTS: &[Effect] = &[effect(
    "USE_CUDA",
    "4,361 MB: libtorch_cuda 520, NVIDIA's packages 3,196, Triton 1,045 less 400 that CPU programs keep",
    Evidence::Wheel,
)];

/// What is known of an option.
pub fn of(option: &str) -> Option<&'static Effect> {
    EFFECTS.iter().find(|effect| effect.option == option)
}
