//! Tree and entry to yes or no.

use super::parse::{Node, Operand, Operator, Path};
use crate::map::severity_rank;

/// One value of an entry's field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scalar<'a> {
    Text(&'a str),
    Int(i64),
    Double(f64),
    Bool(bool),
    /// Seconds and nanoseconds since 1970.
    Instant(i64, u32),
    /// Something that has no order and no text: an object, null, bytes.
    Other,
}

/// A log entry as a filter sees it, in whatever form it lies.
pub(crate) trait Entry {
    /// Gives `found` the values of a field (each element of a list by itself) until it answers true;
    /// whether it did. A missing field has no values, except that a missing `severity` is DEFAULT and a
    /// missing `traceSampled` is false.
    fn visit(&self, path: &Path, found: &mut dyn FnMut(Scalar<'_>) -> bool) -> bool;
}

pub(super) fn matches(node: &Node, entry: &dyn Entry) -> bool {
    match node {
        Node::All(nodes) => nodes.iter().all(|node| matches(node, entry)),
        Node::Any(nodes) => nodes.iter().any(|node| matches(node, entry)),
        Node::Not(node) => !matches(node, entry),
        Node::Compare(path, operator, operand) => {
            let positive = match operator {
                Operator::NotEqual => Operator::Equal,
                Operator::NotMatches => Operator::Matches,
                same => *same,
            };
            let mut present = false;
            let found = entry.visit(path, &mut |value| {
                present = true;
                compare(value, positive, operand)
            });
            if positive == *operator { found } else { present && !found }
        }
    }
}

fn compare(value: Scalar<'_>, operator: Operator, operand: &Operand) -> bool {
    if operand.exists {
        return true;
    }
    if let (Some(rank), Scalar::Text(name)) = (operand.severity, value) {
        return severity_rank(name).is_some_and(|value| ordered(operator, value.cmp(&rank)));
    }
    match value {
        Scalar::Text(text) => match operator {
            Operator::Matches => operand.regex.as_ref().is_some_and(|regex| regex.is_match(text)),
            Operator::Has => lower(text).contains(&operand.text),
            Operator::Equal if text.is_ascii() => text.eq_ignore_ascii_case(&operand.text),
            _ => ordered(operator, lower(text).as_str().cmp(&operand.text)),
        },
        Scalar::Int(number) => match (operand.integer, operand.number) {
            (Some(integer), _) => ordered(operator, number.cmp(&integer)),
            #[allow(clippy::cast_precision_loss)]
            (None, Some(other)) => {
                (number as f64).partial_cmp(&other).is_some_and(|order| ordered(operator, order))
            }
            (None, None) => false,
        },
        Scalar::Double(number) => {
            let order = operand.number.and_then(|other| number.partial_cmp(&other));
            order.is_some_and(|order| ordered(operator, order))
        }
        Scalar::Bool(value) => {
            matches!(operator, Operator::Equal | Operator::Has)
                && operand.text == if value { "true" } else { "false" }
        }
        Scalar::Instant(seconds, nanos) => {
            operand.instant.is_some_and(|instant| ordered(operator, (seconds, nanos).cmp(&instant)))
        }
        Scalar::Other => false,
    }
}

fn lower(text: &str) -> String {
    text.to_lowercase()
}

/// Whether an order of value and operand is what the operator asks for. On numbers `:` means equal.
fn ordered(operator: Operator, order: std::cmp::Ordering) -> bool {
    match operator {
        Operator::Equal | Operator::Has => order.is_eq(),
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        Operator::GreaterOrEqual => order.is_ge(),
        Operator::NotEqual => order.is_ne(),
        Operator::Matches | Operator::NotMatches => false,
    }
}
