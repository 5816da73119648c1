//! Exit codes.

use report::BadInput;
use std::process::ExitCode;

/// What the exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, and what was checked holds.
    Done = 0,
    /// A check did not hold: results differ, or a budget cannot be met.
    DoesNotHold = 1,
    /// Bad usage or bad input.
    BadInput = 2,
    /// taper itself failed.
    Failed = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The exit code for an error: whose fault it is. What nobody claimed is taper's.
pub fn of(error: &anyhow::Error) -> Exit {
    let input = error.chain().any(|cause| {
        cause.is::<BadInput>()
            || cause.is::<environment::Error>()
            || cause.is::<environment::Unreadable>()
            || matches!(
                cause.downcast_ref::<ledger::Error>(),
                Some(error) if !matches!(error, ledger::Error::Write(_))
            )
            || cause.is::<operators::Error>()
            || cause.is::<profile::Error>()
            || cause.is::<planner::Error>()
            || cause.is::<source::Error>()
            || cause.is::<source::nearest::Refusal>()
            || cause.is::<source::operators::Malformed>()
            || matches!(
                cause.downcast_ref::<package::Error>(),
                Some(package::Error::Exists(_) | package::Error::Read { .. })
            )
            || matches!(cause.downcast_ref::<verify::Error>(), Some(verify::Error::NoCommand))
    });
    if input { Exit::BadInput } else { Exit::Failed }
}
