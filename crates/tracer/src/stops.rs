//! What is done when a system call stops.

use crate::Redirect;
use crate::engine::{Engine, Pending, record};
use crate::files::{Use, c_path, path_of};
use crate::filter::WINDOW_START;
use crate::library::Library;
use crate::process::{self, Registers, read_memory};
use crate::space::{Page, in_window};
use elf::PAGE;
use libc::{c_long, pid_t};
use std::io;
use std::ops::Range;
use std::path::Path;

/// Room between two libraries in the window, and their alignment.
const SLOT: u64 = 2 << 20;

/// The most entries of an array of pointers or buffers that are looked at.
const MAX_ENTRIES: u64 = 1 << 16;

/// The most bytes of one buffer that are opened before a call.
const MAX_BUFFER: u64 = 1 << 30;

/// System calls that take addresses of memory, not of data.
const ABOUT_MEMORY: [c_long; 9] = [
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_mincore,
    libc::SYS_msync,
    libc::SYS_mlock,
    libc::SYS_munlock,
];

fn args(registers: &Registers) -> [u64; 6] {
    let r = registers;
    [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9]
}

impl Engine {
    /// A system call that the filter stopped, before it runs.
    pub fn system_call(&mut self, task: pid_t) -> io::Result<()> {
        let registers = process::registers(task)?;
        let number = registers.orig_rax as c_long;
        if self.options.pages && !ABOUT_MEMORY.contains(&number) {
            let reached = reached(task, number, &args(&registers));
            if self.open_before(task, &registers, &reached)? {
                return Ok(());
            }
        }
        let [first, second, third, ..] = args(&registers);
        let at_folder = libc::AT_FDCWD as u64;
        match number {
            libc::SYS_open | libc::SYS_creat => {
                self.path(task, registers, at_folder, first, Use::Open, 0)?;
            }
            libc::SYS_openat | libc::SYS_openat2 => {
                self.path(task, registers, first, second, Use::Open, 1)?;
            }
            libc::SYS_stat | libc::SYS_lstat | libc::SYS_access | libc::SYS_readlink => {
                self.path(task, registers, at_folder, first, Use::Probe, 0)?;
            }
            libc::SYS_newfstatat
            | libc::SYS_statx
            | libc::SYS_faccessat
            | libc::SYS_faccessat2
            | libc::SYS_readlinkat => {
                self.path(task, registers, first, second, Use::Probe, 1)?;
            }
            libc::SYS_getdents64 => {
                if let Some(hidden) = self.files.hidden_in(task, first) {
                    self.wait_for(task, Pending::List { real: Box::new(registers), hidden });
                }
            }
            libc::SYS_mmap => self.map(task, registers)?,
            libc::SYS_mprotect if self.options.pages && in_window(first) => {
                self.protect(task, registers, first..first + second, third)?;
            }
            libc::SYS_munmap => self.with_space(task, |space| space.unmap(first..first + second)),
            libc::SYS_mremap => {
                self.with_space(task, |space| space.set(first..first + second, Page::Plain));
            }
            _ => {}
        }
        self.go(task, 0);
        Ok(())
    }

    fn with_space(&self, task: pid_t, change: impl FnOnce(&mut crate::space::Space)) {
        if let Some(task) = self.tasks.get(&task) {
            change(&mut task.space.borrow_mut());
        }
    }

    /// Opens closed pages that a call reaches. True if the call was turned into the
    /// opening, after which it runs again.
    fn open_before(
        &mut self,
        task: pid_t,
        registers: &Registers,
        reached: &[Range<u64>],
    ) -> io::Result<bool> {
        let Some(known) = self.tasks.get_mut(&task) else { return Ok(true) };
        let mut space = known.space.borrow_mut();
        let closed = reached.iter().flat_map(|range| space.closed(range.clone())).next();
        let Some((run, protection)) = closed else { return Ok(false) };
        record(&mut self.libraries, &mut space, run.clone(), protection);
        drop(space);
        let mut opening = *registers;
        opening.orig_rax = libc::SYS_mprotect as u64;
        opening.rdi = run.start;
        opening.rsi = run.end - run.start;
        opening.rdx = u64::from(protection);
        known.pending = Some(Pending::Again { real: Box::new(*registers) });
        process::set_registers(task, &opening)?;
        self.go(task, 0);
        Ok(true)
    }

    /// A call that names a file; `place` is the argument that holds the path.
    fn path(
        &mut self,
        task: pid_t,
        mut registers: Registers,
        folder: u64,
        address: u64,
        purpose: Use,
        place: usize,
    ) -> io::Result<()> {
        let Some(path) = path_of(task, folder, address) else { return Ok(()) };
        match self.files.note(&path, purpose) {
            None => {}
            Some(Redirect::Hide) => {
                // No call, and the result of one that found nothing.
                registers.orig_rax = u64::MAX;
                registers.rax = (-i64::from(libc::ENOENT)) as u64;
                process::set_registers(task, &registers)?;
            }
            Some(Redirect::To(target)) => {
                let bytes = c_path(&target);
                // Below the red zone, where a signal handler's frame would go.
                let room = (128 + bytes.len() as u64).next_multiple_of(64);
                let place_on_stack = registers.rsp.wrapping_sub(room);
                if !process::write_memory(task, place_on_stack, &bytes) {
                    return Err(io::Error::other("no room on a stack for a path"));
                }
                match place {
                    0 => registers.rdi = place_on_stack,
                    _ => registers.rsi = place_on_stack,
                }
                process::set_registers(task, &registers)?;
            }
        }
        Ok(())
    }

    /// A mapping of a file, or one into the window.
    fn map(&mut self, task: pid_t, mut registers: Registers) -> io::Result<()> {
        let [address, length, protection, flags, descriptor, offset] = args(&registers);
        let protection = protection as u8;
        let writable = protection & libc::PROT_WRITE as u8 != 0;
        let executable = protection & libc::PROT_EXEC as u8 != 0;
        if descriptor as u32 == u32::MAX {
            let reserves = address == 0 && protection == 0 && self.options.pages;
            if reserves && let Some(wanted) = self.next_slot(task, length) {
                registers.rdi = wanted;
                process::set_registers(task, &registers)?;
            } else if in_window(address) {
                self.with_space(task, |space| {
                    space.set(address..address + length, Page::Plain);
                });
            }
            return Ok(());
        }
        let Some((path, own)) = self.files.of_descriptor(task, descriptor) else { return Ok(()) };
        let named = path.file_name().is_some_and(|name| is_library(&name.to_string_lossy()));
        if executable || named {
            self.files.mapped.insert(path.clone());
        }
        let private = flags as i32 & libc::MAP_PRIVATE != 0;
        if !self.options.pages || !private || !self.files.inside(&path) {
            return Ok(());
        }
        let library = self.library(&path, &own);
        let Some(first) = self.libraries[library].first else { return Ok(()) };
        let Some(known) = self.tasks.get(&task) else { return Ok(()) };
        let stub = known.space.borrow().stub;
        if stub == 0 {
            let real = Box::new(registers);
            registers.rdi = 0;
            registers.rsi = PAGE;
            registers.rdx = (libc::PROT_READ | libc::PROT_EXEC) as u64;
            registers.r10 = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
            registers.r8 = u64::MAX;
            registers.r9 = 0;
            process::set_registers(task, &registers)?;
            self.wait_for(task, Pending::Stub { real });
            return Ok(());
        }
        if in_window(address) {
            // A later segment over the first mapping, or the first in a reservation.
            let state = if writable { Page::Plain } else { Page::Closed(protection) };
            self.with_space(task, |space| {
                if space.page(address).is_none() {
                    space.add(address, length, library, address.wrapping_sub(first));
                }
                space.set(address..address + length, state);
            });
            if !writable {
                registers.rdx = 0;
                process::set_registers(task, &registers)?;
                if executable && !self.libraries[library].patches.is_empty() {
                    self.wait_for(task, Pending::Patch { library });
                }
            }
            return Ok(());
        }
        if address != 0 || writable {
            // A loader that reserves memory in a way of its own.
            if address != 0 && !writable {
                self.libraries[library].unseen(&(offset..offset.saturating_add(length)));
            }
            return Ok(());
        }
        let Some(wanted) = self.next_slot(task, length) else {
            return Err(io::Error::other("a process loaded more than 1 TiB of libraries"));
        };
        registers.rdi = wanted;
        registers.rdx = 0;
        process::set_registers(task, &registers)?;
        self.wait_for(task, Pending::Map { library, length, protection, first, wanted });
        Ok(())
    }

    /// Room for `length` bytes in the window of a task; `None` where it is full.
    fn next_slot(&self, task: pid_t, length: u64) -> Option<u64> {
        let mut space = self.tasks.get(&task)?.space.borrow_mut();
        let wanted = space.next.max(WINDOW_START + SLOT);
        let end = wanted.checked_add(length)?;
        in_window(end).then(|| {
            space.next = (end + SLOT).next_multiple_of(SLOT);
            wanted
        })
    }

    /// The number of the library with this path, whose bytes are in the file `own`.
    fn library(&mut self, path: &Path, own: &Path) -> usize {
        if let Some(known) = self.by_path.get(path) {
            return *known;
        }
        let number = self.libraries.len();
        self.by_path.insert(path.into(), number);
        let patches = self.options.patches.get(path).cloned().unwrap_or_default();
        self.libraries.push(Library::new(path, own, patches));
        number
    }

    /// A change of rights in the window. Read-only memory (the loader's RELRO) is
    /// watched; everything else is as the program asks.
    fn protect(
        &mut self,
        task: pid_t,
        mut registers: Registers,
        range: Range<u64>,
        protection: u64,
    ) -> io::Result<()> {
        let protection = protection as u8;
        let watched = protection != 0 && protection & libc::PROT_WRITE as u8 == 0;
        let state = if watched { Page::Closed(protection) } else { Page::Plain };
        self.with_space(task, |space| space.set(range, state));
        if watched {
            registers.rdx = 0;
            process::set_registers(task, &registers)?;
        }
        Ok(())
    }
}

/// Whether a file's name is that of a shared library: `lib.so`, `lib.so.6`. Names that chance
/// makes, such as glibc's `sem.sok4zs` for a semaphore, are not.
fn is_library(name: &str) -> bool {
    let rests = name.match_indices(".so").map(|(at, _)| &name[at + 3..]);
    rests.into_iter().any(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The memory that a call may read: buffers by their length, everything else
/// (strings, structures) up to a page.
fn reached(task: pid_t, number: c_long, args: &[u64; 6]) -> Vec<Range<u64>> {
    let [first, second, third, fourth, fifth, sixth] = *args;
    let mut ranges: Vec<Range<u64>> = args
        .iter()
        .filter(|arg| in_window(**arg))
        .map(|arg| *arg..arg.saturating_add(PAGE))
        .collect();
    let buffer = |at: u64, length: u64| at..at.saturating_add(length.min(MAX_BUFFER));
    match number {
        libc::SYS_write | libc::SYS_pwrite64 => {
            ranges = vec![buffer(second, third)];
        }
        libc::SYS_sendto => {
            ranges = vec![buffer(second, third), buffer(fifth, sixth)];
        }
        libc::SYS_writev | libc::SYS_pwritev | libc::SYS_pwritev2 | libc::SYS_vmsplice => {
            ranges.extend(vectors(task, second, third));
        }
        libc::SYS_process_vm_writev => ranges.extend(vectors(task, second, third)),
        libc::SYS_sendmsg => ranges.extend(message(task, second)),
        libc::SYS_sendmmsg => {
            let count = third.min(MAX_ENTRIES);
            ranges.extend((0..count).flat_map(|index| message(task, second + index * 64)));
        }
        libc::SYS_execve => {
            ranges.extend(strings(task, second));
            ranges.extend(strings(task, third));
        }
        libc::SYS_execveat => {
            ranges.extend(strings(task, third));
            ranges.extend(strings(task, fourth));
        }
        _ => {}
    }
    let _ = first;
    ranges.retain(|range| in_window(range.start));
    ranges
}

/// The words at an address, as far as they can be read.
fn words(task: pid_t, address: u64, count: u64) -> Vec<u64> {
    let mut bytes = vec![0; (count.min(2 * MAX_ENTRIES) * 8) as usize];
    let length = read_memory(task, address, &mut bytes);
    bytes[..length].as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
}

/// The buffers of an array of `struct iovec`.
fn vectors(task: pid_t, address: u64, count: u64) -> Vec<Range<u64>> {
    words(task, address, count.min(MAX_ENTRIES) * 2)
        .chunks_exact(2)
        .map(|pair| pair[0]..pair[0].saturating_add(pair[1].min(MAX_BUFFER)))
        .collect()
}

/// What a `struct msghdr` points to: name, vectors and their buffers, control data.
fn message(task: pid_t, address: u64) -> Vec<Range<u64>> {
    let [name, name_size, array, count, control, control_size] = words(task, address, 6)[..] else {
        return Vec::new();
    };
    let sized = |at: u64, size: u64| at..at.saturating_add(size.min(MAX_BUFFER));
    let mut ranges = vec![
        sized(name, name_size & 0xffff_ffff),
        sized(array, count.saturating_mul(16)),
        sized(control, control_size),
    ];
    ranges.extend(vectors(task, array, count));
    ranges
}

/// The strings of a null-terminated array of pointers, each up to a page, and the
/// array.
fn strings(task: pid_t, address: u64) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    let mut at = address;
    while address != 0 && (ranges.len() as u64) < MAX_ENTRIES {
        let part = words(task, at, 64);
        let before_end = part.iter().take_while(|word| **word != 0);
        ranges.extend(before_end.map(|word| *word..word.saturating_add(PAGE)));
        if part.len() < 64 || part.contains(&0) {
            break;
        }
        at += 64 * 8;
    }
    ranges.push(address..address.saturating_add((ranges.len() as u64 + 1) * 8));
    ranges
}

#[cfg(test)]
mod tests {
    use super::is_library;

    #[test]
    fn names_of_libraries_are_told_from_others() {
        assert!(["a.so", "libc.so.6", "a.cpython-311.so", "a.sock.so"].into_iter().all(is_library));
        assert!(!["sem.sok4zs", "a.sob", "so", "asso.txt"].into_iter().any(is_library));
    }
}
