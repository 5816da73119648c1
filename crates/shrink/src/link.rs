//! What ties a library to the runtime that brings its cold pages back.
//!
//! The library needs the runtime (`DT_NEEDED`) and calls it when it is loaded, before any
//! of its own code, and when it is unloaded, after all of it: its initialiser and its
//! finaliser go through a few instructions that say where the note is. The runtime's
//! function is found as any other is: by an undefined symbol, at the end of the symbol
//! table where no hash table refers to it, and a relocation. The word that this fills is
//! the unused half of the entry that ends the dynamic section.
//!
//! Functions that would take the runtime's signal from it are bound to the runtime's own,
//! which hand on what is not for it.

use crate::Error;
use crate::names::Names;
use elf::{Dynamic, Library, PAGE, PageSet, Relocation, segment, tag};
use format::link::{ANSWERED, FUNCTION, PREFIX};
use iced_x86::IcedError;
use iced_x86::code_asm::{CodeAssembler, ecx, esi, qword_ptr, rdi, rdx, rsi, rsp};
use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes of the instructions.
pub(crate) const CODE: u64 = 128;

/// Bytes of a symbol.
const SYMBOL: usize = 24;

/// `VER_NDX_GLOBAL`: no version in particular.
const GLOBAL: u16 = 1;

/// The new tables of a library and the places that refer to them.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    symbols: Vec<u8>,
    strings: Vec<u8>,
    versions: Option<Vec<u8>>,
    index: u32,
    slot: u64,
    init: u64,
    fini: u64,
    /// Where the tables were that are now elsewhere.
    old: [Range<u64>; 2],
    /// Entries of the dynamic section that become others, by address.
    entries: BTreeMap<u64, [u64; 2]>,
    /// Pages that held nothing but a table that is now elsewhere.
    pub freed: PageSet,
}

impl Link {
    /// Ties `library` to the runtime at `runtime`, a path as `DT_NEEDED` has it, after those
    /// of its `names` that are made anew.
    ///
    /// # Errors
    /// [`elf::Error::Unsupported`] for a library without an initialiser, a finaliser, or
    /// a place for one more entry in its dynamic section.
    pub fn of(
        library: &Library<'_>,
        runtime: &str,
        names: Option<&Names>,
    ) -> Result<Self, elf::Error> {
        let unsupported = elf::Error::Unsupported;
        let (Some(init), Some(fini)) = (library.dynamic(tag::INIT), library.dynamic(tag::FINI))
        else {
            return Err(unsupported("a library without an initialiser and a finaliser"));
        };
        if library.dynamic(tag::RELA).is_none() {
            return Err(unsupported("a library without relocations"));
        }
        let symbols = library.symbols()?;
        let table = library.dynamic(tag::SYMTAB).unwrap_or(0);
        let strings = library.dynamic_range(tag::STRTAB, tag::STRSZ).unwrap_or(0..0);
        let mut link = Self {
            symbols: library.read(table, (symbols.len() * SYMBOL) as u64)?.to_vec(),
            strings: library.read(strings.start, strings.end - strings.start)?.to_vec(),
            versions: None,
            index: symbols.len() as u32,
            slot: 0,
            init,
            fini,
            old: [0..0, 0..0],
            entries: BTreeMap::new(),
            freed: PageSet::new(),
        };
        let end = table + link.symbols.len() as u64;
        for (address, bytes) in names.iter().flat_map(|names| &names.patches) {
            if *address == strings.start {
                link.strings.clone_from(bytes);
            } else if (table..end).contains(address) {
                let at = (address - table) as usize;
                link.symbols[at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
        link.free(table..end);
        link.free(strings.clone());
        link.old = [table..end, strings];
        if let Some(at) = library.dynamic(tag::VERSYM) {
            let size = 2 * symbols.len() as u64;
            link.versions = Some(library.read(at, size)?.to_vec());
            link.free(at..at + size);
        }
        let needed = link.string(runtime);
        for (index, symbol) in symbols.iter().enumerate() {
            if !symbol.is_defined() && ANSWERED.contains(&symbol.name) {
                let name = link.string(&format!("{PREFIX}{}", symbol.name)) as u32;
                let at = index * SYMBOL;
                link.symbols[at..at + 4].copy_from_slice(&name.to_le_bytes());
                if let Some(versions) = &mut link.versions {
                    versions[2 * index..2 * index + 2].copy_from_slice(&GLOBAL.to_le_bytes());
                }
            }
        }
        let name = link.string(FUNCTION) as u32;
        // STB_GLOBAL, STT_FUNC, undefined.
        link.symbols.extend(name.to_le_bytes());
        link.symbols.push(0x12);
        link.symbols.resize((symbols.len() + 1) * SYMBOL, 0);
        if let Some(versions) = &mut link.versions {
            versions.extend(GLOBAL.to_le_bytes());
        }
        link.need(library, needed)?;
        Ok(link)
    }

    /// Adds a string and gives its offset.
    fn string(&mut self, text: &str) -> u64 {
        if self.strings.last() != Some(&0) {
            self.strings.push(0);
        }
        let at = self.strings.len() as u64;
        self.strings.extend(text.as_bytes());
        self.strings.push(0);
        at
    }

    /// Notes that the table at `range` is not needed where it was.
    fn free(&mut self, range: Range<u64>) {
        for page in range.start.div_ceil(PAGE)..range.end / PAGE {
            self.freed.insert(page);
        }
    }

    /// Places the entry that needs the runtime, and the word for the function's address.
    /// Where the section has no entry to spare, the count of relative relocations, which
    /// only saves the loader a look, gives up its place.
    fn need(&mut self, library: &Library<'_>, name: u64) -> Result<(), elf::Error> {
        let header = library.header(segment::DYNAMIC);
        let range = header.map(elf::ProgramHeader::file_addresses).unwrap_or(0..0);
        let entries = library.dynamic_entries();
        let place = |index: usize| range.start + 16 * index as u64;
        let mut end = entries.len();
        let free = |index: usize| -> bool {
            let bytes = library.read(place(index), 16);
            place(index) + 16 <= range.end
                && bytes.is_ok_and(|bytes| bytes.iter().all(|byte| *byte == 0))
        };
        if free(end) && free(end + 1) {
            self.entries.insert(place(end), [tag::NEEDED, name]);
            end += 1;
        } else {
            let spare = |entry: &Dynamic| entry.tag == tag::RELACOUNT;
            let index = entries.iter().position(spare).ok_or(elf::Error::Unsupported(
                "a library with no place for an entry in its dynamic section",
            ))?;
            self.entries.insert(place(index), [tag::NEEDED, name]);
        }
        self.slot = place(end) + 8;
        Ok(())
    }

    /// Whether a table that is now elsewhere was at `address`.
    pub fn moved(&self, address: u64) -> bool {
        self.old.iter().any(|table| table.contains(&address))
    }

    /// The relocation that finds the runtime's function.
    pub fn relocation(&self) -> Relocation {
        Relocation { address: self.slot, kind: Relocation::GLOB_DAT, symbol: self.index, addend: 0 }
    }

    /// The tables, to lie at `at`, a multiple of eight, and the entries of the dynamic
    /// section that change with them.
    pub fn tables(&self, at: u64) -> (Vec<u8>, Vec<(u64, u64)>) {
        let mut bytes = self.symbols.clone();
        let mut dynamic = vec![(tag::SYMTAB, at)];
        if let Some(versions) = &self.versions {
            dynamic.push((tag::VERSYM, at + bytes.len() as u64));
            bytes.extend(versions);
        }
        dynamic.push((tag::STRTAB, at + bytes.len() as u64));
        dynamic.push((tag::STRSZ, self.strings.len() as u64));
        bytes.extend(&self.strings);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        (bytes, dynamic)
    }

    /// Entries of the dynamic section that call the instructions at `code`.
    pub fn calls(code: u64) -> [(u64, u64); 2] {
        [(tag::INIT, code), (tag::FINI, code + CODE / 2)]
    }

    /// Entries of the dynamic section that become others: address, tag and value.
    pub fn entries(&self) -> impl Iterator<Item = (u64, Vec<u8>)> + '_ {
        self.entries.iter().map(|(address, entry)| {
            (*address, entry.iter().flat_map(|word| word.to_le_bytes()).collect())
        })
    }

    /// The instructions at `at`, which tell the runtime of the note at `note`.
    ///
    /// # Errors
    /// For a library past 2 GiB, which they do not reach.
    pub fn code(&self, at: u64, note: &Range<u64>) -> Result<Vec<u8>, Error> {
        let last = at.max(note.end).max(self.slot) + CODE;
        if i32::try_from(last).is_err() {
            return Err(elf::Error::Unsupported("a library of more than 2 GiB").into());
        }
        let fail = |error: IcedError| Error::Code(error.to_string());
        let mut bytes = self.loaded(at, note).map_err(fail)?;
        bytes.resize((CODE / 2) as usize, 0xcc);
        bytes.extend(self.unloaded(at + CODE / 2, note).map_err(fail)?);
        if bytes.len() as u64 > CODE {
            return Err(Error::Code("it is too long".into()));
        }
        bytes.resize(CODE as usize, 0xcc);
        Ok(bytes)
    }

    /// Tells the runtime, then goes on to the initialiser with what it was given.
    fn loaded(&self, at: u64, note: &Range<u64>) -> Result<Vec<u8>, IcedError> {
        let mut code = CodeAssembler::new(64)?;
        let mut start = code.create_label();
        code.endbr64()?;
        code.push(rdi)?;
        code.push(rsi)?;
        code.push(rdx)?;
        // rdx: the load base.
        code.set_label(&mut start)?;
        code.lea(rdx, qword_ptr(start))?;
        code.sub(rdx, (at + 7) as i32)?;
        code.lea(rdi, rdx + note.start as i32)?;
        code.mov(esi, (note.end - note.start) as i32)?;
        code.mov(ecx, 1i32)?;
        code.call(qword_ptr(rdx + self.slot as i32))?;
        code.pop(rdx)?;
        code.pop(rsi)?;
        code.pop(rdi)?;
        code.jmp(self.init)?;
        code.assemble(at)
    }

    /// Calls the finaliser, then goes on to the runtime.
    fn unloaded(&self, at: u64, note: &Range<u64>) -> Result<Vec<u8>, IcedError> {
        let mut code = CodeAssembler::new(64)?;
        let mut start = code.create_label();
        code.endbr64()?;
        code.sub(rsp, 8i32)?;
        code.call(self.fini)?;
        code.add(rsp, 8i32)?;
        code.set_label(&mut start)?;
        code.lea(rdx, qword_ptr(start))?;
        code.sub(rdx, (at + 17) as i32)?;
        code.lea(rdi, rdx + note.start as i32)?;
        code.mov(esi, (note.end - note.start) as i32)?;
        code.xor(ecx, ecx)?;
        code.jmp(qword_ptr(rdx + self.slot as i32))?;
        code.assemble(at)
    }
}
