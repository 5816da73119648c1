//! What a stand-in is asked for.

use crate::Wanted;
use elf::{Library, PageSet};

/// What to make.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The library that leaves.
    pub library: &'a Library<'a>,
    /// What is asked of it.
    pub wanted: &'a Wanted,
    /// Pages of it, of any segment, that stay.
    pub keep: &'a PageSet,
    /// What a function that is not kept says after its name and its library's.
    pub message: &'a str,
}
