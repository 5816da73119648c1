//! Position-independent programs, which ELF calls by the same name as libraries.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// `PT_DYNAMIC` and `PT_INTERP`.
const DYNAMIC: u32 = 2;
const INTERPRETER: u32 = 3;

/// `DT_FLAGS_1` and its bit `DF_1_PIE`.
const FLAGS_1: u64 = 0x6fff_fffb;
const PIE: u64 = 0x0800_0000;

/// The most program headers and dynamic entries that are looked at.
const MOST: u64 = 4096;

/// Whether the 64-bit little-endian ELF file is one that is started: it names an
/// interpreter, or its linker says that it is a position-independent program (one that is
/// linked statically names no interpreter). False where its tables lie outside the file.
pub(crate) fn is_started(file: &File) -> io::Result<bool> {
    let size = file.metadata()?.len();
    let Some(head) = read(file, 0, 64, size)? else { return Ok(false) };
    if head[4] != 2 || head[5] != 1 {
        return Ok(false);
    }
    let entry = u64::from(u16::from_le_bytes([head[54], head[55]]));
    let count = u64::from(u16::from_le_bytes([head[56], head[57]])).min(MOST);
    let table = match read(file, word(&head, 32), entry * count, size)? {
        Some(table) if entry >= 56 => table,
        _ => return Ok(false),
    };
    let headers = || table.chunks_exact(entry as usize);
    let kind = |header: &[u8]| u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
    if headers().any(|header| kind(header) == INTERPRETER) {
        return Ok(true);
    }
    let Some(dynamic) = headers().find(|header| kind(header) == DYNAMIC) else {
        return Ok(false);
    };
    let length = word(dynamic, 32).min(MOST * 16);
    let entries = read(file, word(dynamic, 8), length, size)?.unwrap_or_default();
    let flags = entries
        .chunks_exact(16)
        .take_while(|entry| word(entry, 0) != 0)
        .find(|entry| word(entry, 0) == FLAGS_1);
    Ok(flags.is_some_and(|entry| word(entry, 8) & PIE != 0))
}

/// So many bytes of the file; `None` where it has not so many.
fn read(file: &File, offset: u64, length: u64, size: u64) -> io::Result<Option<Vec<u8>>> {
    if offset.checked_add(length).is_none_or(|end| end > size) {
        return Ok(None);
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(Some(bytes))
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Links `main` with these flags; whether the result is started.
    fn linked(flags: &[&str]) -> bool {
        let place = tempfile::tempdir().unwrap();
        let (source, out) = (place.path().join("a.c"), place.path().join("tool"));
        std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
        let mut link = Command::new("gcc");
        let done = link.args(flags).arg("-o").arg(&out).arg(&source).status().unwrap();
        assert!(done.success());
        is_started(&File::open(&out).unwrap()).unwrap()
    }

    #[test]
    fn programs_are_told_from_libraries() {
        assert!(linked(&["-pie", "-fPIE"]));
        assert!(linked(&["-static-pie", "-fPIE"]));
        // Neither names an interpreter nor is started.
        assert!(!linked(&["-shared", "-fPIC"]));
    }

    #[test]
    fn damaged_tables_say_nothing() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("x");
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        bytes[54] = 56;
        bytes[56] = 9;
        std::fs::write(&path, &bytes).unwrap();
        assert!(!is_started(&File::open(&path).unwrap()).unwrap());
        std::fs::write(&path, b"\x7fELF").unwrap();
        assert!(!is_started(&File::open(&path).unwrap()).unwrap());
    }
}
