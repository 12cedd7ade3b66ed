//! Reads configurations key by key: a key that is not known, or has a value that is not supported, is refused by name.
//!
//! An ignored key could mean another function than the one that is computed. So a reader states for each key that it uses it, that it
//! supports certain values of it, or that it changes no result; [`Settings::finish`] refuses what is left.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Code, Error, Result};
use crate::weights::Checkpoint;

/// Most characters of a value that a message shows.
const MAX_SHOWN: usize = 60;

/// Keys that transformers writes into any configuration, or its sections, and that change no embedding, map or mask.
pub(super) const TRANSFORMERS_HARMLESS: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "_output_attentions",
    "architectures",
    "attention_dropout",
    "attn_implementation",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dropout",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "id2label",
    "initializer_factor",
    "initializer_range",
    "label2id",
    "length_penalty",
    "logit_scale_init_value",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "penalty_alpha",
    "pad_token_id",
    "prefix",
    "problem_type",
    "projection_dim",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tie_word_embeddings",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "use_bfloat16",
    "use_cache",
    "xla_device",
];

/// Keys of any transformers configuration that change results where they are switched on.
const TRANSFORMERS_OFF: &[&str] =
    &["add_cross_attention", "cross_attention_hidden_size", "is_decoder", "is_encoder_decoder", "pruned_heads"];

/// A section of a configuration: the keys that are not read yet.
#[derive(Debug)]
pub(super) struct Settings {
    file: &'static str,
    /// Path of the section in the file, `model_cfg.text_cfg.`.
    path: String,
    entries: Map<String, Value>,
}

impl Settings {
    /// The whole configuration in a file beside the weights; `None` where there is none.
    pub fn read(checkpoint: &Checkpoint, file: &'static str) -> Result<Option<Settings>> {
        Ok(checkpoint.json(file)?.map(|entries| Settings { file, path: String::new(), entries }))
    }

    /// A configuration in a text.
    #[cfg(test)]
    pub fn parse(file: &'static str, text: &str) -> Settings {
        Settings { file, path: String::new(), entries: serde_json::from_str(text).unwrap() }
    }

    /// Reads the value of a key; `None` where it is missing or `null`.
    pub fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>> {
        match self.entries.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value).map(Some).map_err(|error| {
                let message = format!("`{}` is not what a model of this kind has: `{}{key}`: {error}", self.file, self.path);
                Error::new(Code::WeightsFormat, message)
            }),
        }
    }

    /// A section; an empty one where it is missing or `null`.
    pub fn section(&mut self, key: &str) -> Result<Settings> {
        let entries = self.take(key)?.unwrap_or_default();
        Ok(Settings { file: self.file, path: format!("{}{key}.", self.path), entries })
    }

    /// A section; `None` where it is missing or `null`.
    pub fn optional_section(&mut self, key: &str) -> Result<Option<Settings>> {
        let path = format!("{}{key}.", self.path);
        Ok(self.take(key)?.map(|entries| Settings { file: self.file, path, entries }))
    }

    /// The side of square images, `side` or `[side, side]`; `None` where it is missing or `null`.
    pub fn side(&mut self, key: &str) -> Result<Option<usize>> {
        let Some(value) = self.take::<Value>(key)? else { return Ok(None) };
        let pair = value.as_array().filter(|pair| pair.len() == 2 && pair[0] == pair[1]);
        match pair.map_or(&value, |pair| &pair[0]).as_u64() {
            Some(side) => Ok(Some(side as usize)),
            None => Err(self.refusal(key, &value, "squares")),
        }
    }

    /// Keys that change no result.
    pub fn ignore(&mut self, keys: &[&str]) {
        keys.iter().for_each(|key| drop(self.entries.remove(*key)));
    }

    /// Keys that are supported only where they switch nothing on: missing, `null`, `false`, an empty text, list or object.
    pub fn off(&mut self, keys: &[&str]) -> Result<()> {
        for key in keys {
            let is_off = match self.entries.remove(*key) {
                None | Some(Value::Null | Value::Bool(false)) => continue,
                Some(Value::String(text)) if text.is_empty() => continue,
                Some(Value::Array(list)) if list.is_empty() => continue,
                Some(Value::Object(map)) if map.is_empty() => continue,
                Some(value) => value,
            };
            return Err(self.refusal(key, &is_off, "leave it out"));
        }
        Ok(())
    }

    /// A text that is supported for certain values only; the first is that of a missing key.
    pub fn one_of<'a>(&mut self, key: &str, values: &[&'a str]) -> Result<&'a str> {
        match self.entries.remove(key) {
            None | Some(Value::Null) => Ok(values[0]),
            Some(value) => match values.iter().find(|known| value == **known) {
                Some(known) => Ok(known),
                None => Err(self.refusal(key, &value, &format!("`{}`", values.join("` or `")))),
            },
        }
    }

    /// A finite number above 0, of which the file may name another than the usual one.
    pub fn positive(&mut self, key: &str, usual: f32) -> Result<f32> {
        match self.entries.remove(key) {
            None | Some(Value::Null) => Ok(usual),
            Some(value) => match value.as_f64().map(|number| number as f32) {
                Some(number) if number.is_finite() && number > 0.0 => Ok(number),
                Some(_) | None => Err(self.refusal(key, &value, "finite numbers above 0")),
            },
        }
    }

    /// A key that is supported where it is `true` or missing.
    pub fn on(&mut self, key: &str) -> Result<()> {
        match self.entries.remove(key) {
            None | Some(Value::Null | Value::Bool(true)) => Ok(()),
            Some(value) => Err(self.refusal(key, &value, "`true`")),
        }
    }

    /// A count that has to be that of the tensors.
    pub fn agrees(&mut self, key: &str, found: usize) -> Result<()> {
        match self.entries.remove(key) {
            None | Some(Value::Null) => Ok(()),
            Some(value) if value == found || value == Value::from(vec![found; 2]) => Ok(()),
            Some(value) => Err(self.refusal(key, &value, &format!("{found}, which is what the tensors have"))),
        }
    }

    /// Skips the keys that transformers writes into every configuration.
    pub fn ignore_transformers(&mut self) -> Result<()> {
        self.ignore(TRANSFORMERS_HARMLESS);
        self.off(TRANSFORMERS_OFF)
    }

    /// Refuses the first key that was not read.
    pub fn finish(self) -> Result<()> {
        match self.entries.iter().next() {
            None => Ok(()),
            Some((key, value)) => {
                let message = format!("`{}` sets `{}{key}` to {}, which is not known here", self.file, self.path, shown(value));
                Err(Error::new(Code::WeightsMismatch, message).hint("if it changes no result, take it out of the file"))
            }
        }
    }

    /// The error for a value that would change the function.
    pub fn refusal(&self, key: &str, value: &Value, supported: &str) -> Error {
        let message = format!("`{}` sets `{}{key}` to {}, which is not supported", self.file, self.path, shown(value));
        Error::new(Code::WeightsMismatch, message).hint(format!("supported: {supported}"))
    }
}

/// A value, cut where it is long.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unread_key_is_refused_by_name_and_a_switch_only_where_it_is_on() {
        let mut settings = Settings::parse("c.json", r#"{"a": 1, "b": {"c": false, "d": "x", "e": null}, "z": [1]}"#);
        assert_eq!(settings.take::<usize>("a").unwrap(), Some(1));
        let mut section = settings.section("b").unwrap();
        section.off(&["c", "e", "missing"]).unwrap();
        let error = section.one_of("d", &["y", "w"]).unwrap_err();
        assert_eq!(format!("{error:#}"), "`c.json` sets `b.d` to `\"x\"`, which is not supported\n\nhint: supported: `y` or `w`");
        section.finish().unwrap();
        assert_eq!(settings.finish().unwrap_err().message(), "`c.json` sets `z` to `[1]`, which is not known here");

        let mut settings = Settings::parse("c.json", r#"{"a": 0.5, "n": 3, "size": [4, 4], "on": false}"#);
        assert!(settings.off(&["a"]).is_err());
        assert!(settings.take::<String>("n").unwrap_err().message().contains("`n`: invalid type"));
        settings.agrees("size", 4).unwrap();
        assert!(settings.on("on").is_err());
    }
}
