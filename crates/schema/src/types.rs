//! TorchScript's types, and when one can stand for another.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// Whatever.
    Any,
    /// A tensor.
    Tensor,
    /// A whole number of 64 bits.
    Int,
    /// A float of 64 bits.
    Float,
    /// A complex number.
    Complex,
    /// `Scalar`: an int, a float or a complex.
    Number,
    /// True or false.
    Bool,
    /// A text.
    Str,
    /// Nothing.
    None,
    /// A device.
    Device,
    /// A generator of random numbers.
    Generator,
    /// The memory of tensors.
    Storage,
    /// A stream of a device.
    Stream,
    /// An object of C++ without a type.
    Capsule,
    /// `Any[]`: a list of whatever.
    AnyList,
    /// `AnyEnumType`, `AnyClassType`: any of the application's own.
    AnyClass,
    /// `[]` before it is known of what.
    EmptyList,
    /// A list.
    List(Arc<Type>),
    /// A dictionary, with the types of keys and values.
    Dict(Arc<Type>, Arc<Type>),
    /// With the name of its class, and its fields, if it is a named tuple.
    Tuple(Arc<[Type]>, Option<Arc<Named>>),
    /// The type or nothing.
    Optional(Arc<Type>),
    /// One of several types.
    Union(Arc<[Type]>),
    /// What `fork` will have given.
    Future(Arc<Type>),
    /// An object on another machine.
    RRef(Arc<Type>),
    /// What is computed when it is asked for.
    Await(Arc<Type>),
    /// A class of the archive, or of C++.
    Class(Arc<str>),
    /// A function of the archive.
    Function(Arc<str>),
    /// A type variable of a schema.
    Var(Arc<str>),
}

/// What a named tuple adds to a tuple.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    /// The class.
    pub name: String,
    /// Its fields.
    pub fields: Vec<String>,
}

/// Types of the variables of a schema.
pub type Bindings = BTreeMap<Arc<str>, Type>;

impl Type {
    /// A list of `item`.
    pub fn list(item: Self) -> Self {
        Self::List(Arc::new(item))
    }

    /// `item` or nothing.
    pub fn optional(item: Self) -> Self {
        match item {
            Self::None | Self::Any | Self::Optional(_) => item,
            item => Self::Optional(Arc::new(item)),
        }
    }

    /// A tuple without names.
    pub fn tuple(items: Vec<Self>) -> Self {
        Self::Tuple(items.into(), None)
    }

    /// Without the outermost `Optional`.
    pub fn without_optional(&self) -> &Self {
        match self {
            Self::Optional(item) => item,
            other => other,
        }
    }

    /// Whether a value of it may be `None`.
    pub fn may_be_none(&self) -> bool {
        match self {
            Self::None | Self::Any | Self::Optional(_) => true,
            Self::Union(parts) => parts.iter().any(Self::may_be_none),
            _ => false,
        }
    }

    /// Whether operators may change a value of it, so that it is no constant.
    pub fn is_mutable(&self) -> bool {
        match self {
            Self::Int
            | Self::Float
            | Self::Complex
            | Self::Number
            | Self::Bool
            | Self::Str
            | Self::None
            | Self::Device
            | Self::Function(_) => false,
            Self::Tuple(items, _) | Self::Union(items) => items.iter().any(Self::is_mutable),
            Self::Optional(item) => item.is_mutable(),
            _ => true,
        }
    }

    /// Whether a value of it serves where `other` is asked for. `implements` says whether a
    /// class is one that an interface stands for.
    pub fn is_subtype(&self, other: &Self, implements: &dyn Fn(&str, &str) -> bool) -> bool {
        let sub = |one: &Self, two: &Self| one.is_subtype(two, implements);
        let nothing = matches!((self, other), (Self::None, Self::Optional(_)));
        if self == other || *other == Self::Any || nothing {
            return true;
        }
        match (self, other) {
            (Self::Union(parts), _) => parts.iter().all(|part| sub(part, other)),
            (Self::Optional(item), _) => match other {
                Self::Optional(theirs) => sub(item, theirs),
                Self::Union(_) => sub(item, other) && sub(&Self::None, other),
                _ => false,
            },
            (_, Self::Optional(item)) => sub(self, item),
            (_, Self::Union(parts)) => parts.iter().any(|part| sub(self, part)),
            (Self::Int | Self::Float | Self::Complex, Self::Number)
            | (Self::List(_), Self::AnyList)
            | (Self::EmptyList, Self::AnyList | Self::List(_))
            | (Self::Class(_), Self::AnyClass) => true,
            (Self::Class(mine), Self::Class(theirs)) => implements(mine, theirs),
            (Self::Tuple(mine, _), Self::Tuple(theirs, name)) => {
                name.is_none()
                    && mine.len() == theirs.len()
                    && mine.iter().zip(theirs.iter()).all(|(one, two)| sub(one, two))
            }
            (Self::Future(mine), Self::Future(theirs))
            | (Self::RRef(mine), Self::RRef(theirs))
            | (Self::Await(mine), Self::Await(theirs)) => sub(mine, theirs),
            _ => false,
        }
    }

    /// The type of a value that is one or the other; `None` where there is none.
    pub fn unify(&self, other: &Self, implements: &dyn Fn(&str, &str) -> bool) -> Option<Self> {
        if self.is_subtype(other, implements) {
            return Some(other.clone());
        }
        if other.is_subtype(self, implements) {
            return Some(self.clone());
        }
        match (self, other) {
            (Self::None, item) | (item, Self::None) => Some(Self::optional(item.clone())),
            (Self::Optional(item), theirs) | (theirs, Self::Optional(item)) => {
                let theirs = theirs.without_optional();
                Some(Self::optional(item.unify(theirs, implements)?))
            }
            (Self::Tuple(mine, _), Self::Tuple(theirs, _)) if mine.len() == theirs.len() => {
                let pairs = mine.iter().zip(theirs.iter());
                let items: Option<Vec<Self>> =
                    pairs.map(|(one, two)| one.unify(two, implements)).collect();
                Some(Self::tuple(items?))
            }
            (Self::Future(mine), Self::Future(theirs)) => {
                Some(Self::Future(Arc::new(mine.unify(theirs, implements)?)))
            }
            _ => None,
        }
    }

    /// Whether it has type variables.
    pub fn has_variables(&self) -> bool {
        match self {
            Self::Var(_) => true,
            Self::List(item)
            | Self::Optional(item)
            | Self::Future(item)
            | Self::RRef(item)
            | Self::Await(item) => item.has_variables(),
            Self::Dict(key, value) => key.has_variables() || value.has_variables(),
            Self::Tuple(items, _) | Self::Union(items) => items.iter().any(Self::has_variables),
            _ => false,
        }
    }

    /// Finds what the variables of this type of a schema stand for, given the `actual` one.
    pub fn bind(
        &self,
        actual: &Self,
        bindings: &mut Bindings,
        implements: &dyn Fn(&str, &str) -> bool,
    ) -> bool {
        if !self.has_variables() {
            return true;
        }
        match (self, actual) {
            (Self::Var(name), _) => match bindings.get(name) {
                None => {
                    let actual = match actual {
                        Self::EmptyList => Self::list(Self::Tensor),
                        actual => actual.clone(),
                    };
                    bindings.insert(name.clone(), actual);
                    true
                }
                Some(known) => match known.unify(actual, implements) {
                    Some(unified) => {
                        bindings.insert(name.clone(), unified);
                        true
                    }
                    None => false,
                },
            },
            (Self::List(item), Self::List(actual)) => item.bind(actual, bindings, implements),
            (Self::List(item), Self::EmptyList) => item.bind(&Self::Tensor, bindings, implements),
            (Self::List(item), Self::Tuple(actual, _)) => {
                let mut parts = actual.iter().cloned();
                let Some(first) = parts.next() else { return false };
                let all = parts.try_fold(first, |one, two| one.unify(&two, implements));
                all.is_some_and(|all| item.bind(&all, bindings, implements))
            }
            (Self::Dict(key, value), Self::Dict(their_key, their_value)) => {
                key.bind(their_key, bindings, implements)
                    && value.bind(their_value, bindings, implements)
            }
            (Self::Tuple(mine, _), Self::Tuple(theirs, _)) => {
                mine.len() == theirs.len()
                    && mine
                        .iter()
                        .zip(theirs.iter())
                        .all(|(one, two)| one.bind(two, bindings, implements))
            }
            (Self::Future(mine), Self::Future(theirs))
            | (Self::RRef(mine), Self::RRef(theirs))
            | (Self::Await(mine), Self::Await(theirs)) => mine.bind(theirs, bindings, implements),
            (Self::Optional(item), Self::Optional(actual)) => {
                item.bind(actual, bindings, implements)
            }
            // Nothing is learned of the variable: another argument may say what it is.
            (Self::Optional(_), Self::None) => true,
            (Self::Optional(item), actual) => item.bind(actual, bindings, implements),
            _ => false,
        }
    }

    /// With its variables replaced; `None` if one is not known.
    pub fn bound(&self, bindings: &Bindings) -> Option<Self> {
        let arc = |item: &Self| Some(Arc::new(item.bound(bindings)?));
        let all = |items: &[Self]| -> Option<Arc<[Self]>> {
            items.iter().map(|item| item.bound(bindings)).collect()
        };
        Some(match self {
            Self::Var(name) => bindings.get(name)?.clone(),
            Self::List(item) => Self::List(arc(item)?),
            Self::Optional(item) => Self::optional(item.bound(bindings)?),
            Self::Future(item) => Self::Future(arc(item)?),
            Self::RRef(item) => Self::RRef(arc(item)?),
            Self::Await(item) => Self::Await(arc(item)?),
            Self::Dict(key, value) => Self::Dict(arc(key)?, arc(value)?),
            Self::Tuple(items, name) => Self::Tuple(all(items)?, name.clone()),
            Self::Union(items) => Self::Union(all(items)?),
            other => other.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &str, _: &str) -> bool {
        false
    }

    #[test]
    fn optionals_numbers_and_tuples_take_what_fits() {
        let optional = Type::optional(Type::Tensor);
        assert!(Type::Tensor.is_subtype(&optional, &none));
        assert!(Type::None.is_subtype(&optional, &none));
        assert!(!optional.is_subtype(&Type::Tensor, &none));
        assert!(Type::Int.is_subtype(&Type::Number, &none));
        assert!(!Type::Bool.is_subtype(&Type::Number, &none));
        assert!(!Type::Int.is_subtype(&Type::Float, &none));
        // A list can be written to: of what it is a list must be the same.
        let ints = Type::list(Type::Int);
        assert!(!ints.is_subtype(&Type::list(Type::Number), &none));
        let pair = Type::tuple(vec![Type::Int, Type::None]);
        let wide = Type::tuple(vec![Type::Number, optional.clone()]);
        assert!(pair.is_subtype(&wide, &none));
        assert_eq!(Type::None.unify(&Type::Tensor, &none), Some(optional));
        assert_eq!(Type::Int.unify(&Type::Str, &none), None);
    }

    #[test]
    fn variables_are_what_arguments_say() {
        let var = Type::Var("t".into());
        let mut bindings = Bindings::new();
        assert!(Type::list(var.clone()).bind(&Type::list(Type::Str), &mut bindings, &none));
        assert!(var.bind(&Type::Str, &mut bindings, &none));
        assert!(!var.bind(&Type::Int, &mut bindings, &none));
        assert_eq!(Type::optional(var).bound(&bindings), Some(Type::optional(Type::Str)));
    }
}
