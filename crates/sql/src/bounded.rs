//! Parsing in bounded work: a dialect that counts how often the parser begins an expression.
//!
//! The parser finds out what some texts mean by trying one reading after the other, and a reading may
//! contain others of its kind, so that a short text that nests a few dozen deep would keep it for years.

use std::any::TypeId;
use std::cell::Cell;

use datafusion::sql::sqlparser::ast::{Expr, Statement};
use datafusion::sql::sqlparser::dialect::{Dialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};

/// How often the parser may begin an expression, for each token of the text. A text that is read without
/// going back takes one or two.
const BEGINNINGS_PER_TOKEN: usize = 32;

/// A dialect like another, for one text.
#[derive(Debug)]
pub(crate) struct Bounded<D> {
    dialect: D,
    beginnings_left: Cell<usize>,
}

impl<D> Bounded<D> {
    /// For a text of so many tokens.
    pub(crate) fn new(dialect: D, tokens: usize) -> Self {
        const ALWAYS: usize = 1000;
        Self { dialect, beginnings_left: Cell::new(ALWAYS + tokens.saturating_mul(BEGINNINGS_PER_TOKEN)) }
    }
}

/// What the wrapped dialect says, for all that Postgres' or BigQuery's says otherwise than the trait.
macro_rules! as_wrapped {
    ($($method:ident),* $(,)?) => {
        $(fn $method(&self) -> bool {
            self.dialect.$method()
        })*
    };
}

impl<D: Dialect> Dialect for Bounded<D> {
    fn dialect(&self) -> TypeId {
        self.dialect.dialect()
    }

    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        match self.beginnings_left.get().checked_sub(1) {
            Some(left) => self.beginnings_left.set(left),
            // The one error that makes the parser give up instead of trying another reading.
            None => return Some(Err(ParserError::RecursionLimitExceeded)),
        }
        self.dialect.parse_prefix(parser)
    }

    /// Not Postgres' true: each argument of a function would be read twice, as the name of an argument
    /// first, and so a call inside 30 others a billion times. `name => value` is read either way.
    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        false
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        self.dialect.identifier_quote_style(identifier)
    }

    fn is_delimited_identifier_start(&self, start: char) -> bool {
        self.dialect.is_delimited_identifier_start(start)
    }

    fn is_identifier_start(&self, start: char) -> bool {
        self.dialect.is_identifier_start(start)
    }

    fn is_identifier_part(&self, part: char) -> bool {
        self.dialect.is_identifier_part(part)
    }

    fn is_custom_operator_part(&self, part: char) -> bool {
        self.dialect.is_custom_operator_part(part)
    }

    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        self.dialect.is_reserved_for_identifier(keyword)
    }

    fn is_column_alias(&self, keyword: &Keyword, parser: &mut Parser<'_>) -> bool {
        self.dialect.is_column_alias(keyword, parser)
    }

    fn get_next_precedence(&self, parser: &Parser<'_>) -> Option<Result<u8, ParserError>> {
        self.dialect.get_next_precedence(parser)
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        self.dialect.prec_value(precedence)
    }

    fn parse_statement(&self, parser: &mut Parser<'_>) -> Option<Result<Statement, ParserError>> {
        self.dialect.parse_statement(parser)
    }

    as_wrapped!(
        allow_extract_custom,
        allow_extract_single_quotes,
        require_interval_qualifier,
        supports_alter_column_type_using,
        supports_array_typedef_with_brackets,
        supports_bitwise_shift_operators,
        supports_column_definition_trailing_commas,
        supports_comma_separated_trim,
        supports_comment_on,
        supports_comment_optimizer_hint,
        supports_create_index_with_clause,
        supports_create_table_like_parenthesized,
        supports_create_table_multi_schema_info_sources,
        supports_empty_projections,
        supports_execute_immediate,
        supports_explain_with_utility_options,
        supports_factorial_operator,
        supports_filter_during_aggregation,
        supports_geometric_types,
        supports_group_by_expr,
        supports_insert_table_alias,
        supports_interval_options,
        supports_listen_notify,
        supports_load_extension,
        supports_named_fn_args_with_colon_operator,
        supports_nested_comments,
        supports_notnull_operator,
        supports_numeric_literal_underscores,
        supports_parenthesized_set_variables,
        supports_pipe_operator,
        supports_projection_trailing_commas,
        supports_select_expr_star,
        supports_select_wildcard_except,
        supports_select_wildcard_replace,
        supports_select_wildcard_with_alias,
        supports_set_names,
        supports_string_escape_constant,
        supports_string_literal_backslash_escape,
        supports_struct_literal,
        supports_table_versioning,
        supports_triple_quoted_string,
        supports_unicode_string_literal,
        supports_window_clause_named_window_reference,
        supports_window_function_null_treatment_arg,
        supports_xml_expressions,
    );
}
