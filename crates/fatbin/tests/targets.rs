//! What of a container serves a target, and the container without the rest.

use Serving::{NotNeeded, OtherGpu, Runs, TooNew};
use proptest::prelude::*;
use taper_fatbin::{MAGIC, Serving, Target, containers, serving, without};

const PTX: u16 = 1;
const CUBIN: u16 = 2;
const IR: u16 = 8;
const MERCURY: u16 = 16;
const SPECIFIC: u64 = 0x10_0000;
const FAMILY: u64 = 0x20_0000;

/// A container of entries that are told apart by their payload.
fn container(entries: &[(u16, u32, u64)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (number, (kind, sm, flags)) in entries.iter().enumerate() {
        let mut entry = vec![0; 64];
        let payload = 8 * (number as u64 + 1);
        entry[0..2].copy_from_slice(&kind.to_le_bytes());
        entry[4..8].copy_from_slice(&64u32.to_le_bytes());
        entry[8..16].copy_from_slice(&payload.to_le_bytes());
        entry[28..32].copy_from_slice(&sm.to_le_bytes());
        entry[40..48].copy_from_slice(&flags.to_le_bytes());
        entry.resize(64 + payload as usize, number as u8 + 1);
        body.extend(entry);
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0, 16, 0]);
    bytes.extend((body.len() as u64).to_le_bytes());
    bytes.extend(body);
    bytes
}

fn target(text: &str) -> Target {
    text.parse().unwrap()
}

/// Why each entry stays or leaves.
fn why(entries: &[(u16, u32, u64)], text: &str) -> Vec<Serving> {
    let data = container(entries);
    serving(&containers(&data).next().unwrap(), &target(text))
}

/// The labels of what stays.
fn stays(entries: &[(u16, u32, u64)], text: &str) -> Vec<String> {
    let data = container(entries);
    let found = containers(&data).next().unwrap();
    let why = serving(&found, &target(text));
    let stays = found.entries.iter().zip(why).filter(|(_, why)| why.stays());
    stays.map(|(entry, _)| entry.label()).collect()
}

/// As libtorch_cuda, cuBLAS and cuBLASLt have them.
const COMMON: [(u16, u32, u64); 7] = [
    (CUBIN, 75, 0),
    (CUBIN, 80, 0),
    (CUBIN, 86, 0),
    (CUBIN, 90, 0),
    (CUBIN, 100, 0),
    (CUBIN, 120, 0),
    (PTX, 120, 0),
];

#[test]
fn a_gpu_keeps_its_code_and_that_of_lower_minors() {
    assert_eq!(stays(&COMMON, "sm_75"), ["sm_75"]);
    assert_eq!(stays(&COMMON, "sm_80"), ["sm_80"]);
    assert_eq!(stays(&COMMON, "sm_86"), ["sm_80", "sm_86"]);
    assert_eq!(stays(&COMMON, "sm_89"), ["sm_80", "sm_86"]);
    assert_eq!(stays(&COMMON, "sm_90"), ["sm_90"]);
    assert_eq!(stays(&COMMON, "sm_103"), ["sm_100"]);
    assert_eq!(stays(&COMMON, "sm_80,sm_90"), ["sm_80", "sm_90"]);
    assert_eq!(stays(&COMMON, "sm_90+ptx"), ["sm_90", "compute_120 (PTX)"]);
    // Nothing here is for it, and the driver can compile nothing for it.
    assert_eq!(stays(&COMMON, "sm_70"), [""; 0]);
    // Nothing is machine code for a GPU of tomorrow.
    assert_eq!(stays(&COMMON, "sm_130"), ["compute_120 (PTX)"]);
    let others = [OtherGpu, OtherGpu, OtherGpu, Runs, OtherGpu, OtherGpu, TooNew];
    assert_eq!(why(&COMMON, "sm_90"), others);
    assert_eq!(why(&COMMON, "sm_120").last(), Some(&NotNeeded));
}

#[test]
fn code_for_one_gpu_or_a_family_is_kept_for_these() {
    let lt = [
        (CUBIN, 90, SPECIFIC),
        (CUBIN, 100, FAMILY),
        (CUBIN, 103, FAMILY),
        (MERCURY, 120, FAMILY),
        (PTX, 90, SPECIFIC),
    ];
    assert_eq!(stays(&lt, "sm_90"), ["sm_90a"]);
    assert_eq!(stays(&lt, "sm_100"), ["sm_100f"]);
    assert_eq!(stays(&lt, "sm_103"), ["sm_100f", "sm_103f"]);
    assert_eq!(stays(&lt, "sm_121"), ["sm_120f (Mercury)"]);
    assert_eq!(stays(&lt, "sm_80"), [""; 0]);
    assert_eq!(stays(&lt[4..], "sm_90"), ["compute_90a (PTX)"]);
    assert_eq!(stays(&lt[4..], "sm_100"), [""; 0]);
}

#[test]
fn what_is_compiled_or_linked_is_kept_where_it_can_be() {
    let ptx = [(PTX, 70, 0), (PTX, 80, 0), (PTX, 90, 0), (PTX, 100, 0)];
    assert_eq!(stays(&ptx, "sm_90"), ["compute_90 (PTX)"]);
    assert_eq!(stays(&ptx, "sm_75,sm_89"), ["compute_70 (PTX)", "compute_80 (PTX)"]);
    // Several of one architecture are several modules.
    let twice = [(PTX, 75, 0), (PTX, 75, 0)];
    assert_eq!(stays(&twice, "sm_90").len(), 2);
    let linked = [(IR, 75, 0), (IR, 90, 0), (IR, 100, 0), (77, 75, 0)];
    let kept =
        ["compute_75 (link-time IR)", "compute_90 (link-time IR)", "sm_75 (unknown kind 77)"];
    assert_eq!(stays(&linked, "sm_90"), kept);
}

#[test]
fn a_malformed_container_stays_whole() {
    let mut data = container(&COMMON);
    data[16 + 64 + 8 + 8] = 0xff;
    let found = containers(&data).next().unwrap();
    assert!(found.malformed.is_some());
    let why = serving(&found, &target("sm_90"));
    assert!(why.iter().all(|why| *why == Serving::Unknown));
    assert_eq!(without(&found, &vec![false; why.len()]), None);
}

#[test]
fn a_container_without_entries_is_one() {
    let mut data = container(&COMMON);
    let found = containers(&data).next().unwrap();
    let edit = without(&found, &[false; 7]).unwrap();
    assert!(edit.moves.is_empty());
    assert!(edit.apply(&mut data));
    let after = containers(&data).next().unwrap();
    assert!(after.entries.is_empty() && after.malformed.is_none());
    assert!(data[16..].iter().all(|byte| *byte == 0));
    assert!(!edit.apply(&mut data[1..]));
}

/// Kinds and architectures as they occur.
fn entries() -> impl Strategy<Value = Vec<(u16, u32, u64)>> {
    let kind = prop::sample::select(vec![PTX, CUBIN, CUBIN, CUBIN, IR, MERCURY, 64]);
    let sm = prop::sample::select(vec![
        50u32, 70, 72, 75, 80, 86, 87, 88, 89, 90, 100, 101, 103, 110, 120, 121,
    ]);
    let flags = prop::sample::select(vec![0, 0x8011, SPECIFIC, FAMILY]);
    proptest::collection::vec((kind, sm, flags), 0..12)
}

fn targets() -> impl Strategy<Value = (Vec<u32>, bool)> {
    let sm = prop::sample::select(vec![70u32, 75, 80, 86, 89, 90, 100, 103, 110, 120, 121]);
    (proptest::collection::vec(sm, 1..4), any::<bool>())
}

fn named((gpus, ptx): &(Vec<u32>, bool)) -> Target {
    let names: Vec<String> = gpus.iter().map(|gpu| format!("sm_{gpu}")).collect();
    target(&format!("{}{}", names.join(","), if *ptx { "+ptx" } else { "" }))
}

proptest! {
    #[test]
    fn more_gpus_keep_no_machine_code_less(all in entries(), some in targets(), more in targets()) {
        let data = container(&all);
        let found = containers(&data).next().unwrap();
        let few = serving(&found, &named(&some));
        let both = [some.0, more.0].concat();
        let many = serving(&found, &named(&(both, some.1)));
        for (few, many) in few.iter().zip(many) {
            prop_assert!(!few.stays() || many.stays(), "{few:?} {many:?}");
        }
    }

    #[test]
    fn what_stays_is_the_same_and_stays_again(all in entries(), asked in targets()) {
        let mut data = vec![7; 24];
        data.extend(container(&all));
        data.extend([9; 40]);
        let before = data.clone();
        let found = containers(&data).next().unwrap();
        let target = named(&asked);
        let stays: Vec<bool> = serving(&found, &target).iter().map(|why| why.stays()).collect();
        if let Some(edit) = without(&found, &stays) {
            prop_assert!(edit.apply(&mut data));
        }
        let after = containers(&data).next().unwrap();
        prop_assert_eq!(after.offset, found.offset);
        let kept = found.entries.iter().zip(&stays).filter(|(_, stays)| **stays);
        let kept: Vec<&[u8]> = kept
            .map(|(entry, _)| &before[entry.range().start as usize..entry.range().end as usize])
            .collect();
        let there: Vec<&[u8]> = after.entries.iter()
            .map(|entry| &data[entry.range().start as usize..entry.range().end as usize])
            .collect();
        prop_assert_eq!(kept, there);
        // Outside, and between its end and its old one, nothing else is.
        let (end, old) = (after.range().end as usize, found.range().end as usize);
        prop_assert!(data[end..old].iter().all(|byte| *byte == 0));
        prop_assert!(data[..24] == before[..24] && data[old..] == before[old..]);
        let again = serving(&after, &target);
        prop_assert!(again.iter().all(|why| why.stays()), "{again:?}");
    }
}
