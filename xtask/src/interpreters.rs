//! Interpreters of every version of Python that taper is for: those of this machine, and Debian's
//! newer ones in a root of their own, which also have another C library.

use crate::{examples, python, setup, shell};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The suite of Debian that the root is made of, and the versions of Python that it has.
const SUITE: &str = "forky";
const NEWER: [u32; 3] = [13, 14, 15];

/// Where programs run: on this machine as it is, or as an ordinary user in a root of their own,
/// which sees the folder of environments and, without writing, the repository.
#[derive(Debug, Clone)]
pub struct Machine {
    /// What comes before a command.
    words: Vec<OsString>,
}

impl Machine {
    /// This one.
    pub fn own() -> Self {
        Self { words: Vec::new() }
    }

    /// A command that runs there, without input.
    pub fn command(&self, program: impl Into<OsString>) -> Command {
        let words = [&self.words[..], &[program.into()]].concat();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(examples::repository());
        command.stdin(std::process::Stdio::null());
        command
    }

    /// A root with Debian's newer Pythons, which is made in the cache folder where it is missing.
    ///
    /// # Errors
    /// Where it cannot be made, or nothing can be run in one.
    fn debian(taper: &Path) -> Result<Self> {
        let cache = examples::cache()?;
        let root = cache.join(format!("root-{SUITE}"));
        let there = |tool: &str| shell::succeeds(Command::new(tool).arg("--version"));
        if !["bwrap", "mmdebstrap"].into_iter().all(there) {
            setup::install(&["bubblewrap", "mmdebstrap"])?;
        }
        if !root.exists() {
            let made = root.with_extension("unfinished");
            setup::remove(&made)?;
            let minors = NEWER.map(|minor| format!("python3.{minor},python3.{minor}-venv"));
            let include = format!("--include={},ca-certificates", minors.join(","));
            let mut make = Command::new("mmdebstrap");
            // A mirror may stand still for longer than Debian's index says it counts. Its signature
            // is checked as always.
            make.arg("--aptopt=Acquire::Check-Valid-Until \"false\"");
            make.args(["--quiet", "--variant=minbase", &include, SUITE]).arg(&made).arg(mirror()?);
            shell::run(&mut make).context("cannot make a root with Debian's newer Pythons")?;
            // The user that programs run as.
            let users = made.join("etc/passwd");
            let listed = fs::read_to_string(&users)?;
            fs::write(&users, listed + "user:x:1000:1000::/tmp:/bin/sh\n")?;
            fs::rename(&made, &root)?;
        }
        let mut words: Vec<OsString> = vec!["bwrap".into()];
        // An ordinary user, as most programs run as one.
        words.extend(["--unshare-user", "--uid", "1000", "--gid", "1000"].map(Into::into));
        words.extend(["--bind".into(), root.into(), "/".into()]);
        words.extend(["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"].map(Into::into));
        words.extend(["--bind".into(), cache.clone().into(), cache.into()]);
        let read_only = [
            examples::repository(),
            taper.parent().context("taper lies in no folder")?,
            Path::new("/etc/resolv.conf"),
            // The certificates that this machine trusts.
            Path::new("/etc/ssl/certs"),
        ];
        for place in read_only {
            words.extend(["--ro-bind".into(), place.into(), place.into()]);
        }
        words.extend(["--setenv", "HOME", "/tmp", "--die-with-parent", "--"].map(Into::into));
        let machine = Self { words };
        let mut trial = machine.command("python3.14");
        if !shell::succeeds(trial.args(["-c", ""])) {
            bail!("{} does not run: no user namespaces?", shell::line(&trial));
        }
        Ok(machine)
    }
}

/// Where this Debian takes its packages from.
fn mirror() -> Result<String> {
    let mut ask = Command::new("apt-get");
    ask.args(["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"]);
    let said = shell::output(&mut ask)?;
    Ok(said.lines().next().context("apt-get names no mirror of Debian")?.to_owned())
}

/// An interpreter of Python 3.`minor` that can make virtual environments, and where it runs.
///
/// # Errors
/// Where there is none.
pub fn interpreter(minor: u32, taper: &Path) -> Result<(Machine, PathBuf)> {
    if let Some(found) = python::with_minor(minor) {
        return Ok((Machine::own(), found));
    }
    if !NEWER.contains(&minor) {
        bail!("no Python 3.{minor} is on the PATH or in pyenv's folder, and Debian has none");
    }
    Ok((Machine::debian(taper)?, format!("/usr/bin/python3.{minor}").into()))
}
