//! A fate and a reason for every unit of an environment, as data.
//!
//! `planner` makes it of a scan and a profile; it is carried out elsewhere.

mod actions;
mod pages;
mod reason;

pub use actions::{Action, Cold, FilePlan, Plan};
pub use pages::LibraryPages;
pub use reason::Reason;
