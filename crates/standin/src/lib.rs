//! Small shared libraries that stand for ones a package leaves out.
//!
//! A library that stays names one that leaves in `DT_NEEDED` and binds to some of
//! its symbols. The stand-in has the same name and defines those symbols: with
//! the original's code and data where its pages are kept, otherwise with a
//! function that raises a C++ exception which names itself. Nothing of the
//! original is initialised: its constructors are not among what is kept.

mod code;
mod content;
mod entries;
mod file;
mod filled;
mod image;
mod names;
mod parts;
mod places;
mod relocate;
mod request;
mod tables;
mod wanted;

pub use image::{Standin, standin};
pub use request::Request;
pub use wanted::{Wanted, wanted};

/// Why a stand-in could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The original is not understood.
    #[error(transparent)]
    Library(#[from] elf::Error),
    /// It would not have a form that the loader takes.
    #[error("{0}")]
    TooLarge(&'static str),
}
