//! Lines that a package for the CPU adds to two of torch's modules.
//!
//! The wheel's native code was built with CUDA and says so; a package without the
//! CUDA half must say what it is, as PyTorch's own CPU builds do. PyTorch asks in
//! one place whether CUDA is there (`torch.backends.cuda.is_built`), and every use
//! of a GPU passes through another before it reaches native code
//! (`torch.cuda._lazy_init`).

/// A module, a line that it must have for the edit to make sense, and what is added
/// at its end.
struct Edit {
    path: &'static str,
    defines: &'static str,
    lines: &'static str,
}

const FOR_CPU: [Edit; 2] = [
    Edit {
        path: "torch/cuda/__init__.py",
        defines: "\ndef _lazy_init(",
        lines: "

# Added by taper, which made this package with --target cpu.
def _lazy_init():
    raise RuntimeError(
        'CUDA is not in this package: taper made it for the CPU (--target cpu)'
    )
",
    },
    Edit {
        path: "torch/backends/cuda/__init__.py",
        defines: "\ndef is_built(",
        lines: "

# Added by taper, which made this package with --target cpu.
def is_built() -> bool:
    return False
",
    },
];

/// The paths in site-packages of modules that may be edited for `target`.
pub fn editable(target: &str) -> impl Iterator<Item = &'static str> {
    let count = if target == "cpu" { FOR_CPU.len() } else { 0 };
    FOR_CPU[..count].iter().map(|edit| edit.path)
}

/// The source `text` of the module at `path` as a package for `target` has it;
/// `None` where it stays as it is.
pub fn edited(target: &str, path: &str, text: &[u8]) -> Option<Vec<u8>> {
    if target != "cpu" {
        return None;
    }
    let edit = FOR_CPU.iter().find(|edit| edit.path == path)?;
    let defines = edit.defines.as_bytes();
    text.windows(defines.len()).any(|window| window == defines).then(|| {
        let mut text = text.to_vec();
        text.extend_from_slice(edit.lines.as_bytes());
        text
    })
}

#[cfg(test)]
mod tests {
    use super::edited;

    #[test]
    fn only_a_module_that_defines_the_function_is_edited() {
        let text = b"import x\ndef is_built():\n    return x.y\n";
        let after = edited("cpu", "torch/backends/cuda/__init__.py", text).unwrap();
        assert!(after.starts_with(text) && after.ends_with(b"return False\n"));
        assert_eq!(edited("cpu", "torch/backends/cuda/__init__.py", b"import x\n"), None);
        assert_eq!(edited("cpu", "torch/nn/__init__.py", text), None);
        assert_eq!(edited("sm_90", "torch/backends/cuda/__init__.py", text), None);
    }
}
