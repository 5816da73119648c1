//! The dynamic section and the tables that it names.

use crate::image::{Image, u16_at, u32_at, u64_at};
use crate::{Fault, differs};
use object::LittleEndian as LE;
use object::read::elf::{GnuHashTable, HashTable};
use std::ops::Range;

type Header = object::elf::FileHeader64<LE>;

/// Tags of entries.
pub(crate) mod tag {
    use object::elf as of;

    macro_rules! tags {
        ($($name:ident = $value:ident),* $(,)?) => {
            $(pub const $name: u64 = of::$value.0 as u64;)*
        };
    }

    tags! {
        NEEDED = DT_NEEDED, HASH = DT_HASH, STRTAB = DT_STRTAB, SYMTAB = DT_SYMTAB,
        RELA = DT_RELA, RELASZ = DT_RELASZ, STRSZ = DT_STRSZ, INIT = DT_INIT, FINI = DT_FINI,
        SONAME = DT_SONAME, RPATH = DT_RPATH, RUNPATH = DT_RUNPATH, REL = DT_REL,
        JMPREL = DT_JMPREL, PLTREL = DT_PLTREL, PLTRELSZ = DT_PLTRELSZ, RELR = DT_RELR,
        RELRSZ = DT_RELRSZ, GNU_HASH = DT_GNU_HASH, VERSYM = DT_VERSYM, VERDEF = DT_VERDEF,
        VERNEED = DT_VERNEED, RELACOUNT = DT_RELACOUNT, AUXILIARY = DT_AUXILIARY,
        FILTER = DT_FILTER, AUDIT = DT_AUDIT, DEPAUDIT = DT_DEPAUDIT, CONFIG = DT_CONFIG,
    }

    /// Those whose value is the offset of a string.
    pub const STRINGS: [u64; 9] =
        [NEEDED, SONAME, RPATH, RUNPATH, AUXILIARY, FILTER, AUDIT, DEPAUDIT, CONFIG];

    /// Those that say where a table lies that may be elsewhere, and how long it is: its content
    /// is compared.
    pub const TABLES: [u64; 7] = [SYMTAB, STRTAB, STRSZ, VERSYM, RELA, RELASZ, RELACOUNT];
}

/// A dynamic symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Symbol<'a> {
    pub name: &'a [u8],
    pub info: u8,
    pub other: u8,
    pub section: u16,
    pub value: u64,
    pub size: u64,
    /// Its entry of `DT_VERSYM`.
    pub version: u16,
}

impl Symbol<'_> {
    pub fn is_defined(&self) -> bool {
        self.section != 0
    }

    /// Whether it is a function (`STT_FUNC`), global or weak, with an address that is relocated.
    pub fn is_function(&self) -> bool {
        self.info & 15 == 2 && self.is_shared()
    }

    /// Whether it is a function or an object, global or weak, with an address that is relocated.
    pub fn is_bound(&self) -> bool {
        matches!(self.info & 15, 1 | 2) && self.is_shared()
    }

    fn is_shared(&self) -> bool {
        // SHN_ABS is 0xfff1.
        self.is_defined() && self.section != 0xfff1 && matches!(self.info >> 4, 1 | 2)
    }
}

/// A relocation with an addend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rela {
    pub address: u64,
    pub kind: u32,
    pub symbol: u32,
    pub addend: i64,
}

/// More records of versions than this are damage.
const MOST_VERSIONS: usize = 1 << 17;

/// Bytes of a symbol, and of a relocation.
const ENTRY: u64 = 24;

/// What the loader finds through the dynamic section.
#[derive(Debug)]
pub(crate) struct Dynamic<'a> {
    /// The addresses of the section.
    pub place: Range<u64>,
    /// Tags and values, up to the entry that ends them.
    pub entries: Vec<(u64, u64)>,
    strings: &'a [u8],
    pub symbols: Vec<Symbol<'a>>,
    /// Fields of the version tables, and their names.
    versions: Vec<(Vec<u32>, &'a [u8])>,
    /// `DT_RELA` and `DT_JMPREL`.
    pub relocations: [Vec<Rela>; 2],
    /// `DT_RELR`, as words.
    pub relative: Vec<u64>,
    /// Tables whose content is compared, not their bytes.
    pub tables: Tables,
}

/// The addresses of tables, ascending and apart.
#[derive(Debug, Default)]
pub(crate) struct Tables(Vec<Range<u64>>);

impl Tables {
    fn of(mut all: Vec<Range<u64>>) -> Self {
        all.sort_unstable_by_key(|one| (one.start, one.end));
        let mut apart: Vec<Range<u64>> = Vec::new();
        for one in all {
            match apart.last_mut() {
                Some(last) if one.start <= last.end => last.end = last.end.max(one.end),
                _ => apart.push(one),
            }
        }
        Self(apart)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Range<u64>> {
        self.0.iter()
    }

    /// Whether they hold all the addresses `range`.
    pub fn hold(&self, range: &Range<u64>) -> bool {
        let at = self.0.partition_point(|one| one.start <= range.start);
        at.checked_sub(1).is_some_and(|at| range.end <= self.0[at].end)
    }

    /// Whether they hold an address.
    pub fn contain(&self, address: u64) -> bool {
        self.hold(&(address..address.saturating_add(1)))
    }
}

impl<'a> Dynamic<'a> {
    /// Reads the section of a library, which has so many `symbols` if that is known.
    pub fn read(image: &Image<'a>, symbols: Option<usize>) -> Result<Self, String> {
        let Some(header) = image.segment(object::elf::PT_DYNAMIC.0) else {
            return Ok(Self::none());
        };
        let start = header.p_vaddr.get(LE);
        let bytes = image
            .bytes(start, header.p_filesz.get(LE))
            .ok_or("its dynamic section is not in the file")?;
        let pairs =
            bytes.chunks_exact(16).filter_map(|one| Some((u64_at(one, 0)?, u64_at(one, 8)?)));
        let entries: Vec<(u64, u64)> = pairs.take_while(|(tag, _)| *tag != 0).collect();
        let mut own = Self { entries, place: start..start + bytes.len() as u64, ..Self::none() };
        if own.value(tag::REL).is_some() || own.value(tag::PLTREL).is_some_and(|it| it != tag::RELA)
        {
            return Err("it has relocations without addends".into());
        }
        own.strings = own.table(image, tag::STRTAB, tag::STRSZ)?;
        own.relocations = [
            relocations(own.table(image, tag::RELA, tag::RELASZ)?)?,
            relocations(own.table(image, tag::JMPREL, tag::PLTRELSZ)?)?,
        ];
        let words = own.table(image, tag::RELR, tag::RELRSZ)?;
        own.relative = words.chunks_exact(8).filter_map(|word| u64_at(word, 0)).collect();
        let count = symbols.map_or_else(|| own.count(image), |count| count as u64);
        own.read_symbols(image, count)?;
        let mut tables = own.read_versions(image)?;
        let sizes = [
            (tag::SYMTAB, ENTRY * count),
            (tag::VERSYM, 2 * count),
            (tag::STRTAB, own.strings.len() as u64),
            (tag::RELA, ENTRY * own.relocations[0].len() as u64),
        ];
        let placed = sizes.into_iter().filter_map(|(tag, size)| {
            let start = own.value(tag)?;
            Some(start..start.saturating_add(size))
        });
        tables.extend(placed.chain([own.place.clone()]));
        own.tables = Tables::of(tables);
        Ok(own)
    }

    fn none() -> Self {
        Self {
            place: 0..0,
            entries: Vec::new(),
            strings: &[],
            symbols: Vec::new(),
            versions: Vec::new(),
            relocations: [Vec::new(), Vec::new()],
            relative: Vec::new(),
            tables: Tables::default(),
        }
    }

    /// The value of the first entry with a tag.
    pub fn value(&self, tag: u64) -> Option<u64> {
        self.entries.iter().find(|(found, _)| *found == tag).map(|(_, value)| *value)
    }

    /// The table that two tags name; empty where they are not there.
    fn table(&self, image: &Image<'a>, start: u64, size: u64) -> Result<&'a [u8], String> {
        let (Some(at), Some(size)) = (self.value(start), self.value(size)) else { return Ok(&[]) };
        image.bytes(at, size).ok_or_else(|| format!("its table at {at:#x} is not in the file"))
    }

    /// A string of the string table.
    fn string(&self, offset: u64) -> Result<&'a [u8], String> {
        let strange = || format!("it has no string at {offset:#x}");
        let rest = usize::try_from(offset).ok().and_then(|at| self.strings.get(at..));
        let rest = rest.ok_or_else(strange)?;
        let length = memchr::memchr(0, rest).ok_or_else(strange)?;
        Ok(&rest[..length])
    }

    /// The number of symbols: no table says it, but hash tables and relocations refer to them.
    fn count(&self, image: &Image<'a>) -> u64 {
        let rest = |tag: u64| image.rest(self.value(tag)?);
        let hashed = rest(tag::HASH).and_then(|bytes| {
            let table = HashTable::<Header>::parse(LE, bytes).ok()?;
            Some(table.symbol_table_length())
        });
        let hashed = hashed.or_else(|| {
            let table = GnuHashTable::<Header>::parse(LE, rest(tag::GNU_HASH)?).ok()?;
            table.symbol_table_length(LE).or(Some(table.symbol_base()))
        });
        let named = self.relocations.iter().flatten().map(|one| u64::from(one.symbol) + 1).max();
        u64::from(hashed.unwrap_or(0)).max(named.unwrap_or(0))
    }

    fn read_symbols(&mut self, image: &Image<'a>, count: u64) -> Result<(), String> {
        let Some(at) = self.value(tag::SYMTAB) else { return Ok(()) };
        let missing = || format!("its {count} symbols are not in the file");
        let size = count.checked_mul(ENTRY).ok_or_else(missing)?;
        let bytes = image.bytes(at, size).ok_or_else(missing)?;
        let versions = match self.value(tag::VERSYM) {
            Some(at) => image.bytes(at, 2 * count).ok_or_else(missing)?,
            None => &[],
        };
        self.symbols.reserve(count as usize);
        for (index, entry) in bytes.chunks_exact(ENTRY as usize).enumerate() {
            let symbol = || {
                Some(Symbol {
                    name: self.string(u32_at(entry, 0)?.into()).ok()?,
                    info: *entry.get(4)?,
                    other: *entry.get(5)?,
                    section: u16_at(entry, 6)?,
                    value: u64_at(entry, 8)?,
                    size: u64_at(entry, 16)?,
                    version: u16_at(versions, 2 * index).unwrap_or(1),
                })
            };
            let symbol = symbol().ok_or_else(|| format!("its symbol {index} has no name"))?;
            self.symbols.push(symbol);
        }
        Ok(())
    }

    /// Reads `DT_VERNEED` and `DT_VERDEF` (LSB 5, 10.7): lists of records, each of which has a
    /// list of its own. All end with the distance to the next. Gives where they are.
    fn read_versions(&mut self, image: &Image<'a>) -> Result<Vec<Range<u64>>, String> {
        let mut places = Vec::new();
        for needs in [true, false] {
            let (tag, size) = if needs { (tag::VERNEED, 16) } else { (tag::VERDEF, 20) };
            let Some(mut at) = self.value(tag) else { continue };
            loop {
                let record = image.bytes(at, size).ok_or("a version is damaged")?;
                let words: Vec<u32> =
                    (0..size as usize / 4).filter_map(|at| u32_at(record, 4 * at)).collect();
                // Version and count, the file's name, two distances; or version and flags,
                // number and count, a hash, two distances.
                let (numbers, name, count) = match *words {
                    [first, file, inner, next] => {
                        (vec![first, inner, next], self.string(file.into())?, first >> 16)
                    }
                    [_, second, ..] => (words.clone(), &b""[..], second >> 16),
                    _ => return Err("a version is damaged".into()),
                };
                let [.., inner, next] = *words else { break };
                self.versions.push((numbers, name));
                places.push(at..at + size);
                let first = at.saturating_add(inner.into());
                self.read_inner(image, first, count, needs, &mut places)?;
                if next == 0 {
                    break;
                }
                at = at.saturating_add(next.into());
            }
        }
        Ok(places)
    }

    /// Reads `count` inner records of a version: those of needs have a hash, flags and a number
    /// before their name.
    fn read_inner(
        &mut self,
        image: &Image<'a>,
        mut at: u64,
        count: u32,
        needs: bool,
        places: &mut Vec<Range<u64>>,
    ) -> Result<(), String> {
        let size: u64 = if needs { 16 } else { 8 };
        for _ in 0..count {
            // Distances that lead back make more of them than there can be.
            let record = image.bytes(at, size).filter(|_| self.versions.len() < MOST_VERSIONS);
            let record = record.ok_or("a version is damaged")?;
            let name = size as usize - 8;
            let next = u32_at(record, name + 4).unwrap_or(0);
            let mut numbers: Vec<u32> =
                (0..name).step_by(4).filter_map(|at| u32_at(record, at)).collect();
            numbers.push(next);
            let string = self.string(u32_at(record, name).unwrap_or(0).into())?;
            self.versions.push((numbers, string));
            places.push(at..at + size);
            at = at.saturating_add(next.into());
        }
        if self.versions.len() < MOST_VERSIONS {
            Ok(())
        } else {
            Err("it has too many versions".into())
        }
    }
}

fn relocations(table: &[u8]) -> Result<Vec<Rela>, String> {
    if !table.len().is_multiple_of(ENTRY as usize) {
        return Err("its relocations end in the middle of one".into());
    }
    let read = |entry: &[u8]| {
        let info = u64_at(entry, 8)?;
        Some(Rela {
            address: u64_at(entry, 0)?,
            kind: info as u32,
            symbol: (info >> 32) as u32,
            addend: u64_at(entry, 16)? as i64,
        })
    };
    Ok(table.chunks_exact(ENTRY as usize).filter_map(read).collect())
}

/// Compares two dynamic sections entry by entry. Where a library needs the `runtime`, it has one
/// entry more, at the end or in place of the one that counts relative relocations.
pub(crate) fn check(
    old: &Dynamic<'_>,
    new: &Dynamic<'_>,
    runtime: Option<&str>,
) -> Result<(), Fault> {
    let entry = |at: usize| differs("the dynamic section", old.place.start + 16 * at as u64);
    if old.place != new.place {
        return Err(entry(0));
    }
    let string = |library: &Dynamic<'_>, value: u64| library.string(value).map(<[u8]>::to_vec);
    let mut needs = 0;
    for (at, (tag, value)) in new.entries.iter().enumerate() {
        let before = old.entries.get(at);
        let is_runtime = || {
            let free = before.is_none_or(|(tag, _)| *tag == tag::RELACOUNT);
            let named = string(new, *value).ok();
            *tag == tag::NEEDED && free && named.as_deref() == runtime.map(str::as_bytes)
        };
        let same = match before {
            Some((other, before)) if other == tag => {
                let tied = runtime.is_some() && [tag::INIT, tag::FINI].contains(tag);
                if tag::STRINGS.contains(tag) {
                    string(old, *before).is_ok_and(|one| string(new, *value) == Ok(one))
                } else {
                    value == before || tag::TABLES.contains(tag) || tied
                }
            }
            _ => false,
        };
        if !same {
            if !is_runtime() {
                return Err(entry(at));
            }
            needs += 1;
        }
    }
    let rest = new.entries.len().cmp(&old.entries.len());
    if rest == std::cmp::Ordering::Less || needs != usize::from(runtime.is_some()) {
        return Err(entry(new.entries.len()));
    }
    if old.versions != new.versions {
        return Err(differs("the versions", new.value(tag::VERNEED).unwrap_or(0)));
    }
    if let Some(count) = new.value(tag::RELACOUNT) {
        // What the loader takes for relative without a look has to be that.
        const RELATIVE: u32 = object::elf::R_X86_64_RELATIVE.0;
        let first = new.relocations[0].iter().take_while(|one| one.kind == RELATIVE).count() as u64;
        let unchanged = old.value(tag::RELACOUNT) == Some(count) && count <= first;
        if count != first && !unchanged {
            return Err(differs("the number of relative relocations", count));
        }
    }
    Ok(())
}
