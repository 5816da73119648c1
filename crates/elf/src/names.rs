//! Every place that holds an offset in the dynamic string table.

use crate::bytes::{u16_at, u32_at};
use crate::library::{Library, segment};
use crate::{Error, tag};

/// A field that holds an offset in the dynamic string table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameField {
    /// Its address.
    pub address: u64,
    /// Its bytes, 4 or 8.
    pub size: u64,
    /// The offset that it holds.
    pub offset: u64,
}

/// Entries of the dynamic section whose value is such an offset (gABI figure 5-10, and
/// the extensions of Solaris that glibc reads).
pub const NAMED: [u64; 9] = [
    tag::NEEDED,
    tag::SONAME,
    tag::RPATH,
    tag::RUNPATH,
    0x6fff_fefa,
    0x6fff_fefb,
    0x6fff_fefc,
    0x7fff_fffd,
    0x7fff_ffff,
];

/// The most entries of a version table that are read.
const MAX_VERSIONS: u64 = 1 << 16;

impl Library<'_> {
    /// The fields of the dynamic section and of the version tables. Those of symbols are
    /// the first four bytes of each.
    pub fn name_fields(&self) -> Result<Vec<NameField>, Error> {
        let mut fields = Vec::new();
        let start = self.header(segment::DYNAMIC).map_or(0, |header| header.address);
        for (number, entry) in self.dynamic_entries().iter().enumerate() {
            if NAMED.contains(&entry.tag) {
                let address = start + 16 * number as u64 + 8;
                fields.push(NameField { address, size: 8, offset: entry.value });
            }
        }
        let mut field = |entry: u64, place: u64| -> Result<(), Error> {
            let offset = self.word(entry, place)?.into();
            fields.push(NameField { address: entry + place, size: 4, offset });
            Ok(())
        };
        // Verneed: count of entries at 2, file at 4, first entry at 8, next at 12; each
        // Vernaux: name at 8, next at 12 (LSB 4, 10.7.5).
        if let Some(mut at) = self.dynamic(tag::VERNEED) {
            for _ in 0..self.dynamic(tag::VERNEEDNUM).unwrap_or(0).min(MAX_VERSIONS) {
                field(at, 4)?;
                let mut entry = at + u64::from(self.word(at, 8)?);
                for _ in 0..self.half(at, 2)? {
                    field(entry, 8)?;
                    entry += u64::from(self.word(entry, 12)?);
                }
                at += u64::from(self.word(at, 12)?);
            }
        }
        // Verdef: count at 6, first entry at 12, next at 16; each Verdaux: name at 0, next
        // at 4 (LSB 4, 10.7.3).
        if let Some(mut at) = self.dynamic(tag::VERDEF) {
            for _ in 0..self.dynamic(tag::VERDEFNUM).unwrap_or(0).min(MAX_VERSIONS) {
                let mut entry = at + u64::from(self.word(at, 12)?);
                for _ in 0..self.half(at, 6)? {
                    field(entry, 0)?;
                    entry += u64::from(self.word(entry, 4)?);
                }
                at += u64::from(self.word(at, 16)?);
            }
        }
        Ok(fields)
    }

    /// The four bytes at `place` of the entry at the address `entry`, which a damaged file may put
    /// anywhere.
    fn word(&self, entry: u64, place: u64) -> Result<u32, Error> {
        let damaged = || Error::damaged("a version table", entry);
        u32_at(self.read(entry, place + 4)?, place).ok_or_else(damaged)
    }

    /// The two bytes there.
    fn half(&self, entry: u64, place: u64) -> Result<u16, Error> {
        let damaged = || Error::damaged("a version table", entry);
        u16_at(self.read(entry, place + 2)?, place).ok_or_else(damaged)
    }
}
