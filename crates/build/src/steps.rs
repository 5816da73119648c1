//! Running the programs of a build from source.

use anyhow::{Context, Result, bail};
use report::{Printer, bad_input, quoted};
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// A command with its environment, as it is shown and run.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Step {
    /// Variables that are set.
    pub environment: Vec<(String, String)>,
    /// The folder that it runs in.
    pub folder: PathBuf,
    /// The program and its arguments.
    pub words: Vec<String>,
}

impl Step {
    /// A step without variables.
    pub fn new(folder: &Path, words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let words = words.into_iter().map(Into::into).collect();
        Self { environment: Vec::new(), folder: folder.into(), words }
    }

    /// As a person would type it.
    pub fn line(&self) -> String {
        let set = self.environment.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
        let words = self.words.iter().map(|word| quoted(word));
        set.chain(words).collect::<Vec<_>>().join(" ")
    }
}

/// Runs a step with what it says in `log`; `each` sees every line.
///
/// # Errors
/// The program cannot be started or fails: the error holds the last lines that it said.
pub fn run(step: &Step, log: &Path, mut each: impl FnMut(&str)) -> Result<()> {
    let mut file =
        fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    writeln!(file, "+ {}", step.line())?;
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    let (program, arguments) = step.words.split_first().context("a step has no program")?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&step.folder).stdin(Stdio::null());
    command.envs(step.environment.iter().map(|(name, value)| (name, value)));
    command.stdout(writer.try_clone()?).stderr(writer);
    let child = command.spawn().with_context(|| format!("cannot start {program}"))?;
    // The command holds ends of the pipe, which would never close.
    drop(command);
    signals::end_on_signal(child);
    let mut last: std::collections::VecDeque<String> = std::collections::VecDeque::new();
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader);
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).context("cannot read what a program says")? == 0 {
            break;
        }
        file.write_all(&line)?;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        each(text);
        if last.len() == 30 {
            last.pop_front();
        }
        last.push_back(text.chars().take(300).collect());
    }
    let status = signals::wait().with_context(|| format!("cannot wait for {program}"))?;
    if !status.success() {
        // A terminal's signal ends the program and taper alike, in any order.
        signals::give_way(patience(status, last.back()));
        let said: Vec<String> = last.into();
        bail!(
            "{program} failed ({status}); all that it said is in {}; the end:\n{}",
            log.display(),
            said.join("\n")
        );
    }
    Ok(())
}

/// How long a failure may turn out to be a signal's doing: long where the program says so.
fn patience(status: ExitStatus, last: Option<&String>) -> Duration {
    let signalled = status.signal().is_some() || status.code().is_some_and(|code| code > 128);
    let says_so = last.is_some_and(|line| line.contains("interrupted"));
    if signalled || says_so { Duration::from_secs(5) } else { Duration::from_millis(300) }
}

/// How far a build is: ninja's `[done/all]` at the beginning of a line.
pub fn progress(line: &str) -> Option<(u64, u64)> {
    let (done, all) = line.strip_prefix('[')?.split_once(']')?.0.split_once('/')?;
    Some((done.trim().parse().ok()?, all.trim().parse().ok()?))
}

/// The options that CMake names as not used.
pub fn unused(log: &str) -> Vec<String> {
    let mut lines = log.lines().skip_while(|line| !line.contains("variables were not used"));
    lines.next();
    lines
        .skip_while(|line| line.trim().is_empty())
        .take_while(|line| line.starts_with("    ") && !line.trim().is_empty())
        .map(|line| line.trim().to_owned())
        .collect()
}

/// Makes the files of `to` those of `from`, apart from what version control and builds put
/// there. Files of the same size and time are left as they are, so that a build goes on where
/// it stopped; files that only `to` has, a build made. Gives the number of files copied.
pub fn copy_tree(from: &Path, to: &Path) -> Result<u64> {
    let from = from.canonicalize()?;
    if to.starts_with(&from) {
        return Err(bad_input(format!(
            "the work folder {} lies in the source tree, which is not written to; name another \
             with --work",
            to.display()
        )));
    }
    copy_folder(&from, to, 0)
}

fn copy_folder(from: &Path, to: &Path, depth: u32) -> Result<u64> {
    if depth > 64 {
        bail!("{} is nested too deep", from.display());
    }
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let mut copied = 0;
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let entry = entry?;
        let (source, name) = (entry.path(), entry.file_name());
        let own = [".git", "build"].iter().any(|skipped| name == *skipped);
        if depth == 0 && own {
            continue;
        }
        let target = to.join(&name);
        let kind = entry.file_type()?;
        let context = || format!("cannot copy {} to {}", source.display(), target.display());
        if kind.is_dir() {
            copied += copy_folder(&source, &target, depth + 1)?;
        } else if kind.is_symlink() {
            let link = fs::read_link(&source).with_context(context)?;
            if fs::read_link(&target).ok().as_ref() != Some(&link) {
                let _ = fs::remove_file(&target);
                symlink(&link, &target).with_context(context)?;
            }
        } else if kind.is_file() {
            let found = entry.metadata().with_context(context)?;
            let time = found.modified().with_context(context)?;
            let same = fs::metadata(&target).is_ok_and(|there| {
                there.len() == found.len() && there.modified().is_ok_and(|other| other == time)
            });
            if !same {
                fs::copy(&source, &target).with_context(context)?;
                let file = fs::File::options().write(true).open(&target).with_context(context)?;
                file.set_modified(time).with_context(context)?;
                copied += 1;
            }
        }
    }
    Ok(copied)
}

/// Removes from the libraries below `folder` what is not needed to link or run. Gives the
/// bytes before and after.
pub fn strip(folder: &Path) -> Result<(u64, u64)> {
    let (mut before, mut after) = (0, 0);
    for path in files(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let shared = name.contains(".so") || !name.contains('.');
        let archive = Path::new(&name).extension().is_some_and(|ending| ending == "a");
        let mut magic = [0; 4];
        let is_elf = fs::File::open(&path)
            .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic))
            .is_ok()
            && magic == *b"\x7fELF";
        if !(archive || shared && is_elf) {
            continue;
        }
        before += fs::metadata(&path)?.len();
        let mut words: Vec<OsString> = vec!["strip".into(), "--strip-unneeded".into()];
        if archive {
            words[1] = "--strip-debug".into();
        }
        let done = Command::new(&words[0])
            .args(&words[1..])
            .arg(&path)
            .stdin(Stdio::null())
            .output()
            .context("cannot start strip")?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            Printer::warn(&format!("{} stays as it was built: {}", path.display(), said.trim()));
        }
        after += fs::metadata(&path)?.len();
    }
    Ok((before, after))
}

/// The regular files below a folder, in order.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_and_unused_options_are_read_from_what_programs_say() {
        assert_eq!(progress("[12/639] Building CXX object x"), Some((12, 639)));
        assert_eq!(progress("[x/y] "), None);
        assert_eq!(progress("ninja: no work to do."), None);
        let log = "-- Configuring done\nCMake Warning:\n  Manually-specified variables were not used \
                   by the project:\n\n    A_B\n    C\n\n\n-- Build files\n    D\n";
        assert_eq!(unused(log), ["A_B", "C"]);
        assert!(unused("-- Configuring done\n").is_empty());
    }

    #[test]
    fn steps_are_shown_as_a_shell_takes_them() {
        let mut step = Step::new(Path::new("/"), ["cmake", "-DA=b c", "it's", ""]);
        step.environment.push(("B".into(), "1;2".into()));
        assert_eq!(step.line(), "B='1;2' cmake '-DA=b c' 'it'\\''s' ''");
    }

    #[test]
    fn a_copy_follows_its_original_and_keeps_what_a_build_made() {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("from"), place.path().join("to"));
        fs::create_dir_all(from.join("a/build")).unwrap();
        fs::create_dir_all(from.join("build")).unwrap();
        fs::write(from.join("a/build/kept"), "1").unwrap();
        fs::write(from.join("build/left"), "1").unwrap();
        symlink("kept", from.join("a/build/link")).unwrap();
        assert_eq!(copy_tree(&from, &to).unwrap(), 1);
        assert!(to.join("a/build/link").is_symlink() && !to.join("build").exists());
        fs::write(to.join("made"), "1").unwrap();
        assert_eq!(copy_tree(&from, &to).unwrap(), 0);
        fs::write(from.join("a/build/kept"), "22").unwrap();
        assert_eq!(copy_tree(&from, &to).unwrap(), 1);
        assert_eq!(fs::read_to_string(to.join("a/build/kept")).unwrap(), "22");
        assert!(to.join("made").exists());
        assert!(copy_tree(&from, &from.join("work")).is_err());
    }

    #[test]
    fn a_program_that_fails_is_quoted() {
        let place = tempfile::tempdir().unwrap();
        let log = place.path().join("log");
        let step = Step::new(place.path(), ["sh", "-c", "echo one; echo two >&2; exit 3"]);
        let mut seen = Vec::new();
        let error = run(&step, &log, |line| seen.push(line.to_owned())).unwrap_err().to_string();
        assert!(error.contains("one\ntwo") && error.contains('3'), "{error}");
        assert_eq!(seen, ["one", "two"]);
        assert!(fs::read_to_string(&log).unwrap().contains("+ sh -c"));
    }
}
