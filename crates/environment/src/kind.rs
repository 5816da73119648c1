//! What sort of thing a file is.

use serde::{Deserialize, Serialize};

/// A file's kind, from its place, its name and its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// ELF, made to be loaded: `ET_DYN` that names no interpreter, is not flagged as a
    /// position-independent program and does not lie among a distribution's programs.
    SharedLibrary,
    /// ELF that is started.
    Program,
    /// `.py`.
    PythonSource,
    /// `.pyc`.
    Bytecode,
    /// `.pyi` and `py.typed`.
    TypeStub,
    /// C, C++ and CUDA headers, and build system files that come with them.
    Header,
    /// `.a`, `.lib` and object files.
    StaticLibrary,
    /// Code for GPUs in files of its own: bitcode, cubins, PTX.
    GpuCode,
    /// Licences and notices.
    Licence,
    /// What `importlib.metadata` reads.
    Metadata,
    /// Everything else.
    Data,
}

/// Extensions of C-family sources and of what builds against them.
const HEADERS: [&str; 11] =
    ["h", "hpp", "hh", "cuh", "inl", "inc", "ipp", "hxx", "cmake", "pc", "modulemap"];

const LICENCE_STEMS: [&str; 5] = ["license", "licence", "copying", "notice", "authors"];

/// `EM_CUDA` and `EM_AMDGPU`, values of `e_machine`.
const GPU_MACHINES: [u16; 2] = [190, 224];

impl Kind {
    /// How many of a file's first bytes tell its kind: up to `e_machine` of an ELF file.
    pub const START: u64 = 20;

    /// The kind of the file at `path` in site-packages whose first bytes are `start`
    /// ([`Kind::START`] are enough). A scan looks further into what this takes for a library.
    pub fn of(path: &str, start: &[u8]) -> Self {
        let name = path.rsplit('/').next().unwrap_or(path);
        let lower = name.to_ascii_lowercase();
        let extension = lower.rsplit_once('.').map_or("", |(_, extension)| extension);
        let in_metadata = path
            .split('/')
            .next()
            .is_some_and(|top| top.ends_with(".dist-info") || top.ends_with(".egg-info"));
        let licence = LICENCE_STEMS.iter().any(|stem| lower.starts_with(stem))
            && !matches!(extension, "py" | "pyc");
        if licence || (in_metadata && path.contains("/licenses/")) {
            return Self::Licence;
        }
        if in_metadata {
            return Self::Metadata;
        }
        if start.starts_with(b"\x7fELF") {
            let machine = start.get(18..20).map(|word| u16::from_le_bytes([word[0], word[1]]));
            if machine.is_some_and(|machine| GPU_MACHINES.contains(&machine)) {
                return Self::GpuCode;
            }
            // Position-independent programs are ET_DYN too; they lie in bin folders.
            let dynamic = start.get(16) == Some(&3);
            let started = path.split('/').any(|part| part == "bin") && !lower.contains(".so");
            return match (dynamic, start.get(16)) {
                (true, _) if !started => Self::SharedLibrary,
                (_, Some(1)) => Self::StaticLibrary,
                _ => Self::Program,
            };
        }
        match extension {
            "py" => Self::PythonSource,
            "pyc" => Self::Bytecode,
            "pyi" => Self::TypeStub,
            "typed" if lower == "py.typed" => Self::TypeStub,
            "a" | "lib" | "o" => Self::StaticLibrary,
            "bc" | "cubin" | "ptx" | "fatbin" | "ltoir" => Self::GpuCode,
            other if HEADERS.contains(&other) => Self::Header,
            // The C++ standard library's headers, and CCCL's after them, have no extension.
            "" if path.contains("/include/") => Self::Header,
            _ => Self::Data,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn kinds_follow_place_name_and_content() {
        let elf = |kind: u8| {
            let mut start = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\0\0\x3e\0";
            start[16] = kind;
            start
        };
        let mut cubin = elf(2);
        cubin[18] = 190;
        let cases: [(&str, &[u8], Kind); 13] = [
            ("x/kernel.sm_90.cubin", &cubin, Kind::GpuCode),
            ("x/kernel.ptx", b"//", Kind::GpuCode),
            ("torch/lib/libtorch_cpu.so", &elf(3), Kind::SharedLibrary),
            ("torch/bin/protoc", &elf(3), Kind::Program),
            ("x/libcudart.so.13", &elf(3), Kind::SharedLibrary),
            ("x/notelf.so", b"hello", Kind::Data),
            ("torch/nn/__init__.py", b"", Kind::PythonSource),
            ("torch/__pycache__/a.cpython-311.pyc", b"", Kind::Bytecode),
            ("torch-2.0.dist-info/METADATA", b"", Kind::Metadata),
            ("torch-2.0.dist-info/licenses/x/y.txt", b"", Kind::Licence),
            ("nvidia/cu13/include/cuda/std/array", b"", Kind::Header),
            ("pkg/license.py", b"", Kind::PythonSource),
            ("pkg/LICENSE.txt", b"", Kind::Licence),
        ];
        for (path, start, kind) in cases {
            assert_eq!(Kind::of(path, start), kind, "{path}");
        }
    }
}
