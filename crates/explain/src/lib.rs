//! Why something is hot, cold or out of a package.
//!
//! [`explain`] finds what a name means, by the record that packing left in the package and, for
//! functions, operators, imports and GPU code, by the environment that was packed. The answers
//! are data ([`Document`]); [`render`] makes text of them.

mod answers;
mod code;
mod files;
mod gpu;
mod meanings;
mod modules;
mod names;
mod original;
mod symbols;
mod text;

pub use answers::{Answer, Document, SummaryAnswer};
pub use meanings::{explain, summary};
pub use text::render;
