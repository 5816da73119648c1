//! Files whose licence lets them be handed on as they are, and not changed.

use environment::{Environment, Kind, MappedFile};
use std::collections::BTreeSet;

/// What is done with files of distributions under NVIDIA's own licence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Vendor {
    /// They are divided like all others.
    #[default]
    Edit,
    /// They are in the package as they are, or not at all.
    Whole,
}

/// What such a licence is called in metadata, in small letters and with hyphens.
const NVIDIA: &str = "nvidia-proprietary";

/// The distributions of `environment` whose metadata says that their licence is NVIDIA's own
/// (`License`, `License-Expression`; core metadata specifications).
pub fn proprietary(environment: &Environment) -> BTreeSet<usize> {
    let metadata = environment
        .files
        .iter()
        .filter(|file| file.kind == Kind::Metadata && file.path.ends_with(".dist-info/METADATA"));
    let told = metadata.filter(|file| {
        // Metadata that cannot be read says nothing.
        MappedFile::open(&environment.source(file)).is_ok_and(|text| is_nvidias(&text))
    });
    told.filter_map(|file| file.distribution).collect()
}

/// Whether the headers of `metadata` name NVIDIA's licence.
fn is_nvidias(metadata: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&metadata[..metadata.len().min(1 << 16)]);
    let headers = text.lines().take_while(|line| !line.is_empty());
    headers.filter_map(|line| line.split_once(':')).any(|(name, value)| {
        ["license", "license-expression"].contains(&name.to_ascii_lowercase().as_str())
            && value.to_ascii_lowercase().replace(' ', "-").contains(NVIDIA)
    })
}

#[cfg(test)]
mod tests {
    use super::is_nvidias;

    #[test]
    fn metadata_names_the_licence() {
        let says = |text: &str| is_nvidias(text.as_bytes());
        assert!(says("Name: a\nLicense-Expression: LicenseRef-NVIDIA-Proprietary\n\ntext"));
        assert!(says("Name: a\nLicense: NVIDIA Proprietary Software\n"));
        assert!(!says("Name: nvidia-a\nLicense: Apache-2.0\n"));
        assert!(!says("Name: a\nLicense: MIT\n\nLicense: NVIDIA Proprietary Software\n"));
    }
}
