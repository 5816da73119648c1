//! Archives that are damaged, or made to harm who reads them, are refused with what and where.

mod archives;

use archives::{DATA, archive, read, script};
use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;

const CODE: &[u8] = b"class Net(Module):\n  def forward(self: __torch__.a.Net,\n    x: Tensor) -> \
    Tensor:\n    return torch.relu(x)\n";

fn refused(bytes: Vec<u8>) -> String {
    read(bytes).unwrap_err().to_string()
}

/// An archive of a model with one entry more.
fn with(name: &str, bytes: &[u8]) -> Vec<u8> {
    archive(&[
        ("m/data.pkl", DATA),
        ("m/code/__torch__/a.py", CODE),
        ("m/version", b"3"),
        (name, bytes),
    ])
}

fn replaced(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut count = 0;
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
            count += 1;
        }
    }
    assert!(count > 0);
    bytes
}

#[test]
fn the_archive_itself_is_read() {
    let found = read(with("m/constants.pkl", b"\x80\x02).")).unwrap();
    assert_eq!(found.operators.len(), 1);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let cases = [
        ("m/../../etc/passwd", "leads elsewhere"),
        ("m//x", "leads elsewhere"),
        ("m/./x", "leads elsewhere"),
        ("/etc/passwd", "not a relative path"),
        ("m\\x", "not a relative path"),
        ("other/x", "more than one folder"),
        ("top", "not in the archive's folder"),
    ];
    for (name, what) in cases {
        // The writer makes names harmless: this one is put in afterwards.
        let plain = "m/".to_owned() + &"q".repeat(name.len().max(3) - 2);
        let name = if name.len() < 3 { "qqq" } else { name };
        let bytes = replaced(with(&plain, b""), plain.as_bytes(), name.as_bytes());
        let error = refused(bytes);
        assert!(error.contains(what) && error.contains("model.pt"), "{name}: {error}");
    }
}

#[test]
fn two_entries_of_one_name_are_refused() {
    let bytes = replaced(with("m/versioX", b"9"), b"m/versioX", b"m/version");
    let error = refused(bytes);
    assert!(error.contains("4 entries, of 3 names"), "{error}");
}

#[test]
fn links_encryption_and_other_compression_are_refused() {
    let mut writer = zip::ZipWriter::new(Cursor::new(archive(&[])));
    writer.start_file("m/data.pkl", SimpleFileOptions::default()).unwrap();
    writer.add_symlink("m/code", "/etc", SimpleFileOptions::default()).unwrap();
    let error = refused(writer.finish().unwrap().into_inner());
    assert!(error.contains("it is a link"), "{error}");
    // The flag of each entry, in its header and in the directory.
    let mut bytes = with("m/x", b"");
    for (start, flags) in [(b"PK\x03\x04", 6), (b"PK\x01\x02", 8)] {
        let places: Vec<usize> =
            (0..bytes.len() - 4).filter(|at| bytes[*at..].starts_with(start)).collect();
        for at in places {
            bytes[at + flags] |= 1;
        }
    }
    assert!(refused(bytes).contains("encrypted"));
}

#[test]
fn what_unpacks_to_more_than_a_text_is_refused() {
    let mut zeros = b"def f():\n  return None\n#".to_vec();
    zeros.resize(64 << 20, b' ');
    let packed =
        archive(&[("m/data.pkl", DATA), ("m/code/__torch__/a.py", &zeros), ("m/version", b"3")]);
    assert!(packed.len() < 1 << 20);
    let error = refused(packed.clone());
    assert!(error.contains("code/__torch__/a.py: it says that it has 67108864 bytes"), "{error}");
    // One that says less than it has.
    let size = (64_u32 << 20).to_le_bytes();
    let error = refused(replaced(packed, &size, &1000_u32.to_le_bytes()));
    assert!(error.contains("model.pt is refused: code/__torch__/a.py"), "{error}");
}

#[test]
fn too_many_entries_are_refused() {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..300_000 {
        let name = format!("m/{index}");
        writer.start_file(name, SimpleFileOptions::default()).unwrap();
    }
    let error = refused(writer.finish().unwrap().into_inner());
    assert!(error.contains("entries"), "{error}");
}

#[test]
fn a_part_of_an_archive_and_any_changed_byte_do_no_harm() {
    let bytes = with("m/constants.pkl", b"\x80\x02).");
    for end in (0..bytes.len()).step_by(7) {
        assert!(read(bytes[..end].to_vec()).is_err());
    }
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x55;
        let _ = read(changed);
    }
}

#[test]
fn damaged_parts_are_named() {
    let model = |data: &[u8], version: &[u8], code: &[u8]| {
        archive(&[("m/data.pkl", data), ("m/code/__torch__/a.py", code), ("m/version", version)])
    };
    let cases = [
        (model(b"\x80\x02}.", b"3", CODE), "data.pkl: it holds no module"),
        (model(b"\x80\x02cos\nsystem\n(X\x01\x00\x00\x00xtR.", b"3", CODE), "no class os.system"),
        (model(b"\x80", b"3", CODE), "data.pkl: at byte 0"),
        (model(DATA, b"x", CODE), "version: it is no number"),
        (model(DATA, b"11", CODE), "it is of version 11, and 1 to 10 are read"),
        (model(DATA, b"3", b"\xff"), "code/__torch__/a.py: it is not UTF-8"),
        (model(DATA, b"3", b"def f(:\n"), "code/__torch__/a.py, line 1"),
        (model(DATA, b"3", b"import os\nos.remove('x')\n"), "line 2: it is neither a function"),
    ];
    for (bytes, what) in cases {
        let error = refused(bytes);
        assert!(error.contains(what), "{error}");
    }
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("m/models/model.json", SimpleFileOptions::default()).unwrap();
    let graph = "{\"graph_module\":{\"graph\":{\"nodes\":[]}},\"schema_version\":{\"major\":99}}";
    writer.write_all(graph.as_bytes()).unwrap();
    let error = refused(writer.finish().unwrap().into_inner());
    assert!(error.contains("schema version 99"), "{error}");
}

#[test]
fn functions_without_an_end_and_of_endless_size_are_refused() {
    let method = |name: &str, body: &str| {
        format!("  def {name}(self: __torch__.a.Net, x: Tensor) -> Tensor:\n{body}")
    };
    let own = method("forward", "    return (self).forward(x, )\n");
    let error = script(&format!("class Net(Module):\n{own}")).unwrap_err().to_string();
    assert!(error.contains("calls itself"), "{error}");
    // Each calls the one before twice.
    let mut code = format!("class Net(Module):\n{}", method("f0", "    return torch.relu(x)\n"));
    for level in 1..60 {
        let call = format!("    y = (self).f{0}(x, )\n    return (self).f{0}(y, )\n", level - 1);
        code += &method(&format!("f{level}"), &call);
    }
    let error = script(&code).unwrap_err().to_string();
    assert!(error.contains("too large"), "{error}");
}
