//! Why functions and operators have their fates: where they lie, and what became of those
//! pages.

use crate::explain_original::Original;
use elf::{Library, PAGE, PageNumber};
use ledger::{Fate, File, Form, Ledger};
use plan::{LibraryPages, MappedFile};
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

/// What is searched for.
pub enum Wanted<'n> {
    /// A function with this name, mangled or not, with or without what is around it.
    Exactly(&'n str),
    /// Also one whose name has this as a part.
    Part(&'n str),
    /// What serves the operator `aten::NAME.OVERLOAD`.
    Operator {
        /// The name.
        name: &'n str,
        /// The overload, where one is asked for.
        overload: Option<&'n str>,
    },
}

/// `aten::NAME.OVERLOAD` taken apart.
pub fn operator(name: &str) -> Option<Wanted<'_>> {
    let rest = name.strip_prefix("aten::")?;
    let (name, overload) = match rest.split_once('.') {
        Some((name, overload)) => (name, Some(overload)),
        None => (rest, None),
    };
    let word = |text: &str| {
        let letter = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
        !text.is_empty() && text.bytes().all(letter)
    };
    (word(name) && overload.is_none_or(word)).then_some(Wanted::Operator { name, overload })
}

impl Wanted<'_> {
    /// A word that the symbol of whatever is meant contains: names stand in symbols as they
    /// are, apart from those that every C++ program has.
    fn word(&self) -> &str {
        const COMMON: [&str; 10] = [
            "std",
            "string",
            "basic_string",
            "allocator",
            "operator",
            "const",
            "unsigned",
            "int",
            "anonymous",
            "namespace",
        ];
        let text = match self {
            Self::Operator { name, .. } => return name.trim_end_matches('_'),
            Self::Exactly(text) | Self::Part(text) => text,
        };
        if text.starts_with("_Z") {
            return text;
        }
        let name = text.split('(').next().filter(|name| !name.is_empty()).unwrap_or(text);
        let words = name.split(|letter: char| letter != '_' && !letter.is_alphanumeric());
        words.filter(|word| !COMMON.contains(word)).max_by_key(|word| word.len()).unwrap_or("")
    }

    /// How well a function fits, 0 best, and what it is to an operator.
    fn fits(&self, symbol: &str, name: &str) -> Option<(u8, Option<&'static str>)> {
        match self {
            Self::Operator { name: operator, overload } => {
                role(name, operator, *overload).map(|(rank, role)| (rank, Some(role)))
            }
            Self::Exactly(text) | Self::Part(text) => {
                let bare = bare(name);
                let rank = if symbol == *text || name == *text || bare == *text {
                    0
                } else if matches!(self, Self::Exactly(_)) {
                    return None;
                } else if bare.strip_suffix(text).is_some_and(|rest| rest.ends_with("::")) {
                    1
                } else if name.contains(text) || symbol.contains(text) {
                    2
                } else {
                    return None;
                };
                Some((rank, None))
            }
        }
    }
}

/// What a function is to the operator `aten::NAME.OVERLOAD`, and in which place it is told.
fn role(function: &str, name: &str, overload: Option<&str>) -> Option<(u8, &'static str)> {
    let whole = bare(function);
    let parts: Vec<&str> = whole.split("::").collect();
    let unique = overload.map_or(name.to_owned(), |overload| format!("{name}_{overload}"));
    // Without an overload, all are meant.
    let meant = |text: &str| {
        text == unique
            || (overload.is_none()
                && text.strip_prefix(name).is_some_and(|rest| rest.starts_with('_')))
    };
    match parts.as_slice() {
        ["at", "_ops", entry, "call"] if meant(entry) => return Some((0, "dispatch entry")),
        ["at", "_ops", entry, "redispatch"] if meant(entry) => {
            return Some((1, "dispatch entry from a kernel"));
        }
        _ => {}
    }
    if parts.first() != Some(&"at") {
        return None;
    }
    let kernel = |part: &&str| {
        let rest = part.strip_prefix("wrapper_")?;
        // The dispatch key, then the operator.
        let (_, operator) = rest.split_once('_')?;
        Some(operator == unique || (overload.is_none() && operator == name))
    };
    if parts.iter().any(|part| kernel(part) == Some(true)) {
        return Some((2, "registered kernel"));
    }
    let plain = name.trim_end_matches('_');
    let native = [
        name.to_owned(),
        plain.to_owned(),
        format!("{plain}_"),
        format!("{plain}_out"),
        format!("{plain}_cpu"),
        format!("{plain}_kernel"),
        format!("{plain}_stub"),
        format!("structured_{plain}"),
        format!("structured_{plain}_out"),
        format!("structured_ufunc_{plain}_CPU"),
    ];
    (parts.contains(&"native")
        && parts.iter().skip(2).any(|part| native.iter().any(|one| one == part)))
    .then_some((3, "native function of its name"))
}

/// A function's name without parameters and template arguments.
fn bare(name: &str) -> String {
    let name = name.replace("(anonymous namespace)", "{anonymous}");
    let (mut out, mut depth) = (String::with_capacity(name.len()), 0_usize);
    for letter in name.chars() {
        match letter {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            '(' if depth == 0 => break,
            _ if depth == 0 => out.push(letter),
            _ => {}
        }
    }
    out.replace("{anonymous}", "(anonymous namespace)")
}

/// The C++ name of `symbol`; as it is where it has none.
fn demangled(symbol: &str) -> String {
    if !symbol.starts_with("_Z") {
        return symbol.to_owned();
    }
    let options = cpp_demangle::DemangleOptions::new().no_return_type();
    let limits = cpp_demangle::ParseOptions::default().recursion_limit(64);
    cpp_demangle::Symbol::new_with_options(symbol, &limits)
        .ok()
        .and_then(|name| name.demangle_with_options(&options).ok())
        .unwrap_or_else(|| symbol.to_owned())
}

/// A function of a library.
struct Code<'b> {
    symbol: &'b str,
    address: u64,
    size: u64,
}

/// The functions of `library`, by its full symbol table and the one that the loader reads.
fn functions<'b>(library: &Library<'b>) -> Vec<Code<'b>> {
    const FUNCTION: u8 = 2;
    const CHOSEN: u8 = 10;
    let local = library
        .local_symbols()
        .filter(|symbol| matches!(symbol.kind, FUNCTION | CHOSEN))
        .filter_map(|symbol| {
            let name = std::str::from_utf8(symbol.name).ok()?;
            Some(Code { symbol: name, address: symbol.address, size: symbol.size })
        });
    let mut all: Vec<Code<'b>> = local.collect();
    if all.is_empty() {
        let exported = library.symbols().unwrap_or_default().into_iter();
        all.extend(exported.filter(|symbol| symbol.is_code() && symbol.is_defined()).map(
            |symbol| Code { symbol: symbol.name, address: symbol.address, size: symbol.size },
        ));
    }
    all
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
                let part = code.symbol.ends_with(".cold") && !wants_parts;
                !part && finder.find(code.symbol.as_bytes()).is_some()
            });
            let mut found: Vec<Match<'_>> = found
                .filter_map(|code| {
                    let name = demangled(code.symbol);
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
                shares_with.push(bare(&demangled(code.symbol)));
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
    crate::explain_names::closest(name, all.into_iter())
}

/// The parts of a name that is nothing but names, read without a demangler, which would take
/// seconds for all functions of PyTorch.
fn plain(symbol: &str) -> Option<Vec<&str>> {
    let mut rest = symbol.strip_prefix("_ZN")?;
    rest = rest.strip_prefix('K').unwrap_or(rest);
    let mut parts = Vec::new();
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return (rest.starts_with('E') && !parts.is_empty()).then_some(parts);
        }
        let length: usize = rest[..digits].parse().ok()?;
        let end = digits.checked_add(length)?;
        parts.push(rest.get(digits..end)?);
        rest = &rest[end..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_told_from_functions() {
        let parts = |name| match operator(name) {
            Some(Wanted::Operator { name, overload }) => Some((name, overload)),
            _ => None,
        };
        assert_eq!(parts("aten::add.Tensor"), Some(("add", Some("Tensor"))));
        assert_eq!(parts("aten::mm"), Some(("mm", None)));
        assert_eq!(parts("at::native::add"), None);
        assert_eq!(parts("aten::a::b"), None);
    }

    #[test]
    fn what_serves_an_operator_is_known_by_its_name() {
        let rank = |function, overload| role(function, "add", overload).map(|(rank, _)| rank);
        assert_eq!(rank("at::_ops::add_Tensor::call(at::Tensor const&)", Some("Tensor")), Some(0));
        assert_eq!(rank("at::_ops::add_Scalar::call(at::Tensor const&)", Some("Tensor")), None);
        assert_eq!(rank("at::_ops::add_Scalar::redispatch(int)", None), Some(1));
        assert_eq!(
            rank("at::(anonymous namespace)::wrapper_CPU_add_Tensor(int)", Some("Tensor")),
            Some(2)
        );
        assert_eq!(
            rank("at::native::structured_ufunc_add_CPU::impl(int)", Some("Tensor")),
            Some(3)
        );
        assert_eq!(rank("at::native::addmm(int)", None), None);
        assert_eq!(rank("torch::add(int)", None), None);
    }

    #[test]
    fn names_lose_what_does_not_name_them() {
        assert_eq!(bare("a::b<c::d, (e)1>::f(g<h>) [clone .cold]"), "a::b::f");
        assert_eq!(bare("at::(anonymous namespace)::f(int)"), "at::(anonymous namespace)::f");
        assert_eq!(plain("_ZN2at6native6conv2dEv"), Some(vec!["at", "native", "conv2d"]));
        assert_eq!(plain("_ZN9"), None);
        assert_eq!(plain("memcpy"), None);
        assert_eq!(Wanted::Part("at::native::conv2d(std::string)").word(), "native");
    }
}
