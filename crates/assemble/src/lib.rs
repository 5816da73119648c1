//! Makes a folder that Python can import from of a plan.
//!
//! [`write()`] makes each file as its action in the plan says and reads shrunk libraries again;
//! [`manifest`] describes the whole.

mod absent;
mod cold_store;
mod headers;
pub mod manifest;
mod modules;
mod outcome;
mod plan_record;
mod records;
mod symbol_names;
mod unit;
mod write;

use environment::Environment;
use package::Level;
use plan::Plan;
use profile::Profile;
use startup::defer::Group;
use workload::TargetView;

pub use outcome::Outcome;
pub use write::write;

/// What a package is made of: the values of the phases before it is written.
#[derive(Clone, Copy)]
pub struct Packing<'a> {
    /// What is packed.
    pub environment: &'a Environment,
    /// What the package is to stand for.
    pub view: &'a TargetView,
    /// What workloads used.
    pub profile: &'a Profile,
    /// Groups of modules that may be deferred.
    pub deferred: &'a [Group],
    /// What becomes of each file.
    pub plan: &'a Plan,
    /// What a person asked for beside that.
    pub asked: Asked<'a>,
}

/// What a person asked for that is not in the plan.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// How hard to compress.
    pub level: Level,
    /// Whether Python is to start as it does without a package.
    pub eager: bool,
    /// The processors that the package must run on, as `--cpu` said it.
    pub cpu: &'a str,
    /// Names that were given with `--keep`.
    pub keep: &'a [String],
    /// Names that were given with `--drop`.
    pub drop: &'a [String],
}
