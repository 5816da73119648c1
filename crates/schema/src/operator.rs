//! Names of operators.

use std::fmt;

/// An operator with its overload.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Operator {
    /// Its name, as in `aten::add`.
    pub name: String,
    /// Its overload, as in `Tensor`; empty for the one without a name.
    pub overload: String,
}

impl Operator {
    /// The operator of this name and overload.
    pub fn new(name: &str, overload: &str) -> Self {
        Self { name: name.into(), overload: overload.into() }
    }

    /// Reads `aten::add.Tensor`. `None` if it is not such a name.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, overload) = text.split_once('.').unwrap_or((text, ""));
        let (namespace, base) = name.split_once("::")?;
        let plain =
            |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let valid = [namespace, base].iter().all(|part| !part.is_empty() && plain(part));
        (valid && plain(overload)).then(|| Self::new(name, overload))
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if !self.overload.is_empty() {
            write!(f, ".{}", self.overload)?;
        }
        Ok(())
    }
}
