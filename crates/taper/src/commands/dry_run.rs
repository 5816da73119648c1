//! `taper pack --dry-run`: what would become of the files.

use crate::args::Global;
use anyhow::Result;
use plan::{Action, Plan};
use report::{Printer, megabytes};
use std::collections::BTreeMap;

/// Shows what would be done.
pub fn tell(plan: &Plan, global: &Global, printer: &Printer) -> Result<()> {
    if global.json {
        println!("{}", serde_json::to_string_pretty(plan)?);
        return Ok(());
    }
    let mut sums = BTreeMap::new();
    for file in &plan.files {
        let kept = match &file.action {
            Action::Leave
            | Action::Compress
            | Action::Text
            | Action::Module { source: false, .. } => 0,
            Action::Shrink(pages) => file.size.saturating_sub(pages.absent_bytes()),
            Action::StandIn { keep } => keep.len() * elf::PAGE,
            Action::Copy
            | Action::CopyTo { .. }
            | Action::Module { source: true, .. }
            | Action::Record => file.size,
        };
        let sum: &mut (u64, u64, u64) = sums.entry(file.reason).or_default();
        *sum = (sum.0 + 1, sum.1 + file.size, sum.2 + kept);
    }
    for (reason, (files, original, kept)) in sums {
        printer.say(&format!(
            "{files:>7} files {:>10} of {:>10}  {}",
            megabytes(kept),
            megabytes(original),
            reason.text()
        ));
    }
    Ok(())
}
