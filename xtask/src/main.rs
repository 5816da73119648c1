//! Everything a person runs on this repository besides `cargo build`.

use clap::{Parser, Subcommand};
use xtask::{
    bench, check, demo, fuzz, gpu_code, lint, matrix, operators, pytorch_tests, repeat, setup,
    source, test,
};

/// Everything a person runs on this repository besides `cargo build`.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Make the environments that the examples need (two of 6 GB each, in the user's cache).
    Setup,
    /// Pack two examples and show size, time and memory before and after.
    Demo,
    /// Run every test, the examples from end to end included (an hour).
    Test,
    /// Measure packing, tracing, start, memory, levels, faults and inferences (half an hour).
    Bench(bench::Arguments),
    /// Write damaged libraries for a long time.
    Fuzz(fuzz::Arguments),
    /// Have NVIDIA's own tool list the GPU code that packages for GPUs keep, and compare (half an
    /// hour).
    GpuCode(gpu_code::Arguments),
    /// Run PyTorch's operator database in the original and in a package, and compare.
    Operators(operators::Arguments),
    /// Run programs many times from packages without cold code, on a busy machine (an hour).
    Repeat(repeat::Arguments),
    /// Run PyTorch's own tests in the original and in a package, and compare (hours; it goes on
    /// where it was stopped).
    PytorchTests(pytorch_tests::Arguments),
    /// Pack, run and measure with several versions of PyTorch and Python, one after the other, and
    /// write docs/versions.md (two hours; it goes on where it was stopped).
    Matrix(matrix::Arguments),
    /// Make a PyTorch source tree that can be built here, in the user's cache (a minute).
    Source(source::Arguments),
    /// Check formatting, clippy, and what needs neither a PyTorch nor time (two minutes).
    Check,
    /// Check formatting, clippy and the documentation.
    Lint,
}

fn main() -> std::process::ExitCode {
    let done = match Arguments::parse().task {
        Task::Setup => setup::run(),
        Task::Demo => demo::run(),
        Task::Test => test::run(),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::GpuCode(arguments) => gpu_code::run(&arguments),
        Task::Operators(arguments) => operators::run(&arguments),
        Task::Repeat(arguments) => repeat::run(&arguments),
        Task::PytorchTests(arguments) => pytorch_tests::run(&arguments),
        Task::Matrix(arguments) => matrix::run(&arguments),
        Task::Source(arguments) => source::run(&arguments),
        Task::Check => check::run(),
        Task::Lint => lint::run(),
    };
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
