//! What a person is told: progress, warnings, sizes, and errors of their own input.
//!
//! What commands say while they work goes to standard error through this crate. Results, on standard
//! output, and exit codes are the command line's.

mod bad_input;
mod printer;
mod words;

pub use bad_input::{BadInput, bad_input};
pub use printer::Printer;
pub use words::{megabytes, quoted};
