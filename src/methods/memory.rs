//! Memory of reference images: what a method keeps of them, as named arrays that a later run can read from a file.

use crate::error::{Code, Error, Remedy, Result};
use crate::tensor::{Array, Precision};
use crate::weights::{Checkpoint, to_safetensors};

/// What a method keeps of reference images.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    kind: &'static MemoryKind,
    /// In the order of the kind's arrays; `None` for an optional one that is not there.
    arrays: Vec<Option<Array>>,
}

/// Kind of a memory: the methods of one name make it and read it, and no others.
#[derive(Debug)]
pub struct MemoryKind {
    /// The name in files.
    pub name: &'static str,
    /// Its arrays.
    pub arrays: &'static [MemoryArray],
    /// What is wrong with the arrays of a file, whatever network they are of: the name of one, and its fault.
    pub fault: fn(&Memory) -> Option<(&'static str, String)>,
}

/// An array of a memory.
#[derive(Clone, Copy, Debug)]
pub struct MemoryArray {
    /// Its name.
    pub name: &'static str,
    /// Number of its axes, none of which is empty.
    pub axes: usize,
    /// Whether a memory may lack it.
    pub is_optional: bool,
}

impl MemoryArray {
    /// An array that every memory of the kind has.
    pub const fn required(name: &'static str, axes: usize) -> MemoryArray {
        MemoryArray { name, axes, is_optional: false }
    }
}

impl PartialEq for MemoryKind {
    fn eq(&self, other: &MemoryKind) -> bool {
        self.name == other.name
    }
}

impl Eq for MemoryKind {}

/// Metadata key of the format, whose value is the name of the kind between these. The number counts what a method computes of an image: it
/// rises where preprocessing or features change, so that a memory of the features before is refused.
const FORMAT: &str = "format";
const BEFORE_KIND: &str = "zsas-gpu ";
const AFTER_KIND: &str = " memory 1";

/// Metadata key of what computed the features.
const IDENTITY: &str = "features";

/// Metadata key of the class that the reference images show.
const CLASS: &str = "class";

impl Memory {
    /// A memory of these arrays, in the order of the kind.
    ///
    /// Panics unless they are as many and have the axes that the kind says.
    #[track_caller]
    pub fn new(kind: &'static MemoryKind, arrays: impl IntoIterator<Item = Option<Array>>) -> Memory {
        let arrays: Vec<Option<Array>> = arrays.into_iter().collect();
        assert!(arrays.len() == kind.arrays.len(), "a memory of {} has {} arrays, not {}", kind.name, kind.arrays.len(), arrays.len());
        for (one, array) in kind.arrays.iter().zip(&arrays) {
            let fits = array.as_ref().map_or(one.is_optional, |array| array.shape().rank() == one.axes);
            assert!(fits, "`{}` of a memory of {} has {} axes", one.name, kind.name, one.axes);
        }
        Memory { kind, arrays }
    }

    /// The memory with another array of this name, which the kind has.
    #[must_use]
    pub(super) fn with(mut self, name: &str, array: Array) -> Memory {
        let at = self.kind.arrays.iter().position(|one| one.name == name);
        self.arrays[at.unwrap_or_else(|| panic!("a memory of {} has no `{name}`", self.kind.name))] = Some(array);
        self
    }

    /// An array; panics where the memory has none of this name.
    #[track_caller]
    pub fn array(&self, name: &str) -> &Array {
        self.optional(name).unwrap_or_else(|| panic!("a memory of {} without `{name}`", self.kind.name))
    }

    /// An array that a memory may lack.
    pub fn optional(&self, name: &str) -> Option<&Array> {
        self.named().find(|(known, _)| *known == name).map(|(_, array)| array)
    }

    fn named(&self) -> impl Iterator<Item = (&str, &Array)> {
        let names = self.kind.arrays.iter().map(|one| one.name);
        names.zip(&self.arrays).filter_map(|(name, array)| Some((name, array.as_ref()?)))
    }

    /// Serialises the memory as a safetensors file. `identity` names what computed the features, such as weights and precision; `class` says
    /// what the images show.
    pub fn to_bytes(&self, identity: &str, class: &str) -> Result<Vec<u8>> {
        let format = format!("{BEFORE_KIND}{}{AFTER_KIND}", self.kind.name);
        to_safetensors(self.named(), &[(FORMAT, &format), (IDENTITY, identity), (CLASS, class)])
    }

    /// The name of a file's kind; `None` where it is no memory.
    pub fn kind_of(file: &Checkpoint) -> Option<&str> {
        file.metadata().get(FORMAT)?.strip_prefix(BEFORE_KIND)?.strip_suffix(AFTER_KIND)
    }

    /// The class that the reference images show, where the file names it.
    pub fn class(file: &Checkpoint) -> Option<&str> {
        file.metadata().get(CLASS).map(String::as_str)
    }

    /// The precision in which its features were computed, by what [`Memory::to_bytes`] was given.
    pub fn precision(file: &Checkpoint) -> Option<Precision> {
        let identity = file.metadata().get(IDENTITY)?;
        Precision::ALL
            .into_iter()
            .find(|precision| identity.ends_with(&format!(" in {}", precision.as_str())))
    }

    /// True for a file that [`Memory::to_bytes`] wrote, of any kind.
    pub fn is_memory(file: &Checkpoint) -> bool {
        Memory::kind_of(file).is_some()
    }

    /// Reads a memory of a kind that [`Memory::to_bytes`] wrote.
    ///
    /// Errors with [`Code::Reference`] when the file is no memory, one of another kind, damaged, or of features of another identity.
    pub fn read(file: &Checkpoint, kind: &'static MemoryKind, identity: &str) -> Result<Memory> {
        kind.check(file)?;
        match file.metadata().get(IDENTITY) {
            Some(found) if found == identity => {}
            found => {
                let found = found.map_or("nothing", String::as_str);
                return Err(refused(format!("`{}` holds features of {found}, this run makes those of {identity}", file.name())));
            }
        }
        let arrays = kind.arrays.iter().map(|one| one.read(file)).collect::<Result<Vec<_>>>();
        let arrays = arrays.map_err(|error| refused(format!("`{}` is damaged: {}", file.name(), error.message())))?;
        let memory = Memory::new(kind, arrays);
        match (kind.fault)(&memory) {
            None => Ok(memory),
            Some((name, fault)) => Err(refused(format!("`{name}` of `{}` {fault}", file.name()))),
        }
    }
}

impl MemoryKind {
    /// Refuses a file that is no memory of this kind, with [`Code::Reference`].
    pub fn check(&self, file: &Checkpoint) -> Result<()> {
        match Memory::kind_of(file) {
            Some(found) if found == self.name => Ok(()),
            Some(found) => Err(refused(format!("`{}` is a memory of `{found}`, not of `{}`", file.name(), self.name))),
            None => Err(refused(format!("`{}` is no memory of reference images", file.name()))),
        }
    }
}

impl MemoryArray {
    fn read(&self, file: &Checkpoint) -> Result<Option<Array>> {
        if self.is_optional && !file.contains(self.name) {
            return Ok(None);
        }
        let wrong = |what: &str| Error::new(Code::Reference, format!("`{}` {what}", self.name));
        let shape = file.shape(self.name).ok_or_else(|| wrong("is missing"))?;
        if shape.rank() != self.axes || shape.is_empty() {
            return Err(wrong(&format!("is {shape}, not numbers of {} axes", self.axes)));
        }
        // Refuses numbers that are not finite.
        Ok(Some(file.root().weight(self.name, shape)?.to_array()?))
    }
}

fn refused(message: String) -> Error {
    Error::new(Code::Reference, message).hint(Remedy::MakeMemoryAgain)
}

#[cfg(test)]
mod tests {
    use super::*;

    static KIND: MemoryKind = MemoryKind {
        name: "test",
        arrays: &[MemoryArray::required("rows", 2), MemoryArray { name: "more", axes: 1, is_optional: true }],
        fault: |memory| (memory.array("rows").data()[0] > 9.0).then(|| ("rows", "begins above 9".to_owned())),
    };

    static OTHER: MemoryKind = MemoryKind { name: "other", arrays: &[], fault: |_| None };

    fn memory(first: f32) -> Memory {
        Memory::new(&KIND, [Some(Array::new([2, 1], vec![first, 2.0])), None])
    }

    fn file(arrays: &[(&str, &Array)], metadata: &[(&str, &str)]) -> Checkpoint {
        Checkpoint::from_bytes("m", to_safetensors(arrays.iter().copied(), metadata).unwrap()).unwrap()
    }

    fn refusal(file: &Checkpoint, kind: &'static MemoryKind, identity: &str) -> String {
        let error = Memory::read(file, kind, identity).unwrap_err();
        assert_eq!(error.code(), Code::Reference);
        error.message().to_owned()
    }

    #[test]
    fn a_memory_comes_back_from_its_file_but_not_for_other_weights() {
        let file = Checkpoint::from_bytes("m", memory(1.0).to_bytes("weights a in f32", "bottle").unwrap()).unwrap();
        assert_eq!((Memory::class(&file), Memory::kind_of(&file)), (Some("bottle"), Some("test")));
        assert_eq!(Memory::precision(&file), Some(Precision::F32));
        let read = Memory::read(&file, &KIND, "weights a in f32").unwrap();
        assert_eq!((read.optional("more"), &read), (None, &memory(1.0)));
        let message = "`m` holds features of weights a in f32, this run makes those of weights b";
        assert_eq!(refusal(&file, &KIND, "weights b"), message);
    }

    #[test]
    fn a_memory_of_another_method_is_refused_by_name() {
        let file = Checkpoint::from_bytes("m", memory(1.0).to_bytes("w", "bottle").unwrap()).unwrap();
        assert_eq!(refusal(&file, &OTHER, "w"), "`m` is a memory of `test`, not of `other`");
    }

    #[test]
    fn a_file_of_another_kind_or_with_other_arrays_is_refused() {
        let marks = [(FORMAT, "zsas-gpu test memory 1"), (IDENTITY, "w")];
        let rows = Array::new([2, 1], vec![1.0, 2.0]);
        assert_eq!(refusal(&file(&[("rows", &rows)], &[]), &KIND, "w"), "`m` is no memory of reference images");
        assert_eq!(
            refusal(&file(&[("rows", &rows)], &[(FORMAT, "zsas-gpu test memory 2")]), &KIND, "w"),
            "`m` is no memory of reference images"
        );
        assert_eq!(refusal(&file(&[("row", &rows)], &marks), &KIND, "w"), "`m` is damaged: `rows` is missing");
        let flat = rows.clone().reshape([2]);
        assert_eq!(refusal(&file(&[("rows", &flat)], &marks), &KIND, "w"), "`m` is damaged: `rows` is [2], not numbers of 2 axes");
        let empty = Array::zeros([0, 4]);
        assert_eq!(refusal(&file(&[("rows", &empty)], &marks), &KIND, "w"), "`m` is damaged: `rows` is [0, 4], not numbers of 2 axes");
        let not_finite = Array::new([1, 2], vec![f32::NAN, 1.0]);
        assert!(refusal(&file(&[("rows", &not_finite)], &marks), &KIND, "w").starts_with("`m` is damaged: "));
    }

    #[test]
    fn numbers_that_cannot_be_of_the_kind_are_refused() {
        let file = Checkpoint::from_bytes("m", memory(10.0).to_bytes("w", "bottle").unwrap()).unwrap();
        assert_eq!(refusal(&file, &KIND, "w"), "`rows` of `m` begins above 9");
    }
}
