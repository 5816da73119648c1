//! Runs of PyTorch's own tests in one place, and how each test ended. What is known stays in
//! a log, so that a run that was stopped goes on, and a test that ends the interpreter costs
//! that test alone.

use crate::{examples, shell};
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process that starts and ends no test for so long is taken to hang: the longest of the tests,
/// `test_lstm_cpu` of test_mkldnn, takes a quarter of an hour on two busy cores.
const STILL: Duration = Duration::from_hours(1);

/// How a test ended, with what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Passed,
    /// It was not run, for this reason.
    Skipped(String),
    /// It failed, and said this.
    Failed(String),
    /// The process ended with it, or had to be ended.
    Died(String),
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Skipped(text) => write!(f, "skipped: {text}"),
            Self::Failed(text) => write!(f, "failed: {text}"),
            Self::Died(text) => write!(f, "died: {text}"),
        }
    }
}

/// Where tests run: an interpreter, and the folders it imports from besides its own.
#[derive(Debug, Clone)]
pub struct Place {
    /// The interpreter.
    pub python: PathBuf,
    /// The folders.
    pub paths: Vec<PathBuf>,
}

impl Place {
    /// The tests of some files, in order, as `FILE:MODULE.CLASS.NAME`.
    pub fn list(&self, files: &[&str]) -> Result<Vec<String>> {
        let place = tempfile::tempdir()?;
        let list = place.path().join("list");
        let mut words: Vec<OsString> = vec!["list".into(), list.clone().into()];
        words.extend(files.iter().map(Into::into));
        let said = place.path().join("said");
        let status = self.start(&words, place.path(), &said)?.wait()?;
        if !status.success() {
            bail!("cannot list the tests of {}: {status}\n{}", files.join(", "), tail(&said));
        }
        Ok(fs::read_to_string(&list)?.lines().map(str::to_owned).collect())
    }

    /// Runs those of `tests` whose outcome `log` does not have, and adds them to it. Gives
    /// whether all have one; `until` may come first.
    ///
    /// # Errors
    /// If the process ends before it has run any test.
    pub fn run(&self, tests: &[String], log: &Path, until: Option<Instant>) -> Result<bool> {
        loop {
            let known = outcomes(log)?;
            let rest: Vec<&str> = tests
                .iter()
                .map(String::as_str)
                .filter(|test| !known.contains_key(*test))
                .collect();
            if rest.is_empty() {
                return Ok(true);
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(false);
            }
            let place = tempfile::tempdir()?;
            let (ids, said) = (place.path().join("ids"), place.path().join("said"));
            fs::write(&ids, rest.iter().flat_map(|test| [test, "\n"]).collect::<String>())?;
            let files: BTreeSet<&str> =
                rest.iter().filter_map(|test| Some(test.split_once(':')?.0)).collect();
            let mut words: Vec<OsString> = vec!["run".into(), log.into(), ids.into()];
            words.extend(files.into_iter().map(Into::into));
            let mut child = self.start(&words, place.path(), &said)?;
            let before = size(log);
            let Some(end) = watch(&mut child, log, until)? else { return Ok(false) };
            if size(log) == before {
                bail!("no test was run: {}\n{}", end.text, tail(&said));
            }
            let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
            let last = text.lines().last().unwrap_or_default();
            // A process may also die after its tests, which is told as a test of its own.
            let test = match last.strip_prefix("start\t") {
                Some(test) => test.trim_end().to_owned(),
                None => exit(&tests[0]),
            };
            let event = if end.well { "passed" } else { "died" };
            append(log, &format!("{event}\t{test}\t{}", end.text))?;
        }
    }

    /// Starts the script in a group of processes of its own, in an empty folder that is its
    /// home; what it says goes to `said`.
    fn start(&self, words: &[OsString], home: &Path, said: &Path) -> Result<Child> {
        let home = home.join("home");
        fs::create_dir(&home).with_context(|| format!("cannot make {}", home.display()))?;
        let said = File::create(said)?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut command = Command::new(&self.python);
        command.arg(examples::repository().join("xtask/checks/pytorch_tests.py")).args(words);
        command.current_dir(&home).env_clear().env("PATH", path);
        command.env("HOME", &home).env("TMPDIR", &home).env("PYTHONHASHSEED", "0");
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        // On a busy machine, several threads would wait for each other most of the time.
        command.env("OMP_NUM_THREADS", "1");
        command.env("PYTHONPATH", std::env::join_paths(&self.paths)?);
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said).process_group(0);
        command.spawn().with_context(|| format!("cannot start {}", shell::line(&command)))
    }
}

/// Waits for a run; `None` if `until` came first. What it left behind is ended with it.
fn watch(child: &mut Child, log: &Path, until: Option<Instant>) -> Result<Option<End>> {
    let (mut seen, mut since) = (size(log), Instant::now());
    let end = loop {
        if let Some(status) = child.try_wait()? {
            break Some(End { well: status.success(), text: status.to_string() });
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            break None;
        }
        if size(log) != seen {
            (seen, since) = (size(log), Instant::now());
        } else if since.elapsed() > STILL {
            let text = format!("no end in {} s", STILL.as_secs());
            break Some(End { well: false, text });
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let mut kill = Command::new("kill");
    // Nothing may be left of the group.
    let _ = shell::succeeds(kill.args(["-KILL", "--", &format!("-{}", child.id())]));
    child.wait()?;
    Ok(end)
}

/// How a process ended.
struct End {
    /// By itself, with exit code 0.
    well: bool,
    text: String,
}

/// What stands in a log for the end of the process that ran this test and others of its file.
pub fn exit(test: &str) -> String {
    format!("{}:end of the process", test.split(':').next().unwrap_or(test))
}

/// The bytes of a file; none where it is not there.
fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn append(log: &Path, line: &str) -> Result<()> {
    let mut file = File::options().append(true).open(log)?;
    writeln!(file, "{line}").with_context(|| format!("cannot write {}", log.display()))
}

/// The last lines of a file.
fn tail(path: &Path) -> String {
    let text = String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// How the tests in a log ended; none where there is no log.
pub fn outcomes(log: &Path) -> Result<BTreeMap<String, Outcome>> {
    let text = match fs::read(log) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        read => read.with_context(|| format!("cannot read {}", log.display()))?,
    };
    let mut found = BTreeMap::new();
    // A line that was cut off has no end, and its test is run again.
    for line in String::from_utf8_lossy(&text).split_inclusive('\n') {
        let Some(line) = line.strip_suffix('\n') else { continue };
        let mut parts = line.splitn(3, '\t');
        let (Some(event), Some(test)) = (parts.next(), parts.next()) else { continue };
        let text = parts.next().unwrap_or_default().to_owned();
        let outcome = match event {
            "passed" => Outcome::Passed,
            "skipped" => Outcome::Skipped(text),
            "failed" => Outcome::Failed(text),
            "died" => Outcome::Died(text),
            _ => continue,
        };
        found.insert(test.to_owned(), outcome);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TESTS: &str = "
import os, sys, time, unittest
class Tests(unittest.TestCase):
    def test_a_passes(self): pass
    def test_b_fails(self): self.assertEqual(1, 2, 'one is not two')
    def test_c_dies(self): os.abort()
    def test_d_skips(self): self.skipTest('no reason')
    def test_e_has_parts(self):
        with self.subTest(): self.fail('a part')
    @unittest.expectedFailure
    def test_f_fails_as_expected(self): self.fail()
    @unittest.expectedFailure
    def test_g_passes_unexpectedly(self): pass
    def test_h_forks(self):
        if not os.fork(): sys.exit('the child goes on')
        os.wait()
class Unready(unittest.TestCase):
    @classmethod
    def setUpClass(cls): raise OSError('not ready')
    def test_a(self): pass
";

    fn place() -> (tempfile::TempDir, Place) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("test_own.py"), TESTS).unwrap();
        let place = Place { python: "python3".into(), paths: vec![folder.path().to_path_buf()] };
        (folder, place)
    }

    #[test]
    fn each_test_has_one_outcome_whatever_it_does_to_the_process() {
        let (folder, place) = place();
        let tests = place.list(&["test_own"]).unwrap();
        let log = folder.path().join("log");
        assert!(place.run(&tests, &log, None).unwrap());
        let found = outcomes(&log).unwrap();
        let outcome = |name: &str| {
            let test = tests.iter().find(|test| test.ends_with(name)).unwrap();
            found[test].to_string()
        };
        assert_eq!(outcome("a_passes"), "passed");
        assert_eq!(outcome("b_fails"), "failed: AssertionError: 1 != 2 : one is not two");
        assert!(outcome("c_dies").starts_with("died: signal: 6"), "{}", outcome("c_dies"));
        assert_eq!(outcome("d_skips"), "skipped: no reason");
        assert_eq!(outcome("e_has_parts"), "failed: AssertionError: a part");
        assert_eq!(outcome("f_fails_as_expected"), "passed");
        assert!(outcome("g_passes_unexpectedly").starts_with("failed"));
        assert_eq!(outcome("h_forks"), "passed");
        assert_eq!(outcome("Unready.test_a"), "failed: not run");
        assert_eq!(found[&exit(&tests[0])], Outcome::Passed);
        assert_eq!(found.len(), tests.len() + 1);
        // Nothing is run twice.
        let before = size(&log);
        assert!(place.run(&tests, &log, None).unwrap());
        assert_eq!(size(&log), before);
    }

    #[test]
    fn a_run_goes_on_where_it_was_stopped_or_cut_off() {
        let (folder, place) = place();
        let tests: Vec<String> = place.list(&["test_own"]).unwrap()[..2].to_vec();
        let log = folder.path().join("log");
        assert!(!place.run(&tests, &log, Some(Instant::now())).unwrap());
        fs::write(
            &log,
            format!("start\t{0}\t\npassed\t{0}\t\nstart\t{1}\t\npass", tests[0], tests[1]),
        )
        .unwrap();
        assert!(place.run(&tests, &log, None).unwrap());
        let found = outcomes(&log).unwrap();
        assert_eq!(found[&tests[0]], Outcome::Passed);
        assert!(matches!(found[&tests[1]], Outcome::Failed(_)), "{found:?}");
    }

    #[test]
    fn a_process_that_runs_nothing_is_an_error_that_says_why() {
        let (folder, place) = place();
        fs::write(folder.path().join("test_own.py"), "import no_such_module").unwrap();
        let tests = ["test_own:test_own.Tests.test_a_passes".to_owned()];
        let error = place.run(&tests, &folder.path().join("log"), None).unwrap_err().to_string();
        assert!(error.contains("no_such_module"), "{error}");
        assert!(place.list(&["test_own"]).is_err());
    }
}
