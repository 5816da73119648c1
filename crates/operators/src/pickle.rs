//! A pickle as data. Nothing is imported, called or built: what a pickle would call is
//! kept as a name and its arguments.

use std::collections::HashMap;
use std::fmt;

/// Objects of one pickle.
const MAX_ITEMS: usize = 1 << 24;

/// The index of an object.
pub type Id = u32;

/// An object.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// A number; of numbers that need more than 64 bits, nothing.
    Int(Option<i64>),
    /// A number.
    Float(f64),
    /// A text.
    Text(String),
    /// A name in a module.
    Global(String, String),
    /// A list.
    List(Vec<Id>),
    /// A tuple.
    Tuple(Vec<Id>),
    /// A dictionary: keys and values in turn.
    Dict(Vec<Id>),
    /// A call, by what and with what, and the state that the result is given.
    Call(Id, Id, Option<Id>),
    /// Something outside the pickle.
    Persistent(Id),
}

/// Why a pickle is not understood: at which byte.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The byte.
    pub at: usize,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.at, self.reason)
    }
}

/// A pickle that was read.
#[derive(Debug)]
pub struct Pickle {
    items: Vec<Item>,
    /// What it holds.
    pub root: Id,
}

impl Pickle {
    /// Reads the pickle in `bytes`, of the opcodes that PyTorch writes.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader {
            bytes,
            at: 0,
            items: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        loop {
            let at = reader.at;
            match reader.step() {
                Ok(None) => {}
                Ok(Some(root)) => return Ok(Self { items: reader.items, root }),
                Err(reason) => return Err(Malformed { at, reason }),
            }
        }
    }

    /// An object.
    pub fn get(&self, id: Id) -> &Item {
        self.items.get(id as usize).unwrap_or(&Item::None)
    }

    /// Every object.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The name in a module that `id` is.
    pub fn global(&self, id: Id) -> Option<(&str, &str)> {
        match self.get(id) {
            Item::Global(module, name) => Some((module, name)),
            _ => None,
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    items: Vec<Item>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], String> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let part = &self.bytes[self.at..end.ok_or("it ends here")?];
        self.at += count;
        Ok(part)
    }

    fn number(&mut self, count: usize) -> Result<u64, String> {
        let bytes = self.take(count)?;
        Ok(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    fn text(&mut self, count: usize) -> Result<String, String> {
        let bytes = self.take(count)?.to_vec();
        String::from_utf8(bytes).map_err(|_| "a text is not UTF-8".into())
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = &self.bytes[self.at..];
        let end = memchr::memchr(b'\n', rest).ok_or("a line has no end")?;
        let line = self.text(end)?;
        self.at += 1;
        Ok(line)
    }

    fn push(&mut self, item: Item) -> Result<(), String> {
        if self.items.len() >= MAX_ITEMS {
            return Err("it has too many objects".into());
        }
        self.stack.push(self.items.len() as Id);
        self.items.push(item);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, String> {
        if self.marks.last().is_some_and(|mark| self.stack.len() <= *mark) {
            return Err("the stack is empty at a mark".into());
        }
        self.stack.pop().ok_or_else(|| "the stack is empty".into())
    }

    fn top(&self) -> Result<Id, String> {
        self.stack.last().copied().ok_or_else(|| "the stack is empty".into())
    }

    fn since_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("there is no mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, count: usize) -> Result<(), String> {
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Item::Tuple(items))
    }

    fn extend(&mut self, more: Vec<Id>, list: bool) -> Result<(), String> {
        let target = self.top()? as usize;
        match self.items.get_mut(target) {
            Some(Item::List(items)) if list => items.extend(more),
            Some(Item::Dict(items)) if !list && more.len().is_multiple_of(2) => items.extend(more),
            // A subclass of dict or list: what it holds is of no interest.
            Some(Item::Call(..)) => {}
            _ => return Err("something is added to what is no list".into()),
        }
        Ok(())
    }

    fn remember(&mut self, key: u64) -> Result<(), String> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u64) -> Result<(), String> {
        let id = *self.memo.get(&key).ok_or("it recalls what it never kept")?;
        if self.stack.len() >= MAX_ITEMS {
            return Err("its stack is too deep".into());
        }
        self.stack.push(id);
        Ok(())
    }

    /// A number, by the opcode before it.
    fn numeral(&mut self, opcode: u8) -> Result<(), String> {
        let item = match opcode {
            b'K' => Item::Int(Some(self.number(1)? as i64)),
            b'M' => Item::Int(Some(self.number(2)? as i64)),
            b'J' => Item::Int(Some(i64::from(self.number(4)? as u32 as i32))),
            b'G' => Item::Float(f64::from_bits(self.number(8)?.swap_bytes())),
            _ => {
                let count = self.number(1)? as usize;
                let bytes = self.take(count)?;
                Item::Int((count <= 8).then(|| {
                    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
                    let mut all = [if negative { 0xff } else { 0 }; 8];
                    all[..count].copy_from_slice(bytes);
                    i64::from_le_bytes(all)
                }))
            }
        };
        self.push(item)
    }

    /// A text whose length has so many bytes.
    fn word(&mut self, size: usize) -> Result<(), String> {
        let count = self.number(size)? as usize;
        let text = self.text(count)?;
        self.push(Item::Text(text))
    }

    /// A name of a module, in lines or from the stack.
    fn global(&mut self, opcode: u8) -> Result<(), String> {
        if opcode == b'c' {
            let (module, name) = (self.line()?, self.line()?);
            return self.push(Item::Global(module, name));
        }
        let (name, module) = (self.pop()?, self.pop()?);
        let text = |id: Id| match self.items.get(id as usize) {
            Some(Item::Text(text)) => Ok(text.clone()),
            _ => Err("a name is not a text"),
        };
        let global = Item::Global(text(module)?, text(name)?);
        self.push(global)
    }

    /// The key of the memo that an opcode is about.
    fn key(&mut self, opcode: u8) -> Result<u64, String> {
        match opcode {
            b'q' | b'h' => self.number(1),
            b'r' | b'j' => self.number(4),
            _ => Ok(self.memo.len() as u64),
        }
    }

    fn step(&mut self) -> Result<Option<Id>, String> {
        let opcode = self.number(1)? as u8;
        match opcode {
            b'\x80' => {
                let version = self.number(1)?;
                if version > 5 {
                    return Err(format!("it is of protocol {version}"));
                }
            }
            b'\x95' => {
                self.take(8)?;
            }
            b'.' => return self.pop().map(Some),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                self.pop()?;
            }
            b'N' => self.push(Item::None)?,
            b'\x88' => self.push(Item::Bool(true))?,
            b'\x89' => self.push(Item::Bool(false))?,
            b'K' | b'M' | b'J' | b'\x8a' | b'G' => self.numeral(opcode)?,
            b'X' | b'T' | b'B' => self.word(4)?,
            b'\x8c' | b'U' | b'C' => self.word(1)?,
            b'c' | b'\x93' => self.global(opcode)?,
            b')' => self.push(Item::Tuple(Vec::new()))?,
            b']' => self.push(Item::List(Vec::new()))?,
            b'}' => self.push(Item::Dict(Vec::new()))?,
            b't' => {
                let items = self.since_mark()?;
                self.push(Item::Tuple(items))?;
            }
            b'l' => {
                let items = self.since_mark()?;
                self.push(Item::List(items))?;
            }
            b'\x85' => self.tuple(1)?,
            b'\x86' => self.tuple(2)?,
            b'\x87' => self.tuple(3)?,
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item], true)?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.extend(items, true)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.extend(vec![key, value], false)?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.extend(items, false)?;
            }
            b'R' | b'\x81' => {
                let (arguments, callee) = (self.pop()?, self.pop()?);
                self.push(Item::Call(callee, arguments, None))?;
            }
            b'b' => {
                let state = self.pop()?;
                let target = self.top()? as usize;
                match self.items.get_mut(target) {
                    Some(Item::Call(_, _, slot)) => *slot = Some(state),
                    _ => return Err("a state is given to what is no object".into()),
                }
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Item::Persistent(id))?;
            }
            b'q' | b'r' | b'\x94' => {
                let key = self.key(opcode)?;
                self.remember(key)?;
            }
            b'h' | b'j' => {
                let key = self.key(opcode)?;
                self.recall(key)?;
            }
            other => return Err(format!("opcode {other:#04x} is none that PyTorch writes")),
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `pickle.dumps` makes of a class with a dictionary as its state, protocol 2.
    const OBJECT: &[u8] = b"\x80\x02c__torch__.a\nNet\nq\x00)\x81q\x01}q\x02(X\x01\x00\x00\x00xK\
        \x05X\x01\x00\x00\x00yG\x3f\xf8\x00\x00\x00\x00\x00\x00ub.";

    #[test]
    fn an_object_is_a_call_with_a_state() {
        let pickle = Pickle::read(OBJECT).unwrap();
        let Item::Call(class, _, Some(state)) = *pickle.get(pickle.root) else { panic!() };
        assert_eq!(pickle.global(class), Some(("__torch__.a", "Net")));
        let Item::Dict(pairs) = pickle.get(state) else { panic!() };
        let values: Vec<&Item> = pairs.iter().map(|id| pickle.get(*id)).collect();
        assert_eq!(values[1], &Item::Int(Some(5)));
        assert_eq!(values[3], &Item::Float(1.5));
    }

    #[test]
    fn damage_is_named_and_nothing_else_happens() {
        for end in 0..OBJECT.len() - 1 {
            assert!(Pickle::read(&OBJECT[..end]).is_err());
        }
        let cases: [(&[u8], &str); 6] = [
            (b"\x80\x02t.", "no mark"),
            (b"\x80\x02h\x07.", "never kept"),
            (b"\x80\x02(a.", "empty at a mark"),
            (b"\x80\x02K\x01K\x02b.", "no object"),
            (b"\x80\x02ios\nsystem\n.", "opcode 0x69"),
            (b"\x80\x02X\xff\xff\xff\xff.", "ends here"),
        ];
        for (bytes, what) in cases {
            let error = Pickle::read(bytes).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
