//! What only compilers, linkers and build systems read, and who tells them where it is.
//!
//! Such files are other programs' input, so nothing brings them back when they are
//! touched. Where nothing is lost, they are files of the package; they lie compressed only
//! where a module that hands their folder out is known, is in the store of this package,
//! and can be made to unpack it first.

use crate::Error;
use environment::{Environment, File, Kind, MappedFile};
use plan::{Action, FilePlan, Reason};

/// The most bytes of a file that is compressed: those of a chunk of a store.
const MOST: u64 = 1 << 26;

/// Whether only other programs than Python read `file`. Headers that lie elsewhere than
/// with headers are, as a rule, what Python programs make others from.
pub(crate) fn are_for(file: &File) -> bool {
    let ends = |end: &str| file.path.ends_with(end);
    let apart = file.path.contains("/include/") || ends(".cmake") || ends(".pc");
    file.size <= MOST && (file.kind == Kind::StaticLibrary || (file.kind == Kind::Header && apart))
}

/// A module that says where headers are.
struct Giver {
    path: &'static str,
    /// The folder of theirs, in site-packages.
    folder: &'static str,
    /// A line that it must have for the addition to make sense.
    defines: &'static str,
    /// What is added at its end.
    lines: &'static str,
}

// Only of folders that are large: whoever joins the path by hand finds no headers there.
const GIVERS: [Giver; 1] = [
    // Inductor asks this one, too.
    Giver {
        path: "torch/utils/cpp_extension.py",
        folder: "torch/include/",
        defines: "\n_TORCH_PATH = ",
        lines: "

# Added by taper: headers lie compressed in this package, and come back for compilers.
_TORCH_PATH = __import__('_taper.tools', fromlist=['tools']).unpacked(_TORCH_PATH)
",
    },
];

impl Giver {
    /// Whether its addition makes sense in the source `text` of a module of `plan`.
    fn applies(&self, plan: &[FilePlan], text: &[u8]) -> bool {
        // Only where modules are in a store is there something that reads the other.
        let stored = |file: &FilePlan| {
            file.path == self.path && matches!(file.action, Action::Module { stored: Some(_), .. })
        };
        memchr::memmem::find(text, self.defines.as_bytes()).is_some() && plan.iter().any(stored)
    }
}

/// Makes files of what `plan` compresses and nothing would bring back.
///
/// # Errors
/// [`Error::Read`] for a source that cannot be read.
pub(crate) fn settle(plan: &mut [FilePlan], environment: &Environment) -> Result<(), Error> {
    let mut given = Vec::new();
    for giver in &GIVERS {
        let Some(file) = environment.file(giver.path) else { continue };
        if giver.applies(plan, &MappedFile::open(&environment.source(file))?) {
            given.push(giver.folder);
        }
    }
    for file in plan.iter_mut().filter(|file| file.action == Action::Compress) {
        if !given.iter().any(|folder| file.path.starts_with(folder)) {
            (file.action, file.reason) = (Action::Copy, Reason::Cold);
        }
    }
    Ok(())
}

/// The source `text` of the module at `path` as a package with the files of `plan` has it;
/// `None` where it stays as it is.
pub fn giving(plan: &[FilePlan], path: &str, text: &[u8]) -> Option<Vec<u8>> {
    let giver = GIVERS.iter().find(|giver| giver.path == path)?;
    let compressed =
        |file: &FilePlan| file.action == Action::Compress && file.path.starts_with(giver.folder);
    let makes_sense = giver.applies(plan, text) && plan.iter().any(compressed);
    makes_sense.then(|| [text, giver.lines.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use plan::Reason;

    fn file(path: &str, action: Action) -> FilePlan {
        FilePlan { path: path.into(), index: 0, size: 1, action, reason: Reason::Cold }
    }

    #[test]
    fn a_module_gives_what_is_compressed() {
        let path = "torch/utils/cpp_extension.py";
        let module = Action::Module { source: false, read: false, stored: Some(3), cold: true };
        let mut plan = vec![file("torch/include/x.h", Action::Compress), file(path, module)];
        let text = b"import os\n_TORCH_PATH = 'torch'\n";
        let after = giving(&plan, path, text).unwrap();
        assert!(after.starts_with(text) && after.ends_with(b"unpacked(_TORCH_PATH)\n"));
        assert_eq!(giving(&plan, path, b"import os\n"), None);
        assert_eq!(giving(&plan, "torch/utils/__init__.py", b"x = 1\n"), None);
        plan[0].action = Action::Copy;
        assert_eq!(giving(&plan, path, text), None);
    }
}
