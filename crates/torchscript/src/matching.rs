//! Which overload a call means: by its arguments' types, as PyTorch's compiler decides it.
//!
//! Overloads are tried in their order, at first without and then with conversions; the first
//! that takes all arguments is the one.

use crate::graph::{Graph, ValueId};
use crate::program::Program;
use schema::{Bindings, Const, Parameter, Schema, Type};

/// What is passed for a parameter.
#[derive(Debug, Clone)]
pub enum Argument {
    /// A value as it is.
    Given(ValueId),
    /// A value so many times in a list.
    Repeated(ValueId, u32, Type),
    /// A list of these, of items of this type.
    Listed(Vec<Argument>, Type),
    /// The items of a tuple as a list of items of this type.
    TupleAsList(ValueId, Type),
    /// An empty list of items of this type.
    Empty(Type),
    /// What this operator makes of it, a value of this type.
    Converted(&'static str, Box<Argument>, Type),
    /// The parameter's default, by its index.
    Default(usize),
}

/// A call that fits.
#[derive(Debug)]
pub struct Match {
    /// An argument for each parameter, and those beyond.
    pub arguments: Vec<Argument>,
    /// The types of what it gives.
    pub returns: Vec<Type>,
}

/// A call: its arguments by place and by name.
pub struct Call<'a> {
    pub graph: &'a Graph,
    pub program: &'a Program,
    pub positional: &'a [ValueId],
    pub named: &'a [(String, ValueId)],
}

/// `view.dtype` is never meant: TorchScript knows no dtype from a number.
fn is_blocked(schema: &Schema) -> bool {
    schema.operator.name == "aten::view" && schema.operator.overload == "dtype"
}

impl Call<'_> {
    /// The first of `schemas` that fits, and how.
    pub fn find(&self, schemas: &[impl AsRef<Schema>]) -> Option<(usize, Match)> {
        if let [only] = schemas {
            return self.try_match(only.as_ref(), true).map(|found| (0, found));
        }
        [false, true].into_iter().find_map(|conversions| {
            schemas.iter().enumerate().find_map(|(index, schema)| {
                Some((index, self.try_match(schema.as_ref(), conversions)?))
            })
        })
    }

    fn fits(&self, one: &Type, other: &Type) -> bool {
        one.is_subtype(other, &|class, interface| self.program.implements(class, interface))
    }

    fn try_match(&self, schema: &Schema, conversions: bool) -> Option<Match> {
        if is_blocked(schema) {
            return None;
        }
        let mut bindings = Bindings::new();
        let (mut arguments, mut used) = (Vec::new(), 0);
        let mut used_names = vec![false; self.named.len()];
        for (index, parameter) in schema.parameters.iter().enumerate() {
            let value = if !parameter.keyword_only && used < self.positional.len() {
                if conversions && takes_rest(schema, index) {
                    let ty = self.graph.ty(self.positional[used]);
                    let list = matches!(ty, Type::List(_) | Type::EmptyList)
                        || self.as_list(ty, parameter.ty.without_optional());
                    if !list && let Type::List(item) = parameter.ty.without_optional() {
                        let rest = &self.positional[used..];
                        let each = Parameter {
                            name: String::new(),
                            ty: (**item).clone(),
                            repeat: None,
                            keyword_only: false,
                            default: None,
                        };
                        let items: Option<Vec<Argument>> = rest
                            .iter()
                            .map(|id| self.pass(&each, *id, conversions, &mut bindings))
                            .collect();
                        arguments.push(Argument::Listed(items?, (**item).clone()));
                        used = self.positional.len();
                        continue;
                    }
                }
                used += 1;
                self.positional[used - 1]
            } else if let Some(at) = self.named.iter().position(|(name, _)| {
                *name == parameter.name || (parameter.name == "self" && name == "input")
            }) {
                if std::mem::replace(&mut used_names[at], true) {
                    return None;
                }
                self.named[at].1
            } else if parameter.default.is_some() {
                arguments.push(Argument::Default(index));
                continue;
            } else {
                return None;
            };
            arguments.push(self.pass(parameter, value, conversions, &mut bindings)?);
        }
        if schema.variadic {
            arguments.extend(self.positional[used..].iter().map(|id| Argument::Given(*id)));
            used = self.positional.len();
        }
        if used < self.positional.len() || used_names.contains(&false) {
            return None;
        }
        let returns: Option<Vec<Type>> =
            schema.returns.iter().map(|ty| ty.bound(&bindings)).collect();
        Some(Match { arguments, returns: returns? })
    }

    /// Whether a tuple serves as a list.
    fn as_list(&self, ty: &Type, list: &Type) -> bool {
        match (ty, list) {
            (Type::Tuple(items, _), Type::List(item)) => {
                items.iter().all(|one| self.fits(one, item))
            }
            _ => self.fits(ty, list),
        }
    }

    fn pass(
        &self,
        parameter: &Parameter,
        value: ValueId,
        conversions: bool,
        bindings: &mut Bindings,
    ) -> Option<Argument> {
        let actual = self.graph.ty(value);
        if let (Some(repeat), Type::Int | Type::Float) = (parameter.repeat, actual)
            && let Type::List(item) = parameter.ty.without_optional()
            && **item == *actual
        {
            return Some(Argument::Repeated(value, repeat, actual.clone()));
        }
        let implements = |class: &str, interface: &str| self.program.implements(class, interface);
        if !parameter.ty.bind(actual, bindings, &implements) {
            return None;
        }
        let concrete = parameter.ty.bound(bindings)?;
        self.convert(&concrete, value, conversions)
    }

    /// How a value is passed where one of the type `concrete` is asked for; `None` if it
    /// cannot be.
    pub fn convert(&self, concrete: &Type, value: ValueId, conversions: bool) -> Option<Argument> {
        let actual = self.graph.ty(value);
        let wanted = match concrete {
            Type::Optional(item) if !matches!(actual, Type::Optional(_) | Type::None) => item,
            concrete => concrete,
        };
        if self.fits(actual, concrete) && !matches!(actual, Type::EmptyList) {
            return Some(Argument::Given(value));
        }
        match (actual, wanted) {
            (Type::EmptyList, Type::List(item)) => {
                return Some(Argument::Empty((**item).clone()));
            }
            (Type::EmptyList, Type::AnyList | Type::Any) => {
                return Some(Argument::Empty(Type::Tensor));
            }
            (Type::Tuple(items, _), Type::List(item))
                if items.iter().all(|one| self.fits(one, item)) =>
            {
                return Some(Argument::TupleAsList(value, (**item).clone()));
            }
            _ => {}
        }
        if !conversions {
            return None;
        }
        let made = |operator| {
            let given = Box::new(Argument::Given(value));
            Some(Argument::Converted(operator, given, wanted.clone()))
        };
        match (actual, wanted) {
            (Type::Tensor, Type::Float) => made("aten::FloatImplicit"),
            (Type::Tensor, Type::Complex) => made("aten::ComplexImplicit"),
            (Type::Tensor, Type::Int) => made("aten::IntImplicit"),
            (Type::Tensor, Type::Number) => made("aten::ScalarImplicit"),
            (Type::Number, Type::Float) => made("aten::Float"),
            (Type::Number, Type::Complex) => made("aten::Complex"),
            (Type::Number, Type::Int) => made("aten::Int"),
            (Type::Str, Type::Device) => made("aten::device"),
            _ => None,
        }
    }
}

/// The overload that a call has in the end: PyTorch asks again, by the types of what it is
/// given after all that was left out. The first that takes its inputs as they are.
pub fn settled<S: AsRef<Schema>>(
    schemas: &[S],
    program: &Program,
    graph: &Graph,
    inputs: &[ValueId],
) -> Option<usize> {
    let implements = |class: &str, interface: &str| program.implements(class, interface);
    schemas.iter().position(|schema| {
        let schema = schema.as_ref();
        let enough = inputs.len() >= schema.parameters.len();
        if is_blocked(schema) || !enough {
            return false;
        }
        if !schema.variadic && inputs.len() != schema.parameters.len() {
            return false;
        }
        let mut bindings = Bindings::new();
        schema.parameters.iter().zip(inputs).all(|(parameter, input)| {
            let actual = match graph.constant(*input) {
                Some(Const::None) => &Type::None,
                _ => graph.ty(*input),
            };
            if !parameter.ty.bind(actual, &mut bindings, &implements) {
                return false;
            }
            match parameter.ty.bound(&bindings) {
                Some(formal) => actual.is_subtype(&formal, &implements),
                None => *actual == Type::None,
            }
        })
    })
}

/// Whether a parameter takes all that is left, as in `zeros(1, 2, 3)`.
fn takes_rest(schema: &Schema, index: usize) -> bool {
    let parameter = &schema.parameters[index];
    let last = schema.parameters.get(index + 1).is_none_or(|next| next.keyword_only);
    let list = match &parameter.ty {
        Type::List(item) => !matches!(**item, Type::Var(_)),
        _ => false,
    };
    last && list && parameter.repeat.is_none()
}
