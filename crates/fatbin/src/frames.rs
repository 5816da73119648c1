//! Machine code for GPUs that lies in no container: zstd frames, each of one cubin.
//!
//! cuBLASLt has 387 of them among its variables (CUDA 13.2), and finds them by tables of pointers.
//! A cubin is an ELF file for machine 190, `EM_CUDA`. Where its ABI (`e_ident[EI_OSABI]`) is 51,
//! the low byte of `e_flags` is the architecture; where it is 65, the byte above that is: read
//! from the cubins of CUDA 12 and 13, whose architecture the containers around others give.

use crate::word::{u16_at, u32_at};
use crate::{Architecture, Variant};
use memchr::memmem;
use std::io::Read;
use std::ops::Range;
use zstd::zstd_safe;

/// A frame. Offsets are bytes in the searched slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Where it lies, from its magic to the end of its last block or its checksum.
    pub range: Range<u64>,
    /// What it is for. How far it reaches beyond that is not known; it is taken for code that
    /// later minors run too.
    pub architecture: Architecture,
}

/// The first four bytes of a frame (RFC 8878, 3.1.1).
const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();

/// Bytes of the header of a 64-bit ELF file.
const HEADER: usize = 64;

/// The machine of cubins.
const CUDA: u16 = 190;

/// The frames in `data` that hold a cubin and begin in none of the ranges `taken`, which ascend;
/// ascending, none inside another.
pub fn bare_frames(data: &[u8], taken: &[Range<u64>]) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    let finder = memmem::Finder::new(&MAGIC);
    let mut start = 0;
    let ends = taken.iter().map(|range| (range.start, range.end));
    for (end, next) in ends.chain([(data.len() as u64, data.len() as u64)]) {
        let mut at = start as usize;
        let end = (end as usize).min(data.len());
        while let Some(found) = data.get(at..end).and_then(|rest| finder.find(rest)) {
            let place = at + found;
            at = place + MAGIC.len();
            if let Some(frame) = frame(data, place) {
                at = frame.range.end as usize;
                frames.push(frame);
            }
        }
        start = next.max(at as u64);
    }
    frames
}

/// The frame at `at`; `None` for one that is damaged or holds something else.
fn frame(data: &[u8], at: usize) -> Option<Frame> {
    let rest = data.get(at..)?;
    let length = zstd_safe::find_frame_compressed_size(rest).ok()?;
    let bytes = rest.get(..length)?;
    let mut header = [0; HEADER];
    zstd::stream::read::Decoder::with_buffer(bytes).ok()?.read_exact(&mut header).ok()?;
    let architecture = cubin(&header)?;
    Some(Frame { range: at as u64..(at + length) as u64, architecture })
}

/// What a cubin is for, by the header of the file; `None` for another file.
fn cubin(header: &[u8; HEADER]) -> Option<Architecture> {
    if !header.starts_with(b"\x7fELF") || u16_at(header, 18)? != CUDA {
        return None;
    }
    let flags = u32_at(header, 48)?;
    let sm = match header[7] {
        51 => flags & 0xff,
        65 => flags >> 8 & 0xff,
        _ => return None,
    };
    Some(Architecture { sm, variant: Variant::General })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressed(abi: u8, flags: u32) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.push(abi);
        file.resize(HEADER, 0);
        file[18..20].copy_from_slice(&CUDA.to_le_bytes());
        file[48..52].copy_from_slice(&flags.to_le_bytes());
        file.extend((0..9000u32).flat_map(u32::to_le_bytes));
        zstd::bulk::compress(&file, 3).unwrap()
    }

    #[test]
    fn a_frame_that_holds_a_cubin_is_found_and_no_other() {
        let mut data = vec![0; 100];
        let mut expected = Vec::new();
        for (abi, flags, sm) in [(51, 0x5a_055a, 90), (65, 0x600_6402, 100), (51, 0x4b_054b, 75)] {
            let frame = compressed(abi, flags);
            expected.push((data.len() as u64..(data.len() + frame.len()) as u64, sm));
            data.extend(frame);
            data.extend([0; 7]);
        }
        data.extend(zstd::bulk::compress(&[7; 1000], 3).unwrap());
        data.extend(compressed(3, 90));
        let last = expected.last().unwrap().0.clone();
        let cut = data[last.start as usize..last.end as usize - 1].to_vec();
        data.extend(cut);
        let found = |taken: &[Range<u64>]| -> Vec<(Range<u64>, u32)> {
            let frames = bare_frames(&data, taken);
            frames.into_iter().map(|frame| (frame.range, frame.architecture.sm)).collect()
        };
        assert_eq!(found(&[]), expected);
        let taken = [0..50, expected[1].0.clone(), data.len() as u64..data.len() as u64 + 9];
        assert_eq!(found(&taken), [expected[0].clone(), expected[2].clone()]);
    }
}
