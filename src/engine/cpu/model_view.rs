//! A manifest's model as the bridge to the C++ decoder takes it.

use super::rope;
use crate::engine::LibraryError;
use crate::engine::bridge::ffi;
use crate::manifest::{Activation, Dtype, Experts, Manifest, Model, Norm, Pooling, QkNorm};

pub(super) fn dtype_view(dtype: Dtype) -> ffi::DtypeView {
    match dtype {
        Dtype::F32 => ffi::DtypeView::F32,
        Dtype::Bf16 => ffi::DtypeView::Bf16,
        Dtype::Int8 => ffi::DtypeView::Int8,
    }
}

/// Checks that the engine can compute the model of `manifest`, whose weights need not exist yet.
///
/// # Errors
/// It cannot; the error says why.
pub(crate) fn check_model(manifest: &Manifest) -> Result<(), LibraryError> {
    Ok(ffi::check_cpu(&model_view(manifest))?)
}

/// The model of an engine.
pub(crate) fn model_view(manifest: &Manifest) -> ffi::CpuModel {
    let (model, variant) = (&manifest.model, &manifest.model.variant);
    ffi::CpuModel {
        dtype: dtype_view(manifest.dtype),
        vocab_size: model.vocab_size,
        hidden_size: model.hidden_size,
        num_layers: model.num_layers,
        embedding_scale: variant.embedding_scale,
        parallel_residual: variant.parallel_residual,
        residual_scale: variant.residual_scale.unwrap_or(1.0),
        norms: ffi::NormView {
            eps: model.norm_eps,
            layer_norm: variant.norm == Norm::Layer,
            pre_norms: variant.pre_norms,
            post_norms: variant.post_norms,
            sum_norms: variant.bidirectional.is_some_and(|parts| parts.sum_norms),
        },
        attention: attention_view(model),
        feed_forward: ffi::FeedForwardView {
            intermediate_size: model.intermediate_size,
            activation: match variant.activation {
                Activation::Silu => ffi::ActivationView::Silu,
                Activation::GeluTanh => ffi::ActivationView::GeluTanh,
                Activation::Relu2 => ffi::ActivationView::Relu2,
                Activation::Gelu => ffi::ActivationView::Gelu,
                Activation::GatedGelu => ffi::ActivationView::GatedGelu,
                Activation::PlainGeluTanh => ffi::ActivationView::PlainGeluTanh,
            },
            bias: model.mlp_bias,
            experts: experts_view(variant.experts.as_ref()),
        },
        head: ffi::HeadView {
            rows: manifest.products(),
            vocabulary: manifest.has_lm_head(),
            softcap: manifest.head.softcap.unwrap_or(0.0),
        },
        positions: positions_view(model),
        encoder: encoder_view(manifest),
    }
}

fn positions_view(model: &Model) -> ffi::PositionsView {
    let Some(positions) = model.variant.positions else {
        return ffi::PositionsView { rows: 0, first: 0, skips_padding: false, padding: 0 };
    };
    ffi::PositionsView {
        rows: positions.rows,
        first: positions.first,
        skips_padding: positions.padding.is_some(),
        padding: positions.padding.unwrap_or(0),
    }
}

fn encoder_view(manifest: &Manifest) -> ffi::EncoderView {
    let parts = manifest.model.variant.bidirectional;
    let segments = parts.and_then(|parts| parts.segments);
    let relative = parts.and_then(|parts| parts.relative);
    ffi::EncoderView {
        present: parts.is_some(),
        final_norm: parts.is_some_and(|parts| parts.final_norm),
        segments: segments.map_or(0, |segments| segments.rows),
        separator: segments.and_then(|segments| segments.separator).unwrap_or(u32::MAX),
        relative: ffi::RelativeView {
            span: relative.map_or(0, |relative| relative.span),
            buckets: relative.and_then(|relative| relative.buckets).unwrap_or(0),
            longest: relative.map_or(0, |relative| relative.longest),
            normed: relative.is_some_and(|relative| relative.normed),
            with_queries: relative.is_some_and(|relative| relative.content_to_position),
            with_keys: relative.is_some_and(|relative| relative.position_to_content),
            shared_projections: relative.is_some_and(|relative| relative.shared_projections),
        },
        mean: manifest.head.pooling == Pooling::Mean,
    }
}

fn experts_view(experts: Option<&Experts>) -> ffi::ExpertsView {
    let none = ffi::ExpertsView {
        count: 0,
        active: 0,
        intermediate_size: 0,
        normalized: false,
        shared_intermediate_size: 0,
        layers: vec![],
    };
    let Some(experts) = experts else { return none };
    ffi::ExpertsView {
        count: experts.count,
        active: experts.active,
        intermediate_size: experts.intermediate_size,
        normalized: experts.normalized,
        shared_intermediate_size: experts.shared.as_ref().map_or(0, |shared| shared.intermediate_size),
        layers: experts.layers.clone(),
    }
}

fn attention_view(model: &Model) -> ffi::AttentionView {
    let variant = &model.variant;
    let rope = |rope| {
        let dim = variant.rotary_dim.unwrap_or(model.head_dim);
        rope::view(rope, dim)
    };
    let mut windows = vec![0; model.num_layers];
    if let Some(window) = &variant.sliding_window {
        for &layer in &window.layers {
            if let Some(keys) = windows.get_mut(layer) {
                *keys = window.keys;
            }
        }
    }
    let window_rope = variant.sliding_window.as_ref().and_then(|window| window.rope.as_ref());
    ffi::AttentionView {
        num_heads: model.num_heads,
        num_kv_heads: model.num_kv_heads,
        head_dim: model.head_dim,
        qkv_bias: model.qkv_bias,
        output_bias: model.output_bias,
        qk_norm: match variant.qk_norm {
            QkNorm::None => ffi::QkNormView::None,
            QkNorm::EachHead => ffi::QkNormView::EachHead,
            QkNorm::AllHeads => ffi::QkNormView::AllHeads,
            QkNorm::OwnHead => ffi::QkNormView::OwnHead,
        },
        scale: variant.attention_scale.unwrap_or_else(|| (model.head_dim as f32).powf(-0.5)),
        softcap: variant.attention_softcap.unwrap_or(0.0),
        query_growth: variant.query_growth.map_or(0.0, |growth| growth.beta),
        query_growth_length: variant.query_growth.map_or(1, |growth| growth.length),
        windows,
        rope: rope(&model.rope),
        window_rope: rope(window_rope.unwrap_or(&model.rope)),
    }
}
