//! Which files a system call names.

use crate::process::read_memory;
use crate::{Options, Redirect};
use indexmap::IndexSet;
use libc::pid_t;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The longest path that the kernel takes, with its NUL.
const PATH_MAX: usize = 4096;

/// Folders whose files are the kernel's answers, not files of an environment.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// What the process tree did with files.
#[derive(Debug, Default)]
pub struct Files {
    /// In the order of their first opening.
    pub opened: IndexSet<PathBuf>,
    pub listed: BTreeSet<PathBuf>,
    pub probed: BTreeSet<PathBuf>,
    pub mapped: BTreeSet<PathBuf>,
    pub executed: BTreeSet<PathBuf>,
    /// Folders as they were named, and where they really are.
    folders: HashMap<PathBuf, Option<PathBuf>>,
    /// Paths, as they were named, that were asked about and are no redirection's. A program
    /// that starts asks a dozen times about each folder that it imports from.
    asked: HashSet<PathBuf>,
    redirects: BTreeMap<PathBuf, Redirect>,
    /// Redirection targets, and what they stand for.
    originals: HashMap<PathBuf, PathBuf>,
    roots: Vec<PathBuf>,
}

/// What a system call does with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It opens the file.
    Open,
    /// It asks about it.
    Probe,
}

impl Files {
    /// Nothing seen yet.
    pub fn new(options: &Options) -> Self {
        let originals = options
            .redirects
            .iter()
            .filter_map(|(path, redirect)| match redirect {
                Redirect::To(target) => {
                    let target = target.canonicalize().unwrap_or_else(|_| target.clone());
                    Some((target, path.clone()))
                }
                Redirect::Hide => None,
            })
            .collect();
        Self {
            redirects: options.redirects.clone(),
            originals,
            roots: options.roots.clone(),
            ..Self::default()
        }
    }

    /// Notes that a path was used. The result is where the call should go instead.
    pub fn note(&mut self, path: &Path, purpose: Use) -> Option<Redirect> {
        if purpose == Use::Probe && self.asked.contains(path) {
            return None;
        }
        if KERNEL.iter().any(|folder| path.starts_with(folder)) {
            return None;
        }
        let named = path;
        let path = self.resolve(path)?;
        if let Some(redirect) = self.redirect(&path) {
            if purpose == Use::Open && redirect != Redirect::Hide {
                self.opened.insert(path);
            }
            return Some(redirect);
        }
        if purpose == Use::Probe {
            self.asked.insert(named.into());
        }
        let inside = self.inside(&path);
        if purpose == Use::Probe && !inside {
            return None;
        }
        let about = fs::metadata(&path).ok()?;
        match (purpose, about.is_dir()) {
            (Use::Open, false) => self.opened.insert(path),
            (Use::Open, true) => self.listed.insert(path),
            (Use::Probe, false) => self.probed.insert(path),
            (Use::Probe, true) => return None,
        };
        None
    }

    /// The names that a task must not see in the folder that a descriptor lists.
    pub fn hidden_in(&self, task: pid_t, descriptor: u64) -> Option<BTreeSet<OsString>> {
        if self.redirects.is_empty() {
            return None;
        }
        let folder = fs::read_link(format!("/proc/{task}/fd/{}", descriptor as i32)).ok()?;
        let names: BTreeSet<OsString> = self
            .redirects
            .range(folder.clone()..)
            .take_while(|(path, _)| path.starts_with(&folder))
            .filter(|(path, to)| **to == Redirect::Hide && path.parent() == Some(&folder))
            .filter_map(|(path, _)| path.file_name().map(ToOwned::to_owned))
            .collect();
        (!names.is_empty()).then_some(names)
    }

    /// Whether a path lies below a root.
    pub fn inside(&self, path: &Path) -> bool {
        self.roots.iter().any(|root| path.starts_with(root))
    }

    fn redirect(&self, path: &Path) -> Option<Redirect> {
        if self.redirects.is_empty() {
            return None;
        }
        if let Some(redirect) = self.redirects.get(path) {
            return Some(redirect.clone());
        }
        // A hidden folder hides what is below it.
        path.ancestors()
            .skip(1)
            .any(|folder| self.redirects.get(folder) == Some(&Redirect::Hide))
            .then_some(Redirect::Hide)
    }

    /// The path with its links resolved; of a file that is not there, its folder's.
    /// Folders are resolved once: a program that exchanges folders under its own
    /// feet is seen with the first.
    fn resolve(&mut self, path: &Path) -> Option<PathBuf> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return path.canonicalize().ok();
        };
        let real = if let Some(real) = self.folders.get(folder) {
            real.clone()
        } else {
            let real = folder.canonicalize().ok();
            self.folders.insert(folder.into(), real.clone());
            real
        };
        let path = real?.join(name);
        match fs::symlink_metadata(&path) {
            Ok(about) if about.is_symlink() => path.canonicalize().ok(),
            _ => Some(path),
        }
    }

    /// The file behind a task's descriptor, by the path that it stands for, and by
    /// its own.
    pub fn of_descriptor(&self, task: pid_t, descriptor: u64) -> Option<(PathBuf, PathBuf)> {
        let own = fs::read_link(format!("/proc/{task}/fd/{}", descriptor as i32)).ok()?;
        if !own.is_absolute() {
            return None;
        }
        Some((self.originals.get(&own).cloned().unwrap_or_else(|| own.clone()), own))
    }
}

/// The path that a system call names by a folder's descriptor and a string.
pub fn path_of(task: pid_t, descriptor: u64, address: u64) -> Option<PathBuf> {
    let text = read_string(task, address)?;
    if text.is_empty() {
        return None;
    }
    let path = PathBuf::from(std::ffi::OsString::from_vec(text));
    if path.is_absolute() {
        return Some(path);
    }
    let folder = match descriptor as i32 {
        libc::AT_FDCWD => fs::read_link(format!("/proc/{task}/cwd")),
        descriptor => fs::read_link(format!("/proc/{task}/fd/{descriptor}")),
    };
    Some(folder.ok()?.join(path))
}

/// The string at an address, without its NUL.
fn read_string(task: pid_t, address: u64) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut at = address;
    while text.len() < PATH_MAX {
        // Up to the end of a page: the next one may not be there.
        let length = (256 - at % 256) as usize;
        let mut part = [0; 256];
        let count = read_memory(task, at, &mut part[..length]);
        if count == 0 {
            return None;
        }
        if let Some(end) = part[..count].iter().position(|byte| *byte == 0) {
            text.extend_from_slice(&part[..end]);
            return Some(text);
        }
        text.extend_from_slice(&part[..count]);
        at += count as u64;
    }
    None
}

/// A path as the kernel reads it.
pub fn c_path(path: &Path) -> Vec<u8> {
    let mut bytes = path.as_os_str().as_bytes().to_vec();
    bytes.push(0);
    bytes
}
