//! A note that passed for one, its hash aside, is read within its bounds; so are the names
//! of absent functions.

#![no_main]

use libfuzzer_sys::fuzz_target;
use note::{Names, Note};

fuzz_target!(|data: &[u8]| {
    assert!(Note::size(data).is_none_or(|size| size >= note::HEADER));
    let _ = Note::open(data);
    if let Ok(note) = Note::checked(data) {
        let _ = (note.root(), note.names(), note.content(), note.first_chunk());
        for index in 0..note.len().min(256) {
            let Some(run) = note.run(index) else { panic!("run {index} is not there") };
            if let Some(found) = note.find(run.page) {
                assert!(note.run(found).is_some_and(|found| found.contains(run.page)));
                assert!(note.together(found).take(256).count() > 0);
            }
        }
        assert!(note.run(note.len()).is_none());
    }
    if let Some(names) = Names::open(data) {
        for address in [0, 1, 0x1000, u64::MAX] {
            let _ = names.at(address);
        }
    }
});
