//! Runs of a workload, and what they show of an environment.
//!
//! [`target_view::of`] says how the target sees the environment, [`trace`] runs the workload
//! in that view once for each kind of processor, [`recorded_operators::operators`] once more for
//! its operators, and [`restored::learned`] adds what packages brought back while they ran. What
//! comes of it is a profile.

mod cpu_levels;
mod identities;
mod profiled_operators;
pub mod recorded_operators;
pub mod restored;
mod runs;
pub mod scope;
mod signatures;
pub mod target_view;
mod tracing;
mod unchanged;

pub use cpu_levels::{Cpu, here as cpu_level};
pub use identities::Identities;
pub use profiled_operators::operators as profiled_operators;
pub use runs::{Order, Runs};
pub use signatures::Installed;
pub use target_view::TargetView;
pub use tracing::{can_start, default_workload, trace};
pub use unchanged::State;
