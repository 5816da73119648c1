//! `cargo xtask source`: a PyTorch source tree that can be built here, in the user's cache.
//!
//! Debian's source package has PyTorch without the projects in `third_party`; what Debian takes
//! from its own packages comes from this system's, and from the Python package index where this
//! Debian is too old. The package is fetched by apt, from the mirror that this system uses, with
//! a list of sources of its own: nothing of the system's apt is changed.

use crate::{examples, lite, packages, python, setup, shell};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the task does.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Besides, let CMake configure both products with exactly what taper chooses, and try
    /// names that do not exist.
    #[arg(long)]
    pub check: bool,
    /// Besides, build the lite product for resnet18 (an hour or more), run the model with it,
    /// and compare with what the installed PyTorch computes.
    #[arg(long)]
    pub lite: bool,
    /// Where `--lite` builds, to go on with what is there.
    #[arg(long, value_name = "DIR")]
    pub work: Option<PathBuf>,
}

/// The Debian release that has the tree, and the tree's version there.
const RELEASE: &str = "trixie";
const VERSION: &str = "2.6.0+dfsg-7";

/// The number of the way in which [`fill`] fills the tree: another one makes it anew.
const RECIPE: u32 = 1;

/// What a build needs of a Debian system.
const SYSTEM: [&str; 27] = [
    "binutils",
    "ccache",
    "cmake",
    "dpkg-dev",
    "flatbuffers-compiler",
    "g++",
    "libcpp-httplib-dev",
    "libcpuinfo-dev",
    "libeigen3-dev",
    "libflatbuffers-dev",
    "libfmt-dev",
    "libfp16-dev",
    "libfxdiv-dev",
    "libnuma-dev",
    "libonnx-dev",
    "libopenblas-pthread-dev",
    "libprotobuf-dev",
    "libpsimd-dev",
    "libpthreadpool-dev",
    "libsleef-dev",
    "ninja-build",
    "nlohmann-json3-dev",
    "patch",
    "protobuf-compiler",
    "python3-dev",
    "xz-utils",
    "bzip2",
];

/// What the code generators and the Python build need.
const PYTHON: [&str; 6] =
    ["numpy", "pybind11==2.13.6", "pyyaml", "setuptools", "typing_extensions", "wheel"];

/// Questions that PyTorch 2.6 asks cpuinfo, which Debian 12's is too old to answer.
const CPUINFO: &str = "\
/* Questions that PyTorch asks and this system's cpuinfo does not know: no. */
#pragma once
#include_next <cpuinfo.h>
static inline bool cpuinfo_has_x86_amx_tile(void) { return false; }
static inline bool cpuinfo_has_x86_amx_fp16(void) { return false; }
static inline bool cpuinfo_has_x86_avx512fp16(void) { return false; }
static inline uint32_t cpuinfo_get_max_arm_sve_length(void) { return 0; }
";

/// The operators that torchvision's resnet18 calls, as `torch.jit.export_opnames` gives them.
pub const RESNET: &str = "\
- aten::__getitem__.t
- aten::adaptive_avg_pool2d
- aten::add.int
- aten::add_.Scalar
- aten::add_.Tensor
- aten::batch_norm
- aten::conv2d
- aten::eq.int
- aten::flatten.using_ints
- aten::gt.int
- aten::len.t
- aten::linear
- aten::max_pool2d
- aten::mul.int
- aten::ne.int
- aten::relu_
- aten::size
- aten::sub.int
";

/// Runs the task.
pub fn run(arguments: &Arguments) -> Result<()> {
    prepare()?;
    let tree = tree()?;
    println!("{}", tree.display());
    if arguments.check {
        check(&tree)?;
    }
    if arguments.lite {
        lite::run(&tree, &interpreter()?, arguments.work.as_deref())?;
    }
    Ok(())
}

/// Where the tree is.
pub fn tree() -> Result<PathBuf> {
    Ok(folder()?.join("pytorch"))
}

/// The interpreter with what the build needs.
pub fn interpreter() -> Result<PathBuf> {
    Ok(folder()?.join("venv/bin/python"))
}

/// The folder of PyTorch's own tests, of the same source package; made once, in seconds.
pub fn tests() -> Result<PathBuf> {
    let folder = folder()?;
    let (tests, stamp) = (folder.join("tests"), folder.join("tests.stamp"));
    if fs::read_to_string(&stamp).is_ok_and(|there| there == VERSION) {
        return Ok(tests);
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    if !shell::succeeds(Command::new("xz").arg("--version")) {
        setup::install(&["xz-utils"])?;
    }
    fetch(&folder, &format!("pytorch={VERSION}"), Some(RELEASE))?;
    setup::remove(&tests)?;
    fs::create_dir(&tests)?;
    let mut unpack = Command::new("tar");
    unpack.arg("--extract").arg("--file").arg(one(&folder, "pytorch_", ".orig.tar.xz")?);
    unpack.arg("--directory").arg(&tests).args(["--strip-components=2", "--wildcards"]);
    shell::run(unpack.arg("pytorch-*/test"))?;
    fs::write(&stamp, VERSION).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(tests)
}

fn folder() -> Result<PathBuf> {
    Ok(examples::cache()?.join("source"))
}

/// Makes the tree, once for each way in which this file makes it.
fn prepare() -> Result<()> {
    let folder = folder()?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let stamp = folder.join("stamp");
    let text = format!("pytorch {VERSION}\nrecipe {RECIPE}\n{}\n{CPUINFO}", PYTHON.join("\n"));
    if fs::read_to_string(&stamp).is_ok_and(|there| there == text) {
        return Ok(());
    }
    need_packages()?;
    let (tree, venv) = (tree()?, folder.join("venv"));
    for old in [&tree, &venv] {
        setup::remove(old)?;
    }
    fetch(&folder, &format!("pytorch={VERSION}"), Some(RELEASE))?;
    fetch(&folder, "eigen3", None)?;
    // apt has compared every file with the signed list of sources; the maintainer's own
    // signature could only be checked with a newer keyring.
    let description = one(&folder, "pytorch_", ".dsc")?;
    let mut unpack = Command::new("dpkg-source");
    unpack.current_dir(&folder).args(["--no-check", "-x"]).arg(&description).arg(&tree);
    shell::run(&mut unpack)?;
    fill(&folder, &tree)?;
    let base = python::find().map_err(|reasons| anyhow::anyhow!(reasons.join("; ")))?;
    shell::run(Command::new(base).args(["-m", "venv"]).arg(&venv))?;
    let mut install = Command::new(interpreter()?);
    install.args(["-m", "pip", "install", "--no-input", "--quiet", "--progress-bar", "off"]);
    shell::run(install.arg("--disable-pip-version-check").args(PYTHON))?;
    fs::write(&stamp, text).with_context(|| format!("cannot write {}", stamp.display()))
}

/// Installs what is missing of the system's packages.
fn need_packages() -> Result<()> {
    let installed = |name: &&str| {
        let mut query = Command::new("dpkg-query");
        query.args(["--show", "--showformat", "${db:Status-Status}", name]);
        shell::output(&mut query).is_ok_and(|status| status == "installed")
    };
    let missing: Vec<&str> = SYSTEM.iter().copied().filter(|name| !installed(name)).collect();
    if missing.is_empty() { Ok(()) } else { setup::install(&missing) }
}

/// Downloads a source package into `folder`, of this system's release or of another.
fn fetch(folder: &Path, package: &str, release: Option<&str>) -> Result<()> {
    let name = package.split('=').next().unwrap_or(package);
    let apt = folder.join("apt").join(name);
    setup::remove(&apt)?;
    for place in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(apt.join(place))?;
    }
    let (mirror, own) = mirror()?;
    let list = apt.join("sources.list");
    let release = release.unwrap_or(&own);
    let key = ["/usr/share/keyrings/debian-archive-keyring.gpg"]
        .iter()
        .find(|key| Path::new(key).exists())
        .map_or_else(String::new, |key| format!("[signed-by={key}] "));
    fs::write(&list, format!("deb-src {key}{mirror} {release} main\n"))?;
    let get = || {
        let mut command = Command::new("apt-get");
        command.current_dir(folder).args(["--quiet", "-o"]);
        command.arg(format!("Dir::Etc::sourcelist={}", list.display()));
        command.args(["-o", "Dir::Etc::sourceparts=/dev/null", "-o"]);
        command.arg(format!("Dir::State::lists={}", apt.join("lists").display()));
        command.arg("-o").arg(format!("Dir::Cache={}", apt.join("cache").display()));
        // Root's apt would otherwise hand over to a user who cannot see root's cache folder.
        command.args(["-o", "APT::Sandbox::User="]);
        command
    };
    shell::run(get().arg("update"))?;
    shell::run(get().args(["source", "--download-only", package]))
}

/// The mirror that this system takes Debian from, and its release.
fn mirror() -> Result<(String, String)> {
    let format = "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(CODENAME)|$(REPO_URI)";
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format", format, "Created-By: Packages"]);
    let targets = shell::output(&mut targets).context("a Debian system is needed")?;
    targets
        .lines()
        .find_map(|line| {
            let [origin, label, component, release, mirror] =
                line.split('|').collect::<Vec<_>>()[..]
            else {
                return None;
            };
            let main = origin == "Debian" && label == "Debian" && component == "main";
            (main && !release.contains('-')).then(|| (mirror.to_owned(), release.to_owned()))
        })
        .context("apt has no list of Debian's main packages; run apt-get update")
}

/// The one file in `folder` whose name begins and ends so.
fn one(folder: &Path, start: &str, end: &str) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with(start) && name.ends_with(end) {
            found.push(folder.join(name));
        }
    }
    match &found[..] {
        [file] => Ok(file.clone()),
        _ => bail!("{} files {start}*{end} in {}", found.len(), folder.display()),
    }
}

/// Brings in what the tree's submodules would hold and this Debian's packages do not.
fn fill(folder: &Path, tree: &Path) -> Result<()> {
    // The build for phones compiles Eigen's BLAS, which Debian's package leaves out.
    let eigen = tree.join("third_party/eigen");
    fs::create_dir_all(&eigen)?;
    let archive = one(folder, "eigen3_", ".orig.tar.bz2")?;
    let mut unpack = Command::new("tar");
    unpack.arg("--extract").arg("--file").arg(archive).arg("--directory").arg(&eigen);
    unpack.args(["--strip-components=1", "--wildcards"]);
    shell::run(unpack.args(["*/blas", "*/Eigen", "*/COPYING*"]))?;
    // As debian/rules does: the generated header belongs to one version of flatbuffers.
    let mut compile = Command::new("flatc");
    compile.current_dir(tree.join("torch/csrc/jit/serialization"));
    let words = ["--cpp", "--gen-mutable", "--scoped-enums", "mobile_bytecode.fbs"];
    shell::run(compile.args(words))?;
    let additions = tree.join("third_party/cpuinfo-additions");
    fs::create_dir_all(&additions)?;
    fs::write(additions.join("cpuinfo.h"), CPUINFO)?;
    edit(
        &tree.join("CMakeLists.txt"),
        "\nproject(Torch CXX C)\n",
        "\nproject(Torch CXX C)\n\
         include_directories(BEFORE SYSTEM ${PROJECT_SOURCE_DIR}/third_party/cpuinfo-additions)\n",
    )?;
    // Debian installs the libraries where the loader looks; a wheel has them beside each other.
    edit(
        &tree.join("cmake/Dependencies.cmake"),
        "\nset(CMAKE_INSTALL_RPATH \"\")\n",
        "\nset(CMAKE_INSTALL_RPATH \"${_rpath_portable_origin}\")\n",
    )
}

/// Replaces the one place where `path` says `old`.
fn edit(path: &Path, old: &str, new: &str) -> Result<()> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    if text.matches(old).count() != 1 {
        bail!("{} does not say {:?} in one place", path.display(), old.trim());
    }
    fs::write(path, text.replace(old, new))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Configures both products with what taper chooses; every option must be used. Names that
/// the tree does not know must be refused with what does what was meant.
fn check(tree: &Path) -> Result<()> {
    let taper = packages::build()?;
    let place = tempfile::tempdir()?;
    let operators = place.path().join("operators.txt");
    fs::write(&operators, RESNET)?;
    let build = || -> Result<Command> {
        let mut command = Command::new(&taper);
        command.arg("build").arg("--source").arg(tree).arg("--python").arg(interpreter()?);
        Ok(command)
    };
    for (product, cpu) in [("python", "x86-64-v3"), ("python", "any"), ("lite", "x86-64-v3")] {
        let mut command = build()?;
        command.args(["--product", product, "--cpu", cpu, "--configure", "--work"]);
        command.arg(place.path().join(format!("{product}-{cpu}")));
        if product == "lite" {
            command.arg("--operators").arg(&operators);
        }
        packages::quietly(&mut command)
            .with_context(|| format!("--product {product} --cpu {cpu}"))?;
        println!("--product {product} --cpu {cpu}: configured, every option used");
    }
    for (option, real) in [
        ("-DTORCH_SELECTIVE_BUILD=ON", "SELECTED_OP_LIST"),
        ("-DTORCH_CPU_ARCH=avx2", "CXX_AVX512_FOUND"),
        ("-DTORCH_CUDA_ARCH_LIST=", "USE_CUDA=0"),
        ("-DMINIMIZE_SIZE=ON", "CMAKE_BUILD_TYPE=MinSizeRel"),
    ] {
        let done = build()?.args(["--dry-run", "--", option]).output()?;
        let said = String::from_utf8_lossy(&done.stderr);
        if done.status.code() != Some(2) || !said.contains(real) {
            bail!("{option}: exit status {}, and it says: {said}", done.status);
        }
        println!("{option}: refused, with {real}");
    }
    Ok(())
}
