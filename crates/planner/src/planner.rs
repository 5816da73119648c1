//! Decides what becomes of each file.

use crate::{Error, GpuSide, Options, Vendor, library_pages};
use elf::{Library, PageSet};
use environment::{Environment, File, Kind, MappedFile, source_of};
use plan::{Action, Cold, FilePlan, Plan, Reason};
use profile::Profile;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Decides for every file in scope of `environment`.
///
/// # Errors
/// [`Error::Read`] for a library that cannot be read, [`Error::Unmatched`] for a
/// name in `options` that means nothing.
pub fn plan(
    environment: &Environment,
    profile: &Profile,
    gpu: &GpuSide,
    options: &Options,
) -> Result<Plan, Error> {
    options.keep.check("keep", environment)?;
    options.drop.check("drop", environment)?;
    let sources = imported_sources(environment, profile);
    let started = match options.cold {
        Cold::Keep => crate::programs::named(environment, profile, gpu)?,
        Cold::Drop => BTreeSet::new(),
    };
    let callable = match options.cold {
        Cold::Keep => BTreeMap::new(),
        Cold::Drop => crate::callable::callable(environment, profile, gpu)?,
    };
    let whole = match options.vendor {
        Vendor::Whole => crate::proprietary(environment),
        Vendor::Edit => BTreeSet::new(),
    };
    let decided: Vec<(FilePlan, Option<String>)> = environment
        .files
        .par_iter()
        .enumerate()
        .filter(|(_, file)| file.in_scope)
        .map(|(index, file)| {
            let (sources, started, callable) = (&sources, &started, &callable);
            let whole = &whole;
            let seen = Seen { environment, profile, gpu, sources, started, callable, whole };
            let mut problem = None;
            let (action, reason) = seen.decide(file, options, &mut problem)?;
            let path = file.path.clone();
            Ok((FilePlan { path, index, size: file.size, action, reason }, problem))
        })
        .collect::<Result<_, Error>>()?;
    let mut plan = Plan {
        target: profile.target.clone(),
        cold: options.cold,
        files: Vec::with_capacity(decided.len()),
        whole: BTreeMap::new(),
    };
    for (file, problem) in decided {
        plan.whole.extend(problem.map(|why| (file.path.clone(), why)));
        plan.files.push(file);
    }
    plan.files.sort_by(|a, b| a.path.cmp(&b.path));
    crate::licences::aside(&mut plan.files, environment);
    crate::standard::behind(&mut plan.files, environment);
    crate::modules::store(&mut plan.files, environment, profile, options.cold);
    crate::headers::settle(&mut plan.files, environment)?;
    Ok(plan)
}

/// The sources of modules that were imported, from bytecode or, where there is none, from
/// source. A source that was opened although the bytecode beside it was not was read as
/// text, not imported.
fn imported_sources(environment: &Environment, profile: &Profile) -> BTreeSet<String> {
    let known: BTreeSet<&str> = environment.files.iter().map(|file| file.path.as_str()).collect();
    // The trace saw an edited module without its bytecode.
    let edited: BTreeSet<&str> = crate::edit::editable(&profile.target).collect();
    let cached: BTreeSet<String> = known
        .iter()
        .filter_map(|path| source_of(path))
        .filter(|source| !edited.contains(source.as_str()))
        .collect();
    profile
        .opened
        .iter()
        .filter_map(|path| match source_of(path) {
            Some(source) => Some(source),
            None if cached.contains(path) => None,
            None => Some(path.clone()),
        })
        .filter(|path| {
            std::path::Path::new(path).extension() == Some("py".as_ref())
                && known.contains(path.as_str())
        })
        .collect()
}

struct Seen<'a> {
    environment: &'a Environment,
    profile: &'a Profile,
    gpu: &'a GpuSide,
    sources: &'a BTreeSet<String>,
    /// Programs that some module may start.
    started: &'a BTreeSet<String>,
    /// What the functions that ran can call, by library, where the rest leaves.
    callable: &'a BTreeMap<String, Vec<u64>>,
    /// Distributions whose files are not to be changed.
    whole: &'a BTreeSet<usize>,
}

impl Seen<'_> {
    fn decide(
        &self,
        file: &File,
        options: &Options,
        problem: &mut Option<String>,
    ) -> Result<(Action, Reason), Error> {
        let path = file.path.as_str();
        if self.environment.leads_away(file) {
            return Ok((Action::Leave, Reason::Link));
        }
        if matches!(file.kind, Kind::Metadata | Kind::Licence) && !self.gpu.contains(path) {
            let record = path.ends_with(".dist-info/RECORD");
            return Ok((if record { Action::Record } else { Action::Copy }, Reason::Metadata));
        }
        if options.drop.contains(self.environment, file) {
            return Ok((Action::Leave, Reason::Dropped));
        }
        let keep = options.keep.contains(self.environment, file);
        if let Some(library) = self.gpu.libraries.get(path)
            && !keep
        {
            if library.needed_by.is_empty() {
                return Ok((Action::Leave, self.left()));
            }
            let touched = self.profile.libraries.get(path).map(|seen| &seen.pages);
            let keep = self.stand_in_pages(file, touched, &library.standard)?;
            return Ok((Action::StandIn { keep }, Reason::StandIn));
        }
        if self.gpu.files.contains(path) && !keep {
            return Ok((Action::Leave, self.left()));
        }
        if file.kind == Kind::Bytecode && source_of(path).is_some() {
            let stays = source_of(path).is_some_and(|source| match options.cold {
                Cold::Keep => self.stays(&source, options),
                Cold::Drop => self.sources.contains(&source),
            });
            let reason = if stays { Reason::Replaced } else { Reason::Unused };
            return Ok((Action::Leave, reason));
        }
        if keep {
            let module = file.kind == Kind::PythonSource;
            let cold = !self.sources.contains(path);
            let kept = Action::Module { source: true, stored: None, read: false, cold };
            return Ok((if module { kept } else { Action::Copy }, Reason::Kept));
        }
        let unchanged = file.distribution.is_some_and(|owner| self.whole.contains(&owner))
            && file.kind != Kind::Program;
        if unchanged && (options.cold == Cold::Keep || self.is_used(path)) {
            return Ok((Action::Copy, Reason::Vendor));
        }
        if self.sources.contains(path) {
            let source = self.profile.opened.contains(path);
            return Ok((
                Action::Module { source, stored: None, read: false, cold: false },
                Reason::Opened,
            ));
        }
        let loaded = file.kind != Kind::Program && self.profile.libraries.contains_key(path);
        if loaded || (options.cold == Cold::Keep && file.kind == Kind::SharedLibrary) {
            return self.library(file, options.cold, problem);
        }
        // Some programs are loaded as libraries, too: whole, since nothing of taper's runs
        // in one that is started.
        if file.kind == Kind::Program && self.profile.libraries.contains_key(path) {
            return Ok((Action::Copy, Reason::Loaded));
        }
        if self.profile.opened.contains(path) {
            if file.kind == Kind::SharedLibrary {
                let bytes = MappedFile::open(&self.environment.source(file))?;
                if let Err(error) = Library::parse(&bytes) {
                    *problem = Some(error.to_string());
                    return Ok((Action::Copy, Reason::NotUnderstood));
                }
            }
            if file.kind == Kind::PythonSource && options.cold == Cold::Keep {
                // Read as text and not imported: as a module it is cold.
                return Ok((
                    Action::Module { source: true, stored: None, read: false, cold: true },
                    Reason::Opened,
                ));
            }
            return Ok((Action::Copy, Reason::Opened));
        }
        if self.profile.probed.contains(path) && file.kind != Kind::PythonSource {
            return Ok((Action::Copy, Reason::Probed));
        }
        Ok(match options.cold {
            Cold::Keep => self.cold(file),
            Cold::Drop => (Action::Leave, Reason::Unused),
        })
    }

    /// Whether a workload opened, loaded or imported the file at `path`.
    fn is_used(&self, path: &str) -> bool {
        self.profile.opened.contains(path)
            || self.profile.libraries.contains_key(path)
            || self.sources.contains(path)
    }

    /// Why what belongs to the GPU side leaves.
    fn left(&self) -> Reason {
        if self.gpu.has_gpu { Reason::Feature } else { Reason::GpuSide }
    }

    /// The fate of a file that no workload used, where such files stay.
    fn cold(&self, file: &File) -> (Action, Reason) {
        match file.kind {
            Kind::PythonSource => (
                Action::Module { source: false, stored: None, read: false, cold: true },
                Reason::Cold,
            ),
            Kind::Program if self.started.contains(&file.path) => (Action::Copy, Reason::Started),
            Kind::Program => (Action::Leave, Reason::Unstarted),
            Kind::Header | Kind::StaticLibrary if crate::headers::are_for(file) => {
                (Action::Compress, Reason::Tools)
            }
            // Type stubs are read as sources are: by lazy loaders, when a program runs.
            Kind::TypeStub if crate::modules::is_text(&file.path) => (Action::Text, Reason::Cold),
            // Bytecode that comes here is a module without a source.
            Kind::Data
            | Kind::Bytecode
            | Kind::Metadata
            | Kind::Licence
            | Kind::Header
            | Kind::StaticLibrary
            | Kind::TypeStub => (Action::Copy, Reason::Cold),
            Kind::GpuCode if self.gpu.has_gpu => (Action::Copy, Reason::Cold),
            Kind::GpuCode => (Action::Leave, Reason::GpuSide),
            Kind::SharedLibrary => (Action::Leave, Reason::Unused),
        }
    }

    /// Whether the module with this source is in the package, where nothing is lost.
    fn stays(&self, source: &str, options: &Options) -> bool {
        self.environment.file(source).is_some_and(|file| {
            file.in_scope
                && !self.gpu.contains(source)
                && !options.drop.contains(self.environment, file)
        })
    }

    /// A library that a workload loaded or, where nothing is lost, may load.
    fn library(
        &self,
        file: &File,
        cold: Cold,
        problem: &mut Option<String>,
    ) -> Result<(Action, Reason), Error> {
        let bytes = self.gpu.open(self.environment, file)?;
        let gpu = self.gpu.code.get(&file.path).map(|code| &code.pages);
        let used = self.profile.libraries.get(&file.path);
        let touched = used.map(|used| used.pages.clone()).unwrap_or_default();
        let threaded = used.is_some_and(|used| used.threaded);
        let callable = self.callable.get(&file.path).map_or(&[][..], Vec::as_slice);
        let pages = Library::parse(&bytes)
            .and_then(|library| library_pages(&library, &touched, threaded, cold, callable, gpu));
        Ok(match pages {
            Ok(pages) => {
                let reason = if used.is_some() { Reason::Loaded } else { Reason::Cold };
                (Action::Shrink(pages), reason)
            }
            Err(error) => {
                *problem = Some(error.to_string());
                (Action::Copy, Reason::NotUnderstood)
            }
        })
    }

    /// The pages of a GPU library that ran although nothing of it was initialised:
    /// code that kept libraries call while they load; and its functions `standard`, of the C++
    /// library, with all that these call there.
    fn stand_in_pages(
        &self,
        file: &File,
        touched: Option<&PageSet>,
        standard: &BTreeSet<String>,
    ) -> Result<PageSet, Error> {
        let none = PageSet::new();
        let touched = touched.unwrap_or(&none);
        if touched.is_empty() && standard.is_empty() {
            return Ok(none);
        }
        let bytes = MappedFile::open(&self.environment.source(file))?;
        let whole = Library::parse(&bytes).and_then(|library| {
            let functions = functions::Functions::read(&library)?;
            let mut inside = PageSet::new();
            for load in library.loads() {
                inside.insert_addresses(load.addresses());
            }
            let symbols = library.symbols()?;
            let asked = symbols.iter().filter(|symbol| {
                symbol.is_defined() && symbol.is_function() && standard.contains(symbol.name)
            });
            let asked: Vec<u64> = asked.map(|symbol| symbol.address).collect();
            let mut seen: PageSet = touched.iter().filter(|page| inside.contains(*page)).collect();
            seen.union(&called(&library, &functions, &asked)?);
            let mut pages = functions.whole(&library, &seen, &[]).all();
            // A stand-in has a search table of its own.
            let [index, ..] = functions.tables();
            let inside = index.start.div_ceil(elf::PAGE)..index.end / elf::PAGE;
            pages.remove(&inside.collect());
            Ok(pages)
        });
        // A library that does not parse has no stand-in with code; its functions raise.
        Ok(whole.unwrap_or_default())
    }
}

/// The pages of `library` with the functions at `asked`, all that these call there, and the words
/// that this code reads, also where a trace would watch them: what is read-only once relocated.
fn called(
    library: &Library<'_>,
    functions: &functions::Functions,
    asked: &[u64],
) -> Result<PageSet, elf::Error> {
    let mut pages = functions::reached(library, functions, asked);
    let code: Vec<std::ops::Range<u64>> = functions
        .all()
        .iter()
        .map(|function| function.code.clone())
        .filter(|code| pages.contains(code.start / elf::PAGE))
        .collect();
    let linked = library.relocations()?;
    let linked = linked.iter().filter(|relocation| relocation.kind == elf::Relocation::JUMP_SLOT);
    let named = functions::named(library, code.into_iter());
    for word in named.into_iter().chain(linked.map(|relocation| relocation.address)) {
        pages.insert(word / elf::PAGE);
    }
    Ok(pages)
}
