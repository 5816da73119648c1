//! What an application's imports cost, and which can be narrowed or deferred.
//!
//! A file is parsed, not run: [`Source`] knows its imports, where each name is used, and
//! which of its functions always run. What an import costs is measured by running it
//! ([`measure`]) in the environment's interpreter. [`check`] puts both together, and
//! [`apply`] rewrites what can be shown to change nothing but the time at which a module is
//! loaded.

mod edit;
mod evidence;
mod rules;
mod sarif;
mod source;
#[cfg(test)]
mod tests;
mod uses;

pub use edit::{Change, apply};
pub use evidence::{Error, Evidence, measure};
pub use imports::{Import, Place, Unreadable};
pub use rules::{Code, Finding, candidates, check};
pub use sarif::sarif;
pub use source::Source;
pub use uses::{Branch, Function, Use, Uses};
