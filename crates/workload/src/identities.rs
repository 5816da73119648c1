//! What tells libraries from others of the same name.

use anyhow::Result;
use elf::Library;
use environment::{Environment, MappedFile};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The identities of libraries, each worked out once.
pub struct Identities<'a> {
    environment: &'a Environment,
    known: BTreeMap<PathBuf, (Option<String>, String)>,
}

impl<'a> Identities<'a> {
    /// None known yet.
    pub fn new(environment: &'a Environment) -> Self {
        Self { environment, known: BTreeMap::new() }
    }

    /// The build id, where there is one, and the BLAKE3 hash of the library at `path`.
    pub fn of(&mut self, path: &Path) -> Result<(Option<String>, String)> {
        if let Some(known) = self.known.get(path) {
            return Ok(known.clone());
        }
        let bytes = MappedFile::open(path)?;
        let build_id = Library::parse(&bytes).ok().and_then(|library| library.build_id_text());
        let content = blake3::Hasher::new().update_rayon(&bytes).finalize().to_hex().to_string();
        self.known.insert(path.into(), (build_id.clone(), content.clone()));
        Ok((build_id, content))
    }

    /// The hash of the library with this path in site-packages; `None` if it is gone.
    pub fn content(&mut self, name: &str) -> std::io::Result<Option<String>> {
        let Some(path) = self.environment.locate(name) else { return Ok(None) };
        if !path.exists() {
            return Ok(None);
        }
        self.of(&path).map(|(_, content)| Some(content)).map_err(std::io::Error::other)
    }
}
