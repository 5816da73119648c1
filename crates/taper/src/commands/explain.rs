//! `taper explain`: why something is hot, cold or out.

use crate::args::{Explain, Global};
use crate::exit::Exit;
use anyhow::Result;
use ledger::Ledger;
use report::Printer;

/// Runs the command.
pub fn run(command: &Explain, global: &Global, printer: &Printer) -> Result<Exit> {
    let ledger = Ledger::of_package(&command.package)?;
    let document = match &command.name {
        None => explain::summary(&ledger),
        Some(name) => {
            let python = global.python.as_deref();
            explain::explain(&ledger, name, &command.package, python, printer)?
        }
    };
    for problem in &document.problems {
        Printer::warn(problem);
    }
    if global.json {
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        print!("{}", explain::render(&document));
    }
    Ok(Exit::Done)
}
