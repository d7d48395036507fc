//! Reading properties.

use oxc_ast::ast::{BinaryExpression, ChainElement, MemberExpression};
use oxc_span::{GetSpan, Span};

use super::state::{Const, Known, Table, Value, union};
use super::{Lowerer, Lowering};
use crate::plan::names::{index, is_digits, is_on_objects};
use crate::plan::program::{Expr, NodeId, OVERLAY, ROOT};

impl<'a> Lowerer<'_, 'a> {
    pub(super) fn chain(&mut self, element: &'a ChainElement<'a>, scope: usize) -> Lowering<Value<'a>> {
        let value = match element {
            ChainElement::CallExpression(call) => self.call(call, scope)?,
            other => match other.as_member_expression() {
                Some(member) => self.member(member, scope)?,
                None => return Err(self.stop(other.span(), "an expression of this kind")),
            },
        };
        Ok(Value { expr: Expr::Chain(Box::new(value.expr)), known: Known::Unknown, is_text: false, ..value })
    }

    pub(super) fn member(&mut self, member: &'a MemberExpression<'a>, scope: usize) -> Lowering<Value<'a>> {
        let base = self.expression(member.object(), scope)?;
        let name = self.member_name(member, scope)?;
        self.property(base, &name, member.span(), member.optional())
    }

    /// The name of the property, which must be known before any message.
    pub(super) fn member_name(&mut self, member: &'a MemberExpression<'a>, scope: usize) -> Lowering<String> {
        match member {
            MemberExpression::StaticMemberExpression(member) => Ok(member.property.name.as_str().to_owned()),
            MemberExpression::ComputedMemberExpression(member) => {
                let name = self.expression(&member.expression, scope)?;
                match name.constant() {
                    Some(value) => Ok(super::binary::text(value)),
                    None => {
                        Err(self
                            .stop(member.expression.span(), "a property whose name depends on the message"))
                    }
                }
            }
            MemberExpression::PrivateFieldExpression(member) => {
                Err(self.stop(member.span, "a private field"))
            }
        }
    }

    /// The property of that name.
    pub(super) fn property(
        &mut self,
        base: Value<'a>,
        name: &str,
        span: Span,
        is_optional: bool,
    ) -> Lowering<Value<'a>> {
        if is_on_objects(name) {
            return Err(self.stop(span, format!("`{name}`, which every object has from its prototype")));
        }
        match &base.known {
            Known::Table(table) if base.expr.is_idle() => {
                return self.table_property(&table.clone(), name, span);
            }
            Known::Object(object) if !base.nodes.is_empty() => {
                return Err(self.stop(span, format!("a property of object {object} that is not understood")));
            }
            Known::Object(object) if base.expr.is_idle() && self.tables.contains_key(object) => {
                let table = self.tables.get(object).cloned();
                if let Some(table) = table {
                    return self.table_property(&table, name, span);
                }
            }
            Known::Object(object) => {
                let slot = self.slot(*object, name)?;
                let nodes = self.slot_nodes[usize::from(slot)].clone();
                let mut before = Vec::new();
                super::branches::evaluate(base.expr, &mut before);
                return Ok(
                    Value::new(super::statements::after_ops(before, Expr::Slot(slot))).with_nodes(nodes)
                );
            }
            Known::Const(_) | Known::Function(_) | Known::Argument | Known::TextOf(..) if !is_optional => {
                return Err(self.stop(span, format!("`{name}` of a value that is not from the message")));
            }
            Known::Root | Known::Unknown => {}
            _ => return Err(self.stop(span, format!("`{name}` of a value that is not from the message"))),
        }
        let is_root = matches!(base.known, Known::Root);
        if !is_root {
            self.note_blurred(&base.nodes, span);
        }
        let text = self.text(name);
        let nodes = base.nodes.iter().map(|&node| self.child(node, text)).collect::<Lowering<Vec<_>>>()?;
        let get = match nodes.as_slice() {
            // The parsed message is an object: nothing can go wrong.
            &[part] if is_root => {
                let mut before = Vec::new();
                super::branches::evaluate(base.expr, &mut before);
                super::statements::after_ops(before, Expr::Part(part))
            }
            _ => Expr::Get(Box::new(base.expr), text, is_optional),
        };
        match self.find_slot(OVERLAY, text).filter(|_| is_root) {
            Some(slot) => {
                let nodes = union(nodes, &self.slot_nodes[usize::from(slot)].clone());
                Ok(Value::new(Expr::Overlay(slot, Box::new(get))).with_nodes(nodes))
            }
            None => Ok(Value::new(get).with_nodes(nodes)),
        }
    }

    /// Notes that what may be the parsed message is used without knowing that it is.
    pub(super) fn note_blurred(&mut self, nodes: &[NodeId], span: Span) {
        if nodes.contains(&ROOT) {
            self.blurred_at.get_or_insert(span);
        }
    }

    fn table_property(&mut self, table: &Table<'a>, name: &str, span: Span) -> Lowering<Value<'a>> {
        let found = match table {
            Table::Array(elements) if name == "length" => Some(Known::Const(Const::Number(f64::from(
                u32::try_from(elements.len()).unwrap_or(u32::MAX),
            )))),
            Table::Array(elements) => match index(name) {
                Some(index) => elements.get(index as usize).cloned().or(Some(Known::Const(Const::Undefined))),
                None => None,
            },
            Table::Object(_) if is_digits(name) => None,
            Table::Object(entries) => {
                let entry = entries.iter().find(|(known, _)| **known == *name);
                Some(entry.map_or(Known::Const(Const::Undefined), |(_, value)| value.clone()))
            }
        };
        match found {
            Some(known) => Ok(self.value_of(known)),
            None => Err(self.stop(span, format!("`{name}` of a constant list"))),
        }
    }

    /// `"name" in object`
    pub(super) fn is_in(&mut self, binary: &'a BinaryExpression<'a>, scope: usize) -> Lowering<Value<'a>> {
        let name = self.expression(&binary.left, scope)?;
        let object = self.expression(&binary.right, scope)?;
        let Some(name) = name.constant() else {
            return Err(self.stop(binary.left.span(), "`in` with a name that depends on the message"));
        };
        let name = super::binary::text(name);
        self.has(object, &name, binary.span)
    }

    /// Whether an object of the message has a property. The engine is asked about anything else.
    pub(super) fn has(&mut self, object: Value<'a>, name: &str, span: Span) -> Lowering<Value<'a>> {
        if is_on_objects(name) {
            return Err(self.stop(span, format!("`{name}`, which every object has from its prototype")));
        }
        let text = self.text(name);
        let is_written = self.find_slot(OVERLAY, text).is_some();
        match &object.known {
            Known::Root if !is_written => {}
            Known::Unknown => self.note_blurred(&object.nodes, span),
            _ => return Err(self.stop(span, "a question for a property of what is not from the message")),
        }
        for &node in &object.nodes {
            self.child(node, text)?;
        }
        Ok(Value::new(Expr::Has(Box::new(object.expr), text)))
    }
}
