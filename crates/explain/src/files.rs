//! Why files, libraries, folders and distributions have their fates.

use elf::PAGE;
use ledger::{Fate, File, Form, Ledger, Library, Source};
use plan::Reason;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// A file.
#[derive(Debug, Serialize)]
pub struct FileAnswer {
    /// Its path in site-packages.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its distribution.
    pub distribution: Option<String>,
    /// Its fate.
    pub fate: Fate,
    /// The reason.
    pub reason: Reason,
    /// The reason as a line for a person.
    pub why: &'static str,
    /// How it is in the package.
    pub form: &'static str,
}

impl FileAnswer {
    /// Of `file`.
    pub fn of(ledger: &Ledger, file: &File) -> Self {
        Self {
            path: file.path.clone(),
            size: file.size,
            distribution: ledger.owner(file).map(str::to_owned),
            fate: file.fate(),
            reason: file.reason,
            why: why(ledger, file),
            form: form(file.form),
        }
    }
}

/// The reason for a file's fate, as a line for a person.
fn why(ledger: &Ledger, file: &File) -> &'static str {
    match (file.reason, file.form) {
        (Reason::Cold, Form::Copied | Form::Moved | Form::Module { stored: false, .. }) => {
            "no workload used it, and the target can"
        }
        (Reason::Opened, Form::Module { cold: false, .. }) => "a workload imported it",
        (Reason::Opened, Form::Module { .. }) => "a workload read its source",
        (Reason::StandIn, _) => "it belongs to the GPU side, and libraries that stay bind to it",
        (Reason::Unused, _) if ledger.about.cold == "drop" => {
            "no workload used it, and --cold drop leaves such out"
        }
        (reason, _) => reason.text(),
    }
}

/// How a file is in the package.
fn form(form: Form) -> &'static str {
    match form {
        Form::Out => "not in the package",
        Form::Copied => "in the package as it is",
        Form::Moved => "under another path, where it makes no module of its folder or name",
        Form::Listed => "written anew from what is in the package",
        Form::Compressed => "compressed in _taper/tools",
        Form::Text => "its text is in _taper/modules, and comes back when Python opens it",
        Form::Shrunk => "in the package with some of its pages",
        Form::StandIn => "a small library of the same name stands in its place",
        Form::Module { stored: true, cold: true, source: Source::Store } => {
            "its source is in _taper/modules, and is compiled when it is imported"
        }
        Form::Module { stored: true, source: Source::File, .. } => {
            "its code is in _taper/modules, its source a file"
        }
        Form::Module { stored: true, source: Source::Out, .. } => {
            "its code is in _taper/modules, without its source"
        }
        Form::Module { stored: true, .. } => "in _taper/modules with its source",
        Form::Module { stored: false, source: Source::Out, .. } => "a file of bytecode",
        Form::Module { stored: false, .. } => "a file",
    }
}

/// Bytes of the original by fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Shares {
    /// In the package as they were.
    pub hot: u64,
    /// In the package, compressed.
    pub cold: u64,
    /// Not in the package, or made anew there.
    pub out: u64,
}

impl Shares {
    /// Of a file.
    pub fn of(ledger: &Ledger, file: &File) -> Self {
        let size = file.size;
        let library = ledger.libraries.get(&file.path);
        let pages = library.map(|library| &library.pages);
        match (file.form, file.fate(), pages) {
            (Form::Shrunk, _, Some(pages)) => {
                let cold = (pages.cold.len() * PAGE).min(size);
                let out = pages.absent.saturating_mul(PAGE).min(size - cold);
                Self { hot: size - cold - out, cold, out }
            }
            (Form::StandIn, _, Some(pages)) => {
                let hot = (pages.touched.len() * PAGE).min(size);
                Self { hot, cold: 0, out: size - hot }
            }
            (_, Fate::Hot, _) => Self { hot: size, ..Self::default() },
            (_, Fate::Cold, _) => Self { cold: size, ..Self::default() },
            (_, Fate::Out, _) => Self { out: size, ..Self::default() },
        }
    }

    fn add(&mut self, other: Self) {
        self.hot += other.hot;
        self.cold += other.cold;
        self.out += other.out;
    }
}

/// The pages of a library by reason, in bytes.
#[derive(Debug, Default, Serialize)]
pub struct PageBytes {
    /// Hot: the loader or the kernel reads them.
    pub loader: u64,
    /// Hot: a workload touched them.
    pub touched: u64,
    /// Hot: the program can give their addresses to the kernel, which does not wait.
    pub addressed: u64,
    /// Cold.
    pub cold: u64,
    /// Not there, or made anew.
    pub out: u64,
}

/// Another library.
#[derive(Debug, Serialize)]
pub struct Other {
    /// Its path in site-packages.
    pub path: String,
    /// Its fate.
    pub fate: Fate,
}

/// A shared library.
#[derive(Debug, Serialize)]
pub struct LibraryAnswer {
    /// The file.
    #[serde(flatten)]
    pub file: FileAnswer,
    /// Whether a workload loaded it.
    pub loaded: bool,
    /// Its read-only pages; none for a library that is there whole or not at all.
    pub pages: Option<PageBytes>,
    /// Bytes of the file in the package that has its name.
    pub package: Option<u64>,
    /// What it needs: the names in its `DT_NEEDED`.
    pub needs: Vec<String>,
    /// The libraries that name it in theirs.
    pub needed_by: Vec<Other>,
    /// For a stand-in, the libraries that bind to it.
    pub bound_by: Vec<String>,
    /// Why it was not understood.
    pub whole: Option<String>,
}

impl LibraryAnswer {
    /// Of the library `file` in the package at `folder`.
    pub fn of(ledger: &Ledger, file: &File, library: &Library, folder: &Path) -> Self {
        let name = file.path.rsplit('/').next().unwrap_or(&file.path);
        let called = |needed: &String| needed == name || Some(needed) == library.soname.as_ref();
        let mut needed_by: Vec<Other> = ledger
            .libraries
            .iter()
            .filter(|(_, other)| other.needed.iter().any(called))
            .filter_map(|(path, _)| ledger.file(path))
            .map(|file| Other { path: file.path.clone(), fate: file.fate() })
            .collect();
        needed_by.sort_by(|a, b| (a.fate, &a.path).cmp(&(b.fate, &b.path)));
        let bytes = |set: &elf::PageSet| set.len() * PAGE;
        let in_part = matches!(file.form, Form::Shrunk | Form::StandIn);
        let pages = in_part.then(|| {
            let pages = &library.pages;
            PageBytes {
                loader: bytes(&pages.loader),
                touched: bytes(&pages.touched),
                addressed: bytes(&pages.addressed),
                cold: bytes(&pages.cold),
                out: match file.form {
                    Form::StandIn => file.size.saturating_sub(bytes(&pages.touched)),
                    _ => pages.absent.saturating_mul(PAGE),
                },
            }
        });
        let place = folder.join(&file.path);
        Self {
            file: FileAnswer::of(ledger, file),
            loaded: file.reason == Reason::Loaded,
            pages,
            package: place
                .metadata()
                .ok()
                .filter(std::fs::Metadata::is_file)
                .map(|about| about.len()),
            needs: library.needed.clone(),
            needed_by,
            bound_by: library.bound_by.clone(),
            whole: library.whole.clone(),
        }
    }
}

/// The files with one fate and one reason.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Their fate.
    pub fate: Fate,
    /// The reason.
    pub reason: Reason,
    /// The reason as a line for a person.
    pub why: &'static str,
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What became of these: a library that is hot has cold pages.
    #[serde(flatten)]
    pub shares: Shares,
}

/// Many files: a distribution, a folder, or all.
#[derive(Debug, Serialize)]
pub struct SumAnswer {
    /// What they are: `distribution`, `folder`, `environment`.
    pub of: &'static str,
    /// Its name.
    pub name: String,
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What became of these.
    #[serde(flatten)]
    pub shares: Shares,
    /// By fate and reason, the most bytes first.
    pub rows: Vec<Row>,
    /// The largest files.
    pub largest: Vec<FileAnswer>,
}

/// Files that are shown of many.
const LARGEST: usize = 5;

impl SumAnswer {
    /// Of the files that `belongs` says.
    pub fn of(
        ledger: &Ledger,
        of: &'static str,
        name: &str,
        belongs: impl Fn(&File) -> bool,
    ) -> Self {
        let mut files: Vec<&File> = ledger.files.iter().filter(|file| belongs(file)).collect();
        let mut rows: BTreeMap<(Fate, Reason, &'static str), Row> = BTreeMap::new();
        let mut shares = Shares::default();
        for file in &files {
            let (fate, reason, why) = (file.fate(), file.reason, why(ledger, file));
            let own = Shares::of(ledger, file);
            let row = rows.entry((fate, reason, why)).or_insert_with(|| Row {
                fate,
                reason,
                why,
                files: 0,
                bytes: 0,
                shares: Shares::default(),
            });
            row.files += 1;
            row.bytes += file.size;
            row.shares.add(own);
            shares.add(own);
        }
        let mut rows: Vec<Row> = rows.into_values().collect();
        rows.sort_by_key(|row| (row.fate, std::cmp::Reverse(row.bytes)));
        files.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.path.cmp(&b.path)));
        Self {
            of,
            name: name.to_owned(),
            files: files.len() as u64,
            bytes: files.iter().map(|file| file.size).sum(),
            shares,
            rows,
            largest: files.iter().take(LARGEST).map(|file| FileAnswer::of(ledger, file)).collect(),
        }
    }
}
