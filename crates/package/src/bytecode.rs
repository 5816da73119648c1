//! Bytecode that is used without looking at its source (PEP 552).
//!
//! A package may be copied to where files get new times, and may be read-only:
//! bytecode that Python checks against its source's time would be compiled again
//! at every start. Unchecked hash-based bytecode is not.

use crate::Error;
use siphasher::sip::{SipHasher13, SipHasher24};
use std::hash::Hasher;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Bytes of a bytecode file's header: magic number, flags, and eight more.
const HEADER: usize = 16;

/// How one Python version writes bytecode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytecode {
    /// `importlib.util.MAGIC_NUMBER`.
    pub magic: [u8; 4],
    /// The minor version, 11 for Python 3.11.
    pub minor: u32,
}

impl Bytecode {
    /// `importlib.util.source_hash`.
    pub fn hash(self, source: &[u8]) -> [u8; 8] {
        let mut hash = [0; 8];
        hash.copy_from_slice(&self.header(source)[8..]);
        hash
    }

    /// The header of unchecked bytecode for a module with this source.
    fn header(self, source: &[u8]) -> [u8; HEADER] {
        // The key is the magic number; 3.11 went from SipHash-2-4 to SipHash-1-3.
        let key = u64::from(u32::from_le_bytes(self.magic));
        let hash = if self.minor >= 11 {
            let mut hasher = SipHasher13::new_with_keys(key, 0);
            hasher.write(source);
            hasher.finish()
        } else {
            let mut hasher = SipHasher24::new_with_keys(key, 0);
            hasher.write(source);
            hasher.finish()
        };
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&self.magic);
        header[4] = 1;
        header[8..].copy_from_slice(&hash.to_le_bytes());
        header
    }
}

/// The code of an installed bytecode file, if Python would use it for a source of
/// this time (seconds) and size (bytes).
pub fn cached(
    bytecode: Bytecode,
    file: &[u8],
    source_time: i64,
    source_size: u64,
) -> Option<&[u8]> {
    let (header, code) = file.split_at_checked(HEADER)?;
    let word = |at: usize| -> Option<u32> {
        Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?))
    };
    let fits = header[..4] == bytecode.magic
        && word(4)? == 0
        && word(8)? == source_time as u32
        && word(12)? == source_size as u32;
    fits.then_some(code)
}

/// A bytecode file for `source` from its `code` that Python uses as long as the file beside it
/// is `source`.
pub fn checked(bytecode: Bytecode, source: &[u8], code: &[u8]) -> Vec<u8> {
    let mut file = unchecked(bytecode, source, code);
    // The second bit says that the hash is to be compared (PEP 552).
    file[4] |= 2;
    file
}

/// A bytecode file for `source` from its `code` that Python uses whatever lies beside it.
pub fn unchecked(bytecode: Bytecode, source: &[u8], code: &[u8]) -> Vec<u8> {
    let mut file = bytecode.header(source).to_vec();
    file.extend(code);
    file
}

/// `code` with the file name in it, where it is `old`, replaced by `new`, so that no
/// path of the machine that packs is left; Python puts the real one there when it loads
/// the module. References in marshal data count objects, not bytes, so a string may
/// change its length.
pub fn renamed(code: &[u8], old: &str, new: &str) -> Vec<u8> {
    let (old, new) = (old.as_bytes(), new.as_bytes());
    let mut out = Vec::with_capacity(code.len());
    let mut rest = code;
    if old.is_empty() {
        return code.to_vec();
    }
    let finder = memchr::memmem::Finder::new(old);
    while let Some(at) = finder.find(rest) {
        let (before, after) = (&rest[..at], &rest[at + old.len()..]);
        if let Some((start, replacement)) = prefix(before, old.len(), new.len()) {
            out.extend_from_slice(&before[..start]);
            out.extend(replacement);
            out.extend_from_slice(new);
        } else {
            out.extend_from_slice(before);
            out.extend_from_slice(old);
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    out
}

/// Where the type and length before a marshalled string of `old` bytes start, and
/// what they are for one of `new` bytes. `None` where it is part of a longer string.
fn prefix(before: &[u8], old: usize, new: usize) -> Option<(usize, Vec<u8>)> {
    const REFERENCED: u8 = 0x80;
    // Short strings have one byte of length, long ones four (CPython, marshal.c).
    let short = before.len().checked_sub(2).filter(|at| {
        matches!(before[*at] & !REFERENCED, b'z' | b'Z') && usize::from(before[*at + 1]) == old
    });
    let long = before.len().checked_sub(5).filter(|at| {
        matches!(before[*at] & !REFERENCED, b'a' | b'A' | b'u' | b't')
            && before[*at + 1..] == (old as u32).to_le_bytes()
    });
    let at = short.or(long)?;
    let flag = before[at] & REFERENCED;
    let kind = match (before[at] & !REFERENCED, u8::try_from(new)) {
        (b'z' | b'a', Ok(length)) => return Some((at, vec![b'z' | flag, length])),
        (b'Z' | b'A', Ok(length)) => return Some((at, vec![b'Z' | flag, length])),
        (b'z', Err(_)) => b'a',
        (b'Z', Err(_)) => b'A',
        (kind, _) => kind,
    };
    let mut replacement = vec![kind | flag];
    replacement.extend((new as u32).to_le_bytes());
    Some((at, replacement))
}

/// Compiles modules whose installed bytecode is missing or stale.
#[derive(Debug)]
pub struct Compiler {
    /// The interpreter.
    pub python: PathBuf,
}

/// Reads pairs of lines, a source file and the name to put in the code; writes a
/// length of four bytes and the code for each, or 0xffffffff where it has an error
/// of syntax.
const COMPILE: &str = "
import marshal, sys
out = sys.stdout.buffer
lines = sys.stdin.read().split('\\n')
for path, name in zip(lines[0::2], lines[1::2]):
    try:
        with open(path, 'rb') as file:
            code = marshal.dumps(compile(file.read(), name, 'exec', dont_inherit=True))
        out.write(len(code).to_bytes(4, 'little') + code)
    except (SyntaxError, ValueError):
        out.write(b'\\xff\\xff\\xff\\xff')
";

impl Compiler {
    /// The code of each of `sources`, given as file and name; `None` for one that
    /// Python does not compile.
    pub fn compile(&self, sources: &[(PathBuf, String)]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let fail = |reason: String| Error::Compile { python: self.python.clone(), reason };
        if sources.is_empty() {
            return Ok(Vec::new());
        }
        let mut child = Command::new(&self.python)
            .args(["-I", "-S", "-W", "ignore", "-c", COMPILE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| fail(error.to_string()))?;
        let lines: Vec<String> =
            sources.iter().flat_map(|(path, name)| [line(path), name.clone()]).collect();
        let list = lines.join("\n");
        let mut input = child.stdin.take();
        let feeder = std::thread::spawn(move || {
            // A child that ended early is reported by its status.
            input.as_mut().map(|input| input.write_all(list.as_bytes()))
        });
        let mut bytes = Vec::new();
        if let Some(output) = child.stdout.as_mut() {
            output.read_to_end(&mut bytes).map_err(|error| fail(error.to_string()))?;
        }
        let done = child.wait_with_output().map_err(|error| fail(error.to_string()))?;
        let _ = feeder.join();
        if !done.status.success() {
            return Err(fail(String::from_utf8_lossy(&done.stderr).trim().to_owned()));
        }
        split(&bytes, sources.len()).ok_or_else(|| fail("its output breaks off".into()))
    }
}

fn line(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn split(mut bytes: &[u8], count: usize) -> Option<Vec<Option<Vec<u8>>>> {
    let mut codes = Vec::with_capacity(count);
    for _ in 0..count {
        let (length, rest) = bytes.split_at_checked(4)?;
        let length = u32::from_le_bytes(length.try_into().ok()?);
        if length == u32::MAX {
            codes.push(None);
            bytes = rest;
        } else {
            let (code, rest) = rest.split_at_checked(length as usize)?;
            codes.push(Some(code.to_vec()));
            bytes = rest;
        }
    }
    Some(codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_change_length_and_parts_of_strings_do_not() {
        let code = b"\xda\x04/a/b\xf3\x07x /a/b y\xda\x04/a/b";
        assert_eq!(renamed(code, "/a/b", "b.py"), b"\xda\x04b.py\xf3\x07x /a/b y\xda\x04b.py");
        let long = "n".repeat(300);
        let out = renamed(b"\xda\x04/a/b", "/a/b", &long);
        assert_eq!(out[..5], [b'A' | 0x80, 44, 1, 0, 0]);
        assert_eq!(renamed(&out, &long, "q"), b"\xda\x01q");
    }

    #[test]
    fn python_imports_what_was_written() {
        let place = tempfile::tempdir().unwrap();
        let python = Path::new("python3");
        let source = place.path().join("some/long/folder/thing.py");
        std::fs::create_dir_all(source.parent().unwrap()).unwrap();
        std::fs::write(&source, "import sys\ndef f():\n    return f.__code__.co_filename\n")
            .unwrap();
        let run = |code: &str, folder: &Path| {
            let done = Command::new(python)
                .args(["-B", "-c", code])
                .env("PYTHONPATH", folder)
                .output()
                .unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            String::from_utf8(done.stdout).unwrap().trim().to_owned()
        };
        let described = run(
            "import importlib.util as u, os, sys; \
             source = open(os.environ['PYTHONPATH'] + '/thing.py', 'rb').read(); \
             print(u.MAGIC_NUMBER.hex(), sys.version_info[1], sys.implementation.cache_tag, \
             u.source_hash(source).hex())",
            source.parent().unwrap(),
        );
        let words: Vec<&str> = described.split(' ').collect();
        let magic = u32::from_str_radix(words[0], 16).unwrap().to_be_bytes();
        let bytecode = Bytecode { magic, minor: words[1].parse().unwrap() };
        let text = std::fs::read(&source).unwrap();
        let hash = u64::from_be_bytes(bytecode.header(&text)[8..].try_into().unwrap());
        assert_eq!(format!("{hash:016x}"), words[3]);

        let name = source.to_str().unwrap();
        let compiler = Compiler { python: python.into() };
        let broken = place.path().join("broken.py");
        std::fs::write(&broken, "def (").unwrap();
        let codes =
            compiler.compile(&[(broken, "b".into()), (source.clone(), name.into())]).unwrap();
        assert!(codes[0].is_none());
        let code = renamed(codes[1].as_ref().unwrap(), name, "thing.py");
        let file = unchecked(bytecode, &text, &code);
        assert!(!file.windows(11).any(|window| window == b"long/folder"));

        // The source says otherwise: only the bytecode can have been run.
        let out = place.path().join("out");
        std::fs::create_dir_all(out.join("__pycache__")).unwrap();
        std::fs::write(out.join("thing.py"), "raise SystemExit('the source was run')\n").unwrap();
        let cache = out.join(format!("__pycache__/thing.{}.pyc", words[2]));
        std::fs::write(cache, file).unwrap();
        let shown = run("import thing; print(thing.f())", &out);
        assert_eq!(shown, out.join("thing.py").to_str().unwrap());
    }
}
