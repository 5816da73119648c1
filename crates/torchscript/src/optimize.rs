//! What PyTorch leaves out of a function's graph before it looks for operators.
//!
//! A function that is called is put in the caller's place after these have run over it, each
//! once and in this order: simplifications by type, folding of constants, removal of what is
//! not used. The function that a user calls is only folded by itself. What is left out here
//! PyTorch leaves out, too: where in doubt, an operator stays.

use crate::fold::fold_operator;
use crate::graph::{Block, Graph, Kind, Node, ValueId};
use schema::{Const, Type};
use std::collections::HashMap;

/// Values that other values stand for.
#[derive(Default)]
struct Replaced(HashMap<ValueId, ValueId>);

impl Replaced {
    fn by(&mut self, old: ValueId, new: ValueId) {
        let new = self.of(new);
        if old != new {
            self.0.insert(old, new);
        }
    }

    fn of(&self, mut id: ValueId) -> ValueId {
        while let Some(next) = self.0.get(&id) {
            id = *next;
        }
        id
    }

    fn all(&self, ids: &mut [ValueId]) {
        for id in ids {
            *id = self.of(*id);
        }
    }

    fn apply(&self, block: &mut Block) {
        self.all(&mut block.outputs);
        for node in &mut block.nodes {
            self.all(&mut node.inputs);
            node.blocks.iter_mut().for_each(|block| self.apply(block));
        }
    }
}

/// What PyTorch does to a function that others call.
pub fn optimize(graph: &mut Graph) {
    if simplify(graph) {
        remove_dead(graph);
    }
    fold(graph);
}

/// Replaces what only depends on constants, and branches that are never taken.
pub fn fold(graph: &mut Graph) {
    let mut body = std::mem::take(&mut graph.body);
    let mut folding = Folding { graph, replaced: Replaced::default(), changed: false };
    folding.block(&mut body);
    folding.replaced.apply(&mut body);
    let changed = folding.changed;
    graph.body = body;
    if changed {
        remove_dead(graph);
    }
}

struct Folding<'a> {
    graph: &'a mut Graph,
    replaced: Replaced,
    changed: bool,
}

impl Folding<'_> {
    fn block(&mut self, block: &mut Block) {
        for mut node in std::mem::take(&mut block.nodes) {
            self.replaced.all(&mut node.inputs);
            match node.kind {
                Kind::If => self.branch(node, &mut block.nodes),
                Kind::Loop => self.repeat(node, &mut block.nodes),
                _ => {
                    if !self.constant(&node) {
                        node.blocks.iter_mut().for_each(|block| self.block(block));
                    }
                    block.nodes.push(node);
                }
            }
        }
        self.replaced.all(&mut block.outputs);
    }

    fn branch(&mut self, mut node: Node, into: &mut Vec<Node>) {
        if let Some(Const::Bool(taken)) = self.graph.constant(node.inputs[0]) {
            let mut taken = node.blocks.swap_remove(usize::from(!taken));
            self.block(&mut taken);
            into.append(&mut taken.nodes);
            for (old, new) in node.outputs.iter().zip(&taken.outputs) {
                self.replaced.by(*old, *new);
            }
            self.changed = true;
            return;
        }
        node.blocks.iter_mut().for_each(|block| self.block(block));
        let mut index = 0;
        while index < node.outputs.len() {
            let (one, two) = (node.blocks[0].outputs[index], node.blocks[1].outputs[index]);
            let constants = (self.graph.constant(one), self.graph.constant(two));
            let same = match constants {
                (Some(Const::Opaque), _) => false,
                (Some(one_is), Some(two_is)) => {
                    one_is == two_is && self.graph.ty(one) == self.graph.ty(two)
                }
                _ => false,
            };
            if one == two || same {
                self.replaced.by(node.outputs[index], one);
                node.outputs.remove(index);
                node.blocks.iter_mut().for_each(|block| {
                    block.outputs.remove(index);
                });
                self.changed = true;
            } else {
                index += 1;
            }
        }
        into.push(node);
    }

    fn repeat(&mut self, mut node: Node, into: &mut Vec<Node>) {
        let count = self.graph.constant(node.inputs[0]);
        let never = matches!(count, Some(Const::Int(count)) if *count <= 0)
            || self.graph.constant(node.inputs[1]) == Some(&Const::Bool(false));
        if never {
            for (old, new) in node.outputs.iter().zip(&node.inputs[2..]) {
                self.replaced.by(*old, *new);
            }
            self.changed = true;
            return;
        }
        self.block(&mut node.blocks[0]);
        let body = &mut node.blocks[0];
        for index in (0..node.outputs.len()).rev() {
            if body.inputs[1 + index] == body.outputs[1 + index] {
                let before = node.inputs[2 + index];
                self.replaced.by(node.outputs[index], before);
                self.replaced.by(body.inputs[1 + index], before);
                node.outputs.remove(index);
                node.inputs.remove(2 + index);
                body.inputs.remove(1 + index);
                body.outputs.remove(1 + index);
                self.changed = true;
            }
        }
        into.push(node);
    }

    /// Works out the outputs of a node whose inputs are known.
    fn constant(&mut self, node: &Node) -> bool {
        let known: Option<Vec<Const>> =
            node.inputs.iter().map(|id| self.graph.constant(*id).cloned()).collect();
        let Some(known) = known else { return false };
        let types = node.inputs.iter().chain(&node.outputs).map(|id| self.graph.ty(*id));
        if node.has_effects() || types.into_iter().any(Type::is_mutable) {
            return false;
        }
        let results = match &node.kind {
            Kind::Operator(schema) => {
                fold_operator(&schema.operator.name, &known).map(|result| vec![result])
            }
            Kind::TupleConstruct => Some(vec![Const::Tuple(known.into())]),
            Kind::TupleUnpack => match &known[..] {
                [Const::Tuple(items)] => Some(items.to_vec()),
                _ => None,
            },
            Kind::TupleIndex => match &known[..] {
                [Const::Tuple(items), Const::Int(at)] => {
                    let at = if *at < 0 { at + items.len() as i64 } else { *at };
                    usize::try_from(at).ok().and_then(|at| Some(vec![items.get(at)?.clone()]))
                }
                _ => None,
            },
            Kind::Cast => Some(known),
            _ => None,
        };
        let Some(results) = results.filter(|results| results.len() == node.outputs.len()) else {
            return false;
        };
        for (output, result) in node.outputs.iter().zip(results) {
            let ty = self.graph.ty(*output).clone();
            let constant = self.graph.value(ty, Some(result));
            self.replaced.by(*output, constant);
        }
        self.changed = true;
        true
    }
}

/// Simplifies by types alone. Says whether anything changed.
fn simplify(graph: &mut Graph) -> bool {
    let mut body = std::mem::take(&mut graph.body);
    let lists = Lists::of(&body);
    let mut simple = Simplifying { graph, replaced: Replaced::default(), changed: false, lists };
    simple.lists_in(&mut body);
    simple.replaced.apply(&mut body);
    simple.ranks(&body, HashMap::new());
    simple.replaced.apply(&mut body);
    simple.block(&mut body);
    simple.replaced.apply(&mut body);
    let changed = simple.changed;
    graph.body = body;
    changed
}

/// Lists that are written down and that nothing can change.
#[derive(Default)]
struct Lists {
    made: HashMap<ValueId, Vec<ValueId>>,
}

impl Lists {
    fn of(body: &Block) -> Self {
        let mut made = HashMap::new();
        body.each(&mut |node| {
            if let (Kind::ListConstruct, [output]) = (&node.kind, &node.outputs[..]) {
                made.insert(*output, node.inputs.clone());
            }
        });
        let mut lists = Self { made };
        lists.forget_changed(body);
        lists
    }

    fn forget_changed(&mut self, block: &Block) {
        for output in &block.outputs {
            self.made.remove(output);
        }
        for node in &block.nodes {
            let harmless = match &node.kind {
                Kind::Operator(schema) => {
                    !schema.mutates
                        && !node.has_effects()
                        && schema.returns.iter().all(|ty| {
                            matches!(ty, Type::Tensor | Type::Int | Type::Bool | Type::Float)
                                || schema.operator.name == "aten::__getitem__"
                        })
                }
                Kind::ListUnpack => true,
                _ => false,
            };
            if !harmless {
                for input in &node.inputs {
                    self.made.remove(input);
                }
            }
            node.blocks.iter().for_each(|block| self.forget_changed(block));
        }
    }
}

struct Simplifying<'a> {
    graph: &'a mut Graph,
    replaced: Replaced,
    changed: bool,
    lists: Lists,
}

impl Simplifying<'_> {
    /// What is asked of lists that are written down.
    fn lists_in(&mut self, block: &mut Block) {
        for node in &mut block.nodes {
            self.replaced.all(&mut node.inputs);
            let Some(items) = node.inputs.first().and_then(|list| self.lists.made.get(list)) else {
                node.blocks.iter_mut().for_each(|block| self.lists_in(block));
                continue;
            };
            let items = items.clone();
            match &node.kind {
                Kind::Operator(schema) if schema.operator.name == "aten::len" => {
                    let length = Some(Const::Int(items.len() as i64));
                    let length = self.graph.value(Type::Int, length);
                    self.replaced.by(node.outputs[0], length);
                    self.changed = true;
                }
                Kind::Operator(schema) if schema.operator.name == "aten::__getitem__" => {
                    if let Some(Const::Int(at)) = self.graph.constant(node.inputs[1]) {
                        let at = if *at < 0 { at + items.len() as i64 } else { *at };
                        let item = usize::try_from(at).ok().and_then(|at| items.get(at));
                        if let Some(item) = item {
                            self.replaced.by(node.outputs[0], *item);
                            self.changed = true;
                        }
                    }
                }
                Kind::ListUnpack if items.len() == node.outputs.len() => {
                    for (old, new) in node.outputs.iter().zip(&items) {
                        self.replaced.by(*old, *new);
                    }
                    self.changed = true;
                }
                _ => {}
            }
        }
        self.replaced.all(&mut block.outputs);
    }

    /// What a convolution gives has as many dimensions as it says, until something changes it.
    fn ranks(&mut self, block: &Block, mut known: HashMap<ValueId, i64>) {
        for node in &block.nodes {
            if node.may_change() {
                known.clear();
            }
            if let Kind::Operator(schema) = &node.kind {
                let rank = match schema.operator.name.as_str() {
                    "aten::conv1d" => Some(3),
                    "aten::conv2d" => Some(4),
                    "aten::conv3d" => Some(5),
                    "aten::dim" => {
                        if let Some(rank) = known.get(&node.inputs[0]) {
                            let rank = self.graph.value(Type::Int, Some(Const::Int(*rank)));
                            self.replaced.by(node.outputs[0], rank);
                            self.changed = true;
                        }
                        None
                    }
                    _ => None,
                };
                known.extend(rank.map(|rank| (node.outputs[0], rank)));
            }
            for block in &node.blocks {
                self.ranks(block, known.clone());
            }
        }
    }

    fn block(&mut self, block: &mut Block) {
        for node in &mut block.nodes {
            self.replaced.all(&mut node.inputs);
            node.blocks.iter_mut().for_each(|block| self.block(block));
            for output in &node.outputs {
                if *self.graph.ty(*output) == Type::None {
                    let none = self.graph.value(Type::None, Some(Const::None));
                    self.replaced.by(*output, none);
                    self.changed = true;
                }
            }
            let replacement = match &node.kind {
                Kind::If => {
                    self.branch(node);
                    None
                }
                Kind::Cast => {
                    let (from, to) = (node.inputs[0], node.outputs[0]);
                    let fits = self.graph.ty(from).is_subtype(self.graph.ty(to), &|_, _| false);
                    fits.then_some(from)
                }
                Kind::Operator(schema) => {
                    let name = schema.operator.name.clone();
                    self.operator(&name, node)
                }
                _ => None,
            };
            if let (Some(replacement), [output]) = (replacement, &node.outputs[..]) {
                self.replaced.by(*output, replacement);
                self.changed = true;
            }
        }
        self.replaced.all(&mut block.outputs);
    }

    fn branch(&mut self, node: &Node) {
        for (index, output) in node.outputs.iter().enumerate() {
            let (one, two) = (node.blocks[0].outputs[index], node.blocks[1].outputs[index]);
            let known = (self.graph.constant(one), self.graph.constant(two));
            if let (Some(Const::Bool(true)), Some(Const::Bool(false))) = known {
                self.replaced.by(*output, node.inputs[0]);
                self.changed = true;
            }
            let optional = |id| matches!(self.graph.ty(id), Type::Optional(_));
            if optional(*output) && !optional(one) && !optional(two) {
                let unified = self.graph.ty(one).unify(self.graph.ty(two), &|_, _| false);
                if let Some(unified) = unified {
                    self.graph.values[*output as usize].ty = unified;
                    self.changed = true;
                }
            }
        }
    }

    fn operator(&mut self, name: &str, node: &Node) -> Option<ValueId> {
        let graph = &mut *self.graph;
        match (name, &node.inputs[..]) {
            ("aten::__is__" | "aten::__isnot__", [one, two]) => {
                let apart = |none: ValueId, other: ValueId| {
                    graph.must_be_none(none) && !graph.ty(other).may_be_none()
                };
                let apart = apart(*one, *two) || apart(*two, *one);
                apart.then(|| graph.value(Type::Bool, Some(Const::Bool(name == "aten::__isnot__"))))
            }
            ("aten::_unwrap_optional", [one]) => (!graph.ty(*one).may_be_none()).then_some(*one),
            ("aten::Int" | "aten::ceil", [one]) => (*graph.ty(*one) == Type::Int).then_some(*one),
            ("aten::eq" | "aten::ne", [one, two]) if one == two => {
                let safe =
                    |ty: &Type| matches!(ty, Type::Bool | Type::Int | Type::Float | Type::None);
                let safe = match graph.ty(*one) {
                    Type::List(item) => safe(item),
                    other => safe(other),
                };
                safe.then(|| graph.value(Type::Bool, Some(Const::Bool(name == "aten::eq"))))
            }
            (
                "aten::mul" | "aten::floordiv" | "aten::div" | "aten::add" | "aten::sub",
                [one, two],
            ) if *graph.ty(*one) == Type::Int && *graph.ty(*two) == Type::Int => {
                let neutral = i64::from(!matches!(name, "aten::add" | "aten::sub"));
                let is = |id: ValueId| graph.constant(id) == Some(&Const::Int(neutral));
                if is(*two) {
                    // The quotient of two integers is a float.
                    let output = *graph.ty(node.outputs[0]) == Type::Int;
                    output.then_some(*one)
                } else if is(*one) && matches!(name, "aten::mul" | "aten::add") {
                    Some(*two)
                } else {
                    None
                }
            }
            _ => None,
        }
    }
}

/// Removes nodes whose outputs nothing uses.
fn remove_dead(graph: &mut Graph) {
    let mut live = vec![false; graph.values.len()];
    graph.body.outputs.iter().for_each(|id| live[*id as usize] = true);
    mark(&graph.body, &mut live);
    sweep(&mut graph.body, &live);
}

fn is_live(node: &Node, live: &[bool]) -> bool {
    node.outputs.iter().any(|id| live[*id as usize]) || node.has_effects()
}

fn mark(block: &Block, live: &mut [bool]) {
    for node in
        block.nodes.iter().rev().filter(|node| {
            !node.outputs.is_empty() || !node.blocks.is_empty() || node.has_effects()
        })
    {
        if !is_live(node, live) {
            continue;
        }
        node.inputs.iter().for_each(|id| live[*id as usize] = true);
        for block in &node.blocks {
            block.outputs.iter().for_each(|id| live[*id as usize] = true);
            mark(block, live);
        }
    }
}

fn sweep(block: &mut Block, live: &[bool]) {
    block.nodes.retain(|node| is_live(node, live));
    for node in &mut block.nodes {
        if matches!(node.kind, Kind::If) {
            for index in (0..node.outputs.len()).rev() {
                if !live[node.outputs[index] as usize] {
                    node.outputs.remove(index);
                    node.blocks.iter_mut().for_each(|block| {
                        block.outputs.remove(index);
                    });
                }
            }
        }
        node.blocks.iter_mut().for_each(|block| sweep(block, live));
    }
}
