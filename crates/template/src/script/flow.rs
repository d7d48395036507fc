//! Whether the end of a function can be reached. Where it is not plain to see, it can.

use oxc_ast::ast::{Expression, Statement};

/// Whether what comes after these statements may run.
pub(super) fn may_reach_end(statements: &[Statement<'_>]) -> bool {
    statements.iter().all(completes)
}

fn completes(statement: &Statement<'_>) -> bool {
    match statement {
        Statement::ReturnStatement(_)
        | Statement::ThrowStatement(_)
        | Statement::BreakStatement(_)
        | Statement::ContinueStatement(_) => false,
        Statement::BlockStatement(block) => may_reach_end(&block.body),
        Statement::IfStatement(branch) => {
            completes(&branch.consequent) || branch.alternate.as_ref().is_none_or(completes)
        }
        Statement::WhileStatement(repeat) => !is_true(&repeat.test) || leaves(&repeat.body, false),
        Statement::DoWhileStatement(repeat) => {
            let ends = completes(&repeat.body) || continues(&repeat.body);
            (ends && !is_true(&repeat.test)) || leaves(&repeat.body, false)
        }
        Statement::ForStatement(repeat) => {
            repeat.test.as_ref().is_some_and(|test| !is_true(test)) || leaves(&repeat.body, false)
        }
        Statement::SwitchStatement(switch) => {
            let default = switch.cases.iter().any(|case| case.test.is_none());
            let left =
                switch.cases.iter().flat_map(|case| &case.consequent).any(|inner| leaves(inner, false));
            !default || left || switch.cases.last().is_none_or(|case| may_reach_end(&case.consequent))
        }
        Statement::LabeledStatement(labeled) => completes(&labeled.body) || leaves(&labeled.body, true),
        Statement::TryStatement(attempt) => {
            let caught = attempt.handler.as_ref().is_some_and(|handler| may_reach_end(&handler.body.body));
            let last = attempt.finalizer.as_ref().is_none_or(|block| may_reach_end(&block.body));
            last && (may_reach_end(&attempt.block.body) || caught)
        }
        Statement::WithStatement(with) => completes(&with.body),
        _ => true,
    }
}

/// Whether a `break` in a statement ends the loop or switch around it. One with a label may end any.
/// `nested`: within a loop or switch of its own, whose plain breaks are its own.
fn leaves(statement: &Statement<'_>, nested: bool) -> bool {
    let all = |statements: &[Statement<'_>]| statements.iter().any(|inner| leaves(inner, nested));
    match statement {
        Statement::BreakStatement(leave) => leave.label.is_some() || !nested,
        Statement::BlockStatement(block) => all(&block.body),
        Statement::IfStatement(branch) => {
            leaves(&branch.consequent, nested)
                || branch.alternate.as_ref().is_some_and(|inner| leaves(inner, nested))
        }
        Statement::WhileStatement(repeat) => leaves(&repeat.body, true),
        Statement::DoWhileStatement(repeat) => leaves(&repeat.body, true),
        Statement::ForStatement(repeat) => leaves(&repeat.body, true),
        Statement::ForInStatement(repeat) => leaves(&repeat.body, true),
        Statement::ForOfStatement(repeat) => leaves(&repeat.body, true),
        Statement::SwitchStatement(switch) => {
            switch.cases.iter().flat_map(|case| &case.consequent).any(|inner| leaves(inner, true))
        }
        Statement::LabeledStatement(labeled) => leaves(&labeled.body, nested),
        Statement::TryStatement(attempt) => {
            all(&attempt.block.body)
                || attempt.handler.as_ref().is_some_and(|handler| all(&handler.body.body))
                || attempt.finalizer.as_ref().is_some_and(|block| all(&block.body))
        }
        Statement::WithStatement(with) => leaves(&with.body, nested),
        _ => false,
    }
}

/// Whether a `continue` anywhere in a loop's body may lead to its condition.
fn continues(statement: &Statement<'_>) -> bool {
    match statement {
        Statement::ContinueStatement(_) => true,
        Statement::BlockStatement(block) => block.body.iter().any(continues),
        Statement::IfStatement(branch) => {
            continues(&branch.consequent) || branch.alternate.as_ref().is_some_and(continues)
        }
        Statement::SwitchStatement(switch) => {
            switch.cases.iter().flat_map(|case| &case.consequent).any(continues)
        }
        Statement::LabeledStatement(labeled) => continues(&labeled.body),
        Statement::TryStatement(attempt) => {
            attempt.block.body.iter().any(continues)
                || attempt.handler.as_ref().is_some_and(|handler| handler.body.body.iter().any(continues))
        }
        _ => false,
    }
}

fn is_true(test: &Expression<'_>) -> bool {
    match test.without_parentheses() {
        Expression::BooleanLiteral(literal) => literal.value,
        Expression::NumericLiteral(number) => number.value != 0.0,
        _ => false,
    }
}
