//! The operators that a profile holds.

use anyhow::Result;
use operators::{Operator, Operators, Origin};
use profile::Profile;
use report::bad_input;
use std::path::Path;

/// The operators of the profile at `path`.
///
/// # Errors
/// It cannot be read, or no run that it holds recorded operators.
pub fn operators(path: &Path) -> Result<Operators> {
    let profile = Profile::read(path)?;
    let Some(seen) = profile.operators else {
        return Err(bad_input(format!(
            "{} holds no operators: it was made before taper recorded them, or by `taper pack`; \
             trace the workload again with `taper trace -o {} -- CMD`",
            path.display(),
            path.display()
        )));
    };
    let mut all = Operators::default();
    for (name, used) in &seen.operators {
        let operator = Operator::parse(name).ok_or_else(|| {
            bad_input(format!("{} names {name:?}, which is no operator", path.display()))
        })?;
        let one = all.entry(operator);
        one.calls = Some(used.calls);
        one.root = used.direct > 0;
        one.training = used.trains();
        one.dtypes.extend(used.dtypes.iter().cloned());
        seen.commands.iter().for_each(|command| one.add_origin(Origin::new(command)));
    }
    Ok(all)
}
