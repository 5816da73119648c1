//! The code of a TorchScript archive: functions and classes by their full names.
//!
//! TorchScript is written as a part of Python. It is parsed, and never run.

use ruff_python_ast::{Expr, Stmt, StmtFunctionDef};
use ruff_text_size::{Ranged, TextSize};
use schema::{Named, Type};
use std::collections::HashMap;
use std::sync::Arc;

/// The largest file that is parsed, in bytes.
const MAX_BYTES: usize = 16 << 20;

/// Brackets in brackets, and blocks in blocks. PyTorch's own code has ten.
const MAX_NESTING: usize = 200;

/// Words and signs of one expression between two commas: what Python parses as a tree may
/// be as deep as it has.
const MAX_CHAIN: usize = 4_000;

/// How deep types may be nested.
const MAX_DEPTH: u32 = 32;

/// A function.
#[derive(Debug)]
pub struct Function {
    /// Its full name.
    pub name: Arc<str>,
    /// The class that it is a method of.
    pub class: Option<Arc<str>>,
    /// Its file, by its number.
    pub file: usize,
    /// What it says.
    pub syntax: StmtFunctionDef,
}

/// What kind of class one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassKind {
    /// A module of a neural network.
    Module,
    /// Any other class.
    Object,
    /// A named tuple.
    NamedTuple,
    /// Methods that others have.
    Interface,
    /// Names of values.
    Enum,
}

/// A class.
#[derive(Debug)]
pub struct Class {
    /// What it is.
    pub kind: ClassKind,
    /// Its attributes and what they are annotated with, in their order.
    pub attributes: Vec<(String, Expr)>,
    /// Those that never change: their annotation and value.
    pub constants: HashMap<String, (Option<Expr>, Expr)>,
    /// Its methods.
    pub methods: Vec<String>,
}

/// The code of an archive.
#[derive(Debug, Default)]
pub struct Program {
    /// Paths of the files, below the archive's `code`.
    pub files: Vec<String>,
    /// Where the lines of each file start.
    lines: Vec<Vec<u32>>,
    /// Functions and methods by full name.
    pub functions: HashMap<Arc<str>, Arc<Function>>,
    /// Classes by full name.
    pub classes: HashMap<Arc<str>, Class>,
}

impl Program {
    /// Adds a file, by its path below `code`.
    ///
    /// # Errors
    /// The line, and what is wrong there.
    pub fn add(&mut self, path: &str, text: &str) -> Result<(), (u32, String)> {
        check(text)?;
        let module = path.trim_end_matches(".py").replace('/', ".");
        let file = self.files.len();
        self.files.push(path.to_owned());
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        self.lines.push(std::iter::once(0).chain(starts.map(|(at, _)| at as u32 + 1)).collect());
        let parsed = ruff_python_parser::parse_module(text)
            .map_err(|error| (self.line(file, error.location.start()), error.error.to_string()))?;
        for statement in parsed.into_syntax().body {
            let at = self.line(file, statement.range().start());
            match statement {
                Stmt::FunctionDef(syntax) => {
                    let name: Arc<str> = format!("{module}.{}", syntax.name).into();
                    self.function(Function { name, class: None, file, syntax }, at)?;
                }
                Stmt::ClassDef(class) => {
                    let name: Arc<str> = format!("{module}.{}", class.name).into();
                    let bases: Vec<String> = class
                        .arguments
                        .iter()
                        .flat_map(|arguments| &*arguments.args)
                        .filter_map(dotted)
                        .collect();
                    let kind = match bases.first().map(String::as_str) {
                        None => ClassKind::Object,
                        Some("Module") => ClassKind::Module,
                        Some("NamedTuple") => ClassKind::NamedTuple,
                        Some("Interface" | "ModuleInterface") => ClassKind::Interface,
                        Some("Enum") => ClassKind::Enum,
                        Some(other) => return Err((at, format!("a class is a {other}"))),
                    };
                    self.class(&name, kind, file, class.body)?;
                }
                // Archives of PyTorch 1.0 to 1.3.
                Stmt::Import(_) | Stmt::Pass(_) => {}
                Stmt::Assign(assign)
                    if matches!(&assign.targets[..],
                        [Expr::Name(name)] if name.id.as_str() == "op_version_set") => {}
                _ => return Err((at, "it is neither a function nor a class".into())),
            }
        }
        Ok(())
    }

    fn function(&mut self, function: Function, at: u32) -> Result<(), (u32, String)> {
        let name = function.name.clone();
        match self.functions.insert(name.clone(), Arc::new(function)) {
            None => Ok(()),
            Some(_) => Err((at, format!("{name} is there twice"))),
        }
    }

    fn class(
        &mut self,
        name: &Arc<str>,
        kind: ClassKind,
        file: usize,
        body: impl IntoIterator<Item = Stmt>,
    ) -> Result<(), (u32, String)> {
        let mut class =
            Class { kind, attributes: Vec::new(), constants: HashMap::new(), methods: Vec::new() };
        for statement in body {
            let at = self.line(file, statement.range().start());
            match statement {
                Stmt::FunctionDef(syntax) => {
                    class.methods.push(syntax.name.to_string());
                    let method: Arc<str> = format!("{name}.{}", syntax.name).into();
                    let class = Some(name.clone());
                    self.function(Function { name: method, class, file, syntax }, at)?;
                }
                Stmt::AnnAssign(assign) => {
                    let Expr::Name(target) = &*assign.target else {
                        return Err((at, "an attribute has no name".into()));
                    };
                    let attribute = target.id.to_string();
                    match assign.value {
                        Some(value) => {
                            let (annotation, value) = (*assign.annotation, *value);
                            class.constants.insert(attribute, (Some(annotation), value));
                        }
                        None => class.attributes.push((attribute, *assign.annotation)),
                    }
                }
                Stmt::Assign(assign) => match &assign.targets[..] {
                    // `__annotations__["0"] = T`: an attribute whose name is none of Python's.
                    [Expr::Subscript(target)] => {
                        let Expr::StringLiteral(key) = &*target.slice else {
                            return Err((at, "an attribute has no name".into()));
                        };
                        class.attributes.push((key.value.to_str().to_owned(), *assign.value));
                    }
                    // `__parameters__`, `__buffers__`, hooks; members of an enumeration.
                    [Expr::Name(target)] => {
                        class.constants.insert(target.id.to_string(), (None, *assign.value));
                    }
                    _ => return Err((at, "it is no attribute".into())),
                },
                Stmt::Pass(_) => {}
                _ => return Err((at, "it is neither an attribute nor a method".into())),
            }
        }
        match self.classes.insert(name.clone(), class) {
            None => Ok(()),
            Some(_) => Err((0, format!("{name} is there twice"))),
        }
    }

    /// The line of a place in a file, from 1.
    pub fn line(&self, file: usize, at: TextSize) -> u32 {
        let starts = self.lines.get(file).map_or(&[][..], Vec::as_slice);
        starts.partition_point(|start| *start <= at.to_u32()) as u32
    }

    /// Whether a class is one that an interface stands for: it has all of its methods.
    pub fn implements(&self, class: &str, interface: &str) -> bool {
        match (self.classes.get(class), self.classes.get(interface)) {
            (Some(class), Some(interface)) if interface.kind == ClassKind::Interface => {
                interface.methods.iter().all(|method| class.methods.contains(method))
            }
            _ => false,
        }
    }

    /// The type that an annotation says.
    ///
    /// # Errors
    /// What is not understood.
    pub fn annotation(&self, expression: &Expr) -> Result<Type, String> {
        self.annotated(expression, MAX_DEPTH)
    }

    fn annotated(&self, expression: &Expr, depth: u32) -> Result<Type, String> {
        let depth = depth.checked_sub(1).ok_or("a type is nested too deep")?;
        let one = |expression: &Expr| self.annotated(expression, depth);
        if let Expr::NoneLiteral(_) = expression {
            return Ok(Type::None);
        }
        if let Expr::Subscript(subscript) = expression {
            let outer = dotted(&subscript.value).ok_or("a type has no name")?;
            let inner: Vec<&Expr> = match &*subscript.slice {
                Expr::Tuple(tuple) => tuple.elts.iter().collect(),
                other => vec![other],
            };
            let all = || inner.iter().map(|part| one(part)).collect::<Result<Vec<Type>, _>>();
            return match (outer.rsplit('.').next().unwrap_or_default(), &inner[..]) {
                ("List", [item]) => Ok(Type::list(one(item)?)),
                ("Optional", [item]) => Ok(Type::optional(one(item)?)),
                ("Final", [item]) => one(item),
                ("Future", [item]) => Ok(Type::Future(Arc::new(one(item)?))),
                ("RRef", [item]) => Ok(Type::RRef(Arc::new(one(item)?))),
                ("Await", [item]) => Ok(Type::Await(Arc::new(one(item)?))),
                ("Dict", [key, value]) => {
                    Ok(Type::Dict(Arc::new(one(key)?), Arc::new(one(value)?)))
                }
                ("Tuple", _) => Ok(Type::tuple(all()?)),
                ("Union", _) => Ok(Type::Union(all()?.into())),
                (other, _) => Err(format!("the type {other} is not known")),
            };
        }
        let name = dotted(expression).ok_or("a type has no name")?;
        Ok(match name.as_str() {
            "Tensor" => Type::Tensor,
            "int" => Type::Int,
            "float" => Type::Float,
            "complex" => Type::Complex,
            "bool" => Type::Bool,
            "str" => Type::Str,
            "number" | "Scalar" => Type::Number,
            "NoneType" => Type::None,
            "Any" => Type::Any,
            "Device" => Type::Device,
            "Generator" | "torch.Generator" => Type::Generator,
            "Storage" => Type::Storage,
            "Stream" => Type::Stream,
            "Capsule" => Type::Capsule,
            "AnyListType" | "list" => Type::AnyList,
            "AnyEnumType" | "AnyClassType" | "AnyTupleType" | "tuple" => Type::AnyClass,
            _ => self.named(&name, depth)?,
        })
    }

    /// The type of the class of this name.
    fn named(&self, name: &str, depth: u32) -> Result<Type, String> {
        match self.classes.get_key_value(name) {
            Some((_, class)) if class.kind == ClassKind::NamedTuple => {
                let attributes = class.attributes.iter();
                let items: Result<Vec<Type>, String> =
                    attributes.clone().map(|(_, ty)| self.annotated(ty, depth)).collect();
                let fields = attributes.map(|(name, _)| name.clone()).collect();
                let named = Named { name: name.to_owned(), fields };
                Ok(Type::Tuple(items?.into(), Some(Arc::new(named))))
            }
            Some((name, _)) => Ok(Type::Class(name.clone())),
            // What C++ registers.
            None if name.starts_with("__torch__.") => Ok(Type::Class(name.into())),
            None => Err(format!("the type {name} is not known")),
        }
    }
}

/// `a.b.c` as text.
pub fn dotted(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Name(name) => Some(name.id.to_string()),
        Expr::Attribute(attribute) => {
            Some(format!("{}.{}", dotted(&attribute.value)?, attribute.attr))
        }
        _ => None,
    }
}

/// Refuses what would make the parser's recursion deep. Strings and comments are skipped as
/// Python reads them; those with a prefix, which PyTorch never writes, are refused.
fn check(text: &str) -> Result<(), (u32, String)> {
    if text.len() > MAX_BYTES {
        return Err((0, format!("it has {} bytes", text.len())));
    }
    let bytes = text.as_bytes();
    // For each open bracket, the signs and words since the last comma.
    let mut chains = vec![0_usize];
    let (mut at, mut line, mut indent, mut fresh) = (0, 1, 0, true);
    while at < bytes.len() {
        let byte = bytes[at];
        if fresh && matches!(byte, b' ' | b'\t') {
            indent += 1;
            at += 1;
            if indent > MAX_NESTING * 2 {
                return Err((line, "its blocks are nested too deep".into()));
            }
            continue;
        }
        fresh = false;
        let last = chains.len() - 1;
        match byte {
            b'\n' => {
                line += 1;
                if last == 0 && (at == 0 || bytes[at - 1] != b'\\') {
                    chains[0] = 0;
                }
                if last == 0 {
                    (indent, fresh) = (0, true);
                }
            }
            b'#' => {
                let rest = memchr::memchr(b'\n', &bytes[at..]).unwrap_or(bytes.len() - at);
                at += rest;
                continue;
            }
            b',' => chains[last] = 0,
            b'(' | b'[' | b'{' => {
                chains[last] += 1;
                chains.push(0);
                if chains.len() > MAX_NESTING {
                    return Err((line, "its brackets are nested too deep".into()));
                }
            }
            b')' | b']' | b'}' => {
                if last > 0 {
                    chains.pop();
                }
            }
            b'"' | b'\'' => {
                if at > 0 && bytes[at - 1].is_ascii_alphanumeric() {
                    return Err((line, "a string has a prefix".into()));
                }
                chains[last] += 1;
                let three = bytes[at..].starts_with(&[byte; 3]);
                let width = if three { 3 } else { 1 };
                at += width;
                while at < bytes.len() && !bytes[at..].starts_with(&[byte; 3][..width]) {
                    line += u32::from(bytes[at] == b'\n');
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += width;
                continue;
            }
            byte if byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80 => {
                chains[last] += 1;
                while bytes.get(at + 1).is_some_and(|byte| {
                    byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80
                }) {
                    at += 1;
                }
            }
            byte if byte.is_ascii_whitespace() => {}
            _ => chains[last] += 1,
        }
        if chains.last().is_some_and(|chain| *chain > MAX_CHAIN) {
            return Err((line, "an expression is too long".into()));
        }
        at += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "class Net(Module):\n  __parameters__ = [\"w\", ]\n  w : Tensor\n  \
        __annotations__[\"0\"] = List[int]\n  eps : Final[float] = 0.5\n  \
        def forward(self: __torch__.a.Net,\n    x: Tensor) -> Tensor:\n    return x\n\
        class Pair(NamedTuple):\n  one : Tensor\n  two : Optional[int]\n\
        def f(x: Tensor) -> NoneType:\n  return None\n";

    #[test]
    fn functions_and_classes_have_full_names() {
        let mut program = Program::default();
        program.add("__torch__/a.py", CODE).unwrap();
        assert!(program.functions.contains_key("__torch__.a.f"));
        assert!(program.functions.contains_key("__torch__.a.Net.forward"));
        let net = &program.classes["__torch__.a.Net"];
        assert_eq!(net.attributes[1].0, "0");
        assert!(net.constants.contains_key("eps"));
        let pair = program.named("__torch__.a.Pair", 9).unwrap();
        let Type::Tuple(items, Some(named)) = pair else { panic!() };
        assert_eq!((items.len(), named.fields[1].as_str()), (2, "two"));
        let again = program.add("__torch__/a.py", "def f():\n  return None\n");
        assert!(again.unwrap_err().1.contains("twice"));
    }

    #[test]
    fn what_would_be_parsed_too_deep_is_refused_before() {
        let long = |part: &str, times: usize| format!("x = {}\n", part.repeat(times));
        let block = |depth: usize| format!("{}if x:\n", " ".repeat(depth));
        let blocks = (0..500).map(block).collect::<Vec<_>>().concat();
        let cases = [
            (long("(", 100_000), "brackets"),
            (long("-", 100_000), "too long"),
            (long("not ", 100_000), "too long"),
            (format!("x = a{}\n", ".b".repeat(100_000)), "too long"),
            (long("f\"{x}\"", 2), "prefix"),
            (blocks, "blocks"),
            ("def f(:\n".into(), ""),
            ("import os\nos.system('x')\n".into(), "neither a function nor a class"),
        ];
        for (text, what) in cases {
            let (_, error) = Program::default().add("__torch__/a.py", &text).unwrap_err();
            assert!(error.contains(what), "{error}");
        }
        // Brackets in strings and comments are none.
        let text = format!("# {0}\ndef f():\n  x = \"{0}\\\"\"\n  return None\n", "(".repeat(1000));
        Program::default().add("__torch__/a.py", &text).unwrap();
    }
}
