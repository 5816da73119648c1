//! Lines on standard error, without a buffer of the C library's.

use core::ffi::c_int;

/// Descriptor of standard error.
const ERROR: c_int = 2;

/// A line that is being made. What does not fit is cut off.
pub struct Line {
    bytes: [u8; 512],
    length: usize,
}

impl Line {
    /// A line that says who speaks.
    pub fn new() -> Self {
        Self::bare().text("taper: ")
    }

    /// An empty line.
    pub fn bare() -> Self {
        Self { bytes: [0; 512], length: 0 }
    }

    /// What it says so far.
    pub fn so_far(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Adds bytes.
    pub fn bytes(mut self, text: &[u8]) -> Self {
        // One byte is left for the end of the line.
        let room = self.bytes.len() - 1 - self.length;
        let count = text.len().min(room);
        self.bytes[self.length..self.length + count].copy_from_slice(&text[..count]);
        self.length += count;
        self
    }

    /// Adds text.
    pub fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    /// Adds a number.
    pub fn number(self, number: u64) -> Self {
        self.digits(number, 10)
    }

    /// Adds an address.
    pub fn address(self, address: u64) -> Self {
        self.text("0x").digits(address, 16)
    }

    /// Adds a byte as two digits.
    pub fn hexadecimal(self, byte: u8) -> Self {
        self.digits((byte >> 4).into(), 16).digits((byte & 15).into(), 16)
    }

    fn digits(self, mut number: u64, base: u64) -> Self {
        let (mut digits, mut at) = ([0; 20], 20);
        loop {
            at -= 1;
            digits[at] = b"0123456789abcdef"[(number % base) as usize];
            number /= base;
            if number == 0 {
                return self.bytes(&digits[at..]);
            }
        }
    }

    /// Writes the line.
    pub fn say(self) {
        self.write(ERROR);
    }

    /// Writes the line to a descriptor.
    pub fn write(mut self, descriptor: c_int) {
        self.bytes[self.length] = b'\n';
        // SAFETY: the bytes are there. Nobody can be told that nothing was said.
        unsafe { libc::write(descriptor, self.bytes.as_ptr().cast(), self.length + 1) };
    }

    /// Writes the line and ends the process.
    pub fn end(self) -> ! {
        self.say();
        // SAFETY: abort takes nothing and does not return.
        unsafe { libc::abort() }
    }
}
