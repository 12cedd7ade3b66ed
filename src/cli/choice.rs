//! Options whose values are those of a table or an enumeration of the library.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use zsas::datasets::Layout;
use zsas::methods::saa::Part;
use zsas::methods::{METHODS, MultiCrop, Reading};
use zsas::models::grounding_dino::Semantics;
use zsas::results::{MaskFile, Picture};
use zsas::{Precision, Tier};

use crate::cli::calibrate::RuleKind;
use crate::cli::detect::BoxFormat;
use crate::cli::infer::FailOn;

/// A parser of one of the values of `all`, which `describe` names and explains.
pub fn one_of<T: Copy + Send + Sync + 'static>(
    all: &'static [T],
    describe: fn(T) -> (&'static str, &'static str),
) -> impl TypedValueParser<Value = T> {
    let values = all.iter().map(move |&value| {
        let (name, about) = describe(value);
        PossibleValue::new(name).help(about)
    });
    PossibleValuesParser::new(values)
        .try_map(move |text| all.iter().copied().find(|&value| describe(value).0 == text).ok_or("unknown value"))
}

/// A parser of the name of a method, or `auto`.
pub fn method() -> PossibleValuesParser {
    let auto = PossibleValue::new("auto").help("The strongest whose weights are on this machine");
    PossibleValuesParser::new(std::iter::once(auto).chain(METHODS.iter().map(|info| PossibleValue::new(info.name).help(info.about))))
}

/// A parser of the layout of a data set.
pub fn layout() -> impl TypedValueParser<Value = Layout> {
    one_of(&Layout::ALL, |layout| (layout.as_str(), layout.about()))
}

/// A parser of a reading.
pub fn reading() -> impl TypedValueParser<Value = Reading> {
    one_of(&Reading::ALL, |reading| (reading.as_str(), reading.about()))
}

/// A parser of a part of SAA+.
pub fn part() -> impl TypedValueParser<Value = Part> {
    one_of(&Part::ALL, |part| (part.as_str(), part.about()))
}

/// A parser of the views of an image.
pub fn views() -> impl TypedValueParser<Value = MultiCrop> {
    one_of(&MultiCrop::ALL, |views| (views.as_str(), views.about()))
}

/// A precision, or `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrecisionChoice(pub Option<Precision>);

impl PrecisionChoice {
    /// The precision where nothing else suits the device better: f32 for `auto`.
    pub fn or_f32(self) -> Precision {
        self.0.unwrap_or_default()
    }
}

/// A parser of a precision.
pub fn precision() -> impl TypedValueParser<Value = PrecisionChoice> {
    const ALL: [PrecisionChoice; 3] =
        [PrecisionChoice(None), PrecisionChoice(Some(Precision::F32)), PrecisionChoice(Some(Precision::Mixed))];
    one_of(&ALL, |precision| match precision.0 {
        None => ("auto", "f16 where it suits the method and the adapter has matrix units, else f32"),
        Some(Precision::F32) => ("f32", "32 bits"),
        Some(Precision::Mixed) => ("f16", "16 bits, where the adapter stores them"),
    })
}

/// A parser of the tier of kernels; `cpu` is the former name of `software`.
pub fn tier() -> impl TypedValueParser<Value = Tier> {
    let values = Tier::ALL.map(|tier| PossibleValue::new(tier.as_str()).help(tier.about()));
    PossibleValuesParser::new(values.into_iter().chain([PossibleValue::new("cpu").hide(true)]))
        .map(|name| Tier::ALL.into_iter().find(|tier| tier.as_str() == name).unwrap_or(Tier::Software))
}

/// A parser of a picture of `infer`, or `none`.
pub fn picture() -> impl TypedValueParser<Value = Option<Picture>> {
    const ALL: [Option<Picture>; 6] =
        [Some(Picture::Map), Some(Picture::Mask), Some(Picture::Overlay), Some(Picture::Heatmap), Some(Picture::Candidates), None];
    one_of(&ALL, |picture| picture.map_or(("none", "Nothing but records"), |picture| (picture.as_str(), picture.about())))
}

/// A parser of a kind of files of `segment`, or `none`.
pub fn mask_file() -> impl TypedValueParser<Value = Option<MaskFile>> {
    const ALL: [Option<MaskFile>; 4] = [Some(MaskFile::Mask), Some(MaskFile::Overlay), Some(MaskFile::Logits), None];
    one_of(&ALL, |file| file.map_or(("none", "Nothing but the record"), |file| (file.as_str(), file.about())))
}

/// A parser of what fails a run.
pub fn fail_on() -> impl TypedValueParser<Value = FailOn> {
    one_of(&[FailOn::Anomaly, FailOn::Uninspected], |what| match what {
        FailOn::Anomaly => ("anomaly", "A score that reaches the threshold"),
        FailOn::Uninspected => ("uninspected", "A file, page or part of a photo that was not inspected"),
    })
}

/// A parser of a rule, without its parameter.
pub fn rule() -> impl TypedValueParser<Value = RuleKind> {
    one_of(&[RuleKind::Quantile, RuleKind::Sigma, RuleKind::Max], |rule| match rule {
        RuleKind::Quantile => ("quantile", "Just above a quantile of the scores (`--quantile`)"),
        RuleKind::Sigma => ("sigma", "Just above their mean plus so many standard deviations (`--sigma`)"),
        RuleKind::Max => ("max", "Just above the largest"),
    })
}

/// A parser of the code that a detection follows.
pub fn semantics() -> impl TypedValueParser<Value = Semantics> {
    one_of(&Semantics::ALL, |semantics| (semantics.as_str(), semantics.about()))
}

/// A parser of a format of boxes.
pub fn box_format() -> impl TypedValueParser<Value = BoxFormat> {
    one_of(&[BoxFormat::Coco], |_| ("coco", "`coco.json`: images, annotations with scores, categories"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_has_its_name_and_its_former_one() {
        let parse = |name: &str| {
            let command = clap::Command::new("zsas-gpu").arg(clap::Arg::new("tier").value_parser(tier()));
            command
                .try_get_matches_from(["zsas-gpu", name])
                .ok()
                .and_then(|matches| matches.get_one::<Tier>("tier").copied())
        };
        assert_eq!(parse("plain"), Some(Tier::Plain));
        assert_eq!(parse("software"), Some(Tier::Software));
        assert_eq!(parse("cpu"), Some(Tier::Software));
        assert_eq!(parse("gpu"), None);
    }
}
