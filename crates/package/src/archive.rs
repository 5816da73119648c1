//! The modules of a package in one compressed store, and what finds them there.

use crate::marshal::Marshal;
use crate::{Content, Entry, Error};
use store::{Level, Writer};

/// Where the runtime lies in a package: a module of Python with a library beside it.
pub const RUNTIME: &str = "_taper/__init__.py";

/// The Python side of the runtime.
pub const FINDER: &[u8] = include_bytes!("../../../runtime/python/__init__.py");

/// The native side of the runtime.
pub const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libtaper_runtime.so"));

/// What stands in the source file of a module that lies in the store, unless a workload
/// read that source. Programs that list folders or ask for files see what they saw
/// before, and whoever runs the file, under whatever name, runs the module. There are no
/// lines for tracebacks, and `inspect.getsource` raises OSError.
pub const STUB: &[u8] = b"exec(__import__(\"_taper\").code(__file__))\n";

/// Bytes of a chunk before compression. Larger ones compress better (1 MiB takes a tenth
/// more), and two are held unpacked while a program starts.
const CHUNK: usize = 1 << 23;

/// A module in the store.
#[derive(Debug)]
pub struct StoredModule {
    /// Where its source is, or would be, in the package.
    pub path: String,
    /// Its marshalled code.
    pub code: Vec<u8>,
}

impl StoredModule {
    /// Whether Python looks for it at the top of the package, among files.
    pub fn is_top(&self) -> bool {
        let place = self.path.strip_suffix("/__init__.py").unwrap_or(&self.path);
        !place.contains('/')
    }
}

/// Collects byte strings into chunks.
#[derive(Default)]
struct Chunks {
    done: Vec<Vec<u8>>,
    open: Vec<u8>,
}

/// Chunk, offset in it, and length, all within an `i32`.
type Place = [i32; 3];

impl Chunks {
    /// Chunk 0 is the index's.
    fn add(&mut self, bytes: &[u8]) -> Place {
        if !self.open.is_empty() && self.open.len() + bytes.len() > CHUNK {
            self.close();
        }
        let place = [self.done.len() as i32 + 1, self.open.len() as i32, bytes.len() as i32];
        self.open.extend(bytes);
        place
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.done.push(std::mem::take(&mut self.open));
        }
    }
}

/// The store of `modules`, which are in the order in which programs load them, and the
/// library that reads it.
///
/// # Errors
/// [`Error::Compress`], which is no more than that memory is short or a module has more
/// than 64 MiB of code.
pub fn archive(modules: &[StoredModule], level: Level) -> Result<Vec<Entry<'static>>, Error> {
    let mut chunks = Chunks::default();
    let codes: Vec<Place> = modules.iter().map(|module| chunks.add(&module.code)).collect();
    chunks.close();

    let mut index = Marshal::default();
    index.dict();
    for (module, code) in modules.iter().zip(codes) {
        index.text(module.path.strip_suffix(".py").unwrap_or(&module.path));
        index.tuple(3);
        for number in code {
            index.number(number);
        }
    }
    index.end();
    let mut writer = Writer::new();
    for chunk in std::iter::once(index.finish()).chain(chunks.done) {
        writer.add(chunk).map_err(|_| {
            Error::Compress(std::io::Error::other("a module has more than 64 MiB of code"))
        })?;
    }
    // The modules are small beside the libraries and are read at every start.
    let level = if level == Level::Default { Level::High } else { level };
    let (store, _) = writer.finish(level).map_err(Error::Compress)?;
    let entry = |path: &str, bytes| Entry {
        path: path.into(),
        executable: false,
        content: Content::Bytes(bytes),
    };
    Ok(vec![entry("_taper/libtaper_runtime.so", LIBRARY.to_vec()), entry("_taper/modules", store)])
}
