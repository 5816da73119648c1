//! The reader. Everything in a record is untrusted.

use crate::entry::{File, Form, Library};
use crate::numbers::Rest;
use crate::write::{ADDRESSED, COLD, Described, Head, LOADER, TOUCHED, TWIN, twin_of};
use crate::{Error, FORMAT, Ledger, MAX_BYTES};
use format::place::PLAN;
use plan::{LibraryPages, Reason};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use store::{Store, Workspace};

/// The most files.
const MAX_FILES: u64 = 1 << 22;

/// The most bytes of a path: what Linux takes.
const MAX_PATH: usize = 4096;

/// The most bytes of all paths.
const MAX_PATHS: usize = 1 << 28;

/// The most bytes of one file, so that sums fit.
const MAX_SIZE: u64 = 1 << 40;

/// The most pages of all libraries, with the gaps between them: 256 GB.
const MAX_PAGES: u64 = 1 << 26;

/// What is read first of chunk 0, whatever else is in it.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

/// Why a record makes no sense.
enum Fault {
    Version(u32),
    Says(String),
}

impl From<&str> for Fault {
    fn from(what: &str) -> Self {
        Self::Says(what.to_owned())
    }
}

impl Ledger {
    /// Reads the record of the package in `folder`.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Read`], [`Error::Damaged`] and [`Error::Version`].
    pub fn of_package(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(PLAN);
        let fail = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                Error::Missing(folder.into())
            }
            _ => Error::Read { path: path.clone(), source },
        };
        let size = std::fs::metadata(&path).map_err(fail)?.len();
        if size > MAX_BYTES {
            let reason = format!("it has {size} bytes");
            return Err(Error::Damaged { path, reason });
        }
        let bytes = std::fs::read(&path).map_err(fail)?;
        Self::from_bytes(&bytes, &path)
    }

    /// Reads the `bytes` of a record; `path` is used in errors.
    ///
    /// # Errors
    /// [`Error::Damaged`] and [`Error::Version`].
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, Error> {
        read(bytes).map_err(|fault| match fault {
            Fault::Version(found) => Error::Version { path: path.into(), found },
            Fault::Says(reason) => Error::Damaged { path: path.into(), reason },
        })
    }
}

fn read(bytes: &[u8]) -> Result<Ledger, Fault> {
    let store = Store::open(bytes).map_err(|error| Fault::Says(said(error).into()))?;
    let mut memory = vec![0; Workspace::size().div_ceil(8)];
    let mut workspace = Workspace::new(&mut memory).ok_or("memory is short")?;
    let mut chunk = |number: u32| -> Result<Vec<u8>, Fault> {
        let entry = store.entry(number).ok_or("a part is missing")?;
        // A chunk that does not compress is hardly larger than it says; this one would be
        // a thousand times as large.
        if u64::from(entry.length) > 1000 * (u64::from(entry.stored) + 100) {
            return Err("a part claims to be larger than it can be".into());
        }
        let mut out = vec![0; entry.length as usize];
        let read = store.read(number, &mut out, &mut workspace);
        read.map_err(|error| Fault::Says(said(error).into()))?;
        Ok(out)
    };
    let head = chunk(0)?;
    let json = |error: serde_json::Error| Fault::Says(error.to_string());
    let version: Version = serde_json::from_slice(&head).map_err(json)?;
    if version.format != FORMAT {
        return Err(Fault::Version(version.format));
    }
    let head: Head = serde_json::from_slice(&head).map_err(json)?;
    let files = files(&head, &chunk(1)?, &chunk(2)?)?;
    let libraries = libraries(head.libraries, &chunk(3)?)?;
    Ok(Ledger { about: head.about, files, libraries })
}

fn said(error: store::Error) -> &'static str {
    match error {
        store::Error::Foreign => "it is no record of a plan",
        store::Error::Truncated => "it is not as long as it says",
        store::Error::Damaged => "its bytes are not those that were written",
        store::Error::Range => "a part is missing",
    }
}

/// The files of the record, with the bytecode that has no path of its own.
fn files(head: &Head, paths: &[u8], columns: &[u8]) -> Result<Vec<File>, Fault> {
    let short = || Fault::from("a column is too short");
    let mut paths = Rest(paths);
    let mut columns = Rest(columns);
    let count = columns.number().filter(|count| *count <= MAX_FILES).ok_or("too many files")?;
    let count = count as usize;
    if columns.0.len() / 2 < count {
        return Err(short());
    }
    let (codes, rest) = columns.0.split_at(count);
    let (reasons, rest) = rest.split_at(count);
    let mut rest = Rest(rest);
    let mut numbers = |most: u64| -> Result<Vec<u64>, Fault> {
        let number = |_| rest.number().filter(|number| *number <= most);
        (0..count).map(number).collect::<Option<_>>().ok_or_else(short)
    };
    let sizes = numbers(MAX_SIZE)?;
    let owners = numbers(head.about.distributions.len() as u64)?;
    let orders = numbers(u64::from(u32::MAX))?;
    let reason = |code: u8| -> Result<Reason, Fault> {
        Ok(*head.reasons.get(usize::from(code)).ok_or("a reason has no name")?)
    };
    let less_one = |number: u64| number.checked_sub(1).map(|number| number as u32);
    let mut files: Vec<File> = Vec::with_capacity(count);
    let mut twins = Vec::new();
    let (mut before, mut all) = (Vec::new(), 0);
    for row in 0..count {
        let shared = usize::from(paths.byte().ok_or("a path is missing")?);
        let more = paths.until_zero().ok_or("a path is missing")?;
        if shared > before.len() || shared + more.len() > MAX_PATH {
            return Err("a path is too long".into());
        }
        before.truncate(shared);
        before.extend(more);
        all += before.len();
        let path = std::str::from_utf8(&before).map_err(|_| "a path is no text")?.to_owned();
        if path.starts_with('/') || path.split('/').any(|part| part == "..") {
            return Err("a path leads out of site-packages".into());
        }
        if all > MAX_PATHS || path.is_empty() || files.last().is_some_and(|last| last.path >= path)
        {
            return Err("its paths are in disorder".into());
        }
        let (code, owner) = (codes[row], less_one(owners[row]));
        if code & TWIN != 0 {
            let size = rest.number().filter(|size| *size <= MAX_SIZE).ok_or_else(short)?;
            let reason = reason(rest.byte().ok_or_else(short)?)?;
            let path = twin_of(&path, &head.about.python).ok_or("it has bytecode of no module")?;
            all += path.len();
            twins.push(File { path, size, owner, form: Form::Out, reason, order: None });
        }
        files.push(File {
            path,
            size: sizes[row],
            owner,
            form: Form::of(code & !TWIN).ok_or("a file has an unknown form")?,
            reason: reason(reasons[row])?,
            order: less_one(orders[row]),
        });
    }
    if !paths.0.is_empty() || !rest.0.is_empty() {
        return Err("it is longer than it says".into());
    }
    files.extend(twins);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    if files.windows(2).any(|pair| pair[0].path == pair[1].path) {
        return Err("a path is there twice".into());
    }
    Ok(files)
}

/// The libraries with their pages.
fn libraries(
    described: BTreeMap<String, Described>,
    pages: &[u8],
) -> Result<BTreeMap<String, Library>, Fault> {
    let mut rest = Rest(pages);
    let mut left = MAX_PAGES;
    let mut out = BTreeMap::new();
    for (path, one) in described {
        let mut pages = LibraryPages { absent: one.absent, ..LibraryPages::default() };
        let (count, mut at) = (rest.number().ok_or("pages are missing")?, 0_u64);
        for _ in 0..count {
            let run = rest.number().ok_or("pages are missing")?;
            let (length, state) = (run >> 3, run & 7);
            left = left.checked_sub(length).ok_or("it has too many pages")?;
            let set = match state {
                0 => None,
                LOADER => Some(&mut pages.loader),
                TOUCHED => Some(&mut pages.touched),
                ADDRESSED => Some(&mut pages.addressed),
                COLD => Some(&mut pages.cold),
                _ => return Err("a page has an unknown fate".into()),
            };
            // `left` bounds the sum.
            if let Some(set) = set {
                (at..at + length).for_each(|page| {
                    set.insert(page);
                });
            }
            at += length;
        }
        if pages.absent > MAX_PAGES {
            return Err("it has too many pages".into());
        }
        let Described { soname, needed, bound_by, build_id, content, whole, .. } = one;
        out.insert(path, Library { soname, needed, bound_by, build_id, content, whole, pages });
    }
    if !rest.0.is_empty() {
        return Err("it has pages of no library".into());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{About, Gates, Group, Source};
    use proptest::prelude::*;
    use store::{Level, Writer};

    fn sample() -> Ledger {
        let file = |path: &str, form, reason, order| File {
            path: path.into(),
            size: path.len() as u64 * 1_000,
            owner: (!path.starts_with('x')).then_some(0),
            form,
            reason,
            order,
        };
        let module = |cold| Form::Module { stored: true, cold, source: Source::Store };
        let mut files = vec![
            file("a/__init__.py", module(false), Reason::Opened, Some(7)),
            file("a/__pycache__/__init__.cpython-311.pyc", Form::Out, Reason::Replaced, None),
            file("a/__pycache__/b.cpython-311.pyc", Form::Out, Reason::Replaced, None),
            file("a/__pycache__/gone.cpython-311.pyc", Form::Out, Reason::Unused, None),
            file("a/b.py", module(true), Reason::Cold, None),
            file("a/lib.so", Form::Shrunk, Reason::Loaded, Some(9)),
            file("x.txt", Form::Copied, Reason::Cold, None),
        ];
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let pages = LibraryPages {
            loader: (0..3).collect(),
            touched: (5..9).collect(),
            addressed: [9].into_iter().collect(),
            cold: (100..400).collect(),
            absent: 12,
        };
        let library = Library {
            soname: Some("lib.so".into()),
            needed: vec!["libc.so.6".into()],
            content: Some("0123456789abcdef".into()),
            pages,
            ..Library::default()
        };
        Ledger {
            about: About {
                python: "3.11".into(),
                distributions: vec!["a".into()],
                groups: vec![Group {
                    root: "a.b".into(),
                    members: vec!["a.b".into()],
                    objections: Vec::new(),
                    gates: Gates { keys: vec!["Meta".into()], ..Gates::default() },
                }],
                ..About::default()
            },
            files,
            libraries: [("a/lib.so".to_owned(), library)].into(),
        }
    }

    fn damaged(bytes: &[u8]) -> Option<String> {
        Ledger::from_bytes(bytes, Path::new("p")).err().map(|error| error.to_string())
    }

    #[test]
    fn a_ledger_comes_back_and_has_the_same_bytes_each_time() {
        let ledger = sample();
        let bytes = ledger.to_bytes().unwrap();
        assert_eq!(ledger.to_bytes().unwrap(), bytes);
        assert_eq!(Ledger::from_bytes(&bytes, Path::new("p")).unwrap(), ledger);
        assert_eq!(ledger.file("a/b.py").unwrap().form, ledger.files[4].form);
        assert!(ledger.about.groups[0].is_deferred());
        for code in 0..=255 {
            assert!(Form::of(code).is_none_or(|form| form.code() == code));
        }
    }

    #[test]
    fn damage_is_said_with_what_to_do() {
        let bytes = sample().to_bytes().unwrap();
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 0x10;
            // Bytes 24 to 32 of a store are reserved.
            let said = damaged(&other);
            assert!(said.is_some() != (24..32).contains(&at), "byte {at}");
            assert!(said.is_none_or(|said| said.contains("copy the package again")));
            assert!(damaged(&bytes[..at]).is_some());
        }
        let folder = tempfile::tempdir().unwrap();
        let missing = Ledger::of_package(folder.path()).unwrap_err().to_string();
        assert!(missing.contains("pack again"), "{missing}");
    }

    /// A record with other chunks, whose hashes are right.
    fn with(change: impl Fn(usize, &mut Vec<u8>)) -> Vec<u8> {
        let bytes = sample().to_bytes().unwrap();
        let store = Store::open(&bytes).unwrap();
        let mut memory = vec![0; Workspace::size().div_ceil(8)];
        let mut workspace = Workspace::new(&mut memory).unwrap();
        let mut writer = Writer::new();
        for number in 0..4 {
            let mut out = vec![0; store.entry(number).unwrap().length as usize];
            store.read(number, &mut out, &mut workspace).unwrap();
            change(number as usize, &mut out);
            writer.add(out).unwrap();
        }
        writer.finish(Level::Fast).unwrap().0
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let newer = with(|number, chunk| {
            if number == 0 {
                let text = String::from_utf8(chunk.clone()).unwrap();
                *chunk = text.replace("\"format\":1", "\"format\":9,\"more\":[]").into_bytes();
            }
        });
        assert!(damaged(&newer).unwrap().contains("has the format 9"));
        let outside = with(|number, chunk| {
            if number == 1 {
                *chunk = b"\0../x\0".to_vec();
            }
        });
        assert!(damaged(&outside).unwrap().contains("leads out of site-packages"));
        let pages = with(|number, chunk| {
            if number == 3 {
                *chunk = vec![1, 0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
            }
        });
        assert!(damaged(&pages).unwrap().contains("too many pages"));
    }

    proptest! {
        #[test]
        fn no_record_makes_the_reader_fail(
            number in 0..4_usize, at in any::<prop::sample::Index>(), byte in any::<u8>(),
            cut in any::<bool>(),
        ) {
            let other = with(|this, chunk| {
                if this == number {
                    let at = at.index(chunk.len());
                    chunk[at] = byte;
                    if cut {
                        chunk.truncate(at);
                    }
                }
            });
            if let Ok(ledger) = Ledger::from_bytes(&other, Path::new("p")) {
                let again = ledger.to_bytes().unwrap();
                prop_assert_eq!(Ledger::from_bytes(&again, Path::new("p")).unwrap(), ledger);
            }
        }
    }
}
