//! Loops and the variable `loop`.

use super::arguments::Given;
use super::fault::{Fault, fault};
use super::interpreter::Interpreter;
use super::loop_state::LoopState;
use super::value::Value;

impl Interpreter<'_> {
    /// Starts a loop and returns its number.
    pub(super) fn start_loop(&mut self, index: usize, iterable: &Value, depth: usize) -> Result<u64, Fault> {
        let mut source = self.collect(iterable)?;
        let has_test = self.program.loops[index].test.is_some();
        let length = if has_test { None } else { Some(source.len()) };
        source.reverse();
        self.loop_count += 1;
        self.loops.push(LoopState {
            id: self.loop_count,
            index,
            scope: self.scope,
            depth,
            source,
            length,
            ahead: Vec::new(),
            count: 0,
            current: None,
            previous: None,
            changed: None,
        });
        Ok(self.loop_count)
    }

    pub(super) fn end_loop(&mut self, id: u64) {
        self.loops.retain(|state| state.id != id);
    }

    fn state(&mut self, id: u64) -> Result<&mut LoopState, Fault> {
        let state = self.loops.iter_mut().rev().find(|state| state.id == id);
        state.ok_or_else(|| Fault::new("`loop` is used after its loop is over"))
    }

    /// Moves to the next item.
    pub(super) fn next_item(&mut self, id: u64) -> Result<Option<Value>, Fault> {
        self.budget.steps(1)?;
        let next = match self.state(id)?.ahead.pop() {
            Some(next) => Some(next),
            None => self.pull(id)?,
        };
        if let Some(item) = &next {
            let state = self.state(id)?;
            state.count += 1;
            state.previous = state.current.replace(item.clone());
        }
        Ok(next)
    }

    /// The next item that passes the loop's condition.
    fn pull(&mut self, id: u64) -> Result<Option<Value>, Fault> {
        loop {
            let state = self.state(id)?;
            let (index, scope) = (state.index, state.scope);
            let Some(item) = state.source.pop() else { return Ok(None) };
            let program = self.program;
            let node = &program.loops[index];
            let Some(test) = &node.test else { return Ok(Some(item)) };
            let outer = self.open_scope(scope)?;
            self.assign(&node.target, item.clone())?;
            let passes = self.eval_bool(test)?;
            self.close_scope(outer);
            if passes {
                return Ok(Some(item));
            }
        }
    }

    fn peek_item(&mut self, id: u64) -> Result<Option<Value>, Fault> {
        if self.state(id)?.ahead.is_empty()
            && let Some(item) = self.pull(id)?
        {
            self.state(id)?.ahead.push(item);
        }
        Ok(self.state(id)?.ahead.last().cloned())
    }

    fn loop_length(&mut self, id: u64) -> Result<usize, Fault> {
        if let Some(length) = self.state(id)?.length {
            return Ok(length);
        }
        let mut rest = Vec::new();
        while let Some(item) = self.pull(id)? {
            rest.push(item);
        }
        rest.reverse();
        let state = self.state(id)?;
        rest.append(&mut state.ahead);
        state.ahead = rest;
        let length = state.count + state.ahead.len();
        state.length = Some(length);
        Ok(length)
    }

    /// Which item of how many a loop is at.
    pub(super) fn loop_progress(&mut self, id: u64) -> Result<(usize, usize), Fault> {
        Ok((self.state(id)?.count, self.loop_length(id)?))
    }

    /// An attribute of `loop`; None if there is no such.
    pub(super) fn loop_attribute(&mut self, id: u64, name: &str) -> Result<Option<Value>, Fault> {
        let int = |value: usize| Value::Int(value as i128);
        let state = self.state(id)?;
        let (count, depth) = (state.count, state.depth);
        Ok(Some(match name {
            "index" => int(count),
            "index0" => int(count.saturating_sub(1)),
            "first" => Value::Bool(count == 1),
            "depth" => int(depth + 1),
            "depth0" => int(depth),
            "previtem" => match &state.previous {
                Some(previous) => previous.clone(),
                None => Value::undefined("there is no previous item"),
            },
            "last" => Value::Bool(self.peek_item(id)?.is_none()),
            "nextitem" => match self.peek_item(id)? {
                Some(next) => next,
                None => Value::undefined("there is no next item"),
            },
            "length" => int(self.loop_length(id)?),
            "revindex0" => int(self.loop_length(id)?.saturating_sub(count)),
            "revindex" => int((self.loop_length(id)? + 1).saturating_sub(count)),
            "cycle" | "changed" => Value::Method((Value::Loop(id), name.into()).into()),
            _ => return Ok(None),
        }))
    }

    /// `loop.cycle(...)` and `loop.changed(...)`.
    pub(super) fn call_loop_method(&mut self, id: u64, name: &str, given: Given) -> Result<Value, Fault> {
        let values = given.bind_all_positional(name)?;
        let state = self.state(id)?;
        if name == "cycle" {
            if values.is_empty() {
                return fault!("loop.cycle needs at least one value");
            }
            let at = state.count.saturating_sub(1) % values.len();
            return Ok(values[at].clone());
        }
        let same = state.changed.as_ref().is_some_and(|old| {
            old.len() == values.len() && old.iter().zip(&values).all(|(old, new)| old.equals(new))
        });
        state.changed = Some(values);
        Ok(Value::Bool(!same))
    }

    /// `loop(items)`: runs the loop's body over other items.
    pub(super) fn call_loop(&mut self, id: u64, given: Given) -> Result<Value, Fault> {
        let [iterable] = given.bind("loop", ["iterable"], 1)?;
        let state = self.state(id)?;
        let (index, scope, depth) = (state.index, state.scope, state.depth);
        if !self.program.loops[index].recursive {
            return fault!("a loop that calls itself must be marked as `recursive`");
        }
        let line = self.line;
        let outer = std::mem::replace(&mut self.scope, scope);
        let mut text = String::new();
        self.budget.enter()?;
        self.run_loop(index, &iterable.unwrap_or(Value::None), depth + 1, &mut text)?;
        self.budget.leave();
        self.scope = outer;
        self.line = line;
        Ok(Value::str(text))
    }
}
