//! Functions of an archive as graphs, as PyTorch's compiler makes them when it loads one.

use crate::graph::{Block, Graph, Kind, Node, Place, ValueId};
use crate::matching::{Argument, Call};
use crate::optimize::fold;
use crate::program::{ClassKind, Function, Program, dotted};
use crate::schema::{Const, Parameter, Schema};
use crate::types::Type;
use ruff_python_ast::{Expr, ExprCall, Number, Stmt, StmtFunctionDef, UnaryOp};
use ruff_text_size::{Ranged, TextSize};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Where signatures of operators come from.
pub trait Signatures {
    /// The signatures of the operator `name`, in the order in which they are tried.
    fn of(&self, name: &str) -> Vec<Arc<Schema>>;
}

/// Why a function is not understood.
#[derive(Debug)]
pub struct Problem {
    /// The line of its file.
    pub line: u32,
    /// What is not understood.
    pub reason: String,
}

/// What a name leads to.
enum Reference {
    Value(ValueId),
    /// Dotted, and nothing that the function defined.
    Path(String),
}

/// Compiles one function.
pub struct Compiler<'a> {
    program: &'a Program,
    signatures: &'a dyn Signatures,
    constants: &'a [Type],
    function: &'a Function,
    graph: Graph,
    nodes: Vec<Node>,
    scope: HashMap<String, ValueId>,
    /// Types that names were declared with: what a loop carries under them may be of it.
    declared: HashMap<String, Type>,
    /// Functions in the function, which `fork` runs.
    inner: HashMap<String, &'a StmtFunctionDef>,
    /// What tuples were made of.
    tuples: HashMap<ValueId, Vec<ValueId>>,
    line: u32,
}

type Done<T> = Result<T, String>;

/// Arguments that are given by their names.
type Named = Vec<(String, ValueId)>;

/// What a function takes and gives.
///
/// # Errors
/// What is not understood.
pub fn signature(program: &Program, function: &Function) -> Result<Schema, String> {
    let syntax = &function.syntax;
    let mut parameters = Vec::new();
    for (index, parameter) in syntax.parameters.args.iter().enumerate() {
        let ty = match (&parameter.parameter.annotation, &function.class) {
            (None, Some(class)) if index == 0 => Type::Class(class.clone()),
            (None, _) => Type::Tensor,
            (Some(annotation), _) => program.annotation(annotation)?,
        };
        parameters.push(Parameter {
            name: parameter.parameter.name.to_string(),
            ty,
            repeat: None,
            keyword_only: false,
            default: parameter.default.as_ref().map(|value| literal(value)),
        });
    }
    let returns = match &syntax.returns {
        Some(annotation) => program.annotation(annotation)?,
        None => Type::Any,
    };
    Ok(Schema {
        operator: crate::Operator::new(&function.name, ""),
        parameters,
        variadic: false,
        returns: vec![returns],
        mutates: false,
    })
}

/// A literal; of lists and what is none, that it is a constant.
fn literal(expression: &Expr) -> Const {
    match expression {
        Expr::NoneLiteral(_) => Const::None,
        Expr::BooleanLiteral(literal) => Const::Bool(literal.value),
        Expr::StringLiteral(literal) => Const::Str(literal.value.to_str().into()),
        Expr::NumberLiteral(literal) => match &literal.value {
            Number::Int(number) => number.as_i64().map_or(Const::Opaque, Const::Int),
            Number::Float(number) => Const::Float(*number),
            Number::Complex { .. } => Const::Opaque,
        },
        Expr::UnaryOp(unary) if unary.op == UnaryOp::USub => match literal(&unary.operand) {
            Const::Int(number) => number.checked_neg().map_or(Const::Opaque, Const::Int),
            Const::Float(number) => Const::Float(-number),
            _ => Const::Opaque,
        },
        Expr::Name(name) => match name.id.as_str() {
            "inf" => Const::Float(f64::INFINITY),
            "nan" => Const::Float(f64::NAN),
            _ => Const::Opaque,
        },
        _ => Const::Opaque,
    }
}

/// The type of a constant where nothing else says it.
fn type_of(constant: &Const) -> Type {
    match constant {
        Const::None => Type::None,
        Const::Bool(_) => Type::Bool,
        Const::Int(_) => Type::Int,
        Const::Float(_) => Type::Float,
        Const::Str(_) => Type::Str,
        Const::Tuple(items) => Type::tuple(items.iter().map(type_of).collect()),
        Const::Opaque => Type::Any,
    }
}

impl<'a> Compiler<'a> {
    /// Compiles `function`. `constants` are the types of the archive's table of constants.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn compile(
        program: &'a Program,
        signatures: &'a dyn Signatures,
        constants: &'a [Type],
        function: &'a Function,
    ) -> Result<Graph, Problem> {
        let line = program.line(function.file, function.syntax.range().start());
        let mut compiler = Self {
            program,
            signatures,
            constants,
            function,
            graph: Graph::default(),
            nodes: Vec::new(),
            scope: HashMap::new(),
            declared: HashMap::new(),
            inner: HashMap::new(),
            tuples: HashMap::new(),
            line,
        };
        match compiler.whole() {
            Ok(graph) => Ok(graph),
            Err(reason) => Err(Problem { line: compiler.line, reason }),
        }
    }

    fn whole(&mut self) -> Done<Graph> {
        let signature = signature(self.program, self.function)?;
        for parameter in signature.parameters {
            let id = self.graph.value(parameter.ty, None);
            self.graph.body.inputs.push(id);
            self.scope.insert(parameter.name, id);
        }
        let returned = self.block(&self.function.syntax.body)?;
        let returned = match returned {
            Some(value) => self.convert(&signature.returns[0], value)?,
            None => self.constant(Const::None),
        };
        let mut graph = std::mem::take(&mut self.graph);
        graph.body.nodes = std::mem::take(&mut self.nodes);
        graph.body.outputs = vec![returned];
        fold(&mut graph);
        Ok(graph)
    }

    fn constant(&mut self, constant: Const) -> ValueId {
        self.graph.value(type_of(&constant), Some(constant))
    }

    fn emit(&mut self, kind: Kind, inputs: Vec<ValueId>, types: Vec<Type>) -> Vec<ValueId> {
        self.emit_blocks(kind, inputs, types, Vec::new())
    }

    fn emit_blocks(
        &mut self,
        kind: Kind,
        inputs: Vec<ValueId>,
        types: Vec<Type>,
        blocks: Vec<Block>,
    ) -> Vec<ValueId> {
        let outputs: Vec<ValueId> =
            types.into_iter().map(|ty| self.graph.value(ty, None)).collect();
        let place = Place { function: self.function.name.clone(), line: self.line };
        self.nodes.push(Node { kind, inputs, outputs: outputs.clone(), blocks, place });
        outputs
    }

    fn emit_one(&mut self, kind: Kind, inputs: Vec<ValueId>, ty: Type) -> ValueId {
        self.emit(kind, inputs, vec![ty])[0]
    }

    fn tuple(&mut self, items: Vec<ValueId>) -> ValueId {
        let ty = Type::tuple(items.iter().map(|id| self.graph.ty(*id).clone()).collect());
        let tuple = self.emit_one(Kind::TupleConstruct, items.clone(), ty);
        self.tuples.insert(tuple, items);
        tuple
    }

    fn implements(&self, class: &str, interface: &str) -> bool {
        self.program.implements(class, interface)
    }

    fn fits(&self, one: &Type, other: &Type) -> bool {
        one.is_subtype(other, &|class, interface| self.implements(class, interface))
    }

    fn unify(&self, one: &Type, other: &Type) -> Option<Type> {
        one.unify(other, &|class, interface| self.implements(class, interface))
    }

    // Statements.

    /// Compiles statements; gives what they return.
    fn block(&mut self, statements: &'a [Stmt]) -> Done<Option<ValueId>> {
        for (index, statement) in statements.iter().enumerate() {
            self.at(statement.range().start());
            if let Stmt::Return(statement) = statement {
                if index + 1 != statements.len() {
                    return Err("something stands behind a return".into());
                }
                return match &statement.value {
                    Some(value) => self.expression(value, None).map(Some),
                    None => Ok(None),
                };
            }
            self.statement(statement)?;
        }
        Ok(None)
    }

    fn at(&mut self, place: TextSize) {
        self.line = self.program.line(self.function.file, place);
    }

    /// Compiles statements that return nothing, as the nodes of a block of their own.
    fn nested(&mut self, statements: &'a [Stmt]) -> Done<Block> {
        let outer = std::mem::take(&mut self.nodes);
        let done = self.block(statements);
        let nodes = std::mem::replace(&mut self.nodes, outer);
        if done?.is_some() {
            return Err("a part of a function returns".into());
        }
        Ok(Block { nodes, ..Block::default() })
    }

    fn statement(&mut self, statement: &'a Stmt) -> Done<()> {
        match statement {
            Stmt::Pass(_) => Ok(()),
            Stmt::Expr(expression) => self.expression(&expression.value, None).map(drop),
            Stmt::Assign(assign) => match &assign.targets[..] {
                [target] => self.assign(target, &assign.value),
                _ => Err("a value is given to several".into()),
            },
            Stmt::AnnAssign(assign) => {
                let ty = self.program.annotation(&assign.annotation)?;
                let value = assign.value.as_ref().ok_or("a name is declared")?;
                let value = self.expression_as(value, &ty)?;
                if let Expr::Name(name) = &*assign.target {
                    self.declared.insert(name.id.to_string(), ty);
                }
                self.bind(&assign.target, value)
            }
            Stmt::If(branch) => {
                let [last] = &branch.elif_else_clauses[..] else {
                    if branch.elif_else_clauses.is_empty() {
                        return self.branch(&branch.test, &branch.body, &[]);
                    }
                    return Err("there is an elif".into());
                };
                if last.test.is_some() {
                    return Err("there is an elif".into());
                }
                self.branch(&branch.test, &branch.body, &last.body)
            }
            Stmt::For(repeat) => {
                let count = match &*repeat.iter {
                    Expr::Call(call) if dotted(&call.func).as_deref() == Some("range") => {
                        match &*call.arguments.args {
                            [count] => self.expression(count, None)?,
                            _ => return Err("range has other than one argument".into()),
                        }
                    }
                    _ => return Err("a loop is over something else than a range".into()),
                };
                let count = self.convert(&Type::Int, count)?;
                let first = self.constant(Const::Bool(true));
                let index = self.graph.value(Type::Int, None);
                self.repeat(count, first, index, Some(&repeat.target), &repeat.body, None)
            }
            Stmt::While(repeat) => {
                let most = self.constant(Const::Int(i64::MAX));
                let first = self.condition(&repeat.test)?;
                let index = self.graph.value(Type::Int, None);
                self.repeat(most, first, index, None, &repeat.body, Some(&repeat.test))
            }
            Stmt::With(with) => {
                let [item] = &with.items[..] else {
                    return Err("a with statement has several contexts".into());
                };
                let context = self.expression(&item.context_expr, None)?;
                let Type::Class(class) = self.graph.ty(context).clone() else {
                    return Err("a context is no object".into());
                };
                let entered = self.returns_of(&format!("{class}.__enter__"))?;
                let entered = self.emit_one(Kind::Enter(class), vec![context], entered);
                if let Some(target) = &item.optional_vars {
                    self.bind(target, entered)?;
                }
                if self.block(&with.body)?.is_some() {
                    return Err("a with statement returns".into());
                }
                self.emit(Kind::Exit, vec![context], vec![Type::Any]);
                Ok(())
            }
            Stmt::FunctionDef(inner) => {
                self.inner.insert(inner.name.to_string(), inner);
                Ok(())
            }
            _ => Err("a statement is none that PyTorch writes".into()),
        }
    }

    fn returns_of(&self, name: &str) -> Done<Type> {
        match self.program.functions.get(name) {
            Some(function) => Ok(signature(self.program, function)?.returns.swap_remove(0)),
            None => Ok(Type::Any),
        }
    }

    fn condition(&mut self, test: &'a Expr) -> Done<ValueId> {
        let value = self.expression(test, None)?;
        if *self.graph.ty(value) == Type::Bool {
            return Ok(value);
        }
        self.operator("aten::Bool", &[value], &[])
    }

    fn branch(&mut self, test: &'a Expr, then: &'a [Stmt], other: &'a [Stmt]) -> Done<()> {
        let condition = self.condition(test)?;
        let before = self.scope.clone();
        let then = self.nested(then)?;
        let after_then = std::mem::replace(&mut self.scope, before.clone());
        let other = self.nested(other)?;
        let after_other = std::mem::replace(&mut self.scope, before);
        let (mut then, mut other, mut joined) = (then, other, Vec::new());
        let names: BTreeSet<&String> = after_then.keys().chain(after_other.keys()).collect();
        for name in names {
            let (Some(one), Some(two)) = (after_then.get(name), after_other.get(name)) else {
                // Only one of the two knows it: nothing after uses it.
                self.scope.remove(name);
                continue;
            };
            if one == two {
                continue;
            }
            let (one_is, two_is) = (self.graph.ty(*one).clone(), self.graph.ty(*two).clone());
            let Some(ty) = self.unify(&one_is, &two_is) else {
                self.scope.remove(name);
                continue;
            };
            then.outputs.push(*one);
            other.outputs.push(*two);
            joined.push((name.clone(), ty));
        }
        let types = joined.iter().map(|(_, ty)| ty.clone()).collect();
        let outputs = self.emit_blocks(Kind::If, vec![condition], types, vec![then, other]);
        for ((name, _), output) in joined.into_iter().zip(outputs) {
            self.scope.insert(name, output);
        }
        Ok(())
    }

    fn repeat(
        &mut self,
        count: ValueId,
        first: ValueId,
        index: ValueId,
        target: Option<&'a Expr>,
        body: &'a [Stmt],
        test: Option<&'a Expr>,
    ) -> Done<()> {
        let mut assigned = BTreeSet::new();
        names_set(body, &mut assigned);
        let carried: Vec<(String, ValueId)> = assigned
            .into_iter()
            .filter_map(|name| {
                let value = *self.scope.get(&name)?;
                Some((name, value))
            })
            .collect();
        let before = self.scope.clone();
        let mut inputs = vec![index];
        let mut types = Vec::new();
        for (name, value) in &carried {
            let ty = self.declared.get(name).unwrap_or_else(|| self.graph.ty(*value)).clone();
            types.push(ty.clone());
            let inside = self.graph.value(ty, None);
            inputs.push(inside);
            self.scope.insert(name.clone(), inside);
        }
        let outer = std::mem::take(&mut self.nodes);
        let done = self.loop_body(index, target, body, test, &carried, &types);
        let nodes = std::mem::replace(&mut self.nodes, outer);
        self.scope = before;
        let block = Block { inputs, nodes, outputs: done? };
        let mut given = vec![count, first];
        given.extend(carried.iter().map(|(_, value)| *value));
        let outputs = self.emit_blocks(Kind::Loop, given, types, vec![block]);
        for ((name, _), output) in carried.into_iter().zip(outputs) {
            self.scope.insert(name, output);
        }
        Ok(())
    }

    fn loop_body(
        &mut self,
        index: ValueId,
        target: Option<&'a Expr>,
        body: &'a [Stmt],
        test: Option<&'a Expr>,
        carried: &[(String, ValueId)],
        types: &[Type],
    ) -> Done<Vec<ValueId>> {
        if let Some(target) = target {
            self.bind(target, index)?;
        }
        if self.block(body)?.is_some() {
            return Err("a loop returns".into());
        }
        let again = match test {
            Some(test) => self.condition(test)?,
            None => self.constant(Const::Bool(true)),
        };
        let mut outputs = vec![again];
        for ((name, _), ty) in carried.iter().zip(types) {
            let now = *self.scope.get(name).ok_or_else(|| format!("{name} is lost in a loop"))?;
            outputs.push(self.convert(ty, now)?);
        }
        Ok(outputs)
    }

    fn assign(&mut self, target: &'a Expr, value: &'a Expr) -> Done<()> {
        match (target, value) {
            // `a, b = c, d`, all of which are evaluated before one is set.
            (Expr::Tuple(targets), Expr::Tuple(values))
                if targets.elts.len() == values.elts.len() =>
            {
                let values: Vec<ValueId> = values
                    .elts
                    .iter()
                    .map(|value| self.expression(value, None))
                    .collect::<Done<_>>()?;
                targets
                    .elts
                    .iter()
                    .zip(values)
                    .try_for_each(|(target, value)| self.bind(target, value))
            }
            _ => {
                let value = self.expression(value, None)?;
                self.bind(target, value)
            }
        }
    }

    fn bind(&mut self, target: &'a Expr, value: ValueId) -> Done<()> {
        match target {
            Expr::Name(name) => {
                self.scope.insert(name.id.to_string(), value);
                Ok(())
            }
            Expr::Attribute(attribute) => {
                let object = self.expression(&attribute.value, None)?;
                let Type::Class(class) = self.graph.ty(object).clone() else {
                    return Err("an attribute is set of what is no object".into());
                };
                let ty = self.attribute_type(&class, attribute.attr.as_str())?;
                let value = self.convert(&ty, value)?;
                self.emit(Kind::SetAttribute, vec![object, value], Vec::new());
                Ok(())
            }
            Expr::Tuple(targets) => {
                let items = self.unpack(value, targets.elts.len())?;
                targets
                    .elts
                    .iter()
                    .zip(items)
                    .try_for_each(|(target, item)| self.bind(target, item))
            }
            _ => Err("something is given to what is no name".into()),
        }
    }

    fn unpack(&mut self, value: ValueId, count: usize) -> Done<Vec<ValueId>> {
        if let Some(items) = self.tuples.get(&value) {
            if items.len() != count {
                return Err("a tuple has other items than names".into());
            }
            return Ok(items.clone());
        }
        match self.graph.ty(value).clone() {
            Type::Tuple(items, _) if items.len() == count => {
                Ok(self.emit(Kind::TupleUnpack, vec![value], items.to_vec()))
            }
            Type::List(item) => {
                Ok(self.emit(Kind::ListUnpack, vec![value], vec![(*item).clone(); count]))
            }
            _ => Err("what is unpacked is neither a tuple nor a list".into()),
        }
    }

    // Expressions.

    fn expression(&mut self, expression: &'a Expr, hint: Option<&Type>) -> Done<ValueId> {
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
    fn expression_as(&mut self, expression: &'a Expr, ty: &Type) -> Done<ValueId> {
        let value = self.expression(expression, Some(ty))?;
        if let (Some(Const::None), Type::Optional(_)) = (self.graph.constant(value), ty) {
            return Ok(self.graph.value(ty.clone(), Some(Const::None)));
        }
        self.convert(ty, value)
    }

    fn reference(&mut self, expression: &'a Expr) -> Done<Reference> {
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
    fn path(&mut self, path: &str) -> Done<ValueId> {
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

    fn attribute_type(&self, class: &str, name: &str) -> Done<Type> {
        let known = self.program.classes.get(class);
        let known = known.ok_or_else(|| format!("the class {class} is not known"))?;
        match known.attributes.iter().find(|(attribute, _)| attribute == name) {
            Some((_, annotation)) => self.program.annotation(annotation),
            None => Err(format!("{class} has no attribute {name}")),
        }
    }

    fn attribute(&mut self, object: ValueId, name: &str) -> Done<ValueId> {
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

    fn list(&mut self, items: &'a [Expr], hint: Option<Type>) -> Done<ValueId> {
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

    fn dict(&mut self, dict: &'a ruff_python_ast::ExprDict, hint: Option<&Type>) -> Done<ValueId> {
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

    fn subscript(&mut self, value: &'a Expr, index: &'a Expr) -> Done<ValueId> {
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

    fn call(&mut self, call: &'a ExprCall, hint: Option<&Type>) -> Done<ValueId> {
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

    fn arguments(&mut self, call: &'a ExprCall) -> Done<(Vec<ValueId>, Named)> {
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

    fn method(
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
    fn matched(
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

    fn function(
        &mut self,
        name: &Arc<str>,
        positional: &[ValueId],
        named: &[(String, ValueId)],
    ) -> Done<ValueId> {
        let (inputs, ty) = self.matched(name, positional, named)?;
        Ok(self.emit_one(Kind::Call(name.clone()), inputs, ty))
    }

    fn call_path(&mut self, path: &str, call: &'a ExprCall) -> Done<ValueId> {
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

    fn is_instance(&mut self, value: &'a Expr, types: &'a Expr) -> Done<ValueId> {
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

    fn fork(&mut self, function: &'a Expr) -> Done<ValueId> {
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
    fn operator(
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

    fn passed(&mut self, schema: &Schema, arguments: Vec<Argument>) -> Done<Vec<ValueId>> {
        arguments.into_iter().map(|argument| self.argument(Some(schema), argument)).collect()
    }

    fn argument(&mut self, schema: Option<&Schema>, argument: Argument) -> Done<ValueId> {
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
    fn convert(&mut self, ty: &Type, value: ValueId) -> Done<ValueId> {
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

/// The names that statements set.
fn names_set(statements: &[Stmt], names: &mut BTreeSet<String>) {
    fn target(expression: &Expr, names: &mut BTreeSet<String>) {
        match expression {
            Expr::Name(name) => {
                names.insert(name.id.to_string());
            }
            Expr::Tuple(tuple) => tuple.elts.iter().for_each(|item| target(item, names)),
            _ => {}
        }
    }
    for statement in statements {
        match statement {
            Stmt::Assign(assign) => assign.targets.iter().for_each(|one| target(one, names)),
            Stmt::AnnAssign(assign) => target(&assign.target, names),
            Stmt::For(repeat) => {
                target(&repeat.target, names);
                names_set(&repeat.body, names);
            }
            Stmt::While(repeat) => names_set(&repeat.body, names),
            Stmt::With(with) => {
                with.items
                    .iter()
                    .filter_map(|item| item.optional_vars.as_deref())
                    .for_each(|one| target(one, names));
                names_set(&with.body, names);
            }
            Stmt::If(branch) => {
                names_set(&branch.body, names);
                branch.elif_else_clauses.iter().for_each(|clause| names_set(&clause.body, names));
            }
            _ => {}
        }
    }
}
