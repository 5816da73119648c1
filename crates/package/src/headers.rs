//! What only compilers and linkers read, in one compressed store.

use crate::archive::Chunks;
use crate::marshal::Marshal;
use crate::{Content, Entry, Error};
use format::place;
use store::{Level, Writer};

/// Bytes of a chunk before compression. They come back all at once.
const CHUNK: usize = 1 << 22;

/// The store of `files`, paths in the package and bytes, sorted by path.
///
/// Chunk 0 is marshalled: a dict from each folder to the row of its first file and the
/// names of its files, with a slash between them. Chunk 1 is the table, with a row of three
/// words of four bytes for each file: chunk, offset in it, length.
///
/// # Errors
/// [`Error::Compress`], which is no more than that memory is short or a file has more than
/// 64 MiB.
pub fn headers(files: &[(String, Vec<u8>)], level: Level) -> Result<Entry<'static>, Error> {
    let mut chunks = Chunks::new(CHUNK);
    let mut index = Marshal::default();
    let mut table = Vec::with_capacity(files.len() * 12);
    index.dict();
    let place = |path: &str| path.rsplit_once('/').map_or(0, |(folder, _)| folder.len());
    for folder in files.chunk_by(|one, other| one.0[..place(&one.0)] == other.0[..place(&other.0)])
    {
        let mut names = Vec::with_capacity(folder.len());
        let row = (table.len() / 12) as i32;
        for (path, bytes) in folder {
            names.push(path[place(path)..].trim_start_matches('/'));
            table.extend(chunks.add(bytes).into_iter().flat_map(u32::to_le_bytes));
        }
        let first = folder.first().map_or("", |(path, _)| &path[..place(path)]);
        index.text(first);
        index.tuple(2);
        index.number(row);
        index.text(&names.join("/"));
    }
    index.end();
    let mut writer = Writer::new();
    for chunk in [index.finish(), table].into_iter().chain(chunks.finish()) {
        writer
            .add(chunk)
            .map_err(|_| Error::Compress(std::io::Error::other("a file has more than 64 MiB")))?;
    }
    let (store, _) = writer.finish(level).map_err(Error::Compress)?;
    Ok(Entry { path: place::TOOLS.into(), executable: false, content: Content::Bytes(store) })
}
