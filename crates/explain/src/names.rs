//! What a name means in a package's plan, and which names are near one that means nothing.

use imports::{Modules, name_of};
use ledger::{File, Ledger};
use std::collections::BTreeSet;

/// Longer names are not compared: the work is the product of the lengths.
const MAX_COMPARED: usize = 200;

/// What a name means. Each list may have any length.
#[derive(Debug, Default)]
pub struct Meanings<'l> {
    /// Files whose path is the name, or ends with it.
    pub files: Vec<&'l File>,
    /// Modules, with their file; none for a folder that Python makes a module of.
    pub modules: Vec<(String, Option<&'l File>)>,
    /// The distribution of that name, its number.
    pub distribution: Option<u32>,
    /// Whether it is a folder with files below it.
    pub folder: bool,
    /// Whether it is written as a GPU architecture.
    pub architecture: bool,
}

impl Meanings<'_> {
    /// Whether nothing in the record has that name.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
            && self.modules.is_empty()
            && self.distribution.is_none()
            && !self.folder
            && !self.architecture
    }
}

/// What `name` means in `ledger`, functions and operators aside.
pub fn meanings<'l>(ledger: &'l Ledger, modules: &Modules, name: &str) -> Meanings<'l> {
    let name = name.trim_end_matches('/');
    let mut found = Meanings { architecture: is_architecture(name), ..Meanings::default() };
    if name.is_empty() {
        return found;
    }
    let end = format!("/{name}");
    for file in ledger.files.iter().filter(|file| file.path == name || file.path.ends_with(&end)) {
        // A module is told of as one.
        match name_of(&file.path) {
            Some((module, _)) if modules.path(&module) == Some(&file.path) => {
                found.modules.push((module, Some(file)));
            }
            _ => found.files.push(file),
        }
    }
    let known = |name: &str| found.modules.iter().any(|(module, _)| module == name);
    if modules.contains(name) && !known(name) {
        let file = modules.path(name).and_then(|path| ledger.file(path));
        found.modules.push((name.to_owned(), file));
    }
    let names = ledger.about.distributions.iter();
    found.distribution = names
        .map(|other| normalised(other))
        .position(|other| other == normalised(name))
        .map(|number| number as u32);
    let below = format!("{name}/");
    let at = ledger.files.partition_point(|file| file.path < below);
    let folder = ledger.files.get(at).is_some_and(|file| file.path.starts_with(&below));
    found.folder = folder && found.distribution.is_none() && found.modules.is_empty();
    found
}

/// Whether `name` is written like `sm_90`, `sm_90a` or `compute_90`.
fn is_architecture(name: &str) -> bool {
    let rest = name.strip_prefix("sm_").or_else(|| name.strip_prefix("compute_"));
    rest.is_some_and(|rest| {
        let digits = rest.trim_end_matches(['a', 'f']);
        rest.len() <= digits.len() + 1
            && (2..=4).contains(&digits.len())
            && digits.bytes().all(|digit| digit.is_ascii_digit())
    })
}

/// A distribution's name as PEP 503 compares it.
fn normalised(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

/// Names of the record that are spelt like `name`, the nearest first.
pub fn nearest(ledger: &Ledger, modules: &Modules, name: &str) -> Vec<String> {
    let files = ledger.files.iter().flat_map(|file| {
        let last = file.path.rsplit('/').next().unwrap_or(&file.path);
        [last, file.path.as_str()]
    });
    let distributions = ledger.about.distributions.iter().map(String::as_str);
    let modules = modules.iter().map(|(module, _)| module);
    closest(name, distributions.chain(modules).chain(files))
}

/// Up to three of `names` that are spelt like `name`: a third of the letters may differ.
pub fn closest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    if name.len() > MAX_COMPARED {
        return Vec::new();
    }
    let lower = name.to_ascii_lowercase();
    let most = (lower.chars().count() / 3).max(1);
    let mut near: BTreeSet<(usize, &str)> = BTreeSet::new();
    for other in names.filter(|other| other.len().abs_diff(lower.len()) <= most) {
        let distance = strsim::osa_distance(&lower, &other.to_ascii_lowercase());
        if distance <= most {
            near.insert((distance, other));
            if near.len() > 3 {
                near.pop_last();
            }
        }
    }
    near.into_iter().map(|(_, other)| other.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_are_written_like_nothing_else() {
        assert!(["sm_90", "sm_90a", "compute_75", "sm_103f"].into_iter().all(is_architecture));
        assert!(
            !["sm_", "sm_9", "sm_90ab", "sm_x0", "sm90", "a.sm_90"]
                .into_iter()
                .any(is_architecture)
        );
    }

    #[test]
    fn near_names_come_nearest_first() {
        let names = ["torch", "torchgen", "numpy", "torch._dynamo", "touch"];
        assert_eq!(closest("torhc", names.into_iter()), ["torch"]);
        assert_eq!(closest("torch._dinamo", names.into_iter()), ["torch._dynamo"]);
        assert!(closest("qqqqqq", names.into_iter()).is_empty());
        assert!(closest(&"x".repeat(9_000), names.into_iter()).is_empty());
    }
}
