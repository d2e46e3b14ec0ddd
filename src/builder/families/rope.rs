//! Rotary embeddings as `config.json` describes them, after transformers' `modeling_rope_utils`.

use std::fmt::Display;

use serde_json::Value;

use super::rope_scaling::{factor, llama3, longrope, yarn};
use crate::builder::BuildError;
use crate::builder::json::Object;
use crate::manifest::{QueryGrowth, Rope, RopeScaling};

/// Base of the frequencies of layers with a window, in models whose layers have different embeddings.
const DEFAULT_LOCAL_THETA: f64 = 10_000.0;

/// Defaults of a checkpoint's rotary settings.
pub(crate) struct RopeDefaults {
    pub(crate) theta: f64,
    pub(crate) max_position_embeddings: usize,
}

/// Phi-3's `original_max_position_embeddings` if its `config.json` has none; what its section says does not count.
const PHI3_ORIGINAL: usize = 4096;

/// The rotary embeddings of a model.
pub(crate) struct Ropes {
    pub(crate) rope: Rope,
    /// That of layers with a window, if it differs.
    pub(crate) windowed: Option<Rope>,
}

/// Sections of `rope_parameters` in models whose layers have different embeddings.
const FULL: &str = "full_attention";
const WINDOWED: &str = "sliding_attention";

/// Fields that mean the same with any type of scaling, and without one.
const WITHOUT_TYPE: [&str; 4] =
    ["rope_theta", "partial_rotary_factor", "max_position_embeddings", "original_max_position_embeddings"];

/// The fraction of each head that is rotated, if the checkpoint sets it.
pub(super) fn partial_factor(config: &Object, notes: &mut Vec<String>) -> Result<Option<f64>, BuildError> {
    let mut parameters = section(config, &mut vec![])?;
    if parameters.has(FULL) {
        parameters = parameters.nested(FULL)?;
    }
    inner_or_outer(&parameters, config, "partial_rotary_factor", notes)
}

/// `rope_scaling` (before transformers 5) or `rope_parameters` (since); if a checkpoint has both, transformers takes
/// the first.
fn section(config: &Object, notes: &mut Vec<String>) -> Result<Object, BuildError> {
    let (scaling, parameters) = (config.nested("rope_scaling")?, config.nested("rope_parameters")?);
    if scaling.is_empty() {
        return Ok(parameters);
    }
    if !parameters.is_empty() {
        notes.push("config.json has both rope_scaling and rope_parameters; rope_scaling is used".to_owned());
    }
    Ok(scaling)
}

/// A field of the section or, if that lacks it, of `config`.
fn inner_or_outer(
    section: &Object,
    config: &Object,
    field: &str,
    notes: &mut Vec<String>,
) -> Result<Option<f64>, BuildError> {
    let (inner, outer) = (section.optional::<f64>(field)?, config.optional::<f64>(field)?);
    if let (Some(inner), Some(outer)) = (inner, outer)
        && inner != outer
    {
        notes.push(conflict(&section.name(field), inner, &config.name(field), outer));
    }
    Ok(inner.or(outer))
}

/// The note about two values that contradict each other; the first one is used.
fn conflict<T: Display>(name: &str, value: T, other_name: &str, other: T) -> String {
    format!("config.json has {name} {value} and {other_name} {other}; {name} is used")
}

/// Reads one embedding for all layers, or one for each kind of layer in sections of their own.
pub(super) fn read(
    config: &Object,
    defaults: &RopeDefaults,
    notes: &mut Vec<String>,
) -> Result<Ropes, BuildError> {
    read_with(config, defaults, Types::All, notes)
}

/// As [`read`], for Phi-3: `su` and `yarn` are old names of `longrope`, and it has no other scaling.
pub(super) fn read_phi3(
    config: &Object,
    defaults: &RopeDefaults,
    notes: &mut Vec<String>,
) -> Result<Ropes, BuildError> {
    read_with(config, defaults, Types::Phi3, notes)
}

fn read_with(
    config: &Object,
    defaults: &RopeDefaults,
    types: Types,
    notes: &mut Vec<String>,
) -> Result<Ropes, BuildError> {
    let section = section(config, notes)?;
    let reader = Reader { config, defaults, types };
    if !section.has(FULL) && !section.has(WINDOWED) {
        return Ok(Ropes { rope: reader.read(&section, true, notes)?, windowed: None });
    }
    let rope = reader.read(&kind_of_layer(&section, FULL)?, false, notes)?;
    let windowed = reader.read(&kind_of_layer(&section, WINDOWED)?, false, notes)?;
    let windowed = Some(windowed).filter(|windowed| *windowed != rope);
    refuse_lengths(&section, windowed.as_ref())?;
    Ok(Ropes { rope, windowed })
}

/// Refuses a rotation by the length of the text for layers with a window.
fn refuse_lengths(section: &Object, windowed: Option<&Rope>) -> Result<(), BuildError> {
    if windowed.is_some_and(|rope| rope.scaling.usual_length().is_some()) {
        let reason =
            "its type depends on the length of the text, which is supported only if all layers share it";
        return Err(section.error(WINDOWED, reason));
    }
    Ok(())
}

/// The section of the layers of one kind.
fn kind_of_layer(section: &Object, kind: &str) -> Result<Object, BuildError> {
    let parameters = section.nested(kind)?;
    if section.has(kind) && parameters.is_empty() {
        return Err(section.error(kind, "it is empty; layers without a rotary embedding are not supported"));
    }
    Ok(parameters)
}

/// Reads the embeddings of layers without a window and of layers with one. The latter have a field of their own for the
/// base.
pub(super) fn read_by_layer(
    config: &Object,
    defaults: &RopeDefaults,
    notes: &mut Vec<String>,
) -> Result<Ropes, BuildError> {
    let local_theta = config.optional("rope_local_base_freq")?;
    refuse_null(config, "rope_local_base_freq", local_theta)?;
    let local_theta = local_theta.unwrap_or(DEFAULT_LOCAL_THETA);
    read_sections(config, defaults, local_theta, notes)
}

/// As [`read_by_layer`], for OLMo 3: outside of a section, `rope_theta` is that of layers without a window only.
pub(super) fn read_olmo3(
    config: &Object,
    defaults: &RopeDefaults,
    notes: &mut Vec<String>,
) -> Result<Ropes, BuildError> {
    read_sections(config, defaults, defaults.theta, notes)
}

fn read_sections(
    config: &Object,
    defaults: &RopeDefaults,
    local_theta: f64,
    notes: &mut Vec<String>,
) -> Result<Ropes, BuildError> {
    let (scaling, by_layer) = (config.nested("rope_scaling")?, config.nested("rope_parameters")?);
    if !by_layer.is_empty() && !by_layer.has(FULL) && !by_layer.has(WINDOWED) {
        let reason = format!("it needs the sections {FULL} and {WINDOWED}");
        return Err(config.error("rope_parameters", &reason));
    }
    // `rope_scaling` is that of the layers without a window.
    let full = kind_of_layer(&by_layer, FULL)?.overlaid(&scaling);
    let reader = Reader { config, defaults, types: Types::All };
    let rope = reader.read(&full, false, notes)?;
    let windowed = kind_of_layer(&by_layer, WINDOWED)?;
    let theta = windowed.optional("rope_theta")?.unwrap_or(local_theta);
    if !is_theta(theta) {
        return Err(config.error("rope_local_base_freq", &format!("{theta} is not a number above 1")));
    }
    let scaling = reader.scaling(&windowed, defaults.max_position_embeddings, notes)?;
    let windowed = Some(Rope { theta, scaling });
    refuse_lengths(&by_layer, windowed.as_ref())?;
    Ok(Ropes { rope, windowed })
}

/// Refuses a base that is null where nothing else gives one: transformers does not take its default for it.
fn refuse_null(object: &Object, field: &str, theta: Option<f64>) -> Result<(), BuildError> {
    if theta.is_none() && object.has(field) {
        return Err(object.error(field, "null is not a number above 1; remove the field for the default"));
    }
    Ok(())
}

fn is_theta(theta: f64) -> bool {
    theta > 1.0 && theta.is_finite()
}

/// The types of scaling that a family has.
#[derive(Clone, Copy)]
enum Types {
    All,
    Phi3,
}

impl Types {
    fn known(self) -> &'static str {
        match self {
            Self::All => "default, linear, dynamic, yarn, longrope, su, llama3",
            Self::Phi3 => "default, longrope, su, yarn",
        }
    }
}

/// Reads sections about an embedding.
struct Reader<'a> {
    /// Has the fields that a section may leave out.
    config: &'a Object,
    defaults: &'a RopeDefaults,
    types: Types,
}

impl Reader<'_> {
    /// One embedding. `outer_original`: `original_max_position_embeddings` outside of the section, as in Phi-3
    /// checkpoints, overrides the one inside, as in transformers.
    fn read(
        &self,
        section: &Object,
        outer_original: bool,
        notes: &mut Vec<String>,
    ) -> Result<Rope, BuildError> {
        let theta = inner_or_outer(section, self.config, "rope_theta", notes)?;
        for object in [section, self.config] {
            refuse_null(object, "rope_theta", theta)?;
        }
        let theta = theta.unwrap_or(self.defaults.theta);
        if !is_theta(theta) {
            return Err(self.config.error("rope_theta", &format!("{theta} is not a number above 1")));
        }
        let field = "original_max_position_embeddings";
        let inner = section.optional::<usize>(field)?;
        let outer = match self.types {
            _ if !outer_original => None,
            Types::All => self.config.optional(field)?,
            Types::Phi3 => Some(self.config.optional(field)?.unwrap_or(PHI3_ORIGINAL)),
        };
        if let (Some(inner), Some(outer)) = (inner, outer)
            && inner != outer
        {
            notes.push(conflict(&self.config.name(field), outer, &section.name(field), inner));
        }
        let original = outer.or(inner).unwrap_or(self.defaults.max_position_embeddings);
        if original == 0 {
            return Err(section.error(field, "0 is not a length"));
        }
        Ok(Rope { theta, scaling: self.scaling(section, original, notes)? })
    }

    /// The scaling of a section, given its `original_max_position_embeddings`.
    fn scaling(
        &self,
        section: &Object,
        original: usize,
        notes: &mut Vec<String>,
    ) -> Result<RopeScaling, BuildError> {
        let kind = scaling_type(section, notes)?;
        let max = self.defaults.max_position_embeddings;
        let scaling = match (kind.as_deref(), self.types) {
            (None | Some("default"), _) => RopeScaling::Default,
            (Some("longrope" | "su"), _) | (Some("yarn"), Types::Phi3) => longrope(section, max, original)?,
            (Some("linear"), Types::All) => RopeScaling::Linear { factor: factor(section, None)? },
            (Some("dynamic"), Types::All) => {
                RopeScaling::Dynamic { factor: factor(section, None)?, max_position_embeddings: max }
            }
            (Some("llama3"), Types::All) => llama3(section, original)?,
            (Some("yarn"), Types::All) => yarn(section, original)?,
            (Some(other), types) => {
                let reason = format!("{other} is not supported; known are {}", types.known());
                return Err(section.error("rope_type", &reason));
            }
        };
        if let RopeScaling::Yarn { factor, .. } = scaling {
            let stretched = self.defaults.max_position_embeddings as f64 / original as f64;
            if stretched != factor && stretched != 1.0 {
                notes.push(format!(
                    "config.json has {} {factor}, and max_position_embeddings is {stretched} times the original \
                     length; {factor} is used",
                    section.name("factor")
                ));
            }
        }
        Ok(scaling)
    }
}

/// The type of the scaling; `None` if the section asks for none.
///
/// # Errors
/// It has fields of a scaling, but no type: they would change nothing.
fn scaling_type(section: &Object, notes: &mut Vec<String>) -> Result<Option<String>, BuildError> {
    let (new, old) = (section.optional::<String>("rope_type")?, section.optional::<String>("type")?);
    if let (Some(new), Some(old)) = (&new, &old)
        && new != old
    {
        notes.push(conflict(&section.name("rope_type"), new, &section.name("type"), old));
    }
    let kind = new.or(old);
    let is_setting = |(field, value): &(&str, &Value)| {
        !value.is_null() && !WITHOUT_TYPE.contains(field) && !["rope_type", "type"].contains(field)
    };
    let setting = section.fields().find(is_setting).map(|(field, _)| field);
    match (kind.as_deref(), setting) {
        (None, Some(field)) => {
            let reason = format!(
                "it is missing, so {field} would have no effect; add the type of the scaling, for example \"linear\", or \
                 remove the section"
            );
            return Err(section.error("rope_type", &reason));
        }
        (Some("default"), Some(field)) => notes.push(format!(
            "config.json has {}, which has no effect with the type default",
            section.name(field)
        )),
        _ => {}
    }
    Ok(kind)
}

/// Refuses a LongRoPE without a factor for each frequency of a rotated width.
pub(super) fn check_factors(config: &Object, scaling: &RopeScaling, width: usize) -> Result<(), BuildError> {
    let RopeScaling::LongRope { short_factor, long_factor, .. } = scaling else { return Ok(()) };
    for (field, factors) in [("short_factor", short_factor), ("long_factor", long_factor)] {
        if factors.len() != width / 2 {
            let reason = format!(
                "{} factors for {} frequencies, one for each two numbers of the rotated part of a head",
                factors.len(),
                width / 2
            );
            return Err(section(config, &mut vec![])?.error(field, &reason));
        }
    }
    Ok(())
}

/// How queries grow with their position, from a section whose field `beta` says how fast.
pub(super) fn query_growth(
    config: &Object,
    beta: &'static str,
    max_position_embeddings: usize,
) -> Result<Option<QueryGrowth>, BuildError> {
    let section = section(config, &mut vec![])?;
    let Some(value) = section.optional::<f32>(beta)?.filter(|&value| value != 0.0) else { return Ok(None) };
    if !(value > 0.0 && value.is_finite()) {
        return Err(section.error(beta, &format!("{value} is not a number of at least 0")));
    }
    let length = section.size("original_max_position_embeddings", Some(max_position_embeddings))?;
    Ok(Some(QueryGrowth { beta: value, length }))
}

/// Reads the embedding of layers with a window, for Cohere 2: the others are not rotated.
pub(super) fn read_cohere2(
    config: &Object,
    defaults: &RopeDefaults,
    notes: &mut Vec<String>,
) -> Result<Ropes, BuildError> {
    let windowed = read(config, defaults, notes)?.rope;
    refuse_lengths(&section(config, &mut vec![])?, Some(&windowed))?;
    let rope = Rope { theta: windowed.theta, scaling: RopeScaling::Unrotated };
    Ok(Ropes { rope, windowed: Some(windowed) })
}

/// The longest sequence that the scaling stretches to, in tokens; at least `max_position_embeddings`.
pub(crate) fn longest(scaling: &RopeScaling, max_position_embeddings: usize) -> usize {
    let (factor, original) = match *scaling {
        RopeScaling::Default | RopeScaling::Unrotated | RopeScaling::LongRope { .. } => {
            (1.0, max_position_embeddings)
        }
        RopeScaling::Linear { factor } | RopeScaling::Dynamic { factor, .. } => {
            (factor, max_position_embeddings)
        }
        RopeScaling::Llama3 { factor, original_max_position_embeddings, .. }
        | RopeScaling::Yarn { factor, original_max_position_embeddings, .. } => {
            (factor, original_max_position_embeddings)
        }
    };
    max_position_embeddings.max((original as f64 * factor) as usize)
}
