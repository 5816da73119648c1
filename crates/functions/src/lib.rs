//! Functions of shared libraries: their extents, the data that they name, and the
//! tables by which exceptions pass through them.
//!
//! Addresses are unrelocated virtual addresses. Everything read is untrusted. Formats:
//! Linux Standard Base 4 (10.6, `.eh_frame`), DWARF 4 (6.4) and the exception handling
//! tables of the Itanium C++ ABI as GCC and LLVM write them.

mod addressed;
mod area;
mod bytes;
mod callable;
mod demangle;
mod frames;
mod functions;
mod graph;
mod linkage;
mod place;
mod reached;
mod references;
mod slots;
mod tables;

pub use addressed::addressed;
pub use callable::{Member, callable};
pub use demangle::{Detail, demangled};
pub use functions::{Function, Functions, Whole};
pub use reached::reached;
pub use references::{called_through, named};
pub use tables::{Tables, tables};
