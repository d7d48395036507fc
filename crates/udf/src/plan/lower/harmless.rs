//! Code that a plan leaves to the engine although it has no equal for it: what is thrown, what is done
//! about an error, and branches. It must leave nothing behind that a later message could see, because
//! only some messages run it: it writes to variables of its own function only, reads nothing through
//! which it could change more, and calls only what is known.

use std::cell::RefCell;

use oxc_ast::ast::{
    Argument, ArrayExpressionElement, AssignmentTarget, BindingPattern, Expression, MemberExpression,
    ObjectPropertyKind, PropertyKey, PropertyKind, Statement,
};
use oxc_syntax::operator::UnaryOperator;

/// Global functions and constructors that only make a value.
const MAKERS: [&str; 13] = [
    "Boolean",
    "Date",
    "Error",
    "Number",
    "RangeError",
    "String",
    "SyntaxError",
    "TypeError",
    "decodeURIComponent",
    "encodeURIComponent",
    "isNaN",
    "parseFloat",
    "parseInt",
];

/// Global objects whose functions only make a value, or write to the log.
const HOLDERS: [&str; 4] = ["JSON", "Math", "Date", "console"];

/// Methods that change nothing, whatever they are called on.
const METHODS: [&str; 27] = [
    "charAt",
    "concat",
    "endsWith",
    "getTime",
    "includes",
    "indexOf",
    "join",
    "lastIndexOf",
    "match",
    "padStart",
    "repeat",
    "replace",
    "slice",
    "split",
    "startsWith",
    "substr",
    "substring",
    "test",
    "toFixed",
    "toISOString",
    "toJSON",
    "toLowerCase",
    "toString",
    "toUpperCase",
    "trim",
    "valueOf",
    "hasOwnProperty",
];

/// What names mean where the code stands.
pub(super) trait Names {
    /// Whether the name is a variable of the function, and holds neither functions nor constants of the
    /// scripts' top level.
    fn is_own(&self, name: &str) -> bool;
    /// Whether the name is a constant of the scripts' top level that cannot be changed through it.
    fn is_fixed(&self, name: &str) -> bool;
    /// Whether the scripts leave the name to the language.
    fn is_free(&self, name: &str) -> bool;
}

/// Names that lead from any value to what all values share.
const SHARED: [&str; 3] = ["__proto__", "constructor", "prototype"];

/// Looks at code.
pub(super) struct Harmless<'n> {
    names: &'n dyn Names,
    /// Variables that the code declares itself.
    own: RefCell<Vec<String>>,
}

impl<'n> Harmless<'n> {
    pub fn new(names: &'n dyn Names) -> Self {
        Self { names, own: RefCell::default() }
    }

    fn is_own(&self, name: &str) -> bool {
        self.names.is_own(name) || self.own.borrow().iter().any(|own| own == name)
    }

    /// Whether a statement leaves nothing behind.
    pub fn statement(&self, statement: &Statement<'_>) -> bool {
        match statement {
            Statement::BlockStatement(block) => block.body.iter().all(|inner| self.statement(inner)),
            Statement::EmptyStatement(_) => true,
            Statement::ExpressionStatement(statement) => self.effect(&statement.expression),
            Statement::IfStatement(choice) => {
                self.expression(&choice.test)
                    && self.statement(&choice.consequent)
                    && choice.alternate.as_ref().is_none_or(|other| self.statement(other))
            }
            Statement::ReturnStatement(end) => {
                end.argument.as_ref().is_none_or(|value| self.expression(value))
            }
            Statement::ThrowStatement(throw) => self.expression(&throw.argument),
            Statement::VariableDeclaration(declaration) => {
                declaration.declarations.iter().all(|declarator| {
                    let BindingPattern::BindingIdentifier(id) = &declarator.id else { return false };
                    let is_plain = declarator.init.as_ref().is_none_or(|init| self.expression(init));
                    self.own.borrow_mut().push(id.name.as_str().to_owned());
                    is_plain
                })
            }
            _ => false,
        }
    }

    /// An expression as a statement: it may also set a variable of the function, or a property of what such
    /// a variable holds. That is never shared with other messages: see `names` and [`SHARED`].
    fn effect(&self, expression: &Expression<'_>) -> bool {
        let Expression::AssignmentExpression(assignment) = expression else {
            return self.expression(expression);
        };
        let is_target = match &assignment.left {
            AssignmentTarget::AssignmentTargetIdentifier(name) => self.is_own(&name.name),
            other => other.as_member_expression().is_some_and(|member| self.is_own_property(member)),
        };
        is_target && self.expression(&assignment.right)
    }

    fn is_own_property(&self, member: &MemberExpression<'_>) -> bool {
        let is_own = matches!(member.object(), Expression::Identifier(name) if self.is_own(&name.name));
        is_own && self.member(member)
    }

    /// Whether an expression leaves nothing behind.
    pub fn expression(&self, expression: &Expression<'_>) -> bool {
        match expression {
            Expression::BooleanLiteral(_)
            | Expression::NullLiteral(_)
            | Expression::NumericLiteral(_)
            | Expression::BigIntLiteral(_)
            | Expression::RegExpLiteral(_)
            | Expression::StringLiteral(_) => true,
            Expression::Identifier(name) => {
                let is_word = name.name == "undefined" && self.names.is_free("undefined");
                is_word || self.is_own(&name.name) || self.names.is_fixed(&name.name)
            }
            Expression::TemplateLiteral(template) => {
                template.expressions.iter().all(|part| self.expression(part))
            }
            Expression::ArrayExpression(array) => array.elements.iter().all(|part| self.element(part)),
            Expression::ObjectExpression(object) => object.properties.iter().all(|part| self.property(part)),
            Expression::BinaryExpression(binary) => {
                self.expression(&binary.left) && self.expression(&binary.right)
            }
            Expression::LogicalExpression(logical) => {
                self.expression(&logical.left) && self.expression(&logical.right)
            }
            Expression::ConditionalExpression(choice) => {
                [&choice.test, &choice.consequent, &choice.alternate]
                    .into_iter()
                    .all(|part| self.expression(part))
            }
            Expression::ParenthesizedExpression(inner) => self.expression(&inner.expression),
            Expression::UnaryExpression(unary) => {
                unary.operator != UnaryOperator::Delete && self.expression(&unary.argument)
            }
            Expression::CallExpression(call) => {
                self.callee(&call.callee) && call.arguments.iter().all(|value| self.argument(value))
            }
            Expression::NewExpression(new) => {
                let is_maker =
                    matches!(&new.callee, Expression::Identifier(name) if self.is_maker(&name.name));
                is_maker && new.arguments.iter().all(|value| self.argument(value))
            }
            other => other.as_member_expression().is_some_and(|member| self.member(member)),
        }
    }

    fn element(&self, element: &ArrayExpressionElement<'_>) -> bool {
        element.as_expression().is_some_and(|value| self.expression(value))
    }

    fn argument(&self, argument: &Argument<'_>) -> bool {
        argument.as_expression().is_some_and(|value| self.expression(value))
    }

    fn property(&self, property: &ObjectPropertyKind<'_>) -> bool {
        let ObjectPropertyKind::ObjectProperty(property) = property else { return false };
        let key = match &property.key {
            PropertyKey::StaticIdentifier(_) => !property.computed,
            key => key.as_expression().is_some_and(|key| self.expression(key)),
        };
        property.kind == PropertyKind::Init && !property.method && key && self.expression(&property.value)
    }

    fn member(&self, member: &MemberExpression<'_>) -> bool {
        let name = match member {
            MemberExpression::StaticMemberExpression(member) => {
                !SHARED.contains(&member.property.name.as_str())
            }
            MemberExpression::ComputedMemberExpression(computed) => match &computed.expression {
                Expression::StringLiteral(name) => !SHARED.contains(&name.value.as_str()),
                Expression::NumericLiteral(_) => true,
                _ => false,
            },
            MemberExpression::PrivateFieldExpression(_) => false,
        };
        name && self.expression(member.object())
    }

    fn callee(&self, callee: &Expression<'_>) -> bool {
        match callee {
            Expression::Identifier(name) => {
                self.is_maker(&name.name) || (name.name == "print" && self.names.is_free("print"))
            }
            Expression::StaticMemberExpression(member) => {
                let is_holder = match &member.object {
                    Expression::Identifier(name) => {
                        HOLDERS.contains(&name.name.as_str()) && self.names.is_free(&name.name)
                    }
                    _ => false,
                };
                is_holder
                    || (METHODS.contains(&member.property.name.as_str()) && self.expression(&member.object))
            }
            _ => false,
        }
    }

    fn is_maker(&self, name: &str) -> bool {
        MAKERS.contains(&name) && self.names.is_free(name)
    }
}
