//! Whatever the bytes are, the fat binaries found lie inside them, one after the other.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut last = 0;
    for container in fatbin::containers(data) {
        let range = container.range();
        assert!(last <= range.start && range.end <= data.len() as u64);
        last = range.start;
        for entry in &container.entries {
            let inside = entry.range();
            assert!(range.start <= inside.start && inside.end <= range.end);
            let _ = (entry.label(), entry.payload(), entry.compression());
        }
    }
});
