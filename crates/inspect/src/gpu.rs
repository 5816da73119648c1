//! GPU code of one file, by architecture and by section.

use crate::inspection::{Entries, Gpu};
use fatbin::Container;
use std::ops::Range;

/// The GPU code in `data`, and where in the file its containers and bare frames lie, ascending.
/// The sections are left for the caller to fill in.
pub(crate) fn read(data: &[u8]) -> (Gpu, Vec<Range<u64>>) {
    let mut gpu = Gpu::default();
    let mut ranges = Vec::new();
    for container in fatbin::containers(data) {
        gpu.bytes += container.size();
        gpu.containers += 1;
        gpu.malformed += u64::from(container.malformed.is_some());
        gpu.headers += Container::HEADER_SIZE;
        gpu.padding += container.padding;
        for entry in &container.entries {
            let row: &mut Entries = gpu.architectures.entry(entry.label()).or_default();
            row.entries += 1;
            row.bytes += entry.size();
        }
        ranges.push(container.range());
    }
    if !ranges.is_empty() {
        for frame in fatbin::bare_frames(data, &ranges) {
            let size = frame.range.end - frame.range.start;
            gpu.bytes += size;
            gpu.frames += 1;
            let row: &mut Entries =
                gpu.architectures.entry(frame.architecture.to_string()).or_default();
            row.entries += 1;
            row.bytes += size;
            ranges.push(frame.range);
        }
        ranges.sort_by_key(|range| range.start);
    }
    (gpu, ranges)
}

impl Gpu {
    /// What headers, padding and all architectures add up to; `bytes` if all is well.
    pub(crate) fn parts(&self) -> u64 {
        let entries: u64 = self.architectures.values().map(|row| row.bytes).sum();
        entries + self.headers + self.padding
    }
}
