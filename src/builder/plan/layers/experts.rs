//! The tensors of a layer's experts.

use super::Layer;
use crate::builder::BuildError;
use crate::builder::checkpoint::Tensor;
use crate::builder::families::experts::ExpertTensors;
use crate::engine::cpu;
use crate::manifest::Experts;

/// A layer's tensors with the matrices of all experts.
const STACKED_GATE_UP: &str = "mlp.experts.gate_up_proj";
const STACKED_DOWN: &str = "mlp.experts.down_proj";

impl<'a> Layer<'_, 'a> {
    /// The router, with the gate of the shared expert as its last row, and the experts.
    pub(super) fn experts(&mut self, experts: &Experts, tensors: &ExpertTensors) -> Result<(), BuildError> {
        let hidden = self.model.hidden_size;
        let has_router = self.has(&format!("{}.weight", tensors.router));
        let router = if has_router { tensors.router } else { ExpertTensors::COMMON.router };
        let mut rows = vec![(router, experts.count)];
        if experts.shared.is_some() {
            rows.push((ExpertTensors::SHARED_GATE, 1));
        }
        let router = self.take_parts(&rows, "weight", &[hidden])?;
        // Which experts are chosen depends on small differences, so the router is never in int8.
        let dtype = cpu::state_dtype(self.planner.dtype);
        let layout = self.planner.matrix_layout(dtype, experts.router_rows(), hidden)?;
        self.planner.push(&self.engine_name("router"), router, layout);
        let stacked = self.has(STACKED_GATE_UP);
        if stacked {
            self.stacked_experts(experts, hidden)?;
        }
        for expert in 0..if stacked { 0 } else { experts.count } {
            let source = format!("{}.{expert}", tensors.experts);
            self.expert(&format!("experts.{expert}"), &source, tensors, experts.intermediate_size)?;
        }
        if let Some(shared) = &experts.shared {
            let tensors = ExpertTensors::COMMON;
            self.expert("shared", ExpertTensors::SHARED, &tensors, shared.intermediate_size)?;
        }
        Ok(())
    }

    /// Experts whose matrices are stored one after the other in one tensor, as transformers 5 holds them.
    fn stacked_experts(&mut self, experts: &Experts, hidden: usize) -> Result<(), BuildError> {
        let (count, width) = (experts.count, experts.intermediate_size);
        let (gate_up, down) = (self.checkpoint_name(STACKED_GATE_UP), self.checkpoint_name(STACKED_DOWN));
        let gate_up = self.planner.take(&gate_up, &[count, 2 * width, hidden])?;
        let down = self.planner.take(&down, &[count, hidden, width])?;
        for expert in 0..count {
            let name = self.engine_name(&format!("experts.{expert}"));
            let own = |whole: Tensor<'a>, inp| vec![whole.rows(expert..expert + 1).as_matrix(inp)];
            self.matrix(&format!("{name}.gate_up"), own(gate_up, hidden), 2 * width, hidden)?;
            self.matrix(&format!("{name}.down"), own(down, width), hidden, width)?;
        }
        Ok(())
    }

    fn expert(
        &mut self,
        name: &str,
        source: &str,
        tensors: &ExpertTensors,
        width: usize,
    ) -> Result<(), BuildError> {
        let hidden = self.model.hidden_size;
        let [gate, up] = tensors.gate_up.map(|part| format!("{source}.{part}"));
        self.linear(&format!("{name}.gate_up"), &[(&gate, width), (&up, width)], hidden, false)?;
        let down = format!("{source}.{}", tensors.down);
        self.linear(&format!("{name}.down"), &[(&down, hidden)], width, false)
    }
}
