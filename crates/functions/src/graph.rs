//! Which functions the code of one library refers to.

use crate::Functions;
use crate::linkage;
use crate::place::Place;
use crate::references::decode;
use elf::{Error, Library, Relocation, flags};
use iced_x86::Mnemonic;
use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

/// `R_X86_64_64`: the address of a symbol.
const ADDRESS: u32 = 1;

/// How the names of functions begin by which PyTorch's dispatcher enters operators: each
/// operator has a structure of them, and the dispatcher holds kernels behind wrappers.
const OPERATORS: [&[u8]; 3] = [
    OPERATOR,
    b"_ZN3c104impl28wrap_kernel_functor_unboxed_",
    b"_ZN3c104impl31make_boxed_from_unboxed_functor",
];

/// The structure's name goes on with that of the operator and of its overload.
const OPERATOR: &[u8] = b"_ZN2at4_ops";

/// Kernels are in some namespace of this one, with the name of their operator, before which
/// the code generator puts `structured_` and after which authors put the device.
const KERNEL: &[u8] = b"_ZN2at";

/// Namespaces whose functions wait, try again, and share work between threads and machines,
/// as mangled: the standard library and the transports of `torch.distributed`.
const CHANCE: [&[u8]; 4] = [b"St", b"4gloo", b"4c10d", b"10tensorpipe"];

/// How the names of virtual tables begin (Itanium C++ ABI 5.1.4.1).
const TABLE: &[u8] = b"_ZTV";

/// What calls the function that it is given sooner or later, by itself: at the end of a
/// process, a thread or an object, around a fork, in another thread, when an exception ends.
const TAKERS: [&str; 13] = [
    "atexit",
    "on_exit",
    "at_quick_exit",
    "__cxa_atexit",
    "__cxa_thread_atexit",
    "__cxa_thread_atexit_impl",
    "__cxa_throw",
    "pthread_create",
    "pthread_key_create",
    "pthread_atfork",
    "Py_AtExit",
    "PyCapsule_New",
    "PyCapsule_SetDestructor",
];

/// An argument's address is taken at most so many instructions before the call.
const NEAR: u32 = 16;

/// How a function refers to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reference<'a> {
    /// It calls it or jumps to it.
    Called(Place<'a>),
    /// It takes its address.
    Taken(Place<'a>),
    /// It takes the address of a table of virtual functions.
    Table(Place<'a>),
}

/// The references between functions of one library, read from its code when asked for.
pub(crate) struct Graph<'l, 'a> {
    library: &'l Library<'a>,
    functions: &'l Functions,
    /// Words that the loader fills with addresses of functions or tables, ascending.
    words: Vec<(u64, Place<'a>)>,
    /// Exported functions and tables, by address.
    exported: Vec<(u64, &'a str)>,
    code: Vec<Range<u64>>,
    /// Virtual tables, by address.
    tables: Vec<Range<u64>>,
    /// Its own exported functions whose addresses words of data hold.
    held: Vec<u64>,
    slots: Vec<Place<'a>>,
    named: bool,
    has_operators: bool,
    operators: HashSet<u64>,
    chance: HashSet<u64>,
    ends: HashSet<u64>,
}

impl<'l, 'a> Graph<'l, 'a> {
    /// Reads the symbols and relocations of `library`.
    ///
    /// # Errors
    /// What [`Error`] says of those that are not understood.
    pub fn of(library: &'l Library<'a>, functions: &'l Functions) -> Result<Self, Error> {
        let symbols = library.symbols()?;
        let code: Vec<Range<u64>> = library
            .loads()
            .filter(|load| load.flags & flags::EXECUTE != 0)
            .map(elf::ProgramHeader::file_addresses)
            .collect();
        let (mut words, mut held) = (Vec::new(), Vec::new());
        for one in library.relocations()? {
            match one.kind {
                Relocation::JUMP_SLOT | Relocation::GLOB_DAT | ADDRESS => {
                    let Some(symbol) = symbols.get(one.symbol as usize) else { continue };
                    if !symbol.name.is_empty() {
                        words.push((one.address, Place::Named(symbol.name)));
                        if one.kind == ADDRESS && symbol.is_defined() {
                            held.push(symbol.address);
                        }
                    }
                }
                Relocation::RELATIVE => words.push((one.address, Place::Own(one.addend as u64))),
                _ => {}
            }
        }
        for address in library.relative_addresses()? {
            let Ok(bytes) = library.read(address, 8) else { continue };
            let Ok(bytes) = bytes.try_into() else { continue };
            words.push((address, Place::Own(u64::from_le_bytes(bytes))));
        }
        words.sort_unstable();
        let mut graph = Self {
            library,
            functions,
            words,
            exported: Vec::new(),
            code,
            tables: Vec::new(),
            held,
            slots: Vec::new(),
            named: false,
            has_operators: false,
            operators: HashSet::new(),
            chance: HashSet::new(),
            ends: HashSet::new(),
        };
        for symbol in symbols.iter().filter(|symbol| symbol.is_defined()) {
            let table = symbol.name.as_bytes().starts_with(TABLE);
            if (symbol.is_code() || table) && !symbol.is_local() {
                graph.exported.push((symbol.address, symbol.name));
            }
            graph.learn(symbol.name.as_bytes(), symbol.address, symbol.size);
        }
        let mut operators = HashSet::new();
        for symbol in library.local_symbols() {
            graph.named = true;
            graph.learn(symbol.name, symbol.address, symbol.size);
            let name = symbol.name.strip_prefix(OPERATOR).and_then(component);
            operators.extend(name.map(|(name, _)| name));
        }
        graph.has_operators = !operators.is_empty();
        for symbol in library.local_symbols().filter(|_| !operators.is_empty()) {
            let Some(rest) = symbol.name.strip_prefix(KERNEL) else { continue };
            let name = component(rest).and_then(|(_, rest)| component(rest));
            let Some((name, _)) = name else { continue };
            let name = name.strip_prefix(b"structured_").unwrap_or(name);
            let bare = name.strip_suffix(b"_cpu").unwrap_or(name);
            if operators.contains(name) || operators.contains(bare) {
                graph.operators.insert(symbol.address);
            }
        }
        graph.exported.sort_unstable();
        graph.exported.dedup();
        graph.tables.sort_unstable_by_key(|table| (table.start, table.end));
        graph.tables.dedup();
        graph.slots = crate::slots::slots(library, &graph.words);
        Ok(graph)
    }

    fn learn(&mut self, name: &[u8], address: u64, size: u64) {
        if name.starts_with(TABLE) {
            self.tables.push(address..address.saturating_add(size));
        } else if OPERATORS.iter().any(|prefix| name.starts_with(prefix)) {
            self.operators.insert(address);
        } else if ends_life(name) {
            self.ends.insert(address);
        } else if is_chance(name) {
            self.chance.insert(address);
        }
    }

    /// What it defines for others: names and addresses.
    pub fn defined(&self) -> impl Iterator<Item = (&'a str, u64)> {
        self.exported.iter().map(|(address, name)| (*name, *address))
    }

    /// The names by which others find the function at `address`.
    pub fn names(&self, address: u64) -> impl Iterator<Item = &'a str> {
        let first = self.exported.partition_point(|(at, _)| *at < address);
        self.exported[first..].iter().take_while(move |(at, _)| *at == address).map(|one| one.1)
    }

    /// Where functions may be entered that no code of the libraries names: the loader calls
    /// them, words of data hold them, or programs find them by a plain name.
    pub fn entries(&self) -> Vec<u64> {
        let held = self.words.iter().filter_map(|(_, place)| match place {
            Place::Own(address) => Some(*address),
            Place::Named(_) => None,
        });
        let found = self.exported.iter().filter(|(_, name)| !name.starts_with("_Z"));
        let mut all: Vec<u64> = held.chain(found.map(|one| one.0)).collect();
        all.extend(self.library.loader_calls().unwrap_or_default());
        all.extend(self.held.iter().copied());
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Where the function that has the code at `address` starts.
    pub fn start(&self, address: u64) -> Option<u64> {
        self.functions.at(address).map(|function| function.code.start)
    }

    /// Whether the function at `address` begins an operator.
    pub fn is_operator(&self, address: u64) -> bool {
        self.operators.contains(&address)
    }

    /// Whether it defines operators of PyTorch.
    pub fn has_operators(&self) -> bool {
        self.has_operators
    }

    /// Whether what the function at `address` does depends on time and chance.
    pub fn is_chance(&self, address: u64) -> bool {
        self.chance.contains(&address)
    }

    /// Whether the function at `address` ends the life of an object.
    pub fn ends(&self, address: u64) -> bool {
        self.ends.contains(&address)
    }

    /// Functions that the interpreter calls by itself for types of the library.
    pub fn slots(&self) -> &[Place<'a>] {
        &self.slots
    }

    /// Whether most of its functions have names; a stripped library does not.
    pub fn has_names(&self) -> bool {
        self.named
    }

    /// The functions in the virtual table at `address` or around it.
    pub fn virtuals(&self, address: u64) -> Vec<Place<'a>> {
        let Some(table) = self.table(address) else { return Vec::new() };
        let first = self.words.partition_point(|(at, _)| *at < table.start);
        let slots = self.words[first..].iter().take_while(|(at, _)| *at < table.end);
        slots.map(|(_, place)| *place).collect()
    }

    fn table(&self, address: u64) -> Option<&Range<u64>> {
        let after = self.tables.partition_point(|table| table.start <= address);
        let table = self.tables.get(after.checked_sub(1)?)?;
        table.contains(&address).then_some(table)
    }

    fn word(&self, address: u64) -> Option<Place<'a>> {
        let found = self.words.binary_search_by_key(&address, |word| word.0).ok()?;
        Some(self.words[found].1)
    }

    /// The word through which the entry of the procedure linkage table at `entry` jumps.
    fn linked(&self, entry: u64) -> Option<Place<'a>> {
        self.word(linkage::word(self.library, entry)?)
    }

    /// What the function that starts at `start` refers to.
    pub fn references(&self, start: u64) -> BTreeSet<Reference<'a>> {
        let mut found = BTreeSet::new();
        // Code without an entry, as some assembly is, is not followed.
        let Some(function) = self.functions.at(start) else { return found };
        let code = function.code.clone();
        // Functions whose addresses were taken, and how many instructions ago.
        let mut recent: Vec<(u32, Place<'a>)> = Vec::new();
        let mut count = 0;
        let is_function = |at: u64| {
            self.code.iter().any(|range| range.contains(&at))
                && !code.contains(&at)
                && self.functions.at(at).is_some()
        };
        decode(self.library, std::iter::once(code.clone()), |instruction| {
            count += 1;
            let target = instruction.near_branch_target();
            let called = match instruction.mnemonic() {
                _ if target != 0 && code.contains(&target) => return,
                _ if target != 0 => Some(self.linked(target).unwrap_or(Place::Own(target))),
                Mnemonic::Call | Mnemonic::Jmp if instruction.is_ip_rel_memory_operand() => {
                    self.word(instruction.ip_rel_memory_address())
                }
                _ => None,
            };
            if let Some(place) = called {
                found.insert(Reference::Called(place));
                if matches!(place, Place::Named(name) if TAKERS.contains(&name)) {
                    let near = recent.drain(..).filter(|(at, _)| count - at <= NEAR);
                    found.extend(near.map(|(_, place)| Reference::Called(place)));
                }
                return;
            }
            if !instruction.is_ip_rel_memory_operand() {
                return;
            }
            let at = instruction.ip_rel_memory_address();
            let place = match instruction.mnemonic() {
                Mnemonic::Lea => Some(Place::Own(at)),
                _ => self.word(at),
            };
            match place {
                Some(Place::Own(at)) if self.table(at).is_some() => {
                    found.insert(Reference::Table(Place::Own(at)));
                }
                Some(place @ Place::Own(at)) if is_function(at) => {
                    recent.push((count, place));
                    found.insert(Reference::Taken(place));
                }
                Some(Place::Named(name)) if name.as_bytes().starts_with(TABLE) => {
                    found.insert(Reference::Table(Place::Named(name)));
                }
                Some(place @ Place::Named(_)) => {
                    recent.push((count, place));
                    found.insert(Reference::Taken(place));
                }
                _ => {}
            }
        });
        found.extend(self.functions.pads(self.library, function).into_iter().filter_map(|pad| {
            (!code.contains(&pad)).then_some(Reference::Called(Place::Own(pad)))
        }));
        found
    }
}

/// The first component of a mangled name, and the rest (Itanium C++ ABI 5.1.3).
fn component(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let digits = name.iter().position(|byte| !byte.is_ascii_digit())?;
    let length = std::str::from_utf8(&name[..digits]).ok()?.parse().ok()?;
    name[digits..].split_at_checked(length)
}

/// Whether a function with this mangled name is in one of those namespaces.
fn is_chance(name: &[u8]) -> bool {
    let Some(rest) = name.strip_prefix(b"_Z") else { return false };
    let rest = rest.strip_prefix(b"N").unwrap_or(rest);
    let rest = rest.strip_prefix(b"K").unwrap_or(rest);
    CHANCE.iter().any(|start| rest.starts_with(start))
}

/// Whether a function with this mangled name ends the life of an object: destructors (Itanium
/// C++ ABI 5.1.4.3), and what the standard library, pybind11 and C extensions call theirs.
fn ends_life(name: &[u8]) -> bool {
    let has = |part: &[u8]| memchr::memmem::find(name, part).is_some();
    [&b"D0Ev"[..], b"D1Ev", b"D2Ev"].iter().any(|end| name.ends_with(end))
        || [&b"_M_dispose"[..], b"_M_destroy", b"_M_manager", b"dealloc", b"release_resources"]
            .iter()
            .any(|part| has(part))
}
