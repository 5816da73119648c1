//! Which entries of a container serve a target.

use crate::target::{compiles, runs};
use crate::{Container, Entry, EntryKind, Target};
use serde::{Deserialize, Serialize};

/// Why an entry stays or leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Serving {
    /// It stays: a GPU of the target runs it.
    Runs,
    /// It stays: a GPU of the target has no machine code here, and this can be compiled for it.
    Compiled,
    /// It stays: newer GPUs than those of the target can compile it, as was asked for.
    WayUp,
    /// It stays: intermediate code that can be linked for a GPU of the target.
    Linked,
    /// It stays: what it is, or its container, is not understood.
    Unknown,
    /// It leaves: no GPU of the target runs it.
    OtherGpu,
    /// It leaves: the GPUs of the target have machine code.
    NotNeeded,
    /// It leaves: it is for newer GPUs than those of the target.
    TooNew,
}

impl Serving {
    /// Whether the entry stays.
    pub fn stays(self) -> bool {
        matches!(self, Self::Runs | Self::Compiled | Self::WayUp | Self::Linked | Self::Unknown)
    }

    /// One line for a person.
    pub fn text(self) -> &'static str {
        match self {
            Self::Runs => "the target runs it",
            Self::Compiled => {
                "the driver can compile it for the target, which has no other code here"
            }
            Self::WayUp => "newer GPUs can compile it (+ptx)",
            Self::Linked => "it can be linked for the target",
            Self::Unknown => "what it is for is not known",
            Self::OtherGpu => "no GPU of the target runs it",
            Self::NotNeeded => "the target has machine code in its place",
            Self::TooNew => "it is for newer GPUs than the target",
        }
    }
}

/// What becomes of each entry of `container`, in their order.
///
/// Machine code stays where a GPU of the target runs it: the driver takes the closest, and
/// libraries share kernels between the minors of a major, so lower minors stay too. PTX stays for
/// a GPU that no machine code of this container serves, the newest that can be compiled for it.
/// A container that is malformed stays whole.
pub fn serving(container: &Container, target: &Target) -> Vec<Serving> {
    if container.malformed.is_some() {
        return vec![Serving::Unknown; container.entries.len()];
    }
    let is_code = |entry: &Entry| matches!(entry.kind, EntryKind::Cubin | EntryKind::Mercury);
    let of_kind = |kind: EntryKind| container.entries.iter().filter(move |one| one.kind == kind);
    // Architectures of PTX that a GPU without machine code needs.
    let mut needed = Vec::new();
    for gpu in target.gpus() {
        let has_code =
            container.entries.iter().any(|entry| is_code(entry) && runs(*gpu, entry.architecture));
        if has_code {
            continue;
        }
        let usable = of_kind(EntryKind::Ptx).filter(|entry| compiles(*gpu, entry.architecture));
        needed.extend(usable.map(|entry| entry.architecture).max());
    }
    let general = |entry: &Entry| entry.architecture.variant != crate::Variant::Specific;
    let decide = |entry: &Entry| match entry.kind {
        EntryKind::Cubin | EntryKind::Mercury if target.runs(entry.architecture) => Serving::Runs,
        EntryKind::Cubin | EntryKind::Mercury => Serving::OtherGpu,
        EntryKind::Ptx if needed.contains(&entry.architecture) => Serving::Compiled,
        EntryKind::Ptx if target.has_way_up() && general(entry) => Serving::WayUp,
        EntryKind::Ptx | EntryKind::LinkTimeIr
            if !target.gpus().iter().any(|gpu| compiles(*gpu, entry.architecture)) =>
        {
            Serving::TooNew
        }
        EntryKind::Ptx => Serving::NotNeeded,
        EntryKind::LinkTimeIr => Serving::Linked,
        EntryKind::Other(_) => Serving::Unknown,
    };
    container.entries.iter().map(decide).collect()
}
