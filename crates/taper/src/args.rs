//! The command line as it is typed.

use clap::{Args, Parser, Subcommand, ValueEnum};
use planner::{Device, Feature};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Make the PyTorch that an application deploys small.
#[derive(Debug, Parser)]
#[command(name = "taper", version, max_term_width = 100)]
pub struct Arguments {
    /// Flags that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Args)]
pub struct Global {
    /// Print the result on standard output as one JSON document.
    #[arg(long, global = true)]
    pub json: bool,
    /// Say nothing but errors and warnings.
    #[arg(long, global = true)]
    pub quiet: bool,
    /// The interpreter whose environment is meant [default: python3 of $VIRTUAL_ENV or of the PATH].
    #[arg(long, global = true, value_name = "PY")]
    pub python: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show where the bytes of the environment are.
    Inspect(Inspect),
    /// Run a workload and record what it uses.
    Trace(Trace),
    /// Trace a workload, write a package that holds what it uses, and verify it.
    Pack(Pack),
    /// Run a command in the original environment and in a package, and compare.
    Verify(Verify),
    /// Say why something is hot, cold or out in a package.
    Explain(Explain),
    /// Say what the imports of an application's sources cost, and rewrite those that can wait.
    Lint(Lint),
    /// List the operators that models and profiles use, also as PyTorch's selective build reads
    /// them.
    Ops(Ops),
    /// Build PyTorch from its sources with what an application needs.
    Build(Build),
}

/// Flags of `inspect`.
#[derive(Debug, Args)]
pub struct Inspect {}

/// Flags of `trace`.
#[derive(Debug, Args)]
pub struct Trace {
    /// The profile to write.
    #[arg(short, long = "output", value_name = "P.profile")]
    pub output: PathBuf,
    /// Add to the profile if it is there.
    #[arg(long)]
    pub append: bool,
    /// How the package will run: the workload sees the environment as it would be there.
    #[command(flatten)]
    pub target: TargetArguments,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub run: RunArguments,
    /// The workload.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// Where the package will run.
#[derive(Debug, Args)]
pub struct TargetArguments {
    /// The device: cpu, or the architectures of GPUs, as in sm_90 or sm_80,sm_90. With +ptx behind
    /// the last, code stays that newer GPUs can compile.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub target: Device,
    /// The CPU instruction set that the package must run on. Libraries pick code for the
    /// processor at run time; the workload is traced once for each choice that this allows.
    #[arg(long, value_enum, default_value_t = Cpu::Any)]
    pub cpu: Cpu,
}

/// How a workload is run.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// Run the workload at most so often: at fewer CPU levels, without recording operators,
    /// without verifying.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: Option<u32>,
    /// Stop each run after so many seconds, as Ctrl-C does: for servers. Ending so is success.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub stop_after: Option<Duration>,
}

impl RunArguments {
    /// The runs, none of which is made yet.
    pub fn runs(&self) -> workload::Runs {
        workload::Runs::new(self.runs, self.stop_after)
    }
}

/// What is done with files under NVIDIA's own licence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Vendor {
    /// They are divided like all others.
    Edit,
    /// They are in the package as they are, or not at all.
    Whole,
}

impl Vendor {
    /// As the plan has it.
    pub fn plan(self) -> planner::Vendor {
        match self {
            Self::Edit => planner::Vendor::Edit,
            Self::Whole => planner::Vendor::Whole,
        }
    }
}

/// A CPU instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Cpu {
    /// Any x86-64 processor.
    Any,
    /// With AVX2 and FMA.
    #[value(name = "x86-64-v3")]
    V3,
    /// With AVX-512.
    #[value(name = "x86-64-v4")]
    V4,
    /// A processor like this one.
    Native,
}

impl Cpu {
    /// The processors that a package must run on.
    pub fn processors(self) -> workload::Cpu {
        match self {
            Self::Any => workload::Cpu::Any,
            Self::V3 => workload::Cpu::V3,
            Self::V4 => workload::Cpu::V4,
            Self::Native => workload::Cpu::Native,
        }
    }
}

/// What becomes of code that no workload used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Cold {
    /// It lies compressed in the package and comes back when it is touched.
    Keep,
    /// It is not in the package.
    Drop,
}

impl Cold {
    /// The planner's word for it.
    pub fn plan(self) -> plan::Cold {
        match self {
            Self::Keep => plan::Cold::Keep,
            Self::Drop => plan::Cold::Drop,
        }
    }
}

/// How hard to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// About as fast as copying.
    Fast,
    /// Near the best size, at a fraction of its time.
    Default,
    /// The best size.
    Max,
}

impl Level {
    /// The level of the store.
    pub fn store(self) -> package::Level {
        match self {
            Self::Fast => package::Level::Fast,
            Self::Default => package::Level::Default,
            Self::Max => package::Level::Max,
        }
    }
}

/// Flags of `pack`.
// Each switch is a flag of its own.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Args)]
pub struct Pack {
    /// The folder to write. It must not exist.
    #[arg(long, value_name = "OUT")]
    pub to: PathBuf,
    /// A profile made by `taper trace`, instead of tracing the workload now; or a folder in which
    /// a program recorded what a package brought back (TAPER_PROFILE), which is added.
    #[arg(long, value_name = "P")]
    pub profile: Vec<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub target: TargetArguments,
    /// What becomes of code that no workload used.
    #[arg(long, value_enum, default_value_t = Cold::Keep)]
    pub cold: Cold,
    /// How hard to compress what the package holds compressed.
    #[arg(long, value_enum, default_value_t = Level::Default)]
    pub level: Level,
    /// Run every module when it is imported, and every function when it is called, as Python
    /// does. Otherwise, with --cold keep, some modules are deferred until something could see that
    /// they have not run, and functions remember what they read the package's files for.
    #[arg(long)]
    pub eager: bool,
    /// Keep a distribution, module, file or library whole.
    #[arg(long, value_name = "NAME")]
    pub keep: Vec<String>,
    /// Leave a distribution, module, file or library out.
    #[arg(long, value_name = "NAME")]
    pub drop: Vec<String>,
    /// Leave out what serves a feature: with --target sm_90 and the like, distributed, compile,
    /// sparse, fft, linalg, profiler, jiterator, storage. What needs it raises an error that names
    /// it.
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    pub without: Vec<&'static Feature>,
    /// Whether files under NVIDIA's own licence may be changed: it lets them be handed on as they
    /// are.
    #[arg(long, value_enum, default_value_t = Vendor::Edit)]
    pub vendor: Vendor,
    /// End with exit code 1, and write nothing, if the package would be larger, as in 250MB.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub budget: Option<u64>,
    /// Stop after planning.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not run the workload in the package.
    #[arg(long)]
    pub no_verify: bool,
    /// Prove anew what an earlier run proved of the same, unchanged environment, and remember
    /// nothing in the user's cache folder.
    #[arg(long)]
    pub no_cache: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub run: RunArguments,
    /// The workload [default: python -c "import torch"].
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// Flags of `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The package.
    pub package: PathBuf,
    /// Stop each run after so many seconds, as Ctrl-C does: for servers. Ending so is success.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub stop_after: Option<Duration>,
    /// The command to run in both.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// Flags of `explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// The package.
    #[arg(value_name = "OUT")]
    pub package: PathBuf,
    /// What is meant: a path in site-packages or the end of one, a file, a distribution, a
    /// dotted module (torch._dynamo), a function of a library (mangled or not, or a part of its
    /// name), an operator (aten::add.Tensor) or a GPU architecture (sm_90). All meanings of a
    /// name are told. Who imports a module, and functions, operators and architectures, come
    /// from the environment that was packed, which --python names [default: a summary].
    pub name: Option<String>,
}

/// Flags of `lint`.
#[derive(Debug, Args)]
pub struct Lint {
    /// Files, or folders with them.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Rewrite what can be shown to change nothing but when a module is loaded.
    #[arg(long)]
    pub fix: bool,
    /// How findings are written.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub format: Output,
}

/// Flags of `ops`.
#[derive(Debug, Args)]
pub struct Ops {
    /// TorchScript archives (.pt), exported programs (.pt2), and profiles. Their operators are
    /// merged.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How they are written.
    #[arg(long, value_enum, default_value_t = OperatorFormat::Text)]
    pub format: OperatorFormat,
    /// Write to a file instead of standard output.
    #[arg(short, long = "output", value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The build must be able to train: every operator is marked as used for it, where a file
    /// does not say so itself.
    #[arg(long)]
    pub training: bool,
}

/// How operators are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OperatorFormat {
    /// A line each, with dtypes, whether training needs it and where it is used.
    Text,
    /// The YAML list that SELECTED_OP_LIST names where TRACING_BASED is OFF: what is called
    /// directly.
    List,
    /// The mapping that PyTorch's code generator reads (torchgen.selective_build), and
    /// SELECTED_OP_LIST where TRACING_BASED is ON.
    Selective,
}

/// Flags of `build`.
#[derive(Debug, Args)]
pub struct Build {
    /// A PyTorch source tree. It is not written to.
    #[arg(long, value_name = "DIR")]
    pub source: PathBuf,
    /// The folder to write. It must not exist.
    #[arg(long, value_name = "OUT", required_unless_present_any = ["dry_run", "configure"])]
    pub to: Option<PathBuf>,
    /// A profile made by `taper trace`: parts that no run used are left out.
    #[arg(long, value_name = "P")]
    pub profile: Vec<PathBuf>,
    /// What to build.
    #[arg(long, value_enum, default_value_t = Product::Python)]
    pub product: Product,
    /// The operators to build, for `--product lite`: names as aten::add.Tensor, one a line, or
    /// the mapping that PyTorch's code generator reads.
    #[arg(long, value_name = "FILE")]
    pub operators: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub target: TargetArguments,
    /// The interpreter that runs the tree's code generators and that a Python product is for, if
    /// it is another than that of the environment that was traced [default: that of --python].
    #[arg(long = "build-python", value_name = "PY")]
    pub generators: Option<PathBuf>,
    /// Where the build happens. What is there already is built on.
    /// [default: a folder in the user's cache for this tree and product]
    #[arg(long, value_name = "DIR")]
    pub work: Option<PathBuf>,
    /// Compilers to run at the same time [default: one for each processor and 2 GB of memory].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub jobs: Option<u32>,
    /// Print the commands and the reasons, and stop.
    #[arg(long)]
    pub dry_run: bool,
    /// Stop when CMake has configured the build and used every option.
    #[arg(long, conflicts_with = "dry_run")]
    pub configure: bool,
    /// Further options for CMake, as -DNAME=VALUE. They replace what taper chooses.
    #[arg(last = true, value_name = "-DNAME=VALUE")]
    pub options: Vec<String>,
}

/// What `build` makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Product {
    /// A torch for Python with parts left out.
    Python,
    /// Static libraries and headers for C++ programs that run saved models with the lite
    /// interpreter.
    Lite,
}

impl Product {
    /// What is built.
    pub fn built(self) -> source::choose::Product {
        match self {
            Self::Python => source::choose::Product::Python,
            Self::Lite => source::choose::Product::Lite,
        }
    }
}

/// How findings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A line each.
    Text,
    /// As SARIF 2.1.0.
    Sarif,
}

/// A time in seconds.
fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|time| !time.is_zero()).ok_or_else(|| "write seconds as in 30".to_owned())
}

/// A size: a number with kB, MB, GB (powers of ten), KiB, MiB, GiB, or bytes.
fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => return Err(format!("unknown unit {other:?}; write 250MB or 250MiB")),
    };
    let number: f64 = number.parse().map_err(|_| "write a size as in 250MB".to_owned())?;
    Ok((number * factor as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn sizes_are_powers_of_ten_unless_they_say_otherwise() {
        assert_eq!(parse_size("250MB"), Ok(250_000_000));
        assert_eq!(parse_size("1.5MiB"), Ok(1_572_864));
        assert_eq!(parse_seconds("1.5"), Ok(Duration::from_millis(1500)));
        for wrong in ["", "0", "-1", "nan", "1e300", "5s"] {
            assert!(parse_seconds(wrong).is_err(), "{wrong}");
        }
        assert!(parse_size("250 apples").is_err());
        assert!(parse_size("MB").is_err());
    }
}
