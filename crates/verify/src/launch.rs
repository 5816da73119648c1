//! How a command is started in the original environment and in a package.

use crate::Error;
use environment::Interpreter;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use tracer::{Output, Workload};

/// A virtual environment with nothing installed, over the interpreter that the
/// original environment is built on. It hides a site-packages folder that the
/// bare interpreter may have.
#[derive(Debug)]
pub struct Bare {
    /// Its folder.
    pub folder: PathBuf,
    /// Its Python.
    pub python: PathBuf,
}

impl Bare {
    /// Makes one in `folder`, which must not exist.
    pub fn new(interpreter: &Interpreter, folder: &Path) -> Result<Self, Error> {
        let programs = folder.join("bin");
        let packages = folder.join(format!("lib/python{}/site-packages", interpreter.version));
        fs::create_dir_all(&programs).map_err(Error::file(folder))?;
        fs::create_dir_all(packages).map_err(Error::file(folder))?;
        let base = &interpreter.base_executable;
        for name in ["python", "python3", &format!("python{}", interpreter.version)] {
            symlink(base, programs.join(name)).map_err(Error::file(&programs))?;
        }
        let home = base.parent().unwrap_or(Path::new("/")).display();
        let settings = format!(
            "home = {home}\ninclude-system-site-packages = false\nversion = {}\n",
            interpreter.version
        );
        let file = folder.join("pyvenv.cfg");
        fs::write(&file, settings).map_err(Error::file(&file))?;
        Ok(Self { folder: folder.into(), python: programs.join("python") })
    }
}

/// `command` as a workload in the environment of `interpreter`. A word `python`,
/// `python3` or `python3.11` means that interpreter.
pub fn in_original(interpreter: &Interpreter, command: &[OsString]) -> Result<Workload, Error> {
    let mut env = common();
    if interpreter.prefix != interpreter.base_prefix {
        env.insert("VIRTUAL_ENV".into(), interpreter.prefix.clone().into());
    }
    workload(interpreter, &interpreter.executable, command, env)
}

/// `command` as a workload that sees `package` and the bare interpreter. What the
/// user has in `PYTHONPATH` stays, unless it belongs to the original environment.
pub fn in_package(
    interpreter: &Interpreter,
    bare: &Bare,
    package: &Path,
    command: &[OsString],
) -> Result<Workload, Error> {
    let mut env = common();
    env.remove(OsStr::new("VIRTUAL_ENV"));
    env.insert("PYTHONNOUSERSITE".into(), "1".into());
    let mut folders = vec![package.to_path_buf()];
    if let Some(own) = env.get(OsStr::new("PYTHONPATH")) {
        folders.extend(std::env::split_paths(own).filter(|folder| {
            let real = folder.canonicalize().unwrap_or_else(|_| folder.clone());
            let sources = &interpreter.sources;
            let other = sources.plain.iter().any(|(folder, _)| *folder == real);
            !other && !interpreter.site_packages.contains(&real)
        }));
    }
    let joined = std::env::join_paths(folders).map_err(|_| Error::File {
        path: package.into(),
        source: std::io::Error::other("a package's path must not contain ':'"),
    })?;
    env.insert("PYTHONPATH".into(), joined);
    workload(interpreter, &bare.python, command, env)
}

/// The caller's variables, less those that would make two runs differ or write
/// into the original environment.
fn common() -> BTreeMap<OsString, OsString> {
    let mut env: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    env.remove(OsStr::new("PYTHONHOME"));
    env.insert("PYTHONDONTWRITEBYTECODE".into(), "1".into());
    env.entry("PYTHONHASHSEED".into()).or_insert_with(|| "0".into());
    env
}

/// Gives a run caches of compiled code of its own, in `folder`: what one run left there would
/// decide what the next one does, and code that was compiled for one processor would run as if on
/// another. A cache may always be empty, so what the user set is replaced, too; other caches
/// (models that were downloaded) stay. Matplotlib keeps settings beside its cache: whoever has
/// some keeps both.
pub fn own_caches(workload: &mut Workload, folder: &Path) {
    let caches = [
        ("TORCHINDUCTOR_CACHE_DIR", "inductor"),
        ("TRITON_CACHE_DIR", "triton"),
        ("NUMBA_CACHE_DIR", "numba"),
    ];
    let mut set = |variable: &str, name: &str| {
        workload.env.insert(variable.into(), folder.join(name).into());
    };
    for (variable, name) in caches {
        set(variable, name);
    }
    let home = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".config")));
    let settings = home.is_some_and(|home| home.join("matplotlib").exists());
    if !settings && std::env::var_os("MPLCONFIGDIR").is_none() {
        set("MPLCONFIGDIR", "matplotlib");
    }
}

fn workload(
    interpreter: &Interpreter,
    python: &Path,
    command: &[OsString],
    mut env: BTreeMap<OsString, OsString>,
) -> Result<Workload, Error> {
    let (first, rest) = command.split_first().ok_or(Error::NoCommand)?;
    let programs = python.parent().unwrap_or(Path::new("/"));
    let mut path = vec![programs.to_path_buf()];
    path.extend(env.get(OsStr::new("PATH")).map(std::env::split_paths).into_iter().flatten());
    if let Ok(joined) = std::env::join_paths(&path) {
        env.insert("PATH".into(), joined);
    }
    let mut args = rest.to_vec();
    let program = if is_python(interpreter, first) {
        python.to_path_buf()
    } else {
        let found = find(&path, first);
        // A console script of the environment starts the environment's Python.
        if let Some(script) = found.as_ref().filter(|file| is_script_of(interpreter, file)).cloned()
        {
            args.insert(0, script.into());
            python.to_path_buf()
        } else {
            found.unwrap_or_else(|| first.into())
        }
    };
    let cwd = std::env::current_dir().map_err(Error::file(Path::new(".")))?;
    Ok(Workload { program, args, env, cwd, stdout: Output::Inherit, stderr: Output::Inherit })
}

fn is_python(interpreter: &Interpreter, word: &OsStr) -> bool {
    let path = Path::new(word);
    let version = format!("python{}", interpreter.version);
    let named = ["python", "python3", &version].iter().any(|name| word == *name);
    let same_file = |other: &Path| {
        path.components().count() > 1
            && path.canonicalize().ok().is_some_and(|real| other.canonicalize().ok() == Some(real))
    };
    named || same_file(&interpreter.executable)
}

/// Whether `file` lies beside the environment's interpreter and starts with `#!`
/// and a Python.
fn is_script_of(interpreter: &Interpreter, file: &Path) -> bool {
    let beside = file.parent() == interpreter.executable.parent();
    let first_line = fs::read(file).ok().and_then(|bytes| {
        let line = bytes.split(|byte| *byte == b'\n').next()?;
        Some(String::from_utf8_lossy(line).into_owned())
    });
    beside && first_line.is_some_and(|line| line.starts_with("#!") && line.contains("python"))
}

/// The program that a shell would start for `word`.
fn find(path: &[PathBuf], word: &OsStr) -> Option<PathBuf> {
    if Path::new(word).components().count() > 1 {
        return Some(word.into());
    }
    path.iter().map(|folder| folder.join(word)).find(|file| file.is_file())
}
