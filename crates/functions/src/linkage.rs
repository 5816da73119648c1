//! Calls of a library's own functions through its procedure linkage table.

use elf::{Library, Relocation};
use iced_x86::{Decoder, DecoderOptions, Mnemonic};
use std::collections::HashMap;

/// The most bytes of an entry (psABI 5.2, and its variant for branch tracking).
const ENTRY: u64 = 16;

/// Which of a library's own functions the words of its global offset table mean.
pub(crate) struct Linkage<'l, 'a> {
    library: &'l Library<'a>,
    words: HashMap<u64, u64>,
}

impl<'l, 'a> Linkage<'l, 'a> {
    /// Reads the relocations of `library`.
    pub fn of(library: &'l Library<'a>) -> Self {
        let symbols = library.symbols().unwrap_or_default();
        let relocations = library.relocations().unwrap_or_default();
        let words = relocations
            .iter()
            .filter(|one| matches!(one.kind, Relocation::JUMP_SLOT | Relocation::GLOB_DAT))
            .filter_map(|one| {
                let symbol = symbols.get(one.symbol as usize)?;
                (symbol.is_defined() && symbol.is_code()).then_some((one.address, symbol.address))
            })
            .collect();
        Self { library, words }
    }

    /// The function that the entry at `entry` jumps to, if it is one and the function the
    /// library's own.
    pub fn get(&self, entry: u64) -> Option<u64> {
        self.words.get(&word(self.library, entry)?).copied()
    }
}

/// The address of the word through which the entry of the procedure linkage table at `entry`
/// jumps, if it is one.
pub(crate) fn word(library: &Library<'_>, entry: u64) -> Option<u64> {
    let bytes = library.read(entry, ENTRY).ok()?;
    let mut decoder = Decoder::with_ip(64, bytes, entry, DecoderOptions::NONE);
    let mut instruction = decoder.decode();
    if instruction.mnemonic() == Mnemonic::Endbr64 {
        instruction = decoder.decode();
    }
    let jumps = instruction.mnemonic() == Mnemonic::Jmp && instruction.is_ip_rel_memory_operand();
    jumps.then(|| instruction.ip_rel_memory_address())
}
