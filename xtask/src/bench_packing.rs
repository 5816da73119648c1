//! What packing takes, beside copying the same libraries; what tracing takes, beside the
//! program alone; and what each level of compression takes and gives.

use crate::examples::{self, Example};
use crate::measure::{self, Summary};
use crate::packages::{self, Description};
use crate::runs::Place;
use crate::shell;
use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use store::{Level, Store, Workspace, Writer};

/// Packs some times and leaves the last package in `package`.
pub fn packing(
    taper: &Path,
    example: Example,
    times: u32,
    scratch: &Path,
    package: &Path,
) -> Result<()> {
    let profile = scratch.join("workload.profile");
    let mut trace = Command::new(taper);
    trace.arg("trace").arg("-o").arg(&profile).arg("--python").arg(example.python()?);
    trace.args(["--target", "cpu", "--", "python"]).arg(example.script());
    trace.current_dir(examples::repository());
    let mut from_profile = Command::new(taper);
    from_profile.arg("pack").arg("--python").arg(example.python()?).arg("--to").arg(package);
    from_profile.args(["--target", "cpu", "--cold", "drop", "--no-verify", "--profile"]);
    from_profile.arg(&profile).current_dir(examples::repository());
    let mut whole = packages::pack(taper, example, package, "drop", &[])?;

    let mut seconds = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    let mut peak = 0;
    let copy = scratch.join("copy");
    // The first turn warms the page cache for every step.
    for turn in 0..=times {
        eprintln!("packing {}, {turn} of {times}", example.name);
        let mut costs = Vec::new();
        for (command, made) in [
            (&mut trace, &profile),
            (&mut from_profile, &package.into()),
            (&mut whole, &package.into()),
        ] {
            remove(made)?;
            costs.push(packages::quietly(command)?);
        }
        let mut copying = copy_sources(example, package, &copy)?;
        costs.push(packages::quietly(&mut copying)?);
        remove(&copy)?;
        if turn > 0 {
            // The workload's own memory is no part of it: this one neither traces nor verifies.
            peak = peak.max(costs[1].peak);
            for (all, one) in seconds.iter_mut().zip(costs) {
                all.push(one.wall.as_secs_f64());
            }
        }
    }
    let description = Description::of(package)?;
    println!(
        "{}: {:.1} MB in {} files, from {:.1} MB in {} files\n",
        example.name,
        description.bytes as f64 / 1e6,
        description.files,
        description.original_bytes as f64 / 1e6,
        description.original_files
    );
    let [trace, from_profile, whole, copy] = seconds.map(Summary::of);
    let copy = copy.context("nothing was copied")?;
    println!("packing, seconds, median (least–greatest) of {times}");
    for (name, one) in [
        ("cp -a of the originals of its libraries", Some(copy)),
        ("trace", trace),
        ("pack from a profile, without verifying", from_profile),
        ("pack with trace and verification", whole),
    ] {
        let one = one.context("nothing was measured")?;
        println!("  {name:<40} {one:<22} × {:.2}", one.median / copy.median);
    }
    println!("peak memory of pack from a profile: {:.0} MB", peak as f64 / 1e6);
    Ok(())
}

/// `cp -a` of the originals of every library in the package.
fn copy_sources(example: Example, package: &Path, to: &Path) -> Result<Command> {
    let print = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let environment = shell::output(Command::new(example.python()?).args(["-c", print]))?;
    let environment = PathBuf::from(environment.trim());
    let mut libraries = Vec::new();
    for (file, _) in packages::files(package)? {
        let name = file.strip_prefix(package)?.to_path_buf();
        if is_elf(&file)? && environment.join(&name).is_file() {
            libraries.push(name);
        }
    }
    if libraries.is_empty() {
        bail!("{} has no library that its environment has", package.display());
    }
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let mut command = Command::new("cp");
    command.args(["-a", "--parents", "--target-directory"]).arg(to).args(libraries);
    command.current_dir(environment);
    Ok(command)
}

fn is_elf(file: &Path) -> Result<bool> {
    let mut magic = Vec::new();
    let open = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    open.take(4).read_to_end(&mut magic)?;
    Ok(magic == *b"\x7fELF")
}

/// Removes a folder, if it is there.
pub fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Runs a program alone and traced, in turn. One trace is of what this processor picks.
pub fn tracing(taper: &Path, example: Example, times: u32, scratch: &Path) -> Result<()> {
    let original = example.python()?;
    let profile = scratch.join("one.profile");
    let import: [OsString; 2] = ["-c".into(), "import torch".into()];
    let workload: [OsString; 1] = [example.script().into()];
    println!("\ntracing, seconds, median (least–greatest) of {times}, alone and traced in turn");
    for (name, words) in [("import torch", &import[..]), (example.name, &workload[..])] {
        let (mut alone, mut traced) = (Vec::new(), Vec::new());
        for turn in 0..=times {
            eprintln!("tracing {name}, {turn} of {times}");
            let mut command = Place::Original(&original).python(words, &[])?;
            let cost = measure::measure(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
            let mut command = Command::new(taper);
            command.arg("--json").arg("--python").arg(&original).args(["trace", "--cpu", "native"]);
            command.arg("-o").arg(&profile).args(["--", "python"]).args(words);
            // The user's own choice of kernels would be a run more.
            for (name, _) in
                std::env::vars_os().filter(|(name, _)| name != "HOME" && name != "PATH")
            {
                command.env_remove(name);
            }
            let said = shell::output(command.current_dir(examples::repository()))?;
            let said: Value = serde_json::from_str(&said).context("trace printed no JSON")?;
            let seconds = said["seconds"]["trace"].as_f64().context("trace says no time")?;
            if turn > 0 {
                alone.push(cost.wall.as_secs_f64());
                traced.push(seconds);
            }
        }
        let summaries = Summary::of(alone).zip(Summary::of(traced));
        let (alone, traced) = summaries.context("nothing was measured")?;
        println!("  {name:<40} {alone:<22} → {traced:<22} × {:.2}", traced.median / alone.median);
    }
    Ok(())
}

/// Packs `import torch` with all that it does not use, at each of `levels`, so many times in
/// turn: the packages lie beside `package`.
pub fn levels(
    taper: &Path,
    levels: &[String],
    times: u32,
    scratch: &Path,
    package: &Path,
) -> Result<()> {
    let example = Example::named("classify")?;
    let profile = scratch.join("torch.profile");
    let mut trace = Command::new(taper);
    trace.arg("trace").arg("-o").arg(&profile).arg("--python").arg(example.python()?);
    packages::quietly(trace.args(["--", "python", "-c", "import torch"]))?;
    let mut measured = vec![(0, Vec::new(), Vec::new()); levels.len()];
    // The first turn warms the page cache and proves what start-up does on this environment.
    for turn in 0..=times {
        for (number, (level, (bytes, seconds, ratios))) in
            levels.iter().zip(&mut measured).enumerate()
        {
            eprintln!("--level {level}, {turn} of {times}");
            // Beside the last one: after thousands of files were removed, ext4 looks for a while
            // at each of their inodes before it makes new ones (5 s of a core here).
            let package = &package.with_extension(format!("{turn}-{number}"));
            let mut pack = Command::new(taper);
            pack.arg("--json").arg("--python").arg(example.python()?).arg("pack").arg("--to");
            pack.arg(package).args(["--level", level, "--no-verify", "--profile"]).arg(&profile);
            // What torch itself does not depend on.
            pack.args(["torchvision", "pillow", "numpy"].map(|name| format!("--drop={name}")));
            let said: Value = serde_json::from_str(&shell::output(&mut pack)?)?;
            let write = said["seconds"]["write"].as_f64().context("pack says no time")?;
            *bytes = Description::of(package)?.bytes;
            let alone = compressing(package, level)?;
            if turn > 0 {
                seconds.push(write);
                ratios.push(write / alone);
            }
        }
    }
    println!(
        "\nimport torch, everything of torch and its dependencies that a CPU can run kept, by level"
    );
    println!(
        "{:<16}{:>9}   {:<26}of compressing the same chunks alone; median (least–greatest) of {times}",
        "", "MB", "written and read again, s"
    );
    for (level, (bytes, seconds, ratios)) in levels.iter().zip(measured) {
        let summaries = Summary::of(seconds).zip(Summary::of(ratios));
        let (seconds, ratio) = summaries.context("nothing was measured")?;
        println!("--level {level:<8}{:>9.1}   {seconds:<26.1}× {ratio}", bytes as f64 / 1e6);
    }
    Ok(())
}

/// Seconds that the compressor alone takes for the chunks of the stores of `package`, which
/// was packed with `level`, on as many threads.
fn compressing(package: &Path, level: &str) -> Result<f64> {
    let level = match level {
        "fast" => Level::Fast,
        "max" => Level::Max,
        _ => Level::Default,
    };
    let mut seconds = 0.0;
    for name in ["cold", "modules", "tools"] {
        let path = package.join("_taper").join(name);
        let Ok(bytes) = fs::read(&path) else { continue };
        let damaged = || anyhow!("{} is damaged", path.display());
        let store = Store::open(&bytes).map_err(|_| damaged())?;
        let mut memory = vec![0; Workspace::size().div_ceil(8)];
        let mut workspace = Workspace::new(&mut memory).context("no memory")?;
        let mut chunks = Vec::new();
        for number in 0..store.len() {
            let entry = store.entry(number).with_context(damaged)?;
            let mut chunk = vec![0; entry.length as usize];
            store.read(number, &mut chunk, &mut workspace).map_err(|_| damaged())?;
            chunks.push((chunk, entry.code));
        }
        let mut writer = Writer::new();
        for (chunk, code) in &chunks {
            writer.add_pieces(vec![chunk], *code).map_err(|_| damaged())?;
        }
        let start = Instant::now();
        let made = writer.finish(level)?;
        seconds += start.elapsed().as_secs_f64();
        drop(made);
    }
    Ok(seconds)
}
