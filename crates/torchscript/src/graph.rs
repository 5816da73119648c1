//! Code of TorchScript as a graph: values that are set once, nodes that make them, blocks
//! within nodes that branch or repeat.

use schema::{Const, Schema, Type};
use std::sync::Arc;

/// A value, by its number in its graph.
pub type ValueId = u32;

/// What is known of a value.
#[derive(Debug, Clone)]
pub struct Value {
    /// Its type.
    pub ty: Type,
    /// What it is, where that is known.
    pub constant: Option<Const>,
}

/// Where a node was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The function.
    pub function: Arc<str>,
    /// The line of its file in the archive.
    pub line: u32,
}

/// What a node does.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Calls an operator.
    Operator(Arc<Schema>),
    /// Calls a function of the archive, by its full name.
    Call(Arc<str>),
    /// Calls this method of whatever implements an interface.
    CallInterface(Arc<str>, Arc<str>),
    /// Two blocks, of which one runs. The first input says which.
    If,
    /// A block that repeats. Inputs are how often at most, whether at all, and what it carries
    /// along; its block takes the count and these, and gives whether to go on and these.
    Loop,
    /// Runs its block elsewhere.
    Fork,
    /// Enters a context; it and leaving call `__enter__` and `__exit__` of the class.
    Enter(Arc<str>),
    /// Leaves a context.
    Exit,
    /// Gives an object's attribute a value.
    SetAttribute,
    /// A method of a class of C++.
    Foreign,
    /// Reads an object's attribute.
    GetAttribute,
    /// Makes an object of a class.
    CreateObject,
    /// Makes a tuple of its inputs.
    TupleConstruct,
    /// Gives the items of a tuple.
    TupleUnpack,
    /// Gives one item of a tuple.
    TupleIndex,
    /// Makes a list of its inputs.
    ListConstruct,
    /// Gives the items of a list.
    ListUnpack,
    /// Makes a dictionary of its inputs, keys and values in turn.
    DictConstruct,
    /// Takes a value for one of another type, unchecked.
    Cast,
    /// Asks for the type of a value.
    IsInstance,
    /// A value that nobody reads.
    Uninitialized,
    /// Something else without effects of its own.
    Pure,
}

/// A step of a block.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it does.
    pub kind: Kind,
    /// What it takes.
    pub inputs: Vec<ValueId>,
    /// What it gives.
    pub outputs: Vec<ValueId>,
    /// Steps in it.
    pub blocks: Vec<Block>,
    /// Where it stands in the archive's code.
    pub place: Place,
}

/// Steps in their order.
#[derive(Debug, Clone, Default)]
pub struct Block {
    /// What it is given.
    pub inputs: Vec<ValueId>,
    /// The steps.
    pub nodes: Vec<Node>,
    /// What it gives.
    pub outputs: Vec<ValueId>,
}

/// A function.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// The values of all blocks, by their numbers.
    pub values: Vec<Value>,
    /// Its steps.
    pub body: Block,
}

impl Graph {
    /// A new value.
    pub fn value(&mut self, ty: Type, constant: Option<Const>) -> ValueId {
        self.values.push(Value { ty, constant });
        (self.values.len() - 1) as ValueId
    }

    /// The type of a value.
    pub fn ty(&self, id: ValueId) -> &Type {
        &self.values[id as usize].ty
    }

    /// What a value is, where that is known.
    pub fn constant(&self, id: ValueId) -> Option<&Const> {
        self.values[id as usize].constant.as_ref()
    }

    /// Whether a value is certainly `None`.
    pub fn must_be_none(&self, id: ValueId) -> bool {
        *self.ty(id) == Type::None || self.constant(id) == Some(&Const::None)
    }
}

impl Block {
    /// Calls `visit` with each node of the block and all blocks in it.
    pub fn each(&self, visit: &mut dyn FnMut(&Node)) {
        for node in &self.nodes {
            visit(node);
            node.blocks.iter().for_each(|block| block.each(visit));
        }
    }
}

impl Node {
    /// Whether it may change a tensor that is there before.
    pub fn may_change(&self) -> bool {
        let own = match &self.kind {
            Kind::Operator(schema) => schema.mutates,
            Kind::Call(_) | Kind::CallInterface(..) | Kind::Foreign | Kind::Fork => true,
            _ => false,
        };
        own || self.blocks.iter().any(|block| block.nodes.iter().any(Self::may_change))
    }

    /// Whether it does something besides making its outputs.
    pub fn has_effects(&self) -> bool {
        let own = match &self.kind {
            Kind::Operator(schema) => schema.mutates || effects(&schema.operator.name),
            Kind::Call(_)
            | Kind::CallInterface(..)
            | Kind::Fork
            | Kind::Enter(_)
            | Kind::Exit
            | Kind::SetAttribute
            | Kind::Foreign => true,
            _ => false,
        };
        own || self.blocks.iter().any(|block| block.nodes.iter().any(Self::has_effects))
    }
}

/// Whether an operator has effects that its signature does not tell. Those that other
/// libraries register may have them.
fn effects(name: &str) -> bool {
    match name.split_once("::") {
        Some(("aten", base)) => {
            matches!(
                base,
                "warn"
                    | "save"
                    | "manual_seed"
                    | "set_grad_enabled"
                    | "wait"
                    | "backward"
                    | "grad"
                    | "_infer_size_impl"
                    | "record_stream"
                    | "set_printoptions"
                    | "append"
                    | "sort"
                    | "reverse"
                    | "_set_item"
                    | "Delete"
                    | "pop"
                    | "popitem"
                    | "clear"
                    | "extend"
                    | "insert"
                    | "remove"
                    | "update"
                    | "setdefault"
            ) || base.ends_with('_') && !base.ends_with("__")
        }
        Some(("prim", base)) => matches!(
            base,
            "RaiseException"
                | "Print"
                | "PythonOp"
                | "AddStatValue"
                | "TimePoint"
                | "CallMethod"
                | "rpc_async"
                | "rpc_sync"
                | "rpc_remote"
        ),
        _ => true,
    }
}
