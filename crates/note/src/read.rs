//! The reader. It does not allocate.

/// Bytes of the header.
pub const HEADER: usize = 120;

pub(crate) const MAGIC: [u8; 8] = *b"taper\0nt";

/// The version of the format.
pub(crate) const VERSION: u32 = 1;

/// Bytes of a run.
pub(crate) const RUN: usize = 16;

/// Where the hash lies.
pub(crate) const HASH: core::ops::Range<usize> = 80..112;

/// Where the first bytes of the original's hash lie.
pub(crate) const CONTENT: usize = 112;

/// What the program may do with pages that came back, besides reading them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Nothing.
    Read,
    /// Run them.
    Execute,
    /// Write to them. Only of pages that nobody is known to write to (code for GPUs in a writable
    /// segment): they may come back twice where two threads wait for them.
    Write,
}

impl Rights {
    /// As a note has them; a number that is not known gives no right.
    fn read(number: u16) -> Self {
        match number {
            1 => Self::Execute,
            2 => Self::Write,
            _ => Self::Read,
        }
    }

    /// As a note has them.
    #[cfg(any(test, feature = "write"))]
    pub(crate) fn number(self) -> u16 {
        match self {
            Self::Read => 0,
            Self::Execute => 1,
            Self::Write => 2,
        }
    }
}

/// Why a note is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// It is not a note, or one of another version.
    Foreign,
    /// Its bytes are not those that were written.
    Damaged,
}

/// Pages that follow each other in the library and in one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first page.
    pub page: u32,
    /// The number of pages.
    pub count: u16,
    /// What the program may do with them.
    pub rights: Rights,
    /// The chunk, counted from the library's first.
    pub chunk: u32,
    /// The first page's place in the chunk, in pages.
    pub place: u32,
}

impl Run {
    fn read(bytes: &[u8; RUN]) -> Self {
        Self {
            page: u32_at(bytes, 0),
            count: u16::from_le_bytes(array(bytes, 4)),
            rights: Rights::read(u16::from_le_bytes(array(bytes, 6))),
            chunk: u32_at(bytes, 8),
            place: u32_at(bytes, 12),
        }
    }

    /// Whether it holds `page`.
    pub fn contains(&self, page: u32) -> bool {
        page >= self.page && page - self.page < u32::from(self.count)
    }
}

/// A note in memory.
#[derive(Debug, Clone, Copy)]
pub struct Note<'a> {
    bytes: &'a [u8],
    runs: &'a [u8],
    name: &'a [u8],
}

impl<'a> Note<'a> {
    /// Checks the note in `bytes`, which are no more than it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(bytes: &'a [u8]) -> Result<Self, Error> {
        let note = Self::checked(bytes)?;
        if hash(bytes) == array::<32>(bytes, HASH.start) { Ok(note) } else { Err(Error::Damaged) }
    }

    /// How long a note is that starts `bytes`, by its own words; `None` where none does.
    pub fn size(bytes: &[u8]) -> Option<usize> {
        if bytes.len() < HEADER || bytes[..8] != MAGIC {
            return None;
        }
        let (runs, name) = (u32_at(bytes, 12) as usize, u32_at(bytes, 24) as usize);
        runs.checked_mul(RUN)?.checked_add(HEADER)?.checked_add(name)
    }

    /// Like [`Note::open`], for bytes that it has checked before: the hash is not computed
    /// again.
    ///
    /// # Errors
    /// [`Error`].
    pub fn checked(bytes: &'a [u8]) -> Result<Self, Error> {
        if bytes.len() < HEADER || bytes[..8] != MAGIC || u32_at(bytes, 8) != VERSION {
            return Err(Error::Foreign);
        }
        let (runs, name) = (u32_at(bytes, 12) as usize, u32_at(bytes, 24) as usize);
        let middle = runs.checked_mul(RUN).and_then(|size| size.checked_add(HEADER));
        let middle = middle.ok_or(Error::Damaged)?;
        if middle.checked_add(name) != Some(bytes.len()) {
            return Err(Error::Damaged);
        }
        Ok(Self { bytes, runs: &bytes[HEADER..middle], name: &bytes[middle..] })
    }

    /// The root of the store that holds the pages.
    pub fn root(&self) -> [u8; 32] {
        array(self.bytes, 32)
    }

    /// The number in the store of the library's first chunk.
    pub fn first_chunk(&self) -> u32 {
        u32_at(self.bytes, 20)
    }

    /// How many chunks the library has.
    pub fn chunks(&self) -> u32 {
        u32_at(self.bytes, 16)
    }

    /// The number in the store of the chunk that names absent functions.
    pub fn names(&self) -> Option<u32> {
        u32_at(self.bytes, 64).checked_sub(1)?.checked_add(self.first_chunk())
    }

    /// The first bytes of the BLAKE3 hash of the library as it was installed.
    pub fn content(&self) -> [u8; 8] {
        array(self.bytes, CONTENT)
    }

    /// The number of the library's pages, from its load base on.
    pub fn pages(&self) -> u32 {
        u32_at(self.bytes, 28)
    }

    /// The library's path in the package.
    pub fn name(&self) -> &'a [u8] {
        self.name
    }

    /// How many runs there are.
    pub fn len(&self) -> usize {
        self.runs.len() / RUN
    }

    /// Whether nothing is cold.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Run `index`.
    pub fn run(&self, index: usize) -> Option<Run> {
        let at = index.checked_mul(RUN)?;
        Some(Run::read(self.runs.get(at..)?.first_chunk()?))
    }

    /// The index of the run that holds `page`.
    pub fn find(&self, page: u32) -> Option<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.run(middle)?.page <= page {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let index = low.checked_sub(1)?;
        self.run(index)?.contains(page).then_some(index)
    }

    /// The runs of the chunk that run `index` belongs to.
    pub fn together(&self, index: usize) -> impl Iterator<Item = Run> + use<'a> {
        let own = *self;
        let chunk = own.run(index).map(|run| run.chunk);
        let same = move |at: usize| own.run(at).filter(|run| Some(run.chunk) == chunk);
        let mut first = index;
        while first > 0 && same(first - 1).is_some() {
            first -= 1;
        }
        (first..).map_while(same)
    }
}

/// The hash of a note: of everything but the hash itself.
pub(crate) fn hash(bytes: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..HASH.start]);
    hasher.update(&bytes[HASH.end..]);
    *hasher.finalize().as_bytes()
}

/// The bytes at `at`; zeros past the end, which no caller reaches.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}
