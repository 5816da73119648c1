//! The signatures of operators in the environment, for models whose code does not name
//! overloads.

use anyhow::{Context, Result};
use environment::{Interpreter, MappedFile};
use operators::{Schema, Schemas, Signatures};
use report::bad_input;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Where the code generator in the wheel keeps ATen's signatures.
const NATIVE: &str = "torchgen/packaged/ATen/native/native_functions.yaml";

/// The library with those of TorchScript and of quantization.
const LIBRARY: &str = "torch/lib/libtorch_cpu.so";

/// Folders of site-packages whose libraries register nothing, or are read already.
const OTHERS: [&str; 5] = ["torch", "nvidia", "triton", "functorch", "numpy.libs"];

/// The largest library of an extension that is looked through, in bytes.
const MAX_LIBRARY: u64 = 512 << 20;

/// How deep libraries may lie in site-packages.
const MAX_DEPTH: usize = 6;

/// Signatures of an environment.
pub struct Installed {
    state: Mutex<State>,
    site_packages: Vec<PathBuf>,
}

struct State {
    schemas: Schemas,
    /// Whether the libraries that extend PyTorch were looked through.
    extensions: bool,
}

impl Installed {
    /// Reads what PyTorch itself registers in the environment of `interpreter`.
    ///
    /// # Errors
    /// If there is no PyTorch in it.
    pub fn read(interpreter: &Interpreter) -> Result<Self> {
        let find = |name: &str| {
            let paths = interpreter.site_packages.iter().map(|folder| folder.join(name));
            paths.into_iter().find(|path| path.is_file()).ok_or_else(|| {
                bad_input(format!(
                    "{} has no {name}; a TorchScript archive does not name the overloads of its \
                     operators, which depend on PyTorch's signatures: name an environment with \
                     torch with --python",
                    interpreter.executable.display()
                ))
            })
        };
        let native = find(NATIVE)?;
        let mut schemas = Schemas::default();
        let text = std::fs::read_to_string(&native)
            .with_context(|| format!("cannot read {}", native.display()))?;
        if schemas.add_native(&text) == 0 {
            return Err(bad_input(format!("{} holds no signatures", native.display())));
        }
        schemas.add_library(&MappedFile::open(&find(LIBRARY)?)?);
        let state = Mutex::new(State { schemas, extensions: false });
        Ok(Self { state, site_packages: interpreter.site_packages.clone() })
    }
}

impl Signatures for Installed {
    fn of(&self, name: &str) -> Vec<Arc<Schema>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = name.starts_with("aten::") || name.starts_with("prim::");
        if !ours && !state.extensions && !state.schemas.has(name) {
            state.extensions = true;
            for path in self.site_packages.iter().flat_map(|folder| extensions(folder)) {
                // One that cannot be read registers nothing here either.
                if let Ok(bytes) = MappedFile::open(&path) {
                    state.schemas.add_library(&bytes);
                }
            }
        }
        state.schemas.of(name)
    }
}

/// Shared libraries in site-packages that may extend PyTorch.
fn extensions(site_packages: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![(site_packages.to_path_buf(), 0)];
    while let Some((folder, depth)) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let Ok(about) = entry.metadata() else { continue };
            if about.is_dir() && depth < MAX_DEPTH {
                if depth > 0 || !OTHERS.contains(&&*name) {
                    open.push((path, depth + 1));
                }
            } else if about.is_file()
                && about.len() <= MAX_LIBRARY
                && (name.ends_with(".so") || name.contains(".so."))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
