//! Files and memory, by system calls.

use core::ffi::{CStr, c_int};
use core::ptr;

/// The calling thread's `errno`.
fn errno() -> c_int {
    // SAFETY: the C library gives each thread a valid place.
    unsafe { *libc::__errno_location() }
}

/// Maps the file at `path` to read, for as long as the process lives.
///
/// # Errors
/// The number of the system's error.
pub fn file(path: &CStr) -> Result<&'static [u8], c_int> {
    // SAFETY: a valid path; the descriptor is closed on every way out, and the mapping
    // is never removed. The file belongs to the package, which nobody writes to.
    unsafe {
        let descriptor = libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if descriptor < 0 {
            return Err(errno());
        }
        // `fstat` would bind the library to glibc 2.33.
        let end = libc::lseek(descriptor, 0, libc::SEEK_END);
        let mut result = Err(libc::EINVAL);
        if end < 0 {
            result = Err(errno());
        } else if end > 0 {
            let size = end as usize;
            let (access, kind) = (libc::PROT_READ, libc::MAP_PRIVATE);
            let at = libc::mmap(ptr::null_mut(), size, access, kind, descriptor, 0);
            result = if at == libc::MAP_FAILED {
                Err(errno())
            } else {
                Ok(core::slice::from_raw_parts(at.cast(), size))
            };
        }
        libc::close(descriptor);
        result
    }
}

/// Zeroed memory that is given back when dropped.
pub struct Memory {
    at: *mut u64,
    bytes: usize,
}

impl Memory {
    /// Asks the kernel for at least `bytes` bytes.
    pub fn new(bytes: usize) -> Option<Self> {
        let bytes = bytes.max(1).next_multiple_of(4096);
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh anonymous mapping.
        let at = unsafe { libc::mmap(ptr::null_mut(), bytes, access, kind, -1, 0) };
        (at != libc::MAP_FAILED).then_some(Self { at: at.cast(), bytes })
    }

    /// Gives the memory away, to stay for as long as the process lives.
    pub fn keep(self) -> *mut u64 {
        core::mem::ManuallyDrop::new(self).at
    }

    /// The memory, in words of eight bytes.
    pub fn words(&mut self) -> &mut [u64] {
        // SAFETY: the mapping is this long, aligned to a page, and owned by `self`.
        unsafe { core::slice::from_raw_parts_mut(self.at, self.bytes / 8) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is owned and nothing refers to it any more.
        unsafe { libc::munmap(self.at.cast(), self.bytes) };
    }
}
