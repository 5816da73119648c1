//! The few kinds of marshal data that the index of stored modules needs (CPython,
//! `Python/marshal.c`, the same in all versions since 3.4).

use std::collections::BTreeMap;

/// Builds one marshalled value.
#[derive(Debug, Default)]
pub struct Marshal(Vec<u8>);

impl Marshal {
    /// Starts a dict: keys and values follow in turns, then [`Marshal::end`].
    pub fn dict(&mut self) {
        self.0.push(b'{');
    }

    /// Ends a dict.
    pub fn end(&mut self) {
        self.0.push(b'0');
    }

    /// Starts a tuple of `length` values, which follow.
    pub fn tuple(&mut self, length: u8) {
        self.0.extend([b')', length]);
    }

    /// A string.
    pub fn text(&mut self, text: &str) {
        self.0.push(b'u');
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
    }

    /// A dict from names to words.
    pub fn words(&mut self, words: &BTreeMap<String, String>) {
        self.dict();
        for (name, word) in words {
            self.text(name);
            self.text(word);
        }
        self.end();
    }

    /// A value that is marshalled already, without references.
    pub fn value(&mut self, marshalled: &[u8]) {
        self.0.extend(marshalled);
    }

    /// Bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.push(b's');
        self.0.extend((bytes.len() as u32).to_le_bytes());
        self.0.extend(bytes);
    }

    /// A number.
    pub fn number(&mut self, number: i32) {
        self.0.push(b'i');
        self.0.extend(number.to_le_bytes());
    }

    /// Three numbers, as a tuple.
    pub fn place(&mut self, place: [u32; 3]) {
        self.tuple(3);
        for word in place {
            self.number(word as i32);
        }
    }

    /// The bytes.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}
