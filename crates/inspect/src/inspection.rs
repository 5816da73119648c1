//! The result: every byte of an environment, under several headings.
//!
//! Sizes are bytes of files (`st_size`). Each heading's rows add up to its total.

use environment::Kind;
use serde::Serialize;
use std::collections::BTreeMap;

/// Files and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// How many files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Share {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// What [`crate::inspect`] finds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// Everything.
    pub total: Share,
    /// What belongs to a package's scope: all but the installers.
    pub in_scope: Share,
    /// By distribution, in the order of the environment's scan; what no distribution
    /// owns comes last.
    pub distributions: Vec<DistributionShare>,
    /// By kind of file.
    pub kinds: BTreeMap<Kind, Share>,
    /// All ELF files together: libraries and programs.
    pub elf: Share,
    /// The ELF files' bytes by section. Those of files without section headers are
    /// under their segments, `(segment r-x)`; those outside of every section are
    /// [`HEADERS`]; those of files that are not understood are [`NOT_UNDERSTOOD`].
    pub sections: BTreeMap<String, u64>,
    /// The ELF files' bytes by component; see [`Library::components`].
    pub components: BTreeMap<&'static str, u64>,
    /// GPU code in containers, in ELF files, static libraries and files of its own.
    pub gpu: Gpu,
    /// Every ELF file, by path.
    pub libraries: Vec<Library>,
    /// Files that the scan could not read; they are in no total.
    pub unreadable: Vec<String>,
}

/// The row of a distribution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DistributionShare {
    /// Its name; `None` for what no distribution owns.
    pub name: Option<String>,
    /// Its version; empty for what no distribution owns.
    pub version: String,
    /// Whether it belongs to a package's scope.
    pub in_scope: bool,
    /// Its files.
    #[serde(flatten)]
    pub share: Share,
}

/// How the bytes of an ELF file were divided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Division {
    /// By its section headers.
    Sections,
    /// By its program headers: its section headers are missing or damaged.
    Segments,
    /// Not at all: neither can be read.
    #[default]
    NotUnderstood,
}

/// One ELF file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Library {
    /// Its path in site-packages.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// How its bytes were divided.
    pub division: Division,
    /// Its sections by name; those of the same name are one row.
    pub sections: BTreeMap<String, Section>,
    /// Bytes by component, over all sections. Code and data go by symbols; GPU code,
    /// unwind tables and the like by what they are. [`crate::component::OTHER`] has a
    /// symbol of no known family, [`crate::component::NO_SYMBOL`] none.
    pub components: BTreeMap<&'static str, u64>,
    /// Its GPU code.
    pub gpu: Gpu,
}

/// One section's bytes in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Section {
    /// How many.
    pub bytes: u64,
    /// By component.
    pub components: BTreeMap<&'static str, u64>,
}

/// GPU code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// Bytes of all containers and bare frames: those by architecture, headers and padding.
    pub bytes: u64,
    /// How many containers, malformed ones included.
    pub containers: u64,
    /// How many compressed frames of one cubin that lie in no container.
    pub frames: u64,
    /// Containers that are damaged; only what could be read of them is in `bytes`.
    pub malformed: u64,
    /// Entries and frames by architecture, `sm_90a` or `compute_90 (PTX)`, entry headers included.
    pub architectures: BTreeMap<String, Entries>,
    /// Bytes of the containers' own headers.
    pub headers: u64,
    /// Bytes of padding behind entries.
    pub padding: u64,
    /// Their bytes by the section in which they lie; those in files that
    /// are not ELF under `(static library)` or `(file)`.
    pub sections: BTreeMap<String, u64>,
}

/// Entries of one architecture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Entries {
    /// How many.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Library {
    /// Whether symbols say what most of its code and data is.
    pub(crate) fn tells(&self) -> bool {
        use crate::component as names;
        let by_symbol = |name: &&str| {
            ![
                names::GPU,
                names::HEADERS,
                names::LOADING,
                names::UNWIND,
                names::SYMBOL_TABLES,
                names::DEBUG,
                names::NOTES,
            ]
            .contains(name)
        };
        let rows = || self.components.iter().filter(|(name, _)| by_symbol(name));
        let all: u64 = rows().map(|(_, bytes)| bytes).sum();
        let unknown: u64 = rows()
            .filter(|(name, _)| [names::NO_SYMBOL, names::STRIPPED, names::OTHER].contains(name))
            .map(|(_, bytes)| bytes)
            .sum();
        unknown * 2 < all
    }
}

impl Gpu {
    /// Adds what another file has.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.bytes += other.bytes;
        self.containers += other.containers;
        self.malformed += other.malformed;
        self.frames += other.frames;
        self.headers += other.headers;
        self.padding += other.padding;
        for (label, more) in &other.architectures {
            let row = self.architectures.entry(label.clone()).or_default();
            row.entries += more.entries;
            row.bytes += more.bytes;
        }
        for (section, bytes) in &other.sections {
            *self.sections.entry(section.clone()).or_default() += bytes;
        }
    }
}

/// The name for bytes of an ELF file that lie in no section or segment: the file
/// header, the header tables, and padding.
pub const HEADERS: &str = "(headers and padding)";

/// The name for the bytes of an ELF file that cannot be taken apart.
pub const NOT_UNDERSTOOD: &str = "(not understood)";
