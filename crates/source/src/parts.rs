//! The parts of PyTorch that a build can leave out, and what each needs to be built.

use crate::tree::{Tree, has};
use serde::Serialize;
use std::path::Path;

/// A part that has an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// NVIDIA's GPUs.
    Cuda,
    /// AMD's GPUs.
    Rocm,
    /// Intel's GPUs.
    Xpu,
    /// torch.distributed with its transports.
    Distributed,
    /// Intel's kernels for convolutions and matrix products.
    OneDnn,
    /// Meta's kernels for 8-bit integers.
    Fbgemm,
    /// Convolutions for older phones.
    Nnpack,
    /// Kernels for phones, which also serve quantized models.
    Xnnpack,
    /// Kernels for 8-bit integers on phones.
    Qnnpack,
    /// The profiler's collection of events.
    Kineto,
    /// Marks for Intel's VTune.
    Itt,
    /// Memory placed near a processor.
    Numa,
    /// First-class dimensions (`functorch.dim`).
    Functorch,
    /// Arrays of NumPy.
    Numpy,
}

/// What is known of a part.
#[derive(Debug)]
pub struct About {
    /// The part.
    pub part: Part,
    /// The option that leaves it out.
    pub option: &'static str,
    /// What a person calls it.
    pub name: &'static str,
    /// Where a tree has its sources; empty if they are PyTorch's own.
    pub sources: &'static [&'static str],
    /// A header in the system's include folder that stands for them.
    pub system: Option<&'static str>,
}

/// All parts, in the order in which choices are shown.
pub const PARTS: [About; 14] = [
    About { part: Part::Cuda, option: "USE_CUDA", name: "CUDA", sources: &[], system: None },
    About { part: Part::Rocm, option: "USE_ROCM", name: "ROCm", sources: &[], system: None },
    About { part: Part::Xpu, option: "USE_XPU", name: "Intel GPUs", sources: &[], system: None },
    About {
        part: Part::Distributed,
        option: "USE_DISTRIBUTED",
        name: "torch.distributed's transport Gloo",
        sources: &["third_party/gloo/CMakeLists.txt"],
        system: Some("gloo"),
    },
    About {
        part: Part::OneDnn,
        option: "USE_MKLDNN",
        name: "oneDNN",
        sources: &["third_party/ideep/include"],
        system: Some("ideep.hpp"),
    },
    About {
        part: Part::Fbgemm,
        option: "USE_FBGEMM",
        name: "FBGEMM",
        sources: &["third_party/fbgemm/CMakeLists.txt"],
        system: None,
    },
    About {
        part: Part::Nnpack,
        option: "USE_NNPACK",
        name: "NNPACK",
        sources: &["third_party/NNPACK/CMakeLists.txt"],
        system: None,
    },
    About {
        part: Part::Xnnpack,
        option: "USE_XNNPACK",
        name: "XNNPACK",
        sources: &["third_party/XNNPACK/CMakeLists.txt"],
        system: Some("xnnpack.h"),
    },
    About {
        part: Part::Qnnpack,
        option: "USE_PYTORCH_QNNPACK",
        name: "QNNPACK",
        sources: &["third_party/gemmlowp"],
        system: None,
    },
    About {
        part: Part::Kineto,
        option: "USE_KINETO",
        name: "Kineto",
        sources: &["third_party/kineto/libkineto", "debian/kineto/libkineto"],
        system: None,
    },
    About {
        part: Part::Itt,
        option: "USE_ITT",
        name: "ITT",
        sources: &["third_party/ittapi/CMakeLists.txt"],
        system: None,
    },
    About {
        part: Part::Numa,
        option: "USE_NUMA",
        name: "NUMA",
        sources: &[],
        system: Some("numa.h"),
    },
    About {
        part: Part::Functorch,
        option: "BUILD_FUNCTORCH",
        name: "functorch.dim",
        sources: &[],
        system: None,
    },
    About { part: Part::Numpy, option: "USE_NUMPY", name: "NumPy", sources: &[], system: None },
];

/// Further transports of torch.distributed: an option, its sources, its system header.
pub const TRANSPORTS: [(&str, &str, &str); 2] = [
    ("USE_TENSORPIPE", "third_party/tensorpipe/CMakeLists.txt", "tensorpipe"),
    ("USE_MPI", "third_party/no-tree-has-mpi", "mpi.h"),
];

impl About {
    /// Whether what the part is made from is in `tree` or under `include`, the system's folder
    /// of headers.
    pub fn is_there(&self, tree: &Tree, include: &Path) -> bool {
        let elsewhere = self.system.is_some_and(|header| has(&include.join(header)));
        (self.sources.is_empty() && self.system.is_none()) || elsewhere || tree.has(self.sources)
    }
}

/// Whether the application uses a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "use", content = "because")]
pub enum Use {
    /// It does; the text says what shows it.
    Used(String),
    /// No run did; the text says what would have shown it.
    Unused(String),
    /// Nothing says.
    Unknown,
}
