//! The signatures of the operators of an installed PyTorch, read from its files.
//!
//! ATen's are in `native_functions.yaml`, which the code generator in the wheel brings along.
//! All others (those of TorchScript itself, and of libraries that extend PyTorch) are texts in
//! the libraries that register them, ended by a zero byte.

use crate::schema::Schema;
use crate::types::Type;
use std::collections::HashMap;
use std::sync::Arc;

/// The longest signature that is read. The longest of torch 2.15 has 1,700 bytes.
const MAX_LENGTH: usize = 4096;

/// Texts of fewer bytes are not aligned on x86-64, and lie in a section of their own.
const SHORT: usize = 30;

/// What every signature has.
const ARROW: &[u8] = b"->";

/// Signatures, by the name of their operator.
#[derive(Debug, Default)]
pub struct Schemas {
    by_name: HashMap<String, Vec<Arc<Schema>>>,
    /// Texts of libraries without a namespace: whose they are, their context says.
    bare: HashMap<String, Vec<String>>,
    /// Where there are two of a name and overload, the texts of one library say different
    /// things: some are of tables for other purposes. These come last.
    doubtful: HashMap<String, Vec<Arc<Schema>>>,
}

impl Schemas {
    /// Adds ATen's, from the text of `native_functions.yaml`. Returns how many there are.
    pub fn add_native(&mut self, yaml: &str) -> usize {
        let lines = yaml.lines().filter_map(|line| line.strip_prefix("- func: "));
        let all = lines.filter_map(|line| Schema::parse(line.trim(), Some("aten")));
        // The order in which PyTorch registers them is that of its static initialisers. It
        // matters where two take the same arguments: `any()` and `any.dims(dim=None)`. There
        // the overload without a name comes first, and those that write to a given tensor last.
        let mut all: Vec<Schema> = all.collect();
        all.sort_by_key(|schema| {
            let out = schema.parameters.iter().any(|one| one.keyword_only && one.name == "out");
            (out, !schema.operator.overload.is_empty())
        });
        let count = all.len();
        for schema in all {
            self.add(schema);
        }
        count
    }

    /// Adds those that are texts in a library. Those that are known stay as they are.
    pub fn add_library(&mut self, bytes: &[u8]) {
        let (mut plain, mut doubtful) = (Vec::new(), Vec::new());
        let mut after = 0;
        for at in memchr::memmem::find_iter(bytes, ARROW) {
            let closed = bytes[at.saturating_sub(4)..at].trim_ascii_end().ends_with(b")");
            if at < after || !closed {
                continue;
            }
            let from = at.saturating_sub(MAX_LENGTH);
            let start = memchr::memrchr(0, &bytes[from..at]).map_or(from, |zero| from + zero + 1);
            let most = bytes.len().min(at + MAX_LENGTH);
            let Some(end) = memchr::memchr(0, &bytes[at..most]).map(|zero| at + zero) else {
                continue;
            };
            after = end;
            let Ok(text) = std::str::from_utf8(&bytes[start..end]) else { continue };
            let Some(open) = text.find('(') else { continue };
            if !text[..open].contains("::") {
                let name = text[..open].split('.').next().unwrap_or_default();
                self.bare.entry(name.to_owned()).or_default().push(text.to_owned());
                continue;
            }
            let Some(schema) = Schema::parse(text, None) else { continue };
            // `-> (int)`: no signature is registered so, but tables of other parts of
            // PyTorch have them.
            if text[open..].contains("-> (") && schema.returns.len() == 1 {
                doubtful.push(schema);
            } else {
                plain.push((text.len() < SHORT, schema));
            }
        }
        for schema in in_order(plain) {
            self.add(schema);
        }
        for schema in doubtful {
            let name = schema.operator.name.clone();
            self.doubtful.entry(name).or_default().push(Arc::new(schema));
        }
    }

    fn add(&mut self, schema: Schema) {
        let known = self.by_name.entry(schema.operator.name.clone()).or_default();
        let same = |one: &Arc<Schema>| {
            one.operator == schema.operator
                && (one.parameters == schema.parameters || !one.operator.overload.is_empty())
        };
        if !known.iter().any(same) {
            known.push(Arc::new(schema));
        }
    }

    /// The signatures of `name`, in the order in which they are tried.
    pub fn of(&self, name: &str) -> Vec<Arc<Schema>> {
        let mut all = self.by_name.get(name).cloned().unwrap_or_default();
        if all.is_empty() {
            all.extend(self.doubtful.get(name).into_iter().flatten().cloned());
        }
        if all.is_empty()
            && let Some((namespace, base)) = name.split_once("::")
        {
            let texts = self.bare.get(base).into_iter().flatten();
            all.extend(texts.filter_map(|text| Schema::parse(text, Some(namespace))).map(Arc::new));
        }
        all
    }

    /// Whether `name` has a signature that says its namespace.
    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Names of operators.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let all = self.by_name.values().flatten();
        all.map(|schema| schema.operator.to_string())
    }
}

/// Signatures of one library, by place in it, in the order in which they are registered, as
/// far as it matters. Compilers keep the order of texts, but put short ones apart: these come
/// before those that take a number of any type. Overloads without a name are the most general
/// ones, and last.
fn in_order(found: Vec<(bool, Schema)>) -> Vec<Schema> {
    let general = |schema: &Schema| schema.parameters.iter().any(|one| one.ty == Type::Number);
    let (unnamed, named): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|(_, schema)| schema.operator.overload.is_empty());
    let (short, long): (Vec<_>, Vec<_>) = named.into_iter().partition(|(short, _)| *short);
    let mut first_general = HashMap::new();
    for (index, (_, schema)) in long.iter().enumerate().filter(|(_, (_, schema))| general(schema)) {
        first_general.entry(schema.operator.name.clone()).or_insert(index);
    }
    let mut before: HashMap<usize, Vec<Schema>> = HashMap::new();
    let mut ordered = Vec::new();
    let mut rest = Vec::new();
    for (_, schema) in short {
        match first_general.get(&schema.operator.name) {
            Some(index) => before.entry(*index).or_default().push(schema),
            None => rest.push(schema),
        }
    }
    for (index, (_, schema)) in long.into_iter().enumerate() {
        ordered.append(before.get_mut(&index).unwrap_or(&mut Vec::new()));
        ordered.push(schema);
    }
    ordered.append(&mut rest);
    ordered.extend(unnamed.into_iter().map(|(_, schema)| schema));
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_a_library_are_found_among_others() {
        let bytes = b"\x7fELF\0aten::len.t(t[] a) -> int\0x) -> y\0\0aten::eq(Scalar a, Scalar b) \
            -> bool\0aten::eq.int(int a, int b)-> bool\0aten::add.int(int a, int b) -> (int)\0\
            foo(Tensor x) -> Tensor\0unended(int a) -> int";
        let mut schemas = Schemas::default();
        schemas.add_native("- func: add.Tensor(Tensor self, Tensor other) -> Tensor\n");
        schemas.add_library(bytes);
        let names = |name: &str| -> Vec<String> {
            schemas.of(name).iter().map(|schema| schema.operator.to_string()).collect()
        };
        assert_eq!(names("aten::len"), ["aten::len.t"]);
        assert_eq!(names("aten::eq"), ["aten::eq.int", "aten::eq"]);
        assert_eq!(names("aten::add"), ["aten::add.Tensor"]);
        assert_eq!(names("mine::foo"), ["mine::foo"]);
        assert_eq!(names("mine::unended"), [""; 0]);
    }
}
