//! Whatever the bytes are, a chunk is what was written or it is refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use store::{Store, Workspace};

fuzz_target!(|data: &[u8]| {
    let Ok(store) = Store::checked(data) else { return };
    let mut memory = vec![0u64; Workspace::size().div_ceil(8)];
    let Some(mut workspace) = Workspace::new(&mut memory) else { return };
    for number in 0..store.len().min(64) {
        let Some(entry) = store.entry(number) else { continue };
        // What a header claims is not what is asked for.
        let mut out = vec![0; (entry.length as usize).min(1 << 20)];
        let _ = store.read(number, &mut out, &mut workspace);
    }
});
