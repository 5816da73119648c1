//! Numbers in LEB128, and bytes that are read from the front.

/// Adds `number` to `out`.
pub fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Bytes that are read from the front.
pub struct Rest<'a>(pub &'a [u8]);

impl<'a> Rest<'a> {
    /// The next byte.
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// The next number.
    pub fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && part > 1 {
                return None;
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// The bytes before the next zero, which is passed over.
    pub fn until_zero(&mut self) -> Option<&'a [u8]> {
        let at = self.0.iter().position(|byte| *byte == 0)?;
        let (part, rest) = self.0.split_at(at);
        self.0 = &rest[1..];
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_longer_ones_are_refused() {
        let all = [0, 1, 127, 128, 300, 1 << 35, u64::MAX];
        let mut bytes = Vec::new();
        for number in all {
            put(&mut bytes, number);
        }
        let mut rest = Rest(&bytes);
        assert!(all.iter().all(|number| rest.number() == Some(*number)));
        assert_eq!(rest.number(), None);
        assert_eq!(Rest(&[0xff; 9]).number(), None);
        assert_eq!(Rest(&[0xff; 11]).number(), None);
        assert_eq!(Rest(b"ab").until_zero(), None);
        assert_eq!(Rest(b"ab\0c").until_zero(), Some(&b"ab"[..]));
    }
}
