//! Containers written for the purpose, and bytes that only look like some.

use proptest::prelude::*;
use taper_fatbin::{Compression, EntryKind, MAGIC, Malformed, Variant, containers};

/// One entry, its header as long as the format allows it to be.
fn entry(kind: u16, header: u32, payload: u64, sm: u32, flags: u64) -> Vec<u8> {
    let mut bytes = vec![0; header as usize + payload as usize];
    bytes[0..2].copy_from_slice(&kind.to_le_bytes());
    bytes[2..4].copy_from_slice(&0x101_u16.to_le_bytes());
    bytes[4..8].copy_from_slice(&header.to_le_bytes());
    bytes[8..16].copy_from_slice(&payload.to_le_bytes());
    bytes[28..32].copy_from_slice(&sm.to_le_bytes());
    bytes[40..48].copy_from_slice(&flags.to_le_bytes());
    bytes
}

fn container(body: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0, 16, 0]);
    bytes.extend((body.len() as u64).to_le_bytes());
    bytes.extend(body);
    bytes
}

#[test]
fn entries_are_read_whatever_the_size_of_their_headers() {
    let mut body = entry(2, 64, 80, 90, 0x8011);
    body.extend(entry(2, 112, 8, 90, 0x10_8011));
    body.extend(entry(2, 104, 8, 100, 0x120_8011));
    body.extend(entry(1, 72, 16, 120, 0x2011));
    body.extend(entry(8, 128, 0, 75, 0x1_2011));
    body.extend(entry(77, 64, 0, 75, 0));
    body.extend([0; 24]);
    let mut data = vec![7; 13];
    data.extend(container(&body));
    data.extend(container(&[]));
    let found: Vec<_> = containers(&data).collect();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].range(), 13..13 + 16 + body.len() as u64);
    assert_eq!(found[0].padding, 24);
    assert_eq!(found[0].malformed, None);
    let labels: Vec<_> = found[0].entries.iter().map(taper_fatbin::Entry::label).collect();
    assert_eq!(
        labels,
        [
            "sm_90",
            "sm_90a",
            "sm_100f",
            "compute_120 (PTX)",
            "compute_75 (link-time IR)",
            "sm_75 (unknown kind 77)"
        ]
    );
    let entries = &found[0].entries;
    assert_eq!(entries[5].kind, EntryKind::Other(77));
    assert_eq!(entries[1].architecture.variant, Variant::Specific);
    assert_eq!(entries[0].compression(), Compression::Zstd);
    assert_eq!(entries[3].compression(), Compression::Lz4);
    assert_eq!(entries[5].compression(), Compression::None);
    assert_eq!(entries[1].payload(), 13 + 16 + 144 + 112..13 + 16 + 144 + 120);
}

#[test]
fn a_magic_inside_an_entry_is_not_a_container() {
    let mut inner = entry(2, 64, 32, 80, 0x11);
    inner[64..80].copy_from_slice(&container(&[])[..16]);
    let data = container(&inner);
    assert_eq!(containers(&data).count(), 1);
}

#[test]
fn a_magic_with_another_version_is_chance() {
    let mut data = container(&entry(2, 64, 8, 80, 0));
    data[4] = 2;
    assert_eq!(containers(&data).count(), 0);
}

#[test]
fn what_is_malformed_is_yielded_and_hides_nothing_behind_it() {
    let mut body = entry(2, 64, 8, 80, 0);
    let bad_at = 16 + body.len() as u64;
    body.extend(entry(2, 64, 8, 80, 0));
    body[72 + 8] = 200;
    let mut data = container(&body);
    let mut endless = container(&[]);
    endless[15] = 0xff;
    data.extend(endless);
    data.extend(container(&entry(1, 64, 8, 90, 0)));
    let found: Vec<_> = containers(&data).collect();
    assert_eq!(found.len(), 3);
    assert_eq!(found[0].malformed, Some(Malformed::Entry { offset: bad_at }));
    assert_eq!(found[0].entries.len(), 1);
    assert_eq!(found[0].range(), 0..bad_at);
    assert!(matches!(found[1].malformed, Some(Malformed::Truncated { .. })));
    assert_eq!(found[1].size(), 16);
    assert_eq!(found[2].entries[0].label(), "compute_90 (PTX)");
    assert_eq!(found[2].range().end, data.len() as u64);
}

/// A piece of a file: noise, a container that is well formed, or a damaged one.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let entries = proptest::collection::vec(
        (0u16..10, 56u32..150, 0u64..90, 0u32..130, any::<u64>()).prop_map(
            |(kind, header, payload, sm, flags)| entry(kind, header.max(64), payload, sm, flags),
        ),
        0..5,
    );
    let whole = (entries, 0usize..40).prop_map(|(entries, padding)| {
        let mut body = entries.concat();
        body.resize(body.len() + padding, 0);
        container(&body)
    });
    let damaged = (
        whole.clone(),
        proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    )
        .prop_map(|(mut bytes, changes)| {
            for (index, value) in changes {
                let at = index.index(bytes.len());
                bytes[at] = value;
            }
            bytes
        });
    let cut = (whole.clone(), any::<prop::sample::Index>()).prop_map(|(mut bytes, index)| {
        bytes.truncate(index.index(bytes.len()));
        bytes
    });
    prop_oneof![whole, damaged, cut, proptest::collection::vec(any::<u8>(), 0..60)]
}

proptest! {
    #[test]
    fn every_byte_of_a_container_is_accounted_for(
        data in proptest::collection::vec(piece(), 0..6).prop_map(|pieces| pieces.concat()),
    ) {
        let mut end = 0;
        for found in containers(&data) {
            prop_assert!(found.offset >= end);
            end = found.range().end;
            prop_assert!(end <= data.len() as u64);
            let mut next = found.offset + taper_fatbin::Container::HEADER_SIZE;
            for entry in &found.entries {
                prop_assert_eq!(entry.offset, next);
                prop_assert_eq!(entry.payload().end, entry.range().end);
                prop_assert!(entry.payload().start >= entry.offset + 64);
                next = entry.range().end;
            }
            prop_assert_eq!(next + found.padding, end);
            if found.malformed.is_none() {
                let claimed = &data[found.offset as usize + 8..][..8];
                let claimed = u64::from_le_bytes(claimed.try_into().unwrap());
                prop_assert_eq!(claimed + 16, found.size());
            }
        }
    }

    #[test]
    fn well_formed_containers_are_all_found(
        gaps in proptest::collection::vec(0usize..50, 1..5),
        payloads in proptest::collection::vec(0u64..60, 0..4),
    ) {
        let body: Vec<u8> = payloads.iter().flat_map(|size| entry(2, 64, *size, 80, 0)).collect();
        let mut data = Vec::new();
        for gap in &gaps {
            data.extend(std::iter::repeat_n(0x50, *gap));
            data.extend(container(&body));
        }
        let found: Vec<_> = containers(&data).collect();
        prop_assert_eq!(found.len(), gaps.len());
        prop_assert!(found.iter().all(|found| found.entries.len() == payloads.len()));
    }
}
