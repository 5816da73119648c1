//! `taper` makes the PyTorch that an application deploys small.

mod args;
mod commands;
mod exit;

use args::{Arguments, Command};
use clap::Parser;
use exit::Exit;
use report::Printer;

fn main() -> std::process::ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are not errors; everything else is bad usage.
            let exit = if error.use_stderr() { Exit::BadInput } else { Exit::Done };
            let _ = error.print();
            if lacks_dashes(&error) {
                eprintln!("the command that starts the application comes after --");
            }
            return exit.into();
        }
    };
    let printer = Printer::new(arguments.global.quiet);
    let _temporary = signals::temporary();
    let result = match arguments.command {
        Command::Inspect(command) => commands::inspect::run(&command, &arguments.global, &printer),
        Command::Trace(command) => commands::trace::run(&command, &arguments.global, &printer),
        Command::Pack(command) => commands::pack::run(&command, &arguments.global, &printer),
        Command::Explain(command) => commands::explain::run(&command, &arguments.global, &printer),
        Command::Lint(command) => commands::lint::run(&command, &arguments.global, &printer),
        Command::Ops(command) => commands::ops::run(&command, &arguments.global, &printer),
        Command::Build(command) => commands::build::run(&command, &arguments.global, &printer),
        Command::Verify(command) => commands::verify::run(&command, &arguments.global, &printer),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            signals::give_way(std::time::Duration::ZERO);
            Printer::error(&error);
            exit::of(&error).into()
        }
    }
}

/// Whether a word that is no option stands before a `--` that is missing: where the command of
/// taper's takes one of the user's.
fn lacks_dashes(error: &clap::Error) -> bool {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let told = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let word = matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(_)));
    error.kind() == ErrorKind::UnknownArgument
        && word
        && !told(ContextKind::InvalidArg).starts_with('-')
        && told(ContextKind::Usage).contains("<CMD>")
}
