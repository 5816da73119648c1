//! TorchScript's code as graphs of operators, as PyTorch's own compiler makes them when it loads an
//! archive: to the point where each operator and its overload are known. Nothing is run.

mod calls;
mod compile;
mod expressions;
mod fold;
mod graph;
mod matching;
mod optimize;
mod program;
mod unit;

pub use graph::{Block, Graph, Kind, Node, Place, Value, ValueId};
pub use matching::settled;
pub use program::{Class, ClassKind, Function, Program};
pub use unit::{Fault, Unit};
