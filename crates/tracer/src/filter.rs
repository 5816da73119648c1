//! The seccomp filter that decides which system calls stop.
//!
//! Classic BPF over `struct seccomp_data` (linux/seccomp.h): number at 0,
//! architecture at 4, six arguments of eight bytes from 16.

use libc::sock_filter;

/// Where protected libraries are placed: its first address. Nothing else is
/// mapped there: the kernel places mappings from the top of the address space,
/// and programs at its bottom or near 0x5555_5555_4000.
pub const WINDOW_START: u64 = 0x2000_0000_0000;
/// One past the window's last address: 1 TiB.
pub const WINDOW_END: u64 = 0x2100_0000_0000;

/// The sixth argument of system calls that the tracer itself makes in a tracee:
/// the filter lets them pass. Any value that no program uses there will do.
pub const COOKIE: u64 = 0x7461_7065_7200_0000;

const ARCHITECTURE: u32 = 0xc000_003e;
const X32_BIT: u32 = 0x4000_0000;
const MMAP: u32 = libc::SYS_mmap as u32;

/// The flags of a reservation by the loader, but for those that the kernel ignores and that
/// glibc gives from 2.43 on.
const RESERVATION: u32 = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u32;
const IGNORED: u32 = (libc::MAP_DENYWRITE | libc::MAP_EXECUTABLE) as u32;

const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const TRACE: u32 = 0x7ff0_0000;

/// System calls that always stop: they name files, list folders, or hold pointers
/// inside structures.
const ALWAYS: [libc::c_long; 20] = [
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_creat,
    libc::SYS_lstat,
    libc::SYS_getdents64,
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_writev,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_vmsplice,
    libc::SYS_process_vm_writev,
];

/// System calls that stop where probes are asked for. Python's imports make them by
/// the ten thousand; half of them are `realpath` asking of each folder on a path whether
/// it is a link (`AT_SYMLINK_NOFOLLOW`). Those pass: who then uses the file names it once
/// more, and a file that is asked about in no other way is not seen.
const PROBES: [libc::c_long; 3] = [libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_stat];

fn op(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Offset of the low or high half of argument `index`.
fn half(index: u32, high: bool) -> u32 {
    16 + index * 8 + if high { 4 } else { 0 }
}

/// The filter's program; with `probes`, calls that only ask about files stop too. Other architectures and the x32 interface pass untouched.
pub fn program(probes: bool) -> Vec<sock_filter> {
    // Jumps to the end are written as distances once the length is known.
    const TO_ALLOW: u8 = 254;
    const TO_TRACE: u8 = 255;
    let mut code = vec![
        op(LOAD, 4, 0, 0),
        op(JUMP_EQUAL, ARCHITECTURE, 0, TO_ALLOW),
        op(LOAD, half(5, true), 0, 0),
        op(JUMP_EQUAL, (COOKIE >> 32) as u32, 0, 2),
        op(LOAD, half(5, false), 0, 0),
        op(JUMP_EQUAL, COOKIE as u32, TO_ALLOW, 0),
        op(LOAD, 0, 0, 0),
        op(JUMP_AT_LEAST, X32_BIT, TO_ALLOW, 0),
    ];
    for number in ALWAYS {
        code.push(op(JUMP_EQUAL, number as u32, TO_TRACE, 0));
    }
    if probes {
        for number in PROBES {
            // An fstat in disguise, with an empty path, names no file.
            let passes = (libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW) as u32;
            code.push(op(JUMP_EQUAL, number as u32, 0, 3));
            let flags =
                if number == libc::SYS_newfstatat { half(3, false) } else { half(2, false) };
            code.push(op(LOAD, flags, 0, 0));
            let none = if number == libc::SYS_stat { 0 } else { passes };
            code.push(op(JUMP_ANY_BIT, none, 0, TO_TRACE));
            code.push(op(LOAD, 0, 0, 0));
        }
    }
    // A file's mapping stops. So does a reservation of address space, private,
    // anonymous and without rights: the loader makes one for a library that asks for
    // more than a page's alignment. Other anonymous memory (descriptor -1) passes.
    code.push(op(JUMP_EQUAL, MMAP, 0, 7));
    code.push(op(LOAD, half(4, false), 0, 0));
    code.push(op(JUMP_EQUAL, u32::MAX, 0, TO_TRACE));
    code.push(op(LOAD, half(2, false), 0, 0));
    code.push(op(JUMP_EQUAL, 0, 0, 3));
    code.push(op(LOAD, half(3, false), 0, 0));
    code.push(op(AND, !IGNORED, 0, 0));
    code.push(op(JUMP_EQUAL, RESERVATION, TO_TRACE, 0));
    code.push(op(LOAD, 0, 0, 0));
    for index in 0..6 {
        code.push(op(LOAD, half(index, true), 0, 0));
        code.push(op(JUMP_AT_LEAST, (WINDOW_START >> 32) as u32, 0, 1));
        code.push(op(JUMP_AT_LEAST, (WINDOW_END >> 32) as u32, 0, TO_TRACE));
    }
    code.push(op(RETURN, ALLOW, 0, 0));
    code.push(op(RETURN, TRACE, 0, 0));
    let length = code.len();
    for (at, instruction) in code.iter_mut().enumerate() {
        let allow = length.saturating_sub(3 + at) as u8;
        let trace = length.saturating_sub(2 + at) as u8;
        for jump in [&mut instruction.jt, &mut instruction.jf] {
            match *jump {
                TO_ALLOW => *jump = allow,
                TO_TRACE => *jump = trace,
                _ => {}
            }
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Interprets the program for a system call.
    fn stops(number: libc::c_long, args: [u64; 6]) -> bool {
        let mut data = Vec::new();
        data.extend((number as u32).to_le_bytes());
        data.extend(ARCHITECTURE.to_le_bytes());
        data.extend(0u64.to_le_bytes());
        data.extend(args.iter().flat_map(|arg| arg.to_le_bytes()));
        let code = program(true);
        let (mut at, mut value) = (0, 0u32);
        loop {
            let op = code[at];
            at += 1;
            let taken = match op.code {
                LOAD => {
                    let place = op.k as usize;
                    value = u32::from_le_bytes(data[place..place + 4].try_into().unwrap());
                    continue;
                }
                AND => {
                    value &= op.k;
                    continue;
                }
                JUMP_EQUAL => value == op.k,
                JUMP_AT_LEAST => value >= op.k,
                JUMP_ANY_BIT => value & op.k != 0,
                RETURN => return op.k == TRACE,
                other => panic!("{other}"),
            };
            at += usize::from(if taken { op.jt } else { op.jf });
        }
    }

    #[test]
    fn window_arguments_stop_and_others_pass() {
        let inside = WINDOW_START + 0x1234;
        assert!(program(true).len() < 250);
        for place in 0..6 {
            let mut args = [1; 6];
            args[place] = inside;
            assert!(stops(libc::SYS_write, args), "argument {place}");
            args[place] = WINDOW_END;
            assert!(!stops(libc::SYS_write, args));
            args[place] = WINDOW_START - 1;
            assert!(!stops(libc::SYS_write, args));
        }
        assert!(stops(libc::SYS_openat, [0; 6]));
        assert!(stops(libc::SYS_mmap, [0, 4096, 1, 2, 5, 0]));
        assert!(!stops(libc::SYS_mmap, [0, 4096, 3, 0x22, u64::from(u32::MAX), 0]));
        assert!(stops(libc::SYS_mmap, [0, 4096, 0, 0x22, u64::from(u32::MAX), 0]));
        // glibc 2.43 adds MAP_DENYWRITE.
        assert!(stops(libc::SYS_mmap, [0, 4096, 0, 0x822, u64::from(u32::MAX), 0]));
        assert!(!stops(libc::SYS_mmap, [0, 4096, 0, 0x4022, u64::from(u32::MAX), 0]));
        assert!(stops(libc::SYS_newfstatat, [3, 1, 2, 0, 0, 0]));
        assert!(!stops(libc::SYS_newfstatat, [3, 1, 2, 0x1000, 0, 0]));
        assert!(!stops(libc::SYS_newfstatat, [3, 1, 2, 0x100, 0, 0]));
        assert!(stops(libc::SYS_newfstatat, [3, inside, 2, 0x100, 0, 0]));
        assert!(stops(libc::SYS_newfstatat, [3, inside, 2, 0, 0, 0]));
        assert!(!stops(libc::SYS_mprotect, [inside, 4096, 1, 0, 0, COOKIE]));
        assert!(stops(libc::SYS_mprotect, [inside, 4096, 1, 0, 0, 0]));
    }
}
