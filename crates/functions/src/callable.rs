//! What the functions that ran can call, over all libraries of an environment.
//!
//! A trace shows one run. Another takes other branches: it tries again, draws another
//! number, waits for a lock, frees what the first one kept, loads libraries in another order.
//! What those branches call stays: calls are followed through procedure linkage tables
//! and, by name, into every library that defines what is called, since the order of loading
//! decides which copy runs.

use crate::Functions;
use crate::graph::{Graph, Reference};
use crate::place::Place;
use elf::{Error, Library, PageSet};
use std::collections::{HashMap, HashSet, VecDeque};

/// A function that names the addresses of so many others may call any of them. One that
/// names more registers them for others to call: bindings, tables of kernels.
const TAKEN: usize = 1;

/// In libraries that define PyTorch's operators, calls are followed so far from functions that
/// ran: all of what their kernels can call is a quarter more than that, and which of it
/// runs depends on what they compute. What runs by chance is followed to its end.
const STEPS: u8 = 3;

/// A library and what runs were seen to use of it.
pub struct Member<'l, 'a> {
    graph: Graph<'l, 'a>,
    /// Where its functions begin that ran or that the loader calls.
    ran: Vec<u64>,
}

impl<'l, 'a> Member<'l, 'a> {
    /// Reads what code of `library` refers to by symbols and relocations; workloads touched
    /// the pages `touched` of it.
    ///
    /// # Errors
    /// What [`Error`] says of a library that is not understood.
    pub fn new(
        library: &'l Library<'a>,
        functions: &'l Functions,
        touched: &PageSet,
    ) -> Result<Self, Error> {
        let mut ran = library.loader_calls()?;
        ran.extend(functions.ran(library, touched).iter().map(|function| function.code.start));
        Ok(Self { graph: Graph::of(library, functions)?, ran })
    }
}

/// For each of `members`, the addresses of the functions that those which ran can call,
/// themselves among them, ascending. Calls that lead into another operator of PyTorch are
/// not followed, nor are those of its kernels more than a few steps.
pub fn callable(members: &[Member<'_, '_>]) -> Vec<Vec<u64>> {
    let graphs: Vec<&Graph<'_, '_>> = members.iter().map(|member| &member.graph).collect();
    let mut places: HashMap<&str, Vec<(usize, u64)>> = HashMap::new();
    for (index, graph) in graphs.iter().enumerate() {
        for (name, address) in graph.defined() {
            places.entry(name).or_default().push((index, address));
        }
    }
    let (known, open) = (HashSet::new(), VecDeque::new());
    let mut walk = Walk { graphs: &graphs, places: &places, known, open, step: 0 };
    for (index, address) in entered(members, &graphs, &places) {
        walk.enter(index, address);
    }
    for (index, graph) in graphs.iter().enumerate() {
        for place in graph.slots() {
            walk.follow(index, *place, false);
        }
    }
    walk.run();
    let mut found = vec![Vec::new(); members.len()];
    for (index, address) in walk.known {
        found[index].push(address);
    }
    for addresses in &mut found {
        addresses.sort_unstable();
    }
    found
}

/// Those of the functions on touched pages that something can have entered: what ran was
/// called by something that ran, or its address lay in a table, or it has a name that
/// programs ask the loader for. The others are neighbours of what ran.
fn entered(
    members: &[Member<'_, '_>],
    graphs: &[&Graph<'_, '_>],
    places: &HashMap<&str, Vec<(usize, u64)>>,
) -> HashSet<(usize, u64)> {
    let ran: HashSet<(usize, u64)> = members
        .iter()
        .enumerate()
        .flat_map(|(index, member)| member.ran.iter().map(move |address| (index, *address)))
        .collect();
    let mut known = HashSet::new();
    let mut open = Vec::new();
    for (index, graph) in graphs.iter().enumerate() {
        for address in graph.entries() {
            if ran.contains(&(index, address)) && known.insert((index, address)) {
                open.push((index, address));
            }
        }
    }
    while let Some((index, start)) = open.pop() {
        for reference in graphs[index].references(start) {
            let (Reference::Called(place) | Reference::Taken(place)) = reference else { continue };
            let found = match place {
                Place::Own(address) => vec![(index, address)],
                Place::Named(name) => places.get(name).cloned().unwrap_or_default(),
            };
            for (other, address) in found {
                let one = (other, graphs[other].start(address).unwrap_or(address));
                if ran.contains(&one) && known.insert(one) {
                    open.push(one);
                }
            }
        }
    }
    known
}

struct Walk<'w> {
    graphs: &'w [&'w Graph<'w, 'w>],
    /// Where each name is defined.
    places: &'w HashMap<&'w str, Vec<(usize, u64)>>,
    /// Libraries and starts of functions in them.
    known: HashSet<(usize, u64)>,
    /// The same with how far they are from functions that ran, which ascends.
    open: VecDeque<(usize, u64, u8)>,
    /// How far what is entered now is.
    step: u8,
}

impl<'w> Walk<'w> {
    /// Follows the function that has the code at `address`.
    fn enter(&mut self, index: usize, address: u64) {
        let start = self.graphs[index].start(address).unwrap_or(address);
        if self.known.insert((index, start)) {
            // What is on the way is no step of its own: the nearest come first all the same.
            if self.graphs[index].is_chance(start) {
                self.open.push_front((index, start, self.step.saturating_sub(1)));
            } else {
                self.open.push_back((index, start, self.step));
            }
        }
    }

    fn run(&mut self) {
        let (graphs, places) = (self.graphs, self.places);
        while let Some((index, start, step)) = self.open.pop_front() {
            let graph = graphs[index];
            if graph.has_operators() && step >= STEPS && !graph.is_chance(start) {
                continue;
            }
            self.step = step.saturating_add(1);
            // Copies of it in other libraries run where these are loaded first.
            for name in graph.names(start) {
                for (other, address) in places.get(name).into_iter().flatten() {
                    self.enter(*other, *address);
                }
            }
            let found = graph.references(start);
            let taken = found.iter().filter(|one| matches!(one, Reference::Taken(_))).count();
            let few = taken <= TAKEN || !graph.has_names();
            for reference in found {
                match reference {
                    Reference::Called(place) => self.follow(index, place, false),
                    Reference::Taken(place) => self.follow(index, place, !few),
                    Reference::Table(place) => self.table(index, place),
                }
            }
        }
    }

    /// The functions at `place`, unless they begin another operator; only those that end
    /// what lives if `ends`.
    fn follow(&mut self, index: usize, place: Place<'w>, ends: bool) {
        for (other, address) in self.resolve(index, place) {
            let graph = self.graphs[other];
            if !graph.is_operator(address) && (!ends || graph.ends(address)) {
                self.enter(other, address);
            }
        }
    }

    /// What a table of virtual functions has for the end of its objects.
    fn table(&mut self, index: usize, place: Place<'w>) {
        for (other, address) in self.resolve(index, place) {
            for slot in self.graphs[other].virtuals(address) {
                self.follow(other, slot, true);
            }
        }
    }

    fn resolve(&self, index: usize, place: Place<'w>) -> Vec<(usize, u64)> {
        match place {
            Place::Own(address) => vec![(index, address)],
            Place::Named(name) => self.places.get(name).cloned().unwrap_or_default(),
        }
    }
}
