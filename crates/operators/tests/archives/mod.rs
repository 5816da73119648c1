//! Archives made by hand.

// Each test program uses its part of this.
#![allow(dead_code)]

use std::io::{Cursor, Write};
use std::sync::Arc;
use taper_operators::{Error, ModelFile, Operators, Schema, Schemas, Signatures};
use zip::write::SimpleFileOptions;

/// A pickle of a module of class `__torch__.a.Net` without attributes.
pub const DATA: &[u8] = b"\x80\x02c__torch__.a\nNet\n)\x81}b.";

/// The bytes of an archive of these entries.
pub fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// The signatures of some operators.
pub struct Known(pub Schemas);

impl Signatures for Known {
    fn of(&self, name: &str) -> Vec<Arc<Schema>> {
        self.0.of(name)
    }
}

/// Some of PyTorch's signatures, as texts of a library.
pub fn signatures() -> Known {
    let texts = [
        "aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor",
        "aten::add.Scalar(Tensor self, Scalar other, Scalar alpha=1) -> Tensor",
        "aten::add.int(int a, int b) -> int",
        "aten::add.t(t[] a, t[] b) -> t[]",
        "aten::add(Scalar a, Scalar b) -> Scalar",
        "aten::eq.int(int a, int b) -> bool",
        "aten::eq.str(str a, str b) -> bool",
        "aten::lt.float(float a, float b) -> bool",
        "aten::relu(Tensor self) -> Tensor",
        "aten::relu_(Tensor(a!) self) -> Tensor(a!)",
        "aten::neg(Tensor self) -> Tensor",
        "aten::tanh(Tensor self) -> Tensor",
        "aten::dim(Tensor self) -> int",
        "aten::len.t(t[] a) -> int",
        "aten::append.t(t[](a!) self, t(c -> *) el) -> t[](a!)",
        "aten::__getitem__.t(t[](a) list, int idx) -> t(*)",
        "aten::__getitem__.Dict_str(Dict(str, t) self, str key) -> t(*)",
        "aten::__is__(t1 self, t2 obj) -> bool",
        "aten::conv2d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=1) -> Tensor",
        "aten::zeros(SymInt[] size, *, ScalarType? dtype=None) -> Tensor",
        "aten::max.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor indices)",
        "aten::FloatImplicit(Tensor a) -> float",
        "aten::mul.Scalar(Tensor self, Scalar other) -> Tensor",
        "aten::backward(Tensor self) -> ()",
        "aten::div.Tensor(Tensor self, Tensor other) -> Tensor",
        "prim::RaiseException(str msg, str? cls=None) -> ()",
        "mine::scale(Tensor x, float by) -> Tensor",
    ];
    let mut schemas = Schemas::default();
    schemas.add_library(format!("\0{}\0", texts.join("\0")).as_bytes());
    Known(schemas)
}

/// Reads the archive in `bytes`.
pub fn read(bytes: Vec<u8>) -> Result<Operators, Error> {
    ModelFile::open(Cursor::new(bytes), "model.pt")?.operators(&signatures())
}

/// The operators of a TorchScript archive with this code.
pub fn script(code: &str) -> Result<Operators, Error> {
    read(archive(&[
        ("m/data.pkl", DATA),
        ("m/code/__torch__/a.py", code.as_bytes()),
        ("m/constants.pkl", b"\x80\x02)."),
        ("m/version", b"10\n"),
    ]))
}

/// The names that `script` finds.
pub fn names(code: &str) -> Vec<String> {
    let found = script(code).unwrap_or_else(|error| panic!("{error}"));
    found.operators.keys().map(ToString::to_string).collect()
}
