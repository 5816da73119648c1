//! Models that are damaged or made to harm are refused, and never more than that.
//!
//! The first byte says what the others are: an archive, or one file of one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use operators::{Execution, ModelFile, Schema, Schemas, Signatures};
use std::io::{Cursor, Write};
use std::sync::{Arc, LazyLock};
use zip::write::SimpleFileOptions;

struct Few(Schemas);

impl Signatures for Few {
    fn of(&self, name: &str) -> Vec<Arc<Schema>> {
        self.0.of(name)
    }
}

static FEW: LazyLock<Few> = LazyLock::new(|| {
    let mut schemas = Schemas::default();
    schemas.add_library(
        b"\0aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor\0\
        aten::add.int(int a, int b) -> int\0aten::__is__(t1 self, t2 obj) -> bool\0\
        aten::len.t(t[] a) -> int\0aten::append.t(t[](a!) self, t(c -> *) el) -> t[](a!)\0\
        aten::zeros(int[] size, *, int? dtype=None) -> Tensor\0aten::Bool.int(int a) -> bool\0",
    );
    Few(schemas)
});

const CODE: &[u8] = b"class Net(Module):\n  def forward(self: __torch__.a.Net, x: Tensor) -> \
    Tensor:\n    return torch.add(x, x)\n";

const DATA: &[u8] = b"\x80\x02c__torch__.a\nNet\n)\x81}b.";

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    let files: &[(&str, &[u8])] = match kind % 6 {
        0 => &[],
        1 => &[("a/data.pkl", DATA), ("a/code/__torch__/a.py", rest), ("a/version", b"3")],
        2 => &[("a/data.pkl", rest), ("a/code/__torch__/a.py", CODE), ("a/version", b"3")],
        3 => &[("a/models/model.json", rest)],
        4 => {
            let mut schemas = Schemas::default();
            schemas.add_library(rest);
            schemas.add_native(&String::from_utf8_lossy(rest));
            return;
        }
        _ => {
            let _ = Execution::read(rest);
            return;
        }
    };
    let mut archive = Cursor::new(rest.to_vec());
    if !files.is_empty() {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in files {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(bytes).unwrap();
        }
        archive = writer.finish().unwrap();
    }
    if let Ok(model) = ModelFile::open(archive, "fuzzed") {
        let _ = model.operators(&*FEW);
    }
});
