//! Which GPUs code is for.

use std::fmt;

/// How far code reaches beyond the architecture that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variant {
    /// Later minor versions of the same major version run it too.
    General,
    /// `f`: only members of the same family run it.
    Family,
    /// `a`: only this very architecture runs it.
    Specific,
}

/// A GPU architecture, `sm_90` or `sm_90a`. It orders by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Architecture {
    /// Ten times the major version plus the minor: 90 for compute capability 9.0,
    /// 103 for 10.3.
    pub sm: u32,
    /// How far it reaches.
    pub variant: Variant,
}

impl Architecture {
    /// Flag bit of architecture-specific code.
    pub(crate) const SPECIFIC: u64 = 0x10_0000;
    /// Flag bit of family-specific code.
    pub(crate) const FAMILY: u64 = 0x20_0000;

    pub(crate) fn new(sm: u32, flags: u64) -> Self {
        let variant = if flags & Self::SPECIFIC != 0 {
            Variant::Specific
        } else if flags & Self::FAMILY != 0 {
            Variant::Family
        } else {
            Variant::General
        };
        Self { sm, variant }
    }

    /// The number and its suffix, `90a`.
    pub fn number(&self) -> String {
        let suffix = match self.variant {
            Variant::General => "",
            Variant::Family => "f",
            Variant::Specific => "a",
        };
        format!("{}{suffix}", self.sm)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sm_{}", self.number())
    }
}
