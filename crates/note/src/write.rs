//! The writer.

use crate::read::{CONTENT, HASH, HEADER, MAGIC, RUN, Rights, VERSION, hash};
use std::ops::Range;

/// How much larger a chunk is whose pages are far from all that a run touched: it compresses
/// better by an eighth, and takes longer to come back, which is seldom.
pub const FAR: u64 = 32;

/// How many times a chunk's pages must lie together to be far from others.
const ALONE: u64 = 2;

/// How much larger a chunk of data is that is not far from what a run touched.
const DATA: u64 = 3;

/// Pages of a library, in one segment, that become part of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The pages.
    pub pages: Range<u64>,
    /// What the program may do with them.
    pub rights: Rights,
}

/// A note that does not know its store yet. Its length is settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    chunks: Vec<Vec<Piece>>,
    name: String,
    pages: u64,
    names: bool,
}

impl Draft {
    /// Divides `cold`, runs of pages that ascend, of the library `name` of so many `pages`
    /// into chunks of at most `size` pages, and three times as many for data. A chunk that begins
    /// where twice as many pages and more lie together, far from what a run touched, has [`FAR`]
    /// times `size`, whatever it holds, and ends before a piece that is not so far. A chunk's pages
    /// come back with one set of rights. With `names`, a chunk of names follows.
    pub fn new(name: &str, pages: u64, cold: &[Piece], size: u64, names: bool) -> Self {
        let size = size.clamp(1, u64::from(u16::MAX) / DATA / FAR);
        let mut chunks: Vec<Vec<Piece>> = Vec::new();
        let (mut room, mut rights, mut large) = (0, Rights::Read, false);
        for piece in cold {
            let mut start = piece.pages.start;
            let alone = piece.pages.end - start >= ALONE * size;
            while start < piece.pages.end {
                if room == 0 || rights != piece.rights || (large && !alone) {
                    chunks.push(Vec::new());
                    rights = piece.rights;
                    let far = piece.pages.end - start >= ALONE * size;
                    large = far;
                    room = size
                        * match (far, rights) {
                            (true, _) => FAR,
                            (false, Rights::Execute) => 1,
                            (false, Rights::Read | Rights::Write) => DATA,
                        };
                }
                let end = piece.pages.end.min(start + room);
                room -= end - start;
                if let Some(chunk) = chunks.last_mut() {
                    chunk.push(Piece { pages: start..end, rights });
                }
                start = end;
            }
        }
        Self { chunks, name: name.into(), pages, names }
    }

    /// Whether a chunk of names follows the others.
    pub fn has_names(&self) -> bool {
        self.names
    }

    /// The pages of each chunk, in their order in it.
    pub fn chunks(&self) -> &[Vec<Piece>] {
        &self.chunks
    }

    /// Bytes of the note.
    pub fn size(&self) -> u64 {
        let runs: usize = self.chunks.iter().map(Vec::len).sum();
        (HEADER + runs * RUN + self.name.len()) as u64
    }

    /// The note, for a store with this `root` in which the library's chunks start at `first`,
    /// and a library whose BLAKE3 hash starts with `content`.
    pub fn finish(&self, first: u32, root: [u8; 32], content: [u8; 8]) -> Vec<u8> {
        let runs: usize = self.chunks.iter().map(Vec::len).sum();
        let chunks = self.chunks.len() as u32;
        let mut out = Vec::with_capacity(self.size() as usize);
        out.extend(MAGIC);
        for number in
            [VERSION, runs as u32, chunks, first, self.name.len() as u32, self.pages as u32]
        {
            out.extend(number.to_le_bytes());
        }
        out.extend(root);
        out.extend((if self.names { chunks + 1 } else { 0 }).to_le_bytes());
        out.resize(HEADER, 0);
        out[CONTENT..CONTENT + content.len()].copy_from_slice(&content);
        for (number, chunk) in self.chunks.iter().enumerate() {
            let mut place = 0u32;
            for piece in chunk {
                let count = (piece.pages.end - piece.pages.start) as u16;
                out.extend((piece.pages.start as u32).to_le_bytes());
                out.extend(count.to_le_bytes());
                out.extend(piece.rights.number().to_le_bytes());
                out.extend((number as u32).to_le_bytes());
                out.extend(place.to_le_bytes());
                place += u32::from(count);
            }
        }
        out.extend(self.name.as_bytes());
        let own = hash(&out);
        out[HASH].copy_from_slice(&own);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, Note};
    use proptest::prelude::*;

    fn sample() -> Draft {
        let piece = |pages, rights| Piece { pages, rights };
        let cold = [
            piece(3..5, Rights::Read),
            piece(7..20, Rights::Read),
            piece(30..31, Rights::Execute),
            piece(40..48, Rights::Execute),
        ];
        Draft::new("torch/lib/libc10.so", 50, &cold, 8, true)
    }

    #[test]
    fn a_page_is_found_with_all_of_its_chunk() {
        let bytes = sample().finish(5, [7; 32], *b"original");
        assert_eq!(bytes.len() as u64, sample().size());
        let note = Note::open(&bytes).unwrap();
        assert_eq!((note.first_chunk(), note.chunks(), note.root()), (5, 3, [7; 32]));
        assert_eq!((note.name(), note.content()), (&b"torch/lib/libc10.so"[..], *b"original"));
        assert_eq!((note.pages(), note.names()), (50, Some(8)));
        let found = |page| note.find(page).map(|index| note.run(index).unwrap());
        assert_eq!(found(2), None);
        assert_eq!(found(5), None);
        assert_eq!(found(20), None);
        let run = found(8).unwrap();
        assert_eq!((run.page, run.count, run.chunk, run.place), (7, 13, 0, 2));
        let pages = |page| -> Vec<(u32, u16)> {
            let index = note.find(page).unwrap();
            note.together(index).map(|run| (run.page, run.count)).collect()
        };
        assert_eq!(pages(8), [(3, 2), (7, 13)]);
        assert_eq!(pages(19), [(3, 2), (7, 13)]);
        assert_eq!(pages(40), [(30, 1), (40, 7)]);
        assert_eq!(pages(47), [(47, 1)]);
        assert_eq!(found(47).unwrap().rights, Rights::Execute);
        assert_eq!(found(8).unwrap().rights, Rights::Read);
    }

    #[test]
    fn pages_of_other_rights_are_another_chunk() {
        let piece = |pages, rights| Piece { pages, rights };
        let cold = [piece(3..5, Rights::Read), piece(5..9, Rights::Write)];
        let bytes = Draft::new("a", 9, &cold, 8, false).finish(0, [0; 32], [0; 8]);
        let note = Note::open(&bytes).unwrap();
        let runs: Vec<_> = (0..2).map(|at| note.run(at).unwrap()).collect();
        assert_eq!(
            runs.iter().map(|run| (run.chunk, run.place)).collect::<Vec<_>>(),
            [(0, 0), (1, 0)]
        );
        assert_eq!((runs[0].rights, runs[1].rights), (Rights::Read, Rights::Write));
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_seen() {
        let bytes = sample().finish(5, [7; 32], *b"original");
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(Note::open(&damaged).is_err(), "byte {at}");
            assert!(Note::open(&bytes[..at]).is_err());
        }
        assert_eq!(Note::open(b"").err(), Some(Error::Foreign));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_fail(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut note = sample().finish(0, [0; 32], [0; 8]);
            note.truncate(HEADER.min(bytes.len()));
            note.extend(bytes);
            if let Ok(note) = Note::checked(&note) {
                let found = note.find(9).map(|index| note.together(index).count());
                prop_assert!(found != Some(0));
            }
        }
    }
}
