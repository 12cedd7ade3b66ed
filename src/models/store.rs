//! Weights by network: those at a path, those of `$ZSAS_WEIGHTS`, else those inside the library.
//!
//! A folder is read as hub folders are: what is taken follows from the names of tensors, not of files, and what is not taken is named with the
//! reason.

use std::fmt;
use std::path::{Path, PathBuf};

use super::catalog::NetworkInfo;
use super::{embedded, wide_resnet};
use crate::error::{Code, Error, Result};
use crate::weights::{Checkpoint, Identity, USUAL_NAME};

/// The word that asks for the weights inside the library.
pub const EMBEDDED: &str = "embedded";

/// The environment variable that names weights where nobody else does.
pub const VARIABLE: &str = "ZSAS_WEIGHTS";

/// Weights of a network, and where they were found.
#[derive(Clone, Debug)]
pub struct FoundWeights {
    /// The opened file or files.
    pub checkpoint: Checkpoint,
    /// How they came to be chosen.
    pub origin: Origin,
    /// The network whose weights they are.
    pub network: &'static NetworkInfo,
}

/// How weights came to be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The caller named a path.
    Path,
    /// `$ZSAS_WEIGHTS` names them.
    Environment,
    /// The caller asked for those inside the library.
    EmbeddedNamed,
    /// Neither the caller nor `$ZSAS_WEIGHTS` names any, so those inside the library.
    EmbeddedDefault,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Path => "as asked for",
            Origin::Environment => "named by $ZSAS_WEIGHTS",
            Origin::EmbeddedNamed => "inside this binary, as asked for",
            Origin::EmbeddedDefault => "inside this binary",
        })
    }
}

impl FoundWeights {
    /// Every file that decides about results, with its hash; the first call reads all files whole.
    pub fn identity(&self) -> Result<Identity> {
        self.checkpoint.identity(&self.network.configurations())
    }

    /// The hashes of all files as one text: the same for equal weights in any folder.
    pub fn fingerprint(&self) -> Result<String> {
        Ok(self.identity()?.fingerprint())
    }
}

/// The identity of the weights of several networks as one.
pub fn identity(weights: &[FoundWeights]) -> Result<Identity> {
    let of = |found: &FoundWeights| Ok((found.network.name, found.identity()?));
    Ok(Identity::of_all(weights.iter().map(of).collect::<Result<_>>()?))
}

/// Finds the weights of a network.
///
/// `requested` is a snapshot, a folder of snapshots by network, a file, or [`EMBEDDED`]. Without it [`VARIABLE`] may name the same; a folder that holds
/// other networks only is then passed over.
/// Fails with [`Code::WeightsMissing`], [`Code::WeightsMismatch`] or [`Code::WeightsFormat`], naming the places tried and why what is there was
/// not taken.
pub fn find(network: &'static NetworkInfo, requested: Option<&Path>) -> Result<FoundWeights> {
    let found = |checkpoint: Checkpoint, origin| {
        log::info!("weights: `{}`, {origin}", checkpoint.name());
        Ok(FoundWeights { checkpoint, origin, network })
    };
    match Place::of(requested) {
        Place::Embedded(Origin::EmbeddedDefault) => {
            let unnamed = |error: Error| error.context(format!("no path was named, nor does ${VARIABLE} name one"));
            found(open_embedded(network).map_err(unnamed)?, Origin::EmbeddedDefault)
        }
        Place::Embedded(origin) => found(open_embedded(network)?, origin),
        Place::At(place, origin) => match search(network, &place) {
            Search::Found(checkpoint) => found(checkpoint, origin),
            Search::Unknown(_) | Search::Others(_) | Search::Nothing(_) if origin == Origin::Environment && place.exists() => {
                let passed_over = format!("`{}`, named by ${VARIABLE}, holds no weights of `{network}`", place.display());
                log::info!("{passed_over}");
                let embedded = open_embedded(network).map_err(|error| error.context(passed_over))?;
                found(embedded, Origin::EmbeddedDefault)
            }
            Search::Unknown(checkpoint) => found(checkpoint, origin),
            Search::Others(error) | Search::Nothing(error) | Search::Refused(error) => {
                let error = if origin == Origin::Environment { error.context(origin.to_string()) } else { error };
                Err(error.hint(network.fetch()))
            }
        },
    }
}

/// The weights of a network, if the place that the user points to has any; `None` where nothing there can be meant for it.
///
/// Fails like [`find`] where something is there and cannot be used.
pub fn find_if_there(network: &'static NetworkInfo, requested: Option<&Path>) -> Result<Option<FoundWeights>> {
    match Place::of(requested) {
        Place::Embedded(Origin::EmbeddedDefault) => Ok(None),
        Place::Embedded(_) if network != &wide_resnet::NETWORK => Ok(None),
        Place::Embedded(_) => find(network, requested).map(Some),
        Place::At(place, _) => match search(network, &place) {
            Search::Found(_) | Search::Refused(_) => find(network, requested).map(Some),
            Search::Unknown(_) | Search::Others(_) | Search::Nothing(_) => Ok(None),
        },
    }
}

/// Whether [`find`] would find weights of this network where the user points.
pub fn is_there(network: &'static NetworkInfo, requested: Option<&Path>) -> bool {
    find_if_there(network, requested).is_ok_and(|weights| weights.is_some())
}

/// Where weights are looked for.
enum Place {
    At(PathBuf, Origin),
    Embedded(Origin),
}

impl Place {
    fn of(requested: Option<&Path>) -> Place {
        let of_environment = || std::env::var_os(VARIABLE).map(PathBuf::from).filter(|path| !path.as_os_str().is_empty());
        match (requested, of_environment()) {
            (Some(requested), _) if requested == Path::new(EMBEDDED) => Place::Embedded(Origin::EmbeddedNamed),
            (Some(requested), _) => Place::At(requested.to_owned(), Origin::Path),
            (None, Some(place)) => Place::At(place, Origin::Environment),
            (None, None) => Place::Embedded(Origin::EmbeddedDefault),
        }
    }
}

fn open_embedded(network: &'static NetworkInfo) -> Result<Checkpoint> {
    if network == &wide_resnet::NETWORK {
        return embedded::textures();
    }
    Err(Error::new(Code::WeightsMissing, format!("there are no weights of `{network}`: none are inside this binary")).hint(network.fetch()))
}

/// What a place holds for a network.
enum Search {
    /// Its weights.
    Found(Checkpoint),
    /// One set of weights, of no network that is known.
    Unknown(Checkpoint),
    /// Weights of other networks only.
    Others(Error),
    /// No weights.
    Nothing(Error),
    /// Something that may be meant for it and cannot be used.
    Refused(Error),
}

/// Looks into the network's own folder in a folder of snapshots, else into the place itself.
fn search(network: &'static NetworkInfo, place: &Path) -> Search {
    let nested = place.join(network.name);
    if nested.is_dir() {
        return match search_folder(network, &nested) {
            Search::Others(error) | Search::Nothing(error) => Search::Refused(error),
            other => other,
        };
    }
    let found = if place.is_dir() { search_folder(network, place) } else { search_file(network, place) };
    match found {
        Search::Nothing(error) => {
            let tried = format!("tried `{}`, then `{}`", nested.display(), place.display());
            Search::Nothing(error.context(format!("{tried}: a safetensors file, a snapshot, or a folder of snapshots")))
        }
        other => other,
    }
}

fn search_file(network: &'static NetworkInfo, file: &Path) -> Search {
    match Checkpoint::open(file) {
        Ok(checkpoint) => classify(network, checkpoint),
        Err(error) if error.code() == Code::WeightsMissing && !file.exists() => Search::Nothing(error),
        Err(error) => Search::Refused(error),
    }
}

/// What the only weights of a place are to a network.
fn classify(network: &'static NetworkInfo, checkpoint: Checkpoint) -> Search {
    match NetworkInfo::of(&checkpoint) {
        Some(other) if other == network => Search::Found(checkpoint),
        Some(other) => {
            let message = format!("`{}` holds weights of `{other}`, not of `{network}`", checkpoint.name());
            Search::Others(Error::new(Code::WeightsMismatch, message))
        }
        None => Search::Unknown(checkpoint),
    }
}

/// Chooses among all sets of weights in a folder by the names of their tensors.
fn search_folder(network: &'static NetworkInfo, folder: &Path) -> Search {
    let candidates = match Checkpoint::all_in(folder) {
        Ok(candidates) => candidates,
        Err(error) if error.code() == Code::WeightsMissing && error.remedy().is_none() => return Search::Nothing(error),
        Err(error) => return Search::Refused(error),
    };
    if candidates.len() == 1 {
        return match Checkpoint::open(folder) {
            Ok(checkpoint) => classify(network, checkpoint),
            Err(error) => Search::Refused(error),
        };
    }
    let (fitting, others): (Vec<_>, Vec<_>) = candidates
        .into_iter()
        .partition(|(_, opened)| opened.as_ref().is_ok_and(|checkpoint| network.recognises(checkpoint)));
    if fitting.is_empty() {
        return refuse_all(network, folder, others);
    }
    for (file, opened) in &others {
        log::info!("`{file}` of `{}` is not taken: {}", folder.display(), why_not(opened));
    }
    prefer(network, folder, fitting.into_iter().filter_map(|(file, opened)| Some((file, opened.ok()?))).collect())
}

/// The error for a folder of which nothing can be taken, with the reason for each set of weights.
fn refuse_all(network: &'static NetworkInfo, folder: &Path, candidates: Vec<(String, Result<Checkpoint>)>) -> Search {
    let is_other = |opened: &Result<Checkpoint>| opened.as_ref().is_ok_and(|checkpoint| NetworkInfo::of(checkpoint).is_some());
    let are_all_others = candidates.iter().all(|(_, opened)| is_other(opened));
    let message = format!("`{}` holds no weights of `{network}` that can be used", folder.display());
    let error = Error::new(Code::WeightsMismatch, message);
    let error = candidates
        .iter()
        .fold(error, |error, (file, opened)| error.context(format!("`{file}`: {}", why_not(opened))));
    if are_all_others { Search::Others(error) } else { Search::Refused(error) }
}

/// Why weights that do not fit a network were not taken.
fn why_not(opened: &Result<Checkpoint>) -> String {
    match opened.as_ref().map(|checkpoint| (checkpoint, NetworkInfo::of(checkpoint))) {
        Ok((_, Some(other))) => format!("weights of `{other}`"),
        Ok((checkpoint, None)) => {
            let example = checkpoint.names().next().map_or_else(String::new, |name| format!(", such as `{name}`"));
            format!("tensors of no network that is known here{example}")
        }
        Err(error) => error.message().to_owned(),
    }
}

/// Chooses among several sets of weights that fit: the one whose configuration is there; among such, the one of the usual name.
fn prefer(network: &'static NetworkInfo, folder: &Path, fitting: Vec<(String, Checkpoint)>) -> Search {
    let has_configuration = |checkpoint: &Checkpoint| {
        let layout = network.layout(checkpoint);
        layout.is_none_or(|layout| layout.configuration.is_none_or(|name| checkpoint.has_companion(name)))
    };
    let rank = |(file, checkpoint): &(String, Checkpoint)| (has_configuration(checkpoint), file == USUAL_NAME);
    let best = fitting.iter().map(rank).max();
    let mut best: Vec<(String, Checkpoint)> = fitting.into_iter().filter(|candidate| Some(rank(candidate)) == best).collect();
    if best.len() > 1 {
        let names: Vec<String> = best.iter().map(|(file, _)| format!("`{file}`")).collect();
        let message = format!("`{}` holds several weights of `{network}`: {}", folder.display(), names.join(", "));
        return Search::Refused(Error::new(Code::WeightsMissing, message).hint("pass the path of one of them"));
    }
    Search::Found(best.swap_remove(0).1)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::models::{clip, sam};
    use crate::tensor::Array;
    use crate::weights::to_safetensors;

    fn write(folder: &Path, file: &str, tensors: &[&str]) {
        let one = Array::new([1], vec![1.0]);
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(file), to_safetensors(tensors.iter().map(|name| (*name, &one)), &[]).unwrap()).unwrap();
    }

    const OPEN_CLIP: &str = "visual.conv1.weight";
    const TRANSFORMERS: &str = "vision_model.embeddings.class_embedding";
    const SAM: &str = "vision_encoder.pos_embed";

    fn of_clip(folder: &Path) -> Result<FoundWeights> {
        find(&clip::NETWORK, Some(folder))
    }

    #[test]
    fn weights_are_chosen_by_what_is_inside_and_by_their_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, "model.safetensors", &["cls_token", "blocks.0.norm1.weight"]);
        write(folder, "open_clip_model.safetensors", &[OPEN_CLIP]);
        let chosen = || of_clip(folder).unwrap().checkpoint.name().to_owned();
        assert!(chosen().ends_with("open_clip_model.safetensors"), "the other file is of timm");

        write(folder, "model.safetensors", &[TRANSFORMERS]);
        assert!(chosen().ends_with("/model.safetensors"), "both fit, and neither has its configuration");
        fs::write(folder.join("open_clip_config.json"), "{}").unwrap();
        assert!(chosen().ends_with("open_clip_model.safetensors"));
        fs::write(folder.join("config.json"), "{}").unwrap();
        assert!(chosen().ends_with("/model.safetensors"));
        let hashed: Vec<String> = of_clip(folder).unwrap().identity().unwrap().files.into_iter().map(|file| file.file).collect();
        assert_eq!(hashed, ["model.safetensors", "open_clip_config.json", "config.json"]);
    }

    #[test]
    fn what_is_there_and_not_taken_comes_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, "a.safetensors", &[SAM]);
        fs::write(folder.join("b.safetensors"), [7; 9]).unwrap();
        write(folder, "c.safetensors", &["blocks.0"]);
        let error = format!("{:#}", of_clip(folder).unwrap_err());
        for reason in [
            "holds no weights of `clip` that can be used",
            "`a.safetensors`: weights of `sam`",
            "`b.safetensors`: the header claims",
            "`c.safetensors`: tensors of no network that is known here, such as `blocks.0`",
            "fetch `open_clip_model.safetensors`",
        ] {
            assert!(error.contains(reason), "{error}");
        }
        assert!(find_if_there(&clip::NETWORK, Some(folder)).is_err());
        assert!(!is_there(&clip::NETWORK, Some(folder)));
        assert!(is_there(&sam::NETWORK, Some(folder)));

        write(folder, "d.safetensors", &[OPEN_CLIP]);
        assert!(is_there(&clip::NETWORK, Some(folder)));
        write(folder, "e.safetensors", &[OPEN_CLIP]);
        assert!(
            of_clip(folder)
                .unwrap_err()
                .message()
                .ends_with("holds several weights of `clip`: `d.safetensors`, `e.safetensors`")
        );
    }

    #[test]
    fn a_pickle_is_no_reason_to_fetch_but_to_convert() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("open_clip_pytorch_model.bin"), "PK").unwrap();
        let error = find_if_there(&clip::NETWORK, Some(folder.path())).unwrap_err();
        assert_eq!(error.remedy(), Some(&crate::Remedy::ConvertWeights), "{error:#}");
    }

    #[test]
    fn a_folder_of_snapshots_gives_each_network_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(&folder.join("clip"), "w.safetensors", &[OPEN_CLIP]);
        write(&folder.join("sam"), "model.safetensors", &[OPEN_CLIP]);
        assert!(is_there(&clip::NETWORK, Some(folder)));
        let error = find_if_there(&sam::NETWORK, Some(folder)).unwrap_err();
        assert!(error.message().ends_with("holds weights of `clip`, not of `sam`"), "{error}");
        assert!(find_if_there(&wide_resnet::NETWORK, Some(folder)).unwrap().is_none());
        assert_eq!(find(&wide_resnet::NETWORK, Some(folder)).unwrap_err().code(), Code::WeightsMissing);
    }

    #[test]
    fn embedded_weights_have_an_identity_and_other_networks_have_none_embedded() {
        let requested = Some(Path::new(EMBEDDED));
        let found = find(&wide_resnet::NETWORK, requested).unwrap();
        assert_eq!(found.origin, Origin::EmbeddedNamed);
        let identity = found.identity().unwrap();
        assert_eq!((identity.files.len(), identity.fingerprint()), (1, crate::files::sha256(embedded::TEXTURES)));
        assert_eq!(find(&clip::NETWORK, requested).unwrap_err().code(), Code::WeightsMissing);
        assert!(!is_there(&clip::NETWORK, requested));
    }
}
