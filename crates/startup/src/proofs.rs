//! What an earlier `pack` found out of the same environment, so that it need not be found out
//! again: both proofs of start-up import everything that a workload imports, several times.
//!
//! An answer counts as long as everything that it can depend on is the same: this program, the
//! interpreter and its standard library, every file of the environment (by size, times of change
//! and inode, as version control and compiler caches do), the variables of this process, the
//! processor, the kernel and the loader's cache. Anything that cannot be told means that nothing
//! is remembered.

use blake3::Hasher;
use environment::Environment;
use rayon::prelude::*;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes of an answer, at most.
const MOST: u64 = 1 << 26;

/// Answers that are remembered, at most, and their bytes; the oldest go.
const ANSWERS: usize = 64;
const TOTAL: u64 = 1 << 28;

/// Variables that differ between terminals and say nothing to Python.
const UNHEARD: [&str; 13] = [
    "_",
    "COLUMNS",
    "LINES",
    "OLDPWD",
    "PWD",
    "SHLVL",
    "SSH_CLIENT",
    "SSH_CONNECTION",
    "SSH_TTY",
    "TERM",
    "TERM_PROGRAM",
    "WINDOWID",
    "XDG_SESSION_ID",
];

/// Answers about one environment.
#[derive(Clone)]
pub struct Proofs {
    /// The folder, and the hash of what answers depend on; `None` where nothing is remembered.
    place: Option<(PathBuf, Hasher)>,
}

impl Proofs {
    /// Those about `environment`, or none with `fresh`.
    pub fn of(environment: &Environment, fresh: bool) -> Self {
        let place = || {
            let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
            let base = base.filter(|path| path.is_absolute());
            let base = base.or_else(|| Some(std::env::home_dir()?.join(".cache")))?;
            Some((base.join("taper/proofs"), state(environment)?))
        };
        Self { place: if fresh { None } else { place() } }
    }

    /// What `find` gives for `question`, or gave before. `read` makes sense of bytes that were
    /// remembered, and `write` makes some of an answer; `None` of either means that this one is
    /// not remembered.
    pub fn answer<T>(
        &self,
        question: &[&[u8]],
        read: impl FnOnce(&[u8]) -> Option<T>,
        write: impl FnOnce(&T) -> Option<Vec<u8>>,
        find: impl FnOnce() -> T,
    ) -> T {
        let Some((folder, state)) = &self.place else { return find() };
        let mut key = state.clone();
        for part in question {
            add(&mut key, part);
        }
        let path = folder.join(key.finalize().to_hex().as_str());
        if let Some(known) = remembered(&path).as_deref().and_then(read) {
            return known;
        }
        let found = find();
        if let Some(bytes) = write(&found) {
            // Where it cannot be kept, it is found again.
            let _ = remember(folder, &path, &bytes);
        }
        found
    }
}

/// The answer in a file; `None` for one that is not whole, or that another user may have
/// written: it becomes code in a package.
fn remembered(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let before = fs::symlink_metadata(path).ok()?;
    // What this process makes is its user's.
    let own = fs::metadata("/proc/self").ok()?.uid();
    if !before.is_file() || before.uid() != own || before.mode() & 0o022 != 0 {
        return None;
    }
    fs::File::open(path).ok()?.take(MOST + 33).read_to_end(&mut bytes).ok()?;
    let (hash, answer) = bytes.split_first_chunk::<32>()?;
    (answer.len() as u64 <= MOST && blake3::hash(answer) == *hash).then(|| answer.to_vec())
}

/// Writes an answer in one step, and removes the oldest where there are many.
fn remember(folder: &Path, path: &Path, answer: &[u8]) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(blake3::hash(answer).as_bytes())?;
    file.write_all(answer)?;
    file.persist(path)?;
    forget(folder, ANSWERS, TOTAL)
}

/// Removes the oldest answers, until there are at most `count` of at most `total` bytes.
fn forget(folder: &Path, count: usize, total: u64) -> std::io::Result<()> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        all.push((about.modified()?, entry.path(), about.len()));
    }
    // The newest first.
    all.sort_by(|a, b| b.cmp(a));
    let mut sum = 0;
    for (number, (_, path, size)) in all.iter().enumerate() {
        sum += size;
        if number >= count || sum > total {
            drop(fs::remove_file(path));
        }
    }
    Ok(())
}

/// The hash of everything that an answer can depend on.
fn state(environment: &Environment) -> Option<Hasher> {
    let interpreter = &environment.interpreter;
    let sources = &interpreter.sources;
    if !(sources.plain.is_empty() && sources.archives.is_empty() && sources.lost.is_empty()) {
        return None;
    }
    let mut hash = Hasher::new();
    let mut own = Vec::new();
    fs::File::open("/proc/self/exe").ok()?.read_to_end(&mut own).ok()?;
    add(&mut hash, Hasher::new().update_rayon(&own).finalize().as_bytes());
    for (name, value) in
        std::env::vars_os().filter(|(name, _)| !UNHEARD.iter().any(|un| name == un))
    {
        add(&mut hash, name.as_bytes());
        add(&mut hash, value.as_bytes());
    }
    let machine = fs::read_to_string("/proc/cpuinfo").ok()?;
    for line in
        machine.lines().filter(|line| line.starts_with("flags") || line.starts_with("model"))
    {
        add(&mut hash, line.as_bytes());
    }
    add(&mut hash, &fs::read("/proc/sys/kernel/osrelease").ok()?);
    let library = |name: &str| {
        let folder =
            interpreter.base_prefix.join(name).join(format!("python{}", interpreter.version));
        folder.join("os.py").is_file().then_some(folder)
    };
    let standard = library("lib").or_else(|| library("lib64"))?;
    let mut files = vec![
        interpreter.executable.clone(),
        interpreter.base_executable.clone(),
        PathBuf::from("/etc/ld.so.cache"),
    ];
    // Where the interpreter is a library.
    let shared = format!("libpython{}.so.1.0", interpreter.version);
    let beside = ["lib", "lib64"].map(|name| interpreter.base_prefix.join(name).join(&shared));
    files.extend(beside.into_iter().filter(|path| path.exists()));
    below(&standard, &mut files, 0)?;
    files.extend(environment.files.iter().map(|file| environment.source(file)));
    files.extend(environment.roots());
    let states: Vec<Option<Vec<u8>>> = files.par_iter().map(|path| told(path)).collect();
    for state in states {
        add(&mut hash, &state?);
    }
    Some(hash)
}

/// The files of a standard library, but for what is installed beside it.
fn below(folder: &Path, files: &mut Vec<PathBuf>, depth: u32) -> Option<()> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).ok()?.map(|entry| Some(entry.ok()?.path())).collect::<Option<_>>()?;
    entries.sort();
    for path in entries {
        let name = path.file_name()?.as_bytes();
        let apart = [&b"site-packages"[..], b"dist-packages", b"__pycache__", b"test"];
        if apart.contains(&name) {
            continue;
        }
        if path.is_dir() && depth < 16 {
            below(&path, files, depth + 1)?;
        } else {
            files.push(path);
        }
    }
    Some(())
}

/// What says whether the file at `path` has changed.
fn told(path: &Path) -> Option<Vec<u8>> {
    let found = fs::metadata(path).ok()?;
    let mut text = path.as_os_str().as_bytes().to_vec();
    let numbers = [
        found.len() as i64,
        found.ino() as i64,
        found.mtime(),
        found.mtime_nsec(),
        found.ctime(),
        found.ctime_nsec(),
    ];
    text.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    Some(text)
}

/// Adds a part so that no other parts give the same bytes.
fn add(hash: &mut Hasher, part: &[u8]) {
    hash.update(&(part.len() as u64).to_le_bytes()).update(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_or_none() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("deep/one");
        remember(&place.path().join("deep"), &path, b"answer").unwrap();
        assert_eq!(remembered(&path).as_deref(), Some(&b"answer"[..]));
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert_eq!(remembered(&path), None);
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(remembered(&path), None);
        }
        for number in 0..ANSWERS + 3 {
            let folder = place.path().join("deep");
            remember(&folder, &folder.join(number.to_string()), b"").unwrap();
        }
        let folder = place.path().join("deep");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), ANSWERS);
        // An answer of no bytes has the 32 of its hash.
        forget(&folder, ANSWERS, 10 * 32).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 10);
    }
}
