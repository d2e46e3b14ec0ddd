//! Every engine keeps to its trait. `tests/trtllm` runs the same over TensorRT-LLM's stand-in.

use assay::engine::cpu::CpuFactory;
use assay::engine::simulated::SimulatedFactory;
use assay::engine::{EngineOptions, Limits, PrefixSharing};
use assay::manifest::{Dtype, LimitOverrides};

use crate::support::{self, engine_suite::Subject, engine_suite::engine_suite};

const LIMITS: Limits =
    Limits { max_seq_len: 256, max_batch_size: 8, max_num_tokens: 512, kv_blocks: 64, tokens_per_block: 16 };

fn simulated(sharing: PrefixSharing) -> Subject {
    Subject { factory: SimulatedFactory::new(LIMITS, sharing, 3).into(), keeps: Box::new(()) }
}

fn cpu(dtype: Dtype) -> Subject {
    let directory = tempfile::tempdir().unwrap();
    let model = support::model(64, 96, 2, (4, 2, 16));
    let manifest = support::random_engine(directory.path(), model, dtype, 7);
    let limits = LimitOverrides { max_num_tokens: Some(512), max_seq_len: Some(256), max_batch_size: None };
    let options = EngineOptions { limits, ..EngineOptions::default() };
    let factory = CpuFactory::open(directory.path(), &manifest, &options).unwrap();
    Subject { factory: factory.into(), keeps: Box::new(directory) }
}

mod simulated {
    super::engine_suite!(super::simulated(assay::engine::PrefixSharing::WithinIteration));
}

mod simulated_that_shares_between_iterations {
    super::engine_suite!(super::simulated(assay::engine::PrefixSharing::Cached));
}

mod cpu {
    super::engine_suite!(super::cpu(assay::manifest::Dtype::F32));
}
