//! The identity of weights: every file that affects results, with its hash.

use serde::{Deserialize, Serialize};

/// Weights as records name them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// The path that was opened, or the name of embedded weights.
    pub name: String,
    /// Files of tensors by name, the index of shards, then configurations.
    pub files: Vec<FileHash>,
}

/// A file and its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileHash {
    /// Name within its folder.
    pub file: String,
    /// SHA-256 of the bytes that were read, in hexadecimal.
    pub sha256: String,
}

impl Identity {
    /// The weights of several networks, each with its name, as one: the name of each file then begins with that of its network. One alone stays as
    /// it is.
    pub fn of_all(networks: Vec<(&str, Identity)>) -> Identity {
        if let [(_, only)] = &networks[..] {
            return only.clone();
        }
        let name = networks.iter().map(|(_, identity)| identity.name.as_str()).collect::<Vec<_>>().join(", ");
        let of = |(network, identity): (&str, Identity)| {
            let file = |FileHash { file, sha256 }| FileHash { file: format!("{network}/{file}"), sha256 };
            identity.files.into_iter().map(file).collect::<Vec<_>>()
        };
        Identity { name, files: networks.into_iter().flat_map(of).collect() }
    }

    /// The hashes of all files as one text, which is the same for equal weights in any folder.
    pub fn fingerprint(&self) -> String {
        let hashes: Vec<&str> = self.files.iter().map(|file| file.sha256.as_str()).collect();
        hashes.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_several_networks_are_told_apart() {
        let identity = |name: &str, sha256: &str| {
            let file = FileHash { file: "model.safetensors".to_owned(), sha256: sha256.to_owned() };
            Identity { name: name.to_owned(), files: vec![file] }
        };
        assert_eq!(Identity::of_all(vec![("clip", identity("w", "1"))]), identity("w", "1"));
        let both = Identity::of_all(vec![("clip", identity("w/clip", "1")), ("sam", identity("w/sam", "2"))]);
        assert_eq!((both.name.as_str(), both.fingerprint().as_str()), ("w/clip, w/sam", "1,2"));
        assert_eq!(
            both.files.iter().map(|file| file.file.as_str()).collect::<Vec<_>>(),
            ["clip/model.safetensors", "sam/model.safetensors"]
        );
    }
}
