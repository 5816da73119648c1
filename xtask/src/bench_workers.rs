//! The memory of a server with eight worker processes, in the original and in packages.

use crate::examples::Example;
use crate::measure::Summary;
use crate::runs::Place;
use crate::{packages, python, shell};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

const PROGRAM: &str = "xtask/checks/workers.py";

/// Measures eight workers that are forked once torch is imported, and eight that start anew:
/// in the original, in a package that was traced with the same program, and in one that was
/// traced with `import torch` alone, where each worker brings its own pages back.
pub fn memory(taper: &Path, times: u32, scratch: &Path) -> Result<()> {
    let original = Example::named("classify")?.python()?;
    let bare = python::bare(&original, &scratch.join("bare-workers"))?;
    let pack = |name: &str, workload: &[&str]| -> Result<_> {
        let package = scratch.join(name);
        let mut pack = Command::new(taper);
        pack.arg("pack").arg("--python").arg(&original).arg("--to").arg(&package);
        pack.args(["--no-verify", "--level", "fast", "--", "python"]).args(workload);
        packages::quietly(pack.current_dir(crate::examples::repository()))?;
        Ok(package)
    };
    let bare_import = pack("workers-import", &["-c", "import torch"])?;
    println!("\nmemory of eight workers and their parent, MB (Pss), median of {times}");
    for way in ["fork", "spawn"] {
        let own = pack(&format!("workers-{way}"), &[PROGRAM, way, "2"])?;
        let package = |folder| Place::Package { bare: &bare, folder, hidden: false };
        let places = [
            ("original", Place::Original(&original)),
            ("package traced with the same program", package(&own)),
            ("package traced with import torch", package(&bare_import)),
        ];
        let words: [OsString; 3] = [PROGRAM.into(), way.into(), "8".into()];
        let mut first = None;
        for (name, place) in places {
            let run = |_| -> Result<f64> {
                let said = shell::output(&mut place.python(&words, &[])?)?;
                said.trim().parse().context("the program prints no number")
            };
            let all = (0..times).map(run).collect::<Result<Vec<_>>>()?;
            let all = Summary::of(all).context("nothing was measured")?;
            let original = *first.get_or_insert(all.median);
            println!("  {way:<6} {name:<37} {all:<22.0} × {:.2}", all.median / original);
        }
    }
    Ok(())
}
