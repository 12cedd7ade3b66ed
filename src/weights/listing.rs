//! JSON maps of safetensors headers and indices, which must not hold a key twice.
//!
//! `serde_json` keeps the last of two equal keys; here two are an error, and every error names its key.

use safetensors::tensor::TensorInfo;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// The header as JSON holds it.
pub(super) struct Listing {
    pub tensors: BTreeMap<String, TensorInfo>,
    pub metadata: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Listing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Listing, D::Error> {
        struct ListingVisitor;
        impl<'de> Visitor<'de> for ListingVisitor {
            type Value = Listing;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Listing, A::Error> {
                let mut tensors = BTreeMap::new();
                let mut metadata = None;
                while let Some(name) = map.next_key::<String>()? {
                    if name != "__metadata__" {
                        insert_next(&mut tensors, name, &mut map)?;
                    } else if metadata.is_none() {
                        metadata = Some(map.next_value::<Option<UniqueMap<String>>>()?);
                    } else {
                        return Err(A::Error::custom("`__metadata__` is listed twice"));
                    }
                }
                let metadata = metadata.flatten().map_or_else(BTreeMap::new, |map| map.0);
                Ok(Listing { tensors, metadata })
            }
        }
        deserializer.deserialize_map(ListingVisitor)
    }
}

/// A JSON map that refuses to hold a key twice.
pub(super) struct UniqueMap<V>(pub BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for UniqueMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<UniqueMap<V>, D::Error> {
        struct MapVisitor<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for MapVisitor<V> {
            type Value = UniqueMap<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueMap<V>, A::Error> {
                let mut unique = BTreeMap::new();
                while let Some(key) = map.next_key()? {
                    insert_next(&mut unique, key, &mut map)?;
                }
                Ok(UniqueMap(unique))
            }
        }
        deserializer.deserialize_map(MapVisitor(PhantomData))
    }
}

/// Reads the value of `key` into the map; an error names the key.
fn insert_next<'de, V: Deserialize<'de>, A: MapAccess<'de>>(
    unique: &mut BTreeMap<String, V>,
    key: String,
    map: &mut A,
) -> Result<(), A::Error> {
    if unique.contains_key(&key) {
        return Err(A::Error::custom(format_args!("`{key}` is listed twice")));
    }
    let value = map.next_value().map_err(|error| A::Error::custom(format_args!("`{key}`: {error}")))?;
    unique.insert(key, value);
    Ok(())
}
