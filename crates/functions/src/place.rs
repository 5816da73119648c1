//! Where a reference leads.

/// What a reference leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place<'a> {
    /// An address in the same library.
    Own(u64),
    /// Whatever is found by this name.
    Named(&'a str),
}
