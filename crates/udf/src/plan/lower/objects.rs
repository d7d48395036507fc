//! Object literals.

use oxc_ast::ast::{ObjectExpression, ObjectPropertyKind, PropertyKey, PropertyKind};

use super::state::{Known, Value};
use super::{Lowerer, Lowering, Op};
use crate::plan::names::is_digits;
use crate::plan::program::Expr;

impl<'a> Lowerer<'_, 'a> {
    pub(super) fn object(&mut self, literal: &'a ObjectExpression<'a>, scope: usize) -> Lowering<Value<'a>> {
        let object = self.new_object()?;
        let mut ops = vec![Op::New(object)];
        for property in &literal.properties {
            let ObjectPropertyKind::ObjectProperty(property) = property else {
                return Err(self.stop(literal.span, "`...` in an object"));
            };
            if property.method || property.kind != PropertyKind::Init {
                return Err(self.stop(property.span, "a method, getter or setter"));
            }
            let name = self.literal_name(&property.key, property.computed, scope)?;
            if name == "__proto__" || is_digits(&name) {
                return Err(self.stop(property.span, format!("a property named `{name}`")));
            }
            let value = self.expression(&property.value, scope)?;
            let slot = self.slot(object, &name)?;
            self.put(slot, value, property.span, &mut ops)?;
        }
        if let Some(table) = self.constant_object(literal, Some(scope)) {
            self.tables.insert(object, table);
        }
        let known = Known::Object(object);
        Ok(Value::known(Expr::After(ops, Box::new(Expr::Object(object))), known))
    }

    fn literal_name(
        &mut self,
        key: &'a PropertyKey<'a>,
        is_computed: bool,
        scope: usize,
    ) -> Lowering<String> {
        if let Some(name) = super::globals::plain_key(key).filter(|_| !is_computed) {
            return Ok(name.to_owned());
        }
        let span = oxc_span::GetSpan::span(key);
        let Some(expression) = key.as_expression() else {
            return Err(self.stop(span, "a name of this kind"));
        };
        let name = self.expression(expression, scope)?;
        match name.constant() {
            Some(value) => Ok(super::binary::text(value)),
            None => Err(self.stop(span, "a property whose name depends on the message")),
        }
    }
}
