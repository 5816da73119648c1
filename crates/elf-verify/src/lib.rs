//! The second reader: what a process sees once a written library is loaded, compared with what
//! it would see of the original.
//!
//! It shares no code with the writer, and expects nothing but what the plan and the original
//! say. Both libraries are placed in a memory of their own as the loader would place them, and
//! relocated; instructions that the writer added run in a small machine. Then every page that
//! the plan keeps must hold the same bytes, every page that comes back must come back from the
//! store with them, and names, versions, headers and unwind tables must mean the same.
//!
//! Addresses are unrelocated virtual addresses. Formats: System V gABI (chapters 4 and 5), psABI
//! for x86-64 (4.4, relocations), LSB 5 (symbol versions; 10.6, `.eh_frame`).

mod dynamic;
mod entries;
mod exceptions;
mod gpu_code;
mod headers;
mod image;
mod instruction;
mod loaded;
mod loader;
mod lost;
mod machine;
mod pages;
mod restored;
mod sections;
mod symbols;
mod tie;
mod unwind;

use elf::PageSet;
use image::Image;

pub use gpu_code::gpu_code;
pub use loader::loads;

/// A library as it is to be written.
pub struct Expected<'a> {
    /// The original's bytes, as the target sees them.
    pub original: &'a [u8],
    /// The original's bytes as they are installed, of which the library tells the hash.
    pub installed: &'a [u8],
    /// Pages that are in the file.
    pub keep: &'a PageSet,
    /// Pages that come back, where any do.
    pub cold: Option<Cold<'a>>,
    /// Whether only this library speaks of a name, so that it may lose it, or bind to itself.
    pub private: &'a dyn Fn(&str) -> bool,
}

/// What comes back when it is touched.
#[derive(Debug, Clone, Copy)]
pub struct Cold<'a> {
    /// The pages.
    pub pages: &'a PageSet,
    /// The library's path in the package.
    pub name: &'a str,
    /// The runtime, as `DT_NEEDED` names it.
    pub runtime: &'a str,
    /// The store's bytes.
    pub store: &'a [u8],
}

/// What was seen of a library that is as it was planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Pages of read-only segments that are in the file.
    pub pages: u64,
    /// Loadable segments.
    pub mappings: usize,
}

/// Why a library is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The original is not understood.
    #[error("the original cannot be read: {0}")]
    Original(String),
    /// What was written is not understood.
    #[error("the written library cannot be read: {0}")]
    Unreadable(String),
    /// What was written is not what was planned.
    #[error("the written library differs from the plan: {what} at {at:#x}")]
    Differs {
        /// What differs.
        what: &'static str,
        /// At which address, file offset of a header, or index of a symbol.
        at: u64,
    },
    /// The system's loader does not take it.
    #[error("the loader does not take {path}: {reason}")]
    Refused {
        /// The library.
        path: std::path::PathBuf,
        /// What the loader said.
        reason: String,
    },
}

/// The fault that `what` differs at an address.
fn differs(what: &'static str, at: u64) -> Fault {
    Fault::Differs { what, at }
}

/// Compares the library `written` with what was `expected`.
///
/// # Errors
/// The first thing that is not as it was planned, or that cannot be read.
pub fn verify(expected: &Expected<'_>, written: &[u8]) -> Result<Seen, Fault> {
    let old = Image::read(expected.original).map_err(Fault::Original)?;
    let new = Image::read(written).map_err(Fault::Unreadable)?;
    let before = dynamic::Dynamic::read(&old, None).map_err(Fault::Original)?;
    let count = before.symbols.len() + usize::from(expected.cold.is_some());
    let after = dynamic::Dynamic::read(&new, Some(count)).map_err(Fault::Unreadable)?;
    let planned = planned(expected);

    headers::check(&old, &new, expected)?;
    dynamic::check(&before, &after, expected.cold.map(|cold| cold.runtime))?;
    symbols::check(&before, &after, expected, &planned)?;
    sections::check(&new, &before, &after)?;

    let mut tokens = loaded::Tokens::default();
    let own = new.own_code(&old);
    let first = loaded::Loaded::of(&old, &before, &mut tokens, None).map_err(Fault::Original)?;
    let second = loaded::Loaded::of(&new, &after, &mut tokens, own.as_ref());
    let second = second.map_err(Fault::Unreadable)?;
    loaded::check(&first, &second, &before, expected)?;

    let mut restored = match &expected.cold {
        Some(cold) => {
            let note = tie::check(&before, &after, &second, own)?;
            restored::Restored::listed(&old, &new, &note, cold, expected.installed)?
        }
        None => restored::Restored::default(),
    };
    let mut present = new.pages();
    present.union(&restored.pages);
    let functions = entries::functions(&old);
    // Without the runtime, nothing would tell what such a call means.
    let mut lost = lost::Lost::default();
    if let Some(cold) = &expected.cold {
        lost = lost::Lost::of(&functions, &before, &planned, &present);
        restored.check(&old, cold, &lost)?;
    }
    let pages = pages::check(&old, &new, &before, expected, &restored, &lost)?;
    unwind::check(&old, &new, expected, &restored, &functions, [&planned, &present])?;
    Ok(Seen { pages, mappings: new.loads.len() })
}

/// Pages whose bytes a process can reach, by the plan.
fn planned(expected: &Expected<'_>) -> PageSet {
    let mut pages = expected.keep.clone();
    if let Some(cold) = &expected.cold {
        pages.union(cold.pages);
    }
    pages
}
