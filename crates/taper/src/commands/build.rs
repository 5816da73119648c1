//! `taper build`: PyTorch from its sources, with what an application needs.

use crate::args::{Build, Global};
use crate::exit::Exit;
use anyhow::Result;
use build::{Built, Outcome, Request, Until};
use planner::Device;
use report::{Printer, bad_input, megabytes};

/// Runs the command.
pub fn run(command: &Build, global: &Global, printer: &Printer) -> Result<Exit> {
    if command.target.target != Device::Cpu {
        let target = &command.target.target;
        return Err(bad_input(format!("--target {target}: builds are for the CPU; leave it out")));
    }
    let request = request(command, global);
    let prepared = build::prepare(&request, printer)?;
    if command.dry_run {
        if global.json {
            println!("{:#}", prepared.document());
        } else {
            print!("{}", prepared.text());
        }
        return Ok(Exit::Done);
    }
    printer.say(prepared.text().trim_end());
    for (program, version) in &prepared.versions {
        printer.say(&format!("{program}: {version}"));
    }
    match prepared.run(printer)? {
        Outcome::Configured { ignored, work } => {
            if global.json {
                println!("{:#}", serde_json::json!({ "ignored": ignored, "work": work }));
            }
            Ok(if ignored.is_empty() { Exit::Done } else { Exit::DoesNotHold })
        }
        Outcome::Built(built) => {
            tell(&built, global, printer);
            Ok(Exit::Done)
        }
    }
}

/// What was typed, as it is meant.
fn request<'a>(command: &'a Build, global: &'a Global) -> Request<'a> {
    Request {
        source: &command.source,
        product: command.product.built(),
        cpu: command.target.cpu.processors(),
        profiles: &command.profile,
        operators: command.operators.as_deref(),
        python: global.python.as_deref(),
        generators: command.generators.as_deref(),
        work: command.work.as_deref(),
        jobs: command.jobs,
        options: &command.options,
        until: match &command.to {
            _ if command.dry_run => Until::Decided,
            Some(to) if !command.configure => Until::Built(to),
            _ => Until::Configured,
        },
    }
}

/// Says what was built and how it is used.
fn tell(built: &Built, global: &Global, printer: &Printer) {
    let Built { out, bytes, built, stripped, link, described } = built;
    if global.json {
        let document = serde_json::json!({
            "out": out,
            "bytes": bytes,
            "libraries": { "built": built, "stripped": stripped },
            "build": described,
            "seconds": printer.seconds(),
        });
        println!("{document:#}");
        return;
    }
    printer.say(&format!(
        "{}: {}; its libraries have {}, {} before strip",
        out.display(),
        megabytes(*bytes),
        megabytes(*stripped),
        megabytes(*built)
    ));
    match link {
        Some(words) => printer.say(&format!("link with: {}", words.join(" "))),
        None => printer.say(&format!("use with: PYTHONPATH={}", out.display())),
    }
}
