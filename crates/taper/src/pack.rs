//! `taper pack`: the driver of the phases.

use crate::args::{Global, Pack};
use crate::exit::{Exit, bad_input};
use crate::modules::Otherwise;
use crate::plan_record::Known;
use crate::proofs::Proofs;
use crate::ready::{self, Observing};
use crate::runs::Runs;
use crate::summary::Summary;
use crate::talk::{Talk, megabytes};
use crate::trace::{self, Identities, Order, trace};
use crate::unchanged::State;
use crate::waiting::{self, Looking};
use crate::write::{self, Sources};
use crate::{interrupt, learn, scope, verify_command, view};
use anyhow::{Context, Result};
use environment::{Environment, Interpreter};
use package::{Bytes, FORMAT, Files, MANIFEST, Manifest, Stage};
use plan::{Action, Choice, Options, Plan};
use profile::Profile;
use std::ffi::OsString;

/// Runs the command.
pub fn run(command: &Pack, global: &Global, talk: &Talk) -> Result<Exit> {
    let interpreter = Interpreter::find(global.python.as_deref())?;
    let mut profiles = Vec::new();
    let (files, records) = learn::divided(&command.profile);
    for path in files {
        profiles.push(Profile::read(path)?);
    }
    let workload = if command.command.is_empty() {
        trace::default_workload(&interpreter)
    } else {
        command.command.clone()
    };
    trace::can_start(&interpreter, &workload)?;
    // A name that is taken is said before minutes of tracing, not after.
    let stage = if command.dry_run { None } else { Some(Stage::new(&command.to)?) };
    let _cleaning = stage.as_ref().map(|stage| interrupt::remove_on_signal(stage.path()));

    let environment = talk.phase("scan", || Environment::scan(interpreter))?;
    environment.torch()?;
    if let Some(problem) = environment.problems.first() {
        return Err(bad_input(problem.to_string()));
    }
    scope::tell(&environment);
    let options = Options {
        cold: command.cold.plan(),
        keep: Choice::new(&command.keep),
        drop: Choice::new(&command.drop),
    };
    options.keep.check_early("keep", &environment)?;
    options.drop.check_early("drop", &environment)?;
    let state = State::of(&environment);
    // Without cold code, a package has what the traced runs called, and in those all bodies had
    // run: where some have not, even the end of a program calls something else.
    let eager = command.eager || options.cold == plan::Cold::Drop;
    let proofs = Proofs::of(&environment, eager || command.no_cache);
    let looking = (!eager).then(|| Looking::start(&environment, &proofs));
    let view = talk.phase("view", || view::for_cpu(&environment))?;
    let target = command.target.target.name();
    let runs = Runs::new(&command.run);
    let verifies = !command.no_verify
        && !command.dry_run
        && (profiles.is_empty() || !command.command.is_empty());
    let then = if verifies { [("to verify", 2)].as_slice() } else { &[] };
    let order = Order { command: &workload, runs: &runs, then };
    // Of profiles, what was traced runs in the package.
    let shown: Vec<OsString> = match profiles.iter().flat_map(|profile| &profile.runs).next() {
        Some(run) if command.command.is_empty() => run.command.iter().map(Into::into).collect(),
        _ => workload.clone(),
    };
    let mut profile = if profiles.is_empty() {
        trace(&environment, &view, &order, target, command.target.cpu, talk)?
    } else {
        talk.phase("profile", || fitting(&environment, &profiles, target))?
    };
    learn::learn(&environment, &mut profile, &records, talk)?;
    // What is in scope depends on what runs used.
    let environment = scope::used(environment, &profile, &options.keep, &workload, talk);
    let deferred = looking
        .map(|looking| waiting::groups(&environment, &mut profile, looking, talk))
        .unwrap_or_default();
    let plan = talk.phase("plan", || plan::plan(&environment, &profile, &view.gpu, &options))?;
    let Some(stage) = stage else {
        tell_plan(&plan, global, talk)?;
        return Ok(Exit::Done);
    };

    let observing =
        if eager { Observing::nothing() } else { ready::observe(&environment, &plan, &proofs) };
    let outcome = talk.phase("write", || {
        let level = command.level.store();
        let sources = Sources { environment: &environment, view: &view, plan: &plan, level };
        let known = Known {
            gpu: &view.gpu,
            profile: &profile,
            otherwise: Otherwise { deferred: &deferred, eager: command.eager },
            cpu: command.target.cpu.name(),
            eager: command.eager,
            keep: &command.keep,
            drop: &command.drop,
        };
        write::write(&sources, &known, observing, &stage, talk)
    })?;
    let original: u64 = plan.files.iter().map(|file| file.size).sum();
    let others: u64 = outcome.written.iter().map(|file| file.size).sum();
    let mut manifest = Manifest {
        format: FORMAT,
        taper: env!("CARGO_PKG_VERSION").into(),
        python: environment.interpreter.version.clone(),
        torch: environment.torch()?.version.clone(),
        target: target.into(),
        cpu: command.target.cpu.name().into(),
        capabilities: profile.capabilities().into_iter().map(str::to_owned).collect(),
        cold: command.cold.name().into(),
        bytes: Bytes {
            original,
            hot: outcome.hot,
            cold_stored: outcome.stored,
            cold_original: outcome.stored_original,
            out: original.saturating_sub(outcome.hot + outcome.stored_original),
            ..Bytes::default()
        },
        files: Files {
            original: plan.files.len() as u64,
            package: outcome.written.len() as u64 + 1,
        },
        verified: None,
        reasons: outcome.reasons.clone(),
        deferred: deferred.iter().map(waiting::described).collect(),
        remembered: ready::described(&outcome.observed),
        whole: plan.whole.clone(),
    };
    describe(&stage, &mut manifest, others)?;
    if let Some(budget) = command.budget
        && manifest.bytes.package > budget
    {
        Talk::warn(&format!(
            "the package would have {}, over the budget of {}; nothing was written",
            megabytes(manifest.bytes.package),
            megabytes(budget)
        ));
        return Ok(Exit::DoesNotHold);
    }
    let mut verdict = None;
    if verifies && runs.allowed(2) == 2 {
        let found = talk.phase("verify", || {
            verify::verify(&environment.interpreter, stage.path(), &workload, runs.stop_after)
        })?;
        verify_command::tell(&found, talk);
        manifest.verified = Some(found.holds);
        describe(&stage, &mut manifest, others)?;
        verdict = Some(found);
    }
    state.check(&environment)?;
    let out = interrupt::finish(|| stage.finish())?;
    for (path, why) in &plan.whole {
        talk.say(&format!("kept whole: {path}: {why}"));
    }
    if global.json {
        let document = serde_json::json!({
            "package": out,
            "manifest": manifest,
            "verdict": verdict,
            "seconds": talk.seconds(),
        });
        println!("{document:#}");
    } else {
        let summary = Summary {
            to: &command.to,
            manifest: &manifest,
            outcome: &outcome,
            plan: &plan,
            profile: &profile,
            environment: &environment,
            workload: &shown,
        };
        summary.tell(talk);
    }
    let holds = verdict.is_none_or(|verdict| verdict.holds);
    Ok(if holds { Exit::Done } else { Exit::DoesNotHold })
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

/// Writes the description into the stage.
fn describe(stage: &Stage, manifest: &mut Manifest, others: u64) -> Result<()> {
    let text = manifest.to_bytes(others);
    let path = stage.path().join(MANIFEST);
    std::fs::write(&path, text).with_context(|| format!("cannot write {MANIFEST}"))
}

/// Shows what would be done.
fn tell_plan(plan: &Plan, global: &Global, talk: &Talk) -> Result<()> {
    if global.json {
        println!("{}", serde_json::to_string_pretty(plan)?);
        return Ok(());
    }
    let mut sums = std::collections::BTreeMap::new();
    for file in &plan.files {
        let kept = match &file.action {
            Action::Leave
            | Action::Compress
            | Action::Text
            | Action::Module { source: false, .. } => 0,
            Action::Shrink(pages) => file.size.saturating_sub(pages.absent_bytes()),
            Action::StandIn { keep } => keep.len() * elf::PAGE,
            Action::Copy
            | Action::CopyTo { .. }
            | Action::Module { source: true, .. }
            | Action::Record => file.size,
        };
        let sum: &mut (u64, u64, u64) = sums.entry(file.reason).or_default();
        *sum = (sum.0 + 1, sum.1 + file.size, sum.2 + kept);
    }
    for (reason, (files, original, kept)) in sums {
        talk.say(&format!(
            "{files:>7} files {:>10} of {:>10}  {}",
            megabytes(kept),
            megabytes(original),
            reason.text()
        ));
    }
    Ok(())
}
