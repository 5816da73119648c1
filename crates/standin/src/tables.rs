//! The dynamic symbol table and what goes with it.

use elf::tag;
use std::collections::BTreeMap;

/// The string table: each string once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Strings {
    bytes: Vec<u8>,
    known: BTreeMap<String, u32>,
}

impl Strings {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0], known: BTreeMap::new() }
    }

    /// The offset of `text` in the table.
    pub(crate) fn add(&mut self, text: &str) -> u32 {
        if let Some(known) = self.known.get(text) {
            return *known;
        }
        let at = self.bytes.len() as u32;
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
        self.known.insert(text.to_owned(), at);
        at
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// One symbol of the new table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewSymbol {
    pub name: String,
    /// Binding and type.
    pub info: u8,
    /// `None` where it is undefined.
    pub address: Option<u64>,
    pub size: u64,
    /// The version that it is defined with.
    pub version: Option<String>,
}

/// The symbol table (gABI figure 4-16), without its empty first entry given.
pub(crate) fn symbols(list: &[NewSymbol], strings: &mut Strings) -> Vec<u8> {
    // Any number but 0 (undefined) will do as a section: the loader asks no more.
    const SECTION: u16 = 1;
    let mut bytes = vec![0; 24];
    for symbol in list {
        bytes.extend(strings.add(&symbol.name).to_le_bytes());
        bytes.extend([symbol.info, 0]);
        let section = if symbol.address.is_some() { SECTION } else { 0 };
        bytes.extend(section.to_le_bytes());
        bytes.extend(symbol.address.unwrap_or(0).to_le_bytes());
        bytes.extend(symbol.size.to_le_bytes());
    }
    bytes
}

/// The System V hash table (gABI figure 5-13): every loader reads it.
pub(crate) fn hash_table(list: &[NewSymbol]) -> Vec<u8> {
    let count = list.len() + 1;
    let buckets = (count / 2).max(1);
    let mut heads = vec![0u32; buckets];
    let mut chains = vec![0u32; count];
    for (index, symbol) in list.iter().enumerate() {
        let bucket = hash(&symbol.name) as usize % buckets;
        chains[index + 1] = heads[bucket];
        heads[bucket] = index as u32 + 1;
    }
    [buckets as u32, count as u32]
        .into_iter()
        .chain(heads)
        .chain(chains)
        .flat_map(u32::to_le_bytes)
        .collect()
}

/// The System V hash of a name.
fn hash(name: &str) -> u32 {
    name.bytes().fold(0u32, |hash, byte| {
        let hash = (hash << 4).wrapping_add(u32::from(byte));
        let high = hash & 0xf000_0000;
        (hash ^ (high >> 24)) & !high
    })
}

/// Version definitions and the symbols' version numbers (LSB 4, 10.7), for a
/// library called `soname`. Empty where no version is defined.
pub(crate) fn versions(
    list: &[NewSymbol],
    names: &[String],
    soname: &str,
    strings: &mut Strings,
) -> (Vec<u8>, Vec<u8>) {
    if names.is_empty() {
        return (Vec::new(), Vec::new());
    }
    // Number 1 is the library itself.
    let mut definitions = Vec::new();
    let all: Vec<&str> = std::iter::once(soname).chain(names.iter().map(String::as_str)).collect();
    for (index, name) in all.iter().enumerate() {
        let last = index + 1 == all.len();
        let base: u16 = u16::from(index == 0);
        for half in [1, base, index as u16 + 1, 1] {
            definitions.extend(half.to_le_bytes());
        }
        definitions.extend(hash(name).to_le_bytes());
        definitions.extend(20u32.to_le_bytes());
        definitions.extend(if last { 0u32 } else { 28 }.to_le_bytes());
        definitions.extend(strings.add(name).to_le_bytes());
        definitions.extend(0u32.to_le_bytes());
    }
    let mut numbers = 0u16.to_le_bytes().to_vec();
    for symbol in list {
        let place = symbol
            .version
            .as_ref()
            .and_then(|version| names.iter().position(|name| name == version));
        let number = place.map_or(1, |place| place as u16 + 2);
        numbers.extend(number.to_le_bytes());
    }
    (definitions, numbers)
}

/// The dynamic section's bytes, with its terminator.
pub(crate) fn dynamic(entries: &[(u64, u64)]) -> Vec<u8> {
    entries
        .iter()
        .chain([&(tag::NULL, 0)])
        .flat_map(|(tag, value)| [tag.to_le_bytes(), value.to_le_bytes()].concat())
        .collect()
}
