//! Calls in a function as nodes: of operators, methods, other functions and builtins.

use crate::compile::{Compiler, Done, Named, Reference, literal, signature, type_of};
use crate::graph::{Block, Kind, ValueId};
use crate::matching::{Argument, Call};
use crate::program::{ClassKind, dotted};
use ruff_python_ast::{Expr, ExprCall};
use schema::{Const, Schema, Type};
use std::sync::Arc;

impl<'a> Compiler<'a> {
    pub(crate) fn call(&mut self, call: &'a ExprCall, hint: Option<&Type>) -> Done<ValueId> {
        if let Expr::Attribute(attribute) = &*call.func {
            let outer = match &*attribute.value {
                inner @ (Expr::Name(_) | Expr::Attribute(_)) => self.reference(inner)?,
                other => Reference::Value(self.expression(other, None)?),
            };
            return match outer {
                Reference::Value(object) => {
                    self.method(object, attribute.attr.as_str(), call, hint)
                }
                Reference::Path(path) => {
                    let path = format!("{path}.{}", attribute.attr);
                    self.call_path(&path, call)
                }
            };
        }
        match self.reference(&call.func)? {
            Reference::Path(path) => self.call_path(&path, call),
            Reference::Value(value) => match self.graph.ty(value).clone() {
                Type::Function(name) => {
                    let (positional, named) = self.arguments(call)?;
                    self.function(&name, &positional, &named)
                }
                _ => Err("what is called is no function".into()),
            },
        }
    }

    pub(crate) fn arguments(&mut self, call: &'a ExprCall) -> Done<(Vec<ValueId>, Named)> {
        let positional: Vec<ValueId> = call
            .arguments
            .args
            .iter()
            .map(|argument| self.expression(argument, None))
            .collect::<Done<_>>()?;
        let mut named = Vec::new();
        for keyword in &*call.arguments.keywords {
            let name = keyword.arg.as_ref().ok_or("arguments are spread out")?.to_string();
            named.push((name, self.expression(&keyword.value, None)?));
        }
        Ok((positional, named))
    }

    pub(crate) fn method(
        &mut self,
        object: ValueId,
        name: &str,
        call: &'a ExprCall,
        hint: Option<&Type>,
    ) -> Done<ValueId> {
        match self.graph.ty(object).clone() {
            Type::Tensor if name == "tolist" => {
                let ty = hint.cloned().ok_or("tolist has no type")?;
                Ok(self.emit_one(Kind::Pure, vec![object], ty))
            }
            Type::Class(class) => {
                let (mut positional, named) = self.arguments(call)?;
                positional.insert(0, object);
                let function: Arc<str> = format!("{class}.{name}").into();
                match self.program.classes.get(&class).map(|class| class.kind) {
                    Some(ClassKind::Interface) => {
                        let returns = self.matched(&function, &positional, &named)?;
                        let kind = Kind::CallInterface(class, name.into());
                        Ok(self.emit_one(kind, returns.0, returns.1))
                    }
                    Some(_) => self.function(&function, &positional, &named),
                    None => {
                        let ty = hint.cloned().unwrap_or(Type::Any);
                        Ok(self.emit_one(Kind::Foreign, positional, ty))
                    }
                }
            }
            _ => Err(format!("what has no methods is asked for {name}")),
        }
    }

    /// The arguments of a call of a function of the archive, and what it gives.
    pub(crate) fn matched(
        &mut self,
        name: &str,
        positional: &[ValueId],
        named: &[(String, ValueId)],
    ) -> Done<(Vec<ValueId>, Type)> {
        let function = self.program.functions.get(name);
        let function = function.ok_or_else(|| format!("the function {name} is not known"))?;
        let schema = Arc::new(signature(self.program, function)?);
        let call = Call { graph: &self.graph, program: self.program, positional, named };
        let found = call.find(std::slice::from_ref(&schema));
        let (_, found) = found.ok_or_else(|| {
            let types = positional.iter().map(|id| self.graph.ty(*id)).collect::<Vec<_>>();
            format!("{name} does not take what it is given: {types:?}")
        })?;
        let inputs = self.passed(&schema, found.arguments)?;
        Ok((inputs, schema.returns[0].clone()))
    }

    pub(crate) fn function(
        &mut self,
        name: &Arc<str>,
        positional: &[ValueId],
        named: &[(String, ValueId)],
    ) -> Done<ValueId> {
        let (inputs, ty) = self.matched(name, positional, named)?;
        Ok(self.emit_one(Kind::Call(name.clone()), inputs, ty))
    }

    pub(crate) fn call_path(&mut self, path: &str, call: &'a ExprCall) -> Done<ValueId> {
        let arguments = &*call.arguments.args;
        match (path, arguments) {
            ("annotate", [ty, value]) => {
                let ty = self.program.annotation(ty)?;
                return self.expression_as(value, &ty);
            }
            ("uninitialized", [ty]) => {
                let ty = self.program.annotation(ty)?;
                return Ok(self.emit_one(Kind::Uninitialized, Vec::new(), ty));
            }
            ("unchecked_cast", [ty, value]) => {
                let ty = self.program.annotation(ty)?;
                let value = self.expression(value, None)?;
                return Ok(self.emit_one(Kind::Cast, vec![value], ty));
            }
            ("isinstance", [value, types]) => return self.is_instance(value, types),
            ("getattr", [object, name]) => {
                let object = self.expression(object, None)?;
                let Const::Str(name) = literal(name) else {
                    return Err("an attribute has no name".into());
                };
                return self.attribute(object, &name);
            }
            ("fork", [function]) => return self.fork(function),
            ("int" | "float" | "complex" | "bool" | "str", [value]) => {
                let value = self.expression(value, None)?;
                let (name, ty) = match path {
                    "int" => ("aten::Int", Type::Int),
                    "float" => ("aten::Float", Type::Float),
                    "complex" => ("aten::Complex", Type::Complex),
                    "bool" => ("aten::Bool", Type::Bool),
                    _ => ("aten::str", Type::Str),
                };
                if self.fits(self.graph.ty(value), &ty) {
                    return Ok(value);
                }
                return self.operator(name, &[value], &[]);
            }
            _ => {}
        }
        if let Some(class) = path.strip_suffix(".__new__") {
            let class = class.to_owned();
            return Ok(self.emit_one(Kind::CreateObject, Vec::new(), Type::Class(class.into())));
        }
        let (positional, named) = self.arguments(call)?;
        if let Some((name, _)) = self.program.functions.get_key_value(path) {
            return self.function(&name.clone(), &positional, &named);
        }
        if self.program.classes.get(path).is_some_and(|class| class.kind == ClassKind::NamedTuple) {
            let ty = self.program.annotation(&call.func)?;
            let Type::Tuple(items, _) = &ty else { return Err("a tuple is none".into()) };
            if !named.is_empty() || items.len() != positional.len() {
                return Err(format!("{path} has other fields"));
            }
            let mut values = Vec::new();
            for (item, value) in items.iter().zip(positional) {
                values.push(self.convert(item, value)?);
            }
            let tuple = self.emit_one(Kind::TupleConstruct, values.clone(), ty.clone());
            self.tuples.insert(tuple, values);
            return Ok(tuple);
        }
        let name = match path {
            "print" => "prim::Print".to_owned(),
            "sorted" => "aten::sorted".to_owned(),
            "torch.autograd.grad" => "aten::grad".to_owned(),
            "torch.autograd.backward" => "aten::backward".to_owned(),
            _ => match path.split('.').collect::<Vec<_>>()[..] {
                ["torch", name] => format!("aten::{name}"),
                ["ops", namespace, name] => format!("{namespace}::{name}"),
                _ => return Err(format!("{path} is not known")),
            },
        };
        self.operator(&name, &positional, &named)
    }

    pub(crate) fn is_instance(&mut self, value: &'a Expr, types: &'a Expr) -> Done<ValueId> {
        let value = self.expression(value, None)?;
        let types: Vec<Type> = match types {
            Expr::Tuple(types) => {
                types.elts.iter().map(|ty| self.program.annotation(ty)).collect::<Done<_>>()?
            }
            ty => vec![self.program.annotation(ty)?],
        };
        let actual = self.graph.ty(value).clone();
        if types.iter().any(|ty| self.fits(&actual, ty)) {
            return Ok(self.constant(Const::Bool(true)));
        }
        let open = matches!(actual, Type::Any | Type::Optional(_) | Type::Union(_) | Type::Number);
        if !open && !types.iter().any(|ty| self.fits(ty, &actual)) {
            return Ok(self.constant(Const::Bool(false)));
        }
        Ok(self.emit_one(Kind::IsInstance, vec![value], Type::Bool))
    }

    pub(crate) fn fork(&mut self, function: &'a Expr) -> Done<ValueId> {
        let name = dotted(function).ok_or("what is forked is no function")?;
        let inner = *self.inner.get(&name).ok_or_else(|| format!("{name} is not known"))?;
        let before = self.scope.clone();
        let outer = std::mem::take(&mut self.nodes);
        let done = self.block(&inner.body);
        let nodes = std::mem::replace(&mut self.nodes, outer);
        self.scope = before;
        let returned = match done? {
            Some(value) => value,
            None => self.constant(Const::None),
        };
        let ty = Type::Future(Arc::new(self.graph.ty(returned).clone()));
        let block = Block { inputs: Vec::new(), nodes, outputs: vec![returned] };
        Ok(self.emit_blocks(Kind::Fork, Vec::new(), vec![ty], vec![block])[0])
    }

    /// A call of an operator.
    pub(crate) fn operator(
        &mut self,
        name: &str,
        positional: &[ValueId],
        named: &[(String, ValueId)],
    ) -> Done<ValueId> {
        let schemas = self.signatures.of(name);
        if schemas.is_empty() {
            return Err(format!(
                "no library of the environment registers the operator {name}; name one that \
                 has what the model needs with --python"
            ));
        }
        let call = Call { graph: &self.graph, program: self.program, positional, named };
        let Some((index, found)) = call.find(&schemas) else {
            let types: Vec<&Type> = positional.iter().map(|id| self.graph.ty(*id)).collect();
            return Err(format!("no overload of {name} takes what it is given: {types:?}"));
        };
        let schema = schemas[index].clone();
        let inputs = self.passed(&schema, found.arguments)?;
        let outputs = self.emit(Kind::Operator(schema), inputs, found.returns);
        match outputs[..] {
            [] => Ok(self.constant(Const::None)),
            [output] => Ok(output),
            _ => Ok(self.tuple(outputs)),
        }
    }

    pub(crate) fn passed(
        &mut self,
        schema: &Schema,
        arguments: Vec<Argument>,
    ) -> Done<Vec<ValueId>> {
        arguments.into_iter().map(|argument| self.argument(Some(schema), argument)).collect()
    }

    pub(crate) fn argument(
        &mut self,
        schema: Option<&Schema>,
        argument: Argument,
    ) -> Done<ValueId> {
        Ok(match argument {
            Argument::Given(value) => value,
            Argument::Repeated(value, count, ty) => {
                let items = vec![value; count as usize];
                self.emit_one(Kind::ListConstruct, items, Type::list(ty))
            }
            Argument::Listed(items, ty) => {
                let items: Vec<ValueId> = items
                    .into_iter()
                    .map(|item| self.argument(schema, item))
                    .collect::<Done<_>>()?;
                self.emit_one(Kind::ListConstruct, items, Type::list(ty))
            }
            Argument::Empty(ty) => self.emit_one(Kind::ListConstruct, Vec::new(), Type::list(ty)),
            Argument::TupleAsList(value, ty) => {
                let count = match self.graph.ty(value) {
                    Type::Tuple(items, _) => items.len(),
                    _ => 0,
                };
                let items = self.unpack(value, count)?;
                self.emit_one(Kind::ListConstruct, items, Type::list(ty))
            }
            Argument::Converted(operator, inner, ty) => {
                let inner = self.argument(schema, *inner)?;
                let made = self.operator(operator, &[inner], &[])?;
                if !self.fits(self.graph.ty(made), &ty) {
                    return Err(format!("{operator} gives another type"));
                }
                made
            }
            Argument::Default(index) => {
                let parameter = schema.and_then(|schema| schema.parameters.get(index));
                let parameter = parameter.ok_or("a default is missing")?;
                let constant = parameter.default.clone().unwrap_or(Const::Opaque);
                let ty = match &constant {
                    // `int[2] stride=1`, and an absent optional.
                    Const::Int(_) if matches!(parameter.ty, Type::List(_)) => {
                        let ty = parameter.ty.clone();
                        return Ok(self.graph.value(ty, Some(Const::Opaque)));
                    }
                    Const::Int(_) if parameter.ty == Type::Float => Type::Float,
                    Const::None | Const::Opaque => parameter.ty.clone(),
                    known => type_of(known),
                };
                self.graph.value(ty, Some(constant))
            }
        })
    }

    /// `value` as one of type `ty`.
    pub(crate) fn convert(&mut self, ty: &Type, value: ValueId) -> Done<ValueId> {
        let call = Call { graph: &self.graph, program: self.program, positional: &[], named: &[] };
        // What C++ gives is not known, and checked while it runs.
        if *self.graph.ty(value) == Type::Any {
            return Ok(value);
        }
        let found = call.convert(ty, value, true);
        let found =
            found.ok_or_else(|| format!("{:?} is given for {ty:?}", self.graph.ty(value)))?;
        self.argument(None, found)
    }
}
