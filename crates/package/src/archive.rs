//! The modules of a package in one compressed store, and what finds them there.

use crate::marshal::Marshal;
use crate::{Content, Entry, Error};
use format::place;
use std::collections::BTreeMap;
use store::{Level, Writer};

/// What Python finds ready in a package. All values are marshalled, without references.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// By module and function, answers by arguments.
    pub functions: BTreeMap<(String, String), BTreeMap<Vec<u8>, Vec<u8>>>,
    /// The version of what compiled the following.
    pub version: Vec<u8>,
    /// Code by text.
    pub codes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What makes a pattern, by pattern and flags.
    pub patterns: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Answers {
    /// What `runtime/python/compiled.py` reads; nothing where there is nothing.
    fn compiled(&self) -> Vec<u8> {
        let mut all = Marshal::default();
        if !self.codes.is_empty() || !self.patterns.is_empty() {
            all.tuple(3);
            all.value(&self.version);
            for table in [&self.codes, &self.patterns] {
                all.dict();
                for (key, value) in table {
                    all.value(key);
                    all.bytes(value);
                }
                all.end();
            }
        }
        all.finish()
    }
}

/// The Python side of the runtime: where its modules lie in a package, and their sources.
pub const RUNTIME: [(&str, &[u8]); 10] = [
    ("_taper/__init__.py", include_bytes!("../../../runtime/python/__init__.py")),
    ("_taper/absent.py", include_bytes!("../../../runtime/python/absent.py")),
    ("_taper/answers.py", include_bytes!("../../../runtime/python/answers.py")),
    ("_taper/collector.py", include_bytes!("../../../runtime/python/collector.py")),
    ("_taper/compiled.py", include_bytes!("../../../runtime/python/compiled.py")),
    ("_taper/deferred.py", include_bytes!("../../../runtime/python/deferred.py")),
    ("_taper/once.py", include_bytes!("../../../runtime/python/once.py")),
    ("_taper/start.py", include_bytes!("../../../runtime/python/start.py")),
    ("_taper/tools.py", include_bytes!("../../../runtime/python/tools.py")),
    ("_taper/gates.py", include_bytes!("../../../runtime/python/gates.py")),
];

/// The native side of the runtime.
pub const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libtaper_runtime.so"));

/// What is compiled in place of [`format::STUB`] for the bytecode of a module at the top of the
/// package. Its own frame leaves the traceback of what the module raises: a bare `raise`
/// adds none (in Python 3.10 it does).
pub const ENTRANCE: &[u8] = b"try:
    exec(__import__(\"_taper\").entered(__file__))
except BaseException as _taper_error:
    _taper_error.__traceback__ = _taper_error.__traceback__.tb_next
    raise
finally:
    __import__(\"_taper\").left()
";

/// Bytes of a chunk of modules that programs load when they start, before compression.
/// Larger ones compress better (1 MiB takes a tenth more), and two are held unpacked
/// while a program starts.
const HOT_CHUNK: usize = 1 << 23;

/// Bytes of a chunk of other modules, or of sources, before compression: a program that
/// wants one of them waits a few milliseconds. A third would take 4 % more.
const COLD_CHUNK: usize = 6 << 20;

/// Bytes of a chunk of sources that a workload read, before compression. Programs read
/// them folder by folder in the order of a listing, which is any order, and twice:
/// `transformers` unpacked each chunk thirty times.
const READ_CHUNK: usize = 1 << 17;

/// A module in the store, or a file that is read as their sources are.
#[derive(Debug)]
pub struct StoredModule {
    /// Where its source is, or would be, in the package.
    pub path: String,
    /// Its marshalled code; where there is none, its source is compiled when it is
    /// imported.
    pub code: Option<Vec<u8>>,
    /// Its source, unless it lies in a file.
    pub source: Option<Vec<u8>>,
    /// Whether a workload read its source.
    pub read: bool,
    /// Whether no workload imported it.
    pub cold: bool,
    /// The hash of its source where that lies in its file, by which the runtime sees that
    /// somebody changed it.
    pub file: Option<[u8; 8]>,
}

/// What is not in a package, and why: a word that `runtime/python/absent.py` knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Absent {
    /// By names at the top of site-packages; nothing for one of which only a part is out.
    pub modules: BTreeMap<String, String>,
    /// By dotted names, the modules of the latter that are out.
    pub parts: BTreeMap<String, String>,
    /// By names of distributions (PEP 503).
    pub distributions: BTreeMap<String, String>,
}

impl StoredModule {
    /// Whether Python looks for it at the top of the package, among files.
    pub fn is_top(&self) -> bool {
        let place = self.path.strip_suffix("/__init__.py").unwrap_or(&self.path);
        !place.contains('/')
    }

    /// Its folder, and its name in that: with its extension where it is no module, so that no
    /// import asks for it.
    fn place(&self) -> (&str, &str) {
        let (folder, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        (folder, name.strip_suffix(".py").unwrap_or(name))
    }
}

/// Chunk, offset in it, and length. Chunk 0 is the index's, so zeros mean nothing.
type Place = [u32; 3];

/// Collects byte strings into chunks.
pub(crate) struct Chunks {
    done: Vec<Vec<u8>>,
    open: Vec<u8>,
    limit: usize,
}

impl Chunks {
    pub fn new(limit: usize) -> Self {
        Self { done: Vec::new(), open: Vec::new(), limit }
    }

    pub fn add(&mut self, bytes: &[u8]) -> Place {
        if !self.open.is_empty() && self.open.len() + bytes.len() > self.limit {
            self.close(self.limit);
        }
        let place = [self.next(), self.open.len() as u32, bytes.len() as u32];
        self.open.extend(bytes);
        place
    }

    /// Ends the open chunk; those after it have up to `limit` bytes.
    fn close(&mut self, limit: usize) {
        if !self.open.is_empty() {
            self.done.push(std::mem::take(&mut self.open));
        }
        self.limit = limit;
    }

    /// The chunks.
    pub fn finish(mut self) -> Vec<Vec<u8>> {
        self.close(0);
        self.done
    }

    /// The number of the open chunk, after those of the index and the table.
    fn next(&self) -> u32 {
        self.done.len() as u32 + 2
    }
}

/// The store of `modules`, and the library that reads it. Those that are not cold come
/// first, in the order in which programs load them.
///
/// Chunk 0 is marshalled: the number of the first chunk that no workload reads, a
/// dict from each folder to the row of its first module and the names of its modules,
/// with a space between them, a dict from each module of `answers` to a dict from its
/// functions to the places of their answers, the place of what was compiled, a dict from the
/// paths of modules whose sources lie in their files to the hashes of these, and what is absent. Chunk 1 is the table, with a row of six words of four bytes
/// for each module: the places of code and source. So a program that starts takes apart
/// only the names of folders that it imports from. Then follow chunks of hot code, cold
/// code, sources that a workload read, and other sources.
///
/// # Errors
/// [`Error::Compress`], which is no more than that memory is short or a module has more
/// than 64 MiB of code.
pub fn archive(
    modules: &[StoredModule],
    answers: &Answers,
    absent: &Absent,
    level: Level,
) -> Result<Vec<Entry<'static>>, Error> {
    let mut chunks = Chunks::new(HOT_CHUNK);
    let mut rows = vec![[Place::default(); 2]; modules.len()];
    let first_cold = add_code(&mut chunks, modules, &mut rows);
    let remembered = add_answers(&mut chunks, answers);
    let compiled = chunks.add(&answers.compiled());
    chunks.close(READ_CHUNK);
    // Read where an import fails, in a chunk of its own.
    let mut parts = Marshal::default();
    parts.words(&absent.parts);
    let parts = chunks.add(&parts.finish());
    chunks.close(READ_CHUNK);
    let mut sorted: Vec<usize> = (0..modules.len()).collect();
    sorted.sort_by_key(|number| modules[*number].place());
    add_sources(&mut chunks, modules, &sorted, &mut rows);

    let mut index = Marshal::default();
    index.tuple(6);
    index.number(first_cold as i32);
    index_folders(&mut index, modules, &sorted);
    index_answers(&mut index, &remembered);
    index.place(compiled);
    index.dict();
    for module in modules {
        if let Some(hash) = &module.file {
            index.text(&module.path);
            index.bytes(hash);
        }
    }
    index.end();
    index.tuple(3);
    index.words(&absent.modules);
    index.words(&absent.distributions);
    index.place(parts);
    let table: Vec<u8> = sorted
        .iter()
        .flat_map(|number| rows[*number].as_flattened())
        .flat_map(|word| word.to_le_bytes())
        .collect();
    let mut writer = Writer::new();
    for chunk in [index.finish(), table].into_iter().chain(chunks.done) {
        writer.add(chunk).map_err(|_| {
            Error::Compress(std::io::Error::other("a module has more than 64 MiB of code"))
        })?;
    }
    // The modules are small beside the libraries and are read at every start. All of an
    // environment's take long.
    let all = modules.iter().any(|module| module.cold);
    let level = match level {
        Level::Default if !all => Level::High,
        other => other,
    };
    let (store, _) = writer.finish(level).map_err(Error::Compress)?;
    let entry = |path: &str, bytes| Entry {
        path: path.into(),
        executable: false,
        content: Content::Bytes(bytes),
    };
    Ok(vec![entry(place::RUNTIME, LIBRARY.to_vec()), entry(place::MODULES, store)])
}

/// Adds the code of `modules`, hot first, and gives the number of the first chunk with code of
/// cold ones.
fn add_code(chunks: &mut Chunks, modules: &[StoredModule], rows: &mut [[Place; 2]]) -> u32 {
    let (cold, hot): (Vec<usize>, Vec<usize>) =
        (0..modules.len()).partition(|number| modules[*number].cold);
    let mut first_cold = 0;
    for numbers in [hot, cold] {
        first_cold = chunks.next();
        for number in numbers {
            if let Some(code) = &modules[number].code {
                rows[number][0] = chunks.add(code);
            }
        }
        chunks.close(COLD_CHUNK);
    }
    first_cold
}

/// Adds what functions remember, and gives its places by module and function.
fn add_answers<'a>(
    chunks: &mut Chunks,
    answers: &'a Answers,
) -> BTreeMap<&'a str, Vec<(&'a str, Place)>> {
    let mut remembered: BTreeMap<&str, Vec<(&str, Place)>> = BTreeMap::new();
    for ((module, function), known) in &answers.functions {
        let mut dict = Marshal::default();
        dict.dict();
        for (call, answer) in known {
            dict.bytes(call);
            dict.bytes(answer);
        }
        dict.end();
        let place = chunks.add(&dict.finish());
        remembered.entry(module).or_default().push((function, place));
    }
    remembered
}

/// Adds the sources of `modules` in the order of `sorted`: those that a workload read first.
fn add_sources(
    chunks: &mut Chunks,
    modules: &[StoredModule],
    sorted: &[usize],
    rows: &mut [[Place; 2]],
) {
    for read in [true, false] {
        for number in sorted.iter().filter(|number| modules[**number].read == read) {
            if let Some(source) = &modules[*number].source {
                rows[*number][1] = chunks.add(source);
            }
        }
        chunks.close(COLD_CHUNK);
    }
}

/// Marshals the folders: for each, its first row and the names in it.
fn index_folders(index: &mut Marshal, modules: &[StoredModule], sorted: &[usize]) {
    index.dict();
    let places: Vec<(&str, &str)> = sorted.iter().map(|number| modules[*number].place()).collect();
    let mut row = 0;
    for folder in places.chunk_by(|one, other| one.0 == other.0) {
        let names: Vec<&str> = folder.iter().map(|(_, name)| *name).collect();
        index.text(folder.first().map_or("", |(folder, _)| folder));
        index.tuple(2);
        index.number(row);
        index.text(&names.join(" "));
        row += names.len() as i32;
    }
    index.end();
}

/// Marshals the places of answers, by module and function.
fn index_answers(index: &mut Marshal, remembered: &BTreeMap<&str, Vec<(&str, Place)>>) {
    index.dict();
    for (module, functions) in remembered {
        index.text(module);
        index.dict();
        for (function, place) in functions {
            index.text(function);
            index.place(*place);
        }
        index.end();
    }
    index.end();
}
