//! Bounded little-endian reads.

/// The bytes `at..at + len`, if they lie inside.
pub(crate) fn slice(data: &[u8], at: u64, len: u64) -> Option<&[u8]> {
    let start = usize::try_from(at).ok()?;
    let end = usize::try_from(at.checked_add(len)?).ok()?;
    data.get(start..end)
}

fn array<const N: usize>(data: &[u8], at: u64) -> Option<[u8; N]> {
    slice(data, at, N as u64)?.try_into().ok()
}

pub(crate) fn u16_at(data: &[u8], at: u64) -> Option<u16> {
    array(data, at).map(u16::from_le_bytes)
}

pub(crate) fn u32_at(data: &[u8], at: u64) -> Option<u32> {
    array(data, at).map(u32::from_le_bytes)
}

pub(crate) fn u64_at(data: &[u8], at: u64) -> Option<u64> {
    array(data, at).map(u64::from_le_bytes)
}

/// The bytes from `at` up to the next NUL, which must lie inside.
pub(crate) fn c_string(data: &[u8], at: u64) -> Option<&[u8]> {
    let rest = data.get(usize::try_from(at).ok()?..)?;
    let end = memchr::memchr(0, rest)?;
    Some(&rest[..end])
}
