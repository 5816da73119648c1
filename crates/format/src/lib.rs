//! What taper and the packages that it makes agree on, each thing once: for the packer, for
//! what reads packages, and for the runtime in users' processes. The Python side of the runtime
//! writes these out; `tests/python.rs` compares them.
//!
//! The note of a library and the store have crates of their own (`note`, `store`).

#![no_std]

/// Where things lie in a package, from its top, with `/` between folders.
pub mod place {
    /// The folder of all that is taper's own.
    pub const OWN: &str = "_taper";
    /// The native side of the runtime.
    pub const RUNTIME: &str = "_taper/libtaper_runtime.so";
    /// The store of cold pages.
    pub const COLD: &str = "_taper/cold";
    /// The store of modules.
    pub const MODULES: &str = "_taper/modules";
    /// The store of what only compilers and linkers read.
    pub const TOOLS: &str = "_taper/tools";
    /// The record of the plan.
    pub const PLAN: &str = "_taper/plan";
    /// The module that says what this package does otherwise than Python.
    pub const PLANNED: &str = "_taper/planned.py";
    /// Modules that the standard library hides: in no folder that is searched.
    pub const BEHIND: &str = "_taper/behind";
}

/// Environment variables of the processes that run from a package.
pub mod variable {
    /// The folder in which what comes back is recorded.
    pub const PROFILE: &core::ffi::CStr = c"TAPER_PROFILE";
    /// Starts as plain Python does.
    pub const EAGER: &str = "TAPER_EAGER";
}

/// The lines of what a process from a package recorded: `page HASH NUMBER LIBRARY`,
/// `module SOURCE`.
pub mod record {
    /// How the line of a page that came back, or was called and is not there, begins.
    pub const PAGE: &str = "page ";
    /// How that of a module begins.
    pub const MODULE: &str = "module ";
    /// How the names of files of records end, after the process's number.
    pub const ENDING: &str = ".restored";
}

/// Symbols with which libraries are tied to the native side of the runtime.
pub mod link {
    /// The function that a library calls: `(note, length, load base, 1)` when it is loaded, with
    /// 0 when it is unloaded.
    pub const FUNCTION: &str = "taper_library";
    /// Functions of the C library that the runtime answers, under a name of its own: they would
    /// take its signal from it.
    pub const ANSWERED: [&str; 6] =
        ["sigaction", "signal", "bsd_signal", "__sysv_signal", "sigprocmask", "pthread_sigmask"];
    /// What the runtime's name for one of [`ANSWERED`] starts with.
    pub const PREFIX: &str = "taper_";
}

/// The numbers by which the native side of the runtime tells the Python side what is wrong with
/// a store; those of the system are above zero.
pub mod store_error {
    /// It is no store, or of another version.
    pub const FOREIGN: i32 = -1;
    /// It is shorter or longer than it says.
    pub const TRUNCATED: i32 = -2;
    /// A hash does not fit.
    pub const DAMAGED: i32 = -3;
    /// It has no such chunk.
    pub const RANGE: i32 = -4;
}

/// `hlt`, with which functions begin that are not in a package where their page is: no program
/// may execute it, and the runtime takes it for what it is.
pub const TRAP: u8 = 0xf4;

/// What stands in the source file of a module that lies in the store, unless a workload
/// read that source. Programs that list folders or ask for files see what they saw
/// before, and whoever runs the file, under whatever name, runs the module. Where the
/// source is in the store too, whoever opens the file in Python reads that.
pub const STUB: &str = "exec(__import__(\"_taper\").code(__file__))\n";

/// The library of PyTorch with the allocators, and the function that gives one, which a package
/// calls for itself (`runtime/python/gates.py`): no workload need have done so.
pub const ALLOCATORS: (&str, &str) =
    ("torch/lib/libc10.so", "_ZN3c1012GetAllocatorERKNS_10DeviceTypeE");
