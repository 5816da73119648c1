//! `taper pack`: the driver of the phases.

use super::summary::Summary;
use super::{dry_run, verify as verify_command};
use crate::args::{Global, Pack};
use crate::exit::Exit;
use anyhow::Result;
use assemble::{Asked, Outcome, Packing, manifest};
use environment::{Environment, Interpreter};
use package::{Manifest, Stage};
use plan::{Action, Plan};
use planner::{Choice, Device, Options};
use profile::Profile;
use report::{Printer, bad_input, megabytes};
use startup::{Looking, Observing, Proofs};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use verify::Verdict;
use workload::{Identities, Order, Runs, State, TargetView, restored, scope, target_view};

/// Runs the command.
pub fn run(command: &Pack, global: &Global, printer: &Printer) -> Result<Exit> {
    let interpreter = Interpreter::find(global.python.as_deref())?;
    let asked = Meant::of(command, &interpreter)?;
    // A name that is taken is said before minutes of tracing, not after.
    let stage = if command.dry_run { None } else { Some(Stage::new(&command.to)?) };
    let _cleaning = stage.as_ref().map(|stage| signals::remove_on_signal(stage.path()));

    let environment = scan(interpreter, &asked.options, printer)?;
    let state = State::of(&environment);
    let proofs = Proofs::of(&environment, asked.eager || command.no_cache);
    let looking = (!asked.eager).then(|| Looking::start(&environment, &proofs));
    let device = &command.target.target;
    let view =
        printer.phase("view", || target_view::of(&environment, device, &asked.options.without))?;
    tell_left(&view, &environment, &asked.options, printer);
    let profile = asked.profile(&environment, &view, printer)?;
    // What is in scope depends on what runs used.
    let keep = &asked.options.keep;
    let environment = scope::used(environment, &profile, keep, &asked.workload, printer);
    let (profile, deferred) = match looking {
        Some(looking) => startup::groups(&environment, profile, looking, printer),
        None => (profile, Vec::new()),
    };
    let planning = || planner::plan(&environment, &profile, &view.gpu, &asked.options);
    let plan = printer.phase("plan", planning)?;
    tell_changed(&plan, &environment, printer);
    let Some(stage) = stage else {
        dry_run::tell(&plan, global, printer)?;
        return Ok(Exit::Done);
    };

    let packing = Packing {
        environment: &environment,
        view: &view,
        profile: &profile,
        deferred: &deferred,
        plan: &plan,
        asked: asked.beside_plan(),
    };
    let observing = if asked.eager {
        Observing::nothing()
    } else {
        startup::observe(&environment, &plan, &proofs)
    };
    let outcome =
        printer.phase("write", || assemble::write(&packing, observing, &stage, printer))?;
    let mut manifest = manifest::manifest(&packing, &outcome)?;
    manifest::write(&stage, &mut manifest, &outcome)?;
    if exceeds(command.budget, &manifest) {
        return Ok(Exit::DoesNotHold);
    }
    let verdict = asked.verify(&environment.interpreter, &stage, printer)?;
    if let Some(verdict) = &verdict {
        manifest.verified = Some(verdict.holds);
        manifest::write(&stage, &mut manifest, &outcome)?;
    }
    state.check(&environment)?;
    let place = signals::finish(|| stage.finish())?;
    let report = Report {
        place: &place,
        manifest: &manifest,
        outcome: &outcome,
        verdict: verdict.as_ref(),
        workload: &asked.shown(),
    };
    report.tell(&packing, &command.to, global, printer);
    let holds = verdict.is_none_or(|verdict| verdict.holds);
    Ok(if holds { Exit::Done } else { Exit::DoesNotHold })
}

/// What the driver of GPUs answers at.
const GPU: &str = "/dev/nvidiactl";

/// What a person asked for, as it is meant.
struct Meant<'a> {
    command: &'a Pack,
    /// The profiles that were given.
    profiles: Vec<Profile>,
    /// The folders of records that were given.
    records: Vec<&'a PathBuf>,
    workload: Vec<OsString>,
    runs: Runs,
    options: Options,
    /// Whether modules run as in Python.
    eager: bool,
}

impl<'a> Meant<'a> {
    /// Reads the profiles of `command`, whose workload `interpreter` must be able to start.
    fn of(command: &'a Pack, interpreter: &Interpreter) -> Result<Self> {
        let (files, records) = restored::divided(&command.profile);
        let profiles = files.into_iter().map(|path| Profile::read(path));
        let profiles = profiles.collect::<Result<Vec<_>, _>>()?;
        let workload = if command.command.is_empty() {
            workload::default_workload()
        } else {
            command.command.clone()
        };
        workload::can_start(interpreter, &workload)?;
        let options = Options {
            cold: command.cold.plan(),
            keep: Choice::new(&command.keep),
            drop: Choice::new(&command.drop),
            without: command.without.clone(),
            vendor: command.vendor.plan(),
        };
        if !options.without.is_empty() && command.target.target == Device::Cpu {
            return Err(bad_input(
                "--without is about GPUs, all of which a package with --target cpu is without; name \
                 one, as in --target sm_90"
                    .to_owned(),
            ));
        }
        let without_gpu = profiles.is_empty() && !Path::new(GPU).exists();
        if command.target.target != Device::Cpu && options.cold == plan::Cold::Drop && without_gpu {
            return Err(bad_input(format!(
                "--cold drop keeps what a run used, and a run on this machine uses no GPU (there is \
                 no {GPU}): trace on one that has a GPU and pack with --profile, or keep cold code"
            )));
        }
        // Without cold code, a package has what the traced runs called, and in those all modules
        // had run: where some have not, even the end of a program calls something else.
        let eager = command.eager || options.cold == plan::Cold::Drop;
        let runs = command.run.runs();
        Ok(Self { command, profiles, records, workload, runs, options, eager })
    }

    /// What of it is not in the plan.
    fn beside_plan(&self) -> Asked<'a> {
        let command = self.command;
        Asked {
            level: command.level.store(),
            eager: command.eager,
            cpu: command.target.cpu.processors().name(),
            keep: &command.keep,
            drop: &command.drop,
        }
    }

    /// What runs in the package: of profiles, what was traced.
    fn shown(&self) -> Vec<OsString> {
        match self.profiles.iter().flat_map(|profile| &profile.runs).next() {
            Some(run) if self.command.command.is_empty() => {
                run.command.iter().map(Into::into).collect()
            }
            _ => self.workload.clone(),
        }
    }

    /// Whether the workload is to run in the package.
    fn verifies(&self) -> bool {
        let command = self.command;
        let runs = self.profiles.is_empty() || !command.command.is_empty();
        !command.no_verify && !command.dry_run && runs
    }

    /// What workloads use: as the profiles say or, without any, as a trace shows; and what
    /// packages brought back.
    fn profile(
        &self,
        environment: &Environment,
        view: &TargetView,
        printer: &Printer,
    ) -> Result<Profile> {
        let device = self.command.target.target.to_string();
        let profile = if self.profiles.is_empty() {
            let then = if self.verifies() { [("to verify", 2)].as_slice() } else { &[] };
            let order = Order { command: &self.workload, runs: &self.runs, then };
            let cpu = self.command.target.cpu.processors();
            workload::trace(environment, view, &order, &device, cpu, printer)?
        } else {
            printer.phase("profile", || fitting(environment, &self.profiles, &device))?
        };
        restored::learned(environment, profile, &self.records, printer)
    }

    /// Runs the workload in the environment of `interpreter` and in the package; `None` where
    /// that is not asked for.
    fn verify(
        &self,
        interpreter: &Interpreter,
        stage: &Stage,
        printer: &Printer,
    ) -> Result<Option<Verdict>> {
        if !self.verifies() || self.runs.allowed(2) < 2 {
            return Ok(None);
        }
        let verdict = printer.phase("verify", || {
            verify::verify(interpreter, stage.path(), &self.workload, self.runs.stop_after)
        })?;
        verify_command::tell(&verdict, printer);
        Ok(Some(verdict))
    }
}

/// Lists the environment of `interpreter`, in which the names of `options` mean something.
fn scan(interpreter: Interpreter, options: &Options, printer: &Printer) -> Result<Environment> {
    let environment = printer.phase("scan", || Environment::scan(interpreter))?;
    environment.torch()?;
    planner::has_libraries_of_torch(&environment)?;
    if let Some(problem) = environment.problems.first() {
        return Err(bad_input(problem.to_string()));
    }
    scope::tell(&environment);
    options.keep.check_early("keep", &environment)?;
    options.drop.check_early("drop", &environment)?;
    Ok(environment)
}

/// Says what of `environment` leaves with the features that are left out.
fn tell_left(view: &TargetView, environment: &Environment, options: &Options, printer: &Printer) {
    for feature in &options.without {
        let bytes = view.gpu.size_of(environment, feature);
        let (name, about) = (feature.name, feature.about);
        printer.say(&format!("without {name}: {} that serve {about}", megabytes(bytes)));
    }
}

/// Says which distributions under NVIDIA's own licence have files that `plan` changes.
fn tell_changed(plan: &Plan, environment: &Environment, printer: &Printer) {
    let theirs = planner::proprietary(environment);
    let changed = plan.files.iter().filter(|file| matches!(file.action, Action::Shrink(_)));
    let owners = changed.filter_map(|file| environment.files[file.index].distribution);
    let owners: BTreeSet<usize> = owners.filter(|owner| theirs.contains(owner)).collect();
    if owners.is_empty() {
        return;
    }
    let names: Vec<&str> =
        owners.iter().map(|owner| environment.distributions[*owner].name.as_str()).collect();
    printer.say(&format!(
        "changes files of {}, whose licence is NVIDIA's own (in each one's .dist-info): whether \
         that is allowed is yours to decide; --vendor whole leaves them as they are",
        names.join(", ")
    ));
}

/// One profile from several, checked against the environment and the target.
fn fitting(environment: &Environment, profiles: &[Profile], target: &str) -> Result<Profile> {
    let interpreter = &environment.interpreter;
    let mut all = Profile::new(&interpreter.version, &environment.torch()?.version, target);
    for profile in profiles {
        all.merge(profile)?;
    }
    let mut identities = Identities::new(environment);
    all.check_fits(|name| identities.content(name))?;
    Ok(all)
}

/// Whether the package that `manifest` describes is larger than the `budget`, in bytes; then it
/// says so.
fn exceeds(budget: Option<u64>, manifest: &Manifest) -> bool {
    let size = manifest.bytes.package;
    let Some(budget) = budget.filter(|budget| size > *budget) else { return false };
    Printer::warn(&format!(
        "the package would have {}, over the budget of {}; nothing was written",
        megabytes(size),
        megabytes(budget)
    ));
    true
}

/// What a person, or a program, is told of a package that is done.
struct Report<'a> {
    place: &'a Path,
    manifest: &'a Manifest,
    outcome: &'a Outcome,
    verdict: Option<&'a Verdict>,
    workload: &'a [OsString],
}

impl Report<'_> {
    fn tell(&self, packing: &Packing<'_>, to: &Path, global: &Global, printer: &Printer) {
        let Self { place, manifest, outcome, verdict, workload } = *self;
        let Packing { environment, profile, plan, deferred, .. } = *packing;
        for (path, why) in &plan.whole {
            printer.say(&format!("kept whole: {path}: {why}"));
        }
        if global.json {
            let document = serde_json::json!({
                "package": place,
                "manifest": manifest,
                "verdict": verdict,
                "seconds": printer.seconds(),
            });
            println!("{document:#}");
        } else {
            let summary =
                Summary { to, manifest, outcome, plan, profile, deferred, environment, workload };
            summary.tell(printer);
        }
    }
}
