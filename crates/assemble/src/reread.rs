//! The second reader of libraries that were written, their cold pages included.

use crate::cold_store;
use crate::unit::Check;
use anyhow::{Context, Result, bail};
use elf::{Library, PAGE};
use format::place::COLD;
use note::Note;
use plan::MappedFile;
use rayon::prelude::*;
use shrink::Original;
use std::collections::BTreeSet;
use store::{Store, Workspace};

/// Compares the library `written` at `path` in a package, and what its `store` holds for it, with
/// its original and with what was to become of that. `private` says which names only this library
/// speaks of.
///
/// # Errors
/// The first thing that is not as it was planned.
pub fn reread(
    path: &str,
    written: &[u8],
    store: Option<&[u8]>,
    check: &Check,
    private: &dyn Fn(&str) -> bool,
) -> Result<()> {
    let runtime = cold_store::runtime(path);
    let revive = check.cold.as_ref().map(|pages| cold_store::revive(path, &runtime, pages));
    let source = MappedFile::open(&check.source)?;
    let original = Original::read(&source, &check.keep, revive.as_ref())
        .with_context(|| format!("cannot read {}", check.source.display()))?;
    let (at, beside) = match store {
        Some(store) => cold_pages(path, &original, written, store)?,
        None => (0, Vec::new()),
    };
    shrink::check(&original, written, private, revive.as_ref(), (at, &beside))
        .map(drop)
        .with_context(|| format!("{path} was not written as planned; this is a fault in taper"))
}

/// Compares what the `store` holds for the library `written` at `path` with the bytes of the
/// original. Gives what it holds beyond them, tables that were made anew, with
/// their address.
fn cold_pages(
    path: &str,
    original: &Original<'_>,
    written: &[u8],
    store: &[u8],
) -> Result<(u64, Vec<u8>)> {
    let fault = || format!("{path} does not come back from {COLD}; this is a fault in taper");
    let Ok(store) = Store::open(store) else { bail!(fault()) };
    let (first, second) = (original.library(), Library::parse(written)?);
    let range = shrink::note(&second);
    let note = second.read(range.start, range.end - range.start)?;
    let note = Note::open(note).ok().with_context(fault)?;
    if note.root() != store.root() {
        bail!(fault());
    }
    let last = first.loads().map(|load| load.addresses().end).max().unwrap_or(0);
    let mut starts = Vec::new();
    let mut index = 0;
    while note.run(index).is_some() {
        starts.push(index);
        index += note.together(index).count();
    }
    let beside = starts
        .into_par_iter()
        .map_init(
            || vec![0; Workspace::size().div_ceil(8)],
            |memory, index| {
                let mut workspace = Workspace::new(memory).with_context(fault)?;
                let run = note.run(index).with_context(fault)?;
                let number = note.first_chunk() + run.chunk;
                let length = store.entry(number).with_context(fault)?.length;
                let mut chunk = vec![0; length as usize];
                store.read(number, &mut chunk, &mut workspace).ok().with_context(fault)?;
                let mut beside = Vec::new();
                for run in note.together(index) {
                    let at = u64::from(run.place) * PAGE;
                    let start = u64::from(run.page) * PAGE;
                    let size = u64::from(run.count) * PAGE;
                    let back = chunk.get(at as usize..(at + size) as usize).with_context(fault)?;
                    if start >= last {
                        beside.push((start, back.to_vec()));
                    } else if !same(first, start, back, original.halted())? {
                        bail!(fault());
                    }
                }
                Ok(beside)
            },
        )
        .collect::<Result<Vec<_>>>()?
        .concat();
    let start = beside.first().map_or(0, |(start, _)| *start);
    Ok((start, beside.into_iter().flat_map(|(_, bytes)| bytes).collect()))
}

/// Whether `back`, whole pages from the address `start` on, are what `original` has there, but for
/// the first bytes of functions that are lost, at the addresses `halted`.
fn same(original: &Library<'_>, start: u64, back: &[u8], halted: &BTreeSet<u64>) -> Result<bool> {
    let all = start..start + back.len() as u64;
    let held = original
        .loads()
        .map(elf::ProgramHeader::file_addresses)
        .map(|load| load.start.max(all.start)..load.end.min(all.end))
        .find(|held| held.start < held.end);
    let Some(held) = held else { return Ok(false) };
    let mut expected = original.read(held.start, held.end - held.start)?.to_vec();
    for start in halted.range(held.clone()) {
        expected[(start - held.start) as usize] = format::TRAP;
    }
    let at = (held.start - all.start) as usize;
    Ok(back.get(at..at + expected.len()) == Some(expected.as_slice()))
}

#[cfg(test)]
mod tests;
