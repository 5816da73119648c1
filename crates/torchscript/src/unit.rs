//! Functions of an archive with those that they call in their place.

use crate::compile::Compiler;
use crate::graph::{Block, Graph, Kind, Node, ValueId};
use crate::optimize::optimize;
use crate::program::Program;
use schema::{Signatures, Type};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// How deep functions may call each other.
const MAX_DEPTH: usize = 500;

/// Values of one function with all that it calls. Large models have 100,000.
const MAX_VALUES: usize = 1_000_000;

/// The functions of an archive while they are put together.
pub struct Unit<'a> {
    program: &'a Program,
    signatures: &'a dyn Signatures,
    constants: &'a [Type],
    own: HashMap<Arc<str>, Arc<Graph>>,
    optimized: HashMap<Arc<str>, Arc<Graph>>,
    /// Those that are on the way: one that calls itself would have no end.
    open: HashSet<Arc<str>>,
}

/// Why functions cannot be put together.
#[derive(Debug)]
pub struct Fault {
    /// The function, or the file and line in the archive.
    pub place: String,
    /// What is not understood there.
    pub reason: String,
}

fn fault(place: &str, reason: String) -> Fault {
    Fault { place: place.to_owned(), reason }
}

impl<'a> Unit<'a> {
    /// The functions of `program`, of which none is compiled yet. `constants` are the types of the
    /// archive's table of constants.
    pub fn new(
        program: &'a Program,
        signatures: &'a dyn Signatures,
        constants: &'a [Type],
    ) -> Self {
        Self {
            program,
            signatures,
            constants,
            optimized: HashMap::new(),
            own: HashMap::new(),
            open: HashSet::new(),
        }
    }

    fn own(&mut self, name: &Arc<str>) -> Result<Arc<Graph>, Fault> {
        if let Some(known) = self.own.get(name) {
            return Ok(known.clone());
        }
        let function = self.program.functions.get(name);
        let function = function.ok_or_else(|| fault(name, "it is called and not there".into()))?;
        let graph = Compiler::compile(self.program, self.signatures, self.constants, function);
        let graph = Arc::new(graph.map_err(|problem| {
            let file = &self.program.files[function.file];
            fault(&format!("code/{file}, line {}", problem.line), problem.reason)
        })?);
        self.own.insert(name.clone(), graph.clone());
        Ok(graph)
    }

    /// A function that is called from outside, with those that it calls in their place.
    ///
    /// # Errors
    /// What of it, or of what it calls, is not understood or has no end.
    pub fn root(&mut self, name: &Arc<str>) -> Result<Graph, Fault> {
        let own = self.own(name)?;
        let mut graph = Graph { values: own.values.clone(), body: Block::default() };
        self.open.insert(name.clone());
        let placed = self.place(&own.body, &mut graph, name);
        self.open.remove(name);
        graph.body = placed?;
        Ok(graph)
    }

    /// A function as it stands where it is called.
    fn optimized(&mut self, name: &Arc<str>) -> Result<Arc<Graph>, Fault> {
        if let Some(known) = self.optimized.get(name) {
            return Ok(known.clone());
        }
        if self.open.contains(name) {
            return Err(fault(name, "it calls itself".into()));
        }
        if self.open.len() > MAX_DEPTH {
            return Err(fault(name, "functions call each other too deep".into()));
        }
        let mut graph = self.root(name)?;
        optimize(&mut graph);
        let graph = Arc::new(graph);
        self.optimized.insert(name.clone(), graph.clone());
        Ok(graph)
    }

    /// `block` with each call replaced by what it calls.
    fn place(&mut self, block: &Block, graph: &mut Graph, name: &Arc<str>) -> Result<Block, Fault> {
        let mut replaced = HashMap::new();
        let placed = self.place_in(block, graph, name, &mut replaced)?;
        Ok(placed)
    }

    fn place_in(
        &mut self,
        block: &Block,
        graph: &mut Graph,
        name: &Arc<str>,
        replaced: &mut HashMap<ValueId, ValueId>,
    ) -> Result<Block, Fault> {
        let now = |ids: &[ValueId], replaced: &HashMap<ValueId, ValueId>| -> Vec<ValueId> {
            ids.iter().map(|id| *replaced.get(id).unwrap_or(id)).collect()
        };
        let mut placed = Block { inputs: block.inputs.clone(), ..Block::default() };
        for node in &block.nodes {
            let inputs = now(&node.inputs, replaced);
            let Kind::Call(callee) = &node.kind else {
                let mut copy = Node {
                    kind: node.kind.clone(),
                    inputs,
                    outputs: node.outputs.clone(),
                    blocks: Vec::new(),
                    place: node.place.clone(),
                };
                for inner in &node.blocks {
                    copy.blocks.push(self.place_in(inner, graph, name, replaced)?);
                }
                placed.nodes.push(copy);
                continue;
            };
            let callee = self.optimized(callee)?;
            if graph.values.len() + callee.values.len() > MAX_VALUES {
                return Err(fault(name, "it is too large with all that it calls".into()));
            }
            let mut values = HashMap::new();
            for (parameter, input) in callee.body.inputs.iter().zip(&inputs) {
                values.insert(*parameter, *input);
            }
            let mut body = copied(&callee.body, &callee, graph, &mut values);
            placed.nodes.append(&mut body.nodes);
            for (old, new) in node.outputs.iter().zip(&body.outputs) {
                replaced.insert(*old, *new);
            }
        }
        placed.outputs = now(&block.outputs, replaced);
        Ok(placed)
    }
}

/// `block` of one graph for another, with values of its own.
fn copied(
    block: &Block,
    from: &Graph,
    into: &mut Graph,
    values: &mut HashMap<ValueId, ValueId>,
) -> Block {
    fn new(
        ids: &[ValueId],
        from: &Graph,
        into: &mut Graph,
        values: &mut HashMap<ValueId, ValueId>,
    ) -> Vec<ValueId> {
        ids.iter()
            .map(|id| {
                *values.entry(*id).or_insert_with(|| {
                    let value = from.values[*id as usize].clone();
                    into.value(value.ty, value.constant)
                })
            })
            .collect()
    }
    let mut copy = Block { inputs: new(&block.inputs, from, into, values), ..Block::default() };
    for node in &block.nodes {
        copy.nodes.push(Node {
            kind: node.kind.clone(),
            inputs: new(&node.inputs, from, into, values),
            outputs: new(&node.outputs, from, into, values),
            blocks: node.blocks.iter().map(|block| copied(block, from, into, values)).collect(),
            place: node.place.clone(),
        });
    }
    copy.outputs = new(&block.outputs, from, into, values);
    copy
}
