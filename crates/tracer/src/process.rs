//! Starting a tracee, and the ptrace requests that are made of it.
//!
//! Every `unsafe` block of the crate is in this file.

use crate::filter::program;
use crate::{Error, Output, Workload};
use libc::{c_int, c_long, c_void, pid_t, user_regs_struct};
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::ptr::null_mut;

/// A task's registers.
pub type Registers = user_regs_struct;

/// What `waitpid` said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The task ended with an exit code.
    Exited(c_int),
    /// The task was ended by a signal.
    Signaled(c_int),
    /// The task stopped: signal, and ptrace event or 0.
    Stopped(c_int, c_int),
}

const OPTIONS: c_int = libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACESECCOMP
    | libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_EXITKILL;

fn check(result: c_long) -> io::Result<c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Starts `workload` as a tracee with the filter, which stops for `probes` or not. It runs once this returns.
pub fn start(workload: Workload, probes: bool) -> Result<pid_t, Error> {
    let Workload { program: path, args, env, cwd, stdout, stderr } = workload;
    let fail = |source| Error::Start { program: path.clone(), source };
    let text = |word: &OsStr| {
        CString::new(word.as_bytes()).map_err(|_| fail(io::Error::other("a NUL in an argument")))
    };
    let executable = text(path.as_os_str())?;
    let folder = text(cwd.as_os_str())?;
    let mut words = vec![executable.clone()];
    for arg in &args {
        words.push(text(arg)?);
    }
    let mut variables = Vec::new();
    for (name, value) in &env {
        let mut pair = name.clone();
        pair.push("=");
        pair.push(value);
        variables.push(text(&pair)?);
    }
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(&words), pointers(&variables));
    let mut code = program(probes);
    let filter = libc::sock_fprog { len: code.len() as u16, filter: code.as_mut_ptr() };
    let null = File::options().read(true).write(true).open("/dev/null").map_err(fail)?;
    let target = |output: &Output| match output {
        Output::Inherit => None,
        Output::File(file) => Some(file.as_raw_fd()),
        Output::Null => Some(null.as_raw_fd()),
    };
    let streams = [(target(&stdout), 1), (target(&stderr), 2)];
    let (go_read, go_write) = io::pipe().map_err(fail)?;
    let (mut why_read, why_write) = io::pipe().map_err(fail)?;

    // SAFETY: between fork and exec the child makes system calls only; everything
    // that they take was allocated before.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above; the pointers outlive the calls, and the child never returns.
        unsafe {
            libc::close(go_write.as_raw_fd());
            let mut byte = 0u8;
            libc::read(go_read.as_raw_fd(), (&raw mut byte).cast(), 1);
            let ready = libc::chdir(folder.as_ptr()) == 0
                && streams
                    .iter()
                    .all(|(from, to)| from.is_none_or(|from| libc::dup2(from, *to) >= 0))
                && libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const filter) == 0;
            if ready {
                libc::execve(executable.as_ptr(), argv.as_ptr(), envp.as_ptr());
            }
            let error = *libc::__errno_location();
            libc::write(why_write.as_raw_fd(), (&raw const error).cast(), size_of::<c_int>());
            libc::_exit(127)
        }
    }
    if child < 0 {
        return Err(fail(io::Error::last_os_error()));
    }
    drop((go_read, why_write));
    // SAFETY: seizing takes no memory of ours.
    let seized =
        unsafe { libc::ptrace(libc::PTRACE_SEIZE, child, null_mut::<c_void>(), OPTIONS as usize) };
    if let Err(error) = check(seized) {
        // SAFETY: the child is ours and waits on the pipe.
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, null_mut(), 0);
        }
        return Err(Error::NotPermitted(error));
    }
    // The child runs from here on; the caller's loop sees its stops. If it cannot
    // exec, its error is read there.
    drop(go_write);
    let reason = std::thread::Builder::new().name("start".into()).spawn(move || {
        let mut bytes = [0; size_of::<c_int>()];
        io::Read::read_exact(&mut why_read, &mut bytes).ok().map(|()| c_int::from_ne_bytes(bytes))
    });
    START.with(|start| *start.borrow_mut() = reason.ok());
    Ok(child)
}

thread_local! {
    static START: std::cell::RefCell<Option<std::thread::JoinHandle<Option<c_int>>>> =
        const { std::cell::RefCell::new(None) };
}

/// Why the child of [`start`] could not become the program, asked after it ended.
pub fn start_error() -> Option<io::Error> {
    let handle = START.with(|start| start.borrow_mut().take())?;
    handle.join().ok().flatten().map(io::Error::from_raw_os_error)
}

/// The next change of any tracee of this thread; `None` when `block` is false and
/// there is none yet.
///
/// # Errors
/// `ECHILD` when no tracee is left.
pub fn wait(block: bool) -> io::Result<Option<(pid_t, Change)>> {
    const WAIT_OWN_THREAD: c_int = 0x2000_0000;
    let mut status = 0;
    let flags = libc::__WALL | WAIT_OWN_THREAD | if block { 0 } else { libc::WNOHANG };
    // SAFETY: `status` outlives the call.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, flags) };
    let change = match pid {
        -1 => {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(None) } else { Err(error) };
        }
        0 => return Ok(None),
        _ if libc::WIFEXITED(status) => Change::Exited(libc::WEXITSTATUS(status)),
        _ if libc::WIFSIGNALED(status) => Change::Signaled(libc::WTERMSIG(status)),
        _ => Change::Stopped(libc::WSTOPSIG(status), status >> 16),
    };
    Ok(Some((pid, change)))
}

/// Lets a stopped task run: `PTRACE_CONT`, `PTRACE_SYSCALL` or `PTRACE_LISTEN`.
/// A task that was killed meanwhile is not an error.
pub fn resume(request: libc::c_uint, task: pid_t, signal: c_int) {
    // SAFETY: no memory of ours is involved.
    unsafe {
        libc::ptrace(request, task, null_mut::<c_void>(), signal as usize);
    }
}

/// A stopped task's registers.
pub fn registers(task: pid_t) -> io::Result<Registers> {
    let mut registers = MaybeUninit::<Registers>::uninit();
    // SAFETY: the kernel fills the whole structure when it succeeds.
    unsafe {
        check(libc::ptrace(
            libc::PTRACE_GETREGS,
            task,
            null_mut::<c_void>(),
            registers.as_mut_ptr(),
        ))?;
        Ok(registers.assume_init())
    }
}

/// Sets a stopped task's registers.
pub fn set_registers(task: pid_t, registers: &Registers) -> io::Result<()> {
    // SAFETY: the structure outlives the call and is only read.
    let done = unsafe {
        libc::ptrace(libc::PTRACE_SETREGS, task, null_mut::<c_void>(), &raw const *registers)
    };
    check(done).map(|_| ())
}

/// Code and address of the signal that a task stopped for.
pub fn signal_info(task: pid_t) -> io::Result<(c_int, u64)> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the kernel fills the structure; for SIGSEGV the union holds an address.
    unsafe {
        check(libc::ptrace(
            libc::PTRACE_GETSIGINFO,
            task,
            null_mut::<c_void>(),
            info.as_mut_ptr(),
        ))?;
        let info = info.assume_init();
        Ok((info.si_code, info.si_addr() as u64))
    }
}

/// The number that came with a ptrace event.
pub fn event_message(task: pid_t) -> io::Result<pid_t> {
    let mut message: libc::c_ulong = 0;
    // SAFETY: `message` outlives the call.
    check(unsafe {
        libc::ptrace(libc::PTRACE_GETEVENTMSG, task, null_mut::<c_void>(), &raw mut message)
    })?;
    Ok(message as pid_t)
}

/// Reads a tracee's memory; the number of bytes that could be read, from the start.
pub fn read_memory(task: pid_t, address: u64, buffer: &mut [u8]) -> usize {
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let remote = libc::iovec { iov_base: address as *mut c_void, iov_len: buffer.len() };
    // SAFETY: the local range is `buffer`; the remote one is checked by the kernel.
    let count =
        unsafe { libc::process_vm_readv(task, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(count).unwrap_or(0)
}

/// Writes a tracee's writable memory; true if all of it was written.
pub fn write_memory(task: pid_t, address: u64, bytes: &[u8]) -> bool {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address as *mut c_void, iov_len: bytes.len() };
    // SAFETY: the local range is only read; the remote one is checked by the kernel.
    let count =
        unsafe { libc::process_vm_writev(task, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(count) == Ok(bytes.len())
}

/// Runs one instruction of a stopped task and waits for it.
pub fn step(task: pid_t) -> io::Result<Change> {
    let mut status = 0;
    // SAFETY: `status` outlives the call; the task is a tracee of this thread.
    unsafe {
        check(libc::ptrace(
            libc::PTRACE_SINGLESTEP,
            task,
            null_mut::<c_void>(),
            null_mut::<c_void>(),
        ))?;
        if libc::waitpid(task, &raw mut status, libc::__WALL) != task {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(if libc::WIFSTOPPED(status) {
        Change::Stopped(libc::WSTOPSIG(status), status >> 16)
    } else if libc::WIFEXITED(status) {
        Change::Exited(libc::WEXITSTATUS(status))
    } else {
        Change::Signaled(libc::WTERMSIG(status))
    })
}

/// Lets this thread run where `task` last ran. Where that cannot be, it runs where it did.
pub fn go_where(task: pid_t) {
    // The 39th field (proc(5)); the second is a name, which may hold spaces and parentheses.
    let Ok(text) = std::fs::read_to_string(format!("/proc/{task}/stat")) else { return };
    let after = text.rsplit_once(')').map_or("", |(_, after)| after);
    let Some(Ok(number)) = after.split_ascii_whitespace().nth(36).map(str::parse::<usize>) else {
        return;
    };
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: a set of zeros is an empty one; it outlives the call, and the number is below
    // what it has room for.
    unsafe {
        let set = set.assume_init_mut();
        if number < 8 * size_of::<libc::cpu_set_t>() {
            libc::CPU_SET(number, set);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const *set);
        }
    }
}

/// Makes this process the parent of descendants whose own parents end.
pub fn adopt_orphans() {
    // SAFETY: the request takes no memory. Where it is unknown, orphans go to another parent.
    unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    }
}

/// Ends a process.
pub fn kill(process: pid_t) {
    send(process, libc::SIGKILL);
}

/// Sends a signal to a process. One that has ended meanwhile is not an error.
pub fn send(process: pid_t, signal: c_int) {
    // SAFETY: sending a signal touches no memory.
    unsafe {
        libc::kill(process, signal);
    }
}
