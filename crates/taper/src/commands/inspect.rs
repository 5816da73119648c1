//! `taper inspect`.

use crate::args::{Global, Inspect};
use crate::exit::Exit;
use anyhow::Result;
use environment::{Environment, Interpreter};
use report::Printer;

/// Runs the command.
pub fn run(_: &Inspect, global: &Global, printer: &Printer) -> Result<Exit> {
    let interpreter = Interpreter::find(global.python.as_deref())?;
    let environment = printer.phase("scan", || Environment::scan(interpreter))?;
    let inspection = printer.phase("inspect", || inspect::inspect(&environment))?;
    if global.json {
        println!("{}", serde_json::to_string_pretty(&inspection)?);
    } else {
        print!("{}", inspect::render(&inspection));
    }
    Ok(Exit::Done)
}
