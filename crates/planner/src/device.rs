//! The device that a package is for.

use std::fmt;
use std::str::FromStr;

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// No GPU: CUDA, cuDNN, NCCL, Triton and their kind leave.
    Cpu,
    /// GPUs of these architectures, and the CPU.
    Gpu(fatbin::Target),
}

impl Device {
    /// How the CPU is called.
    const CPU: &'static str = "cpu";
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == Self::CPU {
            return Ok(Self::Cpu);
        }
        let target = text.parse().map_err(|error: fatbin::TargetError| error.to_string());
        target.map(Self::Gpu)
    }
}

/// As it is typed, in one form: `cpu`, `sm_80,sm_90`.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str(Self::CPU),
            Self::Gpu(target) => target.fmt(f),
        }
    }
}
