//! What PyTorch's execution trace observer writes while a program runs: a node for each call
//! that its dispatcher made, a line for each part of a node.
//!
//! The file looks like JSON. It is read by the line, because a process that was killed leaves
//! a part of one, and because numbers in it may be none that JSON knows. A call is written
//! when it ends, so after those that it made.

use crate::Operator;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::BufRead;

/// Calls of one process that are read; more are not looked at, and said to be so.
const MAX_CALLS: usize = 40_000_000;

/// The longest line that is looked at, in bytes.
const MAX_LINE: usize = 16 << 20;

/// What was seen of one operator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Called {
    /// Calls.
    pub calls: u64,
    /// Those that no other operator and no step of autograd made.
    pub direct: u64,
    /// Those that a step of autograd made.
    pub backward: u64,
    /// Those that a step of autograd was the derivative of.
    pub differentiated: u64,
    /// The dtypes of their tensors.
    pub dtypes: BTreeSet<String>,
}

/// What one process recorded.
#[derive(Debug, Default)]
pub struct Execution {
    /// Operators.
    pub operators: BTreeMap<Operator, Called>,
    /// Whether there were more calls than are read.
    pub cut: bool,
}

/// PyTorch's scope of a step of autograd (`at::RecordScope::BACKWARD_FUNCTION`).
const BACKWARD: u64 = 1;

/// A call, as far as it matters for others.
struct Seen {
    parent: u64,
    /// Index in the list of operators; none for what is no operator.
    operator: Option<u32>,
    backward: bool,
    /// Thread, and number of the step of autograd that would be its derivative.
    step: Option<(u64, u64)>,
}

/// A node while its lines come.
#[derive(Default)]
struct Node {
    id: Option<u64>,
    parent: u64,
    dtypes: BTreeSet<String>,
}

impl Execution {
    /// Reads what a process wrote.
    ///
    /// # Errors
    /// If `reader` fails.
    pub fn read(mut reader: impl BufRead) -> std::io::Result<Self> {
        let mut all = Self::default();
        let mut known: HashMap<Operator, u32> = HashMap::new();
        let mut list: Vec<(Operator, Called)> = Vec::new();
        let mut seen: HashMap<u64, Seen> = HashMap::new();
        let mut steps: HashSet<(u64, u64)> = HashSet::new();
        let mut node = Node::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            let count =
                std::io::Read::take(&mut reader, MAX_LINE as u64).read_until(b'\n', &mut line)?;
            if count == 0 {
                break;
            }
            let Ok(text) = std::str::from_utf8(&line) else { continue };
            let text = text.trim_start();
            if let Some(rest) = text.strip_prefix("\"id\": ") {
                node = Node { id: number(rest), ..Node::default() };
                let parent = rest.rsplit_once("\"ctrl_deps\": ");
                node.parent = parent.and_then(|(_, rest)| number(rest)).unwrap_or(0);
            } else if text.starts_with("\"inputs\": ") || text.starts_with("\"outputs\": ") {
                dtypes(text, &mut node.dtypes);
            } else if let Some(rest) = text.strip_prefix("\"attrs\": ") {
                let Some(id) = node.id.take() else { continue };
                if seen.len() >= MAX_CALLS {
                    all.cut = true;
                    break;
                }
                let value = |name: &str| after(rest, &format!("{{\"name\": \"{name}\", "));
                let backward = value("scope").and_then(number) == Some(BACKWARD);
                let thread = value(if backward { "fw_tid" } else { "tid" }).and_then(number);
                // A number of -1: no derivative would be taken.
                let step = value("seq_id").and_then(number);
                let step = thread.zip(step);
                if backward {
                    steps.extend(step);
                }
                let schema = value("op_schema").and_then(|value| value.strip_prefix('"'));
                let name = schema.and_then(|schema| schema.split_once('(')).map(|(name, _)| name);
                let operator = name.and_then(Operator::parse).map(|operator| {
                    let index = *known.entry(operator.clone()).or_insert_with(|| {
                        list.push((operator, Called::default()));
                        list.len() as u32 - 1
                    });
                    let called = &mut list[index as usize].1;
                    called.calls += 1;
                    called.dtypes.append(&mut node.dtypes);
                    index
                });
                seen.insert(id, Seen { parent: node.parent, operator, backward, step });
            }
        }
        for call in seen.values() {
            let Some(operator) = call.operator else { continue };
            let called = &mut list[operator as usize].1;
            let (mut within, mut by_autograd) = (false, false);
            let mut parent = call.parent;
            // Identifiers grow: one that leads to itself is damage.
            let mut steps_up = 0;
            while let Some(above) = seen.get(&parent).filter(|_| steps_up < 10_000) {
                within |= above.operator.is_some();
                by_autograd |= above.backward;
                parent = above.parent;
                steps_up += 1;
            }
            called.direct += u64::from(!within && !by_autograd);
            called.backward += u64::from(by_autograd);
            let differentiated = call.step.is_some_and(|step| steps.contains(&step));
            called.differentiated += u64::from(differentiated && !by_autograd);
        }
        all.operators.extend(list);
        Ok(all)
    }
}

/// The number that `text` starts with; none if it is negative.
fn number(text: &str) -> Option<u64> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// What stands behind `"value": ` after `start`.
fn after<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    let (kind, value) = rest.split_once("\"value\": ")?;
    // Of the same attribute, not of a later one.
    (!kind.contains('{')).then_some(value)
}

/// Adds the dtypes of the tensors in a line of inputs or outputs.
fn dtypes(line: &str, found: &mut BTreeSet<String>) {
    let Some((_, types)) = line.rsplit_once("\"types\": [") else { return };
    let types = types.split("\"strides\": ").next().unwrap_or_default();
    for part in types.split("Tensor(").skip(1) {
        if let Some((name, _)) = part.split_once(')') {
            found.insert(dtype(name));
        }
    }
}

/// torch's name for a C++ type.
fn dtype(name: &str) -> String {
    let known = match name {
        "float" => "float32",
        "double" => "float64",
        "c10::Half" => "float16",
        "c10::BFloat16" => "bfloat16",
        "long int" | "long" => "int64",
        "int" => "int32",
        "short int" | "short" => "int16",
        "signed char" => "int8",
        "unsigned char" => "uint8",
        "short unsigned int" | "unsigned short" => "uint16",
        "unsigned int" => "uint32",
        "long unsigned int" | "unsigned long" => "uint64",
        "bool" => "bool",
        "c10::complex<float>" => "complex64",
        "c10::complex<double>" => "complex128",
        "c10::complex<c10::Half>" => "complex32",
        "c10::Float8_e4m3fn" => "float8_e4m3fn",
        "c10::Float8_e5m2" => "float8_e5m2",
        "c10::Float8_e4m3fnuz" => "float8_e4m3fnuz",
        "c10::Float8_e5m2fnuz" => "float8_e5m2fnuz",
        "c10::Float8_e8m0fnu" => "float8_e8m0fnu",
        "c10::qint8" => "qint8",
        "c10::quint8" => "quint8",
        "c10::qint32" => "qint32",
        other => other,
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node as the observer writes it.
    fn node(id: u64, parent: u64, schema: &str, scope: u64, step: i64, ty: &str) -> String {
        let attribute = |name: &str, value: String| {
            format!("{{\"name\": \"{name}\", \"type\": \"x\", \"value\": {value}}}")
        };
        let attributes = [
            attribute("rf_id", id.to_string()),
            attribute("seq_id", step.to_string()),
            attribute("scope", scope.to_string()),
            attribute("tid", "1".into()),
            attribute("fw_tid", u64::from(scope == 1).to_string()),
            attribute("op_schema", format!("\"{schema}\"")),
        ];
        format!(
            "      {{\n        \"id\": {id}, \"name\": \"n\", \"ctrl_deps\": {parent},\n        \
             \"inputs\": {{\"values\": [nan], \"shapes\": [], \"types\": [\"{ty}\"], \
             \"strides\": []}},\n        \"outputs\": {{\"values\": [], \"shapes\": [], \
             \"types\": [], \"strides\": []}},\n        \"attrs\": [{}]\n      }},\n",
            attributes.join(",")
        )
    }

    fn text() -> String {
        let list = "GenericList[Tensor(c10::Half),Tensor(c10::complex<float>)]";
        [
            node(4, 3, "aten::t(Tensor(a) self) -> Tensor(a)", 0, 7, "Tensor(float)"),
            node(3, 2, "aten::linear(Tensor input) -> Tensor", 0, 7, "Tensor(long int)"),
            node(6, 5, "aten::mm(Tensor self) -> Tensor", 0, -1, "Tensor(double)"),
            node(5, 2, "", 1, 7, "None"),
            node(8, 2, "aten::add.Tensor(Tensor self, str x=\\\"(\\\") -> Tensor", 0, 8, list),
        ]
        .concat()
    }

    #[test]
    fn calls_are_direct_or_of_others_or_of_autograd() {
        let all = Execution::read(text().as_bytes()).unwrap();
        let of = |name: &str| {
            let called = &all.operators[&Operator::parse(name).unwrap()];
            (called.calls, called.direct, called.backward, called.differentiated)
        };
        assert_eq!(of("aten::linear"), (1, 1, 0, 1));
        assert_eq!(of("aten::t"), (1, 0, 0, 1));
        assert_eq!(of("aten::mm"), (1, 0, 1, 0));
        assert_eq!(of("aten::add.Tensor"), (1, 1, 0, 0));
        let add = &all.operators[&Operator::new("aten::add", "Tensor")];
        let dtypes: Vec<&str> = add.dtypes.iter().map(String::as_str).collect();
        assert_eq!(dtypes, ["complex64", "float16"]);
    }

    #[test]
    fn a_part_of_a_file_holds_what_was_written() {
        let text = text();
        let mut most = 0;
        for end in 0..text.len() {
            let all = Execution::read(&text.as_bytes()[..end]).unwrap();
            most = most.max(all.operators.len());
        }
        assert_eq!(most, 4);
    }
}
