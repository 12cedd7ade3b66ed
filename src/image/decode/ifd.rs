//! TIFF directories (IFDs), which EXIF data use as well: classic and BigTIFF, both byte orders.

/// Most directories that are followed, and most values of one entry.
const MAX_DIRECTORIES: usize = 1 << 16;

/// A file of directories.
#[derive(Clone, Copy)]
pub(super) struct Directories<'a> {
    bytes: &'a [u8],
    is_big_endian: bool,
    is_big_tiff: bool,
}

/// Where the values of a tag lie.
struct Entry {
    tag: u16,
    kind: u16,
    count: usize,
    at: usize,
}

/// A directory: tags and their values.
pub(super) struct Directory<'a> {
    file: Directories<'a>,
    entries: Vec<Entry>,
    next: usize,
}

impl<'a> Directories<'a> {
    /// Reads the header of a TIFF; `None` for other bytes.
    pub(super) fn new(bytes: &'a [u8]) -> Option<Directories<'a>> {
        let is_big_endian = match bytes.get(..2)? {
            b"II" => false,
            b"MM" => true,
            _ => return None,
        };
        let mut file = Directories { bytes, is_big_endian, is_big_tiff: false };
        file.is_big_tiff = match file.unsigned(2, 2)? {
            42 => false,
            43 => true,
            _ => return None,
        };
        Some(file)
    }

    pub(super) fn is_big_endian(&self) -> bool {
        self.is_big_endian
    }

    /// The first directory.
    pub(super) fn first(&self) -> Option<Directory<'a>> {
        let at = if self.is_big_tiff { self.unsigned(8, 8)? } else { self.unsigned(4, 4)? };
        self.directory(usize::try_from(at).ok()?)
    }

    /// The directories that follow one, as long as they can be read; a cyclic chain ends.
    pub(super) fn behind(&self, directory: &Directory<'a>) -> Vec<Directory<'a>> {
        let mut found: Vec<Directory<'a>> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        let mut next = directory.next;
        while next != 0 && seen.insert(next) && found.len() < MAX_DIRECTORIES {
            let Some(directory) = self.directory(next) else { break };
            next = directory.next;
            found.push(directory);
        }
        found
    }

    fn directory(&self, at: usize) -> Option<Directory<'a>> {
        let (count_size, entry_size, word) = if self.is_big_tiff { (8, 20, 8) } else { (2, 12, 4) };
        let count = usize::try_from(self.unsigned(at, count_size)?).ok()?;
        let start = at.checked_add(count_size)?;
        let end = start.checked_add(count.checked_mul(entry_size)?)?;
        self.bytes.get(start..end)?;
        let entry = |index: usize| {
            let at = start + index * entry_size;
            let (tag, kind) = (self.unsigned(at, 2)? as u16, self.unsigned(at + 2, 2)? as u16);
            let count = usize::try_from(self.unsigned(at + 4, word)?).ok()?;
            let field = at + 4 + word;
            let length = count.checked_mul(size_of_kind(kind)?)?;
            let at = if length <= word { field } else { usize::try_from(self.unsigned(field, word)?).ok()? };
            self.bytes.get(at..at.checked_add(length)?)?;
            Some(Entry { tag, kind, count, at })
        };
        let next = usize::try_from(self.unsigned(end, word).unwrap_or(0)).unwrap_or(0);
        Some(Directory { file: *self, entries: (0..count).filter_map(entry).collect(), next })
    }

    /// An unsigned number of `size` bytes.
    fn unsigned(&self, at: usize, size: usize) -> Option<u64> {
        let bytes = self.bytes.get(at..at.checked_add(size)?)?;
        let add = |number: u64, &byte: &u8| number << 8 | u64::from(byte);
        Some(if self.is_big_endian { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) })
    }
}

impl<'a> Directory<'a> {
    /// The bytes of a tag.
    pub(super) fn bytes(&self, tag: u16) -> Option<&'a [u8]> {
        let entry = self.entries.iter().find(|entry| entry.tag == tag)?;
        self.file.bytes.get(entry.at..entry.at + entry.count * size_of_kind(entry.kind)?)
    }

    /// The whole numbers of a tag; none where it is missing or holds others.
    pub(super) fn numbers(&self, tag: u16) -> Option<Vec<u64>> {
        let entry = self.entries.iter().find(|entry| entry.tag == tag)?;
        if !matches!(entry.kind, 1 | 3 | 4 | 7 | 13 | 16 | 18) {
            return None;
        }
        let size = size_of_kind(entry.kind)?;
        (0..entry.count).map(|index| self.file.unsigned(entry.at + index * size, size)).collect()
    }

    /// The first number of a tag.
    pub(super) fn number(&self, tag: u16) -> Option<u64> {
        self.numbers(tag)?.first().copied()
    }
}

/// Bytes of a value of a TIFF type.
fn size_of_kind(kind: u16) -> Option<usize> {
    match kind {
        1 | 2 | 6 | 7 => Some(1),
        3 | 8 => Some(2),
        4 | 9 | 11 | 13 => Some(4),
        5 | 10 | 12 | 16 | 17 | 18 => Some(8),
        _ => None,
    }
}
