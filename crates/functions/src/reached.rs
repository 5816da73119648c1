//! What code reaches without leaving its library.

use crate::Functions;
use crate::linkage::Linkage;
use crate::references::branches;
use elf::{Library, PageSet};
use std::collections::BTreeSet;

/// The pages of all code that calls and jumps reach from the code at `entered`, with the
/// data that it names. Calls through pointers and to other libraries are not followed.
pub fn reached(library: &Library<'_>, functions: &Functions, entered: &[u64]) -> PageSet {
    let mut known: BTreeSet<u64> = entered.iter().copied().collect();
    let mut open: Vec<u64> = entered.to_vec();
    let linkage = Linkage::of(library);
    while let Some(at) = open.pop() {
        // What no entry covers is read up to the end of its page.
        let code = match functions.at(at) {
            Some(function) => function.code.clone(),
            None => at..(at | (elf::PAGE - 1)).saturating_add(1),
        };
        let targets = branches(library, &code).into_iter().map(|(_, target)| target);
        let targets = targets.flat_map(|target| [Some(target), linkage.get(target)]).flatten();
        open.extend(targets.filter(|target| known.insert(*target)));
    }
    let entered: Vec<u64> = known.into_iter().collect();
    functions.whole(library, &PageSet::new(), &entered).pages
}
