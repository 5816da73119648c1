//! A zip archive of a model, read with limits on everything that its writer chose.
//!
//! PyTorch stores its files below one folder, named after the file that was written, and
//! aligns their bytes; both are read as they are. Nothing is unpacked to disk.

use crate::Error;
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use zip::{CompressionMethod, ZipArchive};

/// The file of the graph where torch 2.1 to 2.7 wrote the archive, which has no folder.
pub const OLD: &str = "serialized_exported_program.json";

/// Entries that are looked at. Large models have a few thousand, one for each tensor.
const MAX_ENTRIES: usize = 1 << 18;

/// The longest name of an entry, in bytes.
const MAX_NAME: usize = 1 << 12;

/// Bytes of one text that are read. Weights are never read.
const MAX_TEXT: u64 = 512 << 20;

/// Bytes of all texts of an archive.
const MAX_ALL: u64 = 2 << 30;

/// How many times larger than its compressed bytes a text may be. Deflate ends at 1,032;
/// code that repeats itself reaches 100.
const MAX_RATIO: u64 = 200;

/// An archive whose names were checked.
pub struct Archive<R> {
    zip: ZipArchive<R>,
    /// Index of each entry, by its name below the archive's folder.
    entries: BTreeMap<String, usize>,
    name: String,
    left: u64,
}

impl<R: Read + Seek> Archive<R> {
    /// Reads the directory of an archive; `name` is used in errors.
    ///
    /// # Errors
    /// [`Error::NotAModel`] if it is no zip archive, [`Error::Hostile`] if its directory is not
    /// one that PyTorch writes.
    pub fn new(reader: R, name: &str) -> Result<Self, Error> {
        let open = |reader: R| {
            ZipArchive::new(reader)
                .map_err(|error| Error::NotAModel { path: name.into(), reason: error.to_string() })
        };
        let zip = open(reader)?;
        let hostile = |place: &str, reason: String| Error::Hostile {
            path: name.into(),
            place: place.into(),
            reason,
        };
        if zip.len() > MAX_ENTRIES {
            return Err(hostile("its directory", format!("it has {} entries", zip.len())));
        }
        let (start, count) = (zip.central_directory_start(), zip.len());
        let mut reader = zip.into_inner();
        let named = directory(&mut reader, start)
            .map_err(|error| hostile("its directory", error.to_string()))?;
        // A second entry of a name would be invisible: which one PyTorch reads is its affair.
        if named != count {
            let reason = format!("it has {named} entries, of {count} names");
            return Err(hostile("its directory", reason));
        }
        let zip = open(reader)?;
        let mut archive = Self { zip, entries: BTreeMap::new(), name: name.into(), left: MAX_ALL };
        let mut folder: Option<String> = None;
        let flat = archive.zip.index_for_name(OLD).is_some();
        for index in 0..archive.zip.len() {
            let entry = archive
                .zip
                .by_index_raw(index)
                .map_err(|error| hostile(&format!("entry {index}"), error.to_string()))?;
            let Ok(path) = std::str::from_utf8(entry.name_raw()) else {
                return Err(hostile(&format!("entry {index}"), "its name is not UTF-8".into()));
            };
            let shown: String = path.chars().take(80).collect();
            let refuse = |reason: &str| Err(hostile(&shown, reason.into()));
            if path.len() > MAX_NAME {
                return refuse("its name is too long");
            }
            if path.contains(['\\', '\0']) || path.starts_with('/') {
                return refuse("its name is not a relative path");
            }
            if path.trim_end_matches('/').split('/').any(|part| matches!(part, "" | "." | "..")) {
                return refuse("its name leads elsewhere");
            }
            if entry.is_symlink() {
                return refuse("it is a link");
            }
            if entry.encrypted() {
                return refuse("it is encrypted");
            }
            let rest = if flat {
                path
            } else {
                let Some((top, rest)) = path.split_once('/') else {
                    return refuse("it is not in the archive's folder");
                };
                if folder.get_or_insert_with(|| top.into()) != top {
                    return refuse("there is more than one folder at the top");
                }
                rest
            };
            if rest.is_empty() || rest.ends_with('/') {
                continue;
            }
            if archive.entries.insert(rest.into(), index).is_some() {
                return refuse("there are two entries of this name");
            }
        }
        Ok(archive)
    }

    /// The names below the archive's folder, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Whether there is such an entry.
    pub fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The bytes of an entry; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Hostile`] if it is too large, or damaged.
    pub fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let Some(index) = self.entries.get(name).copied() else { return Ok(None) };
        let path = self.name.clone();
        let hostile =
            |reason: String| Error::Hostile { path: path.clone(), place: name.into(), reason };
        let limit = MAX_TEXT.min(self.left);
        let entry = self.zip.by_index(index).map_err(|error| hostile(error.to_string()))?;
        if !matches!(entry.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
            return Err(hostile(format!("it is compressed with {}", entry.compression())));
        }
        // What the directory says is a claim: the bytes are counted while they come.
        let most = limit.min(entry.compressed_size().saturating_mul(MAX_RATIO).max(1 << 16));
        if entry.size() > most {
            return Err(hostile(format!(
                "it says that it has {} bytes, compressed {}",
                entry.size(),
                entry.compressed_size()
            )));
        }
        let mut bytes = Vec::new();
        entry.take(most + 1).read_to_end(&mut bytes).map_err(|error| hostile(error.to_string()))?;
        if bytes.len() as u64 > most {
            return Err(hostile(format!("it has more than {most} bytes")));
        }
        self.left -= bytes.len() as u64;
        Ok(Some(bytes))
    }

    /// The text of an entry; `None` if there is none.
    ///
    /// # Errors
    /// As [`Archive::read`], and if it is not UTF-8.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Error> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        let text = String::from_utf8(bytes).map_err(|_| Error::Hostile {
            path: self.name.clone(),
            place: name.into(),
            reason: "it is not UTF-8".into(),
        })?;
        Ok(Some(text))
    }

    /// The archive's own name, for errors.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// How many entries the directory at `start` lists.
fn directory<R: Read + Seek>(reader: &mut R, start: u64) -> std::io::Result<usize> {
    reader.seek(SeekFrom::Start(start))?;
    let mut reader = std::io::BufReader::new(reader);
    let mut count = 0;
    let mut header = [0; 46];
    loop {
        match reader.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(count),
            Err(error) => return Err(error),
        }
        if header[..4] != *b"PK\x01\x02" || count > MAX_ENTRIES {
            return Ok(count);
        }
        count += 1;
        let length = |at: usize| i64::from(u16::from_le_bytes([header[at], header[at + 1]]));
        reader.seek_relative(length(28) + length(30) + length(32))?;
    }
}
