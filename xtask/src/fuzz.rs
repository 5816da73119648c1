//! `cargo xtask fuzz`: libFuzzer on everything that reads files, from real seeds.
//!
//! The targets in `fuzz/` are laid out for cargo-fuzz, which needs a nightly compiler
//! for its sanitizers. Here they are built with coverage alone, which the stable one
//! does: the crates have checks of their own, and these are switched on.

use crate::{examples, shell};
use anyhow::{Context, Result};
use note::{Draft, Piece, Rights};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use store::{Level, Writer};

/// The targets, and which seeds they start from.
const TARGETS: [(&str, Seeds); 7] = [
    ("elf_reader", Seeds::Libraries),
    ("elf_writer", Seeds::ChosenLibraries),
    ("fat_binary", Seeds::FatBinaries),
    ("model_reader", Seeds::Models),
    ("note_reader", Seeds::Notes),
    ("records", Seeds::Records),
    ("store_reader", Seeds::Stores),
];

/// What cargo-fuzz passes for coverage.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// The compiler's name of the only system that taper runs on. Naming it keeps
/// [`FLAGS`] from build scripts.
const SYSTEM: &str = "x86_64-unknown-linux-gnu";

const LIBRARY: &str = r#"
#include <stdexcept>
thread_local int counter = 3;
int count() { return ++counter; }
__attribute__((aligned(4096))) int throws(int x) { if (x) throw std::logic_error("x"); return x; }
__attribute__((aligned(4096))) int catches(int x) {
    try { return throws(x); } catch (std::exception &) { return 2; }
}
static int one() { return 1; }
extern "C" { static int (*pick(void))() { return one; } }
extern "C" int chosen() __attribute__((ifunc("pick")));
"#;

#[derive(Clone, Copy)]
enum Seeds {
    Libraries,
    ChosenLibraries,
    FatBinaries,
    Models,
    Notes,
    Records,
    Stores,
}

/// Flags of the task.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Seconds for each target.
    #[arg(long, default_value_t = 1_800)]
    seconds: u32,
    /// One target alone.
    #[arg(long)]
    target: Option<String>,
}

/// Runs the task.
pub fn run(arguments: &Arguments) -> Result<()> {
    fuzz(arguments.seconds, arguments.target.as_deref())
}

/// Runs every target, or the one that is named, for so many seconds each.
pub fn fuzz(seconds: u32, only: Option<&str>) -> Result<()> {
    let folder = target_folder().join("fuzz");
    let mut build = shell::cargo();
    build
        .args(["build", "--release", "--manifest-path", "fuzz/Cargo.toml"])
        .args(["--target", SYSTEM, "--target-dir"])
        .arg(&folder)
        .env("RUSTFLAGS", FLAGS);
    shell::run(&mut build)?;
    for (name, seeds) in TARGETS.into_iter().filter(|(name, _)| only.is_none_or(|o| o == *name)) {
        let (found, start) = (folder.join("corpus").join(name), folder.join("seeds").join(name));
        for place in [&found, &start] {
            fs::create_dir_all(place)
                .with_context(|| format!("cannot make {}", place.display()))?;
        }
        write_seeds(seeds, &start)?;
        let mut target = Command::new(folder.join(SYSTEM).join("release").join(name));
        target
            .current_dir(&folder)
            .args(["-max_len=65536", "-rss_limit_mb=2048", "-timeout=20", "-print_final_stats=1"])
            .arg(format!("-max_total_time={seconds}"))
            .args([&found, &start]);
        shell::run(&mut target)?;
    }
    Ok(())
}

fn target_folder() -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| "target".into());
    examples::repository().join(folder)
}

fn write_seeds(seeds: Seeds, place: &Path) -> Result<()> {
    let write = |name: &str, bytes: &[u8]| {
        fs::write(place.join(name), bytes)
            .with_context(|| format!("cannot write a seed to {}", place.display()))
    };
    match seeds {
        Seeds::Libraries => libraries(place, |name, bytes| write(name, bytes)),
        Seeds::ChosenLibraries => libraries(place, |name, bytes| {
            let choice = [0x5a; 8];
            write(name, &[&choice, bytes].concat())
        }),
        Seeds::FatBinaries => {
            // A container with one entry of machine code for sm_90, as fatbinary writes it.
            let mut bytes = vec![0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0, 96, 0, 0, 0, 0, 0, 0, 0];
            bytes.extend([2, 0, 1, 1, 64, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0]);
            bytes.extend([0; 8]);
            bytes.extend([0, 0, 90, 0]);
            bytes.resize(112, 0);
            write("container", &bytes)
        }
        Seeds::Models => {
            // The target's first byte says what the others are.
            let code = b"\x01class Net(Module):\n  __parameters__ = [\"w\", ]\n  w : Tensor\n  \
                def forward(self: __torch__.a.Net,\n    x: Optional[Tensor]) -> Tensor:\n    \
                w = self.w\n    if torch.__is__(x, None):\n      y = w\n    else:\n      \
                y = torch.add(w, unchecked_cast(Tensor, x))\n    for i in range(3):\n      \
                z, q, = (y, [i])\n      y = torch.zeros([i, torch.len(q)])\n    return y\n";
            write("code", code)?;
            write(
                "data",
                b"\x02\x80\x02c__torch__.a\nNet\nq\x00)\x81}(X\x01\x00\x00\x00wK\x05ub.",
            )?;
            let graph =
                br#"{"graph_module":{"graph":{"nodes":[{"target":"torch.ops.aten.relu.default",
                "inputs":[{"arg":{"as_tensor":{"name":"x"}}}],"outputs":[],"metadata":{}}],
                "tensor_values":{"x":{"dtype":7}}}},"schema_version":{"major":8}}"#;
            write("graph", &[b"\x03", &graph[..]].concat())?;
            write(
                "schemas",
                b"\x04\0aten::add.out(Tensor(a!)[2]? x=[1], *, ...) -> (int a, Dict(str, t))\0",
            )?;
            write(
                "trace",
                b"\x05\"id\": 3, \"ctrl_deps\": 2,\n\"attrs\": [{\"name\": \"op_schema\", \
                \"type\": \"string\", \"value\": \"aten::t(\"}]\n",
            )
        }
        Seeds::Notes => {
            let code = Piece { pages: 3..40, rights: Rights::Execute };
            let data = Piece { pages: 50..52, rights: Rights::Read };
            let draft = Draft::new("torch/lib/libc10.so", 60, &[code, data], 14, true);
            write("note", &draft.finish(5, [7; 32], [9; 8]))?;
            let list = [(0x1000, "at::one(int)".into()), (0x1040, "at::two()".into())];
            write("names", &note::names(&list))
        }
        Seeds::Records => {
            let line =
                b"page 0123456789abcdef 7 torch/lib/libc10.so\nmodule torch/fft/__init__.py\n";
            write("records", line)?;
            let profile = br#"{"format":1,"python":"3.11","torch":"2.15.0","target":"cpu","runs":[],
                "libraries":{"a.so":{"build_id":null,"content":"00","threaded":false,"pages":[1,2]}},
                "opened":["a.so"],"probed":[]}"#;
            write("profile", profile)
        }
        Seeds::Stores => {
            let mut writer = Writer::new();
            for chunk in [b"one chunk ".repeat(100), Vec::new(), (0..=255).collect()] {
                writer.add(chunk).map_err(|_| anyhow::anyhow!("a seed is too large"))?;
            }
            write("store", &writer.finish(Level::Default)?.0)
        }
    }
}

/// Two libraries as different linkers' options make them.
fn libraries(place: &Path, write: impl Fn(&str, &[u8]) -> Result<()>) -> Result<()> {
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let source = scratch.path().join("seed.cc");
    fs::write(&source, LIBRARY).context("cannot write a seed's source")?;
    let options: [(&str, &[&str]); 2] =
        [("plain", &["-Wl,--hash-style=both"]), ("stripped", &["-s", "-Wl,-z,noseparate-code"])];
    for (name, options) in options {
        let library = scratch.path().join(name);
        let mut compiler = Command::new("g++");
        compiler.args(["-shared", "-fPIC", "-O1"]).args(options).arg(&source).arg("-o");
        shell::run(compiler.arg(&library))?;
        let bytes = fs::read(&library)
            .with_context(|| format!("cannot read a seed for {}", place.display()))?;
        write(name, &bytes)?;
    }
    Ok(())
}
