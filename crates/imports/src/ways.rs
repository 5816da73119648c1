//! Which imports lead to the modules that were imported.

use crate::graph::{Edge, Graph, Hot, Step, reached};
use std::collections::{BTreeMap, BTreeSet};

/// Imports with each kind of doubt, most doubtful first, the sum of all last.
type Cost = [usize; 5];

/// By module, the last import on the way to it; none for those that nothing hot imports.
#[derive(Debug, Clone, Default)]
pub struct Ways(BTreeMap<String, Option<Step>>);

impl Ways {
    /// The imports that lead from one of the [`Graph::roots`] to `to`: those of which least is
    /// left open about whether they run, and of those the fewest. Empty for a root itself;
    /// `None` for a module that is not hot.
    pub fn chain(&self, to: &str) -> Option<Vec<Step>> {
        let mut chain = Vec::new();
        let mut at = to;
        while let Some(step) = self.0.get(at)? {
            chain.push(step.clone());
            at = &step.importer;
        }
        chain.reverse();
        Some(chain)
    }
}

impl Graph {
    /// The imports of one hot module by another that may have run.
    fn hot_edges<'g>(&'g self, hot: &'g Hot, from: &str) -> impl Iterator<Item = &'g Edge> {
        let before = hot.get(from).copied().flatten();
        let edges = self.node(from).map(|node| node.edges.as_slice()).unwrap_or_default();
        let from = from.to_owned();
        edges.iter().filter(move |edge| {
            let after = hot.get(&edge.target);
            let ordered = |after: Option<u64>| before.zip(after).is_none_or(|(a, b)| a < b);
            edge.target != from
                && edge.doubt().is_some()
                && after.is_some_and(|&after| ordered(after))
        })
    }

    /// The modules of `hot` that none of them imports: those that the application does itself,
    /// or a call whose text does not say what. Where modules import each other and no order is
    /// known, the one with the shortest name of them.
    pub fn roots(&self, hot: &Hot) -> BTreeSet<String> {
        let mut roots: BTreeSet<String> = hot.keys().cloned().collect();
        for from in hot.keys() {
            for edge in self.hot_edges(hot, from) {
                roots.remove(&edge.target);
            }
        }
        loop {
            let reached = reached(&roots, |from| {
                self.hot_edges(hot, from).map(|edge| edge.target.as_str()).collect()
            });
            let rest = hot.keys().filter(|name| !reached.contains(*name));
            let Some(first) = rest.min_by_key(|name| (name.len(), *name)) else { return roots };
            roots.insert(first.clone());
        }
    }

    /// For each module of `hot`, the imports that lead to it.
    pub fn ways(&self, hot: &Hot) -> Ways {
        let mut best: BTreeMap<String, (Cost, Option<Step>)> = BTreeMap::new();
        let mut open: BTreeSet<(Cost, String)> = BTreeSet::new();
        for root in self.roots(hot) {
            best.insert(root.clone(), (Cost::default(), None));
            open.insert((Cost::default(), root));
        }
        while let Some((cost, from)) = open.pop_first() {
            for edge in self.hot_edges(hot, &from) {
                let mut next = cost;
                next[4] += 1;
                if let Some(doubt @ 1..=4) = edge.doubt() {
                    next[4 - doubt] += 1;
                }
                if best.get(&edge.target).is_none_or(|(known, _)| next < *known) {
                    let step = Step { importer: from.clone(), edge: edge.clone() };
                    let before = best.insert(edge.target.clone(), (next, Some(step)));
                    if let Some((before, _)) = before {
                        open.remove(&(before, edge.target.clone()));
                    }
                    open.insert((next, edge.target.clone()));
                }
            }
        }
        Ways(best.into_iter().map(|(name, (_, step))| (name, step)).collect())
    }
}
