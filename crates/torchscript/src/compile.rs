//! Functions of an archive as graphs, as PyTorch's compiler makes them when it loads one.

use crate::graph::{Block, Graph, Kind, Node, Place, ValueId};
use crate::optimize::fold;
use crate::program::{Function, Program, dotted};
use ruff_python_ast::{Expr, Number, Stmt, StmtFunctionDef, UnaryOp};
use ruff_text_size::{Ranged, TextSize};
use schema::{Const, Operator, Parameter, Schema, Signatures, Type};
use std::collections::{BTreeSet, HashMap};

/// Why a function is not understood.
#[derive(Debug)]
pub struct Problem {
    /// The line of its file.
    pub line: u32,
    /// What is not understood.
    pub reason: String,
}

/// What a name leads to.
pub(crate) enum Reference {
    Value(ValueId),
    /// Dotted, and nothing that the function defined.
    Path(String),
}

/// Compiles one function.
pub struct Compiler<'a> {
    pub(crate) program: &'a Program,
    pub(crate) signatures: &'a dyn Signatures,
    pub(crate) constants: &'a [Type],
    pub(crate) function: &'a Function,
    pub(crate) graph: Graph,
    pub(crate) nodes: Vec<Node>,
    pub(crate) scope: HashMap<String, ValueId>,
    /// Types that names were declared with: what a loop carries under them may be of it.
    pub(crate) declared: HashMap<String, Type>,
    /// Functions in the function, which `fork` runs.
    pub(crate) inner: HashMap<String, &'a StmtFunctionDef>,
    /// What tuples were made of.
    pub(crate) tuples: HashMap<ValueId, Vec<ValueId>>,
    pub(crate) line: u32,
}

pub(crate) type Done<T> = Result<T, String>;

/// Arguments that are given by their names.
pub(crate) type Named = Vec<(String, ValueId)>;

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
        operator: Operator::new(&function.name, ""),
        parameters,
        variadic: false,
        returns: vec![returns],
        mutates: false,
    })
}

/// A literal; of lists and what is none, that it is a constant.
pub(crate) fn literal(expression: &Expr) -> Const {
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
pub(crate) fn type_of(constant: &Const) -> Type {
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

    pub(crate) fn whole(&mut self) -> Done<Graph> {
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

    pub(crate) fn constant(&mut self, constant: Const) -> ValueId {
        self.graph.value(type_of(&constant), Some(constant))
    }

    pub(crate) fn emit(
        &mut self,
        kind: Kind,
        inputs: Vec<ValueId>,
        types: Vec<Type>,
    ) -> Vec<ValueId> {
        self.emit_blocks(kind, inputs, types, Vec::new())
    }

    pub(crate) fn emit_blocks(
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

    pub(crate) fn emit_one(&mut self, kind: Kind, inputs: Vec<ValueId>, ty: Type) -> ValueId {
        self.emit(kind, inputs, vec![ty])[0]
    }

    pub(crate) fn tuple(&mut self, items: Vec<ValueId>) -> ValueId {
        let ty = Type::tuple(items.iter().map(|id| self.graph.ty(*id).clone()).collect());
        let tuple = self.emit_one(Kind::TupleConstruct, items.clone(), ty);
        self.tuples.insert(tuple, items);
        tuple
    }

    pub(crate) fn implements(&self, class: &str, interface: &str) -> bool {
        self.program.implements(class, interface)
    }

    pub(crate) fn fits(&self, one: &Type, other: &Type) -> bool {
        one.is_subtype(other, &|class, interface| self.implements(class, interface))
    }

    pub(crate) fn unify(&self, one: &Type, other: &Type) -> Option<Type> {
        one.unify(other, &|class, interface| self.implements(class, interface))
    }

    // Statements.

    /// Compiles statements; gives what they return.
    pub(crate) fn block(&mut self, statements: &'a [Stmt]) -> Done<Option<ValueId>> {
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

    pub(crate) fn at(&mut self, place: TextSize) {
        self.line = self.program.line(self.function.file, place);
    }

    /// Compiles statements that return nothing, as the nodes of a block of their own.
    pub(crate) fn nested(&mut self, statements: &'a [Stmt]) -> Done<Block> {
        let outer = std::mem::take(&mut self.nodes);
        let done = self.block(statements);
        let nodes = std::mem::replace(&mut self.nodes, outer);
        if done?.is_some() {
            return Err("a part of a function returns".into());
        }
        Ok(Block { nodes, ..Block::default() })
    }

    pub(crate) fn statement(&mut self, statement: &'a Stmt) -> Done<()> {
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

    pub(crate) fn returns_of(&self, name: &str) -> Done<Type> {
        match self.program.functions.get(name) {
            Some(function) => Ok(signature(self.program, function)?.returns.swap_remove(0)),
            None => Ok(Type::Any),
        }
    }

    pub(crate) fn condition(&mut self, test: &'a Expr) -> Done<ValueId> {
        let value = self.expression(test, None)?;
        if *self.graph.ty(value) == Type::Bool {
            return Ok(value);
        }
        self.operator("aten::Bool", &[value], &[])
    }

    pub(crate) fn branch(
        &mut self,
        test: &'a Expr,
        then: &'a [Stmt],
        other: &'a [Stmt],
    ) -> Done<()> {
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

    pub(crate) fn repeat(
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

    pub(crate) fn loop_body(
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

    pub(crate) fn assign(&mut self, target: &'a Expr, value: &'a Expr) -> Done<()> {
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

    pub(crate) fn bind(&mut self, target: &'a Expr, value: ValueId) -> Done<()> {
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

    pub(crate) fn unpack(&mut self, value: ValueId, count: usize) -> Done<Vec<ValueId>> {
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
