//! Who imports what in an environment, and how.
//!
//! A module's source is parsed, not run: [`Found::in_text`] gives its imports as they are
//! written, with the place of each, which says when it runs, and the calls that import what
//! nobody can read from the text. [`Graph`] resolves them among the modules of an environment
//! and answers which chain of imports leads to a module.

mod calls;
mod graph;
mod modules;
mod scan;
mod statement;
mod text;
mod ways;
mod written;

pub use graph::{Edge, Graph, Hot, Importer, Node, Step};
pub use modules::{Form, Modules, name_of};
pub use statement::{Base, Found, Statement, Unknown};
pub use text::{Unreadable, position, read, with_tree};
pub use ways::Ways;
pub use written::{Import, Place, written};
