//! Links the C library, which nothing else names in a library without std.

fn main() {
    println!("cargo:rustc-link-lib=c");
    println!("cargo:rustc-cdylib-link-arg=-Wl,--gc-sections,-z,now,-z,relro,-z,nodelete");
    // See src/found.rs.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,initfirst");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libtaper_runtime.so");
    println!("cargo:rerun-if-changed=build.rs");
}
