//! What a package's Python does not do at its start, and the proofs that nothing can tell.
//!
//! [`defer`] shows which modules can be deferred, [`answers`] what imports find out each
//! time again and alike. Both import in child processes, under observation, beside other work
//! ([`Looking`], [`Observing`]); what they find is remembered ([`Proofs`]) for as long as nothing
//! that it depends on has changed.

pub mod answers;
pub mod defer;
mod groups;
mod observing;
mod proofs;

pub use groups::{Looking, described as described_group, groups};
pub use observing::{
    Observing, answers as stored_answers, described as described_answers, observe,
};
pub use proofs::Proofs;
