//! What importing cold modules takes, beside the original.

use crate::examples::Example;
use crate::measure::{self, Cost, Summary};
use crate::runs::Place;
use crate::{operators, python, setup, shell};
use anyhow::{Context, Result, bail};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Stdio;

/// Variables of the environment.
type Variables<'a> = &'a [(&'a str, &'a OsStr)];

/// Imports PyTorch's operator database, some 900 modules that no workload imported, in turn in the
/// original and in a package of `import torch`, which compiles them each time or keeps their
/// bytecode.
pub fn importing(taper: &Path, times: u32, scratch: &Path) -> Result<()> {
    let original = Example::named("classify")?.python()?;
    let bare = python::bare(&original, &scratch.join("bare"))?;
    let package = scratch.join("modules");
    operators::pack(taper, &package, "cpu", false)?;
    let modules = setup::database_modules()?;
    let program = format!(
        "import sys; sys.path.append({:?})
import torch.testing._internal.common_methods_invocations",
        modules.display().to_string()
    );
    let words: [OsString; 2] = ["-c".into(), program.into()];
    let packed = Place::Package { bare: &bare, folder: &package, hidden: false };
    // Where no bytecode is, and none may be written.
    let none = scratch.join("none");
    let without = [("PYTHONPYCACHEPREFIX", none.as_os_str())];
    let with = [("PYTHONDONTWRITEBYTECODE", OsStr::new(""))];
    let ways: [(&str, Place<'_>, Variables<'_>); 3] = [
        ("original", Place::Original(&original), &[]),
        ("package", packed, &without),
        ("package with bytecode", packed, &with),
    ];
    let mut costs: [Vec<Cost>; 3] = [Vec::new(), Vec::new(), Vec::new()];
    for turn in 0..=times {
        eprintln!("importing cold modules, {turn} of {times}");
        for ((name, place, variables), costs) in ways.iter().zip(&mut costs) {
            let mut command = place.python(&words, variables)?;
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let cost = measure::measure(&mut command)?;
            if !cost.status.success() {
                bail!("{} failed in the {name}: {}", shell::line(&command), cost.status);
            }
            if turn > 0 {
                costs.push(cost);
            } else {
                println!("  the first in the {name}: {:.2} seconds", cost.wall.as_secs_f64());
            }
        }
    }
    println!(
        "\nimporting torch.testing._internal.common_methods_invocations, {times} runs in turn"
    );
    let [before, ..] = &costs;
    for ((name, ..), after) in ways.iter().zip(&costs) {
        let seconds = Summary::of(after.iter().map(|cost| cost.wall.as_secs_f64()));
        let pairs = before.iter().zip(after);
        let ratio =
            pairs.map(|(before, after)| after.wall.as_secs_f64() / before.wall.as_secs_f64());
        let (seconds, ratio) = seconds.zip(Summary::of(ratio)).context("nothing was measured")?;
        println!("  {name:<22} {seconds:.2} seconds, × {ratio:.2} of the original's");
    }
    Ok(())
}
