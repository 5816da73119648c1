//! An interrupted `pack` leaves nothing behind, and an interrupted `build` no program that runs.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

static FOLDER: Mutex<Option<PathBuf>> = Mutex::new(None);
static CHILD: Mutex<Option<Child>> = Mutex::new(None);
static NEWS: Mutex<Option<String>> = Mutex::new(None);
static HANDLER: Once = Once::new();
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Keeps a folder on the list until it is dropped.
pub struct Cleaning;

/// Removes `folder` if SIGINT, SIGTERM or SIGHUP ends taper while the result lives.
pub fn remove_on_signal(folder: &Path) -> Cleaning {
    *FOLDER.lock().unwrap_or_else(PoisonError::into_inner) = Some(folder.into());
    handle();
    Cleaning
}

/// What is said after "interrupted; " instead of that nothing was written.
pub fn say(news: String) {
    *NEWS.lock().unwrap_or_else(PoisonError::into_inner) = Some(news);
    handle();
}

/// Ends `child` if a signal ends taper before [`wait`] returns. A terminal sends its signals to
/// the child's own children too; where only taper gets one, those end their work.
pub fn end_on_signal(child: Child) {
    *CHILD.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
    handle();
}

/// Waits for the program that [`end_on_signal`] was given.
pub fn wait() -> io::Result<ExitStatus> {
    loop {
        // The lock is not held while time passes: the handler needs it.
        let mut child = CHILD.lock().unwrap_or_else(PoisonError::into_inner);
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
        // The handler runs on a thread of its own, so it may use locks and files.
        // Where none can be set, an interrupted run leaves a hidden folder.
        let _ = ctrlc::set_handler(|| {
            INTERRUPTED.store(true, Ordering::SeqCst);
            if let Some(mut child) = CHILD.lock().unwrap_or_else(PoisonError::into_inner).take() {
                let _ = child.kill();
            }
            if let Some(folder) = FOLDER.lock().unwrap_or_else(PoisonError::into_inner).take() {
                let _ = std::fs::remove_dir_all(folder);
            }
            let news = NEWS.lock().unwrap_or_else(PoisonError::into_inner).take();
            eprintln!("interrupted; {}", news.as_deref().unwrap_or("nothing was written"));
            std::process::exit(130);
        });
    });
}

impl Drop for Cleaning {
    fn drop(&mut self) {
        FOLDER.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
