//! Child processes that do not outlive this one.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Lets the kernel end what `command` starts when the thread that starts it ends, by whatever
/// means; a signal that ends this process does not reach children that it started.
pub(crate) fn bound(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec only these two system calls are made; both may be.
    unsafe {
        let parent = libc::getpid();
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // It may have ended before the kernel was told.
            if libc::getppid() == parent { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
        })
    }
}
