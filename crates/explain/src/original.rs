//! The environment that a package was made from, as far as it is still there.

use elf::Library;
use environment::{Interpreter, MappedFile, Place};
use imports::{Graph, Hot, Modules, Unreadable};
use ledger::{File, Ledger};
use report::Printer;
use std::path::{Path, PathBuf};

/// Where the environment's files are, or why they are nowhere.
pub struct Original<'l> {
    ledger: &'l Ledger,
    roots: Result<Vec<Place>, String>,
}

impl<'l> Original<'l> {
    /// The environment of the interpreter `python`, or of the one that is found without a name.
    pub fn find(ledger: &'l Ledger, python: Option<&Path>) -> Self {
        let roots = Interpreter::find(python).map_err(|error| error.to_string());
        let roots = roots.and_then(|interpreter| {
            let (version, wanted) = (&interpreter.version, &ledger.about.python);
            let python = interpreter.executable.display();
            if version != wanted {
                return Err(format!(
                    "{python} is Python {version}, and the package was made from {wanted}; name its environment with --python"
                ));
            }
            let sources = &interpreter.sources;
            let plain = sources.plain.iter().map(|(folder, _)| folder);
            let folders: Vec<Place> = interpreter
                .site_packages
                .iter()
                .chain(plain)
                .map(|folder| Place { name: String::new(), path: folder.clone() })
                .chain(sources.places())
                .collect();
            // An interpreter without any of its files is another environment.
            let torch = |root: &Place| {
                let some = ledger.files.iter().filter(|file| file.size > 0).take(50);
                some.into_iter().any(|file| root.locate(&file.path).is_some_and(|path| path.is_file()))
            };
            if folders.iter().any(torch) {
                Ok(folders)
            } else {
                Err(format!(
                    "{python} has none of the files that the package was made from; name its environment with --python"
                ))
            }
        });
        Self { ledger, roots }
    }

    /// Why there is no environment.
    pub fn problem(&self) -> Option<&str> {
        self.roots.as_ref().err().map(String::as_str)
    }

    /// Where `file` is, if it has the size that it had.
    ///
    /// # Errors
    /// What differs.
    pub fn locate(&self, file: &File) -> Result<PathBuf, String> {
        let roots = self.roots.as_ref().map_err(Clone::clone)?;
        let place =
            roots.iter().filter_map(|root| root.locate(&file.path)).find(|place| place.is_file());
        let place = place.ok_or_else(|| {
            format!(
                "{} is not in the environment; name the one that was packed with --python",
                file.path
            )
        })?;
        let size = place.metadata().map(|about| about.len()).map_err(|error| error.to_string())?;
        if size == file.size {
            return Ok(place);
        }
        let (path, was) = (&file.path, file.size);
        Err(format!(
            "{path} changed since it was packed: it had {was} bytes, now {size}; pack again"
        ))
    }

    /// The library `file`, if it is the one that was packed.
    ///
    /// # Errors
    /// What differs.
    pub fn library(&self, file: &File) -> Result<MappedFile, String> {
        let place = self.locate(file)?;
        let bytes = MappedFile::open(&place).map_err(|error| error.to_string())?;
        let Some(known) = self.ledger.libraries.get(&file.path) else { return Ok(bytes) };
        let changed = match (&known.build_id, &known.content) {
            (Some(was), _) => {
                let library = Library::parse(&bytes).map_err(|error| error.to_string())?;
                library.build_id_text().as_ref() != Some(was)
            }
            (None, Some(was)) => {
                let hash = blake3::Hasher::new().update_rayon(&bytes).finalize();
                !hash.to_hex().starts_with(was.as_str())
            }
            (None, None) => false,
        };
        if changed {
            return Err(format!("{} changed since it was packed; pack again", file.path));
        }
        Ok(bytes)
    }

    /// Like [`Original::graph`], and shows that it works.
    ///
    /// # Errors
    /// Why there is no environment.
    pub fn graph_if_there(&self, printer: &Printer) -> Result<Graph, String> {
        self.roots.as_ref().map_err(Clone::clone)?;
        printer.phase("imports", || self.graph())
    }

    /// The imports of the environment's modules. What is not as it was is a module of which
    /// nothing is known.
    ///
    /// # Errors
    /// Why there is no environment.
    fn graph(&self) -> Result<Graph, String> {
        self.roots.as_ref().map_err(Clone::clone)?;
        let modules = Modules::new(self.ledger.files.iter().map(|file| file.path.as_str()));
        Ok(Graph::read(modules, |path| {
            let file = self.ledger.file(path);
            let other = |reason: String| Unreadable::Read(std::io::Error::other(reason));
            let file = file.ok_or_else(|| other(format!("{path} is in no record")))?;
            imports::read(&self.locate(file).map_err(other)?)
        }))
    }

    /// The modules that workloads imported, in their order.
    pub fn hot(&self) -> Hot {
        let ran = self.ledger.files.iter().filter(|file| file.ran());
        let named = ran.filter_map(|file| Some((imports::name_of(&file.path)?.0, file.order)));
        named.map(|(name, order)| (name, order.map(u64::from))).collect()
    }
}
