//! A new file, described by what is in it, so that half a gigabyte need not be in
//! memory to be written.

use crate::PAGE;
use std::io::{self, Write};
use std::ops::Range;

/// A piece of a new file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// Bytes of the original file, by file offset.
    Original(Range<u64>),
    /// Bytes that are new.
    New(Vec<u8>),
    /// So many zeros.
    Padding(u64),
}

/// A new file: its pieces in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extents {
    pieces: Vec<Extent>,
    size: u64,
}

impl Extents {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Its size so far, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its pieces.
    pub fn pieces(&self) -> &[Extent] {
        &self.pieces
    }

    /// Adds bytes.
    pub fn bytes(&mut self, bytes: Vec<u8>) {
        self.size += bytes.len() as u64;
        self.pieces.push(Extent::New(bytes));
    }

    /// Puts other bytes, as many, in place of those of piece `index`.
    pub fn replace(&mut self, index: usize, with: Vec<u8>) {
        if let Some(Extent::New(bytes)) = self.pieces.get_mut(index)
            && bytes.len() == with.len()
        {
            *bytes = with;
        }
    }

    /// Adds a range of the original file.
    pub fn original(&mut self, range: Range<u64>) {
        self.size += range.end - range.start;
        self.pieces.push(Extent::Original(range));
    }

    /// Adds zeros up to `offset`, if it lies ahead.
    pub fn pad_to(&mut self, offset: u64) {
        if let Some(count) = offset.checked_sub(self.size).filter(|count| *count > 0) {
            self.pieces.push(Extent::Padding(count));
            self.size = offset;
        }
    }

    /// Writes the file, given the bytes of the original.
    pub fn write_to(&self, original: &[u8], sink: &mut dyn Write) -> io::Result<()> {
        const ZEROS: [u8; PAGE as usize] = [0; PAGE as usize];
        for piece in &self.pieces {
            match piece {
                Extent::Original(range) => {
                    let bytes = original
                        .get(range.start as usize..range.end as usize)
                        .ok_or(io::ErrorKind::UnexpectedEof)?;
                    sink.write_all(bytes)?;
                }
                Extent::New(bytes) => sink.write_all(bytes)?,
                Extent::Padding(count) => {
                    let mut left = *count;
                    while left > 0 {
                        let part = left.min(PAGE);
                        sink.write_all(&ZEROS[..part as usize])?;
                        left -= part;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The first offset from `cursor` on that is congruent with `address` modulo a page.
pub fn congruent(cursor: u64, address: u64) -> u64 {
    cursor + address.wrapping_sub(cursor) % PAGE
}
