//! The table of networks: what each is called, how its weights are recognised, where they are published, and how it runs alone.
//!
//! Each entry is declared in the file of the network that it describes. A new network is that file and one line here.

use std::fmt;

use super::raw::RawInfo;
use crate::error::Remedy;
use crate::weights::Checkpoint;

/// All networks of this library.
#[rustfmt::skip]
pub static NETWORKS: &[&NetworkInfo] = &[
    &super::wide_resnet::NETWORK,
    &super::clip::NETWORK,
    &super::clipseg::NETWORK,
    &super::sam::NETWORK,
    &super::grounding_dino::NETWORK,
];

/// A network of this library: name, naming of its tensors, where its weights are published, raw networks.
#[derive(Debug)]
pub struct NetworkInfo {
    /// Name, also of its folder in a folder of snapshots.
    pub name: &'static str,
    /// The tensor namings in which its weights are published.
    pub layouts: &'static [Layout],
    /// Where its weights are published; `None` where those inside the library do.
    pub published: Option<Published>,
    /// Parts of it that run alone, on named arrays.
    pub raw: &'static [RawInfo],
}

/// A naming of tensors, and what it is recognised by.
#[derive(Debug)]
pub struct Layout {
    /// Names of tensors that every file of this naming holds, and no other network's does.
    pub signature: &'static [&'static str],
    /// Name of the configuration file that is needed beside the tensors, if any.
    pub configuration: Option<&'static str>,
}

/// Published weights.
#[derive(Debug)]
pub struct Published {
    /// Repository on the hub.
    pub repository: &'static str,
    /// The files that are needed.
    pub files: &'static [&'static str],
}

impl NetworkInfo {
    /// The naming that weights have; `None` for those of another network.
    pub fn layout(&self, checkpoint: &Checkpoint) -> Option<&Layout> {
        self.layouts.iter().find(|layout| layout.signature.iter().all(|name| checkpoint.contains(name)))
    }

    /// Whether these are weights of this network.
    pub fn recognises(&self, checkpoint: &Checkpoint) -> bool {
        self.layout(checkpoint).is_some()
    }

    /// The network whose weights these are, if it is known.
    pub fn of(checkpoint: &Checkpoint) -> Option<&'static NetworkInfo> {
        NETWORKS.iter().find(|network| network.recognises(checkpoint)).copied()
    }

    /// The network of a name.
    pub fn named(name: &str) -> Option<&'static NetworkInfo> {
        NETWORKS.iter().find(|network| network.name == name).copied()
    }

    /// Names of the configuration files that may lie beside its tensors; they affect results.
    pub fn configurations(&self) -> Vec<&'static str> {
        self.layouts.iter().filter_map(|layout| layout.configuration).collect()
    }

    /// How to get its weights.
    pub fn fetch(&self) -> Remedy {
        match &self.published {
            Some(published) => Remedy::FetchWeights { network: self.name, repository: published.repository, files: published.files },
            None => Remedy::UseEmbeddedWeights,
        }
    }
}

impl PartialEq for NetworkInfo {
    /// Networks are equal when their names are.
    fn eq(&self, other: &NetworkInfo) -> bool {
        self.name == other.name
    }
}

impl Eq for NetworkInfo {}

impl fmt::Display for NetworkInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Array;
    use crate::weights::to_safetensors;

    fn network_of(names: &[&str]) -> Option<&'static str> {
        let one = Array::new([1], vec![1.0]);
        let bytes = to_safetensors(names.iter().map(|name| (*name, &one)), &[]).unwrap();
        NetworkInfo::of(&Checkpoint::from_bytes("test", bytes).unwrap()).map(|network| network.name)
    }

    #[test]
    fn names_of_networks_and_of_raw_networks_are_unique() {
        let mut names: Vec<&str> = NETWORKS.iter().map(|network| network.name).collect();
        names.sort_unstable();
        assert_eq!(names, ["clip", "clipseg", "grounding-dino", "sam", "wide-resnet"]);
        let mut raw: Vec<&str> = super::super::raw::all().map(|raw| raw.name).collect();
        let count = raw.len();
        raw.sort_unstable();
        raw.dedup();
        assert_eq!(raw.len(), count);
    }

    #[test]
    fn every_naming_is_of_one_network() {
        for network in NETWORKS {
            for layout in network.layouts {
                assert_eq!(network_of(layout.signature), Some(network.name));
            }
        }
    }

    #[test]
    fn image_weights_of_clip_without_their_prefix_are_no_resnet() {
        assert_eq!(network_of(&["conv1.weight", "class_embedding", "positional_embedding", "ln_pre.weight", "proj"]), None);
    }
}
