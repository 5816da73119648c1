//! The rules by which a symbol's name, or the source file of a local symbol, says
//! which component it belongs to.
//!
//! Bytes that no rule knows are labelled by their neighbours where both agree (see
//! `library.rs`): that is how a static function with a name like `kernel` is told.
//!
//! The first rule that holds counts, of those for names and those for files together.
//! In mangled C++ names (Itanium ABI) each part of a qualified name is preceded by its
//! length, so `5torch3jit` is `torch::jit` wherever it stands: in a member's name, in
//! a template argument, in a vtable. A template that a component instantiates belongs
//! to that component; that is why the components stand before the libraries of
//! templates. Names were gathered from PyTorch 2's libraries.

/// What a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    /// A symbol's name, as in the table.
    Symbol,
    /// The name of the source file that a local symbol comes from.
    File,
}

/// Where in the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Start,
    End,
    Anywhere,
}

/// One rule.
pub(crate) struct Rule {
    pub on: On,
    /// What the name starts with, besides.
    pub prefix: &'static str,
    pub needle: &'static str,
    pub at: At,
    pub family: &'static str,
}

/// A name with `needle` anywhere in it.
const fn name(needle: &'static str, family: &'static str) -> Rule {
    Rule { on: On::Symbol, prefix: "", needle, at: At::Anywhere, family }
}

/// A name that starts with `needle`.
const fn starts(needle: &'static str, family: &'static str) -> Rule {
    Rule { on: On::Symbol, prefix: "", needle, at: At::Start, family }
}

/// A name that ends with `needle`.
const fn ends(needle: &'static str, family: &'static str) -> Rule {
    Rule { on: On::Symbol, prefix: "", needle, at: At::End, family }
}

/// A name that starts with `prefix` and has `needle` in it.
const fn with(prefix: &'static str, needle: &'static str, family: &'static str) -> Rule {
    Rule { on: On::Symbol, prefix, needle, at: At::Anywhere, family }
}

/// A source file whose name starts with `needle`.
const fn file_starts(needle: &'static str, family: &'static str) -> Rule {
    Rule { on: On::File, prefix: "", needle, at: At::Start, family }
}

/// A source file whose name ends with `needle`.
const fn file_ends(needle: &'static str, family: &'static str) -> Rule {
    Rule { on: On::File, prefix: "", needle, at: At::End, family }
}

const KERNELS_DEFAULT: &str = "ATen kernels, DEFAULT";
const KERNELS_AVX2: &str = "ATen kernels, AVX2";
const KERNELS_AVX512: &str = "ATen kernels, AVX512";
const MKL_512: &str = "MKL, AVX512";
const MKL_2: &str = "MKL, AVX2";
const MKL_1: &str = "MKL, AVX";
const MKL_SSE: &str = "MKL, SSE";
const MKL: &str = "MKL, any CPU";
const AUTOGRAD: &str = "autograd";
const FUNCTIONALIZATION: &str = "functionalization";
const DISTRIBUTED: &str = "distributed (c10d, RPC)";
const PROFILER: &str = "profiler (Kineto, Perfetto)";
const INDUCTOR: &str = "AOTInductor";
const FRONT_END: &str = "C++ front end";
const CUDA_TEMPLATES: &str = "CUB, Thrust and CUTLASS";
const ATTENTION: &str = "attention kernels' host code";
const REGISTRATION: &str = "CUDA kernel registration";
const ONEDNN: &str = "oneDNN";
const FBGEMM: &str = "FBGEMM";
const NNPACK: &str = "NNPACK and QNNPACK";
const SLEEF: &str = "SLEEF";
const OPENBLAS: &str = "OpenBLAS";
const SVML: &str = "SVML";
const NUMPY: &str = "NumPy";
const NCCL: &str = "NCCL";
const PROTOBUF: &str = "protobuf";
const ONNX: &str = "ONNX";
const LLVM: &str = "LLVM";
const MLIR: &str = "MLIR";
const BINDINGS: &str = "Python bindings";
const DISPATCH: &str = "operators and dispatch";
const ATEN_NATIVE: &str = "ATen native, rest";
const ATEN: &str = "ATen, rest";
const TORCH: &str = "torch, rest";
const C10: &str = "c10";
const CAFFE2: &str = "caffe2";
const TEXT: &str = "fmt and JSON";
const STANDARD: &str = "C++ standard library";

/// Every rule, in the order in which they count.
pub(crate) const RULES: &[Rule] = &[
    // ATen's CPU kernels are compiled once per instruction set, into a namespace of
    // that name; what they keep in unnamed namespaces has it in the file's name.
    name("6native6AVX512", KERNELS_AVX512),
    name("3vec6AVX512", KERNELS_AVX512),
    file_ends(".AVX512.cpp", KERNELS_AVX512),
    name("6native4AVX2", KERNELS_AVX2),
    name("3vec4AVX2", KERNELS_AVX2),
    file_ends(".AVX2.cpp", KERNELS_AVX2),
    name("6native7DEFAULT", KERNELS_DEFAULT),
    name("3vec7DEFAULT", KERNELS_DEFAULT),
    file_ends(".DEFAULT.cpp", KERNELS_DEFAULT),
    // MKL: C names. The instruction set is a part of them, or for vector mathematics
    // a code of two letters: Z0 AVX512, L9 AVX2, E2 AVX, EX and H8 SSE. `mc3` and
    // `def` are SSE 4.2 and the oldest. The last two are for what has no such part.
    with("mkl_", "_avx512", MKL_512),
    with("mkl_vml_kernel_", "_Z0", MKL_512),
    ends("_data_avx512", MKL_512),
    with("mkl_", "_avx2", MKL_2),
    with("mkl_vml_kernel_", "_L9", MKL_2),
    with("mkl_", "_avx_", MKL_1),
    with("mkl_vml_kernel_", "_E2", MKL_1),
    with("mkl_", "_mc3", MKL_SSE),
    with("mkl_", "_mc_", MKL_SSE),
    with("mkl_", "_def_", MKL_SSE),
    with("mkl_vml_kernel_", "_EX", MKL_SSE),
    with("mkl_vml_kernel_", "_H8", MKL_SSE),
    starts("mkl_", MKL),
    starts("MKL_", MKL),
    // Its constant tables for vector mathematics, its Fourier transforms' plans
    // (`bkd_`) and the tracing interface that it is linked with.
    file_starts("_vml_template", MKL),
    file_starts("bkd_", MKL),
    file_starts("ittnotify", MKL),
    // Generated wrappers around every operator.
    name("5torch9TraceType", "TraceType"),
    file_starts("TraceType", "TraceType"),
    name("5torch15ADInplaceOrView", "ADInplaceOrView"),
    file_starts("ADInplaceOrView", "ADInplaceOrView"),
    name("17functionalization", FUNCTIONALIZATION),
    name("23FunctionalTensorWrapper", FUNCTIONALIZATION),
    file_starts("RegisterFunctionalization", FUNCTIONALIZATION),
    // The profiler's names stand before autograd's: it wraps `torch::autograd`.
    name("9libkineto", PROFILER),
    name("5torch8profiler", PROFILER),
    name("8perfetto", PROFILER),
    name("5torch8autograd", AUTOGRAD),
    file_starts("VariableType", AUTOGRAD),
    // TorchScript and its fuser.
    name("5torch3jit10tensorexpr", "JIT, tensor expressions"),
    name("5torch3jit", "JIT"),
    name("5torch4lazy", "lazy tensors"),
    name("4c10d", DISTRIBUTED),
    name("5torch11distributed", DISTRIBUTED),
    name("4gloo", "gloo"),
    name("10tensorpipe", "TensorPipe"),
    starts("uv_", "libuv"),
    name("2at9functorch", "functorch"),
    name("2at8autocast", "autocast"),
    starts("aoti_", INDUCTOR),
    name("14torch_inductor", INDUCTOR),
    name("5torch8inductor", INDUCTOR),
    name("5torch2nn", FRONT_END),
    name("5torch5optim", FRONT_END),
    name("5torch4data", FRONT_END),
    // What nvcc adds to every source file: functions that hand the GPU code to the
    // driver, and the wrappers of `__device__` lambdas.
    name("____cudaRegisterAll", REGISTRATION),
    name("__nv_cudaEntityRegisterCallback", REGISTRATION),
    name("__cudaUnregisterBinaryUtil", REGISTRATION),
    name("__device_stub__", REGISTRATION),
    name("13pytorch_flash", ATTENTION),
    name("22PyTorchMemEffAttention", ATTENTION),
    // Third parties. ideep is PyTorch's wrapper around oneDNN.
    name("4dnnl", ONEDNN),
    name("5ideep", ONEDNN),
    starts("dnnl_", ONEDNN),
    name("6fbgemm", FBGEMM),
    name("6asmjit", FBGEMM),
    starts("xnn_", "XNNPACK"),
    starts("nnp_", NNPACK),
    starts("pytorch_q", NNPACK),
    name("7qnnpack", NNPACK),
    name("pthreadpool_", NNPACK),
    starts("Sleef_", SLEEF),
    file_starts("sleef", SLEEF),
    name("10onnx_torch", ONNX),
    name("6google8protobuf", PROTOBUF),
    name("14cudnn_frontend", "cuDNN front end"),
    name("7cutlass", CUDA_TEMPLATES),
    name("12cutlass_mslk", CUDA_TEMPLATES),
    // MLIR is written in LLVM's templates, so it goes first.
    name("4mlir", MLIR),
    name("4llvm", LLVM),
    name("3lld", LLVM),
    starts("LLVM", LLVM),
    // LLVM's tables for its targets are static and large.
    file_starts("AMDGPU", LLVM),
    file_starts("X86", LLVM),
    // BLAS as NumPy's wheels carry it: public names have a prefix of their own, the
    // kernels end in the name of a processor.
    starts("scipy_", OPENBLAS),
    ends("_PRESCOTT", OPENBLAS),
    ends("_NEHALEM", OPENBLAS),
    ends("_SANDYBRIDGE", OPENBLAS),
    ends("_HASWELL", OPENBLAS),
    ends("_ZEN", OPENBLAS),
    ends("_SKYLAKEX", OPENBLAS),
    ends("_COOPERLAKE", OPENBLAS),
    ends("_SAPPHIRERAPIDS", OPENBLAS),
    starts("__svml", SVML),
    file_starts("svml", SVML),
    starts("npy_", NUMPY),
    starts("PyArray", NUMPY),
    name("3npy", NUMPY),
    starts("nccl", NCCL),
    name("ZL4nccl", NCCL),
    // PyTorch's own rest. In these, the namespace may be that of an argument.
    name("6native", ATEN_NATIVE),
    name("2at4_ops", DISPATCH),
    name("3c104impl", DISPATCH),
    name("3c106detail", DISPATCH),
    name("3c1010Dispatcher", DISPATCH),
    name("N2at12_GLOBAL__N_1", DISPATCH),
    // Files named Register… hold the tables of operators.
    file_starts("Register", DISPATCH),
    name("3cub", CUDA_TEMPLATES),
    name("6thrust", CUDA_TEMPLATES),
    name("8pybind11", BINDINGS),
    name("8nanobind", BINDINGS),
    name("THP", BINDINGS),
    file_starts("python_", BINDINGS),
    name("N2at", ATEN),
    name("NK2at", ATEN),
    name("N5torch", TORCH),
    name("NK5torch", TORCH),
    name("N3c10", C10),
    name("NK3c10", C10),
    name("6caffe2", CAFFE2),
    name("3fmt3v1", TEXT),
    name("8nlohmann", TEXT),
    starts("_ZNSt", STANDARD),
    starts("_ZNKSt", STANDARD),
    starts("_ZSt", STANDARD),
    starts("_ZTVSt", STANDARD),
    starts("_ZTSSt", STANDARD),
    starts("_ZTISt", STANDARD),
    // What nvcc compiled and none of the names above tells.
    file_ends(".cudafe1.cpp", "CUDA kernels' host code"),
];
