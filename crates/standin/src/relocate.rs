//! The relocations of pages that a stand-in keeps.

use elf::{Error, Library, PAGE, PageSet, Relocation, Symbol, flags};
use functions::Functions;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Where a kept word points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// An address of the original that is kept, or that nobody may use.
    Here(u64),
    /// A function that is not kept, by name.
    Stub(String),
    /// A symbol that another library defines: name, addend, and the type of
    /// relocation.
    Symbol(String, i64, u32),
    /// The result of a kept resolver.
    Resolved(u64),
    /// A thread-local relocation of the library's own block: type and addend.
    ThreadLocal(u32, i64),
}

/// What is kept of the original, closed over what kept data needs.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Pages of any segment.
    pub pages: PageSet,
    /// Words to relocate.
    pub words: BTreeMap<u64, Target>,
    /// Whether the library's thread-local block is needed.
    pub thread_local: bool,
}

/// The most bytes of data that are followed from one wanted object.
const MAX_OBJECT: u64 = 1 << 16;

/// Closes `keep` over the objects at `objects` (address and size): their pages, and
/// what their words point to as far as it is data. Then decides for each
/// relocation of a kept page.
pub(crate) fn kept(
    library: &Library<'_>,
    keep: &PageSet,
    objects: &[(u64, u64)],
    absent: &BTreeSet<String>,
) -> Result<Kept, Error> {
    let symbols = library.symbols()?;
    let relocations = library.relocations()?;
    let mut pages = keep.clone();
    pages.union(&closed(library, objects, &symbols, &relocations));
    if pages.is_empty() {
        return Ok(Kept::default());
    }
    // Ordinary writable data is not watched by a trace: it stays with any code.
    let has_code = pages.iter().any(|page| is_code(library, page * PAGE));
    let unused =
        if has_code { unused_slots(library, &relocations, &pages)? } else { BTreeSet::new() };
    if has_code {
        pages.union(&writable(library, &unused));
    }
    let targets = Targets::new(library, &symbols, &pages, absent);
    let mut words = BTreeMap::new();
    let kept = |found: &&Relocation| {
        pages.contains(found.address / PAGE) && !unused.contains(&found.address)
    };
    for relocation in relocations.iter().filter(kept) {
        if let Some(target) = targets.of(relocation)? {
            words.insert(relocation.address, target);
        }
    }
    for address in library.relative_addresses()? {
        if pages.contains(address / PAGE) {
            let bytes = library.read(address, 8)?;
            let to = bytes.try_into().map_or(0, u64::from_le_bytes);
            words.insert(address, targets.here(to));
        }
    }
    let own = |target: &Target| matches!(target, Target::ThreadLocal(..));
    let thread_local = words.values().any(own);
    if thread_local && let Some(block) = library.header(elf::segment::TLS) {
        pages.insert_addresses(block.file_addresses());
    }
    Ok(Kept { pages, words, thread_local })
}

/// The pages of the objects at `objects` (address and size) and of the data that their words
/// lead to.
fn closed(
    library: &Library<'_>,
    objects: &[(u64, u64)],
    symbols: &[Symbol<'_>],
    relocations: &[Relocation],
) -> PageSet {
    let by_address: BTreeMap<u64, &Relocation> =
        relocations.iter().map(|relocation| (relocation.address, relocation)).collect();
    let mut pages = PageSet::new();
    let mut work: Vec<(u64, u64)> = objects.to_vec();
    let mut seen = BTreeSet::new();
    while let Some((at, size)) = work.pop() {
        let size = size.clamp(1, MAX_OBJECT);
        if !seen.insert(at) || at / PAGE >= elf::MAX_PAGE {
            continue;
        }
        pages.insert_addresses(at..at + size);
        for (_, relocation) in by_address.range(at..at + size) {
            let Some(to) = own_target(relocation, symbols) else { continue };
            if !is_code(library, to) {
                // Names of types are the longest strings; objects have their own symbols.
                let size = symbols
                    .get(relocation.symbol as usize)
                    .filter(|symbol| symbol.is_object())
                    .map_or(PAGE - to % PAGE, |symbol| symbol.size);
                work.push((to, size));
            }
        }
    }
    pages
}

/// The pages of ordinary writable data, but those that hold nothing but the words `unused`.
fn writable(library: &Library<'_>, unused: &BTreeSet<u64>) -> PageSet {
    let relro = library.header(elf::segment::GNU_RELRO).map(elf::ProgramHeader::addresses);
    let mut pages = PageSet::new();
    for load in library.loads().filter(|load| load.is_writable()) {
        let start = match &relro {
            Some(relro) if load.addresses().contains(&relro.start) => relro.end,
            _ => load.address,
        };
        let strings = library.dynamic(elf::tag::STRTAB);
        if !strings.is_some_and(|at| load.addresses().contains(&at)) {
            pages.insert_addresses(start..load.file_addresses().end);
        }
    }
    pages.remove(&only(unused));
    pages
}

/// Decides where kept words point.
struct Targets<'l> {
    library: &'l Library<'l>,
    symbols: &'l [Symbol<'l>],
    pages: &'l PageSet,
    /// Symbols that only libraries which leave define.
    absent: &'l BTreeSet<String>,
    /// Names of the library's functions.
    named: HashMap<u64, &'l str>,
}

impl<'l> Targets<'l> {
    fn new(
        library: &'l Library<'l>,
        symbols: &'l [Symbol<'l>],
        pages: &'l PageSet,
        absent: &'l BTreeSet<String>,
    ) -> Self {
        let mut named: HashMap<u64, &str> = HashMap::new();
        for symbol in symbols.iter().filter(|symbol| symbol.is_defined() && symbol.is_function()) {
            named.entry(symbol.address).or_insert(symbol.name);
        }
        Self { library, symbols, pages, absent, named }
    }

    /// What stands for the address `to` of the original.
    fn here(&self, to: u64) -> Target {
        if is_code(self.library, to) && !self.pages.contains(to / PAGE) {
            let name = self.named.get(&to).map_or("a function", |name| *name);
            return Target::Stub(name.to_owned());
        }
        Target::Here(to)
    }

    /// Where the word of `relocation` points; `None` where the file is damaged.
    fn of(&self, relocation: &Relocation) -> Result<Option<Target>, Error> {
        let symbol = self.symbols.get(relocation.symbol as usize);
        let Relocation { kind, addend, .. } = *relocation;
        Ok(Some(match kind {
            // A table of functions in data, most of which nobody calls: their names
            // would be the larger part of a stand-in.
            Relocation::RELATIVE => match self.here(addend as u64) {
                Target::Stub(_) => Target::Stub("a function".to_owned()),
                target => target,
            },
            Relocation::IRELATIVE if self.pages.contains(addend as u64 / PAGE) => {
                Target::Resolved(addend as u64)
            }
            Relocation::IRELATIVE => Target::Stub("an indirect function".to_owned()),
            Relocation::R_64 | Relocation::GLOB_DAT | Relocation::JUMP_SLOT => {
                let Some(symbol) = symbol else { return Ok(None) };
                let addend = if kind == Relocation::R_64 { addend } else { 0 };
                if symbol.is_defined() {
                    self.here(symbol.address.wrapping_add_signed(addend))
                } else if self.absent.contains(symbol.name) {
                    Target::Stub(symbol.name.to_owned())
                } else {
                    Target::Symbol(symbol.name.to_owned(), addend, kind)
                }
            }
            Relocation::DTPMOD64 | Relocation::DTPOFF64 | Relocation::TPOFF64 => match symbol {
                Some(symbol) if !symbol.is_defined() && !symbol.name.is_empty() => {
                    Target::Symbol(symbol.name.to_owned(), addend, kind)
                }
                _ => {
                    let own = symbol.filter(|symbol| symbol.is_defined());
                    let offset = own.map_or(0, |symbol| symbol.address as i64);
                    Target::ThreadLocal(kind, addend.wrapping_add(offset))
                }
            },
            _ => return Err(Error::Unsupported("a library with unusual relocations")),
        }))
    }
}

/// The words through which code calls functions of other libraries, and which no code on
/// `pages` names.
fn unused_slots(
    library: &Library<'_>,
    relocations: &[Relocation],
    pages: &PageSet,
) -> Result<BTreeSet<u64>, Error> {
    let functions = Functions::read(library)?;
    let codes = functions.all().iter().map(|function| function.code.clone());
    let codes = codes.filter(|code| pages.touches(code.clone()));
    let slots = relocations.iter().filter(|slot| slot.kind == Relocation::JUMP_SLOT);
    let slots: BTreeSet<u64> = slots.map(|slot| slot.address).collect();
    let used = functions::called_through(library, codes, &slots);
    Ok(slots.difference(&used).copied().collect())
}

/// The pages that hold nothing but the eight-byte words at `words`.
fn only(words: &BTreeSet<u64>) -> PageSet {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for word in words {
        *counts.entry(word / PAGE).or_default() += 1;
    }
    counts.into_iter().filter(|(_, count)| *count == PAGE / 8).map(|(page, _)| page).collect()
}

/// The address in the library itself that a relocation points to.
fn own_target(relocation: &Relocation, symbols: &[Symbol<'_>]) -> Option<u64> {
    match relocation.kind {
        Relocation::RELATIVE => Some(relocation.addend as u64),
        Relocation::R_64 | Relocation::GLOB_DAT => symbols
            .get(relocation.symbol as usize)
            .filter(|symbol| symbol.is_defined())
            .map(|symbol| symbol.address.wrapping_add_signed(relocation.addend)),
        _ => None,
    }
}

/// Whether an address lies in an executable segment.
pub(crate) fn is_code(library: &Library<'_>, address: u64) -> bool {
    library
        .loads()
        .any(|load| load.flags & flags::EXECUTE != 0 && load.addresses().contains(&address))
}
