//! The names of functions that are not in a package.
//!
//! ```text
//! count    4 bytes   number of functions
//! starts             for each, ascending: how far its address lies past the one before
//! names              for each: text, and a byte of 0
//! ```

use crate::read::u32_at;

/// The names in memory.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    starts: &'a [u8],
    names: &'a [u8],
}

impl<'a> Names<'a> {
    /// Takes `bytes` apart; `None` where they are no such list.
    pub fn open(bytes: &'a [u8]) -> Option<Self> {
        let count = u32_at(bytes, 0) as usize;
        let (starts, names) = bytes.get(4..)?.split_at_checked(count.checked_mul(4)?)?;
        Some(Self { starts, names })
    }

    /// Every function's unrelocated address and its name; `None` for a name that is missing or
    /// does not end.
    pub fn all(self) -> impl Iterator<Item = (u64, Option<&'a [u8]>)> {
        let mut names = self.names.split_inclusive(|byte| *byte == 0);
        let mut start = 0;
        (0..self.starts.len() / 4).map(move |index| {
            start += u64::from(u32_at(self.starts, index * 4));
            (start, names.next().and_then(|name| name.strip_suffix(&[0])))
        })
    }

    /// The name of the function that starts at the unrelocated `address`.
    pub fn at(&self, address: u64) -> Option<&'a [u8]> {
        let mut start = 0;
        let mut names = self.names.split(|byte| *byte == 0);
        for index in 0..self.starts.len() / 4 {
            start += u64::from(u32_at(self.starts, index * 4));
            let name = names.next()?;
            if start >= address {
                return (start == address).then_some(name);
            }
        }
        None
    }
}

/// The bytes that [`Names`] reads: of functions by their addresses, which ascend.
#[cfg(any(test, feature = "write"))]
pub fn names(functions: &[(u64, String)]) -> Vec<u8> {
    let mut out = (functions.len() as u32).to_le_bytes().to_vec();
    let mut last = 0;
    for (address, _) in functions {
        out.extend(((address - last) as u32).to_le_bytes());
        last = *address;
    }
    for (_, name) in functions {
        out.extend(name.bytes().filter(|byte| *byte != 0));
        out.push(0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_named_at_its_start_alone() {
        let list = [(16, "first".to_owned()), (4096, "second".into()), (1 << 30, "third".into())];
        let bytes = names(&list);
        let read = Names::open(&bytes).unwrap();
        for (address, name) in &list {
            assert_eq!(read.at(*address), Some(name.as_bytes()));
            assert_eq!(read.at(address + 1), None);
        }
        assert_eq!(read.at(0), None);
        for cut in 0..bytes.len() {
            let _ = Names::open(&bytes[..cut]).map(|read| read.at(1 << 30));
        }
    }
}
