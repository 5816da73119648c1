//! The writer.

use crate::format::{CODE, ENTRY, Error, HEADER, MAGIC, MAX_CHUNK, Root, VERSION, chunk_hash};
use rayon::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

static GIVEN: AtomicU64 = AtomicU64::new(0);
static DONE: AtomicU64 = AtomicU64::new(0);

/// Bytes that the writers of this process were told to compress, and those of them that they
/// have compressed: for whoever shows how far that is.
pub fn amounts() -> (u64, u64) {
    // In this order, so that no more is done than was given.
    let done = DONE.load(Ordering::SeqCst);
    (GIVEN.load(Ordering::SeqCst), done)
}

/// How hard to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// About as fast as copying.
    Fast,
    /// Where more time begins to buy little: 6 % more than the best size, in a tenth of its time.
    #[default]
    Default,
    /// Near the best size: for what is small.
    High,
    /// The best size.
    Max,
}

impl Level {
    fn zstd(self) -> i32 {
        match self {
            Self::Fast => 3,
            Self::Default => 9,
            Self::High => 17,
            Self::Max => 19,
        }
    }

    /// A compressor of this level.
    fn compressor(self) -> std::io::Result<Compressor<'static>> {
        let mut made = Compressor::new(self.zstd())?;
        // The length stands in the table.
        made.include_contentsize(false)?;
        if self == Self::Default {
            // At this level, zstd looks for matches of five bytes and more in what is larger than
            // 256 KiB. Machine code has many of four: they save 2.9 % of it, and 0.9 % of modules,
            // in the same time.
            made.set_parameter(CParameter::MinMatch(4))?;
            made.set_parameter(CParameter::SearchLog(5))?;
        }
        Ok(made)
    }
}

/// A store that is being made.
#[derive(Debug, Default)]
pub struct Writer<'a> {
    chunks: Vec<(Chunk<'a>, bool)>,
}

/// A chunk's bytes: in one piece, or as pieces that are joined when its turn comes.
#[derive(Debug)]
enum Chunk<'a> {
    Whole(Vec<u8>),
    Pieces(Vec<&'a [u8]>),
}

impl Chunk<'_> {
    fn size(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Pieces(pieces) => pieces.iter().map(|piece| piece.len() as u64).sum(),
        }
    }

    fn joined(self) -> Vec<u8> {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Pieces(pieces) => pieces.concat(),
        }
    }
}

impl<'a> Writer<'a> {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a chunk and gives its number.
    ///
    /// # Errors
    /// [`Error::Range`] for a chunk of more than [`MAX_CHUNK`] bytes.
    pub fn add(&mut self, bytes: Vec<u8>) -> Result<u32, Error> {
        let size = bytes.len();
        self.push(Chunk::Whole(bytes), size, false)
    }

    /// Adds a chunk of these pieces, machine code if `code`, and gives its number. They are
    /// not copied before the chunk is compressed.
    ///
    /// # Errors
    /// Like [`Writer::add`].
    pub fn add_pieces(&mut self, pieces: Vec<&'a [u8]>, code: bool) -> Result<u32, Error> {
        let size = pieces.iter().map(|piece| piece.len()).sum();
        self.push(Chunk::Pieces(pieces), size, code)
    }

    fn push(&mut self, chunk: Chunk<'a>, size: usize, code: bool) -> Result<u32, Error> {
        if size > MAX_CHUNK as usize || self.chunks.len() >= u32::MAX as usize {
            return Err(Error::Range);
        }
        self.chunks.push((chunk, code));
        Ok(self.chunks.len() as u32 - 1)
    }

    /// Compresses the chunks and gives the file's bytes and the hash of its table.
    ///
    /// # Errors
    /// What the compressor says, which is no more than that memory is short.
    pub fn finish(self, level: Level) -> std::io::Result<(Vec<u8>, Root)> {
        GIVEN.fetch_add(self.chunks.iter().map(|(chunk, _)| chunk.size()).sum(), Ordering::SeqCst);
        let chunks: Vec<(u32, Vec<u8>)> = self
            .chunks
            .into_par_iter()
            .map_init(
                || level.compressor(),
                |compressor, (chunk, code)| {
                    let compressor =
                        compressor.as_mut().map_err(|error| std::io::Error::from(error.kind()))?;
                    let mut chunk = chunk.joined();
                    let mut length = chunk.len() as u32;
                    if code {
                        crate::x86::turn(&mut chunk);
                        length |= CODE;
                    }
                    let stored = compressor.compress(&chunk)?;
                    DONE.fetch_add(chunk.len() as u64, Ordering::SeqCst);
                    Ok((length, stored))
                },
            )
            .collect::<std::io::Result<_>>()?;
        let mut offset = (HEADER + chunks.len() * ENTRY) as u64;
        let mut table = Vec::with_capacity(chunks.len() * ENTRY);
        for (length, stored) in &chunks {
            table.extend(offset.to_le_bytes());
            table.extend((stored.len() as u32).to_le_bytes());
            table.extend(length.to_le_bytes());
            table.extend(chunk_hash(stored));
            offset += stored.len() as u64;
        }
        let root: Root = *blake3::hash(&table).as_bytes();
        let mut file = Vec::with_capacity(offset as usize);
        file.extend(MAGIC);
        file.extend(VERSION.to_le_bytes());
        file.extend((chunks.len() as u32).to_le_bytes());
        file.extend(offset.to_le_bytes());
        file.resize(32, 0);
        file.extend(root);
        file.extend(table);
        for (_, stored) in chunks {
            file.extend(stored);
        }
        Ok((file, root))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Store, Workspace};
    use proptest::prelude::*;

    fn read(store: &Store<'_>, number: u32) -> Result<Vec<u8>, Error> {
        let mut memory = vec![0u64; Workspace::size().div_ceil(8)];
        let mut workspace = Workspace::new(&mut memory).unwrap();
        let mut out = vec![0; store.entry(number).ok_or(Error::Range)?.length as usize];
        store.read(number, &mut out, &mut workspace)?;
        Ok(out)
    }

    fn sample() -> (Vec<u8>, Vec<Vec<u8>>) {
        let chunks = vec![b"first ".repeat(1000), Vec::new(), vec![7; 70_000], vec![1, 2, 3]];
        let mut writer = Writer::new();
        for (number, chunk) in chunks.iter().enumerate() {
            assert_eq!(writer.add(chunk.clone()), Ok(number as u32));
        }
        (writer.finish(Level::Default).unwrap().0, chunks)
    }

    #[test]
    fn chunks_come_back() {
        let (file, chunks) = sample();
        let store = Store::open(&file).unwrap();
        assert_eq!(store.len(), 4);
        for (number, chunk) in chunks.iter().enumerate() {
            assert_eq!(read(&store, number as u32).as_ref(), Ok(chunk));
        }
        assert_eq!(read(&store, 4), Err(Error::Range));
        assert!(file.len() < 1_000);
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_seen() {
        let (file, chunks) = sample();
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 0x41;
            // Bytes 24 to 32 are reserved.
            let Ok(store) = Store::open(&damaged) else { continue };
            let wrong = (0..4).filter(|number| read(&store, *number).is_err()).count();
            assert!(wrong == 1 || (24..32).contains(&at), "byte {at}: {wrong} chunks");
        }
        for length in 0..file.len() {
            assert!(Store::open(&file[..length]).is_err());
        }
        drop(chunks);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_fail(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut file = sample().0;
            file.truncate(HEADER.min(bytes.len()));
            file.extend(bytes);
            let _ = Store::open(&file).map(|store| read(&store, 0));
        }
    }
}
