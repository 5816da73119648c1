//! The loop that follows a process tree from stop to stop.

use crate::files::Files;
use crate::filter::COOKIE;
use crate::library::Library;
use crate::process::{self, Change, Registers};
use crate::space::{Page, Space, in_window};
use crate::{Error, Observations, Options, Status, Workload};
use elf::{PAGE, PageSet};
use libc::{c_int, pid_t};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long processes may outlive the first one.
const GRACE: Duration = Duration::from_secs(5);

/// After so many stops the tracer goes to the processor that the task runs on. One of the
/// two waits for the other all the time: on one processor that is a switch of a microsecond,
/// on two it is waking one that sleeps.
const STAY: u64 = 128;

/// Pages that are opened one by one in one address space. Each may cost two
/// mappings of the 65,530 that a process has by default; past this, sixteen
/// neighbours are opened, and count as touched, together.
const SINGLE_PAGES: u64 = 24_000;

/// A fault at one place that comes back after its page was opened is the program's.
const RETRIES: u32 = 3;

/// Opens a page and goes on as if nothing had happened: `syscall`, then the
/// registers that it and the request for it changed, from the stack below the red
/// zone (128 bytes, x86-64 psABI 3.2.2), then `ret 128`.
const STUB: [u8; 15] =
    [0x0f, 0x05, 0x5f, 0x5e, 0x5a, 0x59, 0x41, 0x5b, 0x41, 0x59, 0x58, 0x9d, 0xc2, 0x80, 0x00];

/// What to do when a system call that was let through returns.
#[derive(Debug)]
pub enum Pending {
    /// A library's first mapping: library, length, protection, first page's address.
    Map { library: usize, length: u64, protection: u8, first: u64, wanted: u64 },
    /// A further mapping of a library with patches.
    Patch { library: usize },
    /// Memory for the stub; then the real call again.
    Stub { real: Box<Registers> },
    /// Pages were opened; then the real call again.
    Again { real: Box<Registers> },
    /// A folder is listed from which names must go.
    List { real: Box<Registers>, hidden: BTreeSet<OsString> },
}

/// A thread or process.
#[derive(Debug)]
pub struct Task {
    pub space: Rc<RefCell<Space>>,
    pub pending: Option<Pending>,
    /// Whether it is a thread besides its process's first.
    thread: bool,
    /// The last fault: address, instruction, and how often in a row.
    last: (u64, u64, u32),
}

/// Everything that is known of the process tree.
#[derive(Debug)]
pub struct Engine {
    pub options: Options,
    pub files: Files,
    pub libraries: Vec<Library>,
    pub by_path: HashMap<PathBuf, usize>,
    pub tasks: HashMap<pid_t, Task>,
    /// New tasks that stopped before their creator told of them.
    early: Vec<pid_t>,
    faults: u64,
    stops: u64,
    processes: u64,
}

/// Runs a workload on the calling thread.
pub fn run(workload: Workload, options: &Options) -> Result<Observations, Error> {
    let program = workload.program.clone();
    let first = process::start(workload, options.probes)?;
    let mut engine = Engine {
        options: options.clone(),
        files: Files::new(options),
        libraries: Vec::new(),
        by_path: HashMap::new(),
        tasks: HashMap::new(),
        early: Vec::new(),
        faults: 0,
        stops: 0,
        processes: 1,
    };
    engine.tasks.insert(first, Task::new(Rc::default()));
    let status = engine.follow(first)?;
    if engine.files.executed.is_empty()
        && let Some(source) = process::start_error()
    {
        return Err(Error::Start { program, source });
    }
    let mut libraries: BTreeMap<PathBuf, PageSet> = BTreeMap::new();
    let mut threaded = BTreeSet::new();
    for library in engine.libraries.into_iter().filter(|library| library.first.is_some()) {
        if library.threaded {
            threaded.insert(library.path.clone());
        }
        libraries.insert(library.path, library.pages);
    }
    let Files { opened, listed, mut probed, mapped, executed, .. } = engine.files;
    probed.retain(|path| !opened.contains(path));
    Ok(Observations {
        status,
        libraries,
        threaded,
        mapped,
        opened,
        listed,
        probed,
        executed,
        processes: engine.processes,
        faults: engine.faults,
        stops: engine.stops,
    })
}

impl Task {
    fn new(space: Rc<RefCell<Space>>) -> Self {
        Self { space, pending: None, thread: false, last: (0, 0, 0) }
    }
}

impl Engine {
    /// Handles changes until no task is left.
    fn follow(&mut self, first: pid_t) -> Result<Status, Error> {
        let mut status = None;
        let mut deadline: Option<Instant> = None;
        self.options.stopper.runs(first);
        loop {
            let (task, change) = match process::wait(deadline.is_none()) {
                Ok(Some(change)) => change,
                Ok(None) => {
                    if let Some(end) = deadline {
                        if Instant::now() > end {
                            self.tasks.keys().for_each(|task| process::kill(*task));
                        }
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    continue;
                }
                Err(error) if error.raw_os_error() == Some(libc::ECHILD) => break,
                Err(source) => return Err(Error::Failed { what: "waiting", source }),
            };
            if let Change::Stopped(signal, 0) = change
                && task == first
            {
                self.options.stopper.reached(signal);
            }
            let (signal, event) = match change {
                Change::Exited(code) => {
                    self.tasks.remove(&task);
                    if task == first {
                        self.options.stopper.runs(0);
                        status = Some(Status::Exited(code));
                        deadline = Some(Instant::now() + GRACE);
                    }
                    continue;
                }
                Change::Signaled(signal) => {
                    self.tasks.remove(&task);
                    if task == first {
                        self.options.stopper.runs(0);
                        status = Some(Status::Signaled(signal));
                        deadline = Some(Instant::now() + GRACE);
                    }
                    continue;
                }
                Change::Stopped(signal, event) => (signal, event),
            };
            if self.stops.is_multiple_of(STAY) {
                process::go_where(task);
            }
            self.stops += 1;
            self.stopped(task, signal, event)?;
        }
        status.ok_or_else(|| Error::Failed {
            what: "waiting for the first process",
            source: io::Error::other("it disappeared"),
        })
    }

    fn stopped(&mut self, task: pid_t, signal: c_int, event: c_int) -> Result<(), Error> {
        if !self.tasks.contains_key(&task) {
            // Its creator's event is still to come.
            self.early.push(task);
            return Ok(());
        }
        // A task that was killed in between makes requests fail with ESRCH; its end
        // is reported next.
        let handled = match event {
            0 if signal == libc::SIGTRAP | 0x80 => self.returned(task),
            0 if signal == libc::SIGSEGV => self.fault(task),
            0 => {
                self.go(task, signal);
                Ok(())
            }
            libc::PTRACE_EVENT_SECCOMP => self.system_call(task),
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                self.created(task, event)
            }
            libc::PTRACE_EVENT_EXEC => self.replaced(task),
            libc::PTRACE_EVENT_STOP => {
                let group = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
                if group.contains(&signal) {
                    process::resume(libc::PTRACE_LISTEN, task, 0);
                } else {
                    self.go(task, 0);
                }
                Ok(())
            }
            _ => {
                self.go(task, 0);
                Ok(())
            }
        };
        match handled {
            Err(source) if source.raw_os_error() != Some(libc::ESRCH) => {
                Err(Error::Failed { what: "handling a stop", source })
            }
            _ => Ok(()),
        }
    }

    /// Notes what to do when the system call that a task makes returns.
    pub fn wait_for(&mut self, task: pid_t, pending: Pending) {
        if let Some(task) = self.tasks.get_mut(&task) {
            task.pending = Some(pending);
        }
    }

    /// Lets a task run on, to the return of its system call if something waits for it.
    pub fn go(&self, task: pid_t, signal: c_int) {
        let waits = self.tasks.get(&task).is_some_and(|task| task.pending.is_some());
        let request = if waits { libc::PTRACE_SYSCALL } else { libc::PTRACE_CONT };
        process::resume(request, task, signal);
    }

    /// A new task: it shares its creator's memory or has a copy.
    fn created(&mut self, task: pid_t, event: c_int) -> io::Result<()> {
        let child = process::event_message(task)?;
        let registers = process::registers(task)?;
        let flags = match registers.orig_rax as i64 {
            libc::SYS_clone => registers.rdi,
            libc::SYS_clone3 => {
                let mut flags = [0; 8];
                process::read_memory(task, registers.rdi, &mut flags);
                u64::from_le_bytes(flags)
            }
            _ if event == libc::PTRACE_EVENT_VFORK => libc::CLONE_VM as u64,
            _ => 0,
        };
        let space = &self.tasks[&task].space;
        let space = if flags & libc::CLONE_VM as u64 != 0 {
            Rc::clone(space)
        } else {
            Rc::new(RefCell::new(space.borrow().clone()))
        };
        if flags & libc::CLONE_THREAD as u64 == 0 {
            self.processes += 1;
        }
        let thread = flags & libc::CLONE_THREAD as u64 != 0;
        self.tasks.insert(child, Task { thread, ..Task::new(space) });
        if let Some(at) = self.early.iter().position(|early| *early == child) {
            self.early.swap_remove(at);
            self.go(child, 0);
        }
        self.go(task, 0);
        Ok(())
    }

    /// A new program: nothing is mapped, and it has this one task.
    fn replaced(&mut self, task: pid_t) -> io::Result<()> {
        // A thread that execs takes over the process's number.
        let former = process::event_message(task)?;
        if former != task {
            self.tasks.remove(&former);
        }
        self.tasks.insert(task, Task::new(Rc::default()));
        if let Ok(program) = std::fs::read_link(format!("/proc/{task}/exe")) {
            self.files.executed.insert(program);
        }
        self.go(task, 0);
        Ok(())
    }

    /// A segmentation fault: the first touch of a page, or the program's own.
    fn fault(&mut self, task: pid_t) -> io::Result<()> {
        let (_, address) = process::signal_info(task)?;
        if !in_window(address) {
            self.go(task, libc::SIGSEGV);
            return Ok(());
        }
        let registers = process::registers(task)?;
        let Some(known) = self.tasks.get_mut(&task) else { return Ok(()) };
        let mut space = known.space.borrow_mut();
        // Open: another thread was faster, or the right that is missing is another one.
        let Some((Page::Closed(protection) | Page::Open(protection), ..)) = space.page(address)
        else {
            drop(space);
            self.go(task, libc::SIGSEGV);
            return Ok(());
        };
        let again = known.last.0 == address && known.last.1 == registers.rip;
        known.last = (address, registers.rip, if again { known.last.2 + 1 } else { 0 });
        if known.last.2 >= RETRIES {
            known.last = (0, 0, 0);
            drop(space);
            self.go(task, libc::SIGSEGV);
            return Ok(());
        }
        let page = address & !(PAGE - 1);
        let mut range = page..page + PAGE;
        let together = match space.page(address) {
            Some((_, library, number)) if self.libraries[library].table(number).is_some() => {
                let base = page.wrapping_sub(number * PAGE);
                let table = self.libraries[library].table(number);
                table.map(|table| base.wrapping_add(table.start)..base.wrapping_add(table.end))
            }
            _ if space.opened >= SINGLE_PAGES => {
                let chunk = page & !(16 * PAGE - 1);
                Some(chunk..chunk + 16 * PAGE)
            }
            _ => None,
        };
        if let Some(together) = together {
            let runs = space.closed(together);
            range = runs
                .into_iter()
                .map(|(run, _)| run)
                .find(|run| run.contains(&page))
                .unwrap_or(range);
        }
        space.opened += 1;
        let stub = space.stub;
        if known.thread
            && let Some((_, library, _)) = space.page(address)
        {
            self.libraries[library].threaded = true;
        }
        record(&mut self.libraries, &mut space, range.clone(), protection);
        drop(space);
        self.faults += 1;
        open_and_return(task, &registers, stub, &range, protection)?;
        process::resume(libc::PTRACE_CONT, task, 0);
        Ok(())
    }

    /// A system call that something waited for has returned.
    fn returned(&mut self, task: pid_t) -> io::Result<()> {
        let Some(known) = self.tasks.get_mut(&task) else { return Ok(()) };
        let Some(pending) = known.pending.take() else {
            self.go(task, 0);
            return Ok(());
        };
        let space = Rc::clone(&known.space);
        let registers = process::registers(task)?;
        match pending {
            Pending::Map { library, length, protection, first, wanted } => {
                if registers.rax == wanted {
                    let mut space = space.borrow_mut();
                    let base = wanted.wrapping_sub(first);
                    space.add(wanted, length, library, base);
                    space.set(wanted..wanted + length, Page::Closed(protection));
                    drop(space);
                    self.patch(task, library, base, protection, wanted..wanted + length)?;
                } else if (registers.rax as i64) > 0 {
                    return Err(io::Error::other("the kernel placed a library elsewhere"));
                }
            }
            Pending::Patch { library } => {
                let address = registers.rax;
                let slot = space.borrow_mut().page(address);
                if let Some((Page::Closed(protection), _, number)) = slot {
                    let base = (address & !(PAGE - 1)).wrapping_sub(number * PAGE);
                    let range = address..address + registers.rsi;
                    self.patch(task, library, base, protection, range)?;
                }
            }
            Pending::Stub { real } => {
                let address = registers.rax;
                let memory = File::options().write(true).open(format!("/proc/{task}/mem"))?;
                memory.write_all_at(&STUB, address)?;
                space.borrow_mut().stub = address;
                process::set_registers(task, &repeat(&real))?;
            }
            Pending::Again { real } => process::set_registers(task, &repeat(&real))?,
            Pending::List { real, hidden } => {
                let length = usize::try_from(registers.rax as i64).unwrap_or(0);
                let mut entries = vec![0; length];
                process::read_memory(task, real.rsi, &mut entries);
                let left = without(&entries, &hidden);
                if left.is_empty() && length > 0 {
                    // Nothing left is not the end of the folder.
                    process::set_registers(task, &repeat(&real))?;
                    self.wait_for(task, Pending::List { real, hidden });
                } else if left.len() < length {
                    process::write_memory(task, real.rsi, &left);
                    let mut registers = registers;
                    registers.rax = left.len() as u64;
                    process::set_registers(task, &registers)?;
                }
            }
        }
        self.go(task, 0);
        Ok(())
    }

    /// Puts a library's patches over code that was just mapped.
    fn patch(
        &self,
        task: pid_t,
        library: usize,
        base: u64,
        protection: u8,
        range: std::ops::Range<u64>,
    ) -> io::Result<()> {
        if protection & crate::space::EXECUTE == 0 {
            return Ok(());
        }
        for patch in &self.libraries[library].patches {
            let address = base.wrapping_add(patch.address);
            if range.contains(&address) {
                let memory = File::options().write(true).open(format!("/proc/{task}/mem"))?;
                memory.write_all_at(&patch.bytes, address)?;
            }
        }
        Ok(())
    }
}

/// A list of `struct linux_dirent64` without some names: 8 bytes inode, 8 bytes
/// offset, 2 bytes record length, 1 byte type, the name (getdents64(2)).
fn without(entries: &[u8], hidden: &BTreeSet<OsString>) -> Vec<u8> {
    let mut left = Vec::with_capacity(entries.len());
    let mut rest = entries;
    while let Some(length) =
        rest.get(16..18).map(|two| usize::from(two[0]) | usize::from(two[1]) << 8)
        && let Some((entry, after)) = rest.split_at_checked(length.max(19))
    {
        let name = entry[19..].split(|byte| *byte == 0).next().unwrap_or_default();
        if !hidden.contains(OsStr::from_bytes(name)) {
            left.extend_from_slice(entry);
        }
        rest = after;
    }
    left
}

/// The registers that make a task enter a system call once more.
fn repeat(real: &Registers) -> Registers {
    let mut registers = *real;
    registers.rax = real.orig_rax;
    registers.orig_rax = u64::MAX;
    // The instruction has two bytes.
    registers.rip = real.rip - 2;
    registers
}

/// Marks the pages of a range as touched and open.
pub fn record(
    libraries: &mut [Library],
    space: &mut Space,
    range: std::ops::Range<u64>,
    protection: u8,
) {
    for page in range.clone().step_by(PAGE as usize) {
        if let Some((_, library, number)) = space.page(page) {
            libraries[library].pages.insert(number);
        }
    }
    space.set(range, Page::Open(protection));
}

/// Makes a stopped task open `range` and go on where it stopped.
fn open_and_return(
    task: pid_t,
    registers: &Registers,
    stub: u64,
    range: &std::ops::Range<u64>,
    protection: u8,
) -> io::Result<()> {
    let mut request = *registers;
    request.rax = libc::SYS_mprotect as u64;
    request.rdi = range.start;
    request.rsi = range.end - range.start;
    request.rdx = u64::from(protection);
    request.r9 = COOKIE;
    request.rip = stub;
    request.orig_rax = u64::MAX;
    let saved = [
        registers.rdi,
        registers.rsi,
        registers.rdx,
        registers.rcx,
        registers.r11,
        registers.r9,
        registers.rax,
        registers.eflags,
        registers.rip,
    ];
    let mut block = [0; 72];
    for (bytes, word) in block.chunks_exact_mut(8).zip(saved) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    request.rsp = registers.rsp.wrapping_sub(128 + 72);
    if process::write_memory(task, request.rsp, &block) {
        return process::set_registers(task, &request);
    }
    // No room on the stack: run the system call alone and put everything back.
    request.rsp = registers.rsp;
    process::set_registers(task, &request)?;
    process::step(task)?;
    process::set_registers(task, registers)
}
