//! Sources, their bytecode, and the names of modules: how one follows from another. Paths are
//! from the folder of packages, with `/` between folders.

/// The source of a cached bytecode file (PEP 3147): `a/__pycache__/b.cpython-311.pyc`
/// is `a/b.py`.
pub fn source_of(path: &str) -> Option<String> {
    let (folder, name) = path.rsplit_once('/')?;
    let folder = folder.strip_suffix("__pycache__")?;
    let stem = name.strip_suffix(".pyc")?.split('.').next()?;
    Some(format!("{folder}{stem}.py"))
}

/// Where Python 3.`minor` caches the bytecode of the source at `path` (PEP 3147).
pub fn bytecode_of(path: &str, minor: u32) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = name.strip_suffix(".py").unwrap_or(name);
    let slash = if folder.is_empty() { "" } else { "/" };
    format!("{folder}{slash}__pycache__/{stem}.cpython-3{minor}.pyc")
}

/// The module with the source at `path`: `a/b/__init__.py` is `a.b`.
pub fn module_of(path: &str) -> String {
    let name = path.strip_suffix(".py").unwrap_or(path);
    name.strip_suffix("/__init__").unwrap_or(name).replace('/', ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_its_bytecode_and_its_module_follow_from_another() {
        for (source, bytecode, module) in [
            ("a/b.py", "a/__pycache__/b.cpython-312.pyc", "a.b"),
            ("a/b/__init__.py", "a/b/__pycache__/__init__.cpython-312.pyc", "a.b"),
            ("six.py", "__pycache__/six.cpython-312.pyc", "six"),
        ] {
            assert_eq!(bytecode_of(source, 12), bytecode);
            assert_eq!(source_of(bytecode).as_deref(), Some(source));
            assert_eq!(module_of(source), module);
        }
        // Where the optimiser ran, and what is no cached bytecode.
        assert_eq!(source_of("__pycache__/a.cpython-312.opt-1.pyc").as_deref(), Some("a.py"));
        assert_eq!(source_of("a/b.pyc"), None);
    }
}
