//! The values of the phases before a package is written, and the writing of them.

use crate::args::Pack;
use crate::modules::Otherwise;
use crate::plan_record::Known;
use crate::printer::Printer;
use crate::remembered::Observing;
use crate::target_view::TargetView;
use crate::write::{self, Outcome, Sources};
use anyhow::Result;
use defer::Group;
use environment::Environment;
use package::Stage;
use plan::Plan;
use profile::Profile;

/// What a package is made of: the values of the phases before it is written.
pub struct Packing<'a> {
    /// What was asked for.
    pub command: &'a Pack,
    /// What is packed.
    pub environment: &'a Environment,
    /// What the package is to stand for.
    pub view: &'a TargetView,
    /// What workloads used.
    pub profile: &'a Profile,
    /// Modules whose bodies may wait.
    pub deferred: &'a [Group],
    /// What becomes of each file.
    pub plan: &'a Plan,
}

impl Packing<'_> {
    /// Writes the package's files into `stage`, and reads them again.
    ///
    /// # Errors
    /// What cannot be read, written, or is not as it was planned.
    pub fn write(&self, observing: Observing, stage: &Stage, printer: &Printer) -> Result<Outcome> {
        let Self { command, environment, view, profile, deferred, plan } = *self;
        let sources = Sources { environment, view, plan, level: command.level.store() };
        let known = Known {
            gpu: &view.gpu,
            profile,
            otherwise: Otherwise { deferred, eager: command.eager },
            cpu: command.target.cpu.name(),
            eager: command.eager,
            keep: &command.keep,
            drop: &command.drop,
        };
        write::write(&sources, &known, observing, stage, printer)
    }
}
