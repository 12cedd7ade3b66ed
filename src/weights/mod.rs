//! Reading safetensors: files, paths inside them, and weights that stay in the file until they are needed.
//!
//! ```text
//! Checkpoint::open(path) ─ root() ─► Scope ─ at("layer1").at(0) ─► Scope ─ weight("conv1.weight", shape) ─► Weight
//!            │                         └ load(|scope| …): refuse with all misfits listed
//!            └ finish(): names that no model read
//! ```

mod batch_norm;
mod checkpoint;
mod decode;
mod header;
mod identity;
mod listing;
mod scope;
mod serialize;
mod snapshot;
mod source;
#[cfg(test)]
mod testing;
mod weight;

pub use batch_norm::BatchNorm;
pub use checkpoint::Checkpoint;
pub use identity::{FileHash, Identity};
pub use safetensors::Dtype as StoredType;
pub use scope::Scope;
pub use serialize::to_safetensors;
pub(crate) use snapshot::USUAL_NAME;
pub use weight::Weight;
