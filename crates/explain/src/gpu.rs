//! Why code for a GPU architecture has its fate.

use crate::original::Original;
use elf::{Library, PAGE};
use environment::MappedFile;
use fatbin::Target;
use ledger::{Fate, File, Form, Ledger};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Range;

/// A GPU architecture.
#[derive(Debug, Serialize)]
pub struct ArchitectureAnswer {
    /// Its name, as it was asked for.
    pub name: String,
    /// Its fate.
    pub fate: Fate,
    /// Why.
    pub why: String,
    /// Bytes of its code in the environment, the headers of entries included; none without the
    /// environment.
    pub bytes: Option<u64>,
    /// Those on pages of libraries that are in the package.
    pub stays: u64,
    /// The files that hold it: those of which some is in the package, then the most bytes first.
    pub files: Vec<FileShare>,
    /// All architectures of the environment, and their bytes.
    pub all: BTreeMap<String, u64>,
}

/// A file with code for an architecture.
#[derive(Debug, Serialize)]
pub struct FileShare {
    /// Its path in site-packages.
    pub path: String,
    /// Its fate.
    pub fate: Fate,
    /// Bytes of the code.
    pub bytes: u64,
    /// Those on pages that are in the package.
    pub stays: u64,
}

/// Smaller files hold no container worth the time.
const SMALLEST: u64 = 4096;

/// What a file has, or why that is not known.
type Found<'l> = Result<(&'l File, BTreeMap<String, Bytes>), String>;

/// Bytes of one architecture in one file: all, and those on pages that are hot or cold.
type Bytes = (u64, u64, u64);

/// The answer for `name`; `None` where the environment has no such code.
pub fn architecture(
    ledger: &Ledger,
    original: &Original<'_>,
    name: &str,
) -> (Option<ArchitectureAnswer>, Vec<String>) {
    let target = &ledger.about.target;
    let why = if target == "cpu" {
        "the target is the CPU".to_owned()
    } else {
        format!("the target is {target}")
    };
    let mut answer = ArchitectureAnswer {
        name: name.to_owned(),
        fate: Fate::Out,
        why,
        bytes: None,
        stays: 0,
        files: Vec::new(),
        all: BTreeMap::new(),
    };
    if let Some(problem) = original.problem() {
        return (Some(answer), vec![problem.to_owned()]);
    }
    let text = |file: &File| {
        [".py", ".pyc", ".h", ".hpp", ".cuh"].iter().any(|end| file.path.ends_with(end))
    };
    let files: Vec<&File> =
        ledger.files.iter().filter(|file| file.size >= SMALLEST && !text(file)).collect();
    let found: Vec<Found<'_>> =
        files.par_iter().map(|file| Ok((*file, of_file(ledger, original, file)?))).collect();
    let mut problems = Vec::new();
    for found in found {
        match found {
            Ok((file, labels)) => {
                for (label, (bytes, hot, cold)) in labels {
                    *answer.all.entry(label.clone()).or_default() += bytes;
                    if !names(&label, name) {
                        continue;
                    }
                    answer.stays += hot + cold;
                    // A file may have more than one kind of code for it.
                    match answer.files.last_mut().filter(|last| last.path == file.path) {
                        Some(last) => {
                            last.bytes += bytes;
                            last.stays += hot + cold;
                        }
                        None => answer.files.push(FileShare {
                            path: file.path.clone(),
                            fate: file.fate(),
                            bytes,
                            stays: hot + cold,
                        }),
                    }
                }
            }
            Err(problem) => problems.push(problem),
        }
    }
    answer.files.sort_by(|a, b| {
        let key = |file: &FileShare| (file.stays == 0, std::cmp::Reverse(file.bytes));
        key(a).cmp(&key(b)).then_with(|| a.path.cmp(&b.path))
    });
    answer.bytes = Some(answer.files.iter().map(|file| file.bytes).sum());
    if answer.stays > 0 && target != "cpu" {
        answer.fate = Fate::Cold;
    }
    // What is in a package for the CPU is there for what else lies on its pages.
    if answer.stays > 0 && target == "cpu" {
        answer.why.push_str("; what lies beside code of libraries that stay is kept with it");
    }
    if answer.bytes == Some(0) && problems.is_empty() {
        return (None, answer.all.into_keys().collect());
    }
    (Some(answer), problems)
}

/// Whether the entry that NVIDIA's tools call `label` is meant by `name`.
fn names(label: &str, name: &str) -> bool {
    label.split(' ').next() == Some(name)
}

/// Bytes by label in a file of the environment.
fn of_file(
    ledger: &Ledger,
    original: &Original<'_>,
    file: &File,
) -> Result<BTreeMap<String, Bytes>, String> {
    let bytes = MappedFile::open(&original.locate(file)?).map_err(|error| error.to_string())?;
    let mut labels: BTreeMap<String, Bytes> = BTreeMap::new();
    let known = ledger.libraries.get(&file.path).filter(|_| file.form == Form::Shrunk);
    let parsed = known.and_then(|_| Library::parse(&bytes).ok());
    let target: Option<Target> = ledger.about.target.parse().ok();
    let mut count = |label: String, range: &Range<u64>, stays: bool| {
        let row = labels.entry(label).or_default();
        let size = range.end - range.start;
        row.0 += size;
        match (&parsed, known, &target) {
            // All that a GPU of the target runs comes back when it is touched.
            (Some(_), _, Some(_)) => row.2 += if stays { size } else { 0 },
            (Some(library), Some(known), None) => {
                let (hot, cold) = on_pages(library, &known.pages, range);
                (row.1, row.2) = (row.1 + hot, row.2 + cold);
            }
            _ if matches!(file.form, Form::Copied | Form::Moved) => row.1 += size,
            _ => {}
        }
    };
    let mut ranges = Vec::new();
    for container in fatbin::containers(&bytes) {
        ranges.push(container.range());
        let why = target.as_ref().map(|target| fatbin::serving(&container, target));
        for (place, entry) in container.entries.iter().enumerate() {
            let stays = why.as_ref().is_some_and(|why| why[place].stays());
            count(entry.label(), &entry.range(), stays);
        }
    }
    if !ranges.is_empty() {
        for frame in fatbin::bare_frames(&bytes, &ranges) {
            let stays = target.as_ref().is_some_and(|target| target.runs(frame.architecture));
            count(frame.architecture.to_string(), &frame.range, stays);
        }
    }
    Ok(labels)
}

/// Bytes of a range of a library's file that lie on its hot and on its cold pages.
fn on_pages(library: &Library<'_>, pages: &plan::LibraryPages, range: &Range<u64>) -> (u64, u64) {
    let (mut hot, mut cold) = (0, 0);
    for load in library.loads() {
        let start = range.start.max(load.offset.0);
        let end = range.end.min(load.offset.0.saturating_add(load.file_size));
        let mut at = start;
        while at < end {
            let address = load.address.saturating_add(at - load.offset.0);
            let next = (at + PAGE - address % PAGE).min(end);
            let page = address / PAGE;
            if pages.cold.contains(page) {
                cold += next - at;
            } else if load.is_writable()
                || pages.loader.contains(page)
                || pages.touched.contains(page)
                || pages.addressed.contains(page)
            {
                hot += next - at;
            }
            at = next;
        }
    }
    (hot, cold)
}
