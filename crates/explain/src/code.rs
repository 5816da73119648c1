//! Why functions and operators have their fates: where they lie, and what became of those
//! pages.

use crate::original::Original;
use crate::symbols::{Wanted, bare, functions, operator, plain};
use ::functions::{Detail, demangled};
use elf::{Library, PAGE, PageNumber};
use environment::MappedFile;
use ledger::{Fate, File, Form, Ledger};
use plan::LibraryPages;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Functions that are shown of many.
const SHOWN: usize = 12;

/// Functions that are named of those that share a page.
const NEIGHBOURS: usize = 3;

/// The longest name that is searched for.
const MAX_NAME: usize = 1_000;

/// Functions that a name means.
#[derive(Debug, Serialize)]
pub struct FunctionsAnswer {
    /// The operator that was asked for.
    pub operator: Option<String>,
    /// How many functions have the name, or it as a part.
    pub matches: usize,
    /// The first of them.
    pub shown: Vec<FunctionAnswer>,
    /// Libraries that could not be searched, with why.
    pub unread: Vec<String>,
}

/// One function.
#[derive(Debug, Serialize)]
pub struct FunctionAnswer {
    /// Its name as C++ has it.
    pub name: String,
    /// Its symbol.
    pub symbol: String,
    /// What it is to the operator that was asked for.
    pub role: Option<&'static str>,
    /// The library's path in site-packages.
    pub library: String,
    /// Its address there, unrelocated.
    pub address: u64,
    /// Its bytes; 0 where the symbol table does not say.
    pub size: u64,
    /// Its fate: that of the page on which it begins.
    pub fate: Fate,
    /// Why.
    pub why: String,
    /// Its pages by what became of them.
    pub pages: BTreeMap<&'static str, u64>,
    /// Others on the page where it begins, some of them.
    pub shares_with: Vec<String>,
}

/// A function that was found.
struct Match<'l> {
    order: (u8, usize),
    role: Option<&'static str>,
    file: &'l File,
    name: String,
    symbol: String,
    address: u64,
    size: u64,
}

/// Searches the libraries of the environment.
///
/// # Errors
/// Why there is no environment.
pub fn find(
    ledger: &Ledger,
    original: &Original<'_>,
    wanted: &Wanted<'_>,
) -> Result<FunctionsAnswer, String> {
    if let Some(problem) = original.problem() {
        return Err(problem.to_owned());
    }
    let word = wanted.word();
    if word.len() < 2 || word.len() > MAX_NAME {
        let (operator, shown, unread) = (None, Vec::new(), Vec::new());
        return Ok(FunctionsAnswer { operator, matches: 0, shown, unread });
    }
    // Compilers split off what seldom runs; it has no name of its own.
    let wants_parts =
        matches!(wanted, Wanted::Exactly(text) | Wanted::Part(text) if text.contains(".cold"));
    let finder = memchr::memmem::Finder::new(word);
    let files: Vec<&File> = ledger.libraries.keys().filter_map(|path| ledger.file(path)).collect();
    let searched: Vec<Result<Vec<Match<'_>>, String>> = files
        .par_iter()
        .map(|file| {
            // Most libraries have no such name: whether they changed matters for the others.
            let place = original.locate(file)?;
            let bytes = MappedFile::open(&place).map_err(|error| error.to_string())?;
            // What is not understood has no symbols that are.
            let Ok(library) = Library::parse(&bytes) else { return Ok(Vec::new()) };
            let all = functions(&library);
            let found = all.par_iter().filter(|code| {
                let part = code.symbol.strip_suffix(".cold").is_some() && !wants_parts;
                !part && finder.find(code.symbol.as_bytes()).is_some()
            });
            let mut found: Vec<Match<'_>> = found
                .filter_map(|code| {
                    let name = demangled(code.symbol, Detail::Parameters);
                    let (rank, role) = wanted.fits(code.symbol, &name)?;
                    Some(Match {
                        order: (rank, name.len()),
                        role,
                        file,
                        name,
                        symbol: code.symbol.to_owned(),
                        address: code.address,
                        size: code.size,
                    })
                })
                .collect();
            // Two symbols of one function: constructors have three.
            found.sort_by(|a, b| (a.address, &a.symbol).cmp(&(b.address, &b.symbol)));
            found.dedup_by(|a, b| a.address == b.address && a.name == b.name);
            Ok(found)
        })
        .collect();
    let (mut all, mut unread) = (Vec::new(), BTreeSet::new());
    for found in searched {
        match found {
            Ok(found) => all.extend(found),
            Err(why) => {
                unread.insert(why);
            }
        }
    }
    all.sort_by(|a, b| {
        let key = |one: &Match<'_>| (one.order, one.file.fate());
        key(a).cmp(&key(b)).then_with(|| {
            (&a.file.path, &a.name, a.address).cmp(&(&b.file.path, &b.name, b.address))
        })
    });
    let matches = all.len();
    // Where the name itself is a function's, others are only counted.
    if all.first().is_some_and(|first| first.order.0 == 0 && first.role.is_none()) {
        all.retain(|one| one.order.0 == 0);
    }
    let mut shown = Vec::new();
    let mut checked: BTreeMap<&str, Result<MappedFile, String>> = BTreeMap::new();
    for one in all.into_iter().take(SHOWN) {
        let path = one.file.path.as_str();
        let bytes = checked.entry(path).or_insert_with(|| original.library(one.file));
        match bytes {
            Ok(bytes) => shown.extend(answer(ledger, &one, bytes)),
            Err(why) => {
                unread.insert(why.clone());
            }
        }
    }
    let operator = match wanted {
        Wanted::Operator { name, overload } => {
            let overload = overload.map(|overload| format!(".{overload}")).unwrap_or_default();
            Some(format!("aten::{name}{overload}"))
        }
        _ => None,
    };
    Ok(FunctionsAnswer { operator, matches, shown, unread: unread.into_iter().collect() })
}

/// What became of a page of a library's read-only segments.
fn state(pages: &LibraryPages, page: PageNumber) -> &'static str {
    if pages.touched.contains(page) {
        "touched"
    } else if pages.loader.contains(page) {
        "loader"
    } else if pages.addressed.contains(page) {
        "addressed"
    } else if pages.cold.contains(page) {
        "cold"
    } else {
        "out"
    }
}

fn answer(ledger: &Ledger, one: &Match<'_>, bytes: &[u8]) -> Option<FunctionAnswer> {
    let library = Library::parse(bytes).ok()?;
    let known = ledger.libraries.get(&one.file.path)?;
    let first = one.address / PAGE;
    let last = one.address.checked_add(one.size.max(1) - 1)? / PAGE;
    let writable = |page: PageNumber| {
        let covers = |load: &&elf::ProgramHeader| load.addresses().contains(&(page * PAGE));
        library.loads().find(covers).is_some_and(elf::ProgramHeader::is_writable)
    };
    let mut pages: BTreeMap<&'static str, u64> = BTreeMap::new();
    if matches!(one.file.form, Form::Shrunk | Form::StandIn) {
        // A symbol may claim any size.
        for page in first..=last.min(first + (1 << 16)) {
            let state = if writable(page) { "writable" } else { state(&known.pages, page) };
            *pages.entry(state).or_default() += 1;
        }
    }
    let mut shares_with: Vec<String> = Vec::new();
    let mut others = 0;
    for code in functions(&library) {
        let end = code.address.saturating_add(code.size.max(1));
        let here = code.address / PAGE <= first && first < end.div_ceil(PAGE);
        if here && code.address != one.address {
            others += 1;
            if shares_with.len() < NEIGHBOURS {
                shares_with.push(bare(&demangled(code.symbol, Detail::Parameters)));
            }
        }
    }
    let begins = if writable(first) { "writable" } else { state(&known.pages, first) };
    let drop = ledger.about.cold == "drop";
    let (fate, why) = match (one.file.form, begins) {
        (Form::StandIn, "touched") => {
            (Fate::Hot, "its library left, and this page of it runs while others load".to_owned())
        }
        (Form::StandIn, _) => (
            Fate::Out,
            format!("{}; a stand-in raises an error where it is called", one.file.reason.text()),
        ),
        (Form::Shrunk, "touched") => {
            let alone = if others == 0 {
                "a workload touched its page, on which it is alone".to_owned()
            } else {
                format!("a workload touched its page, which it shares with {others} others")
            };
            (Fate::Hot, alone)
        }
        (Form::Shrunk, "loader") => (Fate::Hot, "the loader reads its page".to_owned()),
        (Form::Shrunk, "addressed") => {
            (Fate::Hot, "its page runs, or may be read by the kernel, before anything could bring it back".to_owned())
        }
        (Form::Shrunk, "writable") => (Fate::Hot, "it lies in data that may be written".to_owned()),
        (Form::Shrunk, "cold") if drop => (
            Fate::Cold,
            "no workload touched its page, and what ran may still reach it; it comes back when it is called".to_owned(),
        ),
        (Form::Shrunk, "cold") => (
            Fate::Cold,
            "no workload touched its page; it comes back when it is called".to_owned(),
        ),
        (Form::Shrunk, _) => (
            Fate::Out,
            "no workload touched its page; calling it raises an error that names it".to_owned(),
        ),
        (Form::Out, _) => (Fate::Out, format!("its library is out: {}", one.file.reason.text())),
        _ => (Fate::Hot, "its library is in the package whole".to_owned()),
    };
    Some(FunctionAnswer {
        name: one.name.clone(),
        symbol: one.symbol.clone(),
        role: one.role,
        library: one.file.path.clone(),
        address: one.address,
        size: one.size,
        fate,
        why,
        pages,
        shares_with,
    })
}

/// Functions and operators of the environment that are spelt like `name`.
pub fn nearest(ledger: &Ledger, original: &Original<'_>, name: &str) -> Vec<String> {
    let operator = operator(name).is_some();
    let files: Vec<&File> = ledger.libraries.keys().filter_map(|path| ledger.file(path)).collect();
    let names: Vec<BTreeSet<String>> = files
        .par_iter()
        .filter(|file| file.form != Form::Out)
        .map(|file| {
            let mut names = BTreeSet::new();
            let Ok(place) = original.locate(file) else { return names };
            let Ok(bytes) = MappedFile::open(&place) else { return names };
            let Ok(library) = Library::parse(&bytes) else { return names };
            for code in functions(&library) {
                let Some(parts) = plain(code.symbol) else { continue };
                match parts.as_slice() {
                    ["at", "_ops", entry, "call"] if operator => {
                        // Most overloads begin with a capital letter; nothing tells others
                        // from parts of the name.
                        let at = entry.rmatch_indices('_').map(|(at, _)| at).find(|at| {
                            entry[at + 1..].starts_with(|next: char| next.is_ascii_uppercase())
                        });
                        names.insert(match at {
                            Some(at) => format!("aten::{}.{}", &entry[..at], &entry[at + 1..]),
                            None => format!("aten::{entry}"),
                        });
                    }
                    _ if !operator => {
                        names.insert(parts.join("::"));
                    }
                    _ => {}
                }
            }
            names
        })
        .collect();
    let all: BTreeSet<&str> = names.iter().flatten().map(String::as_str).collect();
    crate::names::closest(name, all.into_iter())
}
