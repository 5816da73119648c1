//! Pages that come back from the store.

use crate::image::{Image, Load};
use crate::lost::Lost;
use crate::{Cold, Fault, differs};
use elf::{PAGE, PageSet};
use note::{Names, Note, Rights};
use rayon::prelude::*;
use std::ops::Range;
use store::{Store, Workspace};

/// What comes back of a library.
#[derive(Debug, Default)]
pub(crate) struct Restored<'a> {
    /// The pages that its note lists.
    pub pages: PageSet,
    /// Tables that the original has elsewhere: their address, and their bytes.
    pub beside: (u64, Vec<u8>),
    note: Option<Note<'a>>,
}

impl<'a> Restored<'a> {
    /// Reads the note at the addresses `place` of `new`, which must be that of `cold`.
    pub fn listed(
        old: &Image<'_>,
        new: &Image<'a>,
        place: &Range<u64>,
        cold: &Cold<'_>,
        installed: &[u8],
    ) -> Result<Self, Fault> {
        let fault = |what| differs(what, place.start);
        let bytes = new.bytes(place.start, place.end - place.start);
        let bytes = bytes.filter(|_| place.start >= old.end()).ok_or_else(|| fault("the note"))?;
        let note = Note::open(bytes).map_err(|_| fault("the note"))?;
        if note.name() != cold.name.as_bytes() {
            return Err(fault("the name in the note"));
        }
        let content = blake3::hash(installed);
        if content.as_bytes().first_chunk() != Some(&note.content()) {
            return Err(fault("the hash of the original in the note"));
        }
        let mut pages = PageSet::new();
        let mut end = 0;
        for run in (0..).map_while(|index| note.run(index)) {
            let first = u64::from(run.page);
            let last = first + u64::from(run.count);
            if first < end || last > u64::from(note.pages()) {
                return Err(fault("the order of pages in the note"));
            }
            (first..last).for_each(|page| {
                pages.insert(page);
            });
            end = last;
        }
        Ok(Self { pages, beside: (0, Vec::new()), note: Some(note) })
    }

    /// Brings every page back and compares it with that of the original.
    pub fn check(&mut self, old: &Image<'_>, cold: &Cold<'_>, lost: &Lost) -> Result<(), Fault> {
        let Some(note) = self.note else { return Ok(()) };
        let fault = || differs("the store of pages", 0);
        let store = Store::open(cold.store).map_err(|_| fault())?;
        if note.root() != store.root() {
            return Err(fault());
        }
        names(&note, &store, lost)?;
        // The first run of each chunk.
        let mut starts = Vec::new();
        let mut index = 0;
        while note.run(index).is_some() {
            starts.push(index);
            index += note.together(index).count();
        }
        let beside = starts.into_par_iter().map_init(
            || vec![0; Workspace::size().div_ceil(8)],
            |memory, index| {
                let mut workspace = Workspace::new(memory).ok_or_else(fault)?;
                let number = note.run(index).map(|run| note.first_chunk().checked_add(run.chunk));
                let number = number.flatten().ok_or_else(fault)?;
                let length = store.entry(number).ok_or_else(fault)?.length;
                let mut chunk = vec![0; length as usize];
                store.read(number, &mut chunk, &mut workspace).map_err(|_| fault())?;
                let mut beside = Vec::new();
                for run in note.together(index) {
                    let start = u64::from(run.page) * PAGE;
                    let place = u64::from(run.place) * PAGE;
                    let end = place + u64::from(run.count) * PAGE;
                    let back = chunk.get(place as usize..end as usize);
                    let back = back.ok_or_else(|| differs("the length of a chunk", start))?;
                    if start >= old.end() {
                        beside.push((start, back.to_vec()));
                    } else {
                        same(old, start, back, run.rights, lost)?;
                    }
                }
                Ok(beside)
            },
        );
        let beside = beside.collect::<Result<Vec<_>, Fault>>()?.concat();
        for (start, bytes) in beside {
            let (first, all) = &mut self.beside;
            if all.is_empty() {
                *first = start;
            } else if *first + all.len() as u64 != start {
                return Err(differs("the place of tables that come back", start));
            }
            all.extend(bytes);
        }
        Ok(())
    }
}

/// Checks that the list of functions that are lost names those that are stopped.
fn names(note: &Note<'_>, store: &Store<'_>, lost: &Lost) -> Result<(), Fault> {
    let fault = |at| differs("the names of functions that are lost", at);
    let mut chunk = Vec::new();
    if let Some(number) = note.names() {
        let mut memory = vec![0; Workspace::size().div_ceil(8)];
        let mut workspace = Workspace::new(&mut memory).ok_or_else(|| fault(0))?;
        let length = store.entry(number).ok_or_else(|| fault(0))?.length;
        chunk.resize(length as usize, 0);
        store.read(number, &mut chunk, &mut workspace).map_err(|_| fault(0))?;
        let all = Names::open(&chunk).ok_or_else(|| fault(0))?;
        if let Some((at, _)) = all.all().find(|(_, name)| name.is_none()) {
            return Err(fault(at));
        }
    }
    let all = Names::open(&chunk).into_iter().flat_map(Names::all);
    lost.unnamed(all).map_or(Ok(()), |at| Err(fault(at)))
}

/// Compares pages that come back with the segment of `old` that they belong to.
fn same(
    old: &Image<'_>,
    start: u64,
    back: &[u8],
    rights: Rights,
    lost: &Lost,
) -> Result<(), Fault> {
    let end = start + back.len() as u64;
    let inside = |load: &&Load<'_>| load.filed().start < end && start < load.filed().end;
    let load = old.loads.iter().find(inside);
    let load = load.ok_or_else(|| differs("a page, which the original does not have", start))?;
    let right = match rights {
        Rights::Read => !load.is_writable() && !load.is_code(),
        Rights::Execute => !load.is_writable() && load.is_code(),
        Rights::Write => load.is_writable() && !load.is_code(),
    };
    if !right {
        return Err(differs("the rights of a page that comes back", start));
    }
    let (from, to) = (load.start.max(start), load.filed().end.min(end));
    let zeros = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let (before, rest) = back.split_at((from - start) as usize);
    let (found, after) = rest.split_at((to - from) as usize);
    let original = &load.bytes[(from - load.start) as usize..(to - load.start) as usize];
    if let Some(at) = lost.wrong(from, original, found, |_| false) {
        return Err(differs("a byte of a page that comes back", at));
    }
    if zeros(before) && zeros(after) {
        Ok(())
    } else {
        Err(differs("a page that comes back, past the end of its segment", start))
    }
}
