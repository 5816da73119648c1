//! Entries of `.eh_frame`: where the fields lie that depend on the entry's address.

use crate::area::RELATIVE;
use crate::bytes::{Cursor, word_at};

/// What an entry of a common kind says about those that refer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Common {
    /// Place of the word that leads to the personality routine.
    pub personality: Option<usize>,
    /// Whether entries have augmentation data.
    pub augmented: bool,
    /// Whether entries name a language-specific data area.
    pub area: bool,
}

/// Reads a common information entry with its length field (LSB 4, 10.6.1.1). `None`
/// where it does not parse or has an encoding that compilers of position-independent
/// code do not write.
pub fn common(entry: &[u8]) -> Option<Common> {
    // The length, and 0 where other entries have a distance.
    if word_at(entry, 0)? as usize != entry.len() - 4 || word_at(entry, 4)? != 0 {
        return None;
    }
    let mut cursor = Cursor::new(entry, 8);
    if cursor.byte()? != 1 {
        return None;
    }
    let letters = cursor.text()?;
    cursor.unsigned()?;
    cursor.signed()?;
    cursor.byte()?;
    let mut common = Common { personality: None, augmented: false, area: false };
    let mut addresses = 0;
    for (number, letter) in letters.iter().enumerate() {
        match letter {
            b'z' if number == 0 => {
                common.augmented = true;
                cursor.unsigned()?;
            }
            b'R' => addresses = cursor.byte()?,
            b'L' => {
                let encoding = cursor.byte()?;
                common.area = encoding != 0xff;
                if common.area && encoding != RELATIVE[0] {
                    return None;
                }
            }
            b'P' => {
                if !RELATIVE.contains(&cursor.byte()?) {
                    return None;
                }
                common.personality = Some(cursor.place());
                cursor.word()?;
            }
            b'S' => {}
            _ => return None,
        }
    }
    (addresses == RELATIVE[0]).then_some(common)
}

/// The place of the first address in a frame description entry, after its length and
/// its distance from the common one.
pub const START: usize = 8;

/// What a frame description entry says about its language-specific data area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// It has none.
    Absent,
    /// The word at this place leads to it.
    At(usize),
}

impl Field {
    /// The place of the word.
    pub fn place(self) -> Option<usize> {
        match self {
            Self::Absent => None,
            Self::At(place) => Some(place),
        }
    }
}

/// Reads a frame description entry with its length field. `None` where it does not
/// parse.
pub fn area(entry: &[u8], common: Common) -> Option<Field> {
    if word_at(entry, 0)? as usize != entry.len() - 4 {
        return None;
    }
    if !common.augmented {
        return Some(Field::Absent);
    }
    let mut cursor = Cursor::new(entry, START + 8);
    cursor.unsigned()?;
    if !common.area {
        return Some(Field::Absent);
    }
    let place = cursor.place();
    Some(if cursor.word()? == 0 { Field::Absent } else { Field::At(place) })
}
