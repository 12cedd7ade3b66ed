//! A method on its weights and a device, and how to get it back when the device is taken away.

use std::collections::HashSet;

use indicatif::ProgressBar;
use zsas::image::Rgb;
use zsas::methods::winclip::{WinClip, WinClipOptions};
use zsas::methods::{ClipAc, ClipSegMethod, ImageTiling, MaskClip, Method, PatchToken, Reading, Saliency, Scored, TransMm, Utad};
use zsas::models::ClipSeg;
use zsas::models::clip::Clip;
use zsas::models::store::FoundWeights;
use zsas::{Device, Error, Precision, Result};

use crate::cli::device::{DeviceArgs, lose_at};
use crate::cli::infer::language::{Language, Run};
use crate::cli::infer::method::MethodName;
use crate::cli::talk;

/// Photos in a row that lose the device, retry included, before the run gives up.
const MOST_LOST_IN_A_ROW: usize = 3;

/// What a session is made of; enough to make it again.
pub struct Recipe {
    /// The method.
    pub method: MethodName,
    /// Which text it follows.
    pub reading: Reading,
    /// How it stores numbers.
    pub precision: Precision,
    /// Where it runs.
    pub device: DeviceArgs,
    /// Its weights.
    pub weights: FoundWeights,
    /// What it is told in words.
    pub language: Language,
    /// No talk.
    pub is_quiet: bool,
}

impl Recipe {
    fn make(&self, device: &Device) -> Result<Box<dyn Method>> {
        let checkpoint = &self.weights.checkpoint;
        match self.method {
            MethodName::Utad => Ok(Box::new(Utad::new(device, checkpoint, self.precision)?)),
            MethodName::Saliency => Ok(Box::new(Saliency::new(device, checkpoint, self.precision, self.reading)?)),
            MethodName::ClipSeg => {
                let network = ClipSeg::load(checkpoint)?;
                checkpoint.finish();
                let conditionals = self.language.conditionals(&self.run(device, &network.clip)?)?;
                Ok(Box::new(ClipSegMethod::new(device, &network, conditionals, self.precision)?))
            }
            _ => {
                let clip = Clip::load(checkpoint)?;
                checkpoint.finish();
                self.make_on_clip(device, &clip)
            }
        }
    }

    fn make_on_clip(&self, device: &Device, clip: &Clip) -> Result<Box<dyn Method>> {
        let run = self.run(device, clip)?;
        let prototypes = &self.language.prototypes(&run, &self.method.prompts(&self.language.class, self.reading))?;
        let precision = self.precision;
        Ok(match self.method {
            MethodName::ClipAc | MethodName::ClipAcEnsemble => {
                Box::new(ClipAc::new(device, clip, prototypes, self.method.as_str(), precision)?)
            }
            MethodName::MaskClip => Box::new(MaskClip::new(device, clip, prototypes, self.reading, precision)?),
            MethodName::TransMm => Box::new(TransMm::new(device, clip, prototypes, precision)?),
            MethodName::PatchToken => Box::new(PatchToken::new(device, clip, prototypes, precision)?),
            MethodName::ImageTiling => Box::new(ImageTiling::new(device, clip, prototypes, precision)?),
            _ => {
                let memory = self.language.memory(&run)?;
                let options = WinClipOptions { reading: self.reading, multi_crop: self.language.multi_crop, precision };
                Box::new(WinClip::new(device, clip, prototypes, memory, options)?)
            }
        })
    }

    fn run<'a>(&'a self, device: &'a Device, clip: &'a Clip) -> Result<Run<'a>> {
        Ok(Run {
            device,
            clip,
            weights: self.weights.fingerprint()?,
            precision: self.precision,
            is_quiet: self.is_quiet,
        })
    }
}

/// Scores photos, one after the other.
pub struct Session {
    recipe: Recipe,
    device: Device,
    method: Box<dyn Method>,
    bar: Option<ProgressBar>,
    attempts: usize,
    /// Attempts before which the device is given up on purpose.
    lose_at: HashSet<usize>,
    lost_in_a_row: usize,
}

/// Why a photo has no result.
pub enum Trouble {
    /// It concerns this photo; the next one may fare better.
    Photo(Error),
    /// The run cannot go on; the photo's own error comes first, if it has one.
    Run(Error),
}

impl Session {
    /// Opens the device and prepares the method.
    pub fn open(recipe: Recipe) -> Result<Session> {
        let lose_at = lose_at()?;
        let device = recipe.device.open(recipe.is_quiet)?;
        let method = recipe.make(&device)?;
        Ok(Session { recipe, device, method, bar: None, attempts: 0, lose_at, lost_in_a_row: 0 })
    }

    /// The device in use.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Has a bar over photos say how far the one in hand is.
    pub fn follow(&mut self, bar: &ProgressBar) {
        talk::follow(&self.device, bar);
        self.bar = Some(bar.clone());
    }

    /// The method in use.
    pub fn method(&self) -> &dyn Method {
        &*self.method
    }

    /// The weights in use.
    pub fn weights(&self) -> &FoundWeights {
        &self.recipe.weights
    }

    /// What the method is told in words; `None` for one that knows none.
    pub fn language(&self) -> Option<&Language> {
        self.recipe.method.is_in_words().then_some(&self.recipe.language)
    }

    /// Scores a photo. A device that was lost or hangs is opened anew and the photo tried once more.
    pub fn score(&mut self, photo: &Rgb) -> std::result::Result<Scored, Trouble> {
        let mut outcome = self.attempt(photo);
        if let Some(error) = outcome.as_ref().err().filter(|_| self.is_lost()) {
            log::warn!("{error}; it is opened anew and the photo tried again");
            self.reopen()?;
            outcome = self.attempt(photo);
        }
        match outcome {
            Ok(scored) => {
                self.lost_in_a_row = 0;
                Ok(scored)
            }
            Err(error) if self.is_lost() => Err(self.lost_again(error)),
            Err(error) => Err(Trouble::Photo(error)),
        }
    }

    /// Whether the device runs nothing any more: it was lost, it hung, or its driver refused something.
    fn is_lost(&self) -> bool {
        self.device.fault().is_some()
    }

    /// After the retry was lost too: ready for the next photo, or at the end of patience.
    fn lost_again(&mut self, error: Error) -> Trouble {
        self.lost_in_a_row += 1;
        if self.lost_in_a_row >= MOST_LOST_IN_A_ROW {
            let error = error.context(format!("for {MOST_LOST_IN_A_ROW} photos in a row, each tried twice"));
            return Trouble::Run(error.hint("`zsas-gpu doctor --selftest` tries the device; `--resume` goes on from here"));
        }
        self.reopen().err().unwrap_or(Trouble::Photo(error))
    }

    fn attempt(&mut self, photo: &Rgb) -> Result<Scored> {
        self.attempts += 1;
        if self.lose_at.contains(&self.attempts) {
            self.device.lose();
        }
        self.method.score(photo)
    }

    fn reopen(&mut self) -> std::result::Result<(), Trouble> {
        let opened = self.recipe.device.open(true).and_then(|device| {
            let method = self.recipe.make(&device)?;
            (self.device, self.method) = (device, method);
            if let Some(bar) = &self.bar {
                talk::follow(&self.device, bar);
            }
            Ok(())
        });
        opened.map_err(|error| Trouble::Run(error.context("opening the device again after it was lost")))
    }
}
