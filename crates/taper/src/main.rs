//! `taper` makes the PyTorch that an application deploys small.

mod absent;
mod args;
mod build_command;
mod build_product;
mod build_run;
mod build_text;
mod build_tools;
mod build_uses;
mod build_work;
mod capability;
mod cold;
mod deferral;
mod dry_run;
mod exit;
mod explain_answers;
mod explain_code;
mod explain_command;
mod explain_files;
mod explain_gpu;
mod explain_modules;
mod explain_names;
mod explain_original;
mod explain_symbols;
mod explain_text;
mod headers;
mod inspect_command;
mod interrupt;
mod lint_command;
mod lint_files;
mod manifest;
mod modules;
mod ops_command;
mod pack;
mod packing;
mod plan_record;
mod printer;
mod profiled;
mod proofs;
mod recorded_operators;
mod remembered;
mod restored;
mod runs;
mod scope;
mod signatures;
mod summary;
mod symbol_names;
mod target_view;
mod trace;
mod unchanged;
mod unit;
mod verify_command;
mod write;

use args::{Arguments, Command};
use clap::Parser;
use exit::Exit;

fn main() -> std::process::ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are not errors; everything else is bad usage.
            let exit = if error.use_stderr() { Exit::BadInput } else { Exit::Done };
            let _ = error.print();
            return exit.into();
        }
    };
    let printer = printer::Printer::new(&arguments.global);
    let _temporary = interrupt::temporary();
    let result = match arguments.command {
        Command::Inspect(command) => inspect_command::run(&command, &arguments.global, &printer),
        Command::Trace(command) => trace::run(&command, &arguments.global, &printer),
        Command::Pack(command) => pack::run(&command, &arguments.global, &printer),
        Command::Explain(command) => explain_command::run(&command, &arguments.global, &printer),
        Command::Lint(command) => lint_command::run(&command, &arguments.global, &printer),
        Command::Ops(command) => ops_command::run(&command, &arguments.global, &printer),
        Command::Build(command) => build_command::run(&command, &arguments.global, &printer),
        Command::Verify(command) => verify_command::run(&command, &arguments.global, &printer),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            interrupt::give_way(std::time::Duration::ZERO);
            printer::Printer::error(&error);
            exit::of(&error).into()
        }
    }
}
