//! Few-shot settings: how many good training photos a method compares with, and which.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::datasets::Category;
use crate::error::{Code, Error, Remedy, Result};
use crate::files::{hex, sha256};

/// How many reference images are taken from the good training photos, and how many times anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shots {
    /// Reference images of a class; `None` for all good training photos.
    pub count: Option<usize>,
    /// Number of draws, each with its own reference images.
    pub seeds: usize,
}

/// One draw of reference images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FewShot {
    /// Number of reference images; `None` for all good training photos.
    pub shots: Option<usize>,
    /// Number of the draw, from 0.
    pub seed: usize,
}

impl Shots {
    /// The draws, in order; of all photos there is only one.
    pub fn draws(self) -> Vec<FewShot> {
        let seeds = if self.count.is_some() { self.seeds } else { 1 };
        (0..seeds).map(|seed| FewShot { shots: self.count, seed }).collect()
    }
}

impl FewShot {
    /// The reference images of a class: the photos whose names have the smallest hash together with the seed.
    ///
    /// Published figures name a number of photos and of seeds, and none says which photos. Here a choice depends on names alone, not on the order or
    /// number of other photos, and that of fewer shots is a part of that of more.
    ///
    /// Errors with [`Code::Reference`]: fewer good training photos than shots.
    pub fn choose(self, category: &Category) -> Result<Vec<PathBuf>> {
        let Some(count) = self.shots else { return Ok(category.normal.clone()) };
        if count > category.normal.len() {
            let message = format!("`{}` has {} good training photos, fewer than {count}", category.name, category.normal.len());
            return Err(Error::new(Code::Reference, message).hint(Remedy::TakeFewerShots));
        }
        let mut hashed: Vec<(String, &PathBuf)> = category.normal.iter().map(|file| (self.hash(&category.name, file), file)).collect();
        hashed.sort();
        Ok(hashed.into_iter().take(count).map(|(_, file)| file.clone()).collect())
    }

    fn hash(self, class: &str, file: &Path) -> String {
        let name = hex(file.file_name().unwrap_or_default().as_encoded_bytes());
        sha256(format!("{}/{class}/{name}", self.seed).as_bytes())
    }

    /// The name of its folder.
    pub fn folder(self) -> String {
        self.shots
            .map_or_else(|| "all-shots".to_owned(), |shots| format!("{shots}-shot-seed-{}", self.seed))
    }

    /// The draw of a folder that [`FewShot::folder`] named.
    pub fn of_folder(name: &str) -> Option<FewShot> {
        if name == "all-shots" {
            return Some(FewShot { shots: None, seed: 0 });
        }
        let (shots, seed) = name.split_once("-shot-seed-")?;
        Some(FewShot { shots: Some(shots.parse().ok()?), seed: seed.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn category(count: usize) -> Category {
        let normal = (0..count).map(|at| PathBuf::from(format!("train/good/{at:03}.png"))).collect();
        Category { name: "bottle".to_owned(), normal, test: Vec::new() }
    }

    #[test]
    fn fewer_shots_are_a_part_of_more_and_seeds_differ() {
        let chosen = |shots, seed| FewShot { shots: Some(shots), seed }.choose(&category(200)).unwrap();
        assert_eq!(chosen(2, 0), chosen(4, 0)[..2]);
        assert_ne!(chosen(4, 0), chosen(4, 1));
        assert_eq!(FewShot { shots: None, seed: 0 }.choose(&category(7)).unwrap().len(), 7);
    }

    #[test]
    fn other_photos_change_no_choice() {
        let few = FewShot { shots: Some(3), seed: 5 };
        let mut more = category(50);
        more.normal.reverse();
        assert_eq!(few.choose(&category(50)).unwrap(), few.choose(&more).unwrap());
        assert_eq!(few.choose(&category(2)).unwrap_err().code(), Code::Reference);
    }

    #[test]
    fn a_folder_names_its_draw() {
        for few in (Shots { count: Some(4), seeds: 2 })
            .draws()
            .into_iter()
            .chain(Shots { count: None, seeds: 3 }.draws())
        {
            assert_eq!(FewShot::of_folder(&few.folder()), Some(few));
        }
        assert_eq!(FewShot::of_folder("report"), None);
    }
}
