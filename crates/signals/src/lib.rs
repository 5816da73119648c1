//! What signals do: they stop a workload that runs, whose profile then counts; otherwise they
//! end taper, and then an interrupted `pack` leaves nothing behind, an interrupted `build` no
//! program that runs, and no command a temporary file.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};
use tracer::Stopper;

static TEMPORARY: Mutex<Option<PathBuf>> = Mutex::new(None);
static FOLDER: Mutex<Option<PathBuf>> = Mutex::new(None);
static CHILD: Mutex<Option<Child>> = Mutex::new(None);
static WORKLOAD: Mutex<Option<Stopper>> = Mutex::new(None);
static NEWS: Mutex<Option<String>> = Mutex::new(None);
static HANDLER: Once = Once::new();
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// A second signal within this time is the first one: a terminal or `timeout` sends to the
/// whole group as well as to this process.
const TOGETHER: Duration = Duration::from_secs(1);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folder of all temporary files of this process, while this lives.
pub struct Temporary;

/// Makes a folder for all temporary files of this process. Where none can be made, whoever
/// needs one says so.
pub fn temporary() -> Temporary {
    if let Ok(folder) = tempfile::Builder::new().prefix("taper-").tempdir()
        && tempfile::env::override_temp_dir(folder.path()).is_ok()
    {
        *lock(&TEMPORARY) = Some(folder.keep());
        handle();
    }
    Temporary
}

impl Drop for Temporary {
    fn drop(&mut self) {
        remove(&TEMPORARY);
    }
}

/// Keeps a folder on the list until it is dropped.
pub struct Cleaning;

/// Removes `folder` if SIGINT, SIGTERM or SIGHUP ends taper while the result lives.
pub fn remove_on_signal(folder: &Path) -> Cleaning {
    *lock(&FOLDER) = Some(folder.into());
    handle();
    Cleaning
}

impl Drop for Cleaning {
    fn drop(&mut self) {
        lock(&FOLDER).take();
    }
}

/// Does the last step of what [`remove_on_signal`] guards: a signal comes before it, and then
/// this does not return, or after it, when there is nothing to remove.
pub fn finish<T>(step: impl FnOnce() -> T) -> T {
    let mut folder = lock(&FOLDER);
    if INTERRUPTED.load(Ordering::SeqCst) {
        drop(folder);
        give_way(Duration::ZERO);
        folder = lock(&FOLDER);
    }
    folder.take();
    let done = step();
    *lock(&NEWS) = Some("the package is complete".into());
    done
}

/// Lets the first signal stop a workload, instead of ending taper, while it lives.
pub struct Stopping;

/// Sends the first of SIGINT, SIGTERM and SIGHUP through `stopper` while the result lives.
pub fn stop_on_signal(stopper: &Stopper) -> Stopping {
    *lock(&WORKLOAD) = Some(stopper.clone());
    handle();
    Stopping
}

impl Drop for Stopping {
    fn drop(&mut self) {
        lock(&WORKLOAD).take();
    }
}

/// What is said after "interrupted; " instead of that nothing was written.
pub fn say(news: String) {
    *lock(&NEWS) = Some(news);
    handle();
}

/// Ends `child` if a signal ends taper before [`wait`] returns. A terminal sends its signals to
/// the child's own children too; where only taper gets one, those end their work.
pub fn end_on_signal(child: Child) {
    *lock(&CHILD) = Some(child);
    handle();
}

/// Waits for the program that [`end_on_signal`] was given.
pub fn wait() -> io::Result<ExitStatus> {
    loop {
        // The lock is not held while time passes: the handler needs it.
        let mut child = lock(&CHILD);
        let Some(running) = child.as_mut() else {
            drop(child);
            give_way(Duration::ZERO);
            return Err(io::Error::other("it was ended"));
        };
        if let Some(status) = running.try_wait()? {
            child.take();
            return Ok(status);
        }
        drop(child);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Does not return once a signal has come: what fails then fails because of the signal, and the
/// handler, which runs on a thread of its own, is about to end this process with what it has to
/// say. Waits up to `patience` for the handler to begin.
pub fn give_way(patience: Duration) {
    let start = Instant::now();
    loop {
        if INTERRUPTED.load(Ordering::SeqCst) {
            std::thread::park();
        } else if start.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(10));
        } else {
            return;
        }
    }
}

fn handle() {
    HANDLER.call_once(|| {
        // Where signals cannot be taken, an interrupted run leaves a hidden folder.
        tracer::adopt_orphans();
        let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
        // A thread of its own, so it may use locks and files.
        let _ = std::thread::Builder::new().name("signals".into()).spawn(move || {
            let mut stopped: Option<Instant> = None;
            for signal in signals.forever() {
                if stopped.is_some_and(|before| before.elapsed() < TOGETHER) {
                    continue;
                }
                let Some(stopper) = lock(&WORKLOAD).take() else { end() };
                stopped = Some(Instant::now());
                eprintln!("the workload is being stopped; a second signal ends taper");
                stopper.stop(signal);
            }
        });
    });
}

/// Ends this process.
fn end() -> ! {
    INTERRUPTED.store(true, Ordering::SeqCst);
    lock(&CHILD).take();
    // Nothing outlives taper, and nothing writes to what is removed.
    tracer::kill_descendants();
    remove(&FOLDER);
    remove(&TEMPORARY);
    let news = lock(&NEWS).take();
    eprintln!("interrupted; {}", news.as_deref().unwrap_or("nothing was written"));
    std::process::exit(130);
}

/// Removes a folder in which other threads may still make files.
fn remove(folder: &Mutex<Option<PathBuf>>) {
    let Some(folder) = lock(folder).take() else { return };
    for _ in 0..50 {
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                std::thread::sleep(Duration::from_millis(10));
            }
            _ => return,
        }
    }
}
