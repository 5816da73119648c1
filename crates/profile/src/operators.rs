//! Which operators runs used: a part of a profile with a version of its own.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The version of this part.
pub const OPERATORS_FORMAT: u32 = 1;

/// The operators that runs used, as PyTorch itself recorded them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunOperators {
    /// [`OPERATORS_FORMAT`].
    pub format: u32,
    /// The commands that were run, each once.
    pub commands: BTreeSet<String>,
    /// Processes that recorded something.
    pub processes: u64,
    /// How each was used, by its name with its overload: `aten::add.Tensor`.
    pub operators: BTreeMap<String, OperatorUse>,
}

/// How an operator was used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorUse {
    /// Calls.
    pub calls: u64,
    /// Those that no other operator made, and autograd neither.
    pub direct: u64,
    /// Those that autograd made on its way back.
    pub backward: u64,
    /// Those whose derivative autograd then took.
    pub differentiated: u64,
    /// The dtypes of the tensors that it took and gave, by torch's names.
    pub dtypes: BTreeSet<String>,
}

impl Default for RunOperators {
    fn default() -> Self {
        Self {
            format: OPERATORS_FORMAT,
            commands: BTreeSet::new(),
            processes: 0,
            operators: BTreeMap::new(),
        }
    }
}

impl RunOperators {
    /// Adds what `other` saw.
    pub fn merge(&mut self, other: &Self) {
        self.commands.extend(other.commands.iter().cloned());
        self.processes = self.processes.saturating_add(other.processes);
        for (name, theirs) in &other.operators {
            let mine = self.operators.entry(name.clone()).or_default();
            mine.add(theirs);
        }
    }
}

impl OperatorUse {
    /// Adds other calls.
    pub fn add(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.direct = self.direct.saturating_add(other.direct);
        self.backward = self.backward.saturating_add(other.backward);
        self.differentiated = self.differentiated.saturating_add(other.differentiated);
        self.dtypes.extend(other.dtypes.iter().cloned());
    }

    /// Whether training needs it.
    pub fn trains(&self) -> bool {
        self.backward + self.differentiated > 0
    }
}
