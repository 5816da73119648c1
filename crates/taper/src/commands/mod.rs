//! The commands, a file each, and what they share.

pub mod build;
mod dry_run;
pub mod explain;
pub mod inspect;
pub mod lint;
mod lint_files;
pub mod ops;
pub mod pack;
mod summary;
pub mod trace;
pub mod verify;
