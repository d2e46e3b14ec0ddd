//! Visits every expression of a template.

use super::ast::{Expr, Program, Statement, StatementKind};

impl Program {
    /// Shows `see` every expression, also those inside others.
    pub(super) fn visit(&self, see: &mut impl FnMut(&Expr)) {
        visit_body(&self.body, see);
        for node in &self.macros {
            for default in node.parameters.iter().filter_map(|(_, default)| default.as_ref()) {
                visit_expression(default, see);
            }
            visit_body(&node.body, see);
        }
        for node in &self.loops {
            visit_expression(&node.iterable, see);
            if let Some(test) = &node.test {
                visit_expression(test, see);
            }
            visit_body(&node.body, see);
            visit_body(&node.otherwise, see);
        }
    }
}

fn visit_body(body: &[Statement], see: &mut impl FnMut(&Expr)) {
    for statement in body {
        match &statement.kind {
            StatementKind::Print(value) | StatementKind::Set(_, value) | StatementKind::Call(value, _) => {
                visit_expression(value, see);
            }
            StatementKind::If(branches, otherwise) => {
                for (condition, body) in branches {
                    visit_expression(condition, see);
                    visit_body(body, see);
                }
                visit_body(otherwise, see);
            }
            StatementKind::SetBlock(_, filters, body) => {
                if let Some(filters) = filters {
                    visit_expression(filters, see);
                }
                visit_body(body, see);
            }
            StatementKind::With(values, body) => {
                for (_, value) in values {
                    visit_expression(value, see);
                }
                visit_body(body, see);
            }
            StatementKind::Filter(value, body) | StatementKind::AutoEscape(value, body) => {
                visit_expression(value, see);
                visit_body(body, see);
            }
            StatementKind::Scope { body, .. } => visit_body(body, see),
            // Loops and macros are visited by themselves.
            StatementKind::For(_)
            | StatementKind::Macro(_)
            | StatementKind::Data(_)
            | StatementKind::Break
            | StatementKind::Continue
            | StatementKind::NeedsLoader(_) => {}
        }
    }
}

fn visit_expression(expr: &Expr, see: &mut impl FnMut(&Expr)) {
    see(expr);
    for child in expr.children() {
        visit_expression(child, see);
    }
}
