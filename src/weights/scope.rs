//! A path inside a checkpoint, extended name by name: `root.at("layer1").at(0).weight("conv1.weight", shape)`.

use super::checkpoint::{Contents, Stored};
use super::decode;
use super::weight::Weight;
use crate::error::{Code, Error, Result};
use crate::tensor::Shape;
use safetensors::Dtype;
use std::cmp::Reverse;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Most misfits that one refusal lists.
const MAX_LISTED: usize = 5;
/// Most existing names offered for a missing one.
const MAX_NEAREST: usize = 3;
/// Share of letters, in percent, that must agree before a name is offered.
const MIN_SIMILARITY: usize = 60;

/// A path into a checkpoint. Cheap to clone; every clone marks the same tensors as read.
#[derive(Clone)]
pub struct Scope {
    contents: Arc<Contents>,
    path: String,
    misfits: Option<Misfits>,
}

/// Missing and ill-shaped tensors so far, under [`Scope::load`].
type Misfits = Arc<Mutex<MisfitList>>;

#[derive(Default)]
struct MisfitList {
    found: Vec<Misfit>,
    /// Whether sizes of a missing tensor were made up, so that shapes which follow from them mean nothing.
    has_invented_sizes: bool,
}

/// Made-up size of each axis of a missing tensor, to go on and list other missing ones: many numbers of heads and groups divide it.
const INVENTED_SIZE: usize = 5040;

impl Scope {
    pub(super) fn root(contents: Arc<Contents>) -> Scope {
        Scope { contents, path: String::new(), misfits: None }
    }

    /// The path so far, joined with dots; empty at the root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Name of what was opened, for messages.
    pub fn checkpoint(&self) -> &str {
        &self.contents.name
    }

    /// The path extended by a name (`layer1`, `attn.qkv`) or a number.
    pub fn at(&self, name: impl fmt::Display) -> Scope {
        Scope { path: self.join(name), ..self.clone() }
    }

    fn join(&self, name: impl fmt::Display) -> String {
        if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) }
    }

    fn find(&self, name: &str) -> Option<&Stored> {
        self.contents.tensors.get(&self.join(name))
    }

    /// True when there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// True when no tensor lies below this path.
    pub fn is_empty(&self) -> bool {
        self.contents.starting_with(&self.join("")).next().is_none()
    }

    /// Number of consecutive names `0`, `1`, … below this path that hold a tensor: the depth of a stack of blocks.
    pub fn blocks(&self) -> usize {
        (0..).take_while(|&block| !self.at(block).is_empty()).count()
    }

    /// Shape of a tensor; `None` when there is none, or when it has more axes than a [`Shape`] may have.
    pub fn shape(&self, name: &str) -> Option<Shape> {
        self.find(name)?.shape()
    }

    /// Sizes of a tensor that must have `N` axes, none of them 0: how a model reads its width and depth off a file.
    ///
    /// Fails with [`Code::WeightsMismatch`] where it is missing or of another rank. Under [`Scope::load`] a missing one is only recorded,
    /// and the sizes returned are made up.
    pub fn sizes<const N: usize>(&self, name: &str) -> Result<[usize; N]> {
        let stored = self.find(name);
        let fault = match stored {
            None => Fault::Missing,
            Some(stored) if stored.sizes.contains(&0) => Fault::Empty(stored.sizes.clone()),
            Some(stored) => match stored.sizes.as_slice().try_into() {
                Ok(sizes) => return Ok(sizes),
                Err(_) => Fault::Rank(stored.sizes.clone(), N),
            },
        };
        let misfit = Misfit { path: self.join(name), fault };
        let is_missing = stored.is_none();
        if self.record(misfit.clone()) && is_missing {
            self.invent_sizes();
            return Ok([INVENTED_SIZE; N]);
        }
        Err(self.refuse(&[misfit]))
    }

    /// Finds a tensor of floats, checks its shape and marks it as read; no value is read yet.
    ///
    /// Fails with [`Code::WeightsMismatch`] where it is missing, of another shape, or not of floats. Under
    /// [`Scope::load`] such a misfit is only recorded, and the weight returned stands for the one that should be there.
    pub fn weight(&self, name: &str, shape: impl Into<Shape>) -> Result<Weight> {
        let shape = shape.into();
        match self.optional(name, shape)? {
            Some(weight) => Ok(weight),
            None => self.stand_in(Misfit { path: self.join(name), fault: Fault::Missing }, shape),
        }
    }

    /// Like [`Scope::weight`], but `None` where the tensor is missing.
    pub fn optional(&self, name: &str, shape: impl Into<Shape>) -> Result<Option<Weight>> {
        let shape = shape.into();
        let path = self.join(name);
        let Some(stored) = self.contents.tensors.get(&path) else { return Ok(None) };
        stored.mark_read();
        let fault = if !decode::is_float(stored.dtype) {
            Fault::Type(stored.dtype)
        } else if stored.sizes != shape.sizes() {
            Fault::Shape(stored.sizes.clone(), shape)
        } else {
            return Ok(Some(self.stored_weight(path, shape)));
        };
        self.stand_in(Misfit { path, fault }, shape).map(Some)
    }

    fn stored_weight(&self, path: String, shape: Shape) -> Weight {
        let contents = Arc::clone(&self.contents);
        let file = self.contents.file_of(&self.contents.tensors[&path]).to_string();
        let key = path.clone();
        Weight::lazy(path, shape, Some(file.into()), move || contents.to_array(&contents.tensors[&key], shape))
    }

    /// Under [`Scope::load`], records the misfit and gives a weight that cannot be read; else fails at once.
    fn stand_in(&self, misfit: Misfit, shape: Shape) -> Result<Weight> {
        if !self.record(misfit.clone()) {
            return Err(self.refuse(&[misfit]));
        }
        let scope = self.clone();
        Ok(Weight::new(misfit.path.clone(), shape, move || Err(scope.refuse(std::slice::from_ref(&misfit)))))
    }

    /// Marks a tensor, or all tensors below a path, as known but not needed.
    pub fn ignore(&self, name: &str) {
        let path = self.join(name);
        let below = format!("{path}.");
        let exact = self.contents.tensors.get(&path);
        exact.into_iter().chain(self.contents.starting_with(&below)).for_each(Stored::mark_read);
    }

    /// Runs `build`, and refuses with the first five missing or ill-shaped tensors listed together if there are any.
    ///
    /// A model's `load` wraps its body in this, so that no caller can forget to check. Inside another `load` it adds
    /// to that one's list.
    pub fn load<T>(&self, build: impl FnOnce(&Scope) -> Result<T>) -> Result<T> {
        if self.misfits.is_some() {
            return build(self);
        }
        let misfits = Misfits::default();
        let result = build(&Scope { misfits: Some(Arc::clone(&misfits)), ..self.clone() });
        let misfits = misfits.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Err(error) if error.code() != Code::WeightsMismatch => Err(error),
            _ if !misfits.found.is_empty() => Err(self.refuse(&misfits.found)),
            result => result,
        }
    }

    /// Adds a misfit to the list of the `load` around; false when there is none.
    fn record(&self, misfit: Misfit) -> bool {
        let Some(misfits) = &self.misfits else { return false };
        let mut misfits = misfits.lock().unwrap_or_else(PoisonError::into_inner);
        let follows_from_invention = misfits.has_invented_sizes && matches!(misfit.fault, Fault::Shape(..));
        if !follows_from_invention && misfits.found.iter().all(|known| known.path != misfit.path) {
            misfits.found.push(misfit);
        }
        true
    }

    /// Notes that sizes are made up from here on.
    fn invent_sizes(&self) {
        if let Some(misfits) = &self.misfits {
            misfits.lock().unwrap_or_else(PoisonError::into_inner).has_invented_sizes = true;
        }
    }

    /// The error for at least one misfit.
    fn refuse(&self, misfits: &[Misfit]) -> Error {
        let place = |misfit: &Misfit| match self.contents.tensors.get(&misfit.path) {
            Some(stored) => self.contents.file_of(stored),
            None => self.contents.name.as_str(),
        };
        let nearest = |misfit: &Misfit| match misfit.fault {
            Fault::Missing => self.nearest(&misfit.path),
            _ => Vec::new(),
        };
        let error = |message| Error::new(Code::WeightsMismatch, message);
        if let [only] = misfits {
            let error = error(only.to_string()).context(format!("in `{}`", place(only)));
            let names = nearest(only);
            return if names.is_empty() { error } else { error.hint(format!("there is {}", names.join(", "))) };
        }
        let message = format!("{} tensors are missing or do not fit this model", misfits.len());
        let mut error = error(message).context(format!("in `{}`", self.contents.name));
        for misfit in misfits.iter().take(MAX_LISTED) {
            let names = nearest(misfit);
            let line = misfit.to_string();
            error = error.context(if names.is_empty() { line } else { format!("{line}; there is {}", names.join(", ")) });
        }
        if misfits.len() > MAX_LISTED { error.context(format!("and {} more", misfits.len() - MAX_LISTED)) } else { error }
    }

    /// Existing names most like `wanted`, best first, in backticks: a name with another prefix, else few changed letters.
    fn nearest(&self, wanted: &str) -> Vec<String> {
        let mut near: Vec<_> = self
            .contents
            .tensors
            .keys()
            .map(|name| (similarity(name, wanted), name))
            .filter(|&(similarity, _)| similarity >= MIN_SIMILARITY)
            .collect();
        near.sort_by_key(|&(similarity, name)| (Reverse(similarity), name));
        near.iter().take(MAX_NEAREST).map(|(_, name)| format!("`{name}`")).collect()
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({} in {})", self.path, self.contents.name)
    }
}

/// Share of equal letters in percent; 101 where `name` is the wanted one behind a prefix.
fn similarity(name: &str, wanted: &str) -> usize {
    let is_behind_prefix = |long: &str, short: &str| long.strip_suffix(short).is_some_and(|rest| rest.ends_with('.'));
    if is_behind_prefix(name, wanted) {
        return 101;
    }
    let alike = (100.0 * strsim::normalized_levenshtein(name, wanted)) as usize;
    // The other way round it is just worth offering: `conv1.weight` ends many a name.
    if is_behind_prefix(wanted, name) { alike.max(MIN_SIMILARITY) } else { alike }
}

/// A tensor that is not what a model needs.
#[derive(Clone)]
struct Misfit {
    path: String,
    fault: Fault,
}

#[derive(Clone)]
enum Fault {
    Missing,
    /// The sizes found and the shape needed.
    Shape(Vec<usize>, Shape),
    /// The sizes found and the number of axes needed.
    Rank(Vec<usize>, usize),
    /// The sizes found, one of them 0.
    Empty(Vec<usize>),
    /// The element type found where floats are needed.
    Type(Dtype),
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tensor `{}` ", self.path)?;
        match &self.fault {
            Fault::Missing => f.write_str("is missing"),
            Fault::Shape(found, needed) => {
                write!(f, "has shape {found:?}, this model needs {needed}")
            }
            Fault::Rank(found, axes) => {
                write!(f, "has shape {found:?}, this model needs {axes} axes")
            }
            Fault::Empty(found) => write!(f, "has shape {found:?}, this model needs elements along each axis"),
            Fault::Type(found) => write!(f, "holds {found}, this model needs floats"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Checkpoint;
    use crate::weights::testing::{checkpoint, serialized};

    fn small() -> Checkpoint {
        checkpoint(&[
            ("conv1.weight", &[1, 2], &[1.0, 2.0]),
            ("layer1.0.conv1.weight", &[1], &[3.0]),
            ("layer1.1.conv1.weight", &[1], &[4.0]),
            ("layer1.10.conv1.weight", &[1], &[5.0]),
            ("layer10.0.conv1.weight", &[1], &[6.0]),
        ])
    }

    #[test]
    fn steps_join_to_the_name_in_the_file() {
        let scope = small().root().at("layer1").at(1);
        assert_eq!(scope.path(), "layer1.1");
        let weight = scope.weight("conv1.weight", [1]).unwrap();
        assert_eq!(weight.name(), "layer1.1.conv1.weight");
        assert_eq!(weight.to_array().unwrap().data(), [4.0]);
    }

    #[test]
    fn blocks_counts_consecutive_steps_only() {
        let root = small().root();
        assert_eq!(root.at("layer1").blocks(), 2, "0 and 1; 10 comes after a gap, and layer10 is another path");
        assert_eq!(root.at("layer2").blocks(), 0);
        assert!(root.at("layer").is_empty() && !root.at("layer1").is_empty() && !root.is_empty());
    }

    #[test]
    fn a_missing_tensor_names_path_file_and_nearest_names() {
        let error = small().root().at("layer1").at(2).weight("conv1.weight", [1]).unwrap_err();
        assert_eq!(error.code(), Code::WeightsMismatch);
        assert_eq!(
            format!("{error:#}"),
            "tensor `layer1.2.conv1.weight` is missing\n  in `test.safetensors`\n\nhint: there is \
             `layer1.0.conv1.weight`, `layer1.1.conv1.weight`, `layer1.10.conv1.weight`"
        );
    }

    #[test]
    fn the_same_name_behind_a_prefix_is_the_nearest() {
        let wrapped = checkpoint(&[("conv2.weight", &[1], &[1.0]), ("feature_extractor.conv1.weight", &[1], &[1.0])]);
        let error = wrapped.root().weight("conv1.weight", [1]).unwrap_err();
        assert!(format!("{error:#}").ends_with("there is `feature_extractor.conv1.weight`, `conv2.weight`"), "{error:#}");
        let error = wrapped.root().weight("visual.trunk.conv2.weight", [1]).unwrap_err();
        assert!(format!("{error:#}").ends_with("there is `conv2.weight`"), "{error:#}");
        let error = wrapped.root().weight("logit_scale", []).unwrap_err();
        assert!(!format!("{error:#}").contains("hint"), "nothing is near: {error:#}");
    }

    #[test]
    fn an_ill_shaped_tensor_shows_both_shapes() {
        let error = small().root().weight("conv1.weight", [2, 1]).unwrap_err();
        assert_eq!(error.code(), Code::WeightsMismatch);
        assert_eq!(format!("{error:#}"), "tensor `conv1.weight` has shape [1, 2], this model needs [2, 1]\n  in `test.safetensors`");
        assert!(small().root().weight("conv1.weight", [1, 2, 1]).is_err(), "another rank of equal length");
    }

    #[test]
    fn an_optional_tensor_may_be_missing_but_not_ill_shaped() {
        let root = small().root();
        assert!(root.optional("bias", [1]).unwrap().is_none());
        assert!(root.optional("conv1.weight", [1, 2]).unwrap().is_some());
        assert!(root.optional("conv1.weight", [3]).is_err());
    }

    #[test]
    fn integers_are_refused_where_floats_are_needed() {
        let bytes = serialized(&[("n", Dtype::I64, &[1], vec![0; 8]), ("b", Dtype::BOOL, &[1], vec![1])]);
        let root = Checkpoint::from_bytes("test.safetensors", bytes).unwrap().root();
        let error = root.weight("n", [1]).unwrap_err();
        assert_eq!(error.code(), Code::WeightsMismatch);
        assert_eq!(error.message(), "tensor `n` holds I64, this model needs floats");
        assert!(root.optional("b", [1]).is_err());
    }

    #[test]
    fn sizes_are_read_off_the_file() {
        let root = small().root();
        assert_eq!(root.sizes("conv1.weight").unwrap(), [1, 2]);
        let error = root.sizes::<3>("conv1.weight").unwrap_err();
        assert_eq!(error.message(), "tensor `conv1.weight` has shape [1, 2], this model needs 3 axes");
        assert_eq!(root.sizes::<2>("conv9.weight").unwrap_err().code(), Code::WeightsMismatch);
        let error = checkpoint(&[("empty", &[3, 0], &[])]).root().sizes::<2>("empty").unwrap_err();
        assert_eq!(error.message(), "tensor `empty` has shape [3, 0], this model needs elements along each axis");
    }

    #[test]
    fn a_load_lists_the_first_five_misfits_together() {
        let result = small().root().load(|root| {
            root.weight("conv1.weight", [9, 9])?;
            for block in 0..8 {
                root.at("layer1").at(block).load(|block| block.weight("conv1.weight", [1]))?;
            }
            Ok(())
        });
        let error = result.unwrap_err();
        assert_eq!(error.code(), Code::WeightsMismatch);
        assert_eq!(error.message(), "7 tensors are missing or do not fit this model");
        let text = format!("{error:#}");
        assert!(text.contains("\n  in `test.safetensors`\n  tensor `conv1.weight` has shape [1, 2], this model needs [9, 9]\n"));
        assert!(text.contains("\n  tensor `layer1.5.conv1.weight` is missing; there is `layer1.0.conv1.weight`"));
        assert!(!text.contains("tensor `layer1.6") && text.ends_with("\n  and 2 more"), "{text}");
    }

    #[test]
    fn a_load_without_misfits_returns_what_was_built() {
        let loaded = small().root().load(|root| root.weight("conv1.weight", [1, 2])).unwrap();
        assert_eq!(loaded.to_array().unwrap().data(), [1.0, 2.0]);
    }

    #[test]
    fn a_stand_in_cannot_be_read() {
        let mut leaked = None;
        let result = small().root().load(|root| {
            leaked = Some(root.weight("absent", [1])?);
            Ok(())
        });
        assert_eq!(result.unwrap_err().message(), "tensor `absent` is missing");
        let error = leaked.unwrap().to_array().unwrap_err();
        assert_eq!(error.code(), Code::WeightsMismatch);
    }

    #[test]
    fn misfits_before_a_failing_sizes_are_listed_with_it() {
        let result = small().root().load(|root| {
            root.weight("a", [1])?;
            root.sizes::<1>("b")
        });
        assert_eq!(result.unwrap_err().message(), "2 tensors are missing or do not fit this model");
    }

    #[test]
    fn what_follows_a_missing_tensor_of_sizes_is_listed_too_if_it_is_missing() {
        let result = small().root().load(|root| {
            let [width, _] = root.sizes("proj")?;
            root.weight("proj", [width, 1])?;
            root.weight("conv1.weight", [1, width])?;
            root.weight("bias", [width])
        });
        let error = result.unwrap_err();
        assert_eq!(error.message(), "2 tensors are missing or do not fit this model");
        assert!(!format!("{error:#}").contains("5040"), "{error:#}");
    }

    #[test]
    fn an_error_of_another_kind_is_not_hidden_by_misfits() {
        let result: Result<()> = small().root().load(|root| {
            root.weight("a", [1])?;
            Err(Error::new(Code::WeightsNonfinite, "x"))
        });
        assert_eq!(result.unwrap_err().code(), Code::WeightsNonfinite);
    }

    #[test]
    fn scopes_and_weights_cross_threads() {
        fn crosses<T: Send + Sync + Clone + 'static>() {}
        crosses::<Checkpoint>();
        crosses::<Scope>();
        crosses::<Weight>();
    }
}
