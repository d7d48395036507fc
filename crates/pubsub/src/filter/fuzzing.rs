//! What holds of filters.
#![allow(clippy::panic)]

use std::collections::BTreeMap;

use millrace_model::AttributeBlock;

use super::{FILTER_BYTES_MAX, Filter, Node, parser};

/// A filter: the same text is the same filter. One that is taken is small, has a plain form that means the
/// same, and says of every message either yes or no. One that is not says where.
pub fn filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parsed = Filter::parse(text);
    assert_eq!(parsed, Filter::parse(text));
    match parsed {
        Ok(filter) => accepted(text, &filter),
        Err(error) => {
            assert!(text.is_char_boundary(error.position) || text.len() > FILTER_BYTES_MAX, "{error}");
            assert!((1..FILTER_BYTES_MAX).contains(&error.reason.len()), "{error}");
        }
    }
}

fn accepted(text: &str, filter: &Filter) {
    assert!(text.len() <= FILTER_BYTES_MAX);
    let mut asked = Vec::new();
    asked_for(&filter.0, &mut asked);
    assert!(asked.len() <= text.len());
    let mut plain = String::new();
    print(&filter.0, &mut plain);
    assert_eq!(parser::parse(&plain).as_ref(), Ok(&filter.0), "{plain}");

    let negated = Filter(Node::Not(Box::new(filter.0.clone())));
    let all: BTreeMap<&str, &str> = asked.iter().copied().collect();
    let longer: Vec<(&str, String)> = all.iter().map(|(key, value)| (*key, format!("{value}."))).collect();
    let longer = longer.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let each = asked.iter().map(|pair| vec![*pair]);
    for attributes in each.chain([Vec::new(), all.into_iter().collect(), longer]) {
        // A filter may ask for a key that no message has: an empty one.
        let Ok(block) = AttributeBlock::pack(attributes.iter().copied()) else { continue };
        let passes = filter.passes(block.iter());
        assert_eq!(passes, filter.passes(block.iter()));
        assert_ne!(passes, negated.passes(block.iter()));
    }
}

/// What a filter asks for: attributes with which its parts hold.
fn asked_for<'a>(node: &'a Node, asked: &mut Vec<(&'a str, &'a str)>) {
    match node {
        Node::Has { key } => asked.push((key, "")),
        Node::Equals { key, value } => asked.push((key, value)),
        Node::HasPrefix { key, prefix } => asked.push((key, prefix)),
        Node::Not(node) => asked_for(node, asked),
        Node::All(nodes) | Node::Any(nodes) => nodes.iter().for_each(|node| asked_for(node, asked)),
    }
}

/// Writes a filter with as few parentheses as it can have, so that it is nested no deeper than it was.
fn print(node: &Node, out: &mut String) {
    let text = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    match node {
        Node::Has { key } => out.push_str(&format!("attributes:{}", text(key))),
        Node::Equals { key, value } => out.push_str(&format!("attributes.{} = {}", text(key), text(value))),
        Node::HasPrefix { key, prefix } => {
            out.push_str(&format!("hasPrefix(attributes.{}, {})", text(key), text(prefix)));
        }
        Node::Not(inner) => match &**inner {
            Node::Equals { key, value } => {
                out.push_str(&format!("attributes.{} != {}", text(key), text(value)));
            }
            inner => {
                out.push_str("NOT ");
                print_inside(inner, out);
            }
        },
        Node::All(nodes) => print_list(nodes, " AND ", out),
        Node::Any(nodes) => print_list(nodes, " OR ", out),
    }
}

fn print_list(nodes: &[Node], word: &str, out: &mut String) {
    for (index, node) in nodes.iter().enumerate() {
        out.push_str(if index == 0 { "" } else { word });
        print_inside(node, out);
    }
}

fn print_inside(node: &Node, out: &mut String) {
    let is_list = matches!(node, Node::All(_) | Node::Any(_));
    out.push_str(if is_list { "(" } else { "" });
    print(node, out);
    out.push_str(if is_list { ")" } else { "" });
}
