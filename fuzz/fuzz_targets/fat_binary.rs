//! Whatever the bytes are, the fat binaries found lie inside them, one after the other, and
//! what is taken out of them leaves all other bytes as they were.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let target: fatbin::Target = "sm_86,sm_90".parse().unwrap();
    let mut last = 0;
    let mut taken = Vec::new();
    let mut edited = data.to_vec();
    for container in fatbin::containers(data) {
        let range = container.range();
        assert!(last <= range.start && range.end <= data.len() as u64);
        last = range.start;
        for entry in &container.entries {
            let inside = entry.range();
            assert!(range.start <= inside.start && inside.end <= range.end);
            let _ = (entry.label(), entry.payload(), entry.compression());
        }
        let stays: Vec<bool> =
            fatbin::serving(&container, &target).into_iter().map(fatbin::Serving::stays).collect();
        assert_eq!(stays.len(), container.entries.len());
        if let Some(edit) = fatbin::without(&container, &stays) {
            assert!(edit.apply(&mut edited));
        }
        taken.push(range);
    }
    let mut outside = 0;
    for range in &taken {
        assert_eq!(edited[outside..range.start as usize], data[outside..range.start as usize]);
        outside = range.end as usize;
    }
    assert_eq!(edited[outside..], data[outside..]);
    let mut end = 0;
    for frame in fatbin::bare_frames(data, &taken) {
        assert!(end <= frame.range.start && frame.range.start < frame.range.end);
        end = frame.range.end;
        assert!(end <= data.len() as u64);
    }
});
