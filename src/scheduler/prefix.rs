//! The prefix tree: which KV blocks hold, or will hold, which tokens.
//!
//! A node is one full block of tokens; its path from the root spells all tokens before them too. Texts whose lengths
//! are of different classes have different roots.
//! Nodes are entered when a sequence is admitted, before they are computed: a sequence that is admitted
//! later and spells the same path uses the same blocks, and leaves their computation to the node's
//! writer. A node without users stays until its block is needed; the least recently used goes first.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::blocks::Block;
use crate::engine::{PrefixSharing, SequenceId};

/// Index of a node. Valid while the node has a user.
pub(super) type NodeId = usize;

type Children = HashMap<Arc<[u32]>, NodeId>;

#[derive(Debug)]
struct Node {
    parent: Option<NodeId>,
    class: usize,
    tokens: Arc<[u32]>,
    block: Block,
    children: Children,
    /// Sequences in flight whose block table contains it. A node's users use its parent too.
    users: usize,
    /// The sequence that will compute it.
    writer: Option<SequenceId>,
    /// The iteration that completes it, once that is planned.
    written: Option<u64>,
    last_used: u64,
}

#[derive(Debug)]
pub(super) struct PrefixTree {
    sharing: PrefixSharing,
    nodes: Vec<Option<Node>>,
    vacant: Vec<NodeId>,
    /// By class.
    roots: HashMap<usize, Children>,
    /// What a class without nodes has.
    none: Children,
    /// Nodes without users and children, least recently used first.
    evictable: BTreeSet<(u64, NodeId)>,
    /// Nodes without users.
    idle: usize,
    tick: u64,
}

impl PrefixTree {
    pub(super) fn new(sharing: PrefixSharing) -> Self {
        Self {
            sharing,
            nodes: Vec::new(),
            vacant: Vec::new(),
            roots: HashMap::new(),
            none: Children::new(),
            evictable: BTreeSet::new(),
            idle: 0,
            tick: 0,
        }
    }

    /// Number of blocks that only the tree keeps.
    pub(super) fn idle(&self) -> usize {
        self.idle
    }

    /// Finds the longest path of this class that matches the blocks, marks it as used by the caller, and returns it.
    pub(super) fn enter<'a>(
        &mut self,
        class: usize,
        blocks: impl Iterator<Item = &'a [u32]>,
    ) -> Vec<(NodeId, Block)> {
        self.tick += 1;
        let mut path = Vec::new();
        let mut parent = None;
        for tokens in blocks {
            let Some(id) = self.children(class, parent).get(tokens).copied() else { break };
            self.use_node(id);
            path.push((id, self.node(id).block.clone()));
            parent = Some(id);
        }
        path
    }

    fn use_node(&mut self, id: NodeId) {
        let tick = self.tick;
        let node = self.node_mut(id);
        let last_used = std::mem::replace(&mut node.last_used, tick);
        node.users += 1;
        if node.users == 1 {
            self.idle -= 1;
            self.evictable.remove(&(last_used, id));
        }
    }

    /// Adds a node of a class below `parent`, used and to be computed by `writer`. `None` if it is already there.
    pub(super) fn insert(
        &mut self,
        class: usize,
        parent: Option<NodeId>,
        tokens: &[u32],
        block: Block,
        writer: SequenceId,
    ) -> Option<NodeId> {
        if self.children(class, parent).contains_key(tokens) {
            return None;
        }
        let tokens: Arc<[u32]> = tokens.into();
        let node = Node {
            parent,
            class,
            tokens: tokens.clone(),
            block,
            children: HashMap::new(),
            users: 1,
            writer: Some(writer),
            written: None,
            last_used: self.tick,
        };
        let id = self.vacant.pop().unwrap_or(self.nodes.len());
        if id == self.nodes.len() {
            self.nodes.push(Some(node));
        } else {
            self.nodes[id] = Some(node);
        }
        self.children_mut(class, parent).insert(tokens, id);
        Some(id)
    }

    /// Whether a chunk planned now into an iteration may read the node's block.
    pub(super) fn is_readable(&self, id: NodeId, iteration: u64) -> bool {
        self.node(id).written.is_some_and(|written| match self.sharing {
            PrefixSharing::WithinIteration => written <= iteration,
            PrefixSharing::Cached => written < iteration,
            PrefixSharing::Nothing => false,
        })
    }

    /// Whether `sequence` computes the node: it is its writer, or becomes the writer if there is none.
    pub(super) fn claim(&mut self, id: NodeId, sequence: SequenceId) -> bool {
        let node = self.node_mut(id);
        node.written.is_none() && *node.writer.get_or_insert(sequence) == sequence
    }

    /// The node will be complete after this iteration, or after none if its chunk was taken back.
    pub(super) fn set_written(&mut self, id: NodeId, iteration: Option<u64>) {
        self.node_mut(id).written = iteration;
    }

    /// Whether more than one sequence has the node in its block table.
    pub(super) fn is_shared(&self, id: NodeId) -> bool {
        self.node(id).users > 1
    }

    /// `sequence` no longer uses the node. The last node of a path must be left first.
    pub(super) fn leave(&mut self, id: NodeId, sequence: SequenceId) {
        let node = self.node_mut(id);
        node.users -= 1;
        if node.written.is_none() && node.writer == Some(sequence) {
            node.writer = None;
        }
        if node.users > 0 {
            return;
        }
        let (last_used, leaf, written) = (node.last_used, node.children.is_empty(), node.written.is_some());
        self.idle += 1;
        if leaf {
            self.evictable.insert((last_used, id));
            if !written {
                self.remove(id);
            }
        }
    }

    /// Removes the least recently used nodes until `count` blocks are free or none is left to remove.
    pub(super) fn evict(&mut self, count: usize) {
        for _ in 0..count {
            let Some(&(_, id)) = self.evictable.first() else { return };
            self.remove(id);
        }
    }

    /// Removes a node that has no users and no children.
    #[expect(clippy::expect_used)]
    fn remove(&mut self, id: NodeId) {
        let node = self.nodes[id].take().expect("a node to evict is in the tree");
        self.evictable.remove(&(node.last_used, id));
        self.idle -= 1;
        self.vacant.push(id);
        let siblings = self.children_mut(node.class, node.parent);
        siblings.remove(&node.tokens);
        let emptied = siblings.is_empty();
        if node.parent.is_none() && emptied {
            self.roots.remove(&node.class);
        }
        if let Some(parent) = node.parent {
            let above = self.node(parent);
            if above.users == 0 && above.children.is_empty() {
                self.evictable.insert((above.last_used, parent));
            }
        }
    }

    fn children(&self, class: usize, parent: Option<NodeId>) -> &Children {
        match parent {
            Some(id) => &self.node(id).children,
            None => self.roots.get(&class).unwrap_or(&self.none),
        }
    }

    fn children_mut(&mut self, class: usize, parent: Option<NodeId>) -> &mut Children {
        match parent {
            Some(id) => &mut self.node_mut(id).children,
            None => self.roots.entry(class).or_default(),
        }
    }

    // Ids come from block tables, whose sequences are users, and from the tree itself.
    #[expect(clippy::expect_used)]
    fn node(&self, id: NodeId) -> &Node {
        self.nodes[id].as_ref().expect("a node in use is in the tree")
    }

    #[expect(clippy::expect_used)]
    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes[id].as_mut().expect("a node in use is in the tree")
    }
}
