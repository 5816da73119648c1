//! The two system calls that the standard library does not offer. The only file
//! with `unsafe`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};

/// Waits for a child. Gives its exit status and the peak resident memory in bytes
/// of the largest process among it and the descendants that it waited for.
pub fn wait(child: &Child) -> io::Result<(ExitStatus, u64)> {
    let process = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    let mut status = 0;
    // SAFETY: `rusage` is a plain structure of integers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to live variables of the types that wait4 writes.
        let waited = unsafe { libc::wait4(process, &raw mut status, 0, &raw mut usage) };
        if waited == process {
            // Linux counts in KiB.
            let peak = u64::try_from(usage.ru_maxrss).map_err(io::Error::other)? * 1024;
            return Ok((ExitStatus::from_raw(status), peak));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Waits until no other process holds the lock on `file`, and takes it until the
/// file is closed.
pub fn lock(file: &File) -> io::Result<()> {
    loop {
        // SAFETY: the descriptor is open as long as `file` is borrowed.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
