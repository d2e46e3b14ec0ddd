//! The engine's thread: runs iterations in the C++ decoder and finishes the head.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use crate::engine::bridge::ffi;
use crate::engine::weights::Weights;
use crate::engine::{Chunk, Iteration, LibraryError, StepError, StepReport};
use crate::reward::HeadLayers;

/// The C++ decoder, the memory that it reads and the head above it.
pub(super) struct Decoder {
    // Before the weights, so that it is dropped before them.
    engine: cxx::UniquePtr<ffi::CpuEngine>,
    _weights: Arc<Weights>,
    /// Numbers that the C++ decoder computes for each token read.
    products: usize,
    head: Arc<HeadLayers>,
}

impl Decoder {
    /// Opens the C++ decoder.
    ///
    /// # Errors
    /// It does not take the model or the limits, or memory is short.
    pub(super) fn open(
        (model, limits): (&ffi::CpuModel, &ffi::CpuLimits),
        weights: Arc<Weights>,
        products: usize,
        head: Arc<HeadLayers>,
    ) -> Result<Self, LibraryError> {
        let mut tensors = Vec::new();
        for (name, bytes) in weights.tensors() {
            tensors.push(ffi::TensorView { name: name.clone(), begin: bytes.start, end: bytes.end });
        }
        // SAFETY: `Self` keeps the weights mapped until the engine is dropped; fields drop in order.
        let engine = unsafe { ffi::open_cpu(model, limits, &tensors, weights.bytes()) }?;
        Ok(Self { engine, _weights: weights, products, head })
    }

    /// Runs iterations until one of the channels closes.
    pub(super) fn serve(
        mut self,
        iterations: &Receiver<Iteration>,
        reports: &Sender<Result<StepReport, StepError>>,
    ) {
        for iteration in iterations {
            if reports.send(self.run(&iteration)).is_err() {
                return;
            }
        }
    }

    fn run(&mut self, iteration: &Iteration) -> Result<StepReport, StepError> {
        let started = Instant::now();
        let (chunks, reads) = views(&iteration.chunks);
        let mut products = vec![0.0; reads.len() * self.products];
        self.engine
            .pin_mut()
            .run(&iteration.token_ids, &iteration.block_table, &chunks, &reads, &mut products)
            .map_err(LibraryError::from)?;
        let logits = self.head.apply(products);
        let width = logits.len() / reads.len().max(1);
        let mut rest = logits.as_slice();
        let mut by_sequence = Vec::new();
        for chunk in iteration.chunks.iter().filter(|chunk| !chunk.logits.is_empty()) {
            let (own, others) = rest.split_at(chunk.logits.len() * width);
            rest = others;
            by_sequence.push((chunk.sequence, own.to_vec()));
        }
        Ok(StepReport { logits: by_sequence, elapsed: started.elapsed(), ..StepReport::default() })
    }
}

/// Chunks as the bridge takes them, and the tokens to read in all of them.
fn views(chunks: &[Chunk]) -> (Vec<ffi::ChunkView>, Vec<usize>) {
    let (mut views, mut reads) = (Vec::new(), Vec::new());
    for chunk in chunks {
        let read_begin = reads.len();
        reads.extend_from_slice(&chunk.logits);
        views.push(ffi::ChunkView {
            token_begin: chunk.tokens.start,
            token_end: chunk.tokens.end,
            position: chunk.position,
            text_tokens: chunk.text_tokens,
            block_begin: chunk.blocks.start,
            block_end: chunk.blocks.end,
            read_begin,
            read_end: reads.len(),
        });
    }
    (views, reads)
}
