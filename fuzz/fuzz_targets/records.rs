//! A file of records, or a profile, is understood or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use profile::{Profile, Restored};

fuzz_target!(|data: &[u8]| {
    let mut all = Restored::default();
    if all.add(data, "1.restored").is_ok() {
        assert!(all.libraries.values().all(|(hash, pages)| hash.len() == 16 && !pages.is_empty()));
    }
    if let Ok(profile) = Profile::from_bytes(data, "a.profile") {
        let again = Profile::from_bytes(&profile.to_bytes(), "a.profile");
        assert_eq!(again.ok(), Some(profile));
    }
});
