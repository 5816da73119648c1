//! The bytes of one ELF file by section, component and GPU architecture.

use crate::component::{self, Family, Rules};
use crate::elf_file::{Area, ElfFile, Symbol};
use crate::inspection::{Division, HEADERS, Library, NOT_UNDERSTOOD, Section};
use crate::span::{covered, divide, gaps};
use crate::{Error, gpu};
use std::collections::BTreeMap;
use std::ops::Range;

/// Takes the file at `path` in site-packages, whose bytes are `data`, apart.
///
/// # Errors
/// [`Error::Unbalanced`] where the parts do not add up to the file.
pub(crate) fn read(path: &str, data: &[u8], rules: &Rules) -> Result<Library, Error> {
    let (gpu, containers) = gpu::read(data);
    let file = ElfFile::read(data, rules);
    let size = data.len() as u64;
    let mut library = Library {
        path: path.to_owned(),
        bytes: size,
        division: file.division,
        gpu,
        ..Library::default()
    };
    let labels = Labels::new(&file);
    let mut at = 0;
    for (range, area) in &file.areas {
        library.outside(at..range.start, &containers);
        at = range.end;
        library.inside(range, area, &labels, &containers);
    }
    library.outside(at..size, &containers);
    for section in library.sections.values() {
        for (component, bytes) in &section.components {
            *library.components.entry(component).or_default() += bytes;
        }
    }
    check(&library)?;
    Ok(library)
}

impl Library {
    /// Counts bytes that belong to no section or segment.
    fn outside(&mut self, range: Range<u64>, containers: &[Range<u64>]) {
        let bytes = range.end.saturating_sub(range.start);
        if bytes == 0 {
            return;
        }
        let (name, component) = match self.division {
            Division::NotUnderstood => (NOT_UNDERSTOOD, component::NO_SYMBOL),
            Division::Sections | Division::Segments => (HEADERS, component::HEADERS),
        };
        let gpu = self.add_gpu(name, &range, containers);
        let section = self.sections.entry(name.to_owned()).or_default();
        section.bytes += bytes;
        section.add(component::GPU, gpu);
        section.add(component, bytes - gpu);
    }

    /// Counts a section's or segment's bytes.
    fn inside(
        &mut self,
        range: &Range<u64>,
        area: &Area,
        labels: &Labels,
        containers: &[Range<u64>],
    ) {
        let gpu = self.add_gpu(&area.name, range, containers);
        let section = self.sections.entry(area.name.clone()).or_default();
        section.bytes += range.end - range.start;
        section.add(component::GPU, gpu);
        let free = gaps(range.clone(), containers);
        let free_bytes = range.end - range.start - gpu;
        if let Some(whole) = area.whole {
            section.add(whole, free_bytes);
            return;
        }
        let labelled: u64 =
            free.iter().map(|piece| labels.add(piece, area.shift, &mut section.components)).sum();
        section.add(labels.none, free_bytes - labelled);
    }

    fn add_gpu(&mut self, name: &str, range: &Range<u64>, containers: &[Range<u64>]) -> u64 {
        let bytes = covered(range, containers);
        if bytes > 0 {
            *self.gpu.sections.entry(name.to_owned()).or_default() += bytes;
        }
        bytes
    }
}

impl Section {
    fn add(&mut self, component: &'static str, bytes: u64) {
        if bytes > 0 {
            *self.components.entry(component).or_default() += bytes;
        }
    }
}

/// Bytes without symbols between two neighbours beyond which they say nothing of each
/// other: they are in different sections, or something unknown lies between.
const FAR: u64 = 4096;

/// What symbols say.
struct Labels {
    /// Which addresses belong to which family, ascending, not overlapping.
    spans: Vec<(Range<u64>, Family)>,
    /// What bytes without a symbol are called.
    none: &'static str,
}

impl Labels {
    /// Divides the addresses of a file's symbols. One inside another, or an alias,
    /// adds nothing to the one that starts first; of aliases, the one whose family
    /// ranks first counts. Symbols without a size (hand-written assembly) reach to the
    /// next symbol of their section, through bytes that no other symbol claims, and
    /// only where the table is complete.
    fn new(file: &ElfFile) -> Self {
        let (mut sized, mut sizeless): (Vec<Symbol>, Vec<Symbol>) =
            file.symbols.iter().partition(|symbol| symbol.end > symbol.start);
        sized.sort_unstable_by_key(|symbol| symbol.family);
        let ranges = sized.iter().map(|symbol| (symbol.start..symbol.end, symbol.family)).collect();
        let mut labels = divide(ranges, u64::MAX);
        if !file.complete {
            return Self { spans: labels, none: component::STRIPPED };
        }
        let taken: Vec<Range<u64>> = labels.iter().map(|(range, _)| range.clone()).collect();
        let mut ends: Vec<u64> = file.symbols.iter().map(|symbol| symbol.start).collect();
        ends.extend(file.areas.iter().map(|(range, area)| range.end.wrapping_add(area.shift)));
        ends.sort_unstable();
        sizeless.sort_unstable_by_key(|symbol| (symbol.start, symbol.family));
        sizeless.dedup_by_key(|symbol| symbol.start);
        for symbol in sizeless {
            let next = ends.partition_point(|end| *end <= symbol.start);
            let Some(end) = ends.get(next) else { continue };
            let free = gaps(symbol.start..*end, &taken);
            labels.extend(free.into_iter().map(|range| (range, symbol.family)));
        }
        Self { spans: divide(labels, u64::MAX), none: component::NO_SYMBOL }.with_neighbours()
    }

    /// Gives symbols of no known family that of the known ones before and behind them
    /// where both are the same. A linker puts each object file's code, and its data, in
    /// one piece, and archives member after member, so what lies between two parts of
    /// a component is very likely of that component too. In libtorch_cpu 2.15 this names
    /// 15 MB, most of it static functions of MKL; asked of symbols whose own name tells,
    /// it is right for 98.6 % of the bytes with C++ names and 99.7 % of those with C names.
    fn with_neighbours(mut self) -> Self {
        let mut known: Option<usize> = None;
        for index in 0..self.spans.len() {
            let family = self.spans[index].1;
            if family.is_none() {
                continue;
            }
            if let Some(before) =
                known.filter(|before| self.spans[*before].1.name() == family.name())
            {
                let near = |pair: &[(Range<u64>, Family)]| pair[1].0.start - pair[0].0.end < FAR;
                if self.spans[before..=index].windows(2).all(near) {
                    self.spans[before..index].iter_mut().for_each(|(_, label)| *label = family);
                }
            }
            known = Some(index);
        }
        self
    }

    /// Adds the labelled bytes of `piece`, a range of the file whose addresses are
    /// `shift` higher, to `totals`; gives their number.
    fn add(&self, piece: &Range<u64>, shift: u64, totals: &mut BTreeMap<&'static str, u64>) -> u64 {
        let start = piece.start.wrapping_add(shift);
        let end = start.saturating_add(piece.end - piece.start);
        let first = self.spans.partition_point(|(range, _)| range.end <= start);
        let mut sums: BTreeMap<Family, u64> = BTreeMap::new();
        for (range, family) in self.spans[first..].iter().take_while(|(range, _)| range.start < end)
        {
            *sums.entry(*family).or_default() += range.end.min(end) - range.start.max(start);
        }
        for (family, bytes) in &sums {
            *totals.entry(family.name()).or_default() += bytes;
        }
        sums.values().sum()
    }
}

/// Checks every total against its parts.
fn check(library: &Library) -> Result<(), Error> {
    let balance = |what: &str, parts: u64, total: u64| {
        if parts == total {
            return Ok(());
        }
        Err(Error::Unbalanced { path: library.path.clone(), what: what.to_owned(), parts, total })
    };
    balance(
        "sections",
        library.sections.values().map(|section| section.bytes).sum(),
        library.bytes,
    )?;
    for (name, section) in &library.sections {
        balance(name, section.components.values().sum(), section.bytes)?;
    }
    balance("components", library.components.values().sum(), library.bytes)?;
    balance("GPU code by architecture", library.gpu.parts(), library.gpu.bytes)?;
    balance("GPU code by section", library.gpu.sections.values().sum(), library.gpu.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This test program: position-independent, with symbols, as a linker made it.
    fn program() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    fn sum(library: &Library) -> u64 {
        library.sections.values().map(|section| section.bytes).sum()
    }

    #[test]
    fn a_real_file_is_divided_by_its_sections() {
        let data = program();
        let library = read("program", &data, &Rules::new()).unwrap();
        assert_eq!(library.division, Division::Sections);
        assert_eq!(sum(&library), data.len() as u64);
        assert!(library.sections[HEADERS].bytes >= 64);
        assert!(library.components[component::SYMBOL_TABLES] > 0);
        assert!(library.components[component::UNWIND] > 0);
        let text = &library.sections[".text"];
        let unknown = text.components.get(component::NO_SYMBOL).copied().unwrap_or(0);
        assert!(unknown < text.bytes / 2, "{text:?}");
        assert!(!library.sections.contains_key(".bss"));
    }

    #[test]
    fn without_section_headers_it_is_divided_by_its_segments() {
        let mut data = program();
        // e_shoff, e_shnum, e_shstrndx.
        data[40..48].fill(0);
        data[60..64].fill(0);
        let library = read("program", &data, &Rules::new()).unwrap();
        assert_eq!(library.division, Division::Segments);
        assert!(library.sections.keys().any(|name| name == "(segment r-x)"), "{library:?}");
        assert_eq!(sum(&library), data.len() as u64);
    }

    #[test]
    fn what_is_not_understood_is_named_and_counted() {
        for data in [&b"\x7fELF and no more"[..], b"", &[0x7f; 100]] {
            let library = read("noise.so", data, &Rules::new()).unwrap();
            assert_eq!(library.division, Division::NotUnderstood);
            assert_eq!(sum(&library), data.len() as u64);
        }
    }

    /// Every header field matters to somebody: damage each byte of the file header
    /// and of the section and program header tables in turn.
    #[test]
    fn a_damaged_file_still_adds_up() {
        let mut data = std::fs::read("/proc/self/exe").unwrap();
        let word = |data: &[u8], at: usize| {
            u64::from_le_bytes(data[at..at + 8].try_into().unwrap()) as usize
        };
        let (segments, sections) = (word(&data, 32), word(&data, 40));
        data.truncate(data.len().min(sections + 64 * 64));
        let rules = Rules::new();
        // Symbols are not what is tested here, and there are many of them.
        let size = data.len();
        let places = (0..64).chain(segments..segments + 56 * 4).chain(sections..sections + 64 * 6);
        for place in places.filter(|place| *place < size).step_by(3) {
            for value in [0, 0x7f, 0xff] {
                let before = std::mem::replace(&mut data[place], value);
                let library = read("damaged", &data, &rules).unwrap();
                assert_eq!(sum(&library), data.len() as u64, "{place:#x} {value:#x}");
                data[place] = before;
            }
        }
    }

    #[test]
    fn gpu_code_counts_once_whatever_section_holds_it() {
        let mut data = program();
        let library = read("program", &data, &Rules::new()).unwrap();
        assert_eq!(library.gpu.bytes, 0);
        // A container with one cubin for sm_90a across the end of the file's content.
        let mut container = fatbin::MAGIC.to_vec();
        container.extend([1, 0, 16, 0]);
        container.extend(80_u64.to_le_bytes());
        let mut entry = [0; 80];
        entry[0] = 2;
        entry[4] = 64;
        entry[8] = 16;
        entry[28] = 90;
        entry[42] = 0x10;
        container.extend(entry);
        let ElfFile { areas, .. } = ElfFile::read(&data, &Rules::new());
        let (rodata, _) = areas.iter().find(|(_, area)| area.name == ".rodata").unwrap();
        // Half in .rodata, half behind it.
        let at = rodata.end as usize - 48;
        data[at..at + 96].copy_from_slice(&container);
        let library = read("program", &data, &Rules::new()).unwrap();
        assert_eq!(library.gpu.bytes, 96);
        assert_eq!(library.gpu.architectures["sm_90a"].bytes, 80);
        assert_eq!(library.gpu.sections[".rodata"], 48);
        assert_eq!(library.sections[".rodata"].components[component::GPU], 48);
        assert_eq!(library.components[component::GPU], 96);
    }

    #[test]
    fn symbols_without_a_size_reach_to_the_next_and_unknown_ones_follow_their_neighbours() {
        let rules = Rules::new();
        let family = |name: &str| rules.of_symbol(name.as_bytes(), None);
        let symbol = |start, end, name: &str| Symbol { start, end, family: family(name) };
        let area = Area { name: ".text".into(), shift: 0, whole: None };
        let file = ElfFile {
            division: Division::Sections,
            areas: vec![(0..1000, area)],
            symbols: vec![
                symbol(100, 200, "mkl_blas_avx512_a"),
                symbol(150, 150, "label inside of a function"),
                symbol(200, 200, "kernel without a size"),
                symbol(300, 400, "mkl_blas_avx512_b"),
                symbol(300, 400, "alias"),
                symbol(500, 600, "between two components"),
                symbol(700, 800, "uv_run"),
            ],
            complete: true,
        };
        let mut totals = BTreeMap::new();
        let labelled = Labels::new(&file).add(&(0..1000), 0, &mut totals);
        assert_eq!(totals["MKL, AVX512"], 300);
        assert_eq!(totals["libuv"], 100);
        assert_eq!(totals[component::OTHER], 100);
        assert_eq!(labelled, 500);
    }
}
