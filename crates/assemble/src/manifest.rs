//! The package's description of itself, `taper.json`.

use crate::Packing;
use crate::outcome::Outcome;
use anyhow::{Context, Result};
use package::{Bytes, FORMAT, Files, MANIFEST, Manifest, Stage};

/// What a package says of itself that was made of `packing` and became `outcome`; whether it was
/// verified is not known yet, nor how large the description is.
///
/// # Errors
/// The environment has no torch, which the scan would have said.
pub fn manifest(packing: &Packing<'_>, outcome: &Outcome) -> Result<Manifest> {
    let Packing { environment, profile, plan, deferred, asked, .. } = *packing;
    let original: u64 = plan.files.iter().map(|file| file.size).sum();
    Ok(Manifest {
        format: FORMAT,
        taper: env!("CARGO_PKG_VERSION").into(),
        python: environment.interpreter.version.clone(),
        torch: environment.torch()?.version.clone(),
        target: plan.target.clone(),
        cpu: asked.cpu.into(),
        capabilities: profile.capabilities().into_iter().map(str::to_owned).collect(),
        cold: plan.cold.name().into(),
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
        deferred: deferred.iter().map(startup::described_group).collect(),
        remembered: startup::described_answers(&outcome.observed),
        whole: plan.whole.clone(),
    })
}

/// Writes the description of the package in `stage`, all other files of which are those of
/// `outcome`, and counts its own size in it.
///
/// # Errors
/// The file cannot be written.
pub fn write(stage: &Stage, manifest: &mut Manifest, outcome: &Outcome) -> Result<()> {
    let others = outcome.written.iter().map(|file| file.size).sum();
    let text = manifest.to_bytes(others);
    let path = stage.path().join(MANIFEST);
    std::fs::write(&path, text).with_context(|| format!("cannot write {MANIFEST}"))
}
