//! The GPU code of a library, as far as a target runs it.

use crate::Error;
use elf::{Library, PAGE, PageSet};
use environment::{Change, Environment, File, Kind, MappedFile};
use fatbin::{Compression, Serving, Target};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;

/// What becomes of the GPU code of one library. Offsets are those in its file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GpuCode {
    /// How the library is seen by the target: without what no GPU of it runs.
    pub changes: Vec<Change>,
    /// Pages with nothing but GPU code, or what was GPU code.
    pub pages: PageSet,
    /// Where the entries and frames begin that stay.
    pub kept: Vec<u64>,
    /// How much of what there is, and why it stays or leaves.
    pub parts: BTreeMap<GpuPart, Bytes>,
}

/// A kind of GPU code, with its fate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GpuPart {
    /// What it is and for which GPU, as NVIDIA's tools write it.
    pub label: String,
    /// Whether it lies in no container.
    pub bare: bool,
    /// How it is compressed in the file.
    pub compression: &'static str,
    /// Why it stays or leaves.
    pub why: Serving,
}

/// How much of something there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Entries or frames.
    pub count: u64,
    /// Bytes of them in the file.
    pub bytes: u64,
}

/// Smaller gaps between containers are for their alignment.
const ALIGNMENT: u64 = 64;

/// The GPU code of every library in scope of `environment` for `target`, by path; none for those
/// without any, or that are not understood.
///
/// # Errors
/// [`Error::Read`] for a library that cannot be read.
pub fn gpu_code_for(
    environment: &Environment,
    target: &Target,
) -> Result<BTreeMap<String, GpuCode>, Error> {
    let libraries: Vec<&File> = environment
        .files
        .iter()
        .filter(|file| file.in_scope && file.kind == Kind::SharedLibrary)
        .collect();
    let all = libraries.into_par_iter().map(|file| {
        let bytes = MappedFile::open(&environment.source(file))?;
        // One that is not understood is copied whole.
        let Ok(library) = Library::parse(&bytes) else { return Ok(None) };
        let code = GpuCode::of(&library, target);
        Ok((!code.parts.is_empty()).then(|| (file.path.clone(), code)))
    });
    let all: Vec<_> = all.collect::<Result<_, Error>>()?;
    Ok(all.into_iter().flatten().collect())
}

impl GpuCode {
    /// What of `library` serves `target`.
    pub fn of(library: &Library<'_>, target: &Target) -> Self {
        let data = library.data();
        let mut code = Self::default();
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for container in fatbin::containers(data) {
            ranges.push(container.range());
            let why = fatbin::serving(&container, target);
            for (entry, why) in container.entries.iter().zip(&why) {
                let compression = compression(entry.compression());
                code.count(entry.label(), false, compression, *why, &entry.range());
            }
            let stays: Vec<bool> = why.iter().map(|why| why.stays()).collect();
            let Some(edit) = fatbin::without(&container, &stays) else { continue };
            let moves = edit.moves.into_iter().map(|(from, to)| Change::Move { from, to });
            code.changes.extend(moves);
            let (at, size) = edit.size;
            code.changes.push(Change::Put { at, bytes: size.to_le_bytes().to_vec() });
            code.changes.push(Change::Zero(edit.zeros));
        }
        // Only libraries with containers have other GPU code.
        let frames =
            if ranges.is_empty() { Vec::new() } else { fatbin::bare_frames(data, &ranges) };
        for frame in frames {
            let runs = target.runs(frame.architecture);
            let why = if runs { Serving::Runs } else { Serving::OtherGpu };
            let label = frame.architecture.to_string();
            code.count(label, true, compression(Compression::Zstd), why, &frame.range);
            if !runs {
                code.changes.push(Change::Zero(frame.range.clone()));
            }
            ranges.push(frame.range);
        }
        code.changes = joined(code.changes);
        code.kept.sort_unstable();
        ranges.sort_by_key(|range| range.start);
        code.pages = pages(library, &ranges);
        code
    }

    fn count(
        &mut self,
        label: String,
        bare: bool,
        compression: &'static str,
        why: Serving,
        range: &Range<u64>,
    ) {
        if why.stays() {
            self.kept.push(range.start);
        }
        let part = self.parts.entry(GpuPart { label, bare, compression, why }).or_default();
        part.count += 1;
        part.bytes += range.end - range.start;
    }

    /// Bytes that stay, and bytes that leave.
    pub fn bytes(&self) -> (u64, u64) {
        let sum = |stays| {
            let parts = self.parts.iter().filter(|(part, _)| part.why.stays() == stays);
            parts.map(|(_, bytes)| bytes.bytes).sum()
        };
        (sum(true), sum(false))
    }
}

fn compression(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "none",
        Compression::Lz4 => "LZ4",
        Compression::Zstd => "zstd",
    }
}

/// Joins zeros that follow each other.
fn joined(changes: Vec<Change>) -> Vec<Change> {
    let mut out: Vec<Change> = Vec::with_capacity(changes.len());
    for change in changes {
        match (out.last_mut(), &change) {
            (Some(Change::Zero(last)), Change::Zero(next)) if last.end == next.start => {
                last.end = next.end;
            }
            _ => out.push(change),
        }
    }
    out
}

/// The pages of `library` that hold nothing but what lies in `ranges` of its file, which ascend,
/// and zeros that align it.
pub(crate) fn pages(library: &Library<'_>, ranges: &[Range<u64>]) -> PageSet {
    let data = library.data();
    let mut whole: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match whole.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            Some(last)
                if range.start - last.end < ALIGNMENT
                    && data[last.end as usize..range.start as usize]
                        .iter()
                        .all(|byte| *byte == 0) =>
            {
                last.end = range.end;
            }
            _ => whole.push(range.clone()),
        }
    }
    let mut pages = PageSet::new();
    for load in library.loads() {
        let file = load.offset.0..load.offset.0 + load.file_size;
        for range in &whole {
            let (start, end) = (range.start.max(file.start), range.end.min(file.end));
            if start < end {
                let start = load.address + (start - file.start);
                let end = load.address + (end - file.start);
                pages.union(&(start.div_ceil(PAGE)..end / PAGE).collect());
            }
        }
    }
    pages
}
