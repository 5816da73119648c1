//! GPU code containers: a bounded walk over fat binaries.
//!
//! A fat binary is what `nvcc` puts into a host library: a header, then one entry
//! for each form of the same code. NVIDIA does not document the format; the layout
//! here was read from the libraries of PyTorch's wheels (CUDA 12 and 13) and agrees
//! with what `cuobjdump` lists. All words are little-endian.
//!
//! | container | bytes | | entry | bytes |
//! |---|---|---|---|---|
//! | magic `0xBA55ED50` | 0–3 | | kind | 0–1 |
//! | version, 1 | 4–5 | | version | 2–3 |
//! | header size, 16 | 6–7 | | header size, 64 to 144 | 4–7 |
//! | size of the entries | 8–15 | | padded payload size | 8–15 |
//! | | | | compressed size | 16–19 |
//! | | | | SM number | 28–31 |
//! | | | | flags | 40–47 |
//! | | | | uncompressed size | 56–63 |
//!
//! Containers lie in many sections (`.nv_fatbin`, `.ldata`, `__nv_relfatbin`,
//! `.cask_resource`, `.rodata`) and at any alignment, so they are found by their
//! magic and then checked, not by a section's name. Everything read is untrusted:
//! nothing here panics or reads past the slice.

mod architecture;
mod container;
mod edit;
mod entry;
mod frames;
mod serving;
mod target;

pub use architecture::{Architecture, Variant};
pub use container::{Container, Containers, MAGIC, containers};
pub use edit::{Edit, without};
pub use entry::{Compression, Entry, EntryKind};
pub use frames::{Frame, bare_frames};
pub use serving::{Serving, serving};
pub use target::{Target, TargetError};

/// What is wrong with a container. Offsets are bytes in the searched slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The container's header claims more bytes than follow it.
    #[error("a fat binary at {offset:#x} claims {size} bytes, more than follow it")]
    Truncated {
        /// Where the container starts.
        offset: u64,
        /// What its header claims, without the header.
        size: u64,
    },
    /// An entry's header is shorter than its fixed part, or the entry leaves its
    /// container.
    #[error("an entry of a fat binary at {offset:#x} does not fit into its container")]
    Entry {
        /// Where the entry starts.
        offset: u64,
    },
}

/// Little-endian words, `None` past the end.
pub(crate) mod word {
    fn array<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
        data.get(at..at.checked_add(N)?)?.try_into().ok()
    }
    pub(crate) fn u16_at(data: &[u8], at: usize) -> Option<u16> {
        array(data, at).map(u16::from_le_bytes)
    }
    pub(crate) fn u32_at(data: &[u8], at: usize) -> Option<u32> {
        array(data, at).map(u32::from_le_bytes)
    }
    pub(crate) fn u64_at(data: &[u8], at: usize) -> Option<u64> {
        array(data, at).map(u64::from_le_bytes)
    }
}
