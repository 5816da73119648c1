//! Time and memory of processes.

use crate::{shell, system};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

/// What one process and its descendants took.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// From start to end.
    pub wall: Duration,
    /// Peak resident memory in bytes of the largest process.
    pub peak: u64,
    /// How it ended.
    pub status: ExitStatus,
}

/// Runs a program to its end. Its input and outputs are the command's own.
pub fn measure(command: &mut Command) -> Result<Cost> {
    let start = Instant::now();
    let child =
        command.spawn().with_context(|| format!("cannot start {}", shell::line(command)))?;
    let (status, peak) = system::wait(&child)?;
    Ok(Cost { wall: start.elapsed(), peak, status })
}

/// Median, least and greatest of some measurements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The middle value, or the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub greatest: f64,
}

impl Summary {
    /// Of at least one value; `None` without any.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, greatest) = (*values.first()?, *values.last()?);
        let median = f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { median, least, greatest })
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = f.precision().unwrap_or(2);
        let Self { median, least, greatest } = self;
        let text = format!("{median:.digits$} ({least:.digits$}–{greatest:.digits$})");
        write!(f, "{text:<width$}", width = f.width().unwrap_or(0))
    }
}

/// Where Linux takes orders to empty the page cache. Only root may.
const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";

/// Whether [`empty_page_cache`] is permitted.
pub fn may_empty_page_cache() -> bool {
    OpenOptions::new().write(true).open(DROP_CACHES).is_ok()
}

/// Makes the next reads come from the disk.
pub fn empty_page_cache() -> Result<()> {
    // Pages that are not written back yet stay in the cache.
    shell::output(&mut Command::new("sync"))?;
    std::fs::write(DROP_CACHES, "3").with_context(|| format!("cannot write {DROP_CACHES}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_the_middle_value() {
        let summary = |values: &[f64]| Summary::of(values.iter().copied());
        assert_eq!(summary(&[]), None);
        let three = Summary { median: 2.0, least: 1.0, greatest: 9.0 };
        assert_eq!(summary(&[9.0, 1.0, 2.0]), Some(three));
        assert_eq!(summary(&[4.0, 1.0]).unwrap().median.to_string(), "2.5");
        assert_eq!(format!("{three:16.1}|"), "2.0 (1.0–9.0)   |");
    }

    #[test]
    fn memory_and_status_are_the_process_own() {
        let mut command = Command::new("sh");
        // dd fills a buffer of 96 MiB: the shell waits for it, so it counts.
        command.args(["-c", "dd if=/dev/zero of=/dev/null bs=96M count=1 2>/dev/null; exit 3"]);
        let cost = measure(&mut command).unwrap();
        assert_eq!(cost.status.code(), Some(3));
        assert!((96 << 20..400 << 20).contains(&cost.peak), "{}", cost.peak);
        assert!(cost.wall > Duration::ZERO);
    }
}
