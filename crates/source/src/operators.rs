//! The lists of operators that a selective build reads.
//!
//! A tree takes two forms. A flat list of names is what `torch.jit.export_opnames` gives. The
//! mapping of `torchgen.selective_build.selector` is what the code generator selects by
//! (`TRACING_BASED=ON`); with a flat list, PyTorch 2.6's generator leaves no registration out.

use std::collections::BTreeSet;
use std::fmt::Write;

/// The largest list that is read, in bytes. All operators of PyTorch take 150,000.
pub const MAX_BYTES: u64 = 4 << 20;

/// Operators of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operators {
    /// Names as `aten::add.Tensor`, without those that the mapping takes from elsewhere.
    pub names: BTreeSet<String>,
    /// The list as it was, if it is a mapping already: it may hold more than names.
    pub mapping: Option<String>,
}

/// Why a text is no list of operators.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A line is neither a name nor part of a mapping.
    #[error("line {line}: {text:?} is no operator; write names as aten::add.Tensor, one a line")]
    Line {
        /// The line, from 1.
        line: usize,
        /// What it says.
        text: String,
    },
    /// There is no name.
    #[error("it names no operator")]
    Empty,
}

impl Operators {
    /// Reads names, one a line, with or without YAML's dash and quotes; or the mapping, which
    /// is handed on as it is.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.lines().any(|line| line.trim_end() == "operators:") {
            let names: BTreeSet<String> = text
                .lines()
                .filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':'))
                .map(unquoted)
                .filter(|name| is_operator(name))
                .map(str::to_owned)
                .collect();
            if names.is_empty() {
                return Err(Malformed::Empty);
            }
            return Ok(Self { names, mapping: Some(text.into()) });
        }
        let mut names = BTreeSet::new();
        for (index, line) in text.lines().enumerate() {
            let word = line.trim();
            if word.is_empty() || word.starts_with('#') || word == "---" {
                continue;
            }
            let name = unquoted(word.strip_prefix("- ").unwrap_or(word).trim());
            if !is_operator(name) {
                return Err(Malformed::Line {
                    line: index + 1,
                    text: word.chars().take(80).collect(),
                });
            }
            names.insert(name.to_owned());
        }
        if names.is_empty() {
            return Err(Malformed::Empty);
        }
        Ok(Self { names, mapping: None })
    }

    /// The mapping. Each operator is one that the model calls by name, for inference, in this
    /// overload only.
    pub fn to_mapping(&self) -> String {
        if let Some(mapping) = &self.mapping {
            return mapping.clone();
        }
        let mut text = "include_all_non_op_selectives: true\ninclude_all_operators: false\n\
                        operators:\n"
            .to_owned();
        for name in &self.names {
            let _ = write!(
                text,
                "  {name}:\n    is_root_operator: true\n    is_used_for_training: false\n    \
                 include_all_overloads: false\n"
            );
        }
        text
    }
}

fn unquoted(word: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = word.strip_prefix(quote).and_then(|word| word.strip_suffix(quote)) {
            return inner;
        }
    }
    word
}

/// `namespace::name` with or without `.overload`. Nothing else may reach a YAML file.
fn is_operator(text: &str) -> bool {
    let part = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && text.len() < 200
    };
    let Some((namespace, name)) = text.split_once("::") else { return false };
    let (name, overload) = match name.split_once('.') {
        Some((name, overload)) => (name, Some(overload)),
        None => (name, None),
    };
    part(namespace) && part(name) && overload.is_none_or(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_both_forms_are_read() {
        let flat =
            Operators::parse("# of a model\n- aten::add_.Tensor\n- \"aten::linear\"\n").unwrap();
        assert!(flat.names.iter().eq(["aten::add_.Tensor", "aten::linear"]));
        let mapping = flat.to_mapping();
        assert!(mapping.contains("  aten::linear:\n    is_root_operator: true\n"), "{mapping}");
        let again = Operators::parse(&mapping).unwrap();
        assert_eq!(again.names, flat.names);
        assert_eq!(again.to_mapping(), mapping);
        assert_eq!(Operators::parse("aten::linear\n\naten::linear\n").unwrap().names.len(), 1);
    }

    #[test]
    fn what_is_no_operator_is_refused_with_its_line() {
        for bad in
            ["aten::add: !!python/object:x", "add", "aten::", "a::b.", "- a::b.c d", "a::b\\"]
        {
            let text = format!("aten::mul.Tensor\n{bad}\n");
            let Err(Malformed::Line { line, .. }) = Operators::parse(&text) else {
                panic!("{bad} was taken")
            };
            assert_eq!(line, 2);
        }
        assert_eq!(Operators::parse("\n# none\n"), Err(Malformed::Empty));
        assert_eq!(Operators::parse("operators:\n"), Err(Malformed::Empty));
    }
}
