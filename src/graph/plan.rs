//! Plan of a program: the launches that its outputs need, and the buffer slot of each intermediate.

use crate::graph::{Graph, InputInfo, Node, Source, Tensor, Value, ValueId};
use crate::tensor::Shape;

/// Where a value lives during a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the buffer of an input, by its position.
    Input(usize),
    /// In the buffer of a weight or constant, by its position in [`Plan::uploads`].
    Upload(usize),
    /// In a slot, by its position in [`Plan::slots`].
    Slot(usize),
    /// Nowhere: no needed launch reads or writes it.
    Unused,
}

/// The part of a recording that its outputs need, with every value placed.
pub struct Plan {
    /// Launches in order.
    pub nodes: Vec<Node>,
    /// All values of the recording.
    pub values: Vec<Value>,
    /// The place of each value.
    pub places: Vec<Place>,
    /// Bytes of each slot.
    pub slots: Vec<usize>,
    /// Values that are weights or constants and are read.
    pub uploads: Vec<ValueId>,
    /// The inputs.
    pub inputs: Vec<InputInfo>,
    /// Outputs in the order asked for.
    pub outputs: Vec<(ValueId, Shape)>,
}

impl Plan {
    /// Plans the launches that `outputs` need.
    ///
    /// Slots are shared by values whose lifetimes do not overlap: the largest values choose first, each takes the first slot that is free
    /// for its whole life (greedy by size, Pisarchyk & Lee 2020, §5.2). An output lives to the end.
    #[track_caller]
    pub fn new(graph: &Graph, outputs: &[Tensor<'_>]) -> Plan {
        for output in outputs {
            assert!(std::ptr::eq(output.graph(), graph), "an output belongs to another graph");
            let source = &graph.values()[output.id()].source;
            assert!(matches!(source, Source::Launch(_)), "an output {} must be computed, not handed through", output.shape());
        }
        let values = graph.values().to_vec();
        let nodes = needed(&graph.nodes(), &values, outputs);
        let outputs: Vec<(ValueId, Shape)> = outputs.iter().map(|output| (output.id(), output.shape())).collect();
        let ids: Vec<ValueId> = outputs.iter().map(|(id, _)| *id).collect();
        let lives = lives(&nodes, &values, &ids);

        let mut places = vec![Place::Unused; values.len()];
        let mut uploads = Vec::new();
        let mut produced: Vec<ValueId> = Vec::new();
        for (id, value) in values.iter().enumerate() {
            match (&value.source, lives[id]) {
                (_, None) => {}
                (Source::Input(at), _) => places[id] = Place::Input(*at),
                (Source::Weight(_) | Source::Constant(_), _) => {
                    places[id] = Place::Upload(uploads.len());
                    uploads.push(id);
                }
                (Source::Launch(_), _) => produced.push(id),
            }
        }
        produced.sort_by_key(|&id| (std::cmp::Reverse(values[id].bytes()), id));
        let mut slots: Vec<usize> = Vec::new();
        let mut tenants: Vec<Vec<Life>> = Vec::new();
        for id in produced {
            let Some(life) = lives[id] else { continue };
            let free = tenants.iter().position(|others| others.iter().all(|other| !other.overlaps(life)));
            let slot = free.unwrap_or_else(|| {
                slots.push(values[id].bytes());
                tenants.push(Vec::new());
                slots.len() - 1
            });
            tenants[slot].push(life);
            places[id] = Place::Slot(slot);
        }
        let inputs = graph.inputs().to_vec();
        Plan { nodes, values, places, slots, uploads, inputs, outputs }
    }

    /// Bytes of all slots together.
    pub fn slot_bytes(&self) -> usize {
        self.slots.iter().sum()
    }

    /// Bytes of weights, constants, inputs, and the intermediates alive at the busiest launch.
    pub fn needed_bytes(&self) -> usize {
        let uploads: usize = self.uploads.iter().map(|&id| self.values[id].bytes()).sum();
        let inputs: usize = self.inputs.iter().map(InputInfo::bytes).sum();
        uploads + inputs + self.live_bytes()
    }

    /// Name of the last tensor of a checkpoint that is read up to this launch; empty where none is.
    pub fn weight_before(&self, launch: usize) -> &str {
        self.nodes[..=launch].iter().rev().find_map(|node| node.weight.as_deref()).unwrap_or_default()
    }

    fn output_ids(&self) -> Vec<ValueId> {
        self.outputs.iter().map(|(id, _)| *id).collect()
    }

    /// Bytes of intermediates alive at the busiest launch: no plan can need less.
    pub fn live_bytes(&self) -> usize {
        let mut change = vec![0_isize; self.nodes.len() + 2];
        for (id, life) in lives(&self.nodes, &self.values, &self.output_ids()).into_iter().enumerate() {
            if let (Some(life), Place::Slot(_)) = (life, self.places[id]) {
                change[life.from] += self.values[id].bytes() as isize;
                change[life.to + 1] -= self.values[id].bytes() as isize;
            }
        }
        let mut alive = 0;
        let peaks = change.into_iter().map(|difference| {
            alive += difference;
            alive
        });
        peaks.max().unwrap_or(0) as usize
    }
}

/// Launch numbers from the one that writes a value to the last that reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life {
    from: usize,
    to: usize,
}

impl Life {
    fn overlaps(self, other: Life) -> bool {
        self.from <= other.to && other.from <= self.to
    }
}

fn extend(life: &mut Option<Life>, to: usize) {
    let from = life.map_or(to, |life| life.from);
    *life = Some(Life { from, to: life.map_or(to, |life| life.to.max(to)) });
}

fn lives(nodes: &[Node], values: &[Value], outputs: &[ValueId]) -> Vec<Option<Life>> {
    let mut lives = vec![None; values.len()];
    for (at, node) in nodes.iter().enumerate() {
        for &id in node.inputs.iter().flatten().chain([&node.output]) {
            extend(&mut lives[id], at);
        }
    }
    for &id in outputs {
        extend(&mut lives[id], nodes.len());
    }
    lives
}

fn needed(nodes: &[Node], values: &[Value], outputs: &[Tensor<'_>]) -> Vec<Node> {
    let mut wanted = vec![false; values.len()];
    for output in outputs {
        wanted[output.id()] = true;
    }
    for node in nodes.iter().rev() {
        if wanted[node.output] {
            for &id in node.inputs.iter().flatten() {
                wanted[id] = true;
            }
        }
    }
    nodes.iter().filter(|node| wanted[node.output]).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Precision;

    #[test]
    fn a_chain_needs_two_slots_and_no_live_value_is_overwritten() {
        let graph = Graph::new(Precision::F32);
        let x = graph.input("x", [8]);
        let (a, dead) = (x.scale(2.0), x.scale(9.0));
        let b = a.scale(2.0);
        let c = b.scale(2.0);
        let kept = c + a;
        let plan = Plan::new(&graph, &[kept]);
        assert_eq!(plan.nodes.len(), 4, "the unused launch is dropped");
        assert_eq!(plan.places[dead.id()], Place::Unused);
        // a lives to the end, b and c alternate, and the result may take b's slot: three slots of 32 bytes.
        assert_eq!(plan.slots, vec![32, 32, 32]);
        assert_eq!((plan.slot_bytes(), plan.live_bytes()), (96, 96));
        assert_ne!(plan.places[a.id()], plan.places[c.id()]);
    }

    #[test]
    fn an_output_is_never_reused() {
        let graph = Graph::new(Precision::F32);
        let x = graph.input("x", [4]);
        let early = x.scale(2.0);
        let mut y = early;
        for _ in 0..5 {
            y = y.scale(3.0);
        }
        let plan = Plan::new(&graph, &[early, y]);
        let slot = plan.places[early.id()];
        let tenants = plan.places.iter().filter(|&&place| place == slot).count();
        assert_eq!(tenants, 1);
    }
}
