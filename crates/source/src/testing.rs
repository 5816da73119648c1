//! A small tree with the forms of PyTorch's.

use std::fs;

/// Writes the tree.
pub fn tree() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    for (file, text) in FILES {
        let path = place.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    place
}

const FILES: [(&str, &str); 8] = [
    ("version.txt", "2.6.0a0\n"),
    (
        "CMakeLists.txt",
        "project(Torch CXX C)\n\
         option(BUILD_PYTHON \"Build Python binaries\" ON)\n\
         option(BUILD_LITE_INTERPRETER \"Master flag to build Lite Interpreter\" OFF)\n\
         option(BUILD_SHARED_LIBS \"Build libcaffe2.so\" ON)\n\
         option(BUILD_TEST \"Build C++ test binaries\" OFF)\n\
         option(USE_CUDA \"Use CUDA\" ON)\n\
         option(USE_FBGEMM \"Use FBGEMM\" ON)\n\
         cmake_dependent_option(\n  USE_MKLDNN \"Use MKLDNN.\" \"${CPU_INTEL}\" \"CPU_INTEL\" OFF)\n\
         option(USE_PYTORCH_QNNPACK \"Use ATen/QNNPACK\" ON)\n\
         set(SELECTED_OP_LIST \"\" CACHE STRING \"Path to the yaml file\")\n\
         option(STATIC_DISPATCH_BACKEND \"Name of the backend, e.g.: CPU.\" \"\")\n\
         option(TRACING_BASED \"Master flag\" OFF)\n\
         if(ANDROID OR DEFINED ENV{BUILD_PYTORCH_MOBILE_WITH_HOST_TOOLCHAIN})\n\
           set(INTERN_BUILD_MOBILE ON)\nendif()\n",
    ),
    (
        "cmake/Dependencies.cmake",
        "set(BLAS \"MKL\" CACHE STRING \"Selected BLAS library\")\n\
         if(NOT INTERN_BUILD_MOBILE)\n  set(TORCH_CUDA_ARCH_LIST $ENV{TORCH_CUDA_ARCH_LIST})\nendif()\n",
    ),
    ("cmake/Codegen.cmake", "if(CXX_AVX512_FOUND)\nendif()\nif(CXX_AVX2_FOUND)\nendif()\n"),
    ("cmake/Broken.cmake", "option(LOST \"no end\n"),
    ("caffe2/CMakeLists.txt", "if(third_party)\nendif()\n"),
    ("aten/src/ATen/native/native_functions.yaml", "- func: add\n"),
    (
        "tools/setup_helpers/cmake.py",
        "additional_options = {\"BLAS\": \"BLAS\"}\n\
         if var.startswith((\"BUILD_\", \"USE_\", \"CMAKE_\")):\n    pass\n\
         max_jobs = os.getenv(\"MAX_JOBS\")\n",
    ),
];
