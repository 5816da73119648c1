//! The signature of an operator, as PyTorch writes it:
//! `aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor`.

use crate::operator::Operator;
use crate::types::Type;
use std::sync::Arc;

/// How deep types may be nested.
const MAX_DEPTH: u32 = 16;

/// An argument that a schema asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// For `int[2]`, 2: one number stands for as many.
    pub repeat: Option<u32>,
    /// Whether it must be given by its name.
    pub keyword_only: bool,
    /// What it is where it is not given.
    pub default: Option<Const>,
}

/// A value that is known.
#[derive(Debug, Clone, PartialEq)]
pub enum Const {
    /// `None`.
    None,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A float.
    Float(f64),
    /// A text.
    Str(Arc<str>),
    /// A tuple of such values.
    Tuple(Arc<[Const]>),
    /// Known to PyTorch, and not worked out here.
    Opaque,
}

/// A signature.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    /// Whose it is.
    pub operator: Operator,
    /// What it takes.
    pub parameters: Vec<Parameter>,
    /// Whether it takes more than that.
    pub variadic: bool,
    /// What it gives.
    pub returns: Vec<Type>,
    /// Whether it changes an argument.
    pub mutates: bool,
}

impl Schema {
    /// Reads a signature; the operator is in `namespace` where it does not say so itself.
    /// `None` where it is none.
    pub fn parse(text: &str, namespace: Option<&str>) -> Option<Self> {
        let open = text.find('(')?;
        let name = text[..open].trim();
        let operator = match namespace {
            Some(namespace) if !name.contains("::") => {
                Operator::parse(&format!("{namespace}::{name}"))?
            }
            _ => Operator::parse(name)?,
        };
        let mut parser = Parser { text: &text.as_bytes()[open..], at: 0, mutates: false };
        let (parameters, variadic) = parser.parameters()?;
        parser.expect("->")?;
        let returns = parser.returns()?;
        parser.space();
        (parser.at == parser.text.len()).then_some(Self {
            operator,
            parameters,
            variadic,
            returns,
            mutates: parser.mutates,
        })
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    mutates: bool,
}

impl Parser<'_> {
    fn space(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn accept(&mut self, word: &str) -> bool {
        self.space();
        let found = self.text[self.at..].starts_with(word.as_bytes());
        if found {
            self.at += word.len();
        }
        found
    }

    fn expect(&mut self, word: &str) -> Option<()> {
        self.accept(word).then_some(())
    }

    fn word(&mut self) -> Option<&str> {
        self.space();
        let start = self.at;
        let inside = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
        while self.text.get(self.at).is_some_and(inside) {
            self.at += 1;
        }
        let word = std::str::from_utf8(&self.text[start..self.at]).ok()?;
        (!word.is_empty()).then_some(word)
    }

    fn parameters(&mut self) -> Option<(Vec<Parameter>, bool)> {
        self.expect("(")?;
        let (mut all, mut keyword_only, mut variadic) = (Vec::new(), false, false);
        if self.accept(")") {
            return Some((all, variadic));
        }
        loop {
            if self.accept("...") {
                variadic = true;
            } else if self.accept("*") {
                keyword_only = true;
            } else {
                let (ty, repeat) = self.annotated(MAX_DEPTH)?;
                let name = self.word()?.to_owned();
                // `int[2] stride` and, in old schemas, `int stride[2]`.
                let default = if self.accept("=") { Some(self.value()?) } else { None };
                all.push(Parameter { name, ty, repeat, keyword_only, default });
            }
            if self.accept(")") {
                return Some((all, variadic));
            }
            self.expect(",")?;
        }
    }

    fn returns(&mut self) -> Option<Vec<Type>> {
        if self.accept("...") {
            return Some(Vec::new());
        }
        if !self.accept("(") {
            let ty = self.annotated(MAX_DEPTH)?.0;
            self.word();
            return Some(vec![ty]);
        }
        let mut all = Vec::new();
        if self.accept(")") {
            return Some(all);
        }
        loop {
            if !self.accept("...") {
                all.push(self.annotated(MAX_DEPTH)?.0);
                self.word();
            }
            if self.accept(")") {
                return Some(all);
            }
            self.expect(",")?;
        }
    }

    /// A type with what stands behind it: `(a!)`, `[]`, `[2]`, `?`.
    fn annotated(&mut self, depth: u32) -> Option<(Type, Option<u32>)> {
        let mut ty = self.base(depth.checked_sub(1)?)?;
        let mut repeat = None;
        loop {
            if self.text.get(self.at) == Some(&b'(') {
                self.alias()?;
            } else if self.accept("[") {
                self.space();
                let digits = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_digit());
                let count = digits.count();
                let number = std::str::from_utf8(&self.text[self.at..self.at + count]).ok()?;
                repeat = number.parse().ok();
                self.at += count;
                self.expect("]")?;
                ty = match ty {
                    Type::Any => Type::AnyList,
                    ty => Type::list(ty),
                };
            } else if self.accept("?") {
                ty = Type::optional(ty);
            } else {
                return Some((ty, repeat));
            }
        }
    }

    /// `(a)`, `(a!)`, `(a -> *)`, `(a|b)`
    fn alias(&mut self) -> Option<()> {
        let end = self.at + self.text[self.at..].iter().position(|byte| *byte == b')')?;
        let alias = &self.text[self.at..end];
        self.mutates |= alias.contains(&b'!');
        self.at = end + 1;
        Some(())
    }

    fn base(&mut self, depth: u32) -> Option<Type> {
        if self.accept("(") {
            let mut items = Vec::new();
            loop {
                items.push(self.annotated(depth)?.0);
                self.word();
                if self.accept(")") {
                    return Some(Type::tuple(items));
                }
                self.expect(",")?;
            }
        }
        let word = self.word()?.to_owned();
        let ty = match word.as_str() {
            "Tensor" => Type::Tensor,
            // PyTorch registers symbolic numbers as numbers, and has no types for these.
            "int" | "SymInt" | "ScalarType" | "Layout" | "MemoryFormat" | "QScheme"
            | "DeviceIndex" => Type::Int,
            "float" | "SymFloat" => Type::Float,
            "bool" | "SymBool" => Type::Bool,
            "complex" => Type::Complex,
            "Scalar" | "number" => Type::Number,
            "str" | "Dimname" => Type::Str,
            "NoneType" | "None" => Type::None,
            "Device" => Type::Device,
            "Generator" => Type::Generator,
            "Storage" => Type::Storage,
            "Stream" => Type::Stream,
            "Capsule" => Type::Capsule,
            "Any" => Type::Any,
            "AnyListType" | "list" => Type::AnyList,
            "AnyEnumType" | "AnyClassType" => Type::AnyClass,
            "Dict" | "Future" | "RRef" | "Await" | "Union" => {
                self.expect("(")?;
                let first = self.annotated(depth)?.0;
                let mut others = Vec::new();
                while self.accept(",") {
                    others.push(self.annotated(depth)?.0);
                }
                self.expect(")")?;
                match (word.as_str(), &mut others[..]) {
                    ("Dict", [value]) => Type::Dict(Arc::new(first), Arc::new(value.clone())),
                    ("Future", []) => Type::Future(Arc::new(first)),
                    ("RRef", []) => Type::RRef(Arc::new(first)),
                    ("Await", []) => Type::Await(Arc::new(first)),
                    ("Union", _) => {
                        others.insert(0, first);
                        Type::Union(others.into())
                    }
                    _ => return None,
                }
            }
            name if name.starts_with("__torch__.") => Type::Class(name.into()),
            // `t`, `tVal`, `a`: a variable.
            name if name.as_bytes()[0].is_ascii_lowercase() && !name.contains('.') => {
                Type::Var(name.into())
            }
            _ => return None,
        };
        Some(ty)
    }

    fn value(&mut self) -> Option<Const> {
        self.space();
        let rest = &self.text[self.at..];
        if let Some(quote) = rest.first().filter(|byte| matches!(byte, b'"' | b'\'')) {
            let mut end = 1;
            while rest.get(end)? != quote {
                end += if rest[end] == b'\\' { 2 } else { 1 };
            }
            let text = std::str::from_utf8(rest.get(1..end)?).ok()?.into();
            self.at += end + 1;
            return Some(Const::Str(text));
        }
        if self.accept("[") {
            // Lists can be changed: they are no constants to reason with.
            loop {
                if self.accept("]") {
                    return Some(Const::Opaque);
                }
                let start = self.at;
                self.value()?;
                // A value may be empty; a list of nothing but such would have no end.
                if !self.accept(",") && self.at == start {
                    return None;
                }
            }
        }
        let end = rest.iter().position(|byte| matches!(byte, b',' | b')' | b']'))?;
        let word = std::str::from_utf8(&rest[..end]).ok()?.trim();
        self.at += end;
        Some(match word {
            "None" => Const::None,
            "True" => Const::Bool(true),
            "False" => Const::Bool(false),
            _ => {
                let number = word.parse().map(Const::Int);
                let number = number.or_else(|_| word.parse().map(Const::Float));
                number.unwrap_or(Const::Opaque)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_read_as_pytorch_writes_them() {
        let add = "aten::add.out(Tensor self, Tensor other, *, Scalar alpha=1, Tensor(a!) out) \
            -> Tensor(a!)";
        let add = Schema::parse(add, None).unwrap();
        assert_eq!(add.operator.to_string(), "aten::add.out");
        assert!(add.mutates && add.parameters[2].keyword_only && !add.parameters[1].keyword_only);
        assert_eq!(add.parameters[2].default, Some(Const::Int(1)));
        let text = "conv2d.padding(Tensor input, SymInt[2] stride=1, str padding=\"valid\", \
            SymInt[2] dilation=[1,1], Tensor?[] list=[]) -> (Tensor values, Tensor(a)[] rest)";
        let conv = Schema::parse(text, Some("aten")).unwrap();
        assert_eq!(conv.parameters[1].repeat, Some(2));
        assert_eq!(conv.parameters[2].default, Some(Const::Str("valid".into())));
        assert_eq!(conv.parameters[4].ty, Type::list(Type::optional(Type::Tensor)));
        assert_eq!(conv.returns, [Type::Tensor, Type::list(Type::Tensor)]);
        let text = "aten::get.default_str(Dict(str, t) self, str key, t default_value) -> t(*)";
        let get = Schema::parse(text, None).unwrap();
        assert_eq!(get.returns, [Type::Var("t".into())]);
        assert!(Schema::parse("aten::format(str self, ...) -> str", None).unwrap().variadic);
        assert!(Schema::parse("aten::add.str(str a, str b) ->str", None).is_some());
        assert!(Schema::parse("quantized::linear_dynamic(Tensor X) -> Tensor Y", None).is_some());
        let text = "aten::split(Tensor(a -> *) self, int[] sizes, int dim=0) -> Tensor(a)[]";
        assert_eq!(Schema::parse(text, None).unwrap().returns, [Type::list(Type::Tensor)]);
    }

    #[test]
    fn what_is_no_schema_is_none() {
        let deep = format!("aten::f({}Tensor x) -> Tensor", "(".repeat(10_000));
        let unended = "a::f(int[2]? x=[1e` *, .e.) -> (int a)";
        for text in [
            "",
            "f",
            "f(",
            "f()",
            "f() -> ",
            "a::f(int) -> int",
            "a::f(Foo x) -> int",
            &deep,
            unended,
        ] {
            assert!(Schema::parse(text, None).is_none(), "{text}");
        }
    }
}
