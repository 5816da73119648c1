//! The signatures of PyTorch's operators: what they take and give, and where the installed
//! PyTorch says so.

mod operator;
mod registered;
mod schema;
mod types;

pub use operator::Operator;
pub use registered::Schemas;
pub use schema::{Const, Parameter, Schema};
pub use types::{Bindings, Named, Type};

use std::sync::Arc;

/// Where signatures of operators come from.
pub trait Signatures {
    /// The signatures of the operator `name`, in the order in which they are tried.
    fn of(&self, name: &str) -> Vec<Arc<Schema>>;
}
