//! Makes machine code of x86-64 compress better.
//!
//! Calls, jumps and operands hold how far their target is from where they stand. Turned
//! into where the target is, from the chunk's start on, the same target gives the same
//! bytes each time; the highest byte first, as the others vary more. That saves an eighth
//! of what is stored. Every place that looks like one is turned, in data too; the way back
//! sees the same places, because the bytes that make a place are not among those that
//! change.

/// Bytes of a distance.
const NUMBER: usize = 4;

/// The most bytes from the first of a place to the end of its distance.
const REACH: usize = 3 + NUMBER;

/// How far from `at` a distance starts that an instruction there would have; `None` where
/// there is no such instruction.
fn distance(bytes: &[u8], at: usize) -> Option<usize> {
    // A memory operand relative to the instruction.
    let relative = |mode: u8| mode & 0xc7 == 5;
    match bytes[at] {
        // call, jmp
        0xe8 | 0xe9 => Some(1),
        // Conditional jumps; then whatever else has two bytes.
        0x0f if bytes[at + 1] & 0xf0 == 0x80 => Some(2),
        // A call in its second byte would change the third.
        0x0f if relative(bytes[at + 2]) && bytes[at + 1] & 0xfe != 0xe8 => Some(3),
        first if operates(first) && relative(bytes[at + 1]) => Some(2),
        _ => None,
    }
}

/// Whether an instruction with an operand in memory starts so: add, or, and, sub, cmp,
/// movsxd, test, mov, lea, and those with a number or of one operand.
fn operates(first: u8) -> bool {
    first & 0xd7 == 0x03
        || first & 0xfd == 0x39
        || first & 0xfc == 0x80
        || first & 0xf9 == 0x89
        || first & 0xfe == 0xc6
        || matches!(first, 0x63 | 0x85 | 0xff)
}

/// Sixteen bits, one for each of the places from `at` on: whether [`distance`] may be there.
#[cfg(target_arch = "x86_64")]
fn candidates(bytes: &[u8; 18]) -> u32 {
    use core::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128,
        _mm_set1_epi8,
    };
    // SAFETY: each load is of 16 of the 18 bytes; every processor of the kind has SSE2.
    unsafe {
        #[allow(clippy::cast_ptr_alignment)]
        let load = |at: usize| _mm_loadu_si128(bytes.as_ptr().add(at).cast::<__m128i>());
        let all = |byte: u8| _mm_set1_epi8(byte as i8);
        let is = |part: __m128i, byte: u8| _mm_cmpeq_epi8(part, all(byte));
        let masked = |part: __m128i, mask: u8, byte: u8| is(_mm_and_si128(part, all(mask)), byte);
        let (first, second, third) = (load(0), load(1), load(2));
        let calls = masked(first, 0xfe, 0xe8);
        let long = _mm_and_si128(
            is(first, 0x0f),
            _mm_or_si128(masked(second, 0xf0, 0x80), masked(third, 0xc7, 5)),
        );
        // As `operates` says.
        let mut operates = masked(first, 0xd7, 0x03);
        for (mask, byte) in [(0xfd, 0x39), (0xfc, 0x80), (0xf9, 0x89), (0xfe, 0xc6)] {
            operates = _mm_or_si128(operates, masked(first, mask, byte));
        }
        for byte in [0x63, 0x85, 0xff] {
            operates = _mm_or_si128(operates, is(first, byte));
        }
        let moves = _mm_and_si128(operates, masked(second, 0xc7, 5));
        _mm_movemask_epi8(_mm_or_si128(calls, _mm_or_si128(long, moves))) as u32
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn candidates(_: &[u8; 18]) -> u32 {
    0xffff
}

/// Changes the distance at each place by `change`, which is given where it stands.
fn each(bytes: &mut [u8], change: impl Fn(&mut [u8; NUMBER], u32)) {
    let mut next = 0;
    let mut start = 0;
    while start + REACH <= bytes.len() {
        let mut mask = match bytes.get(start..).and_then(|rest| rest.first_chunk::<18>()) {
            Some(part) => candidates(part),
            None => 0xffff,
        };
        while mask != 0 {
            let at = start + mask.trailing_zeros() as usize;
            mask &= mask - 1;
            if at < next || at + REACH > bytes.len() {
                continue;
            }
            let Some(skip) = distance(bytes, at) else { continue };
            let place = at + skip;
            if let Some(number) = bytes[place..].first_chunk_mut::<NUMBER>() {
                change(number, (place + NUMBER) as u32);
            }
            next = place + NUMBER;
        }
        start += 16;
    }
}

/// Turns distances into targets.
#[cfg(any(test, feature = "write"))]
pub(crate) fn turn(bytes: &mut [u8]) {
    each(bytes, |number, place| {
        *number = u32::from_le_bytes(*number).wrapping_add(place).to_be_bytes();
    });
}

/// Turns targets back into distances.
pub(crate) fn turn_back(bytes: &mut [u8]) {
    each(bytes, |number, place| {
        *number = u32::from_be_bytes(*number).wrapping_sub(place).to_le_bytes();
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_call_holds_its_target() {
        let mut bytes = [0x90; 64];
        bytes[10..15].copy_from_slice(&[0xe8, 1, 0, 0, 0]);
        bytes[30..37].copy_from_slice(&[0x48, 0x8d, 0x05, 0xe9, 0xff, 0xff, 0xff]);
        let original = bytes;
        turn(&mut bytes);
        assert_eq!(bytes[11..15], 16u32.to_be_bytes());
        assert_eq!(bytes[33..37], 14u32.to_be_bytes());
        turn_back(&mut bytes);
        assert_eq!(bytes, original);
    }

    proptest! {
        #[test]
        fn whatever_is_turned_is_turned_back(
            bytes in proptest::collection::vec(
                prop_oneof![
                    any::<u8>(),
                    proptest::sample::select(vec![0xe8, 0xe9, 0x0f, 0x8b, 0x8d, 0x05, 0x84]),
                ],
                0..300,
            )
        ) {
            let mut turned = bytes.clone();
            turn(&mut turned);
            turn_back(&mut turned);
            prop_assert_eq!(turned, bytes);
        }
    }
}
