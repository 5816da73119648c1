//! Expressions of a function as nodes.

use crate::compile::{Compiler, Done, Reference, literal, type_of};
use crate::graph::{Kind, ValueId};
use crate::program::ClassKind;
use ruff_python_ast::{Expr, Number, UnaryOp};
use ruff_text_size::Ranged;
use schema::{Const, Type};
use std::sync::Arc;

impl<'a> Compiler<'a> {
    pub(crate) fn expression(
        &mut self,
        expression: &'a Expr,
        hint: Option<&Type>,
    ) -> Done<ValueId> {
        match expression {
            Expr::NoneLiteral(_)
            | Expr::BooleanLiteral(_)
            | Expr::StringLiteral(_)
            | Expr::NumberLiteral(_)
            | Expr::UnaryOp(_) => {
                let constant = literal(expression);
                match (&constant, expression) {
                    (Const::Opaque, Expr::NumberLiteral(number)) => {
                        let ty = match number.value {
                            Number::Complex { .. } => Type::Complex,
                            _ => Type::Int,
                        };
                        Ok(self.graph.value(ty, Some(Const::Opaque)))
                    }
                    (Const::Opaque, Expr::UnaryOp(unary)) if unary.op == UnaryOp::USub => {
                        let operand = self.expression(&unary.operand, None)?;
                        self.operator("aten::neg", &[operand], &[])
                    }
                    (Const::Opaque, _) => Err("a sign stands before what is no number".into()),
                    _ => Ok(self.constant(constant)),
                }
            }
            Expr::Name(_) | Expr::Attribute(_) => match self.reference(expression)? {
                Reference::Value(value) => Ok(value),
                Reference::Path(path) => self.path(&path),
            },
            Expr::Tuple(tuple) => {
                let items: Vec<ValueId> = tuple
                    .elts
                    .iter()
                    .map(|item| self.expression(item, None))
                    .collect::<Done<_>>()?;
                Ok(self.tuple(items))
            }
            Expr::List(list) => {
                let hint = match hint.map(Type::without_optional) {
                    Some(Type::List(item)) => Some((**item).clone()),
                    _ => None,
                };
                self.list(&list.elts, hint)
            }
            Expr::Dict(dict) => self.dict(dict, hint),
            Expr::Subscript(subscript) => self.subscript(&subscript.value, &subscript.slice),
            Expr::Call(call) => {
                self.at(call.range().start());
                self.call(call, hint)
            }
            _ => Err("an expression is none that PyTorch writes".into()),
        }
    }

    /// An expression as a value of a type.
    pub(crate) fn expression_as(&mut self, expression: &'a Expr, ty: &Type) -> Done<ValueId> {
        let value = self.expression(expression, Some(ty))?;
        if let (Some(Const::None), Type::Optional(_)) = (self.graph.constant(value), ty) {
            return Ok(self.graph.value(ty.clone(), Some(Const::None)));
        }
        self.convert(ty, value)
    }

    pub(crate) fn reference(&mut self, expression: &'a Expr) -> Done<Reference> {
        match expression {
            Expr::Name(name) => Ok(match self.scope.get(name.id.as_str()) {
                Some(value) => Reference::Value(*value),
                None => Reference::Path(name.id.to_string()),
            }),
            Expr::Attribute(attribute) => {
                let name = attribute.attr.as_str();
                let outer = match &*attribute.value {
                    inner @ (Expr::Name(_) | Expr::Attribute(_)) => self.reference(inner)?,
                    other => Reference::Value(self.expression(other, None)?),
                };
                match outer {
                    Reference::Path(path) => Ok(Reference::Path(format!("{path}.{name}"))),
                    Reference::Value(value) => self.attribute(value, name).map(Reference::Value),
                }
            }
            _ => Err("a name is none".into()),
        }
    }

    /// What a dotted name of the archive, or a word, stands for.
    pub(crate) fn path(&mut self, path: &str) -> Done<ValueId> {
        match path {
            "inf" | "nan" => {
                let number = if path == "inf" { f64::INFINITY } else { f64::NAN };
                return Ok(self.constant(Const::Float(number)));
            }
            "infj" | "nanj" => return Ok(self.graph.value(Type::Complex, Some(Const::Opaque))),
            _ => {}
        }
        if let Some(number) = path.strip_prefix("CONSTANTS.c") {
            let number: usize = number.parse().map_err(|_| format!("{path} is no constant"))?;
            let ty = self.constants.get(number).cloned();
            let ty = ty.ok_or_else(|| format!("the archive has no {path}"))?;
            return Ok(self.graph.value(ty, Some(Const::Opaque)));
        }
        if let Some((name, _)) = self.program.functions.get_key_value(path) {
            return Ok(self.graph.value(Type::Function(name.clone()), Some(Const::Opaque)));
        }
        if let Some((class, member)) = path.rsplit_once('.')
            && let Some((name, class)) = self.program.classes.get_key_value(class)
            && class.kind == ClassKind::Enum
            && class.constants.contains_key(member)
        {
            return Ok(self.graph.value(Type::Class(name.clone()), Some(Const::Opaque)));
        }
        Err(format!("{path} is not known"))
    }

    pub(crate) fn attribute_type(&self, class: &str, name: &str) -> Done<Type> {
        let known = self.program.classes.get(class);
        let known = known.ok_or_else(|| format!("the class {class} is not known"))?;
        match known.attributes.iter().find(|(attribute, _)| attribute == name) {
            Some((_, annotation)) => self.program.annotation(annotation),
            None => Err(format!("{class} has no attribute {name}")),
        }
    }

    pub(crate) fn attribute(&mut self, object: ValueId, name: &str) -> Done<ValueId> {
        match self.graph.ty(object).clone() {
            Type::Class(class) => {
                let known = self.program.classes.get(&class);
                let known = known.ok_or_else(|| format!("the class {class} is not known"))?;
                if known.kind == ClassKind::Enum && matches!(name, "value" | "name") {
                    let value = match (name, known.constants.values().next()) {
                        ("value", Some((_, value))) => type_of(&literal(value)),
                        _ => Type::Str,
                    };
                    return Ok(self.emit_one(Kind::Pure, vec![object], value));
                }
                if let Some((annotation, value)) = known.constants.get(name) {
                    let constant = literal(value);
                    let ty = match annotation {
                        Some(annotation) => self.program.annotation(annotation)?,
                        None => type_of(&constant),
                    };
                    return Ok(self.graph.value(ty, Some(constant)));
                }
                let ty = self.attribute_type(&class, name)?;
                Ok(self.emit_one(Kind::GetAttribute, vec![object], ty))
            }
            Type::Tuple(items, Some(named)) => {
                let at = named.fields.iter().position(|field| field == name);
                let at = at.ok_or_else(|| format!("{} has no field {name}", named.name))?;
                if let Some(made) = self.tuples.get(&object) {
                    return Ok(made[at]);
                }
                let index = self.constant(Const::Int(at as i64));
                Ok(self.emit_one(Kind::TupleIndex, vec![object, index], items[at].clone()))
            }
            _ => Err(format!("what has no attributes is asked for {name}")),
        }
    }

    pub(crate) fn list(&mut self, items: &'a [Expr], hint: Option<Type>) -> Done<ValueId> {
        let mut values: Vec<ValueId> =
            items.iter().map(|item| self.expression(item, hint.as_ref())).collect::<Done<_>>()?;
        let ty = if let Some(hint) = hint {
            hint
        } else {
            let mut types = values.iter().map(|id| self.graph.ty(*id).clone());
            let Some(first) = types.next() else {
                return Ok(self.emit_one(Kind::ListConstruct, Vec::new(), Type::EmptyList));
            };
            let unified = types.try_fold(first, |one, two| self.unify(&one, &two));
            match unified.ok_or("the items of a list are of different types")? {
                Type::EmptyList => Type::list(Type::Tensor),
                ty => ty,
            }
        };
        for value in &mut values {
            *value = self.convert(&ty, *value)?;
        }
        Ok(self.emit_one(Kind::ListConstruct, values, Type::list(ty)))
    }

    pub(crate) fn dict(
        &mut self,
        dict: &'a ruff_python_ast::ExprDict,
        hint: Option<&Type>,
    ) -> Done<ValueId> {
        let mut values = Vec::new();
        let (mut keys, mut held): (Option<Type>, Option<Type>) = (None, None);
        let hinted = match hint.map(Type::without_optional) {
            Some(Type::Dict(key, value)) => Some(((**key).clone(), (**value).clone())),
            _ => None,
        };
        for item in &dict.items {
            let key = item.key.as_ref().ok_or("a dictionary is spread out")?;
            let key = self.expression(key, None)?;
            let value = self.expression(&item.value, hinted.as_ref().map(|(_, value)| value))?;
            let join = |compiler: &Self, known: Option<Type>, id: ValueId| {
                let ty = compiler.graph.ty(id).clone();
                match known {
                    None => Some(ty),
                    Some(known) => compiler.unify(&known, &ty),
                }
            };
            keys = Some(join(self, keys, key).ok_or("the keys are of different types")?);
            held = Some(join(self, held, value).ok_or("the values are of different types")?);
            values.extend([key, value]);
        }
        let (key, value) = match hinted {
            Some(hinted) => hinted,
            None => (keys.unwrap_or(Type::Str), held.unwrap_or(Type::Tensor)),
        };
        let ty = Type::Dict(Arc::new(key), Arc::new(value));
        Ok(self.emit_one(Kind::DictConstruct, values, ty))
    }

    pub(crate) fn subscript(&mut self, value: &'a Expr, index: &'a Expr) -> Done<ValueId> {
        let value = self.expression(value, None)?;
        let ty = self.graph.ty(value).clone();
        if let (Type::Tuple(items, _), Expr::Slice(slice)) = (&ty, index) {
            let bound = |part: &Option<Box<Expr>>, otherwise: usize| match part.as_deref() {
                None => Some(otherwise),
                Some(part) => match literal(part) {
                    Const::Int(number) => usize::try_from(number).ok(),
                    _ => None,
                },
            };
            let (from, to) = (bound(&slice.lower, 0), bound(&slice.upper, items.len()));
            let part = from.zip(to).and_then(|(from, to)| items.get(from..to));
            let part = part.ok_or("a slice of a tuple is none")?.to_vec();
            if let (Some(made), Some((from, to))) = (self.tuples.get(&value), from.zip(to)) {
                let made = made[from..to].to_vec();
                return Ok(self.tuple(made));
            }
            return Ok(self.emit_one(Kind::Pure, vec![value], Type::tuple(part)));
        }
        let index = self.expression(index, None)?;
        match ty {
            Type::Tuple(items, _) => {
                let at = match self.graph.constant(index) {
                    Some(Const::Int(at)) if *at < 0 => at + items.len() as i64,
                    Some(Const::Int(at)) => *at,
                    _ => {
                        let mut all = items.iter().cloned();
                        let first = all.next().ok_or("an empty tuple is asked for an item")?;
                        let ty = all.try_fold(first, |one, two| self.unify(&one, &two));
                        let ty = ty.ok_or("an item of a tuple is of no one type")?;
                        return Ok(self.emit_one(Kind::TupleIndex, vec![value, index], ty));
                    }
                };
                let at = usize::try_from(at).ok().filter(|at| *at < items.len());
                let at = at.ok_or("a tuple has no such item")?;
                if let Some(made) = self.tuples.get(&value) {
                    return Ok(made[at]);
                }
                Ok(self.emit_one(Kind::TupleIndex, vec![value, index], items[at].clone()))
            }
            // A container of modules: what it gives implements the interface that follows.
            Type::Class(_) => Ok(self.emit_one(Kind::Pure, vec![value, index], Type::Any)),
            _ => self.operator("aten::__getitem__", &[value, index], &[]),
        }
    }

    // Calls.
}
