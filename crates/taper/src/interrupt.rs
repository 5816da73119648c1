//! An interrupted `pack` leaves nothing behind.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};

static FOLDER: Mutex<Option<PathBuf>> = Mutex::new(None);
static HANDLER: Once = Once::new();

/// Keeps a folder on the list until it is dropped.
pub struct Cleaning;

/// Removes `folder` if SIGINT, SIGTERM or SIGHUP ends taper while the result lives.
pub fn remove_on_signal(folder: &Path) -> Cleaning {
    *FOLDER.lock().unwrap_or_else(PoisonError::into_inner) = Some(folder.into());
    HANDLER.call_once(|| {
        // The handler runs on a thread of its own, so it may use locks and files.
        // Where none can be set, an interrupted run leaves a hidden folder.
        let _ = ctrlc::set_handler(|| {
            if let Some(folder) = FOLDER.lock().unwrap_or_else(PoisonError::into_inner).take() {
                let _ = std::fs::remove_dir_all(folder);
            }
            eprintln!("interrupted; nothing was written");
            std::process::exit(130);
        });
    });
    Cleaning
}

impl Drop for Cleaning {
    fn drop(&mut self) {
        FOLDER.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
