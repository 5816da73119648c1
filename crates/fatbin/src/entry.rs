//! One entry of a container: one form of the code, for one architecture.

use crate::Architecture;
use crate::word::{u16_at, u32_at, u64_at};
use std::ops::Range;

/// What an entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// 1: PTX, assembly text that the driver compiles for newer GPUs.
    Ptx,
    /// 2: an ELF file for one architecture.
    Cubin,
    /// 8: intermediate code for optimisation at link time.
    LinkTimeIr,
    /// 16: Capsule Mercury, code for one architecture that the driver finishes when it loads it.
    Mercury,
    /// Any other number. What it needs is unknown: keep it.
    Other(u16),
}

/// How an entry's payload is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// As it is.
    None,
    /// An LZ4 block.
    Lz4,
    /// A zstd frame.
    Zstd,
}

/// One entry. Offsets are bytes in the searched slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where its header starts.
    pub offset: u64,
    /// Bytes of its header, 64 or more.
    pub header_size: u32,
    /// Bytes of its payload, padding included.
    pub payload_size: u64,
    /// What it holds.
    pub kind: EntryKind,
    /// What it is for.
    pub architecture: Architecture,
    /// Every flag bit, as in the file.
    pub flags: u64,
    /// Bytes of the compressed payload without padding; 0 where it is not compressed.
    pub compressed_size: u32,
    /// Bytes of the payload when it is no longer compressed; 0 where it never was.
    pub uncompressed_size: u64,
}

impl Entry {
    /// Bytes of the fixed part of a header.
    pub(crate) const FIXED: usize = 64;

    const LZ4: u64 = 0x2000;
    const ZSTD: u64 = 0x8000;

    /// Reads the entry at `at`, which must end at or before `end`.
    pub(crate) fn read(data: &[u8], at: usize, end: usize) -> Option<Self> {
        let header =
            data.get(at..at.checked_add(Self::FIXED)?).filter(|_| at + Self::FIXED <= end)?;
        let header_size = u32_at(header, 4)?;
        let payload_size = u64_at(header, 8)?;
        let size = u64::from(header_size).checked_add(payload_size)?;
        if (header_size as usize) < Self::FIXED || size > (end - at) as u64 {
            return None;
        }
        let flags = u64_at(header, 40)?;
        Some(Self {
            offset: at as u64,
            header_size,
            payload_size,
            kind: match u16_at(header, 0)? {
                1 => EntryKind::Ptx,
                2 => EntryKind::Cubin,
                8 => EntryKind::LinkTimeIr,
                16 => EntryKind::Mercury,
                other => EntryKind::Other(other),
            },
            architecture: Architecture::new(u32_at(header, 28)?, flags),
            flags,
            compressed_size: u32_at(header, 16)?,
            uncompressed_size: u64_at(header, 56)?,
        })
    }

    /// Bytes of header and payload together.
    pub fn size(&self) -> u64 {
        u64::from(self.header_size) + self.payload_size
    }

    /// Where header and payload lie.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.size()
    }

    /// Where the payload lies, padding included.
    pub fn payload(&self) -> Range<u64> {
        self.offset + u64::from(self.header_size)..self.offset + self.size()
    }

    /// How the payload is compressed.
    pub fn compression(&self) -> Compression {
        if self.flags & Self::ZSTD != 0 {
            Compression::Zstd
        } else if self.flags & Self::LZ4 != 0 {
            Compression::Lz4
        } else {
            Compression::None
        }
    }

    /// What it is and for which GPU, as NVIDIA's tools write it: `sm_90a`,
    /// `compute_90 (PTX)`, `compute_75 (link-time IR)`.
    pub fn label(&self) -> String {
        let number = self.architecture.number();
        match self.kind {
            EntryKind::Cubin => format!("sm_{number}"),
            EntryKind::Mercury => format!("sm_{number} (Mercury)"),
            EntryKind::Ptx => format!("compute_{number} (PTX)"),
            EntryKind::LinkTimeIr => format!("compute_{number} (link-time IR)"),
            EntryKind::Other(kind) => format!("sm_{number} (unknown kind {kind})"),
        }
    }
}
