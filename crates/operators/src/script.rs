//! The operators of a TorchScript archive (`.pt`).
//!
//! An archive holds the code of its functions, and code does not name overloads: which one a
//! call means follows from the types of its arguments. So the functions that a user can call
//! on the model are compiled, those that they call are put in their place, and what is left is
//! read off: what `torch.jit.export_opnames` does in PyTorch itself. Operators that the lite
//! interpreter has instructions for are left out there, and here.

use crate::archive::Archive;
use crate::pickle::{Item, Pickle};
use crate::{Error, Operator, Operators, Origin};
use schema::{Signatures, Type};
use std::collections::{BTreeSet, HashSet};
use std::io::{Read, Seek};
use std::sync::Arc;
use torchscript::{ClassKind, Fault, Graph, Kind, Node, Program, Unit, settled};

/// Versions of the format that are read: those of PyTorch 1.0 to 2.15.
const VERSIONS: std::ops::RangeInclusive<u64> = 1..=10;

/// The version from which on divisions are true ones.
const DIVISION: u64 = 4;

/// Operators that the lite interpreter runs without looking them up.
const INSTRUCTIONS: [&str; 15] = [
    "aten::__is__",
    "aten::__isnot__",
    "aten::__not__",
    "aten::dim",
    "aten::format",
    "aten::wait",
    "aten::warn",
    "prim::NumToTensor",
    "prim::RaiseException",
    "prim::TupleIndex",
    "prim::Uninitialized",
    "prim::device",
    "prim::dtype",
    "prim::is_cuda",
    "prim::tolist",
];

/// Whether an archive is one of TorchScript.
pub fn is_script<R: Read + Seek>(archive: &Archive<R>) -> bool {
    archive.has("data.pkl") && archive.names().any(|name| name.starts_with("code/"))
}

/// Reads the operators of `archive`. `signatures` are those of the PyTorch that will run it.
///
/// # Errors
/// [`Error::Hostile`] where the archive is damaged, [`Error::Code`] where its code says
/// something that is not understood, [`Error::Version`].
pub fn operators<R: Read + Seek>(
    archive: &mut Archive<R>,
    signatures: &dyn Signatures,
) -> Result<Operators, Error> {
    let path = archive.name().to_owned();
    let hostile = |place: &str, reason: String| Error::Hostile {
        path: path.clone(),
        place: place.into(),
        reason,
    };
    let version = match archive.text("version")? {
        Some(text) => Some(text),
        None => archive.text(".data/version")?,
    };
    let version = version.unwrap_or_default();
    let number = version.trim().parse::<u64>();
    let number = number.map_err(|_| hostile("version", "it is no number".into()))?;
    if !VERSIONS.contains(&number) {
        return Err(Error::Version {
            path,
            what: format!("it is of version {number}"),
            known: format!("{} to {}", VERSIONS.start(), VERSIONS.end()),
        });
    }
    let mut program = Program::default();
    let files: Vec<String> = archive
        .names()
        .filter(|name| name.starts_with("code/") && name.strip_suffix(".py").is_some())
        .map(str::to_owned)
        .collect();
    for file in files {
        let Some(text) = archive.text(&file)? else { continue };
        let below = file.trim_start_matches("code/");
        program
            .add(below, &text)
            .map_err(|(line, reason)| hostile(&format!("{file}, line {line}"), reason))?;
    }
    let pickled = |bytes: Option<Vec<u8>>, name: &str| match bytes {
        None => Err(hostile(name, "it is missing".into())),
        Some(bytes) => Pickle::read(&bytes).map_err(|error| hostile(name, error.to_string())),
    };
    let data = pickled(archive.read("data.pkl")?, "data.pkl")?;
    let constants = match archive.read("constants.pkl")? {
        None => Vec::new(),
        bytes => constants(&pickled(bytes, "constants.pkl")?, &program),
    };
    let root = root(&data).ok_or_else(|| hostile("data.pkl", "it holds no module".into()))?;
    let mut unit = Unit::new(&program, signatures, &constants);
    let mut all = Operators::default();
    all.parameters.extend(dtypes(&data));
    let class = program.classes.get(root.as_str());
    let class = class.ok_or_else(|| hostile("data.pkl", format!("there is no class {root}")))?;
    // Hooks are methods, too.
    let mut open: Vec<Arc<str>> =
        class.methods.iter().map(|method| format!("{root}.{method}").into()).collect();
    let mut done = HashSet::new();
    while let Some(function) = open.pop() {
        if !done.insert(function.clone()) {
            continue;
        }
        let graph = unit.root(&function).map_err(|Fault { place, reason }| Error::Code {
            path: path.clone(),
            place,
            reason,
        })?;
        graph.body.each(&mut |node| {
            collect(node, &graph, &program, signatures, &mut all);
            reached(node, &program, &mut open);
        });
    }
    if number < DIVISION {
        divide(&mut all, &path, number);
    }
    Ok(all)
}

/// Before version 4, `aten::div` of integers gave integers: PyTorch puts a function in its
/// place when it loads the archive, which calls these.
fn divide(all: &mut Operators, path: &str, version: u64) {
    let mut replaced = false;
    for (name, overload) in
        [("div", "Tensor"), ("div", "Scalar"), ("div_", "Tensor"), ("div_", "Scalar")]
    {
        let Some(used) = all.operators.remove(&Operator::new(&format!("aten::{name}"), overload))
        else {
            continue;
        };
        replaced = true;
        let ending = name.trim_start_matches("div");
        for operator in [
            Operator::new("aten::is_floating_point", ""),
            Operator::new(&format!("aten::true_divide{ending}"), overload),
            Operator::new(&format!("aten::divide{ending}"), &format!("{overload}_mode")),
        ] {
            let entry = all.entry(operator);
            entry.root = true;
            used.origins.iter().for_each(|origin| entry.add_origin(origin.clone()));
        }
    }
    if replaced {
        all.notes.insert(format!(
            "{path} is of version {version}: when PyTorch loads it, functions that give integers \
             for integers take the place of aten::div"
        ));
    }
}

/// Adds what a node calls.
fn collect(
    node: &Node,
    graph: &Graph,
    program: &Program,
    signatures: &dyn Signatures,
    all: &mut Operators,
) {
    let operator = match &node.kind {
        Kind::Operator(schema) => {
            let schemas = signatures.of(&schema.operator.name);
            let settled = settled(&schemas, program, graph, &node.inputs);
            settled.map_or(schema, |index| &schemas[index]).operator.clone()
        }
        Kind::Cast => Operator::new("prim::unchecked_cast", ""),
        Kind::TupleUnpack => Operator::new("prim::TupleUnpack", ""),
        _ => return,
    };
    for id in node.inputs.iter().chain(&node.outputs) {
        if let Type::Class(class) = graph.ty(*id)
            && let Some(name) = class.strip_prefix("__torch__.torch.classes.")
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte))
        {
            all.classes.insert(name.to_owned());
        }
    }
    let dictionary = operator.name == "aten::__getitem__" && operator.overload.starts_with("Dict_");
    if dictionary || INSTRUCTIONS.contains(&operator.name.as_str()) {
        return;
    }
    let function = &node.place.function;
    let function = function.strip_prefix("__torch__.").unwrap_or(function);
    // The lines of a file of the archive say nothing to who wrote the model.
    let origin = Origin::new(function);
    let trains = matches!(operator.name.as_str(), "aten::backward" | "aten::grad");
    let used = all.entry(operator);
    used.root = true;
    used.training |= trains;
    used.add_origin(origin);
}

/// Functions that a node calls when it runs, and that are not in its place.
fn reached(node: &Node, program: &Program, open: &mut Vec<Arc<str>>) {
    match &node.kind {
        Kind::CallInterface(interface, method) => {
            for name in program.classes.keys() {
                if program.implements(name, interface) {
                    open.push(format!("{name}.{method}").into());
                }
            }
        }
        Kind::Enter(class) => {
            for method in ["__enter__", "__exit__"] {
                let name: Arc<str> = format!("{class}.{method}").into();
                if program.functions.contains_key(&name) {
                    open.push(name);
                }
            }
        }
        Kind::Call(name) => open.push(name.clone()),
        _ => {}
    }
}

/// The class of the object in `data.pkl`.
fn root(data: &Pickle) -> Option<String> {
    let Item::Call(class, _, _) = data.get(data.root) else { return None };
    let (module, name) = data.global(*class)?;
    Some(format!("{module}.{name}"))
}

/// The dtypes of the tensors in `data.pkl`.
fn dtypes(data: &Pickle) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for item in data.items() {
        let Item::Persistent(id) = item else { continue };
        let Item::Tuple(parts) = data.get(*id) else { continue };
        let storage = parts.get(1).and_then(|id| data.global(*id));
        let Some(("torch", name)) = storage else { continue };
        let dtype = match name {
            "FloatStorage" => "float32",
            "DoubleStorage" => "float64",
            "HalfStorage" => "float16",
            "BFloat16Storage" => "bfloat16",
            "LongStorage" => "int64",
            "IntStorage" => "int32",
            "ShortStorage" => "int16",
            "CharStorage" => "int8",
            "ByteStorage" => "uint8",
            "BoolStorage" => "bool",
            "ComplexFloatStorage" => "complex64",
            "ComplexDoubleStorage" => "complex128",
            "QInt8Storage" => "qint8",
            "QUInt8Storage" => "quint8",
            "QInt32Storage" => "qint32",
            _ => continue,
        };
        found.insert(dtype.to_owned());
    }
    found
}

/// The types of the archive's table of constants.
fn constants(pickle: &Pickle, program: &Program) -> Vec<Type> {
    let (Item::Tuple(items) | Item::List(items)) = pickle.get(pickle.root) else {
        return Vec::new();
    };
    let ty = |item: &Item| match item {
        Item::None => Type::None,
        Item::Bool(_) => Type::Bool,
        Item::Int(_) => Type::Int,
        Item::Float(_) => Type::Float,
        Item::Text(_) => Type::Str,
        Item::Call(callee, _, _) => match pickle.global(*callee) {
            Some(("torch._utils", _)) => Type::Tensor,
            Some(("torch.jit._pickle", "build_intlist")) => Type::list(Type::Int),
            Some(("torch.jit._pickle", "build_doublelist")) => Type::list(Type::Float),
            Some(("torch.jit._pickle", "build_boollist")) => Type::list(Type::Bool),
            Some(("torch.jit._pickle", "build_tensorlist")) => Type::list(Type::Tensor),
            Some((module, name)) => {
                let name = format!("{module}.{name}");
                match program.classes.get_key_value(name.as_str()) {
                    Some((name, class)) if class.kind != ClassKind::NamedTuple => {
                        Type::Class(name.clone())
                    }
                    _ => Type::Any,
                }
            }
            None => Type::Any,
        },
        _ => Type::Any,
    };
    items.iter().map(|id| ty(pickle.get(*id))).collect()
}
