//! What a person is told once a package is there.

use assemble::Outcome;
use environment::Environment;
use package::Manifest;
use plan::{Action, Plan};
use profile::Profile;
use report::quoted;
use report::{Printer, megabytes};
use startup::defer::Group;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

/// Distributions that are named, and the bytes under which one is not worth it.
const NAMED: usize = 8;
const WORTH: u64 = 1_000_000;

/// The package as a whole: its place, and what is said of it.
pub struct Summary<'a> {
    /// The name that a person gave it.
    pub to: &'a Path,
    /// What describes it.
    pub manifest: &'a Manifest,
    /// What was written.
    pub outcome: &'a Outcome,
    /// What was decided.
    pub plan: &'a Plan,
    /// What runs used.
    pub profile: &'a Profile,
    /// What was to be deferred.
    pub deferred: &'a [Group],
    /// What was packed.
    pub environment: &'a Environment,
    /// What runs in it.
    pub workload: &'a [OsString],
}

impl Summary<'_> {
    /// Tells of the package: sizes, what is largest and why, what no run used, how to run it.
    pub fn tell(&self, printer: &Printer) {
        let Manifest { bytes, files, .. } = self.manifest;
        printer.say(&format!(
            "{}: {} in {} files, from {} in {} files",
            self.to.display(),
            megabytes(bytes.package),
            files.package,
            megabytes(bytes.original),
            files.original
        ));
        printer.say("largest:");
        for (path, size, reason) in &self.outcome.largest {
            printer.say(&format!("  {:>9}  {path}: {}", megabytes(*size), reason.text()));
        }
        let unused = unused(self.environment, self.plan, self.profile);
        if !unused.is_empty() {
            let shown: Vec<String> = unused
                .iter()
                .take(NAMED)
                .map(|(name, size)| format!("{name} ({})", megabytes(*size)))
                .collect();
            let more = match unused.len() - shown.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            printer.say(&format!(
                "no run used these distributions, with their bytes before packing: {}{more}; \
                 --drop {} leaves the first out",
                shown.join(", "),
                quoted(&unused[0].0)
            ));
        }
        for group in self.deferred.iter().filter(|group| !group.may_be_deferred()) {
            printer.say(&not_deferred(group));
        }
        let words: Vec<String> =
            self.workload.iter().map(|word| quoted(&word.to_string_lossy())).collect();
        let place = std::path::absolute(self.to).unwrap_or_else(|_| self.to.into());
        printer.say(&format!(
            "to run it, with a Python {} that has nothing installed:\n  PYTHONPATH={} {}",
            self.manifest.python,
            quoted(&place.to_string_lossy()),
            words.join(" ")
        ));
    }
}

/// Why modules run as in Python, and what that costs.
fn not_deferred(group: &Group) -> String {
    let cost = match group.percent {
        0 => String::new(),
        percent => format!(", which costs {percent} % of the time of the import"),
    };
    let more = match group.objections.len() {
        0 | 1 => String::new(),
        number => format!(" (and {} more in taper.json)", number - 1),
    };
    let reason = group.objections.first().map_or("", String::as_str);
    format!("not deferred: {}{cost}; what speaks against it: {reason}{more}", group.root)
}

/// Distributions that are in the package and of which no run opened a file besides metadata,
/// with the bytes of theirs that are kept, hot or cold, the largest first.
fn unused(environment: &Environment, plan: &Plan, profile: &Profile) -> Vec<(String, u64)> {
    let source = |path: &String| environment::source_of(path).unwrap_or_else(|| path.clone());
    let touched: BTreeSet<String> =
        profile.opened.iter().map(source).chain(profile.libraries.keys().cloned()).collect();
    let mut sums = vec![(0, false); environment.distributions.len()];
    for file in &plan.files {
        let Some(owner) = environment.files[file.index].distribution else { continue };
        let metadata = file.path.contains(".dist-info/") || file.path.contains(".egg-info/");
        if file.action != Action::Leave {
            sums[owner].0 += file.size;
        }
        sums[owner].1 |= !metadata && touched.contains(&file.path);
    }
    let mut unused: Vec<(String, u64)> = environment
        .distributions
        .iter()
        .zip(sums)
        .filter(|(_, (size, used))| !used && *size >= WORTH)
        .map(|(distribution, (size, _))| (distribution.name.clone(), size))
        .collect();
    unused.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    unused
}
