//! Ending a workload from outside: when a person asks, or after a time.

use crate::Status;
use crate::process;
use libc::{SIGHUP, SIGINT, SIGKILL, SIGTERM, c_int};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a signal that was sent to a whole group may take to reach the workload by itself.
const ALONE: Duration = Duration::from_millis(250);

/// How long before such a signal was taken here it may have reached the workload.
const EARLIER: Duration = Duration::from_secs(1);

/// How long a workload may take to end, before it is asked again, and before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends signals to the first process of a workload, from any thread.
#[derive(Debug, Clone, Default)]
pub struct Stopper(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// The first process while it runs, or 0.
    process: AtomicI32,
    /// The signal that was asked for, or 0.
    asked: AtomicI32,
    /// Whether the workload was killed, for it did not end otherwise.
    killed: AtomicBool,
    /// The last of such signals that reached the process, and when.
    reached: Mutex<Option<(c_int, Instant)>>,
}

impl State {
    /// Whether `signal` reached the process lately, before or after `start`.
    fn has_reached(&self, signal: c_int, start: Instant) -> bool {
        let reached = *self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        reached.is_some_and(|(last, when)| last == signal && when + EARLIER > start)
    }
}

impl Stopper {
    /// Lets `signal` reach the workload once. A terminal sends its signals to this process and
    /// to the workload; a signal that comes there within a moment is not sent again. Returns
    /// once it was sent, or has come, or nothing runs any more.
    pub fn stop(&self, signal: c_int) {
        let state = &*self.0;
        state.asked.store(signal, Ordering::SeqCst);
        let start = Instant::now();
        while !state.has_reached(signal, start) {
            let process = state.process.load(Ordering::SeqCst);
            if process == 0 {
                return;
            }
            if start.elapsed() > ALONE {
                process::send(process, signal);
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether somebody asked for the end.
    pub fn was_asked(&self) -> bool {
        self.0.asked.load(Ordering::SeqCst) != 0
    }

    /// Whether the end is what was asked for, so that `status` says nothing against the workload:
    /// it ended by such a signal, by itself after one (programs choose many exit codes for that),
    /// or was killed for taking too long.
    pub fn explains(&self, status: Status) -> bool {
        self.was_asked()
            && match status {
                Status::Exited(_) => true,
                Status::Signaled(SIGKILL) => self.0.killed.load(Ordering::SeqCst),
                Status::Signaled(signal) => [SIGINT, SIGTERM, SIGHUP].contains(&signal),
            }
    }

    pub(crate) fn runs(&self, process: c_int) {
        self.0.process.store(process, Ordering::SeqCst);
    }

    pub(crate) fn reached(&self, signal: c_int) {
        if matches!(signal, SIGINT | SIGTERM | SIGHUP) {
            let reached = Some((signal, Instant::now()));
            *self.0.reached.lock().unwrap_or_else(PoisonError::into_inner) = reached;
        }
    }

    /// Stops the workload after a time, as a terminal would, then less politely; until the
    /// other end of `ended` is gone.
    pub(crate) fn stop_after(&self, time: Duration, ended: &Receiver<()>) {
        let mut patience = time;
        for signal in [SIGINT, SIGTERM, SIGKILL] {
            match ended.recv_timeout(patience) {
                Err(RecvTimeoutError::Timeout) => {
                    self.0.killed.store(signal == SIGKILL, Ordering::SeqCst);
                    self.stop(signal);
                }
                _ => return,
            }
            patience = PATIENCE;
        }
    }
}
