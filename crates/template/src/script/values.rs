//! What an expression gives, as far as it is plain to see.

use oxc_ast::ast::{BinaryOperator, CallExpression, Expression, LogicalOperator, UnaryOperator};
use oxc_span::GetSpan as _;

/// What is returned.
pub(super) enum Value {
    /// null, undefined or "".
    Nothing(&'static str),
    /// That, depending on other values.
    PerhapsNothing(&'static str),
    /// Something that is never text.
    NotText(&'static str),
    /// A variable's value.
    Variable(String),
    /// The result of a function of that name.
    Call(String),
    /// Anything.
    Unknown,
}

/// What an expression may give, each with where it stands.
pub(super) fn values(expression: &Expression<'_>) -> Vec<(u32, Value)> {
    let mut found = Vec::new();
    collect(expression, &mut found);
    found
}

/// What kind of nothing an expression is, when it is one.
pub(super) fn nothing(expression: &Expression<'_>) -> Option<&'static str> {
    match expression.without_parentheses() {
        Expression::NullLiteral(_) => Some("null"),
        Expression::Identifier(name) if name.name == "undefined" => Some("undefined"),
        Expression::StringLiteral(text) if text.value.is_empty() => Some("\"\""),
        Expression::TemplateLiteral(text)
            if text.expressions.is_empty() && text.quasis.iter().all(|part| part.value.raw.is_empty()) =>
        {
            Some("\"\"")
        }
        Expression::UnaryExpression(unary) if unary.operator == UnaryOperator::Void => Some("undefined"),
        _ => None,
    }
}

fn collect(expression: &Expression<'_>, found: &mut Vec<(u32, Value)>) {
    let expression = expression.without_parentheses();
    let at = expression.span().start;
    if let Some(what) = nothing(expression) {
        found.push((at, Value::Nothing(what)));
        return;
    }
    match expression {
        Expression::ConditionalExpression(conditional) => {
            collect(&conditional.consequent, found);
            collect(&conditional.alternate, found);
        }
        Expression::LogicalExpression(logical) => {
            // Of `a || b` and `a ?? b` the left side is returned only when it is something.
            if logical.operator == LogicalOperator::And {
                let what = "what is false of its left side (null, undefined or \"\")";
                found.push((at, Value::PerhapsNothing(what)));
            }
            collect(&logical.right, found);
        }
        Expression::SequenceExpression(sequence) => {
            if let Some(last) = sequence.expressions.last() {
                collect(last, found);
            }
        }
        Expression::AssignmentExpression(assignment) if assignment.operator.is_assign() => {
            collect(&assignment.right, found);
        }
        Expression::ChainExpression(_) => {
            found.push((at, Value::PerhapsNothing("undefined: what is before ?. may be null")));
        }
        Expression::Identifier(name) => found.push((at, Value::Variable(name.name.to_string()))),
        Expression::CallExpression(call) => found.push((at, called(call))),
        other => found.push((at, not_text(other).map_or(Value::Unknown, Value::NotText))),
    }
}

fn called(call: &CallExpression<'_>) -> Value {
    if let Expression::Identifier(name) = &call.callee {
        return Value::Call(name.name.to_string());
    }
    let stringify = call.callee.get_member_expr().is_some_and(|member| {
        let json = member.object().get_identifier_reference().is_some_and(|object| object.name == "JSON");
        json && member.static_property_name() == Some("stringify")
    });
    let first = call.arguments.first().map(|argument| argument.as_expression());
    match first {
        None if stringify => Value::Nothing("undefined: JSON.stringify of nothing"),
        Some(Some(value)) if stringify && nothing(value) == Some("undefined") => {
            Value::Nothing("undefined: JSON.stringify of undefined")
        }
        _ => Value::Unknown,
    }
}

/// What an expression is that can never be text.
fn not_text(expression: &Expression<'_>) -> Option<&'static str> {
    Some(match expression {
        Expression::ObjectExpression(_) => "an object",
        Expression::ArrayExpression(_) => "an array",
        Expression::NumericLiteral(_) | Expression::UpdateExpression(_) => "a number",
        Expression::BigIntLiteral(_) => "a bigint",
        Expression::BooleanLiteral(_) => "a boolean",
        Expression::RegExpLiteral(_) => "a regular expression",
        Expression::FunctionExpression(_) | Expression::ArrowFunctionExpression(_) => "a function",
        Expression::ClassExpression(_) => "a class",
        Expression::UnaryExpression(unary) => match unary.operator {
            UnaryOperator::LogicalNot | UnaryOperator::Delete => "a boolean",
            UnaryOperator::Typeof | UnaryOperator::Void => return None,
            _ => "a number",
        },
        Expression::BinaryExpression(binary) => match binary.operator {
            BinaryOperator::Addition => return None,
            operator if operator.is_arithmetic() || operator.is_bitwise() => "a number",
            _ => "a boolean",
        },
        _ => return None,
    })
}
