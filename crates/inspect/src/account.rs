//! The whole environment: files in, totals out.

use crate::component::Rules;
use crate::inspection::{DistributionShare, Gpu, Inspection, Library, Share};
use crate::mapped::Mapped;
use crate::{Error, gpu, library};
use environment::{Environment, File, Kind};
use rayon::prelude::*;

/// What a file holds besides its size.
enum Content {
    Elf(Box<Library>),
    Gpu(Gpu),
}

/// Labels every byte of the files of `environment`. Libraries are mapped and read in
/// parallel; of every other file only the size counts.
///
/// # Errors
/// [`Error::Read`] for a file that can no longer be read, [`Error::Changed`] for one
/// whose size is not that of the scan, and [`Error::Unbalanced`] where a total does not
/// equal the sum of its parts.
pub fn inspect(environment: &Environment) -> Result<Inspection, Error> {
    let rules = Rules::new();
    // Large files first, so that none is left to one thread at the end.
    let mut read: Vec<&File> =
        environment.files.iter().filter(|file| holds_code(file.kind)).collect();
    read.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.path.cmp(&b.path)));
    let contents: Vec<Content> = read
        .par_iter()
        .with_max_len(1)
        .map(|file| content(environment, file, &rules))
        .collect::<Result<_, Error>>()?;
    let mut all = shares(environment);
    for content in contents {
        match content {
            Content::Elf(library) => all.add_library(*library),
            Content::Gpu(gpu) => all.gpu.merge(&gpu),
        }
    }
    all.libraries.sort_by(|a, b| a.path.cmp(&b.path));
    check(&all)?;
    Ok(all)
}

fn holds_code(kind: Kind) -> bool {
    matches!(kind, Kind::SharedLibrary | Kind::Program | Kind::StaticLibrary | Kind::GpuCode)
}

fn content(environment: &Environment, file: &File, rules: &Rules) -> Result<Content, Error> {
    let path = environment.source(file);
    let mapped = Mapped::open(&path)?;
    let data = mapped.bytes();
    if data.len() as u64 != file.size {
        return Err(Error::Changed { path, scanned: file.size, found: data.len() as u64 });
    }
    let place = match file.kind {
        Kind::SharedLibrary | Kind::Program => {
            return Ok(Content::Elf(Box::new(library::read(&file.path, data, rules)?)));
        }
        Kind::StaticLibrary => "(static library)",
        _ => "(file)",
    };
    let (mut gpu, _) = gpu::read(data);
    if gpu.bytes > 0 {
        gpu.sections.insert(place.to_owned(), gpu.bytes);
    }
    Ok(Content::Gpu(gpu))
}

/// What needs only sizes.
fn shares(environment: &Environment) -> Inspection {
    let mut all = Inspection {
        unreadable: environment.problems.iter().map(ToString::to_string).collect(),
        ..Inspection::default()
    };
    let row = |name: Option<String>, version: String, in_scope| DistributionShare {
        name,
        version,
        in_scope,
        share: Share::default(),
    };
    all.distributions = environment
        .distributions
        .iter()
        .map(|known| row(Some(known.name.clone()), known.version.clone(), known.in_scope))
        .collect();
    let mut stray = row(None, String::new(), true);
    for file in &environment.files {
        all.total.add(file.size);
        if file.in_scope {
            all.in_scope.add(file.size);
        }
        all.kinds.entry(file.kind).or_default().add(file.size);
        let owner = file.distribution.and_then(|index| all.distributions.get_mut(index));
        owner.unwrap_or(&mut stray).share.add(file.size);
    }
    all.distributions.push(stray);
    all
}

impl Inspection {
    fn add_library(&mut self, library: Library) {
        self.elf.add(library.bytes);
        self.gpu.merge(&library.gpu);
        for (name, section) in &library.sections {
            *self.sections.entry(name.clone()).or_default() += section.bytes;
        }
        for (component, bytes) in &library.components {
            *self.components.entry(component).or_default() += bytes;
        }
        self.libraries.push(library);
    }
}

/// Checks the totals over all files; [`library::read`] has checked each library.
fn check(all: &Inspection) -> Result<(), Error> {
    let balance = |what: &str, parts: u64, total: u64| {
        if parts == total {
            return Ok(());
        }
        let path = "the whole environment".to_owned();
        Err(Error::Unbalanced { path, what: what.to_owned(), parts, total })
    };
    let distributions = all.distributions.iter().map(|row| row.share.bytes).sum();
    balance("distributions", distributions, all.total.bytes)?;
    balance("kinds", all.kinds.values().map(|share| share.bytes).sum(), all.total.bytes)?;
    let elf: u64 = [Kind::SharedLibrary, Kind::Program]
        .iter()
        .filter_map(|kind| all.kinds.get(kind))
        .map(|share| share.bytes)
        .sum();
    balance("ELF files", all.elf.bytes, elf)?;
    balance("sections", all.sections.values().sum(), all.elf.bytes)?;
    balance("components", all.components.values().sum(), all.elf.bytes)?;
    balance("GPU code by architecture", all.gpu.parts(), all.gpu.bytes)?;
    balance("GPU code by section", all.gpu.sections.values().sum(), all.gpu.bytes)
}
