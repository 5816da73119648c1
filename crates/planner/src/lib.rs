//! Decides the fate of every unit of an environment.
//!
//! A plan is made of a scan and a profile, and changes neither. What is not understood is kept,
//! and counted.

mod callable;
mod choice;
mod device;
mod edit;
mod feature;
mod gpu;
mod gpu_code;
mod headers;
mod libraries;
mod licences;
mod modules;
mod planner;
mod programs;
mod standard;
mod torch;
mod vendor;

pub use choice::{Choice, Options};
pub use device::Device;
pub use edit::{editable, edited};
pub use feature::{FEATURES, Feature};
pub use gpu::{GpuLibrary, GpuSide, gpu_code};
pub use gpu_code::{Bytes, GpuCode, GpuPart};
pub use headers::giving;
pub use libraries::library_pages;
pub use planner::plan;
pub use torch::has_libraries_of_torch;
pub use vendor::{Vendor, proprietary};

/// Why a plan could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the environment could not be read.
    #[error(transparent)]
    Read(#[from] environment::Unreadable),
    /// A PyTorch whose libraries are not in the environment.
    #[error(
        "{library} needs {needed}, and no file of the environment is called so: this PyTorch's \
         libraries lie in folders of the system or of conda, which a package does not hold; \
         install PyTorch's own wheel (pip install torch) in a virtual environment, and pack that"
    )]
    Elsewhere {
        /// The library that needs another, by its path in site-packages.
        library: String,
        /// What it needs.
        needed: String,
    },
    /// A feature that is left out, for which the environment has nothing.
    #[error("--without {name}: the environment has nothing for it; leave that out")]
    Feature {
        /// Its name.
        name: &'static str,
    },
    /// A name given with `--keep` or `--drop` matches nothing.
    #[error(
        "--{flag} {name} names no distribution, module, file or library of the environment; \
         `taper inspect` lists them"
    )]
    Unmatched {
        /// `keep` or `drop`.
        flag: &'static str,
        /// The name as given.
        name: String,
    },
}
