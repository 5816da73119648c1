//! Runs a workload under `ptrace` and records the pages and files it touches.
//!
//! The loader's read-only mappings of libraries are made inaccessible; the first
//! touch of each page stops the process, is recorded, and gives the page its
//! rights back. The workload's own signal handlers never see these faults, and
//! whatever ends a process, its part is already here.
//!
//! The kernel does not fault politely: a system call with an argument in a
//! protected page fails with EFAULT. Protected libraries therefore lie in an
//! address window of their own, and a seccomp filter stops every system call that
//! has an argument in the window; its pages are opened before it runs.
//!
//! Linux on x86-64 only.

mod descendants;
mod engine;
mod files;
mod filter;
mod library;
mod process;
mod space;
mod stop;
mod stops;

pub use descendants::{adopt_orphans, kill_descendants};
pub use stop::Stopper;

use elf::PageSet;
use indexmap::IndexSet;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

/// A command to run.
#[derive(Debug)]
pub struct Workload {
    /// The program: a path, not a name to look up.
    pub program: PathBuf,
    /// Its arguments, its own name not among them.
    pub args: Vec<OsString>,
    /// Its environment, whole.
    pub env: BTreeMap<OsString, OsString>,
    /// Its working folder.
    pub cwd: PathBuf,
    /// Its standard output.
    pub stdout: Output,
    /// Its standard error.
    pub stderr: Output,
}

/// Where a stream of the workload goes.
#[derive(Debug)]
pub enum Output {
    /// Where this process's goes.
    Inherit,
    /// Into a file.
    File(File),
    /// Nowhere.
    Null,
}

/// What to look for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Folders, links resolved, whose shared libraries are traced by the page.
    pub roots: Vec<PathBuf>,
    /// Whether pages are traced at all; without, only files are.
    pub pages: bool,
    /// Whether files that are only asked about, with `stat`, are noted as well. They
    /// are many: an import of torch makes 18,000 such calls.
    pub probes: bool,
    /// What opens of a file, by its path with links resolved, see instead.
    pub redirects: BTreeMap<PathBuf, Redirect>,
    /// Code that is changed in memory when a library is loaded, by its path.
    pub patches: BTreeMap<PathBuf, Vec<Patch>>,
    /// What ends the workload from outside.
    pub stopper: Stopper,
    /// When the stopper does so by itself.
    pub stop_after: Option<Duration>,
}

/// What an open sees instead of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redirect {
    /// Another file, which is still reported under the first one's path.
    To(PathBuf),
    /// Nothing: the file, or the folder with all below it, is not there.
    Hide,
}

/// Bytes that are put over a library's code in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// An unrelocated address in an executable segment.
    pub address: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// How the first process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// With an exit code.
    Exited(i32),
    /// By a signal.
    Signaled(i32),
}

/// What a process tree used. Paths have their links resolved.
#[derive(Debug)]
pub struct Observations {
    /// How the first process ended.
    pub status: Status,
    /// Libraries below the roots, and their touched pages: unrelocated address
    /// divided by the page size.
    pub libraries: BTreeMap<PathBuf, PageSet>,
    /// Those of them of which a thread other than its process's first touched a page before
    /// that one did.
    pub threaded: BTreeSet<PathBuf>,
    /// Files that were mapped executable, or by the loader.
    pub mapped: BTreeSet<PathBuf>,
    /// Files that were opened and had been there before, in the order of their first
    /// opening.
    pub opened: IndexSet<PathBuf>,
    /// Folders that were opened.
    pub listed: BTreeSet<PathBuf>,
    /// Files below the roots that `stat`, `access` or `readlink` asked about, and
    /// nothing opened.
    pub probed: BTreeSet<PathBuf>,
    /// Programs that were started.
    pub executed: BTreeSet<PathBuf>,
    /// Processes, threads not counted.
    pub processes: u64,
    /// First touches of pages.
    pub faults: u64,
    /// Times that a task was stopped.
    pub stops: u64,
}

/// Why a workload could not be traced.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program could not be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system does not let one process trace another.
    #[error(
        "cannot trace: {0}; in a container, allow ptrace and seccomp \
         (for Docker: --cap-add SYS_PTRACE)"
    )]
    NotPermitted(std::io::Error),
    /// A step of tracing failed.
    #[error("tracing failed: {what}: {source}")]
    Failed {
        /// The step.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Runs `workload` to its end, with every process that it starts.
///
/// Processes that are left over once the first has ended get five seconds.
pub fn run(workload: Workload, options: &Options) -> Result<Observations, Error> {
    // Requests must come from the thread that attached, and waiting is bound to it,
    // so that other children of this process are not taken.
    std::thread::scope(|scope| {
        let tracer = std::thread::Builder::new()
            .name("tracer".into())
            .spawn_scoped(scope, || engine::run(workload, options))
            .map_err(|source| Error::Failed { what: "starting a thread", source })?;
        let (_running, ended) = std::sync::mpsc::channel();
        if let Some(time) = options.stop_after {
            let stopper = options.stopper.clone();
            std::thread::Builder::new()
                .name("stop".into())
                .spawn(move || stopper.stop_after(time, &ended))
                .map_err(|source| Error::Failed { what: "starting a thread", source })?;
        }
        tracer.join().unwrap_or_else(|_| {
            let source = std::io::Error::other("the tracing thread panicked");
            Err(Error::Failed { what: "running", source })
        })
    })
}
