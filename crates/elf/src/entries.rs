//! The entries of the dynamic section.

use crate::Error;
use crate::bytes::u64_at;

/// Dynamic section tags (gABI figure 5-10 and the GNU extensions).
pub mod tag {
    #![allow(missing_docs)]
    pub const NULL: u64 = 0;
    pub const NEEDED: u64 = 1;
    pub const PLTRELSZ: u64 = 2;
    pub const PLTGOT: u64 = 3;
    pub const HASH: u64 = 4;
    pub const STRTAB: u64 = 5;
    pub const SYMTAB: u64 = 6;
    pub const RELA: u64 = 7;
    pub const RELASZ: u64 = 8;
    pub const RELAENT: u64 = 9;
    pub const STRSZ: u64 = 10;
    pub const SYMENT: u64 = 11;
    pub const INIT: u64 = 12;
    pub const FINI: u64 = 13;
    pub const SONAME: u64 = 14;
    pub const RPATH: u64 = 15;
    pub const PLTREL: u64 = 20;
    pub const TEXTREL: u64 = 22;
    pub const JMPREL: u64 = 23;
    pub const INIT_ARRAY: u64 = 25;
    pub const FINI_ARRAY: u64 = 26;
    pub const INIT_ARRAYSZ: u64 = 27;
    pub const FINI_ARRAYSZ: u64 = 28;
    pub const RUNPATH: u64 = 29;
    pub const FLAGS: u64 = 30;
    pub const RELRSZ: u64 = 35;
    pub const RELR: u64 = 36;
    pub const GNU_HASH: u64 = 0x6fff_fef5;
    pub const VERSYM: u64 = 0x6fff_fff0;
    pub const RELACOUNT: u64 = 0x6fff_fff9;
    pub const FLAGS_1: u64 = 0x6fff_fffb;
    pub const VERDEF: u64 = 0x6fff_fffc;
    pub const VERDEFNUM: u64 = 0x6fff_fffd;
    pub const VERNEED: u64 = 0x6fff_fffe;
    pub const VERNEEDNUM: u64 = 0x6fff_ffff;
}

/// One entry of the dynamic section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dynamic {
    /// What it is, a [`tag`].
    pub tag: u64,
    /// An address, a size in bytes, or an offset in the string table.
    pub value: u64,
}

/// The most entries of a dynamic section that are read.
const MAX_ENTRIES: usize = 4096;

/// Reads the section whose `bytes` are at `address`.
pub(crate) fn entries(bytes: &[u8], address: u64) -> Result<Vec<Dynamic>, Error> {
    let mut entries = Vec::new();
    for at in (0..bytes.len() as u64).step_by(16).take(MAX_ENTRIES) {
        let damaged = || Error::damaged("the dynamic section", address + at);
        let entry = Dynamic {
            tag: u64_at(bytes, at).ok_or_else(damaged)?,
            value: u64_at(bytes, at + 8).ok_or_else(damaged)?,
        };
        if entry.tag == tag::NULL {
            return Ok(entries);
        }
        entries.push(entry);
    }
    Err(Error::damaged("the dynamic section has no end", address))
}
