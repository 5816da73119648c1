//! What a package for a GPU can do without, by names that people know.

use environment::{Environment, normalized};
use std::fmt;
use std::str::FromStr;

/// A part of what CUDA PyTorch can do that a program may not need. Its libraries leave; what
/// kept ones bind to in them raises an error that names the feature.
#[derive(Debug, PartialEq, Eq)]
pub struct Feature {
    /// As it is typed.
    pub name: &'static str,
    /// What cannot be done without it.
    pub about: &'static str,
    /// The distributions that are there for it, without the version of CUDA behind their names.
    distributions: &'static [&'static str],
    /// Files of torch itself that are.
    files: &'static [&'static str],
}

/// The features. Distributions are named by CUDA's wheels (12: `nvidia-cufft-cu12`, 13:
/// `nvidia-cufft`).
pub const FEATURES: [Feature; 8] = [
    Feature {
        name: "distributed",
        about: "several GPUs: NCCL, NVSHMEM",
        distributions: &["nvidia-nccl", "nvidia-nvshmem"],
        files: &["torch/lib/libtorch_nvshmem.so"],
    },
    Feature {
        name: "compile",
        about: "torch.compile for GPUs: Triton",
        distributions: &["triton", "pytorch-triton"],
        files: &[],
    },
    Feature {
        name: "sparse",
        about: "sparse matrices on GPUs: cuSPARSE, cuSPARSELt",
        distributions: &["nvidia-cusparse", "nvidia-cusparselt"],
        files: &[],
    },
    Feature {
        name: "fft",
        about: "Fourier transforms on GPUs: cuFFT",
        distributions: &["nvidia-cufft"],
        files: &[],
    },
    Feature {
        name: "linalg",
        about: "decompositions and solvers on GPUs: cuSOLVER",
        distributions: &["nvidia-cusolver"],
        files: &[],
    },
    Feature {
        name: "profiler",
        about: "profiling of GPUs: CUPTI",
        distributions: &["nvidia-cuda-cupti"],
        files: &[],
    },
    Feature {
        name: "jiterator",
        about: "kernels that are compiled when a program runs, by NVRTC and nvJitLink: also cuDNN's",
        distributions: &["nvidia-cuda-nvrtc", "nvidia-nvjitlink"],
        files: &[],
    },
    Feature {
        name: "storage",
        about: "files that GPUs read by themselves: cuFile",
        distributions: &["nvidia-cufile"],
        files: &[],
    },
];

impl Feature {
    /// Whether the file at `path` of the distribution `owner` is there for it.
    pub(crate) fn has(&self, environment: &Environment, path: &str, owner: Option<usize>) -> bool {
        self.files.contains(&path)
            || owner.is_some_and(|owner| self.is(&environment.distributions[owner].name))
    }

    /// Whether a distribution is there for it.
    fn is(&self, distribution: &str) -> bool {
        let name = normalized(distribution);
        let plain = match name.rsplit_once("-cu") {
            Some((plain, cuda)) if cuda.bytes().all(|one| one.is_ascii_digit()) => plain,
            _ => &name,
        };
        self.distributions.contains(&plain)
    }
}

/// A feature that is typed.
impl FromStr for &'static Feature {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        FEATURES.iter().find(|feature| feature.name == text).ok_or_else(|| {
            let names: Vec<&str> = FEATURES.iter().map(|feature| feature.name).collect();
            format!("there is no such feature; there are {}", names.join(", "))
        })
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::FEATURES;

    #[test]
    fn a_distribution_belongs_to_a_feature_whatever_its_cuda() {
        let of = |distribution: &str| -> Vec<&str> {
            let all = FEATURES.iter().filter(|feature| feature.is(distribution));
            all.map(|feature| feature.name).collect()
        };
        assert_eq!(of("nvidia-cufft-cu12"), ["fft"]);
        assert_eq!(of("nvidia_cufft"), ["fft"]);
        assert_eq!(of("nvidia-cusparselt-cu13"), ["sparse"]);
        assert_eq!(of("nvidia-nccl-cu13"), ["distributed"]);
        assert_eq!(of("Triton"), ["compile"]);
        assert_eq!(of("nvidia-cublas"), [""; 0]);
        assert_eq!(of("nvidia-curand-cu12"), [""; 0]);
    }
}
