//! The operators of a program that `torch.export.save` wrote (`.pt2`).
//!
//! Its graphs are JSON: a node names its operator with the overload, and the dtypes of its
//! tensors are in a table beside. Higher-order operators hold graphs in their arguments.

use crate::archive::{Archive, OLD};
use crate::{Error, Operator, Operators, Origin};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek};

/// How deep graphs may lie in arguments of others.
const MAX_DEPTH: usize = 64;

/// The major versions of the schema that are read (torch 2.1 to 2.15).
const VERSIONS: std::ops::RangeInclusive<u64> = 1..=8;

/// PyTorch's numbers for dtypes in this format (`torch._export.serde.schema.ScalarType`).
const DTYPES: [(u64, &str); 21] = [
    (1, "uint8"),
    (2, "int8"),
    (3, "int16"),
    (4, "int32"),
    (5, "int64"),
    (6, "float16"),
    (7, "float32"),
    (8, "float64"),
    (9, "complex32"),
    (10, "complex64"),
    (11, "complex128"),
    (12, "bool"),
    (13, "bfloat16"),
    (28, "uint16"),
    (29, "float8_e4m3fn"),
    (30, "float8_e5m2"),
    (31, "float8_e4m3fnuz"),
    (32, "float8_e5m2fnuz"),
    (33, "float8_e8m0fnu"),
    (34, "uint32"),
    (35, "uint64"),
];

#[derive(Deserialize)]
struct Exported {
    graph_module: GraphModule,
    schema_version: Value,
}

#[derive(Deserialize)]
struct GraphModule {
    graph: Graph,
    #[serde(default)]
    signature: Value,
}

#[derive(Deserialize)]
struct Graph {
    nodes: Vec<Node>,
    #[serde(default)]
    tensor_values: BTreeMap<String, Tensor>,
}

#[derive(Deserialize)]
struct Tensor {
    dtype: u64,
}

#[derive(Deserialize)]
struct Node {
    target: String,
    #[serde(default)]
    inputs: Vec<Input>,
    #[serde(default)]
    outputs: Vec<Value>,
    #[serde(default)]
    metadata: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Input {
    arg: Value,
}

/// Whether an archive is an exported program: the entries that hold its graphs.
pub fn graphs<R: Read + Seek>(archive: &Archive<R>) -> Vec<String> {
    archive
        .names()
        .filter(|name| {
            // torch 2.8 and later; before, one file at the top.
            let model = name.strip_prefix("models/").and_then(|rest| rest.strip_suffix(".json"));
            model.is_some_and(|model| !model.contains('/')) || *name == OLD
        })
        .map(str::to_owned)
        .collect()
}

/// Reads the operators of every graph of `archive`.
///
/// # Errors
/// [`Error::Hostile`] where it is damaged, [`Error::Version`] where it is of a version that is
/// not known.
pub fn operators<R: Read + Seek>(archive: &mut Archive<R>) -> Result<Operators, Error> {
    let mut all = Operators::default();
    for name in graphs(archive) {
        let Some(bytes) = archive.read(&name)? else { continue };
        let path = archive.name().to_owned();
        let hostile =
            |reason: String| Error::Hostile { path: path.clone(), place: name.clone(), reason };
        let program: Exported =
            serde_json::from_slice(&bytes).map_err(|error| hostile(error.to_string()))?;
        let major = match &program.schema_version {
            Value::Object(version) => version.get("major").and_then(Value::as_u64),
            version => version.as_u64(),
        };
        let major = major.ok_or_else(|| hostile("it says no version".into()))?;
        if !VERSIONS.contains(&major) {
            return Err(Error::Version {
                path,
                what: format!("its graph is of schema version {major}"),
                known: format!("{} to {}", VERSIONS.start(), VERSIONS.end()),
            });
        }
        // A joint graph has the gradients of its parameters among its outputs.
        let trains = program
            .graph_module
            .signature
            .get("output_specs")
            .and_then(Value::as_array)
            .is_some_and(|outputs| {
                outputs.iter().any(|output| {
                    ["gradient_to_parameter", "gradient_to_user_input", "loss_output"]
                        .iter()
                        .any(|kind| output.get(kind).is_some_and(|value| !value.is_null()))
                })
            });
        let mut walk = Walk { all: &mut all, trains };
        walk.graph(&program.graph_module.graph, MAX_DEPTH).map_err(hostile)?;
    }
    Ok(all)
}

struct Walk<'a> {
    all: &'a mut Operators,
    trains: bool,
}

impl Walk<'_> {
    fn graph(&mut self, graph: &Graph, depth: usize) -> Result<(), String> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err("its graphs lie too deep in one another".into());
        };
        for node in &graph.nodes {
            let mut names = BTreeSet::new();
            let arguments = node.inputs.iter().map(|input| &input.arg);
            for value in arguments.chain(&node.outputs) {
                tensors(value, &mut names);
                self.nested(value, depth)?;
            }
            let dtypes = names
                .iter()
                .filter_map(|name| graph.tensor_values.get(*name))
                .map(|tensor| dtype(tensor.dtype));
            let origin = origin(node);
            match target(&node.target) {
                Target::Operator(operator) => {
                    let seen = self.all.entry(operator);
                    seen.root = true;
                    seen.training |= self.trains;
                    seen.dtypes.extend(dtypes);
                    seen.add_origin(origin);
                }
                Target::Python => {
                    self.all.outside.insert(node.target.clone());
                }
                Target::Unknown => {
                    return Err(format!(
                        "the target {:?} is neither an operator nor a function",
                        node.target.chars().take(80).collect::<String>()
                    ));
                }
            }
        }
        Ok(())
    }

    /// Graphs in an argument: `as_graph`, and what holds it.
    fn nested(&mut self, value: &Value, depth: usize) -> Result<(), String> {
        match value {
            Value::Object(object) => {
                if let Some(graph) = object.get("as_graph").and_then(|graph| graph.get("graph")) {
                    let graph = Graph::deserialize(graph).map_err(|error| error.to_string())?;
                    return self.graph(&graph, depth);
                }
                object.values().try_for_each(|value| self.nested(value, depth))
            }
            Value::Array(values) => values.iter().try_for_each(|value| self.nested(value, depth)),
            _ => Ok(()),
        }
    }
}

enum Target {
    Operator(Operator),
    /// `_operator.add`, `math.ceil`, `torch.sym_max`, and higher-order operators: Python runs
    /// them, no operator is registered for them.
    Python,
    Unknown,
}

fn target(text: &str) -> Target {
    let plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let parts: Vec<&str> = text.split('.').collect();
    if !parts.iter().all(|part| plain(part)) {
        return Target::Unknown;
    }
    match parts[..] {
        ["torch", "ops", "higher_order", ..] => Target::Python,
        ["torch", "ops", namespace, name, overload] => {
            let overload = if overload == "default" { "" } else { overload };
            Target::Operator(Operator::new(&format!("{namespace}::{name}"), overload))
        }
        ["torch", "ops", ..] | [_] | [] => Target::Unknown,
        _ => Target::Python,
    }
}

/// The names of the tensors in an argument.
fn tensors<'a>(value: &'a Value, names: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(object) => {
            for (kind, value) in object {
                match kind.as_str() {
                    "as_graph" => {}
                    "as_tensor" => names.extend(value.get("name").and_then(Value::as_str)),
                    "as_tensors" => {
                        let list = value.as_array().into_iter().flatten();
                        names.extend(list.filter_map(|one| one.get("name")?.as_str()));
                    }
                    _ => tensors(value, names),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| tensors(value, names)),
        _ => {}
    }
}

fn dtype(number: u64) -> String {
    DTYPES
        .iter()
        .find(|(known, _)| *known == number)
        .map_or_else(|| format!("dtype {number}"), |(_, name)| (*name).to_owned())
}

/// The module of the model that a node comes from.
fn origin(node: &Node) -> Origin {
    // `L__self__,,torchvision.models.resnet.ResNet;L__self__conv1,conv1,torch.nn…Conv2d`
    let stack = node.metadata.get("nn_module_stack").and_then(Value::as_str).unwrap_or_default();
    let last = stack.rsplit(';').next().unwrap_or_default();
    let mut parts = last.split(',').skip(1);
    let (path, class) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match (path, class) {
        (_, "") => Origin::new("the graph"),
        ("", class) => Origin::new(class),
        (path, class) => Origin::new(&format!("{path} ({class})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_operators_or_python() {
        let name = |text: &str| match target(text) {
            Target::Operator(operator) => operator.to_string(),
            Target::Python => "python".into(),
            Target::Unknown => "unknown".into(),
        };
        assert_eq!(name("torch.ops.aten.conv2d.default"), "aten::conv2d");
        assert_eq!(name("torch.ops.aten.add.Tensor"), "aten::add.Tensor");
        assert_eq!(name("torch.ops.higher_order.cond"), "python");
        assert_eq!(name("_operator.mul"), "python");
        for text in ["", "torch.ops.aten.add", "conv2d", "torch.ops.aten.a-b.c", "a..b"] {
            assert_eq!(name(text), "unknown", "{text}");
        }
    }
}
