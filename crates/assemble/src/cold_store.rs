//! The store of cold pages, and the libraries that are tied to it.

use crate::unit::{Check, Unit};
use anyhow::{Context, Result};
use elf::{Library, PageSet};
use environment::MappedFile;
use format::place::{COLD, RUNTIME};
use package::{Content, Entry, LIBRARY, Level};
use plan::Reason;
use shrink::{Chunk, Revive, Smaller};
use std::collections::BTreeMap;
use store::Writer;

/// Pages of a chunk of code near what runs touched; [`note::FAR`] times as many are one
/// elsewhere. Larger ones compress better and take longer to come back; a fault brings a whole
/// one (0.13 ms for these on a machine of 2026, and as many times more).
const CHUNK: u64 = 14;

/// Bytes below which a store is worth more time.
const LITTLE: u64 = 100_000_000;

/// A library that was shrunk and is not tied to its store yet.
pub struct Revived {
    /// Its path in the package.
    pub path: String,
    /// Why it is there.
    pub reason: Reason,
    /// What it is compared with.
    pub check: Check,
    /// The original's bytes, as the target sees them.
    pub bytes: MappedFile,
    /// What was made of it.
    pub smaller: Smaller,
}

/// What the cold part of a package consists of.
#[derive(Default)]
pub struct Cold<'a> {
    /// The libraries, the store and the runtime.
    pub units: Vec<Unit<'a>>,
    /// Bytes of the store.
    pub stored: u64,
    /// Bytes of the original in it.
    pub original: u64,
    /// How the hash of each library's original starts.
    pub contents: BTreeMap<String, [u8; 8]>,
}

/// The runtime as the library at `path` needs it.
pub fn runtime(path: &str) -> String {
    format!("$ORIGIN/{}{RUNTIME}", "../".repeat(path.matches('/').count()))
}

/// What the library at `path`, whose pages `cold` come back, is tied to; `runtime` is
/// [`runtime`] of it.
pub fn revive<'a>(path: &'a str, runtime: &'a str, cold: &'a PageSet) -> Revive<'a> {
    Revive { name: path, runtime, chunk: CHUNK, cold }
}

/// Makes the store of what the libraries lack, and ties them to it.
pub fn write<'a>(mut libraries: Vec<Revived>, level: Level) -> Result<Cold<'a>> {
    let mut out = Cold::default();
    if libraries.is_empty() {
        return Ok(out);
    }
    libraries.sort_by(|a, b| a.path.cmp(&b.path));
    let mut writer = Writer::new();
    let mut firsts = Vec::with_capacity(libraries.len());
    let mut next = 0;
    for library in &libraries {
        firsts.push(next);
        let parsed = Library::parse(&library.bytes).with_context(|| library.path.clone())?;
        let cold = library.smaller.cold().context("a library was not divided")?;
        for chunk in cold.chunks(&parsed) {
            let added = match chunk {
                Chunk::Original(pieces, code) => writer.add_pieces(pieces, code),
                Chunk::New(bytes) => writer.add(bytes),
            };
            added.ok().context("a package has too many cold pages")?;
            next += 1;
        }
        out.original += cold.size();
    }
    // Without cold code, the store has only what may be called by chance: little.
    let little = out.original < LITTLE && level == Level::Default;
    let level = if little { Level::High } else { level };
    let (store, root) = writer.finish(level).context("cannot compress what is cold")?;
    out.stored = store.len() as u64;
    for (mut library, first) in libraries.into_iter().zip(firsts) {
        let installed = MappedFile::open(&library.check.source)?;
        let content = blake3::Hasher::new().update_rayon(&installed).finalize();
        let start = content.as_bytes().first_chunk().copied().unwrap_or_default();
        library.smaller.seal(first, root, start);
        out.contents.insert(library.path.clone(), start);
        let hot = library.smaller.size().min(library.bytes.len() as u64);
        let check = Some(library.check);
        let write: package::Writer<'a> =
            Box::new(move |sink| library.smaller.write_to(&library.bytes, sink));
        let entry = Entry { path: library.path, executable: true, content: Content::Stream(write) };
        out.units.push(Unit { entry, reason: library.reason, hot, check });
    }
    for (path, bytes) in [(COLD, store), (RUNTIME, LIBRARY.to_vec())] {
        let entry = Entry { path: path.into(), executable: false, content: Content::Bytes(bytes) };
        out.units.push(Unit { entry, reason: Reason::Cold, hot: 0, check: None });
    }
    Ok(out)
}
